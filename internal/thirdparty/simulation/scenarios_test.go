package simulation

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// Scenarios are runs without chance: what a seed once found, in as few moves as it takes. Unlike the seed they keep their meaning when the moves change.

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

// A receiver has the new secret, the overlap is on, and nothing was sent since: a ping has one attempt, so a wrong guess is final.
func TestPingWithinAnOverlap(t *testing.T) {
	scenario(t, standard(), func(t *testing.T, w *world) {
		n := w.start()
		key := w.add(n, "", []string{"*"}, secretText(1), true)
		w.rotate(n, key, secretText(2), 24*time.Hour)
		w.swap(key)
		w.change(n, key, func(e *webhook.Endpoint) { e.URL += "/moved" })
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
