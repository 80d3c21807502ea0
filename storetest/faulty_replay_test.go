package storetest

import (
	"context"

	"github.com/meshia/webhook"
)

func (f *faulty) CreateReplay(ctx context.Context, r webhook.Replay) (webhook.Replay, error) {
	if f.replay != nil {
		return f.replay(ctx, r)
	}
	return f.Store.CreateReplay(ctx, r)
}

func (f *faulty) Replays(ctx context.Context, tenant, endpointID string) ([]webhook.Replay, error) {
	if f.replays != nil {
		return f.replays(ctx, tenant, endpointID)
	}
	return f.Store.Replays(ctx, tenant, endpointID)
}

func (f *faulty) StopReplay(ctx context.Context, tenant, id string) (webhook.Replay, error) {
	if f.stop != nil {
		return f.stop(ctx, tenant, id)
	}
	return f.Store.StopReplay(ctx, tenant, id)
}

func (f *faulty) ContinueReplay(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
	if f.step != nil {
		return f.step(ctx, req)
	}
	return f.Store.ContinueReplay(ctx, req)
}

// replaysAs lets a fault change each replay that is read.
func (f *faulty) replaysAs(change func(r *webhook.Replay)) {
	f.replays = func(ctx context.Context, tenant, endpointID string) ([]webhook.Replay, error) {
		list, err := f.Store.Replays(ctx, tenant, endpointID)
		for i := range list {
			change(&list[i])
		}
		return list, err
	}
}
