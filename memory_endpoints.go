package webhook

import (
	"context"
	"fmt"
	"math"
	"slices"
)

// memMaxGaps bounds the closed gaps that are kept of one endpoint: its owner makes them by switching it off and on.
const memMaxGaps = 1000

// CreateEndpoint implements [Endpoints].
func (s *MemoryStore) CreateEndpoint(ctx context.Context, e Endpoint, max int) (Endpoint, error) {
	if err := s.lock(ctx); err != nil {
		return Endpoint{}, err
	}
	defer s.mu.Unlock()
	now := s.now()
	t := s.tenant(e.Tenant)
	if t.endpoints[e.ID] != nil {
		return Endpoint{}, fmt.Errorf("%w: endpoint %q", ErrConflict, e.ID)
	}
	if len(t.order) >= max {
		return Endpoint{}, fmt.Errorf("%w: %d", ErrTooManyEndpoints, len(t.order))
	}

	s.keep(t)
	ep := &memEndpoint{Endpoint: s.copyEndpoint(e), tenant: t, buried: memNowhere}
	ep.Secret, ep.Headers = Secret{}, nil
	ep.Version = 1
	ep.CreatedAt = now.wall
	ep.Health = Health{}
	health := e.Health
	health.Since = now.wall
	s.judged(ep, health, now)
	ep.repace(now)
	t.endpoints[ep.ID] = ep
	t.order = append(t.order, ep)
	if len(t.order) == 1 {
		s.names.add(t.id)
	}
	t.subscribe(ep)
	return s.copyEndpoint(ep.Endpoint), nil
}

// Endpoint implements [Endpoints].
func (s *MemoryStore) Endpoint(ctx context.Context, tenant, id string) (Endpoint, error) {
	if err := s.lock(ctx); err != nil {
		return Endpoint{}, err
	}
	defer s.mu.Unlock()
	ep := s.tenant(tenant).endpoint(id)
	if ep == nil {
		return Endpoint{}, fmt.Errorf("%w: endpoint", ErrNotFound)
	}
	return s.copyEndpoint(ep.Endpoint), nil
}

// Endpoints implements [Endpoints].
func (s *MemoryStore) Endpoints(ctx context.Context, tenant string) ([]Endpoint, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	t := s.tenant(tenant)
	list := make([]Endpoint, len(t.order))
	for i, ep := range t.order {
		list[i] = s.copyEndpoint(ep.Endpoint)
	}
	return list, nil
}

// UpdateEndpoint implements [Endpoints].
func (s *MemoryStore) UpdateEndpoint(ctx context.Context, e Endpoint, judge Judge) (Endpoint, error) {
	if err := s.lock(ctx); err != nil {
		return Endpoint{}, err
	}
	defer s.mu.Unlock()
	now := s.now()
	ep := s.tenant(e.Tenant).endpoint(e.ID)
	if ep == nil {
		return Endpoint{}, fmt.Errorf("%w: endpoint", ErrNotFound)
	}
	if e.Version != ep.Version {
		return Endpoint{}, fmt.Errorf("%w: it has version %d, not %d", ErrVersionConflict, ep.Version, e.Version)
	}

	health := ep.Health
	if judge != nil {
		health = judge(health, now.wall)
	}
	ep.tenant.unsubscribe(ep)
	c := s.copyEndpoint(e)
	ep.URL, ep.Events, ep.Description = c.URL, c.Events, c.Description
	ep.Rate, ep.Burst, ep.MaxInFlight, ep.Timeout = c.Rate, c.Burst, c.MaxInFlight, c.Timeout
	ep.StoredHeaders, ep.Secrets = c.StoredHeaders, c.Secrets
	ep.repace(now)
	ep.Version++
	ep.shared = nil
	ep.tenant.subscribe(ep)
	s.judged(ep, health, now)
	s.place(ep)
	return s.copyEndpoint(ep.Endpoint), nil
}

// JudgeEndpoint implements [Endpoints].
func (s *MemoryStore) JudgeEndpoint(ctx context.Context, tenant, id string, judge Judge) (Endpoint, error) {
	if err := s.lock(ctx); err != nil {
		return Endpoint{}, err
	}
	defer s.mu.Unlock()
	now := s.now()
	ep := s.tenant(tenant).endpoint(id)
	if ep == nil {
		return Endpoint{}, fmt.Errorf("%w: endpoint", ErrNotFound)
	}
	if judge != nil {
		s.judged(ep, judge(ep.Health, now.wall), now)
		s.place(ep)
	}
	return s.copyEndpoint(ep.Endpoint), nil
}

// DeleteEndpoint implements [Endpoints].
func (s *MemoryStore) DeleteEndpoint(ctx context.Context, tenant, id string) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	now := s.now()
	t := s.tenant(tenant)
	ep := t.endpoint(id)
	if ep == nil {
		return fmt.Errorf("%w: endpoint", ErrNotFound)
	}

	ep.deleted, ep.gone = true, now.at
	t.unsubscribe(ep)
	if t.order = slices.DeleteFunc(t.order, func(other *memEndpoint) bool { return other == ep }); len(t.order) == 0 {
		s.names.remove(t.id)
	}
	s.closeGap(ep, now)
	s.endReplayOf(ep, now)
	s.forgetHours(ep)
	ep.Health.State = EndpointDisabled // what is pending is not handed out before it fails
	s.place(ep)
	s.inTurns(math.MaxInt, func(rows int) (done int, more bool) { return s.abandon(ep, rows, s.now()) })
	s.buryIfBare(ep)
	return nil
}

// abandon fails so many of a deleted endpoint's pending deliveries.
func (s *MemoryStore) abandon(ep *memEndpoint, rows int, now memInstant) (done int, more bool) {
	for _, queue := range []*memHeap[memDelivery]{&ep.lane.first, &ep.lane.again} {
		for t := queue.top(); t != nil; t = queue.top() {
			if done == rows {
				return done, true
			}
			done++
			d := t.item
			s.unwait(d)
			s.finish(d, DeliveryFailed, FailEndpointDeleted, now)
		}
	}
	s.place(ep)
	return done, false
}

// judged stores what became of the endpoint's health. The caller calls place.
func (s *MemoryStore) judged(ep *memEndpoint, h Health, now memInstant) {
	old := ep.Health
	if ep.MaxInFlight > 0 {
		h.Window = min(h.Window, ep.MaxInFlight)
	}
	if h == old {
		return
	}
	ep.Health = h
	ep.shared = nil
	ep.lane.pausedUntil = now.in(h.PausedUntil.Sub(now.wall))
	switch {
	case h.State.Queues() && ep.backlogged(): // it stays while the backlog does
	case h.State.Queues():
		s.closeGap(ep, now)
	case h.State != old.State || h.Reason != old.Reason:
		s.closeGap(ep, now)
		reason := GapDisabled
		if h.State == EndpointPending {
			reason = GapPending
		}
		s.openGap(ep, reason, now)
	}
}

func (s *MemoryStore) openGap(ep *memEndpoint, reason GapReason, now memInstant) {
	ep.gap = &memGap{Gap: Gap{EndpointID: ep.ID, Reason: reason, From: now.wall}, endpoint: ep, after: s.seq}
}

func (s *MemoryStore) closeGap(ep *memEndpoint, now memInstant) {
	if ep.gap == nil {
		return
	}
	if ep.gap.Count > 0 {
		ep.gap.To, ep.gap.closed, ep.gap.upTo = now.wall, now.at, s.seq
		ep.gap.at = s.gaps.PushBack(ep.gap)
		ep.gaps = append(ep.gaps, ep.gap)
	}
	ep.gap = nil
	if len(ep.gaps) > memMaxGaps {
		s.dropGap(ep.gaps[0])
	}
}

// subscribe files the endpoint under the event types that it wants, once under each.
func (t *memTenant) subscribe(ep *memEndpoint) {
	for _, name := range ep.subscriptions() {
		t.byType[name] = append(t.byType[name], ep)
	}
}

func (t *memTenant) unsubscribe(ep *memEndpoint) {
	for _, name := range ep.subscriptions() {
		rest := slices.DeleteFunc(t.byType[name], func(other *memEndpoint) bool { return other == ep })
		if len(rest) == 0 {
			delete(t.byType, name)
		} else {
			t.byType[name] = rest
		}
	}
}

func (ep *memEndpoint) subscriptions() []string {
	if slices.Contains(ep.Events, AllEvents) {
		return []string{AllEvents}
	}
	return slices.Compact(slices.Sorted(slices.Values(ep.Events)))
}

func (*MemoryStore) copyEndpoint(e Endpoint) Endpoint {
	e.Events = slices.Clone(e.Events)
	e.Secrets = slices.Clone(e.Secrets)
	for i := range e.Secrets {
		e.Secrets[i].Sealed = slices.Clone(e.Secrets[i].Sealed)
	}
	e.StoredHeaders = slices.Clone(e.StoredHeaders)
	for i := range e.StoredHeaders {
		e.StoredHeaders[i].Sealed = slices.Clone(e.StoredHeaders[i].Sealed)
	}
	return e
}
