package simulation

import (
	"context"
	"time"

	"github.com/meshia/webhook"
)

func (f *faulty) CreateReplay(ctx context.Context, r webhook.Replay) (webhook.Replay, error) {
	return through(f, ctx, "CreateReplay", func(ctx context.Context) (webhook.Replay, error) { return f.ledger.createReplay(ctx, r) })
}

func (f *faulty) Replays(ctx context.Context, tenant, endpointID string) ([]webhook.Replay, error) {
	return through(f, ctx, "Replays", func(ctx context.Context) ([]webhook.Replay, error) {
		return f.ledger.store.Replays(ctx, tenant, endpointID)
	})
}

func (f *faulty) StopReplay(ctx context.Context, tenant, id string) (webhook.Replay, error) {
	return through(f, ctx, "StopReplay", func(ctx context.Context) (webhook.Replay, error) { return f.ledger.stopReplay(ctx, tenant, id) })
}

// ContinueReplay takes its turn only while replays run. It is asked for all the time: where there is nothing to do it
// would use up the faults that are meant for other calls, and nobody can tell when it came.
func (f *faulty) ContinueReplay(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
	away, idle := f.idle()
	switch {
	case !idle || f.node.dead():
		return through(f, ctx, "ContinueReplay", func(ctx context.Context) (webhook.ReplayStepped, error) {
			return f.ledger.continueReplay(ctx, req)
		})
	case away:
		return webhook.ReplayStepped{}, errStoreAway
	}
	return f.ledger.continueReplay(ctx, req)
}

// idle reports whether no replay runs.
func (f *faulty) idle() (away, idle bool) {
	f.ledger.mu.Lock()
	defer f.ledger.mu.Unlock()
	_, planned := f.named["ContinueReplay"]
	return time.Now().Before(f.outage), len(f.ledger.replaying) == 0 && !planned
}
