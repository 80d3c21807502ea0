package simulation

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// few makes replays take several steps.
func few(s *settings) {
	s.ReplayMax, s.Backlog = 3, 4 // and two deliveries may wait at most
	s.Policy = webhook.Schedule{time.Second}
}

// replayScript comes by everything that replays are about: what failed, what was missed, what has no contents any more,
// what an endpoint got meanwhile, a full backlog, endpoints that are off or deleted, a tenant that is erased.
func (w *world) replayScript(t failer) {
	n := w.start()
	key := w.add(n, "", []string{"*"}, secretText(1), false)
	other := w.add(n, "acme", []string{"*"}, webhook.Secret{}, false)
	twin := w.add(n, "acme", []string{"*"}, webhook.Secret{}, false)
	turn := func(key endpointKey, m mode) { w.receiver(key, func(r *receiver) { r.mode = m }) }
	emit := func(key endpointKey, times int) {
		for range times {
			w.emit(n, key.tenant, w.newEvent(0, "", "sess_1"))
			time.Sleep(3 * time.Second)
		}
	}
	pass := func(d time.Duration) {
		time.Sleep(d)
		w.check(t)
	}
	failing := mode{name: "failing", status: 500}
	// One arrives, five fail, one of which is erased, and five are missed.
	emit(key, 1)
	turn(key, failing)
	emit(key, 5)
	pass(10 * time.Second)
	w.erase(n, w.deliveries()[2])
	w.setEnabled(n, key, false)
	emit(key, 5)
	w.setEnabled(n, key, true)
	turn(key, modes[0])
	pass(time.Second)
	w.replay(n, key, replayWhat{Failed: true}, w.began, time.Time{})
	pass(time.Second)
	w.replay(n, key, everything, w.began, time.Time{}) // one runs
	pass(time.Minute)
	w.replay(n, key, replayWhat{Missed: true}, w.began, time.Time{})
	pass(time.Minute)
	// One that waits for its endpoint, and is stopped; two that take turns.
	turn(other, failing)
	turn(twin, failing)
	emit(other, 6)
	pass(10 * time.Second)
	w.setEnabled(n, other, false)
	w.replay(n, other, everything, w.began, time.Time{})
	pass(30 * time.Second)
	w.stopReplay(n, w.replays()[len(w.replays())-1])
	pass(time.Second)
	w.setEnabled(n, other, true)
	turn(other, modes[0])
	turn(twin, modes[0])
	w.replay(n, other, everything, w.began, time.Now().Add(time.Hour))
	w.replay(n, twin, everything, w.began, time.Now().Add(time.Hour))
	pass(time.Minute)
	// An event again, for each endpoint.
	w.redeliverEvent(n, w.stored()[len(w.stored())-1], 5*time.Second)
	pass(10 * time.Second)
	// An answer that is lost.
	turn(other, failing)
	emit(other, 4)
	pass(10 * time.Second)
	turn(other, modes[0])
	w.replay(n, other, everything, w.began, time.Time{})
	n.store.planNext("ContinueReplay", fault{kind: after})
	pass(time.Minute)
	// What is old goes, and a deleted endpoint's replay ends.
	w.setEnabled(n, other, false)
	w.replay(n, other, everything, w.began, time.Time{})
	pass(20 * time.Second)
	w.do(time.Second, func() { w.problem(n, "delete", n.d.Tenant("acme").DeleteEndpoint(context.Background(), other.id)) })
	pass(10 * time.Second)
	for range 10 {
		w.prune(n, webhook.PruneRequest{Deliveries: time.Minute, Max: 10})
	}
	pass(time.Second)
	w.setEnabled(n, twin, false)
	w.replay(n, twin, everything, w.began, time.Time{})
	pass(5 * time.Second)
	w.eraseTenant(n, "acme", 2)
	pass(20 * time.Second)
	w.finish(t)
}

func TestTheCheckerIsContentWithReplays(t *testing.T) {
	t.Parallel()
	require.Empty(t, judge(t, few, (*world).replayScript))
}
