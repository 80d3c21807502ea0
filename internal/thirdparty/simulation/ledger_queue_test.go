package simulation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meshia/webhook"
)

func (l *ledger) enqueue(ctx context.Context, n *node, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	res, err := l.store.Enqueue(ctx, req)
	if err != nil {
		l.refused(req, err)
		return res, err
	}
	handed := 0
	var full []webhook.EndpointRef
	for i := range req.Events {
		e := req.Events[i]
		key := eventKey{req.Tenant, e.ID}
		known, fresh := l.events[key], false
		switch {
		case known != nil && known.digest != e.Digest() && !known.bare:
			l.complain("CONFLICT: event %s was stored again with other data", e.ID)
			continue
		case known != nil && req.Direct == nil:
			continue // a repetition changes nothing: compare sees that there is no second delivery
		case known == nil:
			known = &event{key: key, kind: e.Type, digest: e.Digest(), body: slices.Clone(e.Body), stored: now, direct: req.Direct != nil}
			l.events[key] = known
			fresh = true
		}
		if known.bare || len(e.Body) == 0 {
			l.complain("BODY: event %s is to be sent, and its contents are gone", e.ID)
		}
		switch {
		case req.Direct == nil:
			handed += l.match(n, req, known, &res, &full, now)
		case req.Direct.Queued:
			l.enqueuedLater(ctx, req, known, &res, now)
		default:
			l.enqueuedDirect(n, req, e, &res, now)
		}
		if fresh { // a gap that opened with it has it
			l.placed++
			known.place = l.placed
		}
	}
	l.named("Enqueue", res.Backlogged, full)
	if req.HandOver != nil && handed > req.HandOver.Max || req.HandOver == nil && handed > 0 {
		l.complain("HAND-OVER: %d deliveries", handed)
	}
	return res, nil
}

// refused checks that an error has a reason, and that nothing was stored.
func (l *ledger) refused(req webhook.EnqueueRequest, err error) {
	conflict, bare := false, false
	first := map[string][32]byte{}
	for i := range req.Events {
		e := req.Events[i]
		known := l.events[eventKey{req.Tenant, e.ID}]
		twin, twice := first[e.ID]
		first[e.ID] = e.Digest()
		conflict = conflict || known != nil && known.digest != e.Digest() || twice && twin != e.Digest()
		bare = bare || known != nil && known.bare && req.Direct != nil
		if _, stored := l.store.Event(context.Background(), req.Tenant, e.ID); stored == nil && known == nil {
			l.complain("HALF: event %s is stored though its request was refused: %v", e.ID, err)
		}
	}
	switch {
	case errors.Is(err, webhook.ErrConflict) && conflict:
	case errors.Is(err, webhook.ErrBodyPruned) && bare:
	case errors.Is(err, webhook.ErrStoreFull) && l.w.MaxPending > 0:
	case errors.Is(err, webhook.ErrBacklogFull) && req.Direct != nil && req.Direct.Queued && req.MaxPending > 0 &&
		l.place(req.Tenant, req.Direct.EndpointID).backlog+len(req.Events) > req.MaxPending:
	case errors.Is(err, webhook.ErrNotFound) && req.Direct != nil && l.place(req.Tenant, req.Direct.EndpointID).deleted:
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	default:
		l.complain("REFUSED: events for no reason: %v", err)
	}
}

// match notes which endpoints get a new event, or miss it.
func (l *ledger) match(n *node, req webhook.EnqueueRequest, e *event, res *webhook.EnqueueResult, full *[]webhook.EndpointRef, now time.Time) (handed int) {
	page, err := l.store.Deliveries(context.Background(), req.Tenant, webhook.DeliveryFilter{EventID: e.key.id})
	if err != nil {
		l.complain("READ: %v", err)
	}
	made := map[string]string{}
	for _, d := range page.Deliveries {
		if other := made[d.EndpointID]; other != "" {
			l.complain("TWICE: event %s has two deliveries for endpoint %s", e.key.id, d.EndpointID)
		}
		made[d.EndpointID] = d.ID
	}
	queued := false
	for _, key := range l.w.endpoints {
		ep := l.endpoints[key]
		if ep == nil || key.tenant != req.Tenant || ep.deleted || !ep.Subscribes(e.kind) {
			continue
		}
		if l.fill(ep, req.MaxPending, now) {
			*full = append(*full, webhook.EndpointRef{Tenant: key.tenant, ID: key.id})
		}
		if ep.gap != nil {
			ep.gap.Count++
			ep.missed++
			continue
		}
		e.matched = append(e.matched, key.id)
		id := made[key.id]
		if id == "" {
			l.complain("LOST: event %s has no delivery for endpoint %s, which it matched", e.key.id, key.id)
			continue
		}
		delete(made, key.id)
		d := l.newDelivery(id, ep, e.key.id, e.kind, webhook.KindEvent, now)
		d.State, d.NextAttemptAt = webhook.DeliveryPending, now
		given := slices.IndexFunc(res.Leases, func(x webhook.Lease) bool { return x.Delivery.ID == id })
		if given < 0 {
			queued = true
			continue
		}
		window, has := l.room(ep)
		if ep.Health.State != webhook.EndpointActive || ep.Health.Slow || ep.Rate > 0 || has >= window || len(l.due(ep, now)) > 1 {
			l.complain("HAND-OVER: %s, whose endpoint is %s, slow %t, with a rate of %v, has %d of %d in flight and %d due before it", d.name, ep.Health.State, ep.Health.Slow, ep.Rate, has, window, len(l.due(ep, now))-1)
		}
		handed++
		if req.HandOver != nil {
			l.give(n, &res.Leases[given], false, req.HandOver.Term)
		}
	}
	for id := range made {
		l.complain("GHOST: event %s has a delivery for endpoint %s, which it did not match", e.key.id, id)
	}
	if queued && !res.Queued {
		l.complain("WAKE: event %s left deliveries to claim, and the answer does not say so", e.key.id)
	}
	return handed
}

func (l *ledger) enqueuedDirect(n *node, req webhook.EnqueueRequest, e webhook.Event, res *webhook.EnqueueResult, now time.Time) {
	ep := l.place(req.Tenant, req.Direct.EndpointID)
	for i := range res.Leases {
		if given := &res.Leases[i]; given.Event.ID == e.ID && l.deliveries[given.Delivery.ID] == nil {
			d := l.newDelivery(given.Delivery.ID, ep, e.ID, e.Type, req.Direct.Kind, now)
			d.RedeliveryOf, d.AskedBy = req.Direct.RedeliveryOf, req.Direct.AskedBy
			l.give(n, given, true, req.Direct.Term)
			return
		}
	}
	l.complain("LOST: a %s for endpoint %s has no delivery", req.Direct.Kind, ep.ID)
}

func (l *ledger) newDelivery(id string, ep *endpoint, eventID, eventType string, kind webhook.DeliveryKind, now time.Time) *delivery {
	ep.named++
	d := &delivery{
		Delivery: webhook.Delivery{ID: id, Tenant: ep.Tenant, EventID: eventID, EventType: eventType, EndpointID: ep.ID, Kind: kind, CreatedAt: now},
		event:    eventID, of: l.events[eventKey{ep.Tenant, eventID}], endpoint: ep.ID, tenant: ep.Tenant, at: ep, tokens: map[string]bool{},
	}
	d.name = fmt.Sprintf("%q/%s/%s %d", ep.Tenant, ep.ID, kind, ep.named)
	if kind == webhook.KindEvent {
		d.name += " of " + eventID
	}
	l.deliveries[id] = d
	l.open[d] = true
	ep.backlog++
	return d
}

func (l *ledger) claim(ctx context.Context, n *node, req webhook.ClaimRequest) (webhook.Claimed, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	res, err := l.store.Claim(ctx, req)
	if err != nil {
		return res, err
	}
	for _, held := range l.present() {
		if !now.Before(held.ends) {
			l.end(held)
			row := webhook.Attempt{Number: held.number, StartedAt: held.given, Result: webhook.AttemptInterrupted, Error: webhook.ErrorOwnerLost}
			l.interrupt(held.delivery, row, 0, now)
		}
	}
	for d := range l.open {
		if d.State == webhook.DeliveryPending && req.MaxAge > 0 && now.Sub(d.CreatedAt) >= req.MaxAge {
			l.finish(d, webhook.DeliveryFailed, webhook.FailExpired, now)
		}
	}
	l.named("Claim", res.Backlogged, l.bound(req.MaxPending, now))

	slow, shares := 0, map[string]int{}
	for i := range res.Leases {
		d := l.deliveries[res.Leases[i].Delivery.ID]
		if d != nil {
			if shares[d.tenant]++; shares[d.tenant] > req.Room(d.tenant) {
				l.complain("SHARE: %s is given out, and its tenant may get %d", d.name, req.Room(d.tenant))
			}
			if skips(req, d) {
				l.complain("SKIP: %s is given out though its endpoint is to be skipped", d.name)
			}
			window, has := l.room(d.at)
			if has >= window {
				l.complain("WINDOW: %s is given out though its endpoint has %d of %d in flight", d.name, has, window)
			}
			l.checkServed(d, now)
			if d.State == webhook.DeliveryPending && d.NextAttemptAt.After(now) {
				l.complain("EARLY: %s is given out %v before it is due", d.name, d.NextAttemptAt.Sub(now))
			}
			if d.at.Health.Slow {
				slow++
			}
		}
		l.give(n, &res.Leases[i], false, req.Term)
	}
	if len(res.Leases) > req.Max || slow > req.MaxSlow {
		l.complain("SLOTS: %d leases, %d of them to slow endpoints, where %d and %d were asked for", len(res.Leases), slow, req.Max, req.MaxSlow)
	}
	l.left(req, &res, slow, shares, now)
	return res, nil
}

// left checks that what Claim left is what it may leave, and that it told when to come back.
func (l *ledger) left(req webhook.ClaimRequest, res *webhook.Claimed, slow int, shares map[string]int, now time.Time) {
	next := time.Duration(-1)
	sooner := func(wait time.Duration) {
		if next < 0 || wait < next {
			next = wait
		}
	}
	for _, held := range l.owned {
		sooner(held.ends.Sub(now))
	}
	for d := range l.open {
		if d.State != webhook.DeliveryPending || !d.at.Health.State.Queues() || skips(req, d) || shares[d.tenant] >= req.Room(d.tenant) {
			continue
		}
		window, has := l.room(d.at)
		noSlow := d.at.Health.Slow && slow >= req.MaxSlow // the caller looks again by itself when it has room
		if wait := d.readyIn(now); wait > 0 {
			if has < window && !noSlow {
				sooner(wait)
			}
			if has >= window && !res.Blocked {
				l.complain("WAKE: %s waits for its endpoint's window, and the answer does not say so", d.name)
			}
			continue
		}
		full := len(res.Leases) >= req.Max || noSlow
		if !full && has < window {
			l.complain("LEFT: %s is due, and nothing keeps it from being given out", d.name)
		}
		if !res.Blocked {
			l.complain("WAKE: %s is due and was left, and the answer does not say so", d.name)
		}
	}
	if next >= 0 && (res.Next < 0 || res.Next > next) {
		l.complain("WAKE: something can be claimed in %v, and the answer says %v", next, res.Next)
	}
}
