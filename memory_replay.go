package webhook

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"time"
)

const (
	memReplaysKept  = 100 // of one endpoint, that have ended; and as many are read
	memReplayAtOnce = 200 // events that one step looks at under the lock, each with all of its deliveries
)

// memReplay is a replay, which is either in MemoryStore.replaying or in MemoryStore.replayed.
type memReplay struct {
	Replay
	endpoint  *memEndpoint
	next, end memPlace // what it looks at still
	ended     time.Duration
	at        *list.Element
}

// CreateReplay implements [Replays].
func (s *MemoryStore) CreateReplay(ctx context.Context, r Replay) (Replay, error) {
	if err := s.lock(ctx); err != nil {
		return Replay{}, err
	}
	defer s.mu.Unlock()
	now := s.now()
	t := s.tenant(r.Tenant)
	ep := t.endpoint(r.EndpointID)
	switch {
	case ep == nil:
		return Replay{}, fmt.Errorf("%w: endpoint", ErrNotFound)
	case ep.replaying() != nil:
		return Replay{}, fmt.Errorf("%w for endpoint %q", ErrReplayRunning, ep.ID)
	case t.replays[r.ID] != nil:
		return Replay{}, fmt.Errorf("%w: replay %q", ErrConflict, r.ID)
	}

	for len(ep.replays) > memReplaysKept { // all have ended
		s.dropReplay(ep.replays[0])
	}
	m := &memReplay{Replay: r, endpoint: ep}
	m.State, m.CreatedAt, m.FinishedAt = ReplayRunning, now.wall, time.Time{}
	if m.Until.IsZero() || m.Until.After(now.wall) {
		m.Until = now.wall
	}
	m.Since, m.Until = m.Since.Round(0), m.Until.Round(0)
	m.Reached, m.Looked, m.Queued, m.Skipped = m.Since, 0, 0, 0
	m.next, m.end = memPlace{at: s.onWall(m.Since)}, memPlace{at: s.onWall(m.Until)}
	m.at = s.replaying.PushBack(m)
	ep.replays = append(ep.replays, m)
	t.replays[m.ID] = m
	return m.Replay, nil
}

// replaying returns the endpoint's replay that runs, or nil: it is never older than one that has ended.
func (ep *memEndpoint) replaying() *memReplay {
	if n := len(ep.replays); n > 0 && ep.replays[n-1].State == ReplayRunning {
		return ep.replays[n-1]
	}
	return nil
}

// Replays implements [Replays].
func (s *MemoryStore) Replays(ctx context.Context, tenant, endpointID string) ([]Replay, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	ep := s.tenant(tenant).endpoints[endpointID]
	if ep == nil {
		return nil, nil
	}
	var replays []Replay
	for _, m := range slices.Backward(ep.replays[max(0, len(ep.replays)-memReplaysKept):]) {
		replays = append(replays, m.Replay)
	}
	return replays, nil
}

// StopReplay implements [Replays].
func (s *MemoryStore) StopReplay(ctx context.Context, tenant, id string) (Replay, error) {
	if err := s.lock(ctx); err != nil {
		return Replay{}, err
	}
	defer s.mu.Unlock()
	m := s.tenant(tenant).replays[id]
	if m == nil {
		return Replay{}, fmt.Errorf("%w: replay", ErrNotFound)
	}
	stopped := m.Replay
	if m.State == ReplayRunning {
		s.endReplay(m, ReplayStopped, s.now())
		stopped = m.Replay
	}
	return stopped, nil
}

// endReplay ends a replay that runs. The store may forget it at once.
func (s *MemoryStore) endReplay(m *memReplay, state ReplayState, now memInstant) {
	m.State, m.FinishedAt, m.ended = state, now.wall, now.at
	s.replaying.Remove(m.at)
	m.at = s.replayed.PushBack(m)
	for s.replayed.Len() > s.maxFinished {
		s.dropReplay(s.replayed.Front().Value.(*memReplay))
	}
}

// dropReplay forgets a replay that has ended, the oldest of its endpoint.
func (s *MemoryStore) dropReplay(m *memReplay) {
	s.replayed.Remove(m.at)
	delete(m.endpoint.tenant.replays, m.ID)
	m.endpoint.replays[0] = nil
	m.endpoint.replays = m.endpoint.replays[1:]
}

// endReplayOf stops what runs for an endpoint that is no more.
func (s *MemoryStore) endReplayOf(ep *memEndpoint, now memInstant) {
	if m := ep.replaying(); m != nil {
		s.endReplay(m, ReplayStopped, now)
	}
}

// forgetReplays forgets the replays of an endpoint that is about to be forgotten.
func (s *MemoryStore) forgetReplays(ep *memEndpoint) {
	for len(ep.replays) > 0 {
		s.dropReplay(ep.replays[0])
	}
}

// ContinueReplay implements [Replays].
func (s *MemoryStore) ContinueReplay(ctx context.Context, req ReplayStep) (ReplayStepped, error) {
	if err := s.lock(ctx); err != nil {
		return ReplayStepped{}, err
	}
	defer s.mu.Unlock()
	now := s.now()
	s.forget(now)
	for at := s.replaying.Front(); at != nil; at = at.Next() {
		m := at.Value.(*memReplay)
		room := min(req.Pending-m.endpoint.backlog(), s.maxPending-s.live)
		if room <= 0 || !m.endpoint.Health.State.Queues() {
			continue
		}
		s.replaying.MoveToBack(at)
		queued := s.replay(m, max(1, min(req.Max, memReplayAtOnce)), room, now)
		return ReplayStepped{Stepped: true, Queued: queued}, nil
	}
	return ReplayStepped{Waiting: s.replaying.Len() > 0}, nil
}

// replay takes a step: it looks at so many events, or fewer if there is no more room.
func (s *MemoryStore) replay(m *memReplay, events, room int, now memInstant) (queued bool) {
	ep := m.endpoint
	stored := &ep.tenant.stored
	e := stored.next(m.next, m.end)
	for ; e != nil && events > 0 && room > 0; e = stored.next(m.next, m.end) {
		events--
		m.Looked++
		m.Reached = s.begin.Round(0).Add(e.place.at).UTC()
		m.next = memPlace{e.place.at, e.place.seq + 1}
		of, wanted := m.wants(e)
		switch {
		case !wanted:
		case e.stripped():
			m.Skipped++
		default:
			m.Queued++
			room--
			queued = true
			d := s.deliver(e, ep, KindRedelivery, now)
			d.RedeliveryOf, d.AskedBy = of, m.AskedBy
			s.wait(d, 0, now)
		}
	}
	s.place(ep)
	if e == nil {
		m.Reached = m.Until
		s.endReplay(m, ReplayDone, now)
	}
	return queued
}

// wants reports whether the event is one that the replay is for, and what a delivery of it repeats. Pings and tests
// count for nothing.
func (m *memReplay) wants(e *memEvent) (of string, wanted bool) {
	if !m.endpoint.Subscribes(e.Type) {
		return "", false
	}
	missed := m.Missed && !e.direct && m.endpoint.missed(e)
	for d := e.deliveries; d != nil; d = d.next { // the newest first
		switch {
		case d.Kind.Once(), d.endpoint != m.endpoint:
		case d.State != DeliveryFailed:
			return "", false
		default:
			missed = false
			if of == "" {
				of = d.ID
			}
		}
	}
	return of, missed || m.Failed && of != ""
}

// missed reports whether one of the endpoint's gaps was open when the event was stored.
func (ep *memEndpoint) missed(e *memEvent) bool {
	if ep.gap != nil && e.place.seq > ep.gap.after {
		return true
	}
	i, _ := slices.BinarySearchFunc(ep.gaps, e.place.seq, func(g *memGap, seq uint64) int {
		if g.upTo < seq {
			return -1
		}
		return 1
	})
	return i < len(ep.gaps) && e.place.seq > ep.gaps[i].after
}
