package webhook

import (
	"context"
	"fmt"

	"github.com/meshia/webhook/internal/id"
)

// Enqueue implements [Outbox].
func (s *MemoryStore) Enqueue(ctx context.Context, req EnqueueRequest) (EnqueueResult, error) {
	events, err := s.distinct(req.Events)
	if err != nil {
		return EnqueueResult{}, err
	}
	if err := s.lock(ctx); err != nil {
		return EnqueueResult{}, err
	}
	defer s.mu.Unlock()
	now := s.now()
	s.forget(now)

	t := s.tenant(req.Tenant)
	var direct *memEndpoint
	if req.Direct != nil {
		if direct = t.endpoint(req.Direct.EndpointID); direct == nil {
			return EnqueueResult{}, fmt.Errorf("%w: endpoint", ErrNotFound)
		}
	}
	if err := s.admit(t, events, req.MaxPending, direct != nil); err != nil {
		return EnqueueResult{}, err
	}
	if direct != nil && req.Direct.Queued && req.MaxPending > 0 && direct.backlog()+len(events) > req.MaxPending {
		return EnqueueResult{}, fmt.Errorf("%w: %d of %d", ErrBacklogFull, direct.backlog(), req.MaxPending)
	}

	// From here on nothing fails.
	if len(events) > 0 {
		s.keep(t)
	}
	var result EnqueueResult
	for i := range events {
		e, known := t.events[events[i].ID], true
		if e == nil {
			e, known = &memEvent{Event: events[i], tenant: t, stored: now.at, pos: memNowhere, direct: direct != nil}, false
			t.events[e.ID] = e
		}
		switch {
		case direct != nil:
			d := s.deliver(e, direct, req.Direct.Kind, now)
			d.RedeliveryOf, d.AskedBy = req.Direct.RedeliveryOf, req.Direct.AskedBy
			if req.Direct.Queued {
				s.wait(d, 0, now)
				result.Queued = true
			} else {
				result.Leases = append(result.Leases, s.lease(d, req.Direct.Term, now))
			}
		case !known:
			s.match(e, &req, &result, now)
		}
		if !known {
			s.file(e, now)
		}
	}
	if direct != nil {
		s.place(direct)
	}
	s.trimIdle()
	return result, nil
}

// distinct leaves out the events whose id came before in the request.
func (*MemoryStore) distinct(events []Event) ([]Event, error) {
	if len(events) < 2 {
		return events, nil
	}
	first := make(map[string]int, len(events))
	twice := false
	for i := range events {
		j, known := first[events[i].ID]
		switch {
		case !known:
			first[events[i].ID] = i
		case events[i].Digest() != events[j].Digest():
			return nil, fmt.Errorf("%w: %q comes twice in one request", ErrConflict, events[i].ID)
		default:
			twice = true
		}
	}
	if !twice {
		return events, nil
	}
	var out []Event
	for i := range events {
		if first[events[i].ID] == i {
			out = append(out, events[i])
		}
	}
	return out, nil
}

// admit looks at all of the request before anything of it is stored.
func (s *MemoryStore) admit(t *memTenant, events []Event, maxPending int, direct bool) error {
	deliveries := 0
	var coming map[*memEndpoint]int // how many of them each endpoint gets, where that matters
	if len(events) > 1 {
		coming = map[*memEndpoint]int{}
	}
	for i := range events {
		e := &events[i]
		if stored := t.events[e.ID]; stored != nil {
			if direct && stored.stripped() { // whoever read it has no body either to work out the digest from
				return fmt.Errorf("%w: %q", ErrBodyPruned, e.ID)
			}
			// The digests are worked out here only, not for each event that comes in: as long as an id is known its
			// body is too, or was when its digest was kept.
			if !stored.sameAs(e.Digest()) {
				return fmt.Errorf("%w: %q", ErrConflict, e.ID)
			}
			if !direct {
				continue
			}
		}
		if direct {
			deliveries++
			continue
		}
		for _, list := range t.subscribers(e.Type) {
			for _, ep := range list {
				if ep.gap != nil || ep.fills(maxPending, coming[ep]) {
					continue
				}
				deliveries++
				if coming != nil {
					coming[ep]++
				}
			}
		}
	}
	if s.live+deliveries > s.maxPending {
		return fmt.Errorf("%w: %d deliveries are pending, and %d may be", ErrStoreFull, s.live, s.maxPending)
	}
	return nil
}

// match makes the deliveries of a new event, or counts it as missed.
func (s *MemoryStore) match(e *memEvent, req *EnqueueRequest, result *EnqueueResult, now memInstant) {
	hand := req.HandOver
	for _, list := range e.tenant.subscribers(e.Type) {
		for _, ep := range list {
			if ep.gap == nil && ep.fills(req.MaxPending, 0) {
				s.openBacklog(ep, req.MaxPending, now)
				result.Backlogged = append(result.Backlogged, ep.ref())
			}
			if ep.gap != nil {
				ep.gap.Count++
				continue
			}
			d := s.deliver(e, ep, KindEvent, now)
			if hand != nil && len(result.Leases) < hand.Max && ep.free(now) {
				result.Leases = append(result.Leases, s.lease(d, hand.Term, now))
			} else {
				s.wait(d, 0, now)
				result.Queued = true
			}
			s.place(ep)
		}
	}
	if e.deliveries == nil {
		e.idle = s.idle.PushBack(e)
		s.rest(e)
	}
}

// free reports whether a new delivery may be handed over without passing anything that waits.
func (ep *memEndpoint) free(now memInstant) bool {
	if ep.Health.State != EndpointActive || ep.Health.Slow || ep.Rate > 0 || !ep.room() {
		return false
	}
	next := ep.lane.next(now.at)
	return next == nil || next.at > now.at
}

// deliver makes a delivery; the caller leases it or makes it wait.
func (s *MemoryStore) deliver(e *memEvent, ep *memEndpoint, kind DeliveryKind, now memInstant) *memDelivery {
	if e.idle != nil {
		s.idle.Remove(e.idle)
		e.idle = nil
	}
	s.unrest(e)
	e.open++
	s.seq++
	d := &memDelivery{
		Delivery: Delivery{
			// Made under the lock, right after the clock was read: the ids rise with CreatedAt.
			ID: id.New("dlv_"), Tenant: e.tenant.id, EventID: e.ID, EventType: e.Type, EndpointID: ep.ID, Kind: kind, CreatedAt: now.wall,
		},
		seq: s.seq, event: e, next: e.deliveries, endpoint: ep, created: now.at,
	}
	if d.next != nil {
		d.next.prev = d
	}
	e.deliveries = d
	ep.open.add(d)
	s.live++
	e.tenant.deliveries[d.ID] = d
	e.tenant.log.add(d)
	ep.log.add(d)
	return d
}
