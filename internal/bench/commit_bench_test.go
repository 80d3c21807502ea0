package bench

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/pgtest"
	"github.com/meshia/webhook/pgstore"
)

// BenchmarkGroupCommit emits from 64 goroutines at once, with no dispatcher running, and asks the server how many
// transactions it committed. commits/event counts those that store events: the mark of 1/8 says that eight events share
// one. with-notify/event counts those too that tell other processes.
func BenchmarkGroupCommit(b *testing.B) {
	const callers = 64
	b.Run("postgres", func(b *testing.B) {
		server := startServer(b, newest(b))
		_, admin := openPostgres(b, server.DSN("postgres"), 2)
		database := server.Database(b, "")
		counted := commits(b, admin, server, database, func(s *pgstore.Store) {
			d, err := webhook.NewDispatcher(s, settings(64))
			require.NoError(b, err)
			_, _, err = d.AddEndpoint(b.Context(), webhook.Endpoint{URL: "https://example.com/", Events: []string{webhook.AllEvents}}, webhook.WithoutPing())
			require.NoError(b, err)
		})
		require.Positive(b, counted)
		emit := func(wrap func(*pgstore.Store) webhook.Store) (perEvent, perSecond float64) {
			n := size(8000)
			var took time.Duration
			counted := commits(b, admin, server, database, func(s *pgstore.Store) {
				d, err := webhook.NewDispatcher(wrap(s), settings(64))
				require.NoError(b, err)
				took = together(b, n, callers, func() error { return d.Emit(context.Background(), experiment()) })
			})
			return float64(counted) / float64(n), float64(n) / took.Seconds()
		}
		var stored, told, rates series
		for b.Loop() {
			for range rounds() {
				one, rate := emit(func(s *pgstore.Store) webhook.Store { return struct{ webhook.Store }{s} }) // not a Waker
				both, _ := emit(func(s *pgstore.Store) webhook.Store { return s })
				stored, told, rates = append(stored, one), append(told, both), append(rates, rate)
			}
		}
		stored.report(b, "commits/event")
		told.report(b, "with-notify/event")
		b.ReportMetric(rates.median(), "emits/s")
		marked(b, 1.0/8)
	})
	b.Run("sqlite", func(b *testing.B) {
		b.Skip("neither the store nor SQLite counts its commits")
	})
}

// commits returns how many transactions a store commits, on a pool that is made and closed for it: a server knows what
// a connection did for certain when it has ended. Opening the store is about three of them.
func commits(b *testing.B, admin *pgxpool.Pool, server *pgtest.Cluster, database string, f func(*pgstore.Store)) int64 {
	b.Helper()
	count := func() (n int64) {
		require.Eventually(b, func() bool {
			var connected int
			require.NoError(b, admin.QueryRow(b.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'`, database).Scan(&connected))
			return connected == 0
		}, time.Minute, 5*time.Millisecond)
		require.NoError(b, admin.QueryRow(b.Context(), `SELECT xact_commit FROM pg_stat_database WHERE datname = $1`, database).Scan(&n))
		return n
	}
	before := count()
	pool := connect(b, server.DSN(database), 40)
	defer pool.Close()
	require.NoError(b, pgstore.Migrate(b.Context(), pool, nil))
	s, err := pgstore.New(b.Context(), pool, nil)
	require.NoError(b, err)
	f(s)
	pool.Close()
	return count() - before
}

// BenchmarkEmitTo compares transactions of 32 clients that insert a row of their own and emit an event, to which one
// endpoint subscribes, with transactions that insert that row and another one of the event's size instead. x-insert is
// the rate of the first divided by that of the second: what is left of a service's transactions when they emit.
func BenchmarkEmitTo(b *testing.B) {
	const clients = 32
	s, pool := openPostgres(b, startServer(b, newest(b)).DSN("postgres"), clients+2)
	_, err := pool.Exec(b.Context(), `
		CREATE TABLE business (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body bytea NOT NULL, at timestamptz NOT NULL DEFAULT now());
		CREATE TABLE plain (id text PRIMARY KEY, type text NOT NULL, session_id text NOT NULL, at timestamptz NOT NULL, body bytea NOT NULL)`)
	require.NoError(b, err)
	d, err := webhook.NewDispatcher(s, settings(64))
	require.NoError(b, err)
	_, _, err = d.AddEndpoint(b.Context(), webhook.Endpoint{URL: "https://example.com/", Events: []string{webhook.AllEvents}}, webhook.WithoutPing())
	require.NoError(b, err)

	transact := func(second func(context.Context, pgx.Tx, *webhook.Event) error) func() error {
		return func() error {
			ctx, e := context.Background(), experiment()
			tx, err := pool.Begin(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback(ctx) }() // of one that is committed it is nothing
			if _, err := tx.Exec(ctx, `INSERT INTO business (body) VALUES ($1)`, e.Body); err != nil {
				return err
			}
			if err := second(ctx, tx, &e); err != nil {
				return err
			}
			return tx.Commit(ctx)
		}
	}
	var emitted atomic.Int64
	plain := transact(func(ctx context.Context, tx pgx.Tx, e *webhook.Event) error {
		_, err := tx.Exec(ctx, `INSERT INTO plain (id, type, session_id, at, body) VALUES ($1, $2, $3, $4, $5)`, e.ID, e.Type, e.SessionID, e.Time, e.Body)
		return err
	})
	emit := transact(func(ctx context.Context, tx pgx.Tx, e *webhook.Event) error {
		emitted.Add(1)
		return d.EmitTo(ctx, s.Tx(tx), *e)
	})
	n := size(5000)
	together(b, n/4, clients, plain)
	together(b, n/4, clients, emit)
	var ratios, rates series
	for b.Loop() {
		for range rounds() {
			theirs, ours := together(b, n, clients, plain), together(b, n, clients, emit)
			ratios, rates = append(ratios, theirs.Seconds()/ours.Seconds()), append(rates, float64(n)/ours.Seconds())
		}
	}
	ratios.report(b, "x-insert")
	b.ReportMetric(rates.median(), "transactions/s")
	marked(b, 0.8)
	var waiting int64
	require.NoError(b, pool.QueryRow(b.Context(), `SELECT count(*) FROM webhook_deliveries WHERE state = 'pending'`).Scan(&waiting))
	require.Equal(b, emitted.Load(), waiting)
}
