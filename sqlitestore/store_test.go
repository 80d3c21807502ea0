package sqlitestore_test

import (
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/sqlitestore"
	"github.com/meshia/webhook/storetest"
)

// open opens the file at path and closes it with the test.
func open(t testing.TB, path string) *sqlitestore.Store {
	t.Helper()
	s, err := sqlitestore.Open(t.Context(), path, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestContract(t *testing.T) {
	t.Parallel()
	var paths sync.Map
	storetest.Config{
		Handle: func(t *testing.T, store webhook.Store) webhook.Store {
			path, _ := paths.Load(store)
			return open(t, path.(string))
		},
	}.Run(t, func(t *testing.T) webhook.Store {
		path := filepath.Join(t.TempDir(), "webhooks.db")
		s := open(t, path)
		paths.Store(webhook.Store(s), path)
		return s
	})
}
