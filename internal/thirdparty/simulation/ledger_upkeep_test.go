package simulation

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/meshia/webhook"
)

// What is removed, the ledger forgets: which of the things that may go have gone in a call, the store decides. That
// nothing else has gone, and that nothing comes back, compare sees.

// prune forgets what a call of Prune has removed, and demands that it removed what it says, and all that it says.
func (l *ledger) prune(ctx context.Context, req webhook.PruneRequest) (webhook.PruneResult, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	res, err := l.store.Prune(ctx, req)
	if err != nil {
		return res, err
	}
	old := func(since time.Time, age time.Duration) bool { return age > 0 && now.Sub(since) > age }
	if res == (webhook.PruneResult{}) && !l.anyOld(old, req) {
		return res, nil // mostly; what is gone all the same, compare and audit see
	}
	left := 0 // what may go and is there
	var gone webhook.PruneResult
	for _, d := range l.all() {
		switch {
		case !d.State.Final() || !old(d.FinishedAt, req.Deliveries):
		case l.has(d):
			left++
		default:
			l.auditDelivery(d) // later there is nothing to audit
			l.forget(d)
			gone.Deliveries++
		}
	}
	needed, busy := map[*event]bool{}, map[*event]bool{}
	for _, d := range l.deliveries {
		needed[d.of] = true
		busy[d.of] = busy[d.of] || !d.State.Final()
	}
	for key, e := range l.events {
		mayGo := !needed[e] && old(e.stored, req.Deliveries)
		stored, err := l.store.Event(context.Background(), key.tenant, key.id)
		if errors.Is(err, webhook.ErrNotFound) && mayGo {
			l.forgetEvent(key)
			gone.Events++
			continue
		}
		bare, mayBare := len(stored.Body) == 0, !e.bare && !busy[e] && old(e.stored, req.Bodies)
		switch {
		case err != nil:
			l.complain("LOST: event %s after a Prune: %v", key.id, err)
		case mayGo || mayBare && !bare:
			left++
		case mayBare:
			l.strip(e)
			gone.Bodies++
		case bare != e.bare:
			l.complain("BODY: event %s has no contents after a Prune: %t", key.id, bare)
		}
	}
	for key, ep := range l.endpoints {
		stored, err := l.store.Gaps(context.Background(), key.tenant, key.id)
		if err != nil {
			l.complain("READ: %v", err)
		}
		ep.gaps = slices.DeleteFunc(ep.gaps, func(g gap) bool {
			if !old(g.To, req.Deliveries) {
				return false
			}
			if slices.ContainsFunc(stored, func(s webhook.Gap) bool { return s.From.Equal(g.From) }) {
				left++
				return false
			}
			ep.missed -= g.Count
			return true
		})
	}
	left += l.pruneHours(old, req.Deliveries) + l.pruneReplays(old, req.Deliveries)
	unseen := false // what is left of an endpoint that was erased, or deleted so long ago, cannot be seen
	for _, ep := range l.endpoints {
		unseen = unseen || ep.erasing || ep.deleted && old(ep.gone, req.Deliveries)
	}
	if res.More != (left > 0) && !(unseen && res.More) {
		l.complain("PRUNE: %d things are left that are old enough, and the answer says %t", left, res.More)
	}
	more := res.More
	if res.More = false; res != gone {
		l.complain("PRUNE: removed was %+v, and the answer says %+v", gone, res)
	}
	res.More = left > 0 || unseen && more
	return res, nil
}

// anyOld reports whether anything is old enough to be removed, whether it may go or not.
func (l *ledger) anyOld(old func(time.Time, time.Duration) bool, req webhook.PruneRequest) bool {
	for _, d := range l.deliveries {
		if d.State.Final() && old(d.FinishedAt, req.Deliveries) {
			return true
		}
	}
	for _, e := range l.events {
		if old(e.stored, req.Deliveries) || old(e.stored, req.Bodies) {
			return true
		}
	}
	for _, ep := range l.endpoints {
		if ep.deleted && old(ep.gone, req.Deliveries) {
			return true
		}
		for start := range ep.hours {
			if old(start.Add(time.Hour), req.Deliveries) {
				return true
			}
		}
		if slices.ContainsFunc(ep.gaps, func(g gap) bool { return old(g.To, req.Deliveries) }) {
			return true
		}
		if slices.ContainsFunc(ep.replays, func(r *replay) bool { return r.State != webhook.ReplayRunning && old(r.FinishedAt, req.Deliveries) }) {
			return true
		}
	}
	return false
}

func (l *ledger) eraseDelivery(ctx context.Context, tenant, id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	d := l.deliveries[id]
	if err := l.store.EraseDelivery(ctx, tenant, id); err != nil {
		if errors.Is(err, webhook.ErrNotFound) && d != nil {
			l.complain("LOST: %s is not found to be erased", d.name)
		}
		return err
	}
	if d == nil {
		l.complain("GHOST: a delivery that nobody made was erased")
		return nil
	}
	d.of.erased = true
	l.strip(d.of)
	for _, other := range l.all() {
		if other.of == d.of && other.State == webhook.DeliveryPending {
			l.finish(other, webhook.DeliveryFailed, webhook.FailErased, now)
		}
	}
	return nil
}

func (l *ledger) eraseTenant(ctx context.Context, tenant string, most int) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	more, err := l.store.EraseTenant(ctx, tenant, most)
	if err != nil {
		return more, err
	}
	left := 0
	for _, d := range l.all() {
		if d.tenant != tenant {
			continue
		}
		if l.has(d) {
			left++
			continue
		}
		l.forget(d)
	}
	for key := range l.events {
		if key.tenant != tenant {
			continue
		}
		if _, err := l.store.Event(context.Background(), tenant, key.id); err == nil {
			left++
			continue
		}
		l.forgetEvent(key)
	}
	for key, ep := range l.endpoints {
		if key.tenant != tenant {
			continue
		}
		if _, err := l.store.Endpoint(context.Background(), tenant, key.id); err == nil {
			l.complain("ERASE: endpoint %s is there after the first call", key.id)
			continue
		}
		ep.deleted, ep.Version, ep.Health = true, 0, webhook.Health{State: webhook.EndpointDisabled}
		ep.gap, ep.gaps, ep.missed = nil, nil, 0
		clear(ep.hours)
		l.eraseReplays(ep, tenant, key.id, more)
		ep.erasing = more
	}
	if !more && left > 0 {
		l.complain("ERASE: %d things of tenant %q are left, and the answer says that there are none", left, tenant)
	}
	return more, nil
}

// has reports whether the delivery is in the store.
func (l *ledger) has(d *delivery) bool {
	_, err := l.store.Delivery(context.Background(), d.tenant, d.ID)
	if err != nil && !errors.Is(err, webhook.ErrNotFound) {
		l.complain("READ: %v", err)
	}
	return err == nil
}

func (l *ledger) forget(d *delivery) {
	if d.lease != nil {
		l.end(d.lease)
	}
	if l.open[d] {
		d.at.backlog--
	}
	delete(l.deliveries, d.ID)
	delete(l.open, d)
	l.gone[d.ID] = d
}

func (l *ledger) forgetEvent(key eventKey) {
	delete(l.events, key)
	l.forgotten[key] = true
}

// strip notes that the contents of an event are gone.
func (l *ledger) strip(e *event) {
	e.bare = true
	for _, d := range l.deliveries {
		if d.of == e {
			d.Attempts = slices.Clone(d.Attempts)
			for i, a := range d.Attempts {
				d.Attempts[i] = e.keeps(a)
			}
		}
	}
}

// keeps is what is stored of an attempt to send the event.
func (e *event) keeps(a webhook.Attempt) webhook.Attempt {
	if e.bare {
		a.RequestHeader, a.ResponseHeader, a.ResponseBody = nil, nil, nil
	}
	return a
}

func skips(req webhook.ClaimRequest, d *delivery) bool {
	return slices.Contains(req.Skip, webhook.EndpointRef{Tenant: d.tenant, ID: d.endpoint})
}

func (w *world) prune(n *node, req webhook.PruneRequest) {
	w.do(5*time.Second, func() {
		_, err := n.store.Prune(context.Background(), req)
		w.problem(n, "prune", err)
	})
}

func (w *world) erase(n *node, d *delivery) {
	w.do(5*time.Second, func() {
		w.problem(n, "erase", n.store.EraseDelivery(context.Background(), d.tenant, d.ID), webhook.ErrNotFound)
	})
}

// eraseTenant erases in as many calls as it takes.
func (w *world) eraseTenant(n *node, tenant string, most int) {
	w.do(5*time.Second, func() {
		for more := true; more; {
			var err error
			more, err = n.store.EraseTenant(context.Background(), tenant, most)
			w.problem(n, "erase tenant", err)
		}
	})
}
