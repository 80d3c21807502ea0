package pgstore_test

import (
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/pgstore"
	"github.com/meshia/webhook/storetest"
)

func TestStoreKeepsTheContract(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		var pools sync.Map // of stores
		storetest.Config{
			Handle: func(t *testing.T, store webhook.Store) webhook.Store {
				pool, ok := pools.Load(store)
				require.True(t, ok)
				return open(t, connect(t, pool.(*pgxpool.Pool).Config().ConnString()))
			},
		}.Run(t, func(t *testing.T) webhook.Store {
			pool := s.pool(t)
			store := open(t, pool)
			pools.Store(webhook.Store(store), pool)
			return store
		})
	})
}

var _ = pgstore.Config{}
