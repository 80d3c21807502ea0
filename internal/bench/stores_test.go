package bench

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook/internal/pgtest"
	"github.com/meshia/webhook/pgstore"
	"github.com/meshia/webhook/sqlitestore"
)

// newest is the newest Postgres that there is.
func newest(b *testing.B) pgtest.Installation {
	b.Helper()
	all := pgtest.Required(b)
	return all[len(all)-1]
}

// startServer starts a Postgres that writes as a real one does, with more room than its defaults have.
func startServer(b *testing.B, i pgtest.Installation, more ...string) *pgtest.Cluster {
	b.Helper()
	return i.Start(b, &pgtest.Options{Durable: true, Settings: append([]string{
		"shared_buffers=512MB", "max_wal_size=4GB", "autovacuum=on", "autovacuum_naptime=5s",
	}, more...)})
}

// connect opens a pool, and leaves closing it to the caller.
func connect(tb testing.TB, dsn string, connections int32) *pgxpool.Pool {
	tb.Helper()
	cfg, err := pgxpool.ParseConfig(dsn)
	require.NoError(tb, err)
	cfg.MaxConns = connections
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	require.NoError(tb, err)
	return pool
}

// openPostgres makes the store's tables where there are none, and opens it on a pool of its own.
func openPostgres(tb testing.TB, dsn string, connections int32) (*pgstore.Store, *pgxpool.Pool) {
	tb.Helper()
	pool := connect(tb, dsn, connections)
	tb.Cleanup(pool.Close)
	require.NoError(tb, pgstore.Migrate(context.Background(), pool, nil))
	s, err := pgstore.New(context.Background(), pool, nil)
	require.NoError(tb, err)
	return s, pool
}

func openSQLite(tb testing.TB) (s *sqlitestore.Store, path string) {
	tb.Helper()
	path = filepath.Join(tb.TempDir(), "webhooks.db")
	s, err := sqlitestore.Open(context.Background(), path, nil)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	return s, path
}
