package webhook

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// memReadAtOnce bounds how many deliveries a page's search looks at before it lets others have the lock.
const memReadAtOnce = 2000

// memLog lists deliveries as they were created. It is in the order of CreatedAt and ID too, unless the machine's clock
// was set back.
type memLog struct{ memList[memDelivery] }

func (l *memLog) add(d *memDelivery) {
	l.entries = append(l.entries, memListEntry[memDelivery]{memPlace{seq: d.seq}, d})
}

// before returns how many entries are older than seq.
func (l *memLog) before(seq uint64) int {
	return l.from(memPlace{seq: seq})
}

func (l *memLog) drop(d *memDelivery) { l.remove(memPlace{seq: d.seq}) }

// Event implements [History].
func (s *MemoryStore) Event(ctx context.Context, tenant, id string) (Event, error) {
	if err := s.lock(ctx); err != nil {
		return Event{}, err
	}
	defer s.mu.Unlock()
	e := s.tenant(tenant).events[id]
	if e == nil {
		return Event{}, fmt.Errorf("%w: event", ErrNotFound)
	}
	return e.Event, nil
}

// Delivery implements [History].
func (s *MemoryStore) Delivery(ctx context.Context, tenant, id string) (Delivery, error) {
	if err := s.lock(ctx); err != nil {
		return Delivery{}, err
	}
	found := s.tenant(tenant).deliveries[id]
	if found == nil {
		s.mu.Unlock()
		return Delivery{}, fmt.Errorf("%w: delivery", ErrNotFound)
	}
	d := found.Delivery
	s.mu.Unlock()
	s.detach(&d)
	return d, nil
}

// Deliveries implements [History].
func (s *MemoryStore) Deliveries(ctx context.Context, tenant string, f DeliveryFilter) (DeliveryPage, error) {
	if f.Limit <= 0 || f.Limit > MaxPage {
		f.Limit = MaxPage
	}
	search := memSearch{filter: f, before: math.MaxUint64}
	if f.Cursor != "" {
		seq, ok := strings.CutPrefix(f.Cursor, s.run+"-")
		n, err := strconv.ParseUint(seq, 36, 64)
		if !ok || err != nil {
			return DeliveryPage{}, ErrInvalidCursor
		}
		search.before = n
	}
	for !search.done {
		if err := s.lock(ctx); err != nil {
			return DeliveryPage{}, err
		}
		search.look(s.tenant(tenant))
		s.mu.Unlock()
	}
	for i := range search.page.Deliveries {
		s.detach(&search.page.Deliveries[i])
	}
	if search.more {
		search.page.NextCursor = s.run + "-" + strconv.FormatUint(search.last, 36)
	}
	return search.page, nil
}

// memSearch collects one page, from the newest delivery to older ones.
type memSearch struct {
	filter DeliveryFilter
	before uint64 // what is as new was looked at
	page   DeliveryPage
	last   uint64 // the page's last delivery
	done   bool
	more   bool // something after the page matches
}

func (m *memSearch) look(t *memTenant) {
	log := &t.log
	if m.filter.EndpointID != "" {
		ep := t.endpoints[m.filter.EndpointID]
		if ep == nil {
			m.done = true
			return
		}
		log = &ep.log
	}
	end := log.before(m.before)
	start := max(0, end-memReadAtOnce)
	for i := end - 1; i >= start; i-- {
		e := log.entries[i]
		m.before = e.seq
		if e.item == nil || !m.filter.matches(&e.item.Delivery) {
			continue
		}
		if len(m.page.Deliveries) == m.filter.Limit {
			m.done, m.more = true, true
			return
		}
		m.page.Deliveries = append(m.page.Deliveries, e.item.Delivery)
		m.last = e.seq
	}
	m.done = start == 0
}

func (f *DeliveryFilter) matches(d *Delivery) bool {
	return (f.EndpointID == "" || f.EndpointID == d.EndpointID) &&
		(f.EventID == "" || f.EventID == d.EventID) &&
		(f.EventType == "" || f.EventType == d.EventType) &&
		(f.State == "" || f.State == d.State) &&
		(f.Since.IsZero() || !d.CreatedAt.Before(f.Since)) &&
		(f.Until.IsZero() || d.CreatedAt.Before(f.Until))
}

// Gaps implements [History].
func (s *MemoryStore) Gaps(ctx context.Context, tenant, endpointID string) ([]Gap, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	ep := s.tenant(tenant).endpoints[endpointID]
	if ep == nil {
		return nil, nil
	}
	var gaps []Gap
	if ep.gap != nil {
		gaps = append(gaps, ep.gap.Gap)
	}
	for _, g := range slices.Backward(ep.gaps) {
		gaps = append(gaps, g.Gap)
	}
	return gaps[:min(len(gaps), memMaxGaps)], nil
}

// detach gives a delivery that was taken from the store attempts of its own, which its caller may modify. Stored
// attempts are added to and never modified, so that this needs no lock: it may be some megabytes.
func (*MemoryStore) detach(d *Delivery) {
	d.Attempts = slices.Clone(d.Attempts)
	for i := range d.Attempts {
		a := &d.Attempts[i]
		a.RequestHeader = a.RequestHeader.Clone()
		a.ResponseHeader = a.ResponseHeader.Clone()
		a.ResponseBody = slices.Clone(a.ResponseBody)
	}
}
