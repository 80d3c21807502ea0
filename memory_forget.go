package webhook

import "time"

// forget drops what is over its age.
func (s *MemoryStore) forget(now memInstant) {
	old := func(since time.Duration) bool { return now.at-since > s.finishedAge }
	for at := s.finished.Front(); at != nil && old(at.Value.(*memDelivery).finished); at = s.finished.Front() {
		s.drop(at.Value.(*memDelivery), now)
	}
	for at := s.idle.Front(); at != nil && old(at.Value.(*memEvent).stored); at = s.idle.Front() {
		s.dropIdle(at.Value.(*memEvent))
	}
	for at := s.deleted.Front(); at != nil && old(at.Value.(*memEndpoint).gone); at = s.deleted.Front() {
		s.dropBuried()
	}
}

// drop forgets a finished delivery, and its event if that was the last to need it.
func (s *MemoryStore) drop(d *memDelivery, now memInstant) {
	t := d.event.tenant
	s.finished.Remove(d.done)
	delete(t.deliveries, d.ID)
	t.log.drop(d)
	d.endpoint.log.drop(d)
	s.buryIfBare(d.endpoint, now)
	if d.event.needed--; d.event.needed == 0 {
		delete(t.events, d.EventID)
		s.tidy(t)
	}
}

func (s *MemoryStore) trimIdle() {
	for s.idle.Len() > s.maxFinished {
		s.dropIdle(s.idle.Front().Value.(*memEvent))
	}
}

func (s *MemoryStore) dropIdle(e *memEvent) {
	s.idle.Remove(e.idle)
	delete(e.tenant.events, e.ID)
	s.tidy(e.tenant)
}

// buryIfBare lines a deleted endpoint up for dropping when nothing in the log is of it any more.
func (s *MemoryStore) buryIfBare(ep *memEndpoint, now memInstant) {
	if !ep.deleted || len(ep.log.entries) > 0 {
		return
	}
	ep.gone = now.at
	s.deleted.PushBack(ep)
	for s.deleted.Len() > s.maxFinished {
		s.dropBuried()
	}
}

// dropBuried forgets the endpoint that was deleted first.
func (s *MemoryStore) dropBuried() {
	ep := s.deleted.Remove(s.deleted.Front()).(*memEndpoint)
	delete(ep.tenant.endpoints, ep.ID)
	s.tidy(ep.tenant)
}

// tidy forgets a tenant that has nothing.
func (s *MemoryStore) tidy(t *memTenant) {
	if len(t.events) == 0 && len(t.endpoints) == 0 {
		delete(s.tenants, t.id)
	}
}
