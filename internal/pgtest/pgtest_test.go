package pgtest_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook/internal/pgtest"
)

func TestClusters(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, i pgtest.Installation) {
		t.Parallel()
		c := i.Start(t, &pgtest.Options{Durable: true, Settings: []string{"max_connections=20"}})
		require.NoError(t, c.Exec("postgres", `CREATE DATABASE seed`))
		require.NoError(t, c.Exec("seed", `CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)`))
		one, two := c.Database(t, "seed"), c.Database(t, "seed")
		require.NotEqual(t, one, two)
		require.NoError(t, c.Exec(one, `INSERT INTO kept VALUES (8)`))
		seven := `DO $$ BEGIN ASSERT (SELECT sum(n) FROM kept) = 7; END $$`
		require.NoError(t, c.Exec(two, seven), "each database is its own")
		require.ErrorContains(t, c.Exec(one, seven), "assertion failed")
		require.ErrorContains(t, c.Exec("nowhere", `SELECT 1`), `"nowhere" does not exist`)
		require.Contains(t, c.DSN(one), "dbname="+one)

		for _, mode := range []pgtest.Mode{pgtest.Fast, pgtest.Immediate} {
			require.NoError(t, c.Restart(mode))
			require.NoError(t, c.Exec(two, seven), "what was committed is there after a restart")
		}
		require.ErrorContains(t, c.Resume(), "already")
		require.NoError(t, c.Stop(pgtest.Fast))
		require.Error(t, c.Exec(two, seven))
		require.ErrorContains(t, c.Stop(pgtest.Fast), "no server")
		require.NoError(t, c.Resume())
		require.DirExists(t, c.Socket())
	})
}

func TestAClusterLeavesNothing(t *testing.T) {
	t.Parallel()
	i := pgtest.Required(t)[0]
	c, err := i.Open(nil)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoDirExists(t, c.Socket())

	i.Bin = t.TempDir()
	_, err = i.Open(nil)
	require.Error(t, err)
}

// Not parallel: it sets the environment.
func TestWhereInstallationsAreLookedFor(t *testing.T) {
	found := pgtest.Required(t)
	t.Setenv("WEBHOOK_POSTGRES_BIN", t.TempDir())
	require.Empty(t, pgtest.Find())
	last := found[len(found)-1]
	t.Setenv("WEBHOOK_POSTGRES_BIN", t.TempDir()+string(os.PathListSeparator)+last.Bin+string(os.PathListSeparator)+last.Bin)
	require.Equal(t, []pgtest.Installation{last}, pgtest.Find())
}
