package storetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

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
	stats      func(context.Context, string, string, time.Time) (webhook.Stats, error)
	prune      func(context.Context, webhook.PruneRequest) (webhook.PruneResult, error)
	erase      func(context.Context, string, string) error
	eraseAll   func(context.Context, string, int) (bool, error)
	tenants    func(context.Context, *string, int) ([]string, error)
	replay     func(context.Context, webhook.Replay) (webhook.Replay, error)
	replays    func(context.Context, string, string) ([]webhook.Replay, error)
	stop       func(context.Context, string, string) (webhook.Replay, error)
	step       func(context.Context, webhook.ReplayStep) (webhook.ReplayStepped, error)

	mu   sync.Mutex
	seen map[string]webhook.Lease // the latest lease of each delivery

	known map[string]bool // events that were ever emitted
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
	if err == nil {
		f.noteEvents(req.Events)
	}
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

func (f *faulty) Stats(ctx context.Context, tenant, id string, since time.Time) (webhook.Stats, error) {
	if f.stats != nil {
		return f.stats(ctx, tenant, id, since)
	}
	return f.Store.Stats(ctx, tenant, id, since)
}

func (f *faulty) Prune(ctx context.Context, req webhook.PruneRequest) (webhook.PruneResult, error) {
	if f.prune != nil {
		return f.prune(ctx, req)
	}
	return f.Store.Prune(ctx, req)
}

func (f *faulty) EraseDelivery(ctx context.Context, tenant, id string) error {
	if f.erase != nil {
		return f.erase(ctx, tenant, id)
	}
	return f.Store.EraseDelivery(ctx, tenant, id)
}

func (f *faulty) EraseTenant(ctx context.Context, tenant string, limit int) (bool, error) {
	if f.eraseAll != nil {
		return f.eraseAll(ctx, tenant, limit)
	}
	return f.Store.EraseTenant(ctx, tenant, limit)
}

func (f *faulty) Tenants(ctx context.Context, after *string, limit int) ([]string, error) {
	if f.tenants != nil {
		return f.tenants(ctx, after, limit)
	}
	return f.Store.Tenants(ctx, after, limit)
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

// prunesAs lets a fault change each request before it is answered.
func (f *faulty) prunesAs(change func(req *webhook.PruneRequest)) {
	f.prune = func(ctx context.Context, req webhook.PruneRequest) (webhook.PruneResult, error) {
		change(&req)
		return f.Store.Prune(ctx, req)
	}
}

// deliveriesAs lets a fault change each delivery that is read.
func (f *faulty) deliveriesAs(change func(d *webhook.Delivery)) {
	f.delivery = func(ctx context.Context, tenant, id string) (webhook.Delivery, error) {
		d, err := f.Store.Delivery(ctx, tenant, id)
		change(&d)
		return d, err
	}
	f.deliveries = func(ctx context.Context, tenant string, filter webhook.DeliveryFilter) (webhook.DeliveryPage, error) {
		page, err := f.Store.Deliveries(ctx, tenant, filter)
		for i := range page.Deliveries {
			change(&page.Deliveries[i])
		}
		return page, err
	}
}

// gapsBut leaves out some of the gaps that are read.
func (f *faulty) gapsBut(drop func(webhook.Gap) bool) {
	f.gaps = func(ctx context.Context, tenant, id string) ([]webhook.Gap, error) {
		gaps, err := f.Store.Gaps(ctx, tenant, id)
		return slices.DeleteFunc(gaps, drop), err
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

func (f *faulty) release(ctx context.Context, leases []webhook.Lease) error {
	for _, l := range leases {
		if _, err := f.Store.Record(ctx, []webhook.Outcome{outcome(l, webhook.OutcomeReleased)}); err != nil {
			return err
		}
	}
	return nil
}

// insteadOfPruned lets a fault answer with something else than ErrBodyPruned.
func (f *faulty) insteadOfPruned(instead error) {
	f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
		result, err := f.Store.Enqueue(ctx, req)
		if errors.Is(err, webhook.ErrBodyPruned) {
			err = instead
		}
		return result, err
	}
}

// answered gives the attempts of a delivery contents that were removed, or never there.
func answered(d *webhook.Delivery) {
	for i := range d.Attempts {
		if d.Attempts[i].ResponseBody == nil {
			d.Attempts[i].ResponseBody = []byte("contents")
		}
	}
}

func (f *faulty) noteEvents(events []webhook.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range events {
		f.known[e.ID] = true
	}
}

// emitted reports whether an event with this id was ever noted.
func (f *faulty) emitted(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known[id]
}
