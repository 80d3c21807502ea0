package webhook

import "time"

// memHeap is a priority queue: what has the least time is on top, and among equal times what was pushed first. An item
// knows its position, so that it can be taken out from the middle. Four children to a node and keys beside the items,
// not behind them: with half a million deliveries waiting for one endpoint it is the cache misses that cost.
type memHeap[T any] struct{ entries []memEntry[T] }

type memEntry[T any] struct {
	at   time.Duration
	seq  uint64
	item *T
	pos  *int // where the item keeps its position
}

func (a *memEntry[T]) before(b *memEntry[T]) bool {
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

// top returns the first entry, or nil.
func (h *memHeap[T]) top() *memEntry[T] {
	if len(h.entries) == 0 {
		return nil
	}
	return &h.entries[0]
}

func (h *memHeap[T]) push(at time.Duration, seq uint64, item *T, pos *int) {
	h.entries = append(h.entries, memEntry[T]{})
	h.rise(len(h.entries)-1, memEntry[T]{at, seq, item, pos})
}

func (h *memHeap[T]) remove(i int) {
	end := len(h.entries) - 1
	last := h.entries[end]
	h.entries[end] = memEntry[T]{} // let go of the item
	h.entries = h.entries[:end]
	switch {
	case i == end:
	case i > 0 && last.before(&h.entries[(i-1)/4]):
		h.rise(i, last)
	default:
		h.sink(i, last)
	}
	if cap(h.entries) > 1024 && len(h.entries) < cap(h.entries)/4 { // a backlog that is gone must not keep its room
		h.entries = append(make([]memEntry[T], 0, cap(h.entries)/2), h.entries...)
	}
}

// move gives the item at i another time.
func (h *memHeap[T]) move(i int, at time.Duration) {
	e := h.entries[i]
	e.at = at
	if i > 0 && e.before(&h.entries[(i-1)/4]) {
		h.rise(i, e)
	} else {
		h.sink(i, e)
	}
}

// rise puts e at the free place i or above it.
func (h *memHeap[T]) rise(i int, e memEntry[T]) {
	for i > 0 {
		parent := (i - 1) / 4
		if !e.before(&h.entries[parent]) {
			break
		}
		h.set(i, h.entries[parent])
		i = parent
	}
	h.set(i, e)
}

// sink puts e at the free place i or below it.
func (h *memHeap[T]) sink(i int, e memEntry[T]) {
	for {
		child := 4*i + 1
		if child >= len(h.entries) {
			break
		}
		least := child
		for c := child + 1; c < min(child+4, len(h.entries)); c++ {
			if h.entries[c].before(&h.entries[least]) {
				least = c
			}
		}
		if !h.entries[least].before(&e) {
			break
		}
		h.set(i, h.entries[least])
		i = least
	}
	h.set(i, e)
}

func (h *memHeap[T]) set(i int, e memEntry[T]) {
	h.entries[i] = e
	*e.pos = i
}
