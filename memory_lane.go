package webhook

import (
	"strconv"
	"time"
)

// memLane is how one endpoint's deliveries queue up, and when it is their turn.
type memLane struct {
	first, again memHeap[memDelivery] // pending deliveries by when they fall due: those never attempted, and the others
	leases       int
	served       time.Duration // when Claim last gave it a lease; a hand-over passes nobody who waits, so it is not counted
	lastFirst    bool          // whether that was a first attempt
	pausedUntil  time.Duration // Health.PausedUntil, as an instant
	moment       time.Duration // when all that was claimed will have been due at the endpoint's rate: see Pace
	interval     time.Duration // what moment was reckoned with: Pace.Interval when it last had a rate

	full bool                  // something waits that only the window keeps from being sent; counted in MemoryStore.full
	heap *memHeap[memEndpoint] // MemoryStore.normal, .slow, or nil while there is nothing that may be sent
	pos  int

	weighed *memHeap[memEndpoint] // MemoryStore.under, .over, or nil while no bound is for the endpoint
	weight  int                   // its position there
}

// queue is where the delivery waits while it is pending.
func (l *memLane) queue(d *memDelivery) *memHeap[memDelivery] {
	if d.AttemptCount == 0 {
		return &l.first
	}
	return &l.again
}

// next returns the delivery whose turn it is at now, or the one that falls due next, or nil. The one that fell due
// first is next, but while first attempts and retries are both due they take turns: else a flood of events would keep
// the retries waiting, or retries the events.
func (l *memLane) next(now time.Duration) *memEntry[memDelivery] {
	first, again := l.first.top(), l.again.top()
	switch {
	case first == nil:
		return again
	case again == nil:
		return first
	case first.at <= now && again.at <= now:
		if l.lastFirst {
			return again
		}
		return first
	case first.at < again.at:
		return first
	default:
		return again
	}
}

// due is when the first of the lane's deliveries falls due.
func (l *memLane) due() (at time.Duration, ok bool) {
	first, again := l.first.top(), l.again.top()
	switch {
	case first == nil && again == nil:
		return 0, false
	case again == nil || first != nil && first.at < again.at:
		return first.at, true
	default:
		return again.at, true
	}
}

// room reports whether the endpoint's window leaves room for a lease.
func (ep *memEndpoint) room() bool { return ep.lane.leases < max(1, ep.Health.Window) }

// eligible is when the endpoint can be served next: it has something due, was last served before, its rate lets it,
// and its pause is over. ok is false while it cannot be said: there is nothing to send, its state forbids it (as that
// of a deleted one does), or its window is full. A full window ends with a lease, and that calls place.
func (ep *memEndpoint) eligible() (at time.Duration, ok bool) {
	due, ok := ep.lane.due()
	if !ok || !ep.room() {
		return 0, false
	}
	at = max(due, ep.lane.served)
	if p := ep.Pace(); p.Interval > 0 {
		at = max(at, ep.lane.moment-time.Duration(p.Burst-1)*p.Interval) // when Pace.Room is 1
	}
	switch ep.Health.State {
	case EndpointActive:
		return at, true
	case EndpointPaused:
		return max(at, ep.lane.pausedUntil), true
	}
	return 0, false
}

// repace reckons with a pace that may have changed. The endpoint stays ahead of it by as many leases as before, but no
// more than a burst: a lower rate then brings no fresh burst, and a higher one does not wait for the old one. Without
// a rate nothing is reckoned, and nothing forgotten.
func (ep *memEndpoint) repace(now memInstant) {
	p := ep.Pace()
	if p.Interval == 0 {
		return
	}
	if ahead := ep.lane.moment - now.at; ahead > 0 {
		leases := float64(ahead) / float64(ep.lane.interval)
		ep.lane.moment = now.at + time.Duration(min(leases, float64(p.Burst))*float64(p.Interval))
	}
	ep.lane.interval = p.Interval
}

// place puts the endpoint where the next Claim looks for it. Whatever changes what eligible depends on calls it.
func (s *MemoryStore) place(ep *memEndpoint) {
	s.weigh(ep)
	l := &ep.lane
	var heap *memHeap[memEndpoint]
	at, ok := ep.eligible()
	if _, waits := l.due(); l.full != (waits && !ok && ep.Health.State.Queues()) {
		l.full = !l.full
		if l.full {
			s.full++
		} else {
			s.full--
		}
	}
	switch {
	case ok && ep.Health.Slow:
		heap = &s.slow
	case ok:
		heap = &s.normal
	}
	if heap == l.heap && (heap == nil || heap.entries[l.pos].at == at) {
		return // it keeps its place among those of the same moment
	}
	s.displace(ep)
	if heap != nil {
		s.seq++
		heap.push(at, s.seq, ep, &l.pos)
		l.heap = heap
	}
}

func (s *MemoryStore) displace(ep *memEndpoint) {
	if l := &ep.lane; l.heap != nil {
		l.heap.remove(l.pos)
		l.heap = nil
	}
}

// serve notes that it was this endpoint's turn, with this delivery. The caller leases the delivery and calls place,
// which puts the endpoint behind all that wait already.
func (s *MemoryStore) serve(ep *memEndpoint, d *memDelivery, now memInstant) {
	s.displace(ep)
	ep.lane.served = now.at
	if p := ep.Pace(); p.Interval > 0 {
		ep.lane.moment = now.at + p.Ahead(ep.lane.moment-now.at, 1)
	}
	ep.lane.lastFirst = d.AttemptCount == 0
}

// wait makes the delivery pending and due after wait. The caller calls place.
func (s *MemoryStore) wait(d *memDelivery, wait time.Duration, now memInstant) {
	wait = max(0, wait)
	d.State = DeliveryPending
	d.NextAttemptAt = now.wall.Add(wait)
	s.seq++
	d.endpoint.lane.queue(d).push(now.in(wait), s.seq, d, &d.pos)
	s.pending.push(d.created, d.seq, d, &d.age)
}

// unwait takes a pending delivery out of its queues. The caller says what becomes of it and calls place.
func (s *MemoryStore) unwait(d *memDelivery) {
	d.endpoint.lane.queue(d).remove(d.pos)
	s.pending.remove(d.age)
}

// lease leases a delivery that is in no queue.
func (s *MemoryStore) lease(d *memDelivery, term time.Duration, now memInstant) Lease {
	s.seq++
	ep := d.endpoint
	ep.lane.leases++
	d.State = DeliveryLeased
	d.NextAttemptAt = time.Time{}
	d.AttemptCount++
	d.token = strconv.FormatUint(s.seq, 36)
	d.started = now.wall
	s.leases.push(now.in(term), s.seq, d, &d.pos)

	if ep.shared == nil {
		shared := ep.Endpoint // its slices are replaced as a whole, never written to
		ep.shared = &shared
	}
	lease := Lease{Delivery: d.Delivery, Event: d.event.Event, Endpoint: ep.shared, Token: d.token, StartedAt: now.wall, Term: term}
	lease.Delivery.Attempts = nil
	for i := len(d.Attempts) - 1; i >= 0; i-- {
		if a := &d.Attempts[i]; a.Result != AttemptInterrupted {
			lease.LastSecret = a.SecretID
			break
		}
	}
	return lease
}

// unlease ends the lease. The caller says what becomes of the delivery and calls place.
func (s *MemoryStore) unlease(d *memDelivery) {
	s.leases.remove(d.pos)
	d.endpoint.lane.leases--
	d.token = ""
}
