package simulation

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// Scenarios are runs without chance: what a seed once found, in as few moves as it takes. Unlike the seed they keep
// their meaning when the moves change.

func scenario(t *testing.T, s settings, run func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(s)
		defer w.end()
		run(t, w)
	})
}

// The store took longer to lease a redelivery than the lease lasts. By then another process may have it.
func TestDirectLeaseThatIsLongOnItsWayIsNotUsed(t *testing.T) {
	for _, delay := range []time.Duration{9 * time.Second, 20 * time.Second, 36 * time.Second} {
		t.Run(delay.String(), func(t *testing.T) {
			scenario(t, standard(), func(t *testing.T, w *world) {
				n := w.start()
				key := w.add(n, "", []string{"*"}, secretText(1), false)
				w.emit(n, "", w.newEvent(0, "", "sess_1"))
				time.Sleep(time.Second)
				of := w.deliveries()[0]
				n.store.planNext("Enqueue", fault{kind: late, delay: delay})
				w.do(2*time.Minute, func() {
					_, err := n.d.Redeliver(context.Background(), of.ID)
					w.problem(n, "redeliver", err)
				})
				w.check(t)
				n.store.planNext("Enqueue", fault{kind: late, delay: delay})
				w.ping(n, key, 2*time.Minute)
				w.finish(t)
			})
		})
	}
}

// A receiver has the new secret, the overlap is on, and nothing was sent since: a ping has one attempt, so a wrong
// guess is final.
func TestPingWithinAnOverlap(t *testing.T) {
	scenario(t, standard(), func(t *testing.T, w *world) {
		n := w.start()
		key := w.add(n, "", []string{"*"}, secretText(1), true)
		w.rotate(n, key, secretText(2), 24*time.Hour)
		w.swap(key)
		w.move(n, key)
		for range 3 {
			w.ping(n, key, time.Minute)
		}
		w.emit(n, "", w.newEvent(0, "", "sess_1"))
		time.Sleep(time.Minute)
		w.check(t)
		gaps, err := n.d.Gaps(t.Context(), key.id)
		require.NoError(t, err)
		require.Empty(t, gaps, "an event was missed though the receiver knew a live secret all the time")
	})
}

// The receiver has the new secret. A process dies in the attempt that is signed with it: the next one must not go back
// to the old secret.
func TestInterruptedAttemptDoesNotTurnTheSecretBack(t *testing.T) {
	s := standard()
	s.Policy = webhook.Schedule{time.Second}
	scenario(t, s, func(t *testing.T, w *world) {
		n := w.start()
		key := w.add(n, "", []string{"*"}, secretText(1), false)
		w.rotate(n, key, secretText(2), 24*time.Hour)
		w.swap(key)
		w.emit(n, "", w.newEvent(0, "", "sess_1")) // refused: signed with the old secret
		time.Sleep(500 * time.Millisecond)
		w.receiver(key, func(r *receiver) { r.mode = mode{name: "hanging", hang: true} })
		time.Sleep(time.Second)
		n.crash()
		w.receiver(key, func(r *receiver) { r.mode = modes[0] })
		w.start()
		time.Sleep(2 * time.Minute)
		w.check(t)
		only := w.deliveries()[0]
		require.Equal(t, webhook.DeliverySucceeded, only.State)
		require.Len(t, only.Attempts, 3)
	})
}

// Somebody's Emit waits for a store that does not answer. Run must not wait for it.
func TestRunEndsWhileAnEmitHangs(t *testing.T) {
	scenario(t, standard(), func(t *testing.T, w *world) {
		n := w.start()
		w.add(n, "", []string{"*"}, secretText(1), false)
		time.Sleep(time.Second) // the claim loop is at rest, so that Emit can offer slots
		n.store.planNext("Enqueue", fault{kind: hangs, delay: 2 * time.Hour})
		w.emit(n, "", w.newEvent(0, "", "sess_1"))
		n.shutdown()
		time.Sleep(w.Drain + time.Minute)
		select {
		case <-n.done:
		default:
			t.Error("Run has not returned")
		}
		time.Sleep(2 * time.Hour)
	})
}

// Whoever may read an endpoint may print it, or send it on as JSON.
func TestAnEndpointThatIsReadShowsNoSecret(t *testing.T) {
	scenario(t, standard(), func(t *testing.T, w *world) {
		n := w.start()
		const token = "Bearer of a token that nobody is to read"
		key := w.addServed(n, "", []string{"*"}, secretText(1), false, served{Headers: map[string]string{"Authorization": token}})
		e, err := n.d.Endpoint(t.Context(), key.id)
		require.NoError(t, err)
		require.Len(t, e.StoredHeaders, 1)
		text, err := json.Marshal(e)
		require.NoError(t, err)
		for _, form := range append(secretForms(secretText(1).Reveal()), secretForms(token)...) {
			require.NotContains(t, string(text)+fmt.Sprintf("%+v %#v", e, e), form)
		}
	})
}

// An event waits for a slot. The slot is given back when the hook that had it has ended, and not before: the event must
// not wait for the next poll.
func TestASlotThatAHookGivesBackIsUsed(t *testing.T) {
	s := standard()
	s.Poll, s.Slots, s.Hooks = 10*time.Minute, 1, quickHooks
	scenario(t, s, func(t *testing.T, w *world) {
		n := w.start()
		w.add(n, "", []string{"*"}, secretText(1), false)
		time.Sleep(time.Second)
		w.emit(n, "", w.newEvent(0, "", "sess_1"), w.newEvent(0, "", "sess_1"), w.newEvent(0, "", "sess_1"))
		time.Sleep(5 * time.Second)
		w.check(t)
		require.Empty(t, w.ledger.unsettled())
		w.finish(t)
	})
}

// The store refuses an outcome at first. The slot that it kept until it was recorded is used again.
func TestASlotThatALateOutcomeGivesBackIsUsed(t *testing.T) {
	s := standard()
	s.Poll, s.Slots = 10*time.Minute, 1
	scenario(t, s, func(t *testing.T, w *world) {
		n := w.start()
		w.add(n, "", []string{"*"}, secretText(1), false)
		time.Sleep(time.Second)
		n.store.planNext("Record", fault{kind: before})
		w.emit(n, "", w.newEvent(0, "", "sess_1"), w.newEvent(0, "", "sess_1"), w.newEvent(0, "", "sess_1"))
		time.Sleep(5 * time.Second)
		w.check(t)
		require.Empty(t, w.ledger.unsettled())
		w.finish(t)
	})
}

// An endpoint's owner lowers how many requests it may have under way. Those that are under way come to an end; they do
// not open its window again.
func TestFewerInFlightHoldAtOnce(t *testing.T) {
	s := standard()
	s.Slots = 256
	scenario(t, s, func(t *testing.T, w *world) {
		n := w.start()
		key := w.add(n, "", []string{"*"}, secretText(1), false)
		w.receiver(key, func(r *receiver) { r.mode = mode{name: "busy", status: 200, latency: 900 * time.Millisecond} })
		for range 80 {
			w.emit(n, "", w.newEvent(0, "", "sess_1"))
		}
		time.Sleep(4500 * time.Millisecond)
		w.tune(n, key, served{MaxInFlight: 1})
		time.Sleep(time.Minute)
		w.check(t)
		w.finish(t)
	})
}

// Run ends while outcomes are recorded and hooks give slots back, the last of them before or after the recorder.
func TestRunEndsAmongHooks(t *testing.T) {
	s := standard()
	s.Hooks = quickHooks
	scenario(t, s, func(t *testing.T, w *world) {
		key := w.add(w.start(), "", []string{"*"}, secretText(1), false)
		w.receiver(key, func(r *receiver) { r.mode = mode{name: "slow", status: 200, latency: 900 * time.Millisecond} })
		n := w.nodes[0]
		for range 100 {
			w.emit(n, "", w.newEvent(0, "", "sess_1"))
			time.Sleep(500 * time.Millisecond)
			n.shutdown()
			time.Sleep(10 * time.Second)
			require.True(t, n.mayRerun())
			n.run()
		}
		w.check(t)
	})
}
