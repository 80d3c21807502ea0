package webhook

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"time"
)

// memHour is an hour in which attempts at an endpoint were recorded.
type memHour struct {
	HourStats
	endpoint *memEndpoint
	ends     time.Duration
	at       *list.Element // in MemoryStore.hours
}

// Stats implements [History].
func (s *MemoryStore) Stats(ctx context.Context, tenant, endpointID string, since time.Time) (Stats, error) {
	if err := s.lock(ctx); err != nil {
		return Stats{}, err
	}
	defer s.mu.Unlock()
	ep := s.tenant(tenant).endpoint(endpointID)
	if ep == nil {
		return Stats{}, fmt.Errorf("%w: endpoint", ErrNotFound)
	}
	stats := Stats{Pending: int64(ep.backlog())}
	for _, h := range ep.hours {
		if !h.Start.Before(since) {
			stats.Hours = append(stats.Hours, h.HourStats)
		}
	}
	if d := ep.open.pending(); d != nil {
		stats.OldestPending = d.CreatedAt
		first, again := ep.lane.first.top(), ep.lane.again.top()
		if first == nil || again != nil && again.at < first.at {
			first = again
		}
		stats.NextAttempt = first.item.NextAttemptAt
	}
	return stats, nil
}

// count counts an attempt at a delivery that was recorded now.
func (s *MemoryStore) count(d *memDelivery, a *Attempt, now memInstant) {
	if d.Kind.Once() || d.endpoint.deleted {
		return
	}
	switch a.Result {
	case AttemptDelivered:
		h := s.hour(d.endpoint, now)
		h.Delivered++
		h.Latency.Add(a.Latency)
	case AttemptFailed:
		h := s.hour(d.endpoint, now)
		h.Failed++
		h.Latency.Add(a.Latency)
	}
}

// hour returns what counts the endpoint's attempts now: mostly its last hour, unless the machine's clock was set back.
func (s *MemoryStore) hour(ep *memEndpoint, now memInstant) *memHour {
	start := now.wall.Truncate(time.Hour)
	if n := len(ep.hours); n > 0 && ep.hours[n-1].Start.Equal(start) {
		return ep.hours[n-1]
	}
	i, found := ep.hourAt(start)
	if !found {
		h := &memHour{HourStats: HourStats{Start: start}, endpoint: ep, ends: now.in(start.Add(time.Hour).Sub(now.wall))}
		h.at = s.hours.PushBack(h)
		ep.hours = slices.Insert(ep.hours, i, h)
	}
	return ep.hours[i]
}

// hourAt is where the hour is, or would be.
func (ep *memEndpoint) hourAt(start time.Time) (i int, found bool) {
	return slices.BinarySearchFunc(ep.hours, start, func(h *memHour, start time.Time) int { return h.Start.Compare(start) })
}

// dropHour forgets one hour of an endpoint.
func (s *MemoryStore) dropHour(h *memHour) {
	s.hours.Remove(h.at)
	i, _ := h.endpoint.hourAt(h.Start)
	h.endpoint.hours = slices.Delete(h.endpoint.hours, i, i+1)
}

// forgetHours forgets how an endpoint has fared that is no more.
func (s *MemoryStore) forgetHours(ep *memEndpoint) {
	for _, h := range ep.hours {
		s.hours.Remove(h.at)
	}
	ep.hours = nil
}
