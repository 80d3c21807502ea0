package webhook

import "time"

// memStored lists a tenant's events by when they were stored, so that a replay finds where it begins, and goes on where
// it stopped, whatever was dropped meanwhile.
type memStored struct{ memList[memEvent] }

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
	l.entries = append(l.entries, memListEntry[memEvent]{e.place, e})
	if end := len(l.entries) - 1; end > 0 && e.place.before(l.entries[end-1].memPlace) { // the machine's clock was set back
		at := l.from(e.place)
		copy(l.entries[at+1:], l.entries[at:end])
		l.entries[at] = memListEntry[memEvent]{e.place, e}
	}
}

// next returns the first event that is not before p and before end, or nil.
func (l *memStored) next(p, end memPlace) *memEvent {
	for i := l.from(p); i < len(l.entries) && l.entries[i].before(end); i++ {
		if e := l.entries[i].item; e != nil {
			return e
		}
	}
	return nil
}

func (l *memStored) drop(e *memEvent) { l.remove(e.place) }
