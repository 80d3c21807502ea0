package sqlitestore_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/sqlitestore"
	"github.com/meshia/webhook/storetest"
)

func TestContract(t *testing.T) {
	t.Parallel()
	var paths sync.Map
	storetest.Config{
		Handle: func(t *testing.T, store webhook.Store) webhook.Store {
			path, _ := paths.Load(store)
			return open(t, path.(string))
		},
		Backdate: func(t *testing.T, store webhook.Store, hours int) {
			path, _ := paths.Load(store)
			backdate(t, path.(string), hours)
		},
	}.Run(t, func(t *testing.T) webhook.Store {
		path := file(t)
		s := open(t, path)
		paths.Store(webhook.Store(s), path)
		return s
	})
}

// TestContractOnAPoolOfOneConnection has the store wait for itself wherever it wants a second connection.
func TestContractOnAPoolOfOneConnection(t *testing.T) {
	if underRaceDetector {
		t.Skip("the same calls as TestContract makes, and SQLite takes ten times as long under the race detector: script/test runs it without")
	}
	t.Parallel()
	storetest.Run(t, func(t *testing.T) webhook.Store {
		s, _ := single(t, file(t))
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	})
}

// TestTheFileMayHaveTheUsersOwnTables has tables in the file that are not the store's.
func TestTheFileMayHaveTheUsersOwnTables(t *testing.T) {
	t.Parallel()
	path := file(t)
	db := pool(t, path, durable...)
	execute(t, db, "CREATE TABLE events (id INTEGER PRIMARY KEY, name TEXT)")
	execute(t, db, "INSERT INTO events (name) VALUES ('mine')")
	s, err := sqlitestore.New(t.Context(), db, nil)
	require.NoError(t, err)
	endpoint(t, s, "t", "we_1")
	emit(t, s, "t", events(2)...)
	require.Len(t, claim(t, s, 10), 2)
	require.NoError(t, s.Close())
	require.Equal(t, "mine", query[string](t, db, "SELECT name FROM events"), "Close closed the user's database, or the store changed its table")
	require.Zero(t, query[int](t, db, "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'webhook\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name <> 'events'"))
}
