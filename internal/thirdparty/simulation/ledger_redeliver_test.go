package simulation

import (
	"context"
	"time"

	"github.com/meshia/webhook"
)

// What is queued for one endpoint at its owner's wish.

// redelivering is what the ledger knows of a call of RedeliverEvent, which carries it in its context.
type redelivering struct {
	event  eventKey
	kind   string             // as it was read; it may be gone by the time that it is queued, and is then stored again
	wanted map[*endpoint]bool // that subscribe and queue, when the call read them
	made   map[*endpoint]int
}

type redeliveringKey struct{}

func redeliveringOf(ctx context.Context) *redelivering {
	r, _ := ctx.Value(redeliveringKey{}).(*redelivering)
	return r
}

// enqueuedLater notes a delivery that was made for one endpoint and left to Claim.
func (l *ledger) enqueuedLater(ctx context.Context, req webhook.EnqueueRequest, e *event, res *webhook.EnqueueResult, now time.Time) {
	ep := l.place(req.Tenant, req.Direct.EndpointID)
	if len(res.Leases) > 0 {
		l.complain("HAND-OVER: event %s is to be queued for endpoint %s, and is leased", e.key.id, ep.ID)
	}
	if !res.Queued {
		l.complain("WAKE: event %s was queued for endpoint %s, and the answer does not say so", e.key.id, ep.ID)
	}
	made := l.madeNow(ep, now)[e.key.id]
	if len(made) != 1 {
		l.complain("REDELIVER: event %s is to be queued once for endpoint %s, and was %d times", e.key.id, ep.ID, len(made))
	}
	for _, id := range made {
		d := l.newDelivery(id, ep, e.key.id, e.kind, req.Direct.Kind, now)
		d.State, d.NextAttemptAt, d.RedeliveryOf, d.AskedBy = webhook.DeliveryPending, now, req.Direct.RedeliveryOf, req.Direct.AskedBy
	}
	if req.MaxPending > 0 && ep.backlog > req.MaxPending {
		l.complain("BACKLOG: event %s was queued again for endpoint %s, for which %d wait then of %d", e.key.id, ep.ID, ep.backlog, req.MaxPending)
	}
	if r := redeliveringOf(ctx); r != nil {
		r.made[ep]++
	}
}

// eventOf reads an event.
func (l *ledger) eventOf(ctx context.Context, tenant, id string) (webhook.Event, error) {
	e, err := l.store.Event(ctx, tenant, id)
	if r := redeliveringOf(ctx); r != nil && err == nil {
		r.kind = e.Type
	}
	return e, err
}

// endpointsOf reads a tenant's endpoints.
func (l *ledger) endpointsOf(ctx context.Context, tenant string) ([]webhook.Endpoint, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all, err := l.store.Endpoints(ctx, tenant)
	r := redeliveringOf(ctx)
	if err != nil || r == nil {
		return all, err
	}
	for key, ep := range l.endpoints {
		if key.tenant == tenant && !ep.deleted && ep.Subscribes(r.kind) && ep.Health.State.Queues() {
			r.wanted[ep] = true
		}
	}
	return all, nil
}

// ofOne reports whether the event is that of a ping or a test, as far as the log says.
func (l *ledger) ofOne(key eventKey) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.deliveries {
		if d.tenant == key.tenant && d.event == key.id && d.Kind.Once() {
			return true
		}
	}
	return false
}

// redelivered checks what a call of RedeliverEvent did that has answered without an error.
func (l *ledger) redelivered(r *redelivering, queued int, ofOne bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ofOne {
		l.complain("REDELIVER: event %s is one endpoint's, and was to be sent to all", r.event.id)
	}
	sum := 0
	for ep, n := range r.made {
		sum += n
		if n > 1 || !r.wanted[ep] {
			l.complain("REDELIVER: event %s is queued again %d times for endpoint %s, which is to get it: %t", r.event.id, n, ep.ID, r.wanted[ep])
		}
	}
	for ep := range r.wanted {
		if r.made[ep] == 0 && !ep.deleted {
			l.complain("REDELIVER: event %s is not queued again for endpoint %s", r.event.id, ep.ID)
		}
	}
	if sum != queued {
		l.complain("REDELIVER: event %s is queued again %d times, and the answer says %d", r.event.id, sum, queued)
	}
}
