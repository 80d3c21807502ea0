package webhook

import "time"

// Sizes counts what the store holds, so that tests can tell whether it lets go of what it need not keep.
func (s *MemoryStore) Sizes() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := map[string]int{
		"tenants": len(s.tenants), "live": s.live, "pending": len(s.pending.entries), "leases": len(s.leases.entries),
		"lanes": len(s.normal.entries) + len(s.slow.entries), "finished": s.finished.Len(), "idle": s.idle.Len(), "deleted": len(s.deleted.entries),
		"resting": len(s.resting.entries), "gaps": s.gaps.Len(), "named": len(s.names.after(nil, 1<<30)),
		"hours": s.hours.Len(), "weighed": len(s.under.entries) + len(s.over.entries),
		"replaying": s.replaying.Len(), "replayed": s.replayed.Len(),
	}
	for _, t := range s.tenants {
		n["events"] += len(t.events)
		n["deliveries"] += len(t.deliveries)
		n["endpoints"] += len(t.endpoints)
		n["log"] += len(t.log.entries) - t.log.dropped
		n["events out of order"] += len(t.events) - (len(t.stored.entries) - t.stored.dropped)
		n["replays"] += len(t.replays)
		n["types"] += len(t.byType)
		for _, e := range t.events {
			if e.open == 0 && !e.stripped() {
				n["contents at rest"]++
			}
		}
		endpoints := map[*memEndpoint]bool{} // those of deliveries too: while a tenant is erased its endpoints go first
		for _, ep := range t.endpoints {
			endpoints[ep] = true
		}
		for _, d := range t.deliveries {
			endpoints[d.endpoint] = true
		}
		for ep := range endpoints {
			n["endpoint logs"] += len(ep.log.entries) - ep.log.dropped
			n["closed gaps"] += len(ep.gaps)
			n["endpoint hours"] += len(ep.hours)
			for d := ep.open.first; d != nil; d = d.open.next {
				n["open"]++
			}
			n["endpoints' replays"] += len(ep.replays)
			n["queued"] += len(ep.lane.first.entries) + len(ep.lane.again.entries)
		}
	}
	for name, count := range n {
		if count == 0 {
			delete(n, name)
		}
	}
	return n
}

// CountAt counts a delivered attempt as the machine's clock has it, which may have been set back.
func (s *MemoryStore) CountAt(tenant, endpoint string, wall time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	now.wall = wall
	d := &memDelivery{endpoint: s.tenant(tenant).endpoint(endpoint)}
	s.count(d, &Attempt{Result: AttemptDelivered}, now)
}

// Bounds returns what the store was configured with.
func (s *MemoryStore) Bounds() MemoryConfig {
	return MemoryConfig{MaxPending: s.maxPending, MaxFinished: s.maxFinished, FinishedAge: s.finishedAge}
}

// Names is the store's set of tenants, for its own test.
type Names struct{ names memNames }

func (n *Names) Add(name string)    { n.names.add(name) }
func (n *Names) Remove(name string) { n.names.remove(name) }

func (n *Names) After(name *string, limit int) []string { return n.names.after(name, limit) }

// Stored is the order in which a tenant's events were stored, for its own test.
type Stored struct {
	list memStored
	seq  uint64
}

// StoredEvent is an event in a Stored.
type StoredEvent struct{ event *memEvent }

func (e StoredEvent) At() time.Duration { return e.event.place.at }

func (s *Stored) Add(at time.Duration) StoredEvent {
	s.seq++
	e := &memEvent{place: memPlace{at, s.seq}}
	s.list.add(e)
	return StoredEvent{e}
}

func (s *Stored) Drop(e StoredEvent) { s.list.drop(e.event) }

func (s *Stored) Len() int { return len(s.list.entries) }

// Between lists the events that were stored from then up to but not including to, as a replay finds them.
func (s *Stored) Between(from, to time.Duration) (events []StoredEvent) {
	for p := (memPlace{at: from}); ; {
		e := s.list.next(p, memPlace{at: to})
		if e == nil {
			return events
		}
		events = append(events, StoredEvent{e})
		p = memPlace{e.place.at, e.place.seq + 1}
	}
}

// Heap is the store's priority queue, for its own test.
type Heap struct {
	heap memHeap[HeapItem]
	seq  uint64
}

// HeapItem is something in a Heap.
type HeapItem struct {
	At  time.Duration
	Seq uint64
	pos int
}

func (h *Heap) Push(at time.Duration) *HeapItem {
	h.seq++
	item := &HeapItem{At: at, Seq: h.seq}
	h.heap.push(at, h.seq, item, &item.pos)
	return item
}

func (h *Heap) Remove(item *HeapItem) { h.heap.remove(item.pos) }

func (h *Heap) Top() *HeapItem { return h.heap.top().item }
