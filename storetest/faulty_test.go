package storetest

import (
	"context"
	"sync"

	"github.com/meshia/webhook"
)

// faulty is a store with some of its methods replaced.
type faulty struct {
	webhook.Store
	enqueue    func(context.Context, webhook.EnqueueRequest) (webhook.EnqueueResult, error)
	claim      func(context.Context, webhook.ClaimRequest) (webhook.Claimed, error)
	record     func(context.Context, []webhook.Outcome) ([]bool, error)
	create     func(context.Context, webhook.Endpoint, int) (webhook.Endpoint, error)
	update     func(context.Context, webhook.Endpoint, webhook.Judge) (webhook.Endpoint, error)
	remove     func(context.Context, string, string) error
	endpoints  func(context.Context, string) ([]webhook.Endpoint, error)
	event      func(context.Context, string, string) (webhook.Event, error)
	delivery   func(context.Context, string, string) (webhook.Delivery, error)
	deliveries func(context.Context, string, webhook.DeliveryFilter) (webhook.DeliveryPage, error)
	gaps       func(context.Context, string, string) ([]webhook.Gap, error)

	mu   sync.Mutex
	seen map[string]webhook.Lease // the latest lease of each delivery
}

func (f *faulty) note(leases []webhook.Lease) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range leases {
		f.seen[l.Delivery.ID] = l
	}
}

func (f *faulty) latest(deliveryID string) webhook.Lease {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen[deliveryID]
}

func (f *faulty) Enqueue(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
	enqueue := f.Store.Enqueue
	if f.enqueue != nil {
		enqueue = f.enqueue
	}
	result, err := enqueue(ctx, req)
	f.note(result.Leases)
	return result, err
}

func (f *faulty) Claim(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
	claim := f.Store.Claim
	if f.claim != nil {
		claim = f.claim
	}
	claimed, err := claim(ctx, req)
	f.note(claimed.Leases)
	return claimed, err
}

func (f *faulty) Record(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
	if f.record != nil {
		return f.record(ctx, outcomes)
	}
	return f.Store.Record(ctx, outcomes)
}

func (f *faulty) CreateEndpoint(ctx context.Context, e webhook.Endpoint, limit int) (webhook.Endpoint, error) {
	if f.create != nil {
		return f.create(ctx, e, limit)
	}
	return f.Store.CreateEndpoint(ctx, e, limit)
}

func (f *faulty) UpdateEndpoint(ctx context.Context, e webhook.Endpoint, judge webhook.Judge) (webhook.Endpoint, error) {
	if f.update != nil {
		return f.update(ctx, e, judge)
	}
	return f.Store.UpdateEndpoint(ctx, e, judge)
}

func (f *faulty) DeleteEndpoint(ctx context.Context, tenant, id string) error {
	if f.remove != nil {
		return f.remove(ctx, tenant, id)
	}
	return f.Store.DeleteEndpoint(ctx, tenant, id)
}

func (f *faulty) Endpoints(ctx context.Context, tenant string) ([]webhook.Endpoint, error) {
	if f.endpoints != nil {
		return f.endpoints(ctx, tenant)
	}
	return f.Store.Endpoints(ctx, tenant)
}

func (f *faulty) Event(ctx context.Context, tenant, id string) (webhook.Event, error) {
	if f.event != nil {
		return f.event(ctx, tenant, id)
	}
	return f.Store.Event(ctx, tenant, id)
}

func (f *faulty) Delivery(ctx context.Context, tenant, id string) (webhook.Delivery, error) {
	if f.delivery != nil {
		return f.delivery(ctx, tenant, id)
	}
	return f.Store.Delivery(ctx, tenant, id)
}

func (f *faulty) Deliveries(ctx context.Context, tenant string, filter webhook.DeliveryFilter) (webhook.DeliveryPage, error) {
	if f.deliveries != nil {
		return f.deliveries(ctx, tenant, filter)
	}
	return f.Store.Deliveries(ctx, tenant, filter)
}

func (f *faulty) Gaps(ctx context.Context, tenant, endpointID string) ([]webhook.Gap, error) {
	if f.gaps != nil {
		return f.gaps(ctx, tenant, endpointID)
	}
	return f.Store.Gaps(ctx, tenant, endpointID)
}

// outcomesAs lets a fault change each outcome before it is recorded.
func (f *faulty) outcomesAs(change func(o *webhook.Outcome)) {
	f.record = func(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
		outcomes = append([]webhook.Outcome(nil), outcomes...)
		for i := range outcomes {
			change(&outcomes[i])
		}
		return f.Store.Record(ctx, outcomes)
	}
}

// claimsAs lets a fault change each request before it is answered.
func (f *faulty) claimsAs(change func(req *webhook.ClaimRequest)) {
	f.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
		change(&req)
		return f.Store.Claim(ctx, req)
	}
}

// hoard claims all that can be claimed ahead, and hands it out in an order of its own.
func (f *faulty) hoard(before func(a, b webhook.Lease) int, sort func([]webhook.Lease, func(a, b webhook.Lease) int)) {
	var have []webhook.Lease
	f.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		all := req
		all.Max, all.MaxSlow = 100_000, 100_000
		claimed, err := f.Store.Claim(ctx, all)
		have = append(have, claimed.Leases...)
		sort(have, before)
		n := min(req.Max, len(have))
		claimed.Leases = append([]webhook.Lease(nil), have[:n]...)
		have = have[n:]
		return claimed, err
	}
}
