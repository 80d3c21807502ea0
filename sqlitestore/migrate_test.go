package sqlitestore_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook/sqlitestore"
)

// version makes the file say that it has a later schema.
func version(t *testing.T, path string, version, minimum int) {
	t.Helper()
	db := pool(t, path)
	execute(t, db, "UPDATE webhook_schema SET version = ?, minimum = ?", version, minimum)
	execute(t, db, "ALTER TABLE webhook_deliveries ADD COLUMN later TEXT NOT NULL DEFAULT 'x'")
	execute(t, db, "ALTER TABLE webhook_lanes ADD COLUMN later INTEGER")
}

func TestAnOlderLibraryRunsOnALaterSchema(t *testing.T) {
	t.Parallel()
	path, n := file(t), sqlitestore.Version()
	s, err := sqlitestore.Open(t.Context(), path, nil)
	require.NoError(t, err)
	endpoint(t, s, "t", "we_1")
	require.NoError(t, s.Close())

	version(t, path, n+1, n)
	s = open(t, path)
	emit(t, s, "t", events(2)...)
	leases := claim(t, s, 2)
	require.Len(t, leases, 2)
	record(t, s, delivered(leases[0]), retry(leases[1], 0))
	require.Equal(t, n+1, query[int](t, pool(t, path), "SELECT version FROM webhook_schema"), "an older library changed the version")
}

func TestASchemaThatIsTooNewIsRefused(t *testing.T) {
	t.Parallel()
	path, n := file(t), sqlitestore.Version()
	open(t, path)
	version(t, path, n+1, n+1)
	_, err := sqlitestore.Open(t.Context(), path, nil)
	require.ErrorIs(t, err, sqlitestore.ErrSchema)
	require.ErrorContains(t, err, fmt.Sprintf("knows %d", n))
	_, err = sqlitestore.New(t.Context(), pool(t, path, durable...), nil)
	require.ErrorIs(t, err, sqlitestore.ErrSchema)
}

func TestMigrationsRunOnceAndInOrder(t *testing.T) {
	t.Parallel()
	path, n := file(t), sqlitestore.Version()
	s := open(t, path)
	endpoint(t, s, "t", "we_1")
	db := pool(t, path)
	steps := []sqlitestore.Step{
		{Minimum: n, SQL: "CREATE TABLE webhook_later (a INTEGER)"},
		{Minimum: n + 1, SQL: "ALTER TABLE webhook_later ADD COLUMN b INTEGER; INSERT INTO webhook_later VALUES (1, 2)"},
	}
	for range 3 { // and no more than once
		require.NoError(t, sqlitestore.MigrateWith(t.Context(), s, steps...))
		require.Equal(t, n+2, query[int](t, db, "SELECT version FROM webhook_schema"))
		require.Equal(t, n+1, query[int](t, db, "SELECT minimum FROM webhook_schema"))
		require.Equal(t, 1, query[int](t, db, "SELECT count(*) FROM webhook_later"))
	}
	require.NoError(t, sqlitestore.MigrateWith(t.Context(), s, steps[0]), "version N-1 does not run on schema N")
	require.ErrorIs(t, sqlitestore.MigrateWith(t.Context(), s), sqlitestore.ErrSchema)
}

func TestAMigrationThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	path, n := file(t), sqlitestore.Version()
	s := open(t, path)
	db := pool(t, path)
	err := sqlitestore.MigrateWith(t.Context(), s,
		sqlitestore.Step{Minimum: n, SQL: "CREATE TABLE webhook_good (a INTEGER)"},
		sqlitestore.Step{Minimum: n, SQL: "CREATE TABLE webhook_bad (a INTEGER); INSERT INTO webhook_nowhere VALUES (1)"})
	require.ErrorContains(t, err, fmt.Sprintf("to schema version %d", n+2))
	require.Equal(t, n+1, query[int](t, db, "SELECT version FROM webhook_schema"))
	require.Equal(t, 1, query[int](t, db, "SELECT count(*) FROM sqlite_schema WHERE name IN ('webhook_good', 'webhook_bad')"))
}

func TestManyOpenANewFileAtOnce(t *testing.T) {
	t.Parallel()
	for range 2 {
		path := file(t)
		inParallel(t, 6, 6, func(i int) error {
			s, err := sqlitestore.Open(context.Background(), path, nil)
			if err != nil {
				return err
			}
			if _, err := s.Endpoints(context.Background(), "t"); err != nil {
				return err
			}
			return s.Close()
		})
		require.Equal(t, 1, query[int](t, pool(t, path), "SELECT count(*) FROM webhook_schema"))
	}
}

// TestOpeningWaitsForNoWriter opens a file that is up to date while another process writes.
func TestOpeningWaitsForNoWriter(t *testing.T) {
	t.Parallel()
	path := file(t)
	open(t, path)
	tx, err := pool(t, path).BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback()
	s := open(t, path)
	_, err = s.Endpoints(t.Context(), "t")
	require.NoError(t, err)
}
