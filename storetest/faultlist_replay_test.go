package storetest

import (
	"context"
	"slices"
	"time"

	"github.com/meshia/webhook"
)

// replayFaults are about replays, wherever cases look at them.
var replayFaults = []fault{
	{"prune", "a replay goes by when it was asked for", func(f *faulty) {
		var age time.Duration
		f.prune = func(ctx context.Context, req webhook.PruneRequest) (webhook.PruneResult, error) {
			age = max(age, req.Deliveries)
			return f.Store.Prune(ctx, req)
		}
		f.replays = func(ctx context.Context, tenant, endpointID string) ([]webhook.Replay, error) {
			list, err := f.Store.Replays(ctx, tenant, endpointID)
			return slices.DeleteFunc(list, func(r webhook.Replay) bool {
				return age > 0 && r.State != webhook.ReplayRunning && time.Since(r.CreatedAt) > age
			}), err
		}
	}},
}
