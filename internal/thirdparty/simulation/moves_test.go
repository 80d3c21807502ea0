package simulation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/meshia/webhook"
)

// The producer's side: what a service that uses the library does. Each call is made through a process, and what it answers is held against the ledger.

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
		for _, e := range events {
			w.accepted++
			if stored := w.ledger.events[eventKey{tenant, e.ID}]; stored == nil || stored.digest != e.Digest() {
				w.ledger.complain("LOST: event %s was accepted, and is not stored", e.ID)
			}
		}
	})
}

var subscriptions = [][]string{{"*"}, {"experiment.completed"}, {"session.started", "plan.completed"}, {"experiment.completed", "experiment.failed"}}

// add adds an endpoint. Its receiver knows the secret.
func (w *world) add(n *node, tenant string, subscribes []string, secret webhook.Secret, ping bool) endpointKey {
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
		_, _, err := n.d.Tenant(tenant).AddEndpoint(withSecret(context.Background(), secret.Reveal()), e, opts...)
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

func (w *world) setEnabled(n *node, key endpointKey, enabled bool) {
	w.do(5*time.Second, func() {
		_, err := n.d.Tenant(key.tenant).SetEnabled(context.Background(), key.id, enabled)
		w.problem(n, "set enabled", err, webhook.ErrNotFound)
	})
}

// change updates the endpoint as it was read.
func (w *world) change(n *node, key endpointKey, change func(*webhook.Endpoint)) {
	w.do(20*time.Second, func() {
		d := n.d.Tenant(key.tenant)
		e, err := d.Endpoint(context.Background(), key.id)
		if err == nil {
			change(&e)
			_, _, err = d.UpdateEndpoint(context.Background(), e)
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

// pick draws a process that can be asked; run can be asked for one that runs.
func (w *world) pick(t *rapid.T, want func(*node) bool) *node {
	nodes := w.alive(want)
	if len(nodes) == 0 {
		t.Skip("no process")
	}
	return rapid.SampledFrom(nodes).Draw(t, "process")
}

func (w *world) pickEndpoint(t *rapid.T) endpointKey {
	var known []endpointKey
	for _, key := range w.endpoints {
		if ep := w.ledger.endpoints[key]; ep != nil && !ep.deleted {
			known = append(known, key)
		}
	}
	if len(known) == 0 {
		t.Skip("no endpoint")
	}
	return rapid.SampledFrom(known).Draw(t, "endpoint")
}

// moves are what rapid chooses from. Names that differ by a blank at the end are the same move, chosen more often.
func (w *world) moves() map[string]func(*rapid.T) {
	anyNode := func(t *rapid.T) *node { return w.pick(t, nil) }
	running := func(n *node) bool { return n.running }
	overlaps := rapid.SampledFrom([]time.Duration{0, 30 * time.Second, 10 * time.Minute, 24 * time.Hour})
	moves := map[string]func(*rapid.T){
		"emit": func(t *rapid.T) {
			n, tenant := anyNode(t), w.tenant(t)
			var events []webhook.Event
			for range rapid.IntRange(1, 3).Draw(t, "events") {
				events = append(events, w.newEvent(rapid.IntRange(0, 2).Draw(t, "type"), "", "sess_1"))
			}
			w.emitWithin(time.Duration(rapid.SampledFrom([]int{5_000_000, 0, 300, 900, 5000}).Draw(t, "patience"))*time.Microsecond, n, tenant, events...)
		},
		"emit again": func(t *rapid.T) {
			if len(w.emitted) == 0 {
				t.Skip("nothing to repeat")
			}
			n, of := anyNode(t), rapid.SampledFrom(w.emitted).Draw(t, "of")
			e, tenant := of.event, of.tenant
			switch rapid.IntRange(0, 3).Draw(t, "how") {
			case 0: // as it was
			case 1:
				e.Time = e.Time.Add(time.Hour)
				e = w.newEvent(slices.Index([]string{"experiment.completed", "session.started", "plan.completed"}, e.Type), e.ID, e.SessionID) // at another time: equal
			case 2:
				e = w.newEvent(0, e.ID, "sess_other")
			case 3:
				tenant = w.tenant(t) // ids are the tenant's own
			}
			w.emit(n, tenant, e, w.newEvent(1, "", "sess_1"))
		},
		"add endpoint": func(t *rapid.T) {
			if len(w.endpoints) >= 8 {
				t.Skip("enough")
			}
			n, tenant := anyNode(t), w.tenant(t)
			w.add(n, tenant, rapid.SampledFrom(subscriptions).Draw(t, "subscriptions"), w.drawSecret(t), rapid.Bool().Draw(t, "ping"))
		},
		"advance ms": func(t *rapid.T) {
			time.Sleep(time.Duration(rapid.IntRange(1, 999).Draw(t, "ms")) * time.Millisecond)
		},
		"advance s": func(t *rapid.T) { time.Sleep(time.Duration(rapid.IntRange(1, 59).Draw(t, "s")) * time.Second) },
		"advance min": func(t *rapid.T) {
			time.Sleep(time.Duration(rapid.IntRange(1, 30).Draw(t, "min")) * time.Minute)
		},
		"advance h": func(t *rapid.T) { time.Sleep(time.Duration(rapid.IntRange(1, 3).Draw(t, "h")) * time.Hour) },
		"crash":     func(t *rapid.T) { anyNode(t).crash() },
		"crash loop": func(t *rapid.T) { // whatever is sent to this endpoint ends the process
			key := w.pickEndpoint(t)
			w.receiver(key, func(r *receiver) { r.mode = mode{name: "hanging", hang: true} })
			for range rapid.IntRange(1, 12).Draw(t, "times") {
				for _, n := range w.alive(nil) {
					n.crash()
				}
				w.start()
				time.Sleep(40 * time.Second) // leases of the one before end, and are claimed again
			}
		},
		"start": func(t *rapid.T) {
			if len(w.alive(nil)) >= 3 || len(w.nodes) >= 20 {
				t.Skip("enough")
			}
			w.start()
		},
		"shut down": func(t *rapid.T) { w.pick(t, running).shutdown() },
		"run again": func(t *rapid.T) { w.pick(t, (*node).mayRerun).run() },
		"flip": func(t *rapid.T) {
			key, m := w.pickEndpoint(t), rapid.SampledFrom(modes).Draw(t, "mode")
			w.receiver(key, func(r *receiver) { r.mode = m })
		},
		"rotate": func(t *rapid.T) {
			n, key := anyNode(t), w.pickEndpoint(t)
			w.sequence++
			w.rotate(n, key, secretText(w.sequence), overlaps.Draw(t, "overlap"))
		},
		"finish rotation": func(t *rapid.T) {
			n, key := anyNode(t), w.pickEndpoint(t)
			w.finishRotation(n, key)
		},
		"swap":    func(t *rapid.T) { w.swap(w.pickEndpoint(t)) },
		"disable": func(t *rapid.T) { n, key := anyNode(t), w.pickEndpoint(t); w.setEnabled(n, key, false) },
		"enable":  func(t *rapid.T) { n, key := anyNode(t), w.pickEndpoint(t); w.setEnabled(n, key, true) },
		"move": func(t *rapid.T) {
			n, key := anyNode(t), w.pickEndpoint(t)
			w.sequence++
			url := fmt.Sprintf("https://example.com/%s/%d", key.id, w.sequence)
			w.change(n, key, func(e *webhook.Endpoint) { e.URL = url })
		},
		"subscribe": func(t *rapid.T) {
			n, key, events := anyNode(t), w.pickEndpoint(t), rapid.SampledFrom(subscriptions).Draw(t, "subscriptions")
			w.change(n, key, func(e *webhook.Endpoint) { e.Events = events })
		},
		"delete": func(t *rapid.T) {
			n, key := anyNode(t), w.pickEndpoint(t)
			w.do(5*time.Second, func() {
				w.problem(n, "delete", n.d.Tenant(key.tenant).DeleteEndpoint(context.Background(), key.id), webhook.ErrNotFound)
			})
		},
		"ping": func(t *rapid.T) {
			n, key := anyNode(t), w.pickEndpoint(t)
			w.ping(n, key, time.Duration(rapid.IntRange(0, 20).Draw(t, "patience"))*time.Second)
		},
		"test": func(t *rapid.T) {
			n, key := anyNode(t), w.pickEndpoint(t)
			e := w.newEvent(0, "", "sess_test")
			patience := time.Duration(rapid.IntRange(1, 20).Draw(t, "patience")) * time.Second
			w.do(patience, func() {
				ctx, cancel := context.WithTimeout(context.Background(), patience) // the caller gives up
				defer cancel()
				_, err := n.d.Tenant(key.tenant).SendTest(ctx, key.id, e)
				w.problem(n, "test", err, webhook.ErrNotFound)
			})
		},
		"redeliver": func(t *rapid.T) {
			n := anyNode(t)
			all := w.deliveries()
			if len(all) == 0 {
				t.Skip("nothing to repeat")
			}
			of := all[rapid.IntRange(0, len(all)-1).Draw(t, "of")]
			w.do(time.Duration(rapid.IntRange(0, 20).Draw(t, "patience"))*time.Second, func() {
				_, err := n.d.Tenant(of.tenant).Redeliver(context.Background(), of.ID)
				w.problem(n, "redeliver", err, webhook.ErrNotFound)
			})
		},
		"fault": func(t *rapid.T) {
			n := anyNode(t)
			n.store.plan(rapid.IntRange(1, 8).Draw(t, "call"), fault{
				kind:  rapid.SampledFrom([]faultKind{before, after, late, hangs, stalls}).Draw(t, "kind"),
				delay: time.Duration(rapid.IntRange(1, 60).Draw(t, "delay")) * time.Second,
			})
		},
		"outage": func(t *rapid.T) {
			anyNode(t).store.away(time.Duration(rapid.IntRange(1, 60).Draw(t, "s")) * time.Second)
		},
		"": func(t *rapid.T) {
			w.check(t)
		},
	}
	moves["emit "], moves["emit  "] = moves["emit"], moves["emit"]
	moves["flip "] = moves["flip"]
	moves["advance s "] = moves["advance s"]
	return moves
}

func (w *world) tenant(t *rapid.T) string { return rapid.SampledFrom(tenants).Draw(t, "tenant") }

func (w *world) drawSecret(t *rapid.T) webhook.Secret {
	if rapid.IntRange(0, 3).Draw(t, "secret") == 0 {
		return webhook.Secret{}
	}
	w.sequence++
	return secretText(w.sequence)
}

// deliveries are those that there are, in an order without chance.
func (w *world) deliveries() []*delivery {
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	return w.ledger.all()
}
