package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// miscounted counts the lanes that have another number of deliveries pending or leased than they and the inbox say.
const miscounted = `
SELECT count(*) FROM {lanes} l
LEFT JOIN (SELECT tenant, endpoint_id, count(*) AS n FROM {deliveries} WHERE turn IS NOT NULL GROUP BY 1, 2) d ON d.tenant = l.tenant AND d.endpoint_id = l.id
LEFT JOIN (SELECT tenant, endpoint_id, sum(events) AS n FROM {inbox} WHERE gap IS NULL GROUP BY 1, 2) i ON i.tenant = l.tenant AND i.endpoint_id = l.id
WHERE l.pending + coalesce(i.n, 0) <> coalesce(d.n, 0)`

func bounded(n, bound int) webhook.ClaimRequest {
	req := request(n)
	req.MaxPending = bound
	return req
}

// TestPendingIsNeverMiscounted does at random, from two processes, whatever makes and ends deliveries. What the lanes
// and the inbox say is right at every moment, and each gap of a backlog is named by one claim.
func TestPendingIsNeverMiscounted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := alone(t, s)
		stores := []*rig{r, {Store: open(t, connect(t, r.pool.Config().ConnString()), r.cfg), TB: t, pool: r.pool, cfg: r.cfg}}
		const endpoints, rounds, bound = 4, 30, 12
		for i := range endpoints {
			r.endpoint(fmt.Sprint("e", i), webhook.Health{Window: 6})
		}
		limited, err := r.Endpoint(t.Context(), "t", "e3")
		require.NoError(t, err)
		limited.Rate, limited.Burst = 50, 5
		_, err = r.UpdateEndpoint(t.Context(), limited, nil)
		require.NoError(t, err)

		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		var all sync.WaitGroup
		var named, miscounts atomic.Int64
		work := func(n int, f func(r *rig, id string) error) {
			for w := range n {
				all.Go(func() {
					for i := range rounds {
						if err := f(stores[w%2], fmt.Sprintf("%d_%d_%d", n, w, i)); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
		}
		kinds := []webhook.OutcomeKind{
			webhook.OutcomeDelivered, webhook.OutcomeRetry, webhook.OutcomeFailed, webhook.OutcomeDeferred, webhook.OutcomeInterrupted, webhook.OutcomeReleased,
		}
		states := []webhook.EndpointState{webhook.EndpointActive, webhook.EndpointActive, webhook.EndpointPaused, webhook.EndpointDisabled}
		judge := func(h webhook.Health, _ time.Time) webhook.Health {
			h.State = states[rand.IntN(len(states))]
			return h
		}
		finish := func(r *rig, leases []webhook.Lease) error {
			var outcomes []webhook.Outcome
			for _, l := range leases {
				if rand.IntN(4) == 0 {
					continue // it runs out
				}
				o := outcome(l, kinds[rand.IntN(len(kinds))])
				if rand.IntN(8) == 0 {
					o.Judge = judge
				}
				outcomes = append(outcomes, o)
			}
			_, err := r.Record(ctx, outcomes)
			return err
		}
		const term = 20 * time.Millisecond
		two := func(id string) []webhook.Event {
			return []webhook.Event{event("a"+id, id), event("b"+id, id)}
		}
		work(3, func(r *rig, id string) error {
			result, err := r.Enqueue(ctx, webhook.EnqueueRequest{
				Tenant: "t", Events: two(id), MaxPending: bound, HandOver: &webhook.HandOver{Owner: id, Term: term, Max: rand.IntN(8)},
			})
			return errors.Join(err, finish(r, result.Leases))
		})
		work(1, func(r *rig, id string) error {
			err := pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
				_, err := r.Tx(tx).Enqueue(ctx, webhook.EnqueueRequest{Tenant: "t", Events: two(id)})
				if err == nil && rand.IntN(3) == 0 {
					return context.Canceled // rolled back
				}
				return err
			})
			if errors.Is(err, context.Canceled) {
				err = nil
			}
			return err
		})
		work(2, func(r *rig, id string) error {
			kind := []webhook.DeliveryKind{webhook.KindPing, webhook.KindRedelivery}[rand.IntN(2)]
			result, err := r.Enqueue(ctx, webhook.EnqueueRequest{
				Tenant: "t", Events: two("direct" + id)[:1], Direct: &webhook.Direct{EndpointID: fmt.Sprint("e", rand.IntN(endpoints)), Kind: kind, Owner: id, Term: term},
			})
			return errors.Join(err, finish(r, result.Leases))
		})
		work(4, func(r *rig, id string) error {
			req := bounded(8, bound)
			req.Term = term
			if rand.IntN(4) == 0 {
				req.MaxAge = 200 * time.Millisecond
			}
			c, err := r.Claim(ctx, req)
			named.Add(int64(len(c.Backlogged)))
			return errors.Join(err, finish(r, c.Leases))
		})
		work(1, func(r *rig, id string) error {
			_, err := r.JudgeEndpoint(ctx, "t", fmt.Sprint("e", rand.IntN(endpoints)), judge)
			return err
		})
		work(1, func(r *rig, id string) error {
			page, err := r.Deliveries(ctx, "t", webhook.DeliveryFilter{State: webhook.DeliveryPending, Limit: 5})
			if err == nil && len(page.Deliveries) > 0 {
				err = r.EraseDelivery(ctx, "t", page.Deliveries[len(page.Deliveries)-1].ID)
			}
			return err
		})
		work(1, func(r *rig, id string) error {
			_, err := r.CreateEndpoint(ctx, webhook.Endpoint{
				ID: "short_" + id, Tenant: "t", Events: []string{"*"}, Health: webhook.Health{State: webhook.EndpointActive},
			}, 100)
			return errors.Join(err, r.DeleteEndpoint(ctx, "t", "short_"+id))
		})
		over := make(chan struct{})
		var checker sync.WaitGroup
		checker.Go(func() {
			for {
				var n int64
				if err := r.pool.QueryRow(ctx, r.sql(miscounted)).Scan(&n); err != nil {
					t.Error(err)
					return
				}
				miscounts.Add(n)
				select {
				case <-over:
					return
				default:
				}
			}
		})
		all.Wait()
		close(over)
		checker.Wait()
		require.Zero(t, miscounts.Load(), "while it went on")

		for i := range endpoints {
			_, err := r.JudgeEndpoint(t.Context(), "t", fmt.Sprint("e", i), func(h webhook.Health, _ time.Time) webhook.Health {
				h.State = webhook.EndpointActive
				return h
			})
			require.NoError(t, err)
		}
		require.Eventually(t, func() bool { // until all leases have run out and all news are taken in
			c, err := r.Claim(t.Context(), bounded(0, bound))
			require.NoError(t, err)
			named.Add(int64(len(c.Backlogged)))
			return r.count(`SELECT (SELECT count(*) FROM {inbox}) + (SELECT count(*) FROM {deliveries} WHERE turn = 2)`) == 0
		}, 20*time.Second, 5*time.Millisecond)
		require.Zero(t, r.count(miscounted))
		require.Zero(t, r.count(`SELECT count(*) FROM {lanes} WHERE deleted AND pending <> 0`))
		require.Zero(t, r.count(`SELECT count(*) FROM {lanes} WHERE NOT deleted AND (pending >= $1 AND gap IS NULL OR pending <= $1 * 9 / 10 AND backlogged)`, bound))
		require.Zero(t, r.count(`SELECT count(*) FROM {lanes} l FULL JOIN (SELECT * FROM {gaps} WHERE to_at IS NULL) g
			ON g.tenant = l.tenant AND g.endpoint_id = l.id AND g.number = l.gap
			WHERE (l.gap IS NULL) <> (g.number IS NULL) OR l.backlogged <> (coalesce(g.reason, '') = 'backlog')`), "gaps and lanes disagree")
		opened := r.count(`SELECT count(*) FROM {gaps} WHERE reason = 'backlog'`)
		require.EqualValues(t, opened, named.Load())
		require.Positive(t, opened, "the test tests nothing")
		require.Zero(t, r.count(`SELECT deadlocks::int FROM pg_stat_database WHERE datname = current_database()`))
	})
}

// What comes for a lane that somebody else holds waits in the inbox: whoever emits, erases or claims does not wait.
func TestNewsOfALaneThatIsHeld(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		r.endpoint("e", webhook.Health{}, "happened")
		r.endpoint("off", webhook.Health{State: webhook.EndpointDisabled}, "ceased")
		r.emit(2)
		first := r.claim(2)
		later := outcome(first[0], webhook.OutcomeRetry)
		later.Wait = time.Hour
		_, err := r.Record(t.Context(), []webhook.Outcome{later})
		require.NoError(t, err)
		pending := func() int64 {
			stats, err := r.Stats(t.Context(), "t", "e", time.Now())
			require.NoError(t, err)
			return stats.Pending
		}
		tx, err := r.pool.Begin(t.Context())
		require.NoError(t, err)
		defer func() { _ = tx.Rollback(context.Background()) }()
		_, err = tx.Exec(t.Context(), r.sql(`SELECT FROM {lanes} FOR UPDATE`))
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()

		require.NoError(t, r.EraseDelivery(ctx, "t", first[0].Delivery.ID))
		_, err = r.Enqueue(ctx, webhook.EnqueueRequest{
			Tenant: "t", Events: r.events(1), Direct: &webhook.Direct{EndpointID: "e", Kind: webhook.KindTest, Owner: "o", Term: time.Hour},
		})
		require.NoError(t, err)
		_, err = r.Enqueue(ctx, webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{webhook.NewEventType[any]("ceased", "", nil).New("", 1)}})
		require.NoError(t, err, "and is missed")
		require.NoError(t, pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
			_, err := r.Tx(tx).Enqueue(ctx, webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{webhook.NewEventType[any]("ceased", "", nil).New("", 1)}})
			return err
		}))
		c, err := r.Claim(ctx, bounded(10, 4))
		require.NoError(t, err)
		require.Greater(t, c.Next, time.Minute, "news of which nothing can be handed out are no reason to come back")
		require.Equal(t, 4, r.count(`SELECT count(*) FROM {inbox}`))
		require.EqualValues(t, 2, pending())

		_, err = r.Enqueue(ctx, webhook.EnqueueRequest{Tenant: "t", Events: r.events(3), MaxPending: 4})
		require.NoError(t, err)
		c, err = r.Claim(ctx, bounded(10, 4))
		require.NoError(t, err)
		require.Empty(t, c.Leases)
		require.Empty(t, c.Backlogged)
		require.Zero(t, c.Next)
		require.EqualValues(t, 5, pending())
		require.Zero(t, r.count(miscounted))

		require.NoError(t, tx.Rollback(t.Context()))
		c, err = r.Claim(t.Context(), bounded(10, 4))
		require.NoError(t, err)
		require.Len(t, c.Leases, 3)
		require.Equal(t, []webhook.EndpointRef{{Tenant: "t", ID: "e"}}, c.Backlogged)
		require.Zero(t, r.count(`SELECT count(*) FROM {inbox}`))
		require.Equal(t, 5, r.count(`SELECT pending FROM {lanes} WHERE id = 'e'`))
		require.Equal(t, 2, r.count(`SELECT count::int FROM {gaps} WHERE endpoint_id = 'off'`))
	})
}

// A claim that comes upon an endpoint with nothing to hand out looks again, and forgets nobody whom it has named.
func TestAClaimThatLooksAgainNamesWhoIsBacklogged(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		r.endpoint("erased", webhook.Health{}, "happened")
		r.emit(1)
		require.Empty(t, r.claim(0), "takes the inbox in")
		page, err := r.Deliveries(t.Context(), "t", webhook.DeliveryFilter{})
		require.NoError(t, err)
		require.NoError(t, r.EraseDelivery(t.Context(), "t", page.Deliveries[0].ID))
		r.endpoint("full", webhook.Health{State: webhook.EndpointPaused, PausedUntil: time.Now().Add(time.Hour)}, "ceased")
		_, err = r.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{webhook.NewEventType[any]("ceased", "", nil).New("", 1)}})
		require.NoError(t, err)
		c, err := r.Claim(t.Context(), bounded(10, 1))
		require.NoError(t, err)
		require.Equal(t, []webhook.EndpointRef{{Tenant: "t", ID: "full"}}, c.Backlogged)
	})
}

// A bound that differs from claim to claim: each keeps its own.
func TestBoundsThatChange(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		r.endpoint("e", webhook.Health{State: webhook.EndpointPaused, PausedUntil: time.Now().Add(time.Hour)})
		r.emit(10)
		for i, step := range []struct {
			bound int
			opens bool
			open  int
		}{{0, false, 0}, {11, false, 0}, {10, true, 1}, {10, false, 1}, {11, false, 1}, {12, false, 0}, {5, true, 1}, {1, false, 1}, {0, false, 0}, {1, true, 1}} {
			c, err := r.Claim(t.Context(), bounded(10, step.bound))
			require.NoError(t, err)
			require.Equal(t, step.opens, len(c.Backlogged) == 1, "step %d", i)
			require.Equal(t, step.open, r.count(`SELECT count(*) FROM {gaps} WHERE to_at IS NULL`), "step %d", i)
		}
	})
}

// Leases that are left of a deleted endpoint are no backlog.
func TestADeletedEndpointHasNoBacklog(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		r.endpoint("e", webhook.Health{})
		r.emit(3)
		c, err := r.Claim(t.Context(), bounded(3, 3))
		require.NoError(t, err)
		require.Len(t, c.Backlogged, 1)
		require.Len(t, c.Leases, 3)
		require.NoError(t, r.DeleteEndpoint(t.Context(), "t", "e"))
		again, err := r.Claim(t.Context(), bounded(3, 3))
		require.NoError(t, err)
		require.Empty(t, again.Backlogged)
		require.Zero(t, r.count(`SELECT count(*) FROM {lanes} WHERE backlogged OR gap IS NOT NULL`))
		require.Zero(t, r.count(`SELECT count(*) FROM {gaps} WHERE to_at IS NULL`))
		r.record(webhook.OutcomeDelivered, c.Leases...)
		require.Zero(t, r.count(miscounted))
	})
}

// TestRoundTrips counts how often a call goes to the database and back.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		var n trips
		cfg := s.schema(t)
		pool := connect(t, s.DSN("postgres"), func(cfg *pgxpool.Config) { cfg.ConnConfig.Tracer = &n })
		r := &rig{Store: open(t, pool, cfg), TB: t, pool: pool, cfg: cfg}
		e := r.endpoint("e", webhook.Health{})
		e.Rate, e.Burst = 0.001, 10
		_, err := r.UpdateEndpoint(t.Context(), e, nil)
		require.NoError(t, err)
		takes := func(want int64, what string, f func()) {
			t.Helper()
			before := n.Load()
			f()
			require.Equal(t, want, n.Load()-before, what)
		}
		takes(1, "emitting", func() { r.emit(5) })
		var leases []webhook.Lease
		takes(2, "a claim that opens a gap", func() {
			c, err := r.Claim(t.Context(), bounded(3, 5))
			require.NoError(t, err)
			require.Len(t, c.Backlogged, 1)
			leases = c.Leases
		})
		require.Len(t, leases, 3)
		takes(2, "outcomes", func() { r.record(webhook.OutcomeRetry, leases[0]) })
		takes(2, "outcomes", func() { r.record(webhook.OutcomeDelivered, leases[1:]...) })
		require.NoError(t, r.EraseDelivery(t.Context(), "t", leases[0].Delivery.ID))
		rest := r.claim(10)
		require.Len(t, rest, 2)
		takes(1, "statistics", func() {
			_, err := r.Stats(t.Context(), "t", "e", time.Time{})
			require.NoError(t, err)
		})
		_, err = r.Enqueue(t.Context(), webhook.EnqueueRequest{
			Tenant: "t", Events: r.events(2), Direct: &webhook.Direct{EndpointID: "e", Kind: webhook.KindTest, Owner: "o", Term: time.Hour},
		})
		require.NoError(t, err)
		takes(2, "a claim that only hears how much is pending", func() { require.Empty(t, r.claim(10)) })
		require.Equal(t, 4, r.count(`SELECT pending FROM {lanes}`))

		r.emit(10)
		require.Len(t, r.claim(20), 5)
		for _, what := range []string{"a claim that only a rate keeps from more", "and one that hears of more events"} {
			takes(2, what, func() {
				c, err := r.Claim(t.Context(), request(10))
				require.NoError(t, err)
				require.Empty(t, c.Leases)
				require.False(t, c.Blocked)
				require.Greater(t, c.Next, time.Minute)
			})
			r.emit(1)
		}
		require.NoError(t, r.DeleteEndpoint(t.Context(), "t", "e"))
		r.claim(10)
		r.endpoint("quick", webhook.Health{})
		takes(1, "a hand-over", func() {
			result, err := r.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: r.events(1), HandOver: &webhook.HandOver{Owner: "o", Term: time.Hour, Max: 1}})
			require.NoError(t, err)
			require.Len(t, result.Leases, 1)
		})
		takes(2, "a claim that only hears of it", func() { require.Empty(t, r.claim(10)) })
		require.Equal(t, 1, r.count(`SELECT pending FROM {lanes} WHERE id = 'quick'`))
	})
}
