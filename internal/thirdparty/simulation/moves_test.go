package simulation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/meshia/webhook"
)

// pick draws a process that can be asked; run can be asked for one that runs.
func (w *world) pick(t *rapid.T, want func(*node) bool) *node {
	nodes := w.alive(want)
	if len(nodes) == 0 {
		t.Skip("no process")
	}
	return rapid.SampledFrom(nodes).Draw(t, "process")
}

func (w *world) pickEndpoint(t *rapid.T) endpointKey {
	known := w.existing()
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
			w.addServed(n, tenant, rapid.SampledFrom(subscriptions).Draw(t, "subscriptions"), w.drawSecret(t), rapid.Bool().Draw(t, "ping"), w.drawServed(t))
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
			w.move(n, key)
		},
		"tune": func(t *rapid.T) {
			n, key := anyNode(t), w.pickEndpoint(t)
			w.tune(n, key, w.drawServed(t))
		},
		"flood": func(t *rapid.T) { // more than a backlog, or a burst, has room for
			n, tenant := anyNode(t), w.tenant(t)
			for range rapid.IntRange(2, 6).Draw(t, "times") {
				w.emitWithin(0, n, tenant, w.newEvent(0, "", "sess_1"), w.newEvent(1, "", "sess_1"))
			}
		},
		"down": func(t *rapid.T) { // an endpoint fails for long, and its events go on
			n, key, m := anyNode(t), w.pickEndpoint(t), rapid.SampledFrom(modes[2:]).Draw(t, "mode")
			w.receiver(key, func(r *receiver) { r.mode = m })
			for range rapid.IntRange(1, 4).Draw(t, "times") {
				w.emit(n, key.tenant, w.newEvent(0, "", "sess_1"), w.newEvent(1, "", "sess_1"))
				time.Sleep(time.Duration(rapid.IntRange(1, 300).Draw(t, "s")) * time.Second)
			}
		},
		"subscribe": func(t *rapid.T) {
			n, key, events := anyNode(t), w.pickEndpoint(t), rapid.SampledFrom(subscriptions).Draw(t, "subscriptions")
			w.change(n, key, func(ctx context.Context, e *webhook.Endpoint) context.Context {
				e.Events = events
				return ctx
			})
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
				w.problem(n, "redeliver", err, webhook.ErrNotFound, webhook.ErrBodyPruned)
			})
		},
		"redeliver event": func(t *rapid.T) {
			n, all := anyNode(t), w.stored()
			if len(all) == 0 {
				t.Skip("nothing to repeat")
			}
			of := all[rapid.IntRange(0, len(all)-1).Draw(t, "of")]
			w.redeliverEvent(n, of, time.Duration(rapid.IntRange(0, 5).Draw(t, "patience"))*time.Second)
		},
		"replay": func(t *rapid.T) {
			n, key := anyNode(t), w.pickEndpoint(t)
			w.replay(n, key, rapid.SampledFrom([]replayWhat{everything, {Failed: true}, {Missed: true}}).Draw(t, "what"), w.drawSince(t), w.drawUntil(t))
		},
		"stop replay": func(t *rapid.T) {
			n, all := anyNode(t), w.replays()
			if len(all) == 0 {
				t.Skip("nothing to stop")
			}
			w.stopReplay(n, all[rapid.IntRange(0, len(all)-1).Draw(t, "replay")])
		},
		"miss": func(t *rapid.T) { // an endpoint is off for some time, and gets what it missed
			n, key := anyNode(t), w.pickEndpoint(t)
			w.setEnabled(n, key, false)
			since := time.Now()
			for range rapid.IntRange(1, 4).Draw(t, "times") {
				w.emit(n, key.tenant, w.newEvent(0, "", "sess_1"), w.newEvent(1, "", "sess_1"))
			}
			w.setEnabled(n, key, true)
			w.replay(n, key, rapid.SampledFrom([]replayWhat{everything, {Missed: true}}).Draw(t, "what"), since, time.Time{})
		},
		"prune": func(t *rapid.T) {
			ages := rapid.SampledFrom([]time.Duration{10 * time.Minute, 0, 3 * time.Hour, 24 * time.Hour})
			w.prune(anyNode(t), webhook.PruneRequest{
				Deliveries: ages.Draw(t, "deliveries"), Bodies: ages.Draw(t, "bodies"), Max: rapid.SampledFrom([]int{1000, 3}).Draw(t, "max"),
			})
		},
		"erase": func(t *rapid.T) {
			n := anyNode(t)
			all := w.deliveries()
			if len(all) == 0 {
				t.Skip("nothing to erase")
			}
			w.erase(n, all[rapid.IntRange(0, len(all)-1).Draw(t, "of")])
		},
		"erase tenant": func(t *rapid.T) {
			if rapid.IntRange(0, 3).Draw(t, "seldom") > 0 {
				t.Skip("it ends too much")
			}
			n, tenant := anyNode(t), w.tenant(t)
			w.eraseTenant(n, tenant, rapid.SampledFrom([]int{1000, 2}).Draw(t, "max"))
		},
		"fault": func(t *rapid.T) {
			n := anyNode(t)
			n.store.plan(rapid.IntRange(1, 4).Draw(t, "call"), fault{
				kind:  rapid.SampledFrom([]faultKind{before, after, late, hangs, stalls}).Draw(t, "kind"),
				delay: time.Duration(rapid.SampledFrom([]int{9, 1, 20, 36, 60}).Draw(t, "delay")) * time.Second,
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
	moves["fault "], moves["fault  "] = moves["fault"], moves["fault"]
	moves["advance s "] = moves["advance s"]
	moves["replay "] = moves["replay"]
	return moves
}

func (w *world) tenant(t *rapid.T) string { return rapid.SampledFrom(tenants).Draw(t, "tenant") }

// drawSince draws when a replay begins, which is in the past, and drawUntil when it ends, which may be in the future.
func (w *world) drawSince(t *rapid.T) time.Time {
	return time.Now().Add(-rapid.SampledFrom([]time.Duration{1000 * time.Hour, time.Minute, 20 * time.Minute, 3 * time.Hour}).Draw(t, "since"))
}

func (w *world) drawUntil(t *rapid.T) time.Time {
	ago := rapid.SampledFrom([]time.Duration{0, 30 * time.Second, -time.Hour}).Draw(t, "until")
	if ago == 0 {
		return time.Time{}
	}
	return time.Now().Add(-ago)
}

// drawServed draws how an endpoint is served.
func (w *world) drawServed(t *rapid.T) (s served) {
	s.Rate = rapid.SampledFrom([]float64{0, 0.5, 0.05, 5}).Draw(t, "rate")
	if s.Rate > 0 {
		s.Burst = rapid.SampledFrom([]int{0, 1, 3}).Draw(t, "burst")
	}
	s.MaxInFlight = min(rapid.SampledFrom([]int{0, 1, 2}).Draw(t, "in flight"), w.MaxInFlight)
	s.Timeout = rapid.SampledFrom([]time.Duration{0, 2 * time.Second, 15 * time.Second}).Draw(t, "timeout")
	w.sequence++
	value := fmt.Sprintf("a value that is nobody's business, number %d", w.sequence)
	s.Headers = rapid.SampledFrom([]map[string]string{
		nil, {}, {"Authorization": value}, {"Authorization": value, "x-shard": value + ", again"},
	}).Draw(t, "headers")
	return s
}

func (w *world) drawSecret(t *rapid.T) webhook.Secret {
	if rapid.IntRange(0, 3).Draw(t, "secret") == 0 {
		return webhook.Secret{}
	}
	w.sequence++
	return secretText(w.sequence)
}
