package pgstore_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/pgstore"
)

// migrated makes the tables in a database of the test's own.
func migrated(t *testing.T, pool *pgxpool.Pool) *pgstore.Config {
	t.Helper()
	cfg := &pgstore.Config{Schema: "public"}
	require.NoError(t, pgstore.Migrate(t.Context(), pool, cfg))
	return cfg
}

var quiet = slog.New(slog.DiscardHandler)

func TestOneProcessWakesAnother(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		other := r.other()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		heard := make(chan error, 1)
		go func() { heard <- r.Wait(ctx) }()
		// It hears what is told after it listens; that it does so, a Wake that it hears shows.
		woken := func() {
			require.Eventually(t, func() bool {
				require.NoError(t, other.Wake(t.Context()))
				select {
				case err := <-heard:
					require.NoError(t, err)
					return true
				case <-time.After(500 * time.Millisecond):
					return false
				}
			}, 20*time.Second, time.Millisecond)
		}
		woken()
		// From now on the connection is kept: nothing is missed between two calls.
		for range 3 {
			require.NoError(t, other.Wake(t.Context()))
			require.NoError(t, r.Wait(ctx))
		}
		go func() { heard <- r.Wait(ctx) }()
		woken()

		cancel()
		require.ErrorIs(t, r.Wait(ctx), context.Canceled)
		stranger := newRig(t, s)
		require.NoError(t, stranger.Wake(t.Context()), "of other tables")
	})
}

func TestNobodyIsWokenByAStranger(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r, stranger := newRig(t, s), newRig(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		heard := make(chan error, 1)
		go func() { heard <- r.Wait(ctx) }()
		for range 20 {
			require.NoError(t, stranger.Wake(t.Context()))
		}
		cancel()
		require.ErrorIs(t, <-heard, context.Canceled)
	})
}

func TestManyWakesAreFewNotifications(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		pool := connect(t, s.DSN(s.Database(t, "")))
		cfg := migrated(t, pool)
		r := &rig{Store: open(t, pool, cfg), TB: t, pool: pool, cfg: cfg}
		before := commits(r)
		const n = 2000
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				for range n / 50 {
					if err := r.Wake(context.Background()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		require.Less(t, commits(r)-before, n/2)
	})
}

func TestAListenerThatLostItsConnection(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		pool := connect(t, s.DSN(s.Database(t, "")))
		cfg := migrated(t, pool)
		r := &rig{Store: open(t, pool, cfg), TB: t, pool: pool, cfg: cfg}
		d, err := webhook.NewDispatcher(r.Store, &webhook.Config{UnguardedTransport: answering{}, Poll: 50 * time.Millisecond, Logger: quiet})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx) }()
		const listening = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN webhook_%' AND state = 'idle'`
		r.waitFor(listening)
		r.endpointOf("", "e", webhook.Health{})
		for range 3 {
			r.count(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN webhook_%' AND state = 'idle'`)
			// Enqueued by another process, who tells nobody.
			e := experiment()
			_, err = r.Enqueue(t.Context(), webhook.EnqueueRequest{Events: []webhook.Event{e}})
			require.NoError(t, err)
			r.waitFor(`SELECT count(*) FROM {deliveries} WHERE event_id = $1 AND state = 'succeeded'`, e.ID)
			r.waitFor(listening)
		}
		cancel()
		require.NoError(t, <-done)
		require.Eventually(t, func() bool { return r.count(listening) == 0 }, 20*time.Second, 5*time.Millisecond, "a listener is left")
	})
}

// A dispatcher that was told something, and stopped before it listened again, leaves no connection.
func TestAListenerThatDoesNotComeAgain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := alone(t, s)
		const listening = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN webhook_%' AND state = 'idle'`
		ctx, cancel := context.WithCancel(t.Context())
		heard := make(chan error, 1)
		go func() { heard <- r.Wait(ctx) }()
		r.waitFor(listening)
		require.NoError(t, r.Wake(t.Context()))
		require.NoError(t, <-heard)
		require.Equal(t, 1, r.count(listening), "it is kept for the next call")
		require.NoError(t, r.Wake(t.Context()))
		require.NoError(t, r.Wait(ctx), "told between two calls")
		cancel()
		require.Eventually(t, func() bool { return r.count(listening) == 0 }, 20*time.Second, 5*time.Millisecond, "a listener is left")
	})
}
