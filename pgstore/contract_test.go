package pgstore_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/pgstore"
	"github.com/meshia/webhook/storetest"
)

func TestStoreKeepsTheContract(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		var configs sync.Map // of stores
		storetest.Config{
			Handle: func(t *testing.T, store webhook.Store) webhook.Store {
				cfg, ok := configs.Load(store)
				require.True(t, ok)
				return open(t, s.two, cfg.(*pgstore.Config))
			},
		}.Run(t, func(t *testing.T) webhook.Store {
			cfg := s.schema(t)
			store := open(t, s.one, cfg)
			configs.Store(webhook.Store(store), cfg)
			return store
		})
	})
}
