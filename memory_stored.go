package webhook

import (
	"slices"
	"sort"
	"time"
)

// memStored lists a tenant's events by when they were stored, so that a replay finds where it begins, and goes on where
// it stopped, whatever was dropped meanwhile.
type memStored struct {
	entries []memStoredEntry
	dropped int // how many entries have no event any more
}

type memStoredEntry struct {
	memPlace
	event *memEvent // nil: dropped
}

// memPlace is where an event is in the order of storing. at is what a clock on the wall showed, counted from when the
// store began: the times of replays are compared with it.
type memPlace struct {
	at  time.Duration
	seq uint64
}

func (p memPlace) before(q memPlace) bool { return p.at < q.at || p.at == q.at && p.seq < q.seq }

// onWall is a time as it is compared with places. What is too long ago or too far away for that is as far as there is.
func (s *MemoryStore) onWall(t time.Time) time.Duration { return t.Round(0).Sub(s.begin) }

// file gives a new event its place, after its deliveries were made: a gap that opened with it has it.
func (s *MemoryStore) file(e *memEvent, now memInstant) {
	s.seq++
	e.place = memPlace{s.onWall(now.wall), s.seq}
	e.tenant.stored.add(e)
}

func (l *memStored) add(e *memEvent) {
	l.entries = append(l.entries, memStoredEntry{e.place, e})
	if end := len(l.entries) - 1; end > 0 && e.place.before(l.entries[end-1].memPlace) { // the machine's clock was set back
		at := l.from(e.place)
		copy(l.entries[at+1:], l.entries[at:end])
		l.entries[at] = memStoredEntry{e.place, e}
	}
}

// from is the index of the first entry that is not before p. All entries but the last one are in order.
func (l *memStored) from(p memPlace) int {
	return sort.Search(len(l.entries), func(i int) bool { return !l.entries[i].before(p) })
}

// next returns the first event that is not before p and before end, or nil.
func (l *memStored) next(p, end memPlace) *memEvent {
	for i := l.from(p); i < len(l.entries) && l.entries[i].before(end); i++ {
		if e := l.entries[i].event; e != nil {
			return e
		}
	}
	return nil
}

func (l *memStored) drop(e *memEvent) {
	l.entries[l.from(e.place)].event = nil
	l.dropped++
	for len(l.entries) > 0 && l.entries[0].event == nil { // mostly it is the oldest that goes
		l.entries = l.entries[1:]
		l.dropped--
	}
	if l.dropped > len(l.entries)/2 {
		l.entries = slices.DeleteFunc(slices.Clone(l.entries), func(e memStoredEntry) bool { return e.event == nil })
		l.dropped = 0
	}
}
