package webhook

import (
	"context"
	"fmt"
	"time"
)

// memUpkeepAtOnce bounds the rows that are removed before others get the lock.
const memUpkeepAtOnce = 200

// Prune implements [Upkeep].
func (s *MemoryStore) Prune(ctx context.Context, req PruneRequest) (PruneResult, error) {
	if err := s.lock(ctx); err != nil {
		return PruneResult{}, err
	}
	defer s.mu.Unlock()
	p := memPrune{req: req}
	p.result.More = s.inTurns(req.Max, func(rows int) (int, bool) {
		p.now, p.rows, p.result.More = s.now(), rows, false
		s.prune(&p)
		return rows - p.rows, p.result.More
	})
	return p.result, nil
}

// inTurns calls part until it has done so many rows, one at least, or nothing is left to do, a few rows at a time, and
// lets those who wait have the lock in between. It reports whether there is more.
func (s *MemoryStore) inTurns(most int, part func(rows int) (done int, more bool)) (more bool) {
	for left := max(most, 1); ; {
		done, more := part(min(left, memUpkeepAtOnce))
		if left -= done; left <= 0 || !more {
			return more
		}
		s.mu.Unlock()
		s.mu.Lock()
	}
}

// memPrune is a call of Prune: what it may do still, and what it did.
type memPrune struct {
	req    PruneRequest
	result PruneResult
	now    memInstant
	rows   int
}

// takes reports whether something of that time is to be removed now. Where it is and there is no room for it, there is
// more.
func (p *memPrune) takes(since, age time.Duration) bool {
	if age <= 0 || p.now.at-since <= age {
		return false
	}
	if p.rows <= 0 {
		p.result.More = true
		return false
	}
	return true
}

// prune looks at the oldest of each kind only: all of them are in the order in which they go.
func (s *MemoryStore) prune(p *memPrune) {
	for at := s.finished.Front(); at != nil; at = s.finished.Front() {
		d := at.Value.(*memDelivery)
		if !p.takes(d.finished, p.req.Deliveries) {
			break
		}
		p.rows--
		p.result.Deliveries++
		if s.drop(d) {
			p.rows--
			p.result.Events++
		}
	}
	for at := s.idle.Front(); at != nil; at = s.idle.Front() {
		e := at.Value.(*memEvent)
		if !p.takes(e.stored, p.req.Deliveries) {
			break
		}
		p.rows--
		p.result.Events++
		s.dropIdle(e)
	}
	for at := s.gaps.Front(); at != nil; at = s.gaps.Front() {
		g := at.Value.(*memGap)
		if !p.takes(g.closed, p.req.Deliveries) {
			break
		}
		p.rows--
		s.dropGap(g)
	}
	for at := s.hours.Front(); at != nil; at = s.hours.Front() {
		h := at.Value.(*memHour)
		if !p.takes(h.ends, p.req.Deliveries) {
			break
		}
		p.rows--
		s.dropHour(h)
	}
	for at := s.replayed.Front(); at != nil; at = s.replayed.Front() {
		m := at.Value.(*memReplay)
		if !p.takes(m.ended, p.req.Deliveries) {
			break
		}
		p.rows--
		s.dropReplay(m)
	}
	for t := s.deleted.top(); t != nil; t = s.deleted.top() {
		if !p.takes(t.at, p.req.Deliveries) {
			break
		}
		p.rows--
		s.dropBuried()
	}
	for t := s.resting.top(); t != nil; t = s.resting.top() {
		if !p.takes(t.at, p.req.Bodies) {
			break
		}
		p.rows -= s.strip(t.item)
		p.result.Bodies++
	}
}

// strip removes the contents of an event and of its deliveries' attempts. It returns how much work that was, in rows.
func (s *MemoryStore) strip(e *memEvent) (rows int) {
	if e.stripped() {
		return 0
	}
	s.unrest(e)
	rows = 1 + len(e.Body)/4096 // the digest is over all of it
	digest := e.Digest()
	e.digest = &digest
	e.Body, e.Metadata, e.dataAt = nil, nil, 0
	for d := e.deliveries; d != nil; d = d.next {
		rows += len(d.Attempts)
		if len(d.Attempts) == 0 {
			continue
		}
		// What was read before stays as it is: see detach.
		attempts := make([]Attempt, len(d.Attempts))
		for i := range attempts {
			attempts[i] = d.Attempts[i].stripped()
		}
		d.Attempts = attempts
	}
	return rows
}

// stripped is the attempt without what the two sides told each other.
func (a Attempt) stripped() Attempt {
	a.RequestHeader, a.ResponseHeader, a.ResponseBody = nil, nil, nil
	return a
}

// EraseDelivery implements [Upkeep].
func (s *MemoryStore) EraseDelivery(ctx context.Context, tenant, id string) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	now := s.now()
	found := s.tenant(tenant).deliveries[id]
	if found == nil {
		return fmt.Errorf("%w: delivery", ErrNotFound)
	}
	s.strip(found.event)
	var pending []*memDelivery // gathered first: a delivery that finishes may push another one out of the store
	for d := found.event.deliveries; d != nil; d = d.next {
		if d.State == DeliveryPending {
			pending = append(pending, d)
		}
	}
	for _, d := range pending {
		s.unwait(d)
		s.finish(d, DeliveryFailed, FailErased, now)
		s.place(d.endpoint)
	}
	return nil
}

// EraseTenant implements [Upkeep].
func (s *MemoryStore) EraseTenant(ctx context.Context, tenant string, max int) (more bool, err error) {
	if err := s.lock(ctx); err != nil {
		return false, err
	}
	defer s.mu.Unlock()
	return s.inTurns(max, func(rows int) (int, bool) {
		t := s.tenants[tenant] // it may have come back since the lock was last taken
		if t == nil {
			return 0, false
		}
		done := s.erase(t, rows, s.now())
		return done, s.tenants[tenant] == t
	}), nil
}

// erase removes about that many rows of the tenant, and the tenant with the last of them.
func (s *MemoryStore) erase(t *memTenant, rows int, now memInstant) (done int) {
	if rows <= 0 {
		return 0
	}
	// Its endpoints are switched off all at once; their number has a bound, and a list of them is as much work.
	for _, ep := range t.order {
		ep.deleted, ep.gone = true, now.at
		ep.Health.State = EndpointDisabled // what is pending is not handed out before it is removed
		ep.gap = nil                       // and no outcome closes it
		s.place(ep)
		s.endReplayOf(ep, now)
	}
	if len(t.order) > 0 {
		t.order = nil
		clear(t.byType)
		s.names.remove(t.id)
	}
	for id, ep := range t.endpoints {
		if done >= rows {
			return done
		}
		done += 1 + len(ep.gaps) + len(ep.hours) + len(ep.replays)
		s.forgetGaps(ep)
		s.forgetReplays(ep)
		s.forgetHours(ep)
		if ep.buried != memNowhere {
			s.deleted.remove(ep.buried)
		}
		delete(t.endpoints, id)
	}
	for len(t.log.entries) > 0 {
		if done >= rows {
			return done
		}
		done++
		d := t.log.entries[0].item // the oldest is never one that was dropped
		switch d.State {
		case DeliveryPending:
			s.unwait(d)
			s.close(d)
		case DeliveryLeased:
			s.unlease(d)
			s.close(d)
		}
		s.drop(d)
	}
	for _, e := range t.events { // those without a delivery are left
		if done >= rows {
			return done
		}
		done++
		s.dropIdle(e)
	}
	s.tidy(t)
	return done
}

// Tenants implements [Upkeep].
func (s *MemoryStore) Tenants(ctx context.Context, after *string, max int) ([]string, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return s.names.after(after, max), nil
}
