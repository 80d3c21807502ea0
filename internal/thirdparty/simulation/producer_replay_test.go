package simulation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/meshia/webhook"
)

// replayWhat is what a replay is asked for.
type replayWhat struct{ Failed, Missed bool }

var everything = replayWhat{Failed: true, Missed: true}

// replay starts a replay of what was stored since some time, and until another, or now.
func (w *world) replay(n *node, key endpointKey, what replayWhat, since, until time.Time) {
	w.sequence++
	asked := webhook.Replay{
		EndpointID: key.id, Since: since, Until: until, Failed: what.Failed, Missed: what.Missed, AskedBy: fmt.Sprintf("somebody, for the %d. time", w.sequence),
	}
	w.do(5*time.Second, func() {
		_, err := n.d.Tenant(key.tenant).Replay(context.Background(), asked)
		w.problem(n, "replay", err, webhook.ErrNotFound, webhook.ErrReplayRunning)
	})
}

func (w *world) stopReplay(n *node, r *replay) {
	w.do(5*time.Second, func() {
		got, err := n.d.Tenant(r.Tenant).StopReplay(context.Background(), r.ID)
		w.problem(n, "stop replay", err, webhook.ErrNotFound)
		if err == nil && got.State == webhook.ReplayRunning {
			w.problem(n, "stop replay", fmt.Errorf("%s runs", r.name))
		}
	})
}

func (w *world) redeliverEvent(n *node, key eventKey, patience time.Duration) {
	w.sequence++
	asked := fmt.Sprintf("somebody, for the %d. time", w.sequence)
	w.do(patience, func() {
		call := &redelivering{event: key, wanted: map[*endpoint]bool{}, made: map[*endpoint]int{}}
		before := w.ledger.ofOne(key)
		queued, err := n.d.Tenant(key.tenant).RedeliverEvent(context.WithValue(context.Background(), redeliveringKey{}, call), key.id, asked)
		after := w.ledger.ofOne(key)
		if before || after { // which the call may have seen or not
			w.problem(n, "redeliver event", err, webhook.ErrNotFound, webhook.ErrBodyPruned, webhook.ErrInvalidEvent)
		} else {
			w.problem(n, "redeliver event", err, webhook.ErrNotFound, webhook.ErrBodyPruned, webhook.ErrBacklogFull)
		}
		if err == nil && !n.dead() {
			w.ledger.redelivered(call, queued, before && after)
		}
	})
}

// replays are those that are kept, in an order without chance.
func (w *world) replays() (out []*replay) {
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	for _, key := range w.endpoints {
		if ep := w.ledger.endpoints[key]; ep != nil {
			out = append(out, ep.replays...)
		}
	}
	return out
}

// stored are the events that are kept, in the order of storing.
func (w *world) stored() (out []eventKey) {
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	var all []*event
	for _, e := range w.ledger.events {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *event) int { return int(a.place) - int(b.place) })
	for _, e := range all {
		out = append(out, e.key)
	}
	return out
}

// makeUp replays everything for each endpoint, when everything is well: what is then left undelivered was either sent
// while it was never to be queued, or has no contents any more.
func (w *world) makeUp(n *node) {
	for _, key := range w.existing() {
		w.replay(n, key, everything, w.began, time.Time{})
	}
}

// madeUp demands that makeUp came to what it is for.
func (l *ledger) madeUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, ep := range l.endpoints {
		if ep.deleted || len(ep.replays) == 0 {
			continue
		}
		had := l.deliveriesTo(ep)
		last := ep.replays[len(ep.replays)-1]
		for of, e := range l.events {
			if _, wanted := last.wants(e, had[e]); of.tenant == key.tenant && wanted && !e.bare && e.stored.Before(last.Until) {
				l.complain("REPLAY: event %s has failed for endpoint %s, or was missed by it, and all was replayed", of.id, key.id)
			}
		}
	}
}
