package pgstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// age moves all times of the store back.
func (r *rig) age(by time.Duration) {
	r.Helper()
	secs := by.Seconds()
	r.exec(`UPDATE {events} SET stored_at = stored_at - $1::float8 * interval '1 second'`, secs)
	r.exec(`UPDATE {deliveries} SET finished_at = finished_at - $1::float8 * interval '1 second'`, secs)
	r.exec(`UPDATE {gaps} SET to_at = to_at - $1::float8 * interval '1 second'`, secs)
}

func (r *rig) prune(req webhook.PruneRequest) webhook.PruneResult {
	r.Helper()
	result, err := r.Prune(r.Context(), req)
	require.NoError(r, err)
	return result
}

func TestPruneRemovesWhatIsOver(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		r.endpoint("e", webhook.Health{})
		off := r.endpoint("off", webhook.Health{State: webhook.EndpointDisabled})
		events := r.emit(4)
		leases := r.claim(4)
		byEvent := map[string]webhook.Lease{}
		for _, l := range leases {
			byEvent[l.Event.ID] = l
		}
		r.record(webhook.OutcomeDelivered, byEvent[events[0].ID])
		r.record(webhook.OutcomeFailed, byEvent[events[1].ID])
		r.record(webhook.OutcomeRetry, byEvent[events[2].ID]) // pending; the fourth is leased
		_, err := r.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "nobody", Events: []webhook.Event{event("alone", 1)}})
		require.NoError(t, err)
		_, err = r.JudgeEndpoint(t.Context(), "t", off.ID, func(h webhook.Health, _ time.Time) webhook.Health {
			h.State = webhook.EndpointActive
			return h
		})
		require.NoError(t, err)

		require.Equal(t, webhook.PruneResult{}, r.prune(webhook.PruneRequest{Deliveries: time.Hour, Max: 100}), "nothing is old")
		r.age(2 * time.Hour)
		require.Equal(t, webhook.PruneResult{}, r.prune(webhook.PruneRequest{Max: 100}), "no age is no limit")
		require.Equal(t, webhook.PruneResult{}, r.prune(webhook.PruneRequest{Deliveries: 3 * time.Hour, Bodies: 3 * time.Hour, Max: 100}))
		gaps, err := r.Gaps(t.Context(), "t", off.ID)
		require.NoError(t, err)
		require.Len(t, gaps, 1)

		got := r.prune(webhook.PruneRequest{Deliveries: time.Hour, Max: 100})
		require.Equal(t, webhook.PruneResult{Deliveries: 2, Events: 3}, got)
		for i, e := range events {
			_, err := r.Delivery(t.Context(), "t", byEvent[e.ID].Delivery.ID)
			_, eventErr := r.Event(t.Context(), "t", e.ID)
			if i < 2 {
				require.ErrorIs(t, err, webhook.ErrNotFound)
				require.ErrorIs(t, eventErr, webhook.ErrNotFound)
			} else {
				require.NoError(t, err)
				require.NoError(t, eventErr)
			}
		}
		gaps, err = r.Gaps(t.Context(), "t", off.ID)
		require.NoError(t, err)
		require.Empty(t, gaps)
		require.Equal(t, 1, r.count(`SELECT count(*) FROM {attempts}`), "attempts go with their delivery")
		_, err = r.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{event(events[0].ID, "another")}})
		require.NoError(t, err, "its id is unknown")
	})
}

func TestPruneRemovesContents(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		e := r.endpoint("e", webhook.Health{})
		first := event("first", 1, webhook.WithMetadata(map[string]string{"k": "v"}))
		_, err := r.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{first}})
		require.NoError(t, err)
		done := r.claim(1)
		r.record(webhook.OutcomeDelivered, done...)
		waiting := r.emit(1)[0]
		leased := r.emit(1)[0]
		for _, l := range r.claim(2) {
			if l.Event.ID == waiting.ID {
				r.record(webhook.OutcomeRetry, l)
			}
		}
		r.age(2 * time.Hour)
		require.Equal(t, webhook.PruneResult{Bodies: 1}, r.prune(webhook.PruneRequest{Bodies: time.Hour, Max: 10}))
		require.Equal(t, webhook.PruneResult{}, r.prune(webhook.PruneRequest{Bodies: time.Hour, Max: 10}))
		r.bare(done[0])
		for _, kept := range []webhook.Event{waiting, leased} {
			got, err := r.Event(t.Context(), "t", kept.ID)
			require.NoError(t, err)
			require.NotEmpty(t, got.Body)
		}
		_, err = r.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{first}})
		require.NoError(t, err, "the digest outlives the body")
		_, err = r.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{event("first", 2)}})
		require.ErrorIs(t, err, webhook.ErrConflict)

		stored, err := r.Event(t.Context(), "t", "first")
		require.NoError(t, err)
		before := r.count(`SELECT count(*) FROM {deliveries}`)
		_, err = r.Enqueue(t.Context(), webhook.EnqueueRequest{
			Tenant: "t", Events: []webhook.Event{stored}, Direct: &webhook.Direct{EndpointID: e.ID, Kind: webhook.KindRedelivery, Owner: "o", Term: time.Hour},
		})
		require.ErrorIs(t, err, webhook.ErrBodyPruned)
		require.Equal(t, before, r.count(`SELECT count(*) FROM {deliveries}`))
	})
}

// bare checks that a delivery has lost its contents, and nothing else.
func (r *rig) bare(l webhook.Lease) {
	r.Helper()
	got, err := r.Event(r.Context(), "t", l.Event.ID)
	require.NoError(r, err)
	require.Empty(r, got.Body)
	require.Empty(r, got.Metadata)
	require.Equal(r, l.Event.Type, got.Type)
	d := r.delivery(l)
	for _, a := range d.Attempts {
		require.Empty(r, a.RequestHeader)
		require.Empty(r, a.ResponseHeader)
		require.Empty(r, a.ResponseBody)
		require.Equal(r, 200, a.Status)
	}
}

func TestPruneGoesInParts(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		r.endpoint("e", webhook.Health{})
		r.emit(25)
		r.record(webhook.OutcomeDelivered, r.claim(25)...)
		r.age(2 * time.Hour)
		total := webhook.PruneResult{}
		calls := 0
		for more := true; more; calls++ {
			got := r.prune(webhook.PruneRequest{Deliveries: time.Hour, Bodies: time.Hour, Max: 10})
			require.LessOrEqual(t, got.Deliveries+got.Events+got.Bodies, 10)
			total.Deliveries += got.Deliveries
			total.Events += got.Events
			more = got.More
		}
		require.Equal(t, webhook.PruneResult{Deliveries: 25, Events: 25}, total)
		require.GreaterOrEqual(t, calls, 5)
	})
}

// A claim and a redelivery that come while something is pruned do not wait for it, nor it for them.
func TestPruneWaitsForNobody(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		r.endpoint("e", webhook.Health{})
		r.emit(3)
		r.record(webhook.OutcomeDelivered, r.claim(3)...)
		r.age(2 * time.Hour)
		tx, err := r.pool.Begin(t.Context())
		require.NoError(t, err)
		defer func() { _ = tx.Rollback(context.Background()) }()
		for _, table := range []string{"deliveries", "events"} {
			_, err = tx.Exec(t.Context(), r.sql(`SELECT FROM {`+table+`} WHERE tenant = 't' ORDER BY id LIMIT 1 FOR UPDATE`))
			require.NoError(t, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		got, err := r.Prune(ctx, webhook.PruneRequest{Deliveries: time.Hour, Bodies: time.Hour, Max: 100})
		require.NoError(t, err)
		require.Equal(t, 2, got.Deliveries)
		require.NoError(t, tx.Rollback(t.Context()))
		got = r.prune(webhook.PruneRequest{Deliveries: time.Hour, Max: 100})
		require.Equal(t, 1, got.Deliveries)
		require.Zero(t, r.count(`SELECT count(*) FROM {events}`))
	})
}

func TestErasingADelivery(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		for _, id := range []string{"done", "waits", "leased", "lost"} {
			r.endpoint(id, webhook.Health{})
		}
		r.emit(1)
		req := request(4)
		req.Term = 300 * time.Millisecond
		c, err := r.Claim(t.Context(), req)
		require.NoError(t, err)
		byEndpoint := map[string]webhook.Lease{}
		for _, l := range c.Leases {
			byEndpoint[l.Delivery.EndpointID] = l
		}
		r.record(webhook.OutcomeDelivered, byEndpoint["done"])
		r.record(webhook.OutcomeRetry, byEndpoint["waits"])
		require.ErrorIs(t, r.EraseDelivery(t.Context(), "t", "dlv_unknown"), webhook.ErrNotFound)
		require.ErrorIs(t, r.EraseDelivery(t.Context(), "u", byEndpoint["done"].Delivery.ID), webhook.ErrNotFound)
		require.NoError(t, r.EraseDelivery(t.Context(), "t", byEndpoint["done"].Delivery.ID))
		require.NoError(t, r.EraseDelivery(t.Context(), "t", byEndpoint["waits"].Delivery.ID), "again")

		require.Equal(t, webhook.DeliverySucceeded, r.delivery(byEndpoint["done"]).State)
		waits := r.delivery(byEndpoint["waits"])
		require.Equal(t, webhook.FailErased, waits.Reason)
		require.False(t, waits.FinishedAt.IsZero())
		require.True(t, waits.NextAttemptAt.IsZero())
		require.Equal(t, webhook.DeliveryLeased, r.delivery(byEndpoint["leased"]).State)
		r.record(webhook.OutcomeRetry, byEndpoint["leased"])
		require.Equal(t, webhook.FailErased, r.delivery(byEndpoint["leased"]).Reason)
		require.Eventually(t, func() bool {
			require.Empty(t, r.claim(10))
			return r.delivery(byEndpoint["lost"]).Reason == webhook.FailErased
		}, 20*time.Second, 5*time.Millisecond)
		for _, l := range byEndpoint {
			if l.Delivery.EndpointID != "lost" {
				r.bare(l)
			}
		}
		require.Zero(t, r.count(`SELECT count(*) FROM {attempts} WHERE response_body IS NOT NULL OR request_header IS NOT NULL OR response_header IS NOT NULL`))
	})
}

func TestErasingATenant(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		for _, tenant := range []string{"t", "u"} {
			for _, id := range []string{"a", "b", "c"} {
				r.endpointOf(tenant, id, webhook.Health{})
			}
			r.endpointOf(tenant, "off", webhook.Health{State: webhook.EndpointDisabled})
			_, err := r.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: tenant, Events: r.events(5)})
			require.NoError(t, err)
		}
		leases := r.claim(30)
		require.Len(t, leases, 30)
		r.record(webhook.OutcomeDelivered, leases[:10]...)
		_, err := r.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: r.events(1)})
		require.NoError(t, err)
		all := `SELECT (SELECT count(*) FROM {endpoints} WHERE tenant = $1) + (SELECT count(*) FROM {lanes} WHERE tenant = $1)
			+ (SELECT count(*) FROM {subscriptions} WHERE tenant = $1) + (SELECT count(*) FROM {events} WHERE tenant = $1)
			+ (SELECT count(*) FROM {deliveries} WHERE tenant = $1) + (SELECT count(*) FROM {attempts} WHERE tenant = $1)
			+ (SELECT count(*) FROM {gaps} WHERE tenant = $1) + (SELECT count(*) FROM {inbox} WHERE tenant = $1)
			+ (SELECT count(*) FROM {hours} WHERE tenant = $1)`
		others := r.count(all, "u")
		calls := 0
		for more := true; more; calls++ {
			more, err = r.EraseTenant(t.Context(), "t", 3)
			require.NoError(t, err)
			if calls == 2 {
				list, err := r.Endpoints(t.Context(), "t")
				require.NoError(t, err)
				require.Empty(t, list, "the endpoints go first")
			}
		}
		require.Greater(t, calls, 5)
		require.Zero(t, r.count(all, "t"))
		require.Equal(t, others, r.count(all, "u"))
		for _, l := range leases[10:] {
			applied, err := r.Record(t.Context(), []webhook.Outcome{outcome(l, webhook.OutcomeDelivered)})
			require.NoError(t, err)
			require.Equal(t, []bool{l.Delivery.Tenant == "u"}, applied)
		}
		more, err := r.EraseTenant(t.Context(), "t", 3)
		require.NoError(t, err)
		require.False(t, more)
		r.endpointOf("t", "a", webhook.Health{}) // its id is free again
	})
}

// An outcome that comes while its tenant is erased changes nothing: the endpoints are gone already.
func TestAnOutcomeOfATenantThatIsBeingErased(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		r.endpoint("e", webhook.Health{})
		r.emit(3)
		leases := r.claim(2)
		more, err := r.EraseTenant(t.Context(), "t", 1)
		require.NoError(t, err)
		require.True(t, more)
		applied, err := r.Record(t.Context(), []webhook.Outcome{outcome(leases[0], webhook.OutcomeRetry)})
		require.NoError(t, err)
		require.Equal(t, []bool{false}, applied)
		require.Empty(t, r.claim(10))
	})
}

func TestTenantsInOrder(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		names := []string{"", "A", "B", "a", "é", "日本"}
		for _, name := range []string{"é", "B", "", "a", "日本", "A"} {
			r.endpointOf(name, "one", webhook.Health{})
			r.endpointOf(name, "two", webhook.Health{})
		}
		r.endpointOf("gone", "one", webhook.Health{})
		require.NoError(t, r.DeleteEndpoint(t.Context(), "gone", "one"))
		for _, limit := range []int{1, 4, 6, 100} {
			var got []string
			var after *string
			for {
				list, err := r.Tenants(t.Context(), after, limit)
				require.NoError(t, err)
				require.LessOrEqual(t, len(list), limit)
				if len(list) == 0 {
					break
				}
				got = append(got, list...)
				after = &got[len(got)-1]
			}
			require.Equal(t, names, got)
		}
	})
}
