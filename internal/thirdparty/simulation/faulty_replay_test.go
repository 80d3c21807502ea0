package simulation

import (
	"context"

	"github.com/meshia/webhook"
)

func (f *faulty) CreateReplay(ctx context.Context, r webhook.Replay) (webhook.Replay, error) {
	return through(f, ctx, "CreateReplay", func(ctx context.Context) (webhook.Replay, error) { return f.ledger.store.CreateReplay(ctx, r) })
}

func (f *faulty) Replays(ctx context.Context, tenant, endpointID string) ([]webhook.Replay, error) {
	return through(f, ctx, "Replays", func(ctx context.Context) ([]webhook.Replay, error) {
		return f.ledger.store.Replays(ctx, tenant, endpointID)
	})
}

func (f *faulty) StopReplay(ctx context.Context, tenant, id string) (webhook.Replay, error) {
	return through(f, ctx, "StopReplay", func(ctx context.Context) (webhook.Replay, error) { return f.ledger.store.StopReplay(ctx, tenant, id) })
}

func (f *faulty) ContinueReplay(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
	return through(f, ctx, "ContinueReplay", func(ctx context.Context) (webhook.ReplayStepped, error) {
		return f.ledger.store.ContinueReplay(ctx, req)
	})
}
