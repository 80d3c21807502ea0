package simulation

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

func soon(s *settings) {
	s.PauseAfter, s.PauseMin, s.PauseMax, s.DisableAfter, s.Backlog, s.Hooks = 3, 30*time.Second, 4*time.Minute, time.Hour, 6, quickHooks
	s.Policy = webhook.Schedule{5 * time.Second, 5 * time.Second, 5 * time.Second, 5 * time.Second}
}

// pacedFrom is when the script comes to what is sent at a rate.
const pacedFrom = 2 * time.Hour

// servedScript comes by everything that decides how an endpoint is served: its own bounds and headers, the breaker,
// disabling, a full backlog.
func (w *world) servedScript(t failer) {
	n := w.start()
	key := w.add(n, "", []string{"*"}, secretText(1), true)
	bounded := w.addServed(n, "acme", []string{"*"}, webhook.Secret{}, false, served{MaxInFlight: 2, Timeout: 2 * time.Second, Headers: map[string]string{
		"Authorization": "a value that is nobody's business",
	}})
	paced := w.addServed(n, "globex", []string{"*"}, webhook.Secret{}, false, served{Rate: 0.2, Burst: 1})
	turn := func(key endpointKey, m mode) { w.receiver(key, func(r *receiver) { r.mode = m }) }
	emit := func(key endpointKey, times int) {
		for range times {
			w.emit(n, key.tenant, w.newEvent(0, "", "sess_1"))
		}
	}
	pass := func(d time.Duration) {
		time.Sleep(d)
		w.check(t)
	}
	// Four fail, more than it takes to pause the endpoint; then one probe at a time, until it answers.
	emit(key, 3)
	pass(time.Second)
	turn(key, mode{name: "failing", status: 500})
	emit(key, 4)
	pass(20 * time.Second)
	w.ping(n, key, 5*time.Second)
	emit(key, 5) // and more than its backlog takes
	pass(10 * time.Minute)
	turn(key, modes[0])
	pass(5 * time.Minute)
	emit(key, 2)
	pass(time.Second)
	// As many as fit, one after the other, and one that takes too long.
	turn(bounded, mode{name: "busy", status: 200, latency: 900 * time.Millisecond})
	for range 4 {
		emit(bounded, 6)
		pass(4 * time.Second)
	}
	pass(20 * time.Second)
	turn(bounded, mode{name: "too slow", status: 200, latency: 3 * time.Second})
	emit(bounded, 1)
	pass(time.Minute)
	turn(bounded, modes[0])
	time.Sleep(time.Until(w.began.Add(pacedFrom)))
	for range 5 { // a window that lets several go, if the rate did
		emit(paced, 4)
		pass(25 * time.Second)
	}
	// It fails for so long that it is disabled.
	turn(key, mode{name: "failing", status: 500})
	emit(key, 2)
	pass(2 * time.Hour)
	w.prune(n, webhook.PruneRequest{Deliveries: time.Minute, Max: 1000})
	emit(key, 1)
	turn(key, modes[0])
	w.setEnabled(n, key, true)
	pass(time.Minute)
	w.finish(t)
}

func TestTheCheckerIsContentWithHowEndpointsAreServed(t *testing.T) {
	t.Parallel()
	for _, hooks := range []hooksKind{noHooks, quickHooks, roughHooks} {
		require.Empty(t, judge(t, func(s *settings) {
			soon(s)
			s.Hooks = hooks
			s.Slots = 256
		}, (*world).servedScript))
	}
}
