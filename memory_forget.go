package webhook

import "time"

// forget drops what is over its age.
func (s *MemoryStore) forget(now memInstant) {
	old := func(since time.Duration) bool { return now.at-since > s.finishedAge }
	for at := s.finished.Front(); at != nil && old(at.Value.(*memDelivery).finished); at = s.finished.Front() {
		s.drop(at.Value.(*memDelivery))
	}
	for at := s.idle.Front(); at != nil && old(at.Value.(*memEvent).stored); at = s.idle.Front() {
		s.dropIdle(at.Value.(*memEvent))
	}
	for at := s.gaps.Front(); at != nil && old(at.Value.(*memGap).closed); at = s.gaps.Front() {
		s.dropGap(at.Value.(*memGap))
	}
	for at := s.hours.Front(); at != nil && old(at.Value.(*memHour).ends); at = s.hours.Front() {
		s.dropHour(at.Value.(*memHour))
	}
	for at := s.replayed.Front(); at != nil && old(at.Value.(*memReplay).ended); at = s.replayed.Front() {
		s.dropReplay(at.Value.(*memReplay))
	}
	for t := s.deleted.top(); t != nil && old(t.at); t = s.deleted.top() {
		s.dropBuried()
	}
}

// drop forgets a delivery that is in no queue, and its event if that was the last to need it: that is what last says.
func (s *MemoryStore) drop(d *memDelivery) (last bool) {
	e, t := d.event, d.event.tenant
	if d.done != nil {
		s.finished.Remove(d.done)
	}
	delete(t.deliveries, d.ID)
	t.log.drop(d)
	d.endpoint.log.drop(d)
	s.buryIfBare(d.endpoint)
	if d.next != nil {
		d.next.prev = d.prev
	}
	if d.prev != nil {
		d.prev.next = d.next
	} else {
		e.deliveries = d.next
	}
	if e.deliveries != nil {
		return false
	}
	s.unrest(e)
	t.stored.drop(e)
	delete(t.events, e.ID)
	s.tidy(t)
	return true
}

func (s *MemoryStore) trimIdle() {
	for s.idle.Len() > s.maxFinished {
		s.dropIdle(s.idle.Front().Value.(*memEvent))
	}
}

func (s *MemoryStore) dropIdle(e *memEvent) {
	s.idle.Remove(e.idle)
	s.unrest(e)
	e.tenant.stored.drop(e)
	delete(e.tenant.events, e.ID)
	s.tidy(e.tenant)
}

// buryIfBare lines a deleted endpoint up for dropping when nothing in the log is of it any more.
func (s *MemoryStore) buryIfBare(ep *memEndpoint) {
	if !ep.deleted || ep.buried != memNowhere || len(ep.log.entries) > 0 || ep.tenant.endpoints[ep.ID] != ep { // or was erased before its deliveries
		return
	}
	s.seq++
	s.deleted.push(ep.gone, s.seq, ep, &ep.buried)
	for len(s.deleted.entries) > s.maxFinished {
		s.dropBuried()
	}
}

// dropBuried forgets the endpoint that was deleted first.
func (s *MemoryStore) dropBuried() {
	ep := s.deleted.top().item
	s.deleted.remove(ep.buried)
	s.forgetGaps(ep)
	s.forgetReplays(ep)
	s.forgetHours(ep) // which it has if its tenant is being erased
	delete(ep.tenant.endpoints, ep.ID)
	s.tidy(ep.tenant)
}

// dropGap forgets a closed gap, the oldest of its endpoint.
func (s *MemoryStore) dropGap(g *memGap) {
	s.gaps.Remove(g.at)
	g.endpoint.gaps[0] = nil
	g.endpoint.gaps = g.endpoint.gaps[1:]
}

// forgetGaps forgets the closed gaps of an endpoint that is about to be forgotten.
func (s *MemoryStore) forgetGaps(ep *memEndpoint) {
	for len(ep.gaps) > 0 {
		s.dropGap(ep.gaps[0])
	}
}

// tidy forgets a tenant that has nothing.
func (s *MemoryStore) tidy(t *memTenant) {
	if len(t.events) == 0 && len(t.endpoints) == 0 {
		delete(s.tenants, t.id)
	}
}
