//go:build linux

package crashtest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// To make a database of a cluster that syncs, and to drop it, takes longer than all that a case does with it. So cases
// use each other's, made anew from a copy that each has of its contents.

// copied is the schema of the copy.
const copied = "seeded"

// borrow returns a database with the template's contents, for this test alone.
func (g *group) borrow(t testing.TB, dir string) string {
	t.Helper()
	g.postgresOnce.Do(func() {
		require.NoError(t, g.cluster.Exec("postgres", "CREATE DATABASE "+pgTemplate))
		db := &database{store: "postgres", cluster: g.cluster, dsn: g.cluster.DSN(pgTemplate), dir: dir}
		seed(t, db)
		statements := []string{"CREATE SCHEMA " + copied}
		for _, table := range db.tables(t) {
			statements = append(statements, fmt.Sprintf(`CREATE TABLE %[1]s."%[2]s" AS TABLE public."%[2]s"`, copied, table))
		}
		require.NoError(t, g.cluster.Exec(pgTemplate, strings.Join(statements, ";")))
		db.alone(t)
	})
	g.mu.Lock()
	var name string
	if n := len(g.free); n > 0 {
		name = g.free[n-1]
		g.free = g.free[:n-1]
	}
	g.serial++
	fresh := fmt.Sprintf("crash_%d", g.serial)
	g.mu.Unlock()
	if name == "" {
		name = fresh
		require.NoError(t, g.cluster.Exec("postgres", fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", name, pgTemplate)))
	}
	t.Cleanup(func() {
		if t.Failed() {
			return // it may not even work any more
		}
		db := &database{store: "postgres", cluster: g.cluster, dsn: g.cluster.DSN(name)}
		db.alone(t)
		var statements []string
		for _, table := range db.tables(t) {
			statements = append(statements, fmt.Sprintf(`DELETE FROM public."%[2]s"; INSERT INTO public."%[2]s" OVERRIDING SYSTEM VALUE SELECT * FROM %[1]s."%[2]s"`, copied, table))
		}
		require.NoError(t, g.cluster.Exec(name, strings.Join(statements, ";")))
		g.mu.Lock()
		defer g.mu.Unlock()
		g.free = append(g.free, name)
	})
	return name
}

// tables are the names of the store's tables.
func (db *database) tables(t testing.TB) []string {
	t.Helper()
	conn := db.connect(t)
	defer conn.Close(context.Background())
	rows, err := conn.Query(context.Background(), `SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1`)
	require.NoError(t, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.NotEmpty(t, names)
	return names
}

// alone waits until nobody else is connected to the database.
func (db *database) alone(t testing.TB) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), db.cluster.DSN("postgres"))
	require.NoError(t, err)
	defer conn.Close(context.Background())
	cfg, err := pgx.ParseConfig(db.dsn)
	require.NoError(t, err)
	eventually(t, 20*time.Second, "nobody is connected to "+cfg.Database, func() bool {
		var n int
		err := conn.QueryRow(context.Background(), `SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'`, cfg.Database).Scan(&n)
		require.NoError(t, err)
		return n == 0
	})
}
