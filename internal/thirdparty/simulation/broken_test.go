package simulation

import (
	"context"
	"net/http"
	"time"

	"github.com/meshia/webhook"
)

// broken is a store that does one thing wrong.
type broken struct {
	webhook.Store
	enqueue func(context.Context, webhook.EnqueueRequest) (webhook.EnqueueResult, error)
	claim   func(context.Context, webhook.ClaimRequest) (webhook.Claimed, error)
	record  func(context.Context, []webhook.Outcome) ([]bool, error)
	gaps    func(context.Context, string, string) ([]webhook.Gap, error)
	judge   func(context.Context, string, string, webhook.Judge) (webhook.Endpoint, error)
	prune   func(context.Context, webhook.PruneRequest) (webhook.PruneResult, error)
	erase   func(context.Context, string, string) error
	purge   func(context.Context, string, int) (bool, error)
	read    func(*webhook.Delivery)
	create  func(context.Context, webhook.Endpoint, int) (webhook.Endpoint, error)
	stats   func(context.Context, string, string, time.Time) (webhook.Stats, error)

	createReplay   func(context.Context, webhook.Replay) (webhook.Replay, error)
	replays        func(context.Context, string, string) ([]webhook.Replay, error)
	stopReplay     func(context.Context, string, string) (webhook.Replay, error)
	continueReplay func(context.Context, webhook.ReplayStep) (webhook.ReplayStepped, error)
	endpoints      func(context.Context, string) ([]webhook.Endpoint, error)
}

func (b *broken) CreateReplay(ctx context.Context, r webhook.Replay) (webhook.Replay, error) {
	if b.createReplay != nil {
		return b.createReplay(ctx, r)
	}
	return b.Store.CreateReplay(ctx, r)
}

func (b *broken) Replays(ctx context.Context, tenant, id string) ([]webhook.Replay, error) {
	if b.replays != nil {
		return b.replays(ctx, tenant, id)
	}
	return b.Store.Replays(ctx, tenant, id)
}

func (b *broken) StopReplay(ctx context.Context, tenant, id string) (webhook.Replay, error) {
	if b.stopReplay != nil {
		return b.stopReplay(ctx, tenant, id)
	}
	return b.Store.StopReplay(ctx, tenant, id)
}

func (b *broken) ContinueReplay(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
	if b.continueReplay != nil {
		return b.continueReplay(ctx, req)
	}
	return b.Store.ContinueReplay(ctx, req)
}

func (b *broken) Endpoints(ctx context.Context, tenant string) ([]webhook.Endpoint, error) {
	if b.endpoints != nil {
		return b.endpoints(ctx, tenant)
	}
	return b.Store.Endpoints(ctx, tenant)
}

func (b *broken) Enqueue(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
	if b.enqueue != nil {
		return b.enqueue(ctx, req)
	}
	return b.Store.Enqueue(ctx, req)
}

func (b *broken) Claim(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
	if b.claim != nil {
		return b.claim(ctx, req)
	}
	return b.Store.Claim(ctx, req)
}

func (b *broken) Record(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
	if b.record != nil {
		return b.record(ctx, outcomes)
	}
	return b.Store.Record(ctx, outcomes)
}

func (b *broken) Gaps(ctx context.Context, tenant, id string) ([]webhook.Gap, error) {
	if b.gaps != nil {
		return b.gaps(ctx, tenant, id)
	}
	return b.Store.Gaps(ctx, tenant, id)
}

func (b *broken) JudgeEndpoint(ctx context.Context, tenant, id string, judge webhook.Judge) (webhook.Endpoint, error) {
	if b.judge != nil {
		return b.judge(ctx, tenant, id, judge)
	}
	return b.Store.JudgeEndpoint(ctx, tenant, id, judge)
}

func (b *broken) CreateEndpoint(ctx context.Context, e webhook.Endpoint, most int) (webhook.Endpoint, error) {
	if b.create != nil {
		return b.create(ctx, e, most)
	}
	return b.Store.CreateEndpoint(ctx, e, most)
}

func (b *broken) Stats(ctx context.Context, tenant, id string, since time.Time) (webhook.Stats, error) {
	if b.stats != nil {
		return b.stats(ctx, tenant, id, since)
	}
	return b.Store.Stats(ctx, tenant, id, since)
}

func (b *broken) Prune(ctx context.Context, req webhook.PruneRequest) (webhook.PruneResult, error) {
	if b.prune != nil {
		return b.prune(ctx, req)
	}
	return b.Store.Prune(ctx, req)
}

func (b *broken) EraseDelivery(ctx context.Context, tenant, id string) error {
	if b.erase != nil {
		return b.erase(ctx, tenant, id)
	}
	return b.Store.EraseDelivery(ctx, tenant, id)
}

func (b *broken) EraseTenant(ctx context.Context, tenant string, most int) (bool, error) {
	if b.purge != nil {
		return b.purge(ctx, tenant, most)
	}
	return b.Store.EraseTenant(ctx, tenant, most)
}

func (b *broken) Deliveries(ctx context.Context, tenant string, f webhook.DeliveryFilter) (webhook.DeliveryPage, error) {
	page, err := b.Store.Deliveries(ctx, tenant, f)
	if b.read != nil {
		for i := range page.Deliveries {
			b.read(&page.Deliveries[i])
		}
	}
	return page, err
}

// once is true the first time.
func once() func() bool {
	done := false
	return func() bool {
		was := done
		done = true
		return !was
	}
}

// throughBroken breaks the store with change.
func throughBroken(change func(*broken)) func(*settings) {
	return func(s *settings) {
		s.breakStore = func(store webhook.Store) webhook.Store {
			b := &broken{Store: store}
			change(b)
			return b
		}
	}
}

// aboveLedger breaks what processes see of the store, and what they tell it, with change.
func aboveLedger(change func(*broken)) func(*settings) {
	return func(s *settings) {
		s.breakProcess = func(store webhook.Store) webhook.Store {
			b := &broken{Store: store}
			change(b)
			return b
		}
	}
}

func throughConfig(change func(*webhook.Config)) func(*settings) {
	return func(s *settings) { s.breakConfig = change }
}

// tripper is a RoundTripper of a function.
type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func throughTransport(change func(http.RoundTripper, *http.Request) (*http.Response, error)) func(*settings) {
	return func(s *settings) {
		s.breakTransport = func(to http.RoundTripper) http.RoundTripper {
			return tripper(func(r *http.Request) (*http.Response, error) { return change(to, r) })
		}
	}
}
