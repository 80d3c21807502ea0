package webhook_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

func TestASlowHookIsLoggedFromOneSecondOn(t *testing.T) {
	for took, logged := range map[time.Duration]int{time.Second - 1: 0, time.Second: 1} {
		t.Run(took.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var book logbook
				r, w := hooked(t, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.Logger = book.logger() })
				w.stall = func(line string) {
					if strings.HasPrefix(line, "delivered") {
						time.Sleep(took)
					}
				}
				r.run().endpoint("hook")
				r.emit()
				time.Sleep(time.Minute)
				require.Len(t, book.lines("a hook was slow"), logged)
			})
		})
	}
}

// A delivery whose attempts were interrupted too often is given up with the last of them.
func TestHooksTellOfTheLastInterruption(t *testing.T) {
	bubble(t, func(t *testing.T) {
		receiver := webhooktest.NewReceiver(t, hanging)
		r, w := hooked(t, receiver, func(c *webhook.Config) { c.Drain, c.Poll = time.Second, time.Second })
		r.endpoint("hook")
		r.emit()
		for n := 1; n <= webhook.MaxInterrupted; n++ {
			r.run()
			time.Sleep(5 * time.Second)
			r.stop()
			require.Len(t, w.heard("ended"), 1)
			given := w.heard("given up")
			if n < webhook.MaxInterrupted {
				require.Empty(t, given)
			} else {
				require.Len(t, given, 1)
				require.Contains(t, given[0], " interrupted ")
			}
			time.Sleep(time.Hour)
		}
		require.Equal(t, webhook.FailInterrupted, r.only().Reason)
		receiver.Release()
	})
}

// What becomes of an outcome whose lease was lost is told by whoever has the delivery now, whatever the store had asked
// before it was clear.
func TestHooksTellNothingOfALostLease(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store, w := newProbe(), &witness{}
		var calls atomic.Int64
		store.record = func(_ context.Context, outcomes []webhook.Outcome) ([]bool, error) {
			for _, o := range outcomes {
				o.Judge(webhook.Health{State: webhook.EndpointActive}, time.Now())
			}
			if calls.Add(1) == 1 {
				return nil, errAway
			}
			return make([]bool, len(outcomes)), nil
		}
		r := rigOn(t, store, webhooktest.NewReceiver(t, webhooktest.Answer{Status: 410}), func(c *webhook.Config) { c.Hooks, c.Poll = w.hooks(), time.Hour }).run()
		r.endpoint("hook")
		r.emit()
		time.Sleep(10 * time.Second) // the lease has not ended
		require.EqualValues(t, 2, calls.Load())
		require.Len(t, w.heard("ended"), 1)
		require.Empty(t, w.heard("disabled"))
		require.Empty(t, w.heard("given up"))
	})
}

// An endpoint that was disabled already is switched off by its owner: that is told, for it does not end by itself.
func TestHooksTellOfAnotherReason(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, w := hooked(t, webhooktest.NewReceiver(t, webhooktest.Answer{Status: 410}), nil)
		e := r.run().endpoint("hook")
		r.emit()
		time.Sleep(time.Minute)
		require.Len(t, w.heard("disabled"), 2, "and its gap")
		_, err := r.d.SetEnabled(r.ctx, e.ID, false)
		require.NoError(t, err)
		require.Equal(t, []string{"disabled " + e.ID + " disabled>disabled by_user", "gap " + e.ID + " disabled"}, w.heard("disabled"))
	})
}

func TestHooksThatAreNotThereAreNotCalled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var book logbook
		r := newRig(t, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.Hooks, c.Logger, c.MaxPending = &webhook.Hooks{}, book.logger(), 1 })
		e := r.endpoint("hook")
		for range 3 {
			r.emit()
		}
		_, err := r.d.SetEnabled(r.ctx, e.ID, false)
		require.NoError(t, err)
		r.run()
		_, err = r.d.SetEnabled(r.ctx, e.ID, true)
		require.NoError(t, err)
		time.Sleep(time.Minute)
		require.Empty(t, book.lines("panicked"))
	})
}

// Hooks are told of an outcome that the store refused at first when it is stored, and of those beside it at once.
func TestHooksTellOfWhatIsStored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store, w := newRefusing(), &witness{}
		r := rigOn(t, store, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.Hooks, c.Poll = w.hooks(), time.Hour }).run()
		ids := map[string]string{}
		for _, path := range []string{"first", "soon", "well"} {
			ids[path] = r.endpoint(path).ID
			if path != "first" {
				r.receiver.Script("/"+path, webhooktest.Answer{Delay: time.Millisecond / 2}) // while the first is recorded
			}
		}
		store.until[ids["soon"]] = time.Now().Add(time.Second)
		synctest.Wait()
		r.emit()
		time.Sleep(100 * time.Millisecond)
		require.Len(t, w.heard("delivered "+ids["first"]), 1)
		require.Len(t, w.heard("delivered "+ids["well"]), 1)
		require.Empty(t, w.heard("delivered "+ids["soon"]))
		time.Sleep(time.Minute)
		require.Len(t, w.heard("delivered "+ids["soon"]), 1)
		require.Empty(t, w.heard("delivered we_"))
	})
}
