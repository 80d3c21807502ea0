package simulation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meshia/webhook"
)

// The model of replays: which one is to go on, what it looks at, and what it is to queue.

type replay struct {
	webhook.Replay
	name string // without chance in it
	at   *endpoint
	past uint64 // the place of the last event that it looked at
}

func (l *ledger) createReplay(ctx context.Context, r webhook.Replay) (webhook.Replay, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	stored, err := l.store.CreateReplay(ctx, r)
	ep := l.place(r.Tenant, r.EndpointID)
	running := slices.IndexFunc(l.replaying, func(r *replay) bool { return r.at == ep })
	if err != nil {
		switch {
		case errors.Is(err, webhook.ErrNotFound) && ep.deleted, errors.Is(err, webhook.ErrReplayRunning) && running >= 0, ctx.Err() != nil:
		default:
			l.complain("REFUSED: a replay for no reason: %v", err)
		}
		return stored, err
	}
	if ep.deleted || running >= 0 {
		l.complain("REPLAY: one is created for endpoint %s, which is deleted (%t) or has one that runs (%t)", ep.ID, ep.deleted, running >= 0)
		return stored, nil
	}
	want := &replay{Replay: r, name: fmt.Sprintf("replay %d of %q/%s", len(ep.replays)+1, ep.Tenant, ep.ID), at: ep}
	want.State, want.CreatedAt, want.Reached = webhook.ReplayRunning, now, r.Since
	if want.Until.IsZero() || want.Until.After(now) {
		want.Until = now
	}
	l.sameReplay(&stored, want)
	ep.replays = append(ep.replays, want)
	l.replaying = append(l.replaying, want)
	return stored, nil
}

func (l *ledger) stopReplay(ctx context.Context, tenant, id string) (webhook.Replay, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	stored, err := l.store.StopReplay(ctx, tenant, id)
	want := l.replay(tenant, id)
	switch {
	case err != nil && errors.Is(err, webhook.ErrNotFound) && want == nil, err != nil && ctx.Err() != nil:
	case err != nil:
		l.complain("REFUSED: a replay is not stopped: %v", err)
	case want == nil && !l.erasing(tenant):
		l.complain("GHOST: a replay that nobody started was stopped")
	case want != nil:
		if want.State == webhook.ReplayRunning {
			l.endReplay(want, webhook.ReplayStopped, now)
		}
		l.sameReplay(&stored, want)
	}
	return stored, err
}

func (l *ledger) endReplay(r *replay, as webhook.ReplayState, now time.Time) {
	r.State, r.FinishedAt = as, now
	l.replaying = slices.DeleteFunc(l.replaying, func(other *replay) bool { return other == r })
}

func (l *ledger) replay(tenant, id string) *replay {
	for key, ep := range l.endpoints {
		if i := slices.IndexFunc(ep.replays, func(r *replay) bool { return r.ID == id }); key.tenant == tenant && i >= 0 {
			return ep.replays[i]
		}
	}
	return nil
}

func (l *ledger) erasing(tenant string) bool {
	for key, ep := range l.endpoints {
		if key.tenant == tenant && ep.erasing {
			return true
		}
	}
	return false
}

// roomFor is how many deliveries a step may queue for the endpoint.
func (l *ledger) roomFor(ep *endpoint, pending int) int {
	if !ep.deleted && !ep.Health.State.Queues() {
		return 0
	}
	room := pending - ep.backlog
	if l.w.MaxPending > 0 {
		room = min(room, l.w.MaxPending-len(l.open))
	}
	return max(0, room)
}

func (l *ledger) continueReplay(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if most := l.w.ReplayMax; most > 0 {
		req.Max = min(req.Max, most)
	}
	now := time.Now()
	var r *replay
	room := 0
	for _, other := range l.replaying {
		if room = l.roomFor(other.at, req.Pending); room > 0 || other.at.deleted {
			r = other
			break
		}
	}
	res, err := l.store.ContinueReplay(ctx, req)
	if err != nil {
		return res, err
	}
	if r == nil {
		if res.Stepped || res.Queued || res.Waiting != (len(l.replaying) > 0) {
			l.complain("REPLAY: none of %d can go on, and the answer says %+v", len(l.replaying), res)
		}
		return res, nil
	}
	if !res.Stepped {
		l.complain("REPLAY: %s can go on with room for %d, and the answer says %+v", r.name, room, res)
		return res, nil
	}
	stored, err := l.storedReplay(r)
	if err != nil {
		l.complain("LOST: %s: %v", r.name, err)
		return res, nil
	}
	if r.at.deleted {
		l.endReplay(r, webhook.ReplayStopped, now)
		return res, nil
	}
	l.stepped(r, &stored, &res, req, room, now)
	return res, nil
}

// stepped notes a step of a replay, and checks that it did what it is to do with the events that it looked at.
func (l *ledger) stepped(r *replay, stored *webhook.Replay, res *webhook.ReplayStepped, req webhook.ReplayStep, room int, now time.Time) {
	rest := l.ahead(r)
	looked := stored.Looked - r.Looked
	if looked < 0 || looked > int64(len(rest)) || looked == 0 && len(rest) > 0 || looked > 2*int64(req.Max) {
		l.complain("REPLAY: %s has looked at %d events after %d, and %d are left, of which it is to look at %d", r.name, stored.Looked, r.Looked, len(rest), req.Max)
		looked = min(max(looked, 0), int64(len(rest)))
	}
	made := l.madeNow(r.at, now)
	queued := 0
	had := l.deliveriesTo(r.at)
	for _, e := range rest[:looked] {
		r.past = e.place
		of, wanted := r.wants(e, had[e])
		ids := made[e.key.id]
		delete(made, e.key.id)
		switch {
		case wanted && e.bare:
			r.Skipped++
			l.skipped++
			wanted = false
		case wanted:
			r.Queued++
			l.replayed++
			queued++
		}
		if n := len(ids); n != 1 && wanted || n > 0 && !wanted {
			l.complain("REPLAY: %s is to queue event %s (%t), and has made %d deliveries of it", r.name, e.key.id, wanted, n)
		}
		for _, id := range ids {
			d := l.newDelivery(id, r.at, e.key.id, e.kind, webhook.KindRedelivery, now)
			d.State, d.NextAttemptAt, d.RedeliveryOf, d.AskedBy = webhook.DeliveryPending, now, of, r.AskedBy
		}
	}
	for id := range made {
		l.complain("REPLAY: %s queues event %s, which it has not looked at", r.name, id)
	}
	if queued > room {
		l.complain("REPLAY: %s queues %d deliveries, and there was room for %d", r.name, queued, room)
	}
	if res.Queued != (queued > 0) {
		l.complain("WAKE: %s has queued %d deliveries, and the answer says %t", r.name, queued, res.Queued)
	}

	r.Looked += looked
	if rest = rest[looked:]; len(rest) == 0 {
		r.Reached = r.Until
		l.endReplay(r, webhook.ReplayDone, now)
	} else {
		if stored.Reached.Before(r.Reached) || stored.Reached.Before(l.stored(r)) || stored.Reached.After(rest[0].stored) {
			l.complain("REPLAY: %s has reached %v, and goes on at %v", r.name, stored.Reached, rest[0].stored)
		}
		r.Reached = stored.Reached
		l.replaying = append(slices.DeleteFunc(l.replaying, func(other *replay) bool { return other == r }), r)
	}
	l.sameReplay(stored, r)
}

// ahead are the events that a replay has not looked at yet.
func (l *ledger) ahead(r *replay) []*event {
	var rest []*event
	for key, e := range l.events {
		if key.tenant == r.Tenant && e.place > r.past && !e.stored.Before(r.Since) && e.stored.Before(r.Until) {
			rest = append(rest, e)
		}
	}
	slices.SortFunc(rest, func(a, b *event) int { return int(a.place) - int(b.place) })
	return rest
}

// stored is when the last event that the replay looked at was stored, if it is still there.
func (l *ledger) stored(r *replay) time.Time {
	for key, e := range l.events {
		if key.tenant == r.Tenant && e.place == r.past {
			return e.stored
		}
	}
	return time.Time{}
}

// deliveriesTo are those to the endpoint that count for a replay.
func (l *ledger) deliveriesTo(ep *endpoint) map[*event][]*delivery {
	out := map[*event][]*delivery{}
	for _, d := range l.deliveries {
		if d.at == ep && !d.Kind.Once() {
			out[d.of] = append(out[d.of], d)
		}
	}
	return out
}

// wants is the rule of what a replay queues, and what that repeats.
func (r *replay) wants(e *event, had []*delivery) (of string, wanted bool) {
	if !r.at.Subscribes(e.kind) {
		return "", false
	}
	last := time.Time{}
	for _, d := range had {
		if d.State != webhook.DeliveryFailed {
			return "", false
		}
		if d.CreatedAt.After(last) {
			of, last = d.ID, d.CreatedAt
		}
	}
	return of, r.Failed && of != "" || r.Missed && len(had) == 0 && r.at.misses(e)
}

// misses reports whether the endpoint had a gap when the event was stored.
func (ep *endpoint) misses(e *event) bool {
	within := func(g gap) bool { return e.place > g.after && e.place <= g.upTo }
	return !e.direct && (ep.gap != nil && e.place > ep.gap.after || slices.ContainsFunc(ep.gaps, within))
}

// madeNow are the deliveries to an endpoint that the last call has made, by their events.
func (l *ledger) madeNow(ep *endpoint, now time.Time) map[string][]string {
	made := map[string][]string{}
	for f := (webhook.DeliveryFilter{EndpointID: ep.ID, Since: now}); ; {
		page, err := l.store.Deliveries(context.Background(), ep.Tenant, f)
		if err != nil {
			l.complain("READ: %v", err)
		}
		for i := range page.Deliveries {
			if d := &page.Deliveries[i]; l.deliveries[d.ID] == nil {
				made[d.EventID] = append(made[d.EventID], d.ID)
			}
		}
		if f.Cursor = page.NextCursor; f.Cursor == "" {
			return made
		}
	}
}
