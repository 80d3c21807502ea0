package webhook

import (
	"context"
	"time"
)

// memExpireAtOnce bounds how many deliveries one Claim lets expire, so that an old backlog does not hold the lock for
// long.
const memExpireAtOnce = 1000

// Claim implements [Queue].
func (s *MemoryStore) Claim(ctx context.Context, req ClaimRequest) (Claimed, error) {
	if err := s.lock(ctx); err != nil {
		return Claimed{}, err
	}
	defer s.mu.Unlock()
	now := s.now()
	s.forget(now)
	s.settleLost(now)
	all := s.expire(req.MaxAge, now)
	c := Claimed{Backlogged: s.bound(req.MaxPending, now)}
	if !all {
		return c, nil // an expired one could be handed out: rather come back at once
	}

	skipped := s.skip(req.Skip)
	slow := req.MaxSlow
	given := make(map[string]int) // how many leases each tenant got
	for {
		ep := s.turn(slow > 0, now)
		if ep == nil {
			break
		}
		if given[ep.Tenant] >= req.Room(ep.Tenant) {
			skipped = append(skipped, s.displaced(ep))
			continue
		}
		if len(c.Leases) >= req.Max {
			break
		}
		if ep.Health.Slow {
			slow--
		}
		given[ep.Tenant]++
		d := ep.lane.next(now.at).item
		s.unwait(d)
		s.serve(ep, d, now)
		c.Leases = append(c.Leases, s.lease(d, req.Term, now))
		s.place(ep)
	}
	c.Next = s.next(slow > 0, req.MaxAge, now)
	c.Blocked = s.full > 0 || s.turn(true, now) != nil
	for i := range skipped {
		skipped[i].back()
	}
	return c, nil
}

// memSkipped is an endpoint that was taken out of turn for one Claim.
type memSkipped struct {
	heap *memHeap[memEndpoint]
	memEntry[memEndpoint]
}

// skip takes endpoints out of turn, so that they hide nobody who comes after them.
func (s *MemoryStore) skip(refs []EndpointRef) (skipped []memSkipped) {
	for _, ref := range refs {
		ep := s.tenant(ref.Tenant).endpoint(ref.ID)
		if ep == nil || ep.lane.heap == nil {
			continue
		}
		skipped = append(skipped, s.displaced(ep))
	}
	return skipped
}

func (s *MemoryStore) displaced(ep *memEndpoint) memSkipped {
	k := memSkipped{ep.lane.heap, ep.lane.heap.entries[ep.lane.pos]}
	s.displace(ep)
	return k
}

// back gives the endpoint the place that it had.
func (k *memSkipped) back() {
	k.heap.push(k.at, k.seq, k.item, k.pos)
	k.item.lane.heap = k.heap
}

// turn returns the endpoint whose turn it is, or nil.
func (s *MemoryStore) turn(slow bool, now memInstant) *memEndpoint {
	next := s.normal.top()
	if slow {
		if t := s.slow.top(); t != nil && (next == nil || t.before(next)) {
			next = t
		}
	}
	if next == nil || next.at > now.at {
		return nil
	}
	return next.item
}

// next is how long until a Claim can find something that is not there now; negative: until something else happens.
func (s *MemoryStore) next(slow bool, maxAge time.Duration, now memInstant) time.Duration {
	next := time.Duration(-1)
	sooner := func(at time.Duration) {
		if wait := max(0, at-now.at); next < 0 || wait < next {
			next = wait
		}
	}
	if t := s.normal.top(); t != nil {
		sooner(t.at)
	}
	if t := s.slow.top(); t != nil && (slow || t.at > now.at) {
		sooner(t.at)
	}
	if t := s.leases.top(); t != nil {
		sooner(t.at)
	}
	if t := s.pending.top(); t != nil && maxAge > 0 {
		sooner(memInstant{at: t.at}.in(maxAge))
	}
	return next
}

// settleLost ends the leases whose term has run out.
func (s *MemoryStore) settleLost(now memInstant) {
	for t := s.leases.top(); t != nil && t.at <= now.at; t = s.leases.top() {
		d := t.item
		row := Attempt{Number: d.AttemptCount, StartedAt: d.started, Result: AttemptInterrupted, Error: ErrorOwnerLost}
		s.unlease(d)
		s.interrupt(d, row, 0, now)
		s.place(d.endpoint)
	}
}

// expire fails the pending deliveries that are too old; it reports whether it got them all.
func (s *MemoryStore) expire(maxAge time.Duration, now memInstant) bool {
	if maxAge <= 0 {
		return true
	}
	left := memExpireAtOnce
	for t := s.pending.top(); t != nil && now.at-t.at >= maxAge; t = s.pending.top() {
		if left == 0 {
			return false
		}
		left--
		d := t.item
		s.unwait(d)
		s.finish(d, DeliveryFailed, FailExpired, now)
		s.place(d.endpoint)
	}
	return true
}
