package storetest

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/meshia/webhook"
)

// replayer does replays by what can be read of a store's deliveries and gaps, and by rules that faults change.
type replayer struct {
	f     *faulty
	mu    sync.Mutex
	saw   []sight
	all   []*replaying
	steps int

	order      func(r *replaying, left []sight) []sight // what is left to look at, in order
	within     func(r webhook.Replay, at time.Time) bool
	subscribes func(e webhook.Endpoint, eventType string) bool
	counts     func(d webhook.Delivery, e webhook.Endpoint) bool // whether a delivery counts for the endpoint
	got        func(d webhook.Delivery) bool                     // whether it has the event by that, or is about to
	missed     func(at time.Time, gaps []webhook.Gap) bool       // whether the endpoint did, if it has no delivery of it
	private    func(s sight, ds []webhook.Delivery) bool         // whether the event was stored for one endpoint
	turns      func(running []*replaying)                        // puts them in the order in which they are looked at
	queues     func(s webhook.EndpointState) bool                // whether replays go on in it
	room       func(pending int64, bound int) bool               // whether one more may be queued
	passed     func() (others bool)                              // whether others go on while one waits
	last       func(left int) (done bool)                        // whether the replay ends with so many events left
	orphaned   func(r *replaying)                                // what becomes of one whose endpoint is deleted
	amid       func(ctx context.Context) error                   // happens when something was queued that is not noted yet
	skips      func(r *webhook.Replay)                           // counts an event without contents
	seen       func(r *replaying, s sight)                       // notes that an event was looked at
}

// sight is an event as it was stored.
type sight struct {
	tenant string
	event  webhook.Event
	at     time.Time
	direct bool
}

// replaying is a replay and what it has looked at.
type replaying struct {
	webhook.Replay
	looked map[string]bool
	step   int // number of its last
}

// replaysBy makes a fault of a change of the rules.
func replaysBy(change func(p *replayer)) func(f *faulty) {
	return func(f *faulty) {
		p := &replayer{
			f:          f,
			order:      func(_ *replaying, left []sight) []sight { return left },
			within:     func(r webhook.Replay, at time.Time) bool { return !at.Before(r.Since) && at.Before(r.Until) },
			subscribes: func(e webhook.Endpoint, eventType string) bool { return e.Subscribes(eventType) },
			counts:     func(d webhook.Delivery, e webhook.Endpoint) bool { return d.EndpointID == e.ID && !d.Kind.Once() },
			got:        func(d webhook.Delivery) bool { return d.State != webhook.DeliveryFailed },
			missed: func(at time.Time, gaps []webhook.Gap) bool {
				return slices.ContainsFunc(gaps, func(g webhook.Gap) bool { return !at.Before(g.From) && (g.To.IsZero() || !at.After(g.To)) })
			},
			private: func(s sight, _ []webhook.Delivery) bool { return s.direct },
			turns: func(running []*replaying) {
				slices.SortStableFunc(running, func(a, b *replaying) int { return cmp.Compare(a.step, b.step) })
			},
			queues:   webhook.EndpointState.Queues,
			room:     func(pending int64, bound int) bool { return pending < int64(bound) },
			passed:   func() bool { return true },
			last:     func(left int) bool { return left == 0 },
			orphaned: func(r *replaying) { r.State, r.FinishedAt = webhook.ReplayStopped, time.Now() },
			amid:     func(context.Context) error { return nil },
			skips:    func(r *webhook.Replay) { r.Skipped++ },
			seen:     func(r *replaying, s sight) { r.looked[s.event.ID] = true },
		}
		change(p)
		f.enqueue, f.replay, f.replays, f.stop, f.step = p.enqueue, p.create, p.list, p.stop, p.continues
	}
}

func (p *replayer) enqueue(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
	result, err := p.f.Store.Enqueue(ctx, req)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range req.Events {
		known := slices.ContainsFunc(p.saw, func(s sight) bool { return s.tenant == req.Tenant && s.event.ID == e.ID })
		if err == nil && !known {
			p.saw = append(p.saw, sight{req.Tenant, e, time.Now(), req.Direct != nil})
		}
	}
	return result, err
}

func (p *replayer) create(ctx context.Context, r webhook.Replay) (webhook.Replay, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.f.Store.Endpoint(ctx, r.Tenant, r.EndpointID); err != nil {
		return webhook.Replay{}, err
	}
	r.CreatedAt = time.Now()
	if r.Until.IsZero() || r.Until.After(r.CreatedAt) {
		r.Until = r.CreatedAt
	}
	r.Reached = r.Since
	for _, other := range p.all {
		if other.Tenant == r.Tenant && other.EndpointID == r.EndpointID && other.State == webhook.ReplayRunning {
			return webhook.Replay{}, webhook.ErrReplayRunning
		}
	}
	of := func(other *replaying) bool { return other.Tenant == r.Tenant && other.EndpointID == r.EndpointID }
	ended := 0
	for _, other := range p.all {
		if of(other) {
			ended++
		}
	}
	p.all = slices.DeleteFunc(p.all, func(other *replaying) bool { // the oldest come first
		if !of(other) {
			return false
		}
		ended--
		return ended >= 100
	})
	p.steps++
	p.all = append(p.all, &replaying{r, map[string]bool{}, p.steps})
	return r, nil
}

func (p *replayer) list(_ context.Context, tenant, endpointID string) (list []webhook.Replay, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range slices.Backward(p.all) {
		if r.Tenant == tenant && r.EndpointID == endpointID && len(list) < 100 {
			list = append(list, r.Replay)
		}
	}
	return list, nil
}

func (p *replayer) stop(_ context.Context, tenant, id string) (webhook.Replay, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.all {
		if r.Tenant == tenant && r.ID == id {
			if r.State == webhook.ReplayRunning {
				r.State, r.FinishedAt = webhook.ReplayStopped, time.Now()
			}
			return r.Replay, nil
		}
	}
	return webhook.Replay{}, webhook.ErrNotFound
}

func (p *replayer) continues(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil {
		return webhook.ReplayStepped{}, ctx.Err()
	}
	running := slices.DeleteFunc(slices.Clone(p.all), func(r *replaying) bool { return r.State != webhook.ReplayRunning })
	p.turns(running)
	for _, r := range running {
		e, err := p.f.Store.Endpoint(ctx, r.Tenant, r.EndpointID)
		if errors.Is(err, webhook.ErrNotFound) {
			p.orphaned(r)
			return webhook.ReplayStepped{Stepped: true}, nil
		}
		stats, missing := p.f.Store.Stats(ctx, r.Tenant, r.EndpointID, time.Time{})
		if err = errors.Join(err, missing); err != nil {
			return webhook.ReplayStepped{}, err
		}
		switch {
		case p.queues(e.Health.State) && p.room(stats.Pending, req.Pending):
			queued, err := p.take(ctx, r, e, stats.Pending, req)
			return webhook.ReplayStepped{Stepped: true, Queued: queued}, err
		case !p.passed():
			return webhook.ReplayStepped{Waiting: true}, nil
		}
	}
	return webhook.ReplayStepped{Waiting: len(running) > 0}, nil
}

// take takes a step of one replay.
func (p *replayer) take(ctx context.Context, r *replaying, e webhook.Endpoint, pending int64, req webhook.ReplayStep) (queued bool, err error) {
	p.steps++
	r.step = p.steps
	gaps, err := p.f.Store.Gaps(ctx, r.Tenant, r.EndpointID)
	if err != nil {
		return false, err
	}
	var left []sight
	for _, s := range p.saw {
		if _, gone := p.f.Store.Event(ctx, s.tenant, s.event.ID); s.tenant == r.Tenant && !r.looked[s.event.ID] && p.within(r.Replay, s.at) && gone == nil {
			left = append(left, s)
		}
	}
	left = p.order(r, left)
	without := context.WithoutCancel(ctx)
	for n := 0; len(left) > 0 && n < max(req.Max, 1) && p.room(pending, req.Pending); n++ {
		s := left[0]
		left = left[1:]
		p.seen(r, s)
		r.Looked++
		r.Reached = s.at
		page, err := p.f.Store.Deliveries(without, r.Tenant, webhook.DeliveryFilter{EventID: s.event.ID})
		if err != nil {
			return queued, err
		}
		of, wanted := p.wants(r.Replay, e, s, page.Deliveries, gaps)
		if !wanted {
			continue
		}
		_, err = p.f.Store.Enqueue(without, webhook.EnqueueRequest{Tenant: r.Tenant, Events: []webhook.Event{s.event}, Direct: &webhook.Direct{
			EndpointID: r.EndpointID, Kind: webhook.KindRedelivery, RedeliveryOf: of, AskedBy: r.AskedBy, Queued: true,
		}})
		if err == nil {
			err = p.amid(ctx)
		}
		switch {
		case errors.Is(err, webhook.ErrBodyPruned):
			p.skips(&r.Replay)
		case err != nil:
			return queued, err
		default:
			queued = true
			r.Queued++
			pending++
		}
	}
	if p.last(len(left)) {
		r.State, r.FinishedAt, r.Reached = webhook.ReplayDone, time.Now(), r.Until
	}
	return queued, nil
}

func (p *replayer) wants(r webhook.Replay, e webhook.Endpoint, s sight, ds []webhook.Delivery, gaps []webhook.Gap) (of string, wanted bool) {
	mine := slices.DeleteFunc(slices.Clone(ds), func(d webhook.Delivery) bool { return !p.counts(d, e) })
	switch {
	case !p.subscribes(e, s.event.Type) || slices.ContainsFunc(mine, p.got):
		return "", false
	case len(mine) > 0: // the newest first
		return mine[0].ID, r.Failed
	}
	return "", r.Missed && !p.private(s, ds) && p.missed(s.at, gaps)
}

// TestReplaysByTheRulesAreSound: what a change of the rules is noticed for is the change.
func TestReplaysByTheRulesAreSound(t *testing.T) {
	t.Parallel()
	for _, k := range replayCases {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			for _, complaint := range complaints(t, k, replaysBy(func(*replayer) {})) {
				t.Error(complaint)
			}
		})
	}
}
