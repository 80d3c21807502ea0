//go:build linux

package crashtest

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/pgtest"
	"github.com/meshia/webhook/pgstore"
	"github.com/meshia/webhook/sqlitestore"
)

var stores = []string{"sqlite", "postgres"}

// database is where a crew's store is.
type database struct {
	store, dsn string
	dir        string // of the ledgers
	cluster    *pgtest.Cluster
}

// group is what all tests share: one cluster, and a database of each kind to copy.
type group struct {
	clusterOnce, sqliteOnce, postgresOnce sync.Once
	dir                                   string // of the tests, where the template of SQLite files is
	cluster                               *pgtest.Cluster
	err                                   error

	mu     sync.Mutex
	free   []string // databases that nobody uses
	serial int
}

var shared group

// durable is how a cluster runs whose crash is to lose nothing.
var durable = &pgtest.Options{Durable: true, Settings: []string{"max_connections=150"}}

// theCluster is the cluster of the tests that do not harm it.
func (g *group) theCluster(t testing.TB) *pgtest.Cluster {
	t.Helper()
	found := pgtest.Required(t)
	g.clusterOnce.Do(func() { g.cluster, g.err = found[len(found)-1].Open(durable) })
	require.NoError(t, g.err)
	require.NotNil(t, g.cluster)
	return g.cluster
}

func (g *group) close() error {
	if g.cluster == nil {
		return nil
	}
	return g.cluster.Close()
}

// Templates: databases with a schema and, from long ago, an event that is to be removed and one whose contents are.
const (
	seedEndpoint = "seed"
	oldEvent     = "seed_1"
	staleEvent   = "seed_2"
	pgTemplate   = "crash_template"
)

func isSeed(eventID string) bool { return eventID == oldEvent || eventID == staleEvent }

// newDatabase makes a database for a test alone: with the template's contents, or with nothing at all in it.
func newDatabase(t testing.TB, store string, empty bool) *database {
	t.Helper()
	db := &database{store: store, dir: t.TempDir()}
	if store == "postgres" {
		db.cluster = shared.theCluster(t)
		if empty {
			db.dsn = db.cluster.DSN(db.cluster.Database(t, ""))
		} else {
			db.dsn = db.cluster.DSN(shared.borrow(t, db.dir))
		}
		return db
	}
	db.dsn = filepath.Join(db.dir, "store.db")
	if empty {
		return db
	}
	shared.sqliteOnce.Do(func() {
		template := &database{store: store, dir: shared.dir, dsn: filepath.Join(shared.dir, "store.db")}
		seed(t, template)
	})
	contents, err := os.ReadFile(filepath.Join(shared.dir, "store.db"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(db.dsn, contents, 0o600))
	return db
}

// seed fills a template.
func seed(t testing.TB, db *database) {
	t.Helper()
	r := newReceiver(t)
	c := newCrew(t, db, r)
	c.config.Endpoints[0].ID = seedEndpoint
	c.start("seed", Emit, "", func(c *Config) { c.Events = 2 }).clean(t, time.Minute)
	c.start("seeder", Drain, "", nil).clean(t, time.Minute)
	store := db.open(t)
	require.NoError(t, store.DeleteEndpoint(t.Context(), "", seedEndpoint))
	db.close(t, store)
	for event, age := range map[string]time.Duration{oldEvent: 2 * KeepDeliveries, staleEvent: (KeepBodies + KeepDeliveries) / 2} {
		if db.store == "postgres" {
			db.exec(t, fmt.Sprintf(`UPDATE webhook_events SET stored_at = stored_at - interval '%d seconds' WHERE id = '%s'`, int(age.Seconds()), event))
			db.exec(t, fmt.Sprintf(`UPDATE webhook_deliveries SET finished_at = finished_at - interval '%d seconds' WHERE event_id = '%s'`, int(age.Seconds()), event))
		} else {
			db.exec(t, fmt.Sprintf(`UPDATE webhook_events SET stored_at = stored_at - %d WHERE id = '%s'`, age.Microseconds(), event))
			db.exec(t, fmt.Sprintf(`UPDATE webhook_deliveries SET finished_at = finished_at - %d WHERE event = (SELECT key FROM webhook_events WHERE id = '%s')`, age.Microseconds(), event))
		}
	}
}

// exec runs a statement of the test's own, past the store.
func (db *database) exec(t testing.TB, text string) {
	t.Helper()
	if db.store == "postgres" {
		conn := db.connect(t)
		defer conn.Close(context.Background())
		_, err := conn.Exec(context.Background(), text)
		require.NoError(t, err)
		return
	}
	file := db.file(t)
	defer file.Close()
	_, err := file.Exec(text)
	require.NoError(t, err)
}

func (db *database) connect(t testing.TB) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), db.dsn)
	require.NoError(t, err)
	return conn
}

func (db *database) file(t testing.TB) *sql.DB {
	t.Helper()
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {"busy_timeout(20000)", "synchronous(FULL)"}}
	file, err := sql.Open("sqlite", "file:"+(&url.URL{Path: db.dsn}).EscapedPath()+"?"+q.Encode())
	require.NoError(t, err)
	file.SetMaxOpenConns(1)
	return file
}

// expire moves the ends of an owner's leases to when they were given.
func (db *database) expire(t testing.TB, owner string) (ended []try) {
	t.Helper()
	if db.store == "postgres" {
		conn := db.connect(t)
		defer conn.Close(context.Background())
		rows, err := conn.Query(context.Background(), `UPDATE webhook_deliveries SET due_at = leased_at WHERE turn = 2 AND owner = $1 RETURNING id, attempts`, owner)
		require.NoError(t, err)
		ended, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (l try, err error) { return l, row.Scan(&l.delivery, &l.number) })
		require.NoError(t, err)
		return ended
	}
	file := db.file(t)
	defer file.Close()
	rows, err := file.Query(`UPDATE webhook_deliveries SET lease_until = leased_at WHERE state = 'leased' AND owner = ? RETURNING id, attempt_count`, owner)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var l try
		require.NoError(t, rows.Scan(&l.delivery, &l.number))
		ended = append(ended, l)
	}
	require.NoError(t, rows.Err())
	return ended
}

// gone waits until the server has done with what a process asked for before it died.
func (db *database) gone(t testing.TB, name string) {
	t.Helper()
	if db.store != "postgres" {
		return
	}
	conn := db.connect(t)
	defer conn.Close(context.Background())
	eventually(t, 20*time.Second, "the server has done with "+name, func() bool {
		var n int
		err := conn.QueryRow(context.Background(), `SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()`, name).Scan(&n)
		require.NoError(t, err)
		return n == 0
	})
}

// open opens the store in this process, to read it.
func (db *database) open(t testing.TB) webhook.Store {
	t.Helper()
	if db.store == "postgres" {
		pool, err := pgxpool.New(context.Background(), db.dsn)
		require.NoError(t, err)
		require.NoError(t, pgstore.Migrate(context.Background(), pool, nil))
		store, err := pgstore.New(context.Background(), pool, nil)
		require.NoError(t, err)
		return &pooled{store, pool}
	}
	store, err := sqlitestore.Open(context.Background(), db.dsn, nil)
	require.NoError(t, err)
	return store
}

type pooled struct {
	*pgstore.Store
	pool *pgxpool.Pool
}

func (p *pooled) Close() error { p.pool.Close(); return nil }

func (db *database) close(t testing.TB, store webhook.Store) {
	t.Helper()
	require.NoError(t, store.(interface{ Close() error }).Close())
}
