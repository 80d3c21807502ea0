package webhook_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

func TestAStoreThatIsAwayIsLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var book logbook
		store := &sabotaged{Store: webhook.NewMemoryStore(nil)}
		r := rigOn(t, store, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.Logger = book.logger() })
		store.claim.Store(3)
		r.run()
		r.endpoint("hook")
		time.Sleep(time.Minute)
		require.Len(t, book.lines("claiming failed"), 3)
		require.Len(t, book.lines(errAway.Error()), 3)

		store.record.Store(3)
		r.emit()
		time.Sleep(time.Minute)
		require.Len(t, book.lines("recording outcomes failed, trying again"), 1)
		require.Len(t, book.lines(errAway.Error()), 4)
		require.Empty(t, book.lines("could not be recorded"), "it was, in the end")

		store.record.Store(1 << 40)
		r.emit()
		time.Sleep(20 * time.Second)
		lost := book.lines("an outcome could not be recorded")
		require.Len(t, lost, 1)
		require.Contains(t, lost[0], errAway.Error())
		require.Contains(t, lost[0], "attempt=1")
		store.record.Store(0)
	})
}

func TestStoppingIsNoTrouble(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var book logbook
		store := newProbe()
		r := rigOn(t, store, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.Logger = book.logger() })
		store.claim = func(ctx context.Context, _ webhook.ClaimRequest) (webhook.Claimed, error) {
			<-ctx.Done()
			return webhook.Claimed{}, ctx.Err()
		}
		r.run()
		synctest.Wait()
		r.stop()
		require.Equal(t, 1, store.claimed())
		require.Empty(t, book.lines(""))
	})
}

func TestAnAttemptsErrorAndStatusAreLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var book logbook
		r := newRig(t, webhooktest.NewReceiver(t, failing, webhooktest.Answer{Fault: webhooktest.Reset}, ok), func(c *webhook.Config) { c.Logger = book.logger() }).run()
		r.endpoint("hook")
		r.emit()
		time.Sleep(tenMin)
		lines := book.lines("will be repeated")
		require.Len(t, lines, 2)
		require.Contains(t, lines[0], "error=status status=500 wait=10s")
		require.Contains(t, lines[1], "error=reset wait=1m0s")
		lines = book.lines("webhook: delivered")
		require.Len(t, lines, 1)
		require.Contains(t, lines[0], "status=200")
		require.NotContains(t, lines[0], "error=")
		require.Empty(t, book.lines("panicked"))
	})
}

func TestNotHearingOthersIsLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var book logbook
		store := &bell{Store: webhook.NewMemoryStore(nil), ring: make(chan struct{}, 1)}
		store.fail.Store(3)
		r := rigOn(t, store, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.Logger = book.logger() }).run()
		time.Sleep(time.Minute)
		store.ring <- struct{}{}
		time.Sleep(time.Minute)
		r.stop()
		require.Len(t, book.lines("not hearing other dispatchers"), 3)
		require.Len(t, book.lines(""), 3)
	})
}

func TestALostLeaseIsLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var book logbook
		held := &slowRecord{Store: webhook.NewMemoryStore(nil)}
		held.delay.Store(int64(40 * time.Second))
		r := rigOn(t, held, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.Logger = book.logger() }).run()
		r.endpoint("hook")
		r.emit()
		r.receiver.WaitFor(t.Context(), 1)
		rigOn(t, held.Store, r.receiver, nil).run()
		time.Sleep(tenMin)
		first := book.lines("attempt=1")
		require.Len(t, first, 1)
		require.Contains(t, first[0], "a lease was lost before its outcome was recorded")
	})
}

func TestAChangeOfStateIsLoggedOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var book logbook
		r := newRig(t, webhooktest.NewReceiver(t, failing, ok, failing, webhooktest.Answer{Status: 410}), func(c *webhook.Config) { c.Logger = book.logger() }).run()
		e, _, err := r.d.AddEndpoint(r.ctx, webhook.Endpoint{URL: "https://example.com/", Events: []string{"*"}})
		require.NoError(t, err)
		require.Empty(t, book.lines("changed its state"))
		_, err = r.d.Ping(r.ctx, e.ID)
		require.NoError(t, err)
		require.Len(t, book.lines("changed its state"), 1)
		require.Len(t, book.lines("from=pending to=active"), 1)
		r.emit()
		time.Sleep(tenMin)
		require.Len(t, book.lines("changed its state"), 2)
		require.Len(t, book.lines("from=active to=disabled reason=gone"), 1)
	})
}

// TestWhatAnOperatorIsToSeeIsAWarning is that an endpoint is paused or disabled, and not that it is active again.
func TestWhatAnOperatorIsToSeeIsAWarning(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var book logbook
		receiver := webhooktest.NewReceiver(t, failing, ok, webhooktest.Answer{Status: 410})
		r := newRig(t, receiver, func(c *webhook.Config) { c.Logger, c.PauseAfter = book.logger(), 1 }).run()
		r.endpoint("hook")
		r.emit()
		time.Sleep(time.Minute)
		r.emit()
		time.Sleep(time.Minute)
		changes := book.lines("endpoint changed its state")
		require.Len(t, changes, 3)
		for i, want := range []string{"level=WARN", "level=INFO", "level=WARN"} {
			require.Contains(t, changes[i], want)
		}
	})
}
