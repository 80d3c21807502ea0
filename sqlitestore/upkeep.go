package sqlitestore

import (
	"context"

	"github.com/meshia/webhook"
)

func (s *Store) Prune(ctx context.Context, req webhook.PruneRequest) (webhook.PruneResult, error) {
	panic(1)
}
func (s *Store) EraseDelivery(ctx context.Context, tenant, id string) error            { panic(1) }
func (s *Store) EraseTenant(ctx context.Context, tenant string, max int) (bool, error) { panic(1) }
func (s *Store) Tenants(ctx context.Context, after *string, max int) ([]string, error) { panic(1) }

type walk struct{}
