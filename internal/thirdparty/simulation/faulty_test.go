package simulation

import (
	"context"
	"errors"
	"time"

	"github.com/meshia/webhook"
)

// fault is what goes wrong with a call to the store.
type fault struct {
	kind  faultKind
	delay time.Duration
}

type faultKind string

const (
	before faultKind = "before" // an error, and nothing was done
	after  faultKind = "after"  // it was done, and the answer is an error
	late   faultKind = "late"   // it was done, and the answer takes its time
	hangs  faultKind = "hangs"  // nothing is done, and the error takes its time
	stalls faultKind = "stalls" // it is on its way for some time, and is done even if nobody waits for it any more
)

var errStoreAway = errors.New("simulation: the store is away")

// faulty is one process's way to the store. It numbers the calls, and each takes a moment of its own, so that no two
// things happen at once.
type faulty struct {
	node   *node
	ledger *ledger
	// Guarded by ledger.mu.
	calls  uint64
	faults map[uint64]fault
	named  map[string]fault
	outage time.Time // until then every call fails before it does anything
}

// plan makes the n-th call from now fail.
func (f *faulty) plan(n int, what fault) {
	f.ledger.mu.Lock()
	defer f.ledger.mu.Unlock()
	if f.faults == nil {
		f.faults = map[uint64]fault{}
	}
	f.faults[f.calls+uint64(n)] = what
}

// planNext makes the next call of this method fail.
func (f *faulty) planNext(method string, what fault) {
	f.ledger.mu.Lock()
	defer f.ledger.mu.Unlock()
	f.named = map[string]fault{method: what}
}

func (f *faulty) away(d time.Duration) {
	f.ledger.mu.Lock()
	defer f.ledger.mu.Unlock()
	f.outage = time.Now().Add(d)
}

func (f *faulty) heal() {
	f.ledger.mu.Lock()
	defer f.ledger.mu.Unlock()
	f.outage, f.faults, f.named = time.Time{}, nil, nil
}

func (f *faulty) next(method string) (uint64, fault) {
	f.ledger.mu.Lock()
	defer f.ledger.mu.Unlock()
	f.calls++
	what := f.faults[f.calls]
	delete(f.faults, f.calls)
	if named, ok := f.named[method]; ok {
		what, f.named = named, nil
	}
	if what.kind == "" && time.Now().Before(f.outage) {
		what.kind = before
	}
	return f.calls, what
}

func through[T any](f *faulty, ctx context.Context, method string, call func(context.Context) (T, error)) (T, error) {
	var none T
	n := f.node
	ask := func(ctx context.Context) (T, error) {
		f.ledger.asked.Add(1)
		return call(ctx)
	}
	broken := func() (T, error) {
		if n.dead() {
			return none, n.hold()
		}
		return none, ctx.Err()
	}
	if n.dead() {
		return broken()
	}
	number, what := f.next(method)
	if !n.sleep(ctx, time.Duration(10_000+n.w.chance(n.name, number)%1_000_000)) {
		return broken()
	}
	switch what.kind {
	case before:
		return none, errStoreAway
	case hangs:
		if !n.sleep(ctx, what.delay) {
			return broken()
		}
		return none, errStoreAway
	case stalls:
		time.Sleep(what.delay)
		v, err := ask(context.WithoutCancel(ctx))
		if n.dead() || ctx.Err() != nil {
			return broken()
		}
		return v, err
	}
	v, err := ask(ctx)
	switch what.kind {
	case after:
		return none, errStoreAway
	case late:
		if !n.sleep(ctx, what.delay) {
			return broken()
		}
	}
	return v, err
}

func (f *faulty) Enqueue(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
	res, err := through(f, ctx, "Enqueue", func(ctx context.Context) (webhook.EnqueueResult, error) { return f.ledger.enqueue(ctx, f.node, req) })
	if err == nil {
		f.ledger.opened(f.node, res.Backlogged)
	}
	return res, err
}

func (f *faulty) Claim(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
	res, err := through(f, ctx, "Claim", func(ctx context.Context) (webhook.Claimed, error) { return f.ledger.claim(ctx, f.node, req) })
	if err == nil {
		f.ledger.opened(f.node, res.Backlogged)
	}
	return res, err
}

func (f *faulty) Record(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
	applied, err := through(f, ctx, "Record", func(ctx context.Context) ([]bool, error) { return f.ledger.record(ctx, outcomes) })
	if err == nil {
		f.ledger.answered(outcomes, applied)
	}
	return applied, err
}

func (f *faulty) CreateEndpoint(ctx context.Context, e webhook.Endpoint, most int) (webhook.Endpoint, error) {
	return through(f, ctx, "CreateEndpoint", func(ctx context.Context) (webhook.Endpoint, error) { return f.ledger.createEndpoint(ctx, e, most) })
}

func (f *faulty) UpdateEndpoint(ctx context.Context, e webhook.Endpoint, judge webhook.Judge) (webhook.Endpoint, error) {
	return through(f, ctx, "UpdateEndpoint", func(ctx context.Context) (webhook.Endpoint, error) { return f.ledger.updateEndpoint(ctx, e, judge) })
}

func (f *faulty) JudgeEndpoint(ctx context.Context, tenant, id string, judge webhook.Judge) (webhook.Endpoint, error) {
	return through(f, ctx, "JudgeEndpoint", func(ctx context.Context) (webhook.Endpoint, error) {
		return f.ledger.judgeEndpoint(ctx, tenant, id, judge)
	})
}

func (f *faulty) DeleteEndpoint(ctx context.Context, tenant, id string) error {
	_, err := through(f, ctx, "DeleteEndpoint", func(ctx context.Context) (struct{}, error) {
		return struct{}{}, f.ledger.deleteEndpoint(ctx, tenant, id)
	})
	return err
}

func (f *faulty) Endpoint(ctx context.Context, tenant, id string) (webhook.Endpoint, error) {
	return through(f, ctx, "Endpoint", func(ctx context.Context) (webhook.Endpoint, error) { return f.ledger.store.Endpoint(ctx, tenant, id) })
}

func (f *faulty) Endpoints(ctx context.Context, tenant string) ([]webhook.Endpoint, error) {
	return through(f, ctx, "Endpoints", func(ctx context.Context) ([]webhook.Endpoint, error) { return f.ledger.endpointsOf(ctx, tenant) })
}

func (f *faulty) Event(ctx context.Context, tenant, id string) (webhook.Event, error) {
	return through(f, ctx, "Event", func(ctx context.Context) (webhook.Event, error) { return f.ledger.eventOf(ctx, tenant, id) })
}

func (f *faulty) Delivery(ctx context.Context, tenant, id string) (webhook.Delivery, error) {
	return through(f, ctx, "Delivery", func(ctx context.Context) (webhook.Delivery, error) { return f.ledger.store.Delivery(ctx, tenant, id) })
}

func (f *faulty) Deliveries(ctx context.Context, tenant string, filter webhook.DeliveryFilter) (webhook.DeliveryPage, error) {
	return through(f, ctx, "Deliveries", func(ctx context.Context) (webhook.DeliveryPage, error) {
		return f.ledger.store.Deliveries(ctx, tenant, filter)
	})
}

func (f *faulty) Gaps(ctx context.Context, tenant, endpointID string) ([]webhook.Gap, error) {
	return through(f, ctx, "Gaps", func(ctx context.Context) ([]webhook.Gap, error) { return f.ledger.store.Gaps(ctx, tenant, endpointID) })
}

func (f *faulty) Stats(ctx context.Context, tenant, endpointID string, since time.Time) (webhook.Stats, error) {
	return through(f, ctx, "Stats", func(ctx context.Context) (webhook.Stats, error) {
		return f.ledger.store.Stats(ctx, tenant, endpointID, since)
	})
}

func (f *faulty) Prune(ctx context.Context, req webhook.PruneRequest) (webhook.PruneResult, error) {
	return through(f, ctx, "Prune", func(ctx context.Context) (webhook.PruneResult, error) { return f.ledger.prune(ctx, req) })
}

func (f *faulty) EraseDelivery(ctx context.Context, tenant, id string) error {
	_, err := through(f, ctx, "EraseDelivery", func(ctx context.Context) (struct{}, error) {
		return struct{}{}, f.ledger.eraseDelivery(ctx, tenant, id)
	})
	return err
}

func (f *faulty) EraseTenant(ctx context.Context, tenant string, most int) (bool, error) {
	return through(f, ctx, "EraseTenant", func(ctx context.Context) (bool, error) { return f.ledger.eraseTenant(ctx, tenant, most) })
}

func (f *faulty) Tenants(ctx context.Context, after *string, most int) ([]string, error) {
	return through(f, ctx, "Tenants", func(ctx context.Context) ([]string, error) { return f.ledger.store.Tenants(ctx, after, most) })
}

// waker lets the processes of a run hear of each other.
type waker struct{ *faulty }

func (k waker) Wake(ctx context.Context) error {
	_, err := through(k.faulty, ctx, "Wake", func(context.Context) (struct{}, error) { return struct{}{}, k.ledger.bell.ring() })
	return err
}

func (k waker) Wait(ctx context.Context) error {
	if k.node.dead() {
		return k.node.hold()
	}
	select {
	case <-k.ledger.bell.heard():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-k.node.death:
		return k.node.hold()
	}
}
