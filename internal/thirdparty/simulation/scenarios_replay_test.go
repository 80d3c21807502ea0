package simulation

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// failed has so many events fail at an endpoint that is well again afterwards.
func (w *world) failed(n *node, key endpointKey, events int) {
	w.receiver(key, func(r *receiver) { r.mode = mode{name: "failing", status: 500} })
	for range events {
		w.emit(n, key.tenant, w.newEvent(0, "", "sess_1"))
	}
	time.Sleep(time.Minute)
	w.receiver(key, func(r *receiver) { r.mode = modes[0] })
}

// repeated counts the deliveries that a replay made, by event.
func (w *world) repeated() map[string]int {
	out := map[string]int{}
	for _, d := range w.deliveries() {
		if d.Kind == webhook.KindRedelivery {
			out[d.event]++
		}
	}
	return out
}

// The store has taken a step, and the process does not hear of it; or the process dies with the answer on its way.
// What comes next goes on after that step, and nothing is sent twice.
func TestAStepWhoseAnswerIsLostIsTakenOnce(t *testing.T) {
	for name, what := range map[string]fault{"lost": {kind: after}, "late": {kind: late, delay: 20 * time.Second}, "stalled": {kind: stalls, delay: 20 * time.Second}} {
		for _, dies := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				s := standard()
				s.Policy, s.ReplayMax, s.PauseAfter = webhook.Schedule{time.Second}, 3, 1000
				scenario(t, s, func(t *testing.T, w *world) {
					n := w.start()
					key := w.add(n, "", []string{"*"}, secretText(1), false)
					w.failed(n, key, 8)
					n.store.planNext("ContinueReplay", what)
					w.replay(n, key, everything, w.began, time.Time{})
					if dies {
						time.Sleep(time.Second)
						n.crash()
						w.start()
					}
					time.Sleep(2 * time.Minute)
					w.check(t)
					r := w.replays()[0]
					require.Equal(t, webhook.ReplayDone, r.State)
					require.EqualValues(t, 8, r.Looked)
					require.EqualValues(t, 8, r.Queued)
					require.Len(t, w.repeated(), 8)
					for of, times := range w.repeated() {
						require.Equal(t, 1, times, of)
					}
					w.finish(t)
				})
			})
		}
	}
}

// A replay queues behind what is there, and new events do not come behind all of it: so many wait as half a backlog
// is.
func TestAReplayLeavesRoomForNewEvents(t *testing.T) {
	s := standard()
	s.Policy, s.Backlog, s.PauseAfter = webhook.Schedule{time.Second}, 10, 1000
	scenario(t, s, func(t *testing.T, w *world) {
		n := w.start()
		key := w.add(n, "", []string{"*"}, secretText(1), false)
		for range 8 {
			w.failed(n, key, 5)
		}
		w.receiver(key, func(r *receiver) { r.mode = mode{name: "slow", status: 200, latency: 4 * time.Second} })
		w.replay(n, key, everything, w.began, time.Time{})
		for range 30 {
			stats, err := n.d.Stats(t.Context(), key.id, time.Time{})
			require.NoError(t, err)
			require.LessOrEqual(t, stats.Pending, int64(5))
			time.Sleep(time.Second)
		}
		w.emit(n, "", w.newEvent(0, "", "sess_1"))
		time.Sleep(15 * time.Minute)
		w.check(t)
		gaps, err := n.d.Gaps(t.Context(), key.id)
		require.NoError(t, err)
		require.Empty(t, gaps, "no event was missed for what is replayed")
		require.Len(t, w.repeated(), 40)
		w.finish(t)
	})
}

// An event was stored for a test. Whoever was off meanwhile has not missed it, also when the test's delivery has had
// its time and only another one is left of it.
func TestWhatWasStoredForATestIsMissedByNobody(t *testing.T) {
	scenario(t, standard(), func(t *testing.T, w *world) {
		n := w.start()
		tested := w.add(n, "", []string{"*"}, secretText(1), false)
		off := w.add(n, "", []string{"*"}, secretText(2), false)
		w.setEnabled(n, off, false)
		w.emit(n, "", w.newEvent(0, "", "sess_1"))
		test, err := n.d.SendTest(t.Context(), tested.id, w.newEvent(0, "", "sess_test"))
		require.NoError(t, err)
		time.Sleep(time.Hour)
		_, err = n.d.Redeliver(t.Context(), test.ID)
		require.NoError(t, err)
		time.Sleep(time.Minute)
		w.check(t)
		w.prune(n, webhook.PruneRequest{Deliveries: 30 * time.Minute, Max: 100})
		w.setEnabled(n, off, true)
		w.replay(n, off, everything, w.began, time.Time{})
		time.Sleep(time.Minute)
		w.check(t)
		require.Zero(t, w.replays()[0].Queued)
		w.finish(t)
	})
}
