package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/pgtest"
)

// alone is a rig on a database of its own, whose statistics are of nobody else.
func alone(t *testing.T, s *server, changes ...func(*pgxpool.Config)) *rig {
	t.Helper()
	pool := connect(t, s.DSN(s.Database(t, "")), changes...)
	cfg := migrated(t, pool)
	return &rig{Store: open(t, pool, cfg), TB: t, server: s, pool: pool, cfg: cfg}
}

func TestConcurrentEmitsShareCommits(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := alone(t, s)
		r.endpoint("e", webhook.Health{})
		const callers, each = 64, 20
		before := commits(r)
		var all sync.WaitGroup
		for i := range callers {
			all.Go(func() {
				for j := range each {
					_, err := r.Enqueue(context.Background(), webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{event(fmt.Sprintf("evt_%d_%d", i, j), j)}})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		require.LessOrEqual(t, commits(r)-before, callers*each/8)
		require.Equal(t, callers*each, r.count(`SELECT count(*) FROM {deliveries}`))
	})
}

// hold keeps the pool's only connection, lets calls gather behind it, and returns what lets them go on.
func (r *rig) hold() (release func()) {
	r.Helper()
	conn, err := r.pool.Acquire(r.Context())
	require.NoError(r, err)
	return conn.Release
}

func single(cfg *pgxpool.Config) { cfg.MaxConns = 1 }

func TestOneEventThatIsRefusedHarmsNoOther(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := alone(t, s, single)
		r.endpoint("e", webhook.Health{})
		known := r.emit(1)[0]
		release := r.hold()
		bad := map[int]webhook.Event{
			7:  event(known.ID, "another"),
			13: {ID: "nul", Type: "happened", SessionID: "a\x00b", Body: []byte("{}")}, // which Postgres refuses
		}
		errs := make([]error, 40)
		var all sync.WaitGroup
		for i := range errs {
			e, isBad := bad[i]
			if !isBad {
				e = event(fmt.Sprintf("good_%d", i), i)
			}
			if i == 20 || i == 21 { // two who emit the same
				e = event("same", 1)
			}
			all.Go(func() {
				_, errs[i] = r.Enqueue(context.Background(), webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{e}})
			})
		}
		time.Sleep(20 * time.Millisecond) // most of them are in one batch then; the test holds however many are
		release()
		all.Wait()
		for i, err := range errs {
			switch i {
			case 7:
				require.ErrorIs(t, err, webhook.ErrConflict)
			case 13:
				require.Error(t, err)
				require.False(t, errors.Is(err, webhook.ErrConflict))
			default:
				require.NoError(t, err, i)
			}
		}
		require.Equal(t, 38, r.count(`SELECT count(*) FROM {events}`))
	})
}

func TestACallerWhoLeavesHarmsNoOther(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := alone(t, s, single)
		r.endpoint("e", webhook.Health{})
		for round := range 3 {
			release := r.hold()
			const n = 12
			errs := make([]error, n)
			results := make([]webhook.EnqueueResult, n)
			ctx, leave := context.WithCancel(t.Context())
			var all sync.WaitGroup
			for i := range n {
				all.Go(func() {
					ctx := ctx
					if i%3 != 0 {
						ctx = context.Background()
					}
					results[i], errs[i] = r.Enqueue(ctx, webhook.EnqueueRequest{
						Tenant: "t", Events: []webhook.Event{event(fmt.Sprintf("evt_%d_%d", round, i), i)}, HandOver: &webhook.HandOver{Owner: "o", Term: time.Hour, Max: 1},
					})
				})
			}
			time.Sleep(5 * time.Millisecond)
			leave()
			time.Sleep(5 * time.Millisecond)
			release()
			all.Wait()
			handed := 0
			for i, err := range errs {
				if i%3 != 0 {
					require.NoError(t, err)
				} else if err != nil {
					require.ErrorIs(t, err, context.Canceled)
					require.Empty(t, results[i].Leases)
				}
				handed += len(results[i].Leases)
				r.record(webhook.OutcomeDelivered, results[i].Leases...)
			}
			require.Positive(t, handed)
			require.Zero(t, r.count(`SELECT count(*) FROM {deliveries} WHERE state = 'leased'`), "a lease of a caller who left")
			r.record(webhook.OutcomeDelivered, r.claim(20)...)
		}
	})
}

// A caller whose context ends while others write for him gets no leases, and so nobody has them.
func TestWhatIsHandedToACallerWhoLeftIsGivenBack(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		r.endpoint("e", webhook.Health{})
		tx, err := r.pool.Begin(t.Context())
		require.NoError(t, err)
		defer func() { _ = tx.Rollback(context.Background()) }()
		for _, id := range []string{"alone", "together"} { // whoever stores these waits for the transaction
			_, err = r.Tx(tx).Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{event(id, 1)}})
			require.NoError(t, err)
		}
		const waiting = `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1`
		pattern := "%" + r.cfg.Schema + `"%`
		enqueue := func(ctx context.Context, id string) error {
			_, err := r.Enqueue(ctx, webhook.EnqueueRequest{
				Tenant: "t", Events: []webhook.Event{event(id, 1)}, HandOver: &webhook.HandOver{Owner: "o", Term: time.Hour, Max: 1},
			})
			return err
		}
		short, stop := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() { first <- enqueue(short, "alone") }()
		r.waitFor(waiting, pattern)
		alone := r.count(`SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1`, pattern)
		together, left := make(chan error, 1), make(chan error, 3)
		go func() { together <- enqueue(context.Background(), "together") }()
		require.Eventually(t, func() bool { return r.Waiting() == 1 }, 20*time.Second, time.Millisecond)
		ctx, leave := context.WithCancel(t.Context())
		for i := range cap(left) {
			go func() { left <- enqueue(ctx, fmt.Sprint("left_", i)) }()
		}
		require.Eventually(t, func() bool { return r.Waiting() == 1+cap(left) }, 20*time.Second, time.Millisecond)
		stop()
		require.ErrorIs(t, <-first, context.Canceled)
		require.Eventually(t, func() bool { return r.Waiting() == 0 }, 20*time.Second, time.Millisecond, "they are written together")
		// The driver cancels beside the call that returned: until the server has heard of it the first one may commit.
		r.waitFor(`SELECT (NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock'))::int`, alone)
		r.waitFor(waiting, pattern)
		leave()
		for range cap(left) {
			require.ErrorIs(t, <-left, context.Canceled)
		}
		require.NoError(t, tx.Rollback(t.Context()))
		require.NoError(t, <-together)
		require.Eventually(t, func() bool { return r.count(`SELECT count(*) FROM {deliveries} WHERE state = 'pending'`) == cap(left) }, 20*time.Second, 5*time.Millisecond)
		require.Equal(t, 1, r.count(`SELECT count(*) FROM {deliveries} WHERE state = 'leased'`))
		require.Len(t, r.claim(10), cap(left))
	})
}

func TestEnqueueWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	for _, i := range pgtest.Required(t) {
		t.Run(i.String(), func(t *testing.T) {
			t.Parallel()
			c := i.Start(t, nil)
			pool := connect(t, c.DSN("postgres"))
			cfg := migrated(t, pool)
			r := &rig{Store: open(t, pool, cfg), TB: t, pool: pool, cfg: cfg}
			r.endpoint("e", webhook.Health{})
			events := r.emit(2)
			require.NoError(t, c.Stop(pgtest.Fast))
			_, err := r.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: events})
			require.Error(t, err)
			_, err = r.Claim(t.Context(), request(1))
			require.Error(t, err)
			require.Error(t, r.Wake(t.Context()))
			require.NoError(t, c.Resume())
			require.Eventually(t, func() bool {
				_, err := r.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: events})
				return err == nil
			}, 20*time.Second, 5*time.Millisecond, "it connects again by itself")
			require.Len(t, r.claim(10), 2)
		})
	}
}
