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

// ContinueReplay has faults of its own turn only while replays run: it is asked for all the time, and would use up
// those that are meant for other calls.
func (f *faulty) ContinueReplay(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
	number, away, idle := f.idle()
	if !idle || f.node.dead() {
		return through(f, ctx, "ContinueReplay", func(ctx context.Context) (webhook.ReplayStepped, error) {
			return f.ledger.continueReplay(ctx, req)
		})
	}
	n := f.node
	if n.sleep(ctx, time.Duration(10_000+n.w.chance(n.name+" idle", number)%1_000_000)) && !away {
		return f.ledger.continueReplay(ctx, req)
	}
	switch {
	case n.dead():
		return webhook.ReplayStepped{}, n.hold()
	case ctx.Err() != nil:
		return webhook.ReplayStepped{}, ctx.Err()
	}
	return webhook.ReplayStepped{}, errStoreAway
}

// idle reports whether no replay runs. It numbers the calls that find it so.
func (f *faulty) idle() (number uint64, away, idle bool) {
	f.ledger.mu.Lock()
	defer f.ledger.mu.Unlock()
	f.idles++
	_, planned := f.named["ContinueReplay"]
	return f.idles, time.Now().Before(f.outage), len(f.ledger.replaying) == 0 && !planned
}
