package webhook

import (
	"slices"
	"sort"
)

// memList lists what came one after the other, so that a place in it is found quickly and what is dropped leaves.
type memList[T any] struct {
	entries []memListEntry[T]
	dropped int // how many entries have no item any more
}

type memListEntry[T any] struct {
	memPlace
	item *T // nil: dropped
}

// from is the index of the first entry that is not before p. All entries but the last one are in order.
func (l *memList[T]) from(p memPlace) int {
	return sort.Search(len(l.entries), func(i int) bool { return !l.entries[i].before(p) })
}

// remove drops the entry at p, which there is.
func (l *memList[T]) remove(p memPlace) {
	l.entries[l.from(p)].item = nil
	l.dropped++
	for len(l.entries) > 0 && l.entries[0].item == nil { // mostly it is the oldest that goes
		l.entries = l.entries[1:]
		l.dropped--
	}
	if l.dropped > len(l.entries)/2 {
		l.entries = slices.DeleteFunc(slices.Clone(l.entries), func(e memListEntry[T]) bool { return e.item == nil })
		l.dropped = 0
	}
}
