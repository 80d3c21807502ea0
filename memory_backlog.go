package webhook

import "time"

// backlog is how many of the endpoint's deliveries are pending or leased.
func (ep *memEndpoint) backlog() int {
	return len(ep.lane.first.entries) + len(ep.lane.again.entries) + ep.lane.leases
}

// fills reports whether the endpoint's backlog, with so many more that are coming, has reached the bound; 0 is none.
func (ep *memEndpoint) fills(bound, coming int) bool {
	return bound > 0 && ep.backlog()+coming >= bound
}

// backlogged reports whether the endpoint misses events for its backlog.
func (ep *memEndpoint) backlogged() bool { return ep.gap != nil && ep.gap.Reason == GapBacklog }

// workedOff reports whether so little of a backlog is left that events are queued again: nine tenths of the bound. It
// is less than the bound, so that an endpoint that stands there does not open and close a gap with each event.
func workedOff(backlog, bound int) bool { return bound <= 0 || backlog < bound-(bound-1)/10 }

func (s *MemoryStore) openBacklog(ep *memEndpoint, bound int, now memInstant) {
	s.openGap(ep, GapBacklog, now)
	ep.bound = bound
	s.weigh(ep)
}

// relieve closes the gap of a backlog that is worked off. The caller calls place.
func (s *MemoryStore) relieve(ep *memEndpoint, now memInstant) {
	if ep.backlogged() && workedOff(ep.backlog(), ep.bound) {
		s.closeGap(ep, now)
	}
}

// bound opens and closes gaps where they are not as a bound on backlogs says: it is another one than before, or a
// backlog reached it while nobody looked. It returns the endpoints for which it opened one.
func (s *MemoryStore) bound(bound int, now memInstant) (opened []EndpointRef) {
	for t := s.over.top(); t != nil && workedOff(int(t.at), bound); t = s.over.top() {
		ep := t.item
		s.closeGap(ep, now)
		s.weigh(ep)
	}
	for t := s.under.top(); t != nil && t.item.fills(bound, 0); t = s.under.top() {
		opened = append(opened, t.item.ref())
		s.openBacklog(t.item, bound, now)
	}
	return opened
}

// weigh files the endpoint by its backlog.
func (s *MemoryStore) weigh(ep *memEndpoint) {
	l := &ep.lane
	var heap *memHeap[memEndpoint]
	order := time.Duration(ep.backlog()) // no time, but what the heap sorts by
	switch {
	case !ep.Health.State.Queues(): // as of one that is deleted
	case ep.gap != nil:
		heap = &s.over
	case order > 0:
		heap, order = &s.under, -order
	}
	switch {
	case heap != l.weighed:
		if l.weighed != nil {
			l.weighed.remove(l.weight)
		}
		if heap != nil {
			s.seq++
			heap.push(order, s.seq, ep, &l.weight)
		}
		l.weighed = heap
	case heap != nil && heap.entries[l.weight].at != order:
		heap.move(l.weight, order)
	}
}

// memOpen lists an endpoint's deliveries that are pending or leased, as they were created.
type memOpen struct{ first, last *memDelivery }

type memOpenLinks struct{ prev, next *memDelivery }

func (l *memOpen) add(d *memDelivery) {
	d.open.prev = l.last
	if l.last == nil {
		l.first = d
	} else {
		l.last.open.next = d
	}
	l.last = d
}

func (l *memOpen) remove(d *memDelivery) {
	prev, next := d.open.prev, d.open.next
	if prev == nil {
		l.first = next
	} else {
		prev.open.next = next
	}
	if next == nil {
		l.last = prev
	} else {
		next.open.prev = prev
	}
	d.open = memOpenLinks{}
}

// pending returns the oldest delivery that is pending, or nil. No more are passed over than are leased.
func (l *memOpen) pending() *memDelivery {
	d := l.first
	for d != nil && d.State != DeliveryPending {
		d = d.open.next
	}
	return d
}
