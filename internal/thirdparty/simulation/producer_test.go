package simulation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/meshia/webhook"
)

// The producer's side: what a service that uses the library does. Each call is made through a process, and what it
// answers is held against the ledger.

var tenants = []string{"", "acme", "globex"}

func secretText(k int) webhook.Secret {
	if k%3 == 0 {
		return webhook.NewSecret(fmt.Sprintf("typed by somebody, number %d", k))
	}
	return webhook.NewSecret("whsec_" + strings.Repeat("A", 28) + fmt.Sprintf("%04d", k))
}

// problem judges an error of a call: it must be one that was asked for.
func (w *world) problem(n *node, what string, err error, expected ...error) {
	switch {
	case err == nil, n.dead(), errors.Is(err, errStoreAway), errors.Is(err, errDead):
		return
	case errors.Is(err, webhook.ErrStoreFull) && w.MaxPending > 0:
		return
	case errors.Is(err, context.DeadlineExceeded):
		return // a store that did not answer before the library, or the caller, gave up
	}
	for _, e := range expected {
		if errors.Is(err, e) {
			return
		}
	}
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	w.ledger.complain("ANSWER: %s: %v", what, err)
}

// What rapid prints of what it drew.
func (n *node) GoString() string       { return n.name }
func (e emitted) GoString() string     { return e.tenant + "/" + e.event.ID }
func (m mode) GoString() string        { return m.name }
func (k endpointKey) GoString() string { return k.tenant + "/" + k.id }

// newEvent makes an event; an id that is given is used again.
func (w *world) newEvent(kind int, id, session string) webhook.Event {
	if id == "" {
		w.sequence++
		id = fmt.Sprintf("evt_%d", w.sequence)
	}
	switch kind % 3 {
	case 0:
		return webhook.ExperimentCompleted.New(session, webhook.ExperimentCompletedData{ExperimentID: "exp", Metrics: webhook.Metrics{"loss": 0.1}}, webhook.WithID(id))
	case 1:
		return webhook.SessionStarted.New(session, webhook.SessionStartedData{Pod: "pod", GPU: "H100", GPUCount: 1}, webhook.WithID(id))
	default:
		return webhook.PlanCompleted.New(session, webhook.PlanCompletedData{PlanID: "plan"}, webhook.WithID(id))
	}
}

// emit emits, and holds the answer against the ledger: nil means that all of it is stored.
func (w *world) emit(n *node, tenant string, events ...webhook.Event) {
	w.emitWithin(5*time.Second, n, tenant, events...)
}

// emitWithin does not wait longer than patience, so that what comes next comes in the middle of it.
func (w *world) emitWithin(patience time.Duration, n *node, tenant string, events ...webhook.Event) {
	for _, e := range events {
		w.emitted = append(w.emitted, emitted{tenant, e})
	}
	w.do(patience, func() {
		err := n.d.Tenant(tenant).Emit(context.Background(), events...)
		w.problem(n, "emit", err, webhook.ErrConflict)
		if err != nil || n.dead() {
			return
		}
		w.ledger.mu.Lock()
		defer w.ledger.mu.Unlock()
		n.emits++
		for _, e := range events {
			w.accepted++
			if stored := w.ledger.events[eventKey{tenant, e.ID}]; !w.ledger.forgotten[eventKey{tenant, e.ID}] && (stored == nil || stored.digest != e.Digest()) {
				w.ledger.complain("LOST: event %s was accepted, and is not stored", e.ID)
			}
		}
	})
}

var subscriptions = [][]string{{"*"}, {"experiment.completed"}, {"session.started", "plan.completed"}, {"experiment.completed", "experiment.failed"}}

// served is how an endpoint's owner wants it served.
type served struct {
	Rate        float64
	Burst       int
	MaxInFlight int
	Timeout     time.Duration
	Headers     map[string]string // by name; in an update nil keeps those that it has
}

// apply sets it, and returns the context to save it with.
func (s served) apply(ctx context.Context, e *webhook.Endpoint) context.Context {
	e.Rate, e.Burst, e.MaxInFlight, e.Timeout, e.Headers = s.Rate, s.Burst, s.MaxInFlight, s.Timeout, nil
	if s.Headers == nil {
		return ctx
	}
	e.Headers = map[string]webhook.Secret{}
	for name, value := range s.Headers {
		e.Headers[name] = webhook.NewSecret(value)
	}
	return context.WithValue(ctx, headersKey{}, s.Headers)
}

// tune changes how an endpoint is served.
func (w *world) tune(n *node, key endpointKey, to served) {
	w.change(n, key, func(ctx context.Context, e *webhook.Endpoint) context.Context { return to.apply(ctx, e) })
}

// add adds an endpoint. Its receiver knows the secret.
func (w *world) add(n *node, tenant string, subscribes []string, secret webhook.Secret, ping bool) endpointKey {
	return w.addServed(n, tenant, subscribes, secret, ping, served{})
}

func (w *world) addServed(n *node, tenant string, subscribes []string, secret webhook.Secret, ping bool, how served) endpointKey {
	key := endpointKey{tenant, fmt.Sprintf("we_%d", len(w.endpoints)+1)}
	w.receiver(key, func(r *receiver) {
		w.endpoints = append(w.endpoints, key)
		r.known = secret.Reveal()
	})
	var opts []webhook.AddOption
	if !ping {
		opts = append(opts, webhook.WithoutPing())
	}
	w.do(5*time.Second, func() {
		e := webhook.Endpoint{ID: key.id, URL: "https://example.com/" + key.id, Events: subscribes, Secret: secret}
		ctx := how.apply(withSecret(context.Background(), secret.Reveal()), &e)
		_, _, err := n.d.Tenant(tenant).AddEndpoint(ctx, e, opts...)
		w.problem(n, "add endpoint", err, webhook.ErrNotFound) // deleted while it was pinged
	})
	return key
}

// receiver changes an endpoint's receiver.
func (w *world) receiver(key endpointKey, change func(*receiver)) {
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	change(&w.ledger.place(key.tenant, key.id).receiver)
}

func (w *world) rotate(n *node, key endpointKey, secret webhook.Secret, overlap time.Duration) {
	w.do(5*time.Second, func() {
		_, err := n.d.Tenant(key.tenant).RotateSecret(withSecret(context.Background(), secret.Reveal()), key.id, secret, overlap)
		w.problem(n, "rotate", err, webhook.ErrNotFound, webhook.ErrVersionConflict)
	})
}

func (w *world) finishRotation(n *node, key endpointKey) {
	w.do(5*time.Second, func() {
		_, err := n.d.Tenant(key.tenant).FinishRotation(context.Background(), key.id)
		w.problem(n, "finish rotation", err, webhook.ErrNotFound, webhook.ErrVersionConflict)
	})
}

// swap makes the receiver know the newest secret.
func (w *world) swap(key endpointKey) {
	w.receiver(key, func(r *receiver) {
		ep := w.ledger.endpoints[key]
		if n := len(ep.Secrets); n > 0 {
			r.known = ep.texts[ep.Secrets[n-1].ID]
		}
	})
}

// move gives the endpoint another URL.
func (w *world) move(n *node, key endpointKey) {
	w.sequence++
	url := fmt.Sprintf("https://example.com/%s/%d", key.id, w.sequence)
	w.change(n, key, func(ctx context.Context, e *webhook.Endpoint) context.Context {
		e.URL = url
		return ctx
	})
}

func (w *world) setEnabled(n *node, key endpointKey, enabled bool) {
	w.do(5*time.Second, func() {
		_, err := n.d.Tenant(key.tenant).SetEnabled(context.Background(), key.id, enabled)
		w.problem(n, "set enabled", err, webhook.ErrNotFound)
	})
}

// change updates the endpoint as it was read.
func (w *world) change(n *node, key endpointKey, change func(context.Context, *webhook.Endpoint) context.Context) {
	w.do(20*time.Second, func() {
		d, ctx := n.d.Tenant(key.tenant), context.Background()
		e, err := d.Endpoint(ctx, key.id)
		if err == nil {
			ctx = change(ctx, &e)
			_, _, err = d.UpdateEndpoint(ctx, e)
		}
		w.problem(n, "update endpoint", err, webhook.ErrNotFound, webhook.ErrVersionConflict)
	})
}

func (w *world) ping(n *node, key endpointKey, patience time.Duration) {
	calm := w.calm
	w.do(patience, func() {
		got, err := n.d.Tenant(key.tenant).Ping(context.Background(), key.id)
		w.problem(n, "ping", err, webhook.ErrNotFound)
		if calm && err == nil && got.State != webhook.DeliverySucceeded {
			w.problem(n, "ping", fmt.Errorf("a ping to a healthy endpoint is %s (%s)", got.State, got.Reason))
		}
	})
}

// existing are the endpoints that are there.
func (w *world) existing() []endpointKey {
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	var out []endpointKey
	for _, key := range w.endpoints {
		if ep := w.ledger.endpoints[key]; ep != nil && !ep.deleted {
			out = append(out, key)
		}
	}
	return out
}

// at returns what is stored of an endpoint.
func (w *world) at(key endpointKey) webhook.Endpoint {
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	return w.ledger.endpoints[key].Endpoint
}

// deliveries are those that there are, in an order without chance.
func (w *world) deliveries() []*delivery {
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	return w.ledger.all()
}
