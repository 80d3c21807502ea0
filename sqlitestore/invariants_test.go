package sqlitestore_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// requireInvariants holds what is kept in two places against each other: lanes, gaps, hours and flags against the rows
// that they sum up.
func requireInvariants(t *testing.T, path string) {
	t.Helper()
	db := pool(t, path)
	for name, wrong := range map[string]string{
		"leases of a lane": `SELECT count(*) FROM webhook_lanes l
			WHERE leases <> (SELECT count(*) FROM webhook_deliveries WHERE endpoint = l.endpoint AND state = 'leased')`,
		"due times of a lane": `SELECT count(*) FROM webhook_lanes l
			WHERE first_due IS NOT (SELECT min(due_at) FROM webhook_deliveries WHERE endpoint = l.endpoint AND state = 'pending' AND attempt_count = 0)
			OR again_due IS NOT (SELECT min(due_at) FROM webhook_deliveries WHERE endpoint = l.endpoint AND state = 'pending' AND attempt_count > 0)`,
		"oldest of a lane": `SELECT count(*) FROM webhook_lanes l
			WHERE oldest_at IS NOT (SELECT min(created_at) FROM webhook_deliveries WHERE endpoint = l.endpoint AND state = 'pending')`,
		"pending of a lane": `SELECT count(*) FROM webhook_lanes l
			WHERE pending <> (SELECT count(*) FROM webhook_deliveries WHERE endpoint = l.endpoint AND state IN ('pending', 'leased'))`,
		"eligible lanes": `SELECT count(*) FROM webhook_lanes l JOIN webhook_endpoints p ON p.key = l.endpoint
			WHERE (eligible_at IS NOT NULL) <> (coalesce(first_due, again_due) IS NOT NULL AND deleted_at IS NULL AND state IN ('active', 'paused') AND leases < max(1, window_size))`,
		"blocked lanes": `SELECT count(*) FROM webhook_lanes l JOIN webhook_endpoints p ON p.key = l.endpoint
			WHERE blocked <> (coalesce(first_due, again_due) IS NOT NULL AND deleted_at IS NULL AND state IN ('active', 'paused') AND leases >= max(1, window_size))`,
		"moments of lanes": `SELECT count(*) FROM webhook_lanes l JOIN webhook_endpoints p ON p.key = l.endpoint WHERE eligible_at IS NOT NULL AND
			eligible_at <> max(min(coalesce(first_due, again_due), coalesce(again_due, first_due)), coalesce(served_at, 0), iif(state = 'paused', coalesce(paused_until, 0), 0),
				iif(rate > 0, coalesce(paced_at, 0) - (pace_burst - 1) * pace_interval, 0))`,
		"paces": `SELECT count(*) FROM webhook_lanes l JOIN webhook_endpoints p ON p.key = l.endpoint WHERE rate > 0 AND
			(pace_interval <> CAST(round(1e6 / rate) AS INTEGER) OR pace_burst <> iif(burst > 0, burst, ceil(rate)))`,
		"open gaps": `SELECT count(*) FROM webhook_lanes l JOIN webhook_endpoints p ON p.key = l.endpoint
			WHERE coalesce((SELECT reason FROM webhook_gaps WHERE endpoint = l.endpoint AND closed_at IS NULL), '') <>
				iif(deleted_at IS NOT NULL, '', iif(state IN ('pending', 'disabled'), state, iif(backlog_bound IS NULL, '', 'backlog')))`,
		"backlogs of lanes that do not queue": `SELECT count(*) FROM webhook_lanes l JOIN webhook_endpoints p ON p.key = l.endpoint
			WHERE backlog_bound IS NOT NULL AND (deleted_at IS NOT NULL OR state IN ('pending', 'disabled'))`,
		"backlogs that are worked off": `SELECT count(*) FROM webhook_lanes WHERE backlog_bound <= 0 OR 10 * pending <= 9 * backlog_bound`,
		"empty gaps":                   `SELECT count(*) FROM webhook_gaps WHERE closed_at IS NOT NULL AND missed = 0`,
		"hours": `SELECT count(*) FROM webhook_hours WHERE hour % 3600000000 <> 0 OR delivered + failed = 0
			OR delivered + failed <> (SELECT sum(value) FROM json_each(latency)) OR endpoint NOT IN (SELECT endpoint FROM webhook_lanes)`,
		"attempts that no hour counts": `SELECT count(*) FROM (SELECT endpoint, result, count(*) AS n FROM webhook_attempts a JOIN webhook_deliveries d ON d.key = a.delivery
			WHERE result <> 'interrupted' AND kind NOT IN ('ping', 'test') GROUP BY endpoint, result) a
			WHERE n > coalesce((SELECT sum(iif(a.result = 'delivered', delivered, failed)) FROM webhook_hours WHERE endpoint = a.endpoint), 0)`,
		"deleted lanes": `SELECT count(*) FROM webhook_lanes l JOIN webhook_endpoints p ON p.key = l.endpoint WHERE l.deleted <> (p.deleted_at IS NOT NULL)`,
		"owners of replays": `SELECT count(*) FROM webhook_replays r LEFT JOIN webhook_endpoints p ON p.key = r.endpoint
			WHERE p.key IS NULL OR p.tenant <> r.tenant OR (r.state = 'running' AND p.deleted_at IS NOT NULL)`,
		"ends of replays": `SELECT count(*) FROM webhook_replays WHERE (state = 'running') <> (finished_at IS NULL) OR state NOT IN ('running', 'done', 'stopped')
			OR (state = 'done' AND (reached_key <> 0 OR reached_at < until))`,
		"counts of replays": `SELECT count(*) FROM webhook_replays WHERE queued + skipped > looked OR (looked = 0 AND (reached_key <> 0 OR (state <> 'done' AND reached_at IS NOT since)))`,
		"places of replays": `SELECT count(*) FROM webhook_replays WHERE until > created_at OR coalesce(reached_at < since, 0) OR (coalesce(since, 0) <= until AND coalesce(reached_at > until, 0))`,
		"turns of replays":  `SELECT count(*) - count(DISTINCT stepped_at) FROM webhook_replays WHERE state = 'running'`,
		"direct events":     `SELECT count(*) FROM webhook_events WHERE direct = 1 AND key IN (SELECT event FROM webhook_deliveries WHERE kind = 'event')`,
		"idle events":       `SELECT count(*) FROM webhook_events e WHERE idle <> NOT EXISTS (SELECT 1 FROM webhook_deliveries WHERE event = e.key)`,
		"contents":          `SELECT count(*) FROM webhook_events WHERE (contents = 1) <> (body IS NOT NULL)`,
		"columns of a state": `SELECT count(*) FROM webhook_deliveries WHERE (state = 'pending') <> (due_at IS NOT NULL)
			OR (state = 'leased') <> (token IS NOT NULL) OR (state = 'leased') <> (lease_until IS NOT NULL) OR (state = 'leased') <> (leased_at IS NOT NULL)
			OR (state IN ('succeeded', 'failed')) <> (finished_at IS NOT NULL) OR (state = 'failed') <> (reason <> '') OR (state = 'pending' AND again <> (attempt_count > 0))`,
		"attempts": `SELECT count(*) FROM webhook_deliveries d
			WHERE (SELECT count(*) FROM webhook_attempts WHERE delivery = d.key) <> attempt_count - (state = 'leased')`,
		"subscriptions": `SELECT count(*) FROM webhook_subscriptions s LEFT JOIN webhook_endpoints p ON p.key = s.endpoint
			WHERE p.key IS NULL OR p.deleted_at IS NOT NULL OR p.tenant <> s.tenant`,
		"orphans": `SELECT count(*) FROM webhook_deliveries WHERE event NOT IN (SELECT key FROM webhook_events) OR endpoint NOT IN (SELECT endpoint FROM webhook_lanes)`,
	} {
		require.Zero(t, query[int](t, db, wrong), name)
	}
	require.Equal(t, "ok", query[string](t, db, "PRAGMA integrity_check"))
}

// TestRandomCallsKeepTheInvariants makes all sorts of calls and looks at the tables.
func TestRandomCallsKeepTheInvariants(t *testing.T) {
	t.Parallel()
	replayed := 0 // steps that queued something
	for seed := range uint64(3) {
		path := file(t)
		s := open(t, path)
		r := rand.New(rand.NewPCG(seed, 1))
		tenants := []string{"t", "u"}
		var leases []webhook.Lease
		var list []webhook.Event
		ctx := t.Context()
		judge := func(h webhook.Health, now time.Time) webhook.Health {
			h.State = []webhook.EndpointState{webhook.EndpointActive, webhook.EndpointActive, webhook.EndpointPaused, webhook.EndpointDisabled, webhook.EndpointPending}[r.IntN(5)]
			h.Slow, h.Window = r.IntN(3) == 0, r.IntN(4)
			if h.PausedUntil = now.Add(time.Duration(r.IntN(5)) * time.Millisecond); r.IntN(2) == 0 {
				h.PausedUntil = time.Time{}
			}
			return h
		}
		for n := range 400 {
			tenant := tenants[r.IntN(2)]
			id := string(rune('a' + r.IntN(5)))
			bound := r.IntN(3) * (5 + r.IntN(10))
			switch r.IntN(18) {
			case 0:
				_, _ = s.CreateEndpoint(ctx, webhook.Endpoint{ID: id, Tenant: tenant, Events: [][]string{{"*"}, {"test.happened"}, {"test.other"}}[r.IntN(3)], Health: webhook.Health{State: webhook.EndpointActive, Window: 2}}, 10)
			case 1:
				_, _ = s.JudgeEndpoint(ctx, tenant, id, judge)
			case 2:
				if e, err := s.Endpoint(ctx, tenant, id); err == nil {
					e.Events = []string{"*", "a"}[:1+r.IntN(2)]
					e.Rate, e.Burst = []float64{0, 0, 0.5, 100, 2500}[r.IntN(5)], r.IntN(4)
					_, err = s.UpdateEndpoint(ctx, e, judge)
					require.NoError(t, err)
				}
			case 3:
				if r.IntN(5) == 0 {
					_ = s.DeleteEndpoint(ctx, tenant, id)
				}
			case 4, 5, 6:
				list = append(list, events(1+r.IntN(4))...)
				req := webhook.EnqueueRequest{Tenant: tenant, Events: list[max(0, len(list)-5):], MaxPending: bound}
				if r.IntN(2) == 0 {
					req.HandOver = &webhook.HandOver{Owner: "one", Term: time.Duration(r.IntN(20)) * time.Millisecond, Max: r.IntN(4)}
				}
				if r.IntN(4) == 0 {
					req.Direct = &webhook.Direct{EndpointID: id, Kind: []webhook.DeliveryKind{webhook.KindTest, webhook.KindRedelivery}[r.IntN(2)], Owner: "one", Term: time.Hour, Queued: r.IntN(2) == 0}
				}
				result, err := s.Enqueue(ctx, req)
				if err == nil {
					leases = append(leases, result.Leases...)
				}
			case 7, 8, 9:
				req := webhook.ClaimRequest{Owner: "one", Term: time.Duration(r.IntN(20)) * time.Millisecond, Max: r.IntN(8), MaxSlow: r.IntN(3), MaxPending: bound, Skip: []webhook.EndpointRef{{Tenant: tenant, ID: id}}}
				if req.MaxTenant = r.IntN(3); r.IntN(3) == 0 {
					req.Tenants = map[string]int{tenant: r.IntN(2)}
				}
				if r.IntN(10) == 0 {
					req.MaxAge = 50 * time.Millisecond
				}
				c, err := s.Claim(ctx, req)
				require.NoError(t, err)
				leases = append(leases, c.Leases...)
			case 10, 11:
				var outcomes []webhook.Outcome
				for range min(len(leases), r.IntN(4)) {
					i := r.IntN(len(leases))
					o := retry(leases[i], time.Duration(r.IntN(3))*time.Millisecond)
					o.Kind = []webhook.OutcomeKind{
						webhook.OutcomeDelivered, webhook.OutcomeFailed, webhook.OutcomeRetry, webhook.OutcomeDeferred, webhook.OutcomeInterrupted, webhook.OutcomeReleased,
					}[r.IntN(6)]
					switch o.Kind {
					case webhook.OutcomeDelivered:
						o.Attempt.Result = webhook.AttemptDelivered
					case webhook.OutcomeInterrupted:
						o.Attempt.Result = webhook.AttemptInterrupted
					}
					o.Reason = webhook.FailExhausted
					if r.IntN(4) == 0 {
						o.Judge = judge
					}
					outcomes = append(outcomes, o)
				}
				_, err := s.Record(ctx, outcomes)
				require.NoError(t, err)
			case 12:
				if len(leases) > 0 {
					l := leases[r.IntN(len(leases))]
					_ = s.EraseDelivery(ctx, l.Delivery.Tenant, l.Delivery.ID)
				}
			case 13:
				_, err := s.Prune(ctx, webhook.PruneRequest{Deliveries: time.Duration(r.IntN(100)) * time.Millisecond, Bodies: time.Duration(r.IntN(50)) * time.Millisecond, Max: r.IntN(20)})
				require.NoError(t, err)
				if r.IntN(20) == 0 {
					_, err := s.EraseTenant(ctx, tenant, 1000)
					require.NoError(t, err)
				}
			case 14:
				now := time.Now()
				_, _ = s.CreateReplay(ctx, webhook.Replay{
					ID: fmt.Sprint("rpl_", n), Tenant: tenant, EndpointID: id, Failed: r.IntN(3) > 0, Missed: r.IntN(3) > 0,
					Since: []time.Time{{}, now.Add(-time.Second), now}[r.IntN(3)], Until: []time.Time{{}, now.Add(-100 * time.Millisecond), now.Add(time.Hour)}[r.IntN(3)],
				})
			case 15, 16:
				for range 3 {
					stepped, err := s.ContinueReplay(ctx, webhook.ReplayStep{Max: r.IntN(12), Pending: r.IntN(40)})
					require.NoError(t, err)
					if stepped.Queued {
						replayed++
					}
				}
			case 17:
				list, err := s.Replays(ctx, tenant, id)
				require.NoError(t, err)
				if len(list) > 0 && r.IntN(4) == 0 {
					_, err = s.StopReplay(ctx, tenant, list[r.IntN(len(list))].ID)
					require.NoError(t, err)
				}
			}
			if n%20 == 19 {
				requireInvariants(t, path)
			}
		}
	}
	require.NotZero(t, replayed, "no replay queued anything")
}
