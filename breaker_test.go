package webhook_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// judged is a health after a row of attempts, each step later than the one before.
func judged(h webhook.Health, at time.Time, step time.Duration, attempts ...webhook.Attempt) (webhook.Health, time.Time) {
	for _, a := range attempts {
		at = at.Add(step)
		h = settleRules.Settle(leaseOf(webhook.KindEvent, 1, 0), a).Judge(h, at)
	}
	return h, at
}

func repeat(n int, a webhook.Attempt) []webhook.Attempt {
	all := make([]webhook.Attempt, n)
	for i := range all {
		all[i] = a
	}
	return all
}

func TestTheBreakerPauses(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 4, 11, 14, 32, 0, 0, time.UTC)
	fresh := webhook.Health{State: webhook.EndpointActive, Since: start, Verified: true, Window: 8}

	h, _ := judged(fresh, start, time.Second, repeat(9, answered(500))...)
	require.Equal(t, webhook.EndpointActive, h.State)
	require.Equal(t, 8, h.Window)

	h, _ = judged(fresh, start, time.Second, append(append(repeat(9, answered(500)), answered(200)), repeat(9, answered(500))...)...)
	require.Equal(t, webhook.EndpointActive, h.State, "a success in between")

	h, now := judged(fresh, start, time.Second, repeat(10, answered(500))...)
	require.Equal(t, webhook.EndpointPaused, h.State)
	require.Equal(t, webhook.ReasonBreaker, h.Reason)
	require.Equal(t, now, h.Since)
	require.Equal(t, now.Add(30*time.Second), h.PausedUntil)
	require.Equal(t, 1, h.Window)

	late, _ := judged(h, now, time.Second, answered(500))
	require.Equal(t, h.PausedUntil, late.PausedUntil, "what was under way when the pause began is no probe")

	// 30 s paused: another 30 s. A minute: another minute. Up to ten.
	var waits []time.Duration
	for range 8 {
		now = h.PausedUntil.Add(time.Second)
		h, _ = judged(h, now, 0, answered(500))
		waits = append(waits, h.PausedUntil.Sub(now))
	}
	s := time.Second
	require.Equal(t, []time.Duration{31 * s, 63 * s, 127 * s, 255 * s, 511 * s, 600 * s, 600 * s, 600 * s}, waits)
	require.Equal(t, webhook.EndpointPaused, h.State)

	h, now = judged(h, h.PausedUntil, time.Second, answered(200))
	require.Equal(t, webhook.EndpointActive, h.State)
	require.Empty(t, h.Reason)
	require.Equal(t, now, h.Since)
	require.Zero(t, h.PausedUntil)
	require.Equal(t, 2, h.Window, "the rest comes at a ramp")
	require.Zero(t, h.Failures)
	require.Zero(t, h.LastFailure)
}

func TestWhoIsNotPaused(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 4, 11, 14, 32, 0, 0, time.UTC)
	for _, state := range []webhook.EndpointState{webhook.EndpointPending, webhook.EndpointDisabled} {
		h, _ := judged(webhook.Health{State: state, Since: start}, start, time.Second, repeat(20, answered(500))...)
		require.Equal(t, state, h.State)
		require.Equal(t, start, h.Since)
		require.Equal(t, 20, h.Failures)
	}
}

func TestAFailingEndpointIsDisabled(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 4, 11, 14, 32, 0, 0, time.UTC)
	const day = 24 * time.Hour
	fresh := webhook.Health{State: webhook.EndpointActive, Since: start, Verified: true, Window: 8}

	h, now := judged(fresh, start, day, repeat(9, answered(500))...)
	require.Equal(t, webhook.EndpointActive, h.State, "too few attempts to tell")
	h, now = judged(h, now, day, answered(500))
	require.Equal(t, webhook.EndpointDisabled, h.State)
	require.Equal(t, webhook.ReasonFailing, h.Reason)
	require.Equal(t, now, h.Since)

	h, now = judged(fresh, start, time.Minute, repeat(30, answered(500))...)
	require.Equal(t, webhook.EndpointPaused, h.State)
	before, _ := judged(h, h.FailingSince.Add(5*day-time.Nanosecond), 0, answered(500))
	require.Equal(t, webhook.EndpointPaused, before.State)
	after, _ := judged(h, h.FailingSince.Add(5*day), 0, answered(500))
	require.Equal(t, webhook.EndpointDisabled, after.State)
	require.Zero(t, after.PausedUntil)
	gone, _ := judged(h, now, 0, answered(410))
	require.Equal(t, webhook.ReasonGone, gone.Reason, "410 ends a pause too")
}

func TestNothingIsDisabledForFailingWhereThatIsOff(t *testing.T) {
	t.Parallel()
	h, now := webhook.Health{State: webhook.EndpointActive}, time.Date(2026, 4, 11, 14, 32, 0, 0, time.UTC)
	for range 100 {
		now = now.Add(24 * time.Hour)
		h = settleRules.Never().Settle(leaseOf(webhook.KindEvent, 1, 0), answered(500)).Judge(h, now)
	}
	require.Equal(t, webhook.EndpointPaused, h.State)
	require.Equal(t, 100, h.Failures)
}

// An endpoint is told of once, by the failure that comes at or after half of the time, if there were five by then.
func TestWhenAFailingEndpointIsToldOf(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 4, 11, 14, 32, 0, 0, time.UTC)
	const half = 60 * time.Hour
	failing := func(failures int, last time.Duration) webhook.Health {
		return webhook.Health{State: webhook.EndpointPaused, Reason: webhook.ReasonBreaker, FailingSince: since, Failures: failures, LastFailure: since.Add(last)}
	}
	in := func(h webhook.Health, state webhook.EndpointState) webhook.Health { h.State = state; return h }
	for name, c := range map[string]struct {
		before, after webhook.Health
		want          bool
	}{
		"at half of the time":              {failing(9, half-1), failing(10, half), true},
		"before":                           {failing(9, half-2), failing(10, half-1), false},
		"once":                             {failing(9, half), failing(10, half+1), false},
		"the fifth failure":                {failing(4, half), failing(5, half+1), true},
		"too few":                          {failing(3, half), failing(4, half+1), false},
		"the sixth":                        {failing(5, half), failing(6, half+1), false},
		"nothing happened":                 {failing(10, half), failing(10, half), false},
		"it works":                         {failing(10, half-1), webhook.Health{State: webhook.EndpointActive, LastSuccess: since.Add(half)}, false},
		"one that waits for its first use": {in(failing(9, half-1), webhook.EndpointPending), in(failing(10, half), webhook.EndpointPending), false},
		"one that is disabled by it":       {failing(9, half-1), in(failing(10, half), webhook.EndpointDisabled), false},
		"one that is active":               {in(failing(9, half-1), webhook.EndpointActive), in(failing(10, half), webhook.EndpointActive), true},
	} {
		require.Equal(t, c.want, settleRules.Warns(c.before, c.after), name)
		require.False(t, settleRules.Never().Warns(c.before, c.after), "%s, where none is disabled", name)
	}
}

func TestAnEndpointsOwnBoundEndsItsWindow(t *testing.T) {
	t.Parallel()
	for own, want := range map[int]int{0: 4, 3: 3, 100: 4} {
		l := leaseOf(webhook.KindEvent, 1, 0)
		l.Endpoint.MaxInFlight = own
		h := settleRules.Settle(l, answered(200)).Judge(webhook.Health{State: webhook.EndpointActive, Window: 2}, time.Now())
		require.Equal(t, want, h.Window)
	}
	l := leaseOf(webhook.KindEvent, 1, 0)
	l.Endpoint.MaxInFlight = 100
	h := settleRules.Settle(l, answered(200)).Judge(webhook.Health{State: webhook.EndpointActive, Window: 8}, time.Now())
	require.Equal(t, 8, h.Window, "all endpoints' bound holds as well")
}

func TestAProbeUsesUpNoRetry(t *testing.T) {
	t.Parallel()
	probe := func(kind webhook.DeliveryKind, attempt, deferred int) *webhook.Lease {
		l := leaseOf(kind, attempt, 0)
		l.Delivery.Deferred = deferred
		l.Endpoint.Health = webhook.Health{State: webhook.EndpointPaused, Reason: webhook.ReasonBreaker}
		return l
	}
	require.Equal(t, webhook.OutcomeDeferred, settleRules.Settle(probe(webhook.KindEvent, 3, 0), answered(500)).Kind)
	require.Equal(t, webhook.OutcomeDeferred, settleRules.Settle(probe(webhook.KindRedelivery, 3, 0), answered(500)).Kind)
	require.Equal(t, webhook.OutcomeFailed, settleRules.Settle(probe(webhook.KindPing, 1, 0), answered(500)).Kind)
	require.Equal(t, webhook.OutcomeDelivered, settleRules.Settle(probe(webhook.KindEvent, 3, 0), answered(200)).Kind)
	require.Equal(t, webhook.FailGone, settleRules.Settle(probe(webhook.KindEvent, 3, 0), answered(410)).Reason)
	require.Equal(t, 2*time.Minute, settleRules.Settle(probe(webhook.KindEvent, 3, 0), answered(503, "120")).Wait)
	require.Equal(t, webhook.OutcomeDeferred, settleRules.Settle(probe(webhook.KindEvent, 1000, webhook.MaxDeferred-1), answered(500)).Kind)
	require.Equal(t, webhook.OutcomeRetry, settleRules.Settle(probe(webhook.KindEvent, 1001, webhook.MaxDeferred), answered(500)).Kind)
	require.Equal(t, webhook.OutcomeFailed, settleRules.Settle(probe(webhook.KindEvent, 1004, webhook.MaxDeferred), answered(500)).Kind)

	l := probe(webhook.KindEvent, 7, 5)
	l.Endpoint.Health = webhook.Health{State: webhook.EndpointActive}
	o := settleRules.Settle(l, answered(500))
	require.Equal(t, webhook.OutcomeRetry, o.Kind)
	require.Equal(t, time.Hour, o.Wait, "it is the second that counts")
	l.Endpoint.Health = webhook.Health{State: webhook.EndpointPaused, Reason: webhook.ReasonKeyMissing}
	require.Equal(t, webhook.OutcomeRetry, settleRules.Settle(l, answered(500)).Kind, "it is no probe")
}

// The whole way: an endpoint is down for a day, and everything that was emitted arrives afterwards.
func TestNothingIsBurntWhileAnEndpointIsDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		receiver := webhooktest.NewReceiver(t)
		receiver.Script("/hook", failing)
		r := newRig(t, receiver, nil).run()
		e := r.endpoint("hook")
		for range 50 {
			r.emit()
		}
		time.Sleep(time.Hour)
		h, err := r.d.Endpoint(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointPaused, h.Health.State)
		require.Equal(t, webhook.ReasonBreaker, h.Health.Reason)
		require.Less(t, len(receiver.Requests()), 50, "it is probed, not flooded")
		time.Sleep(23 * time.Hour)
		requests := len(receiver.Requests())
		require.Less(t, requests, 50+24*6+10, "a probe each ten minutes")
		require.Greater(t, requests, 24*6)

		receiver.Script("/hook", ok)
		time.Sleep(11 * time.Minute)
		all := r.deliveries(webhook.DeliveryFilter{})
		require.Len(t, all, 50)
		deferred := 0
		for _, d := range all {
			require.Equal(t, webhook.DeliverySucceeded, d.State)
			require.LessOrEqual(t, d.AttemptCount-d.Deferred, 4)
			deferred += d.Deferred
		}
		require.Greater(t, deferred, 24*6-10)
		require.EqualValues(t, deferred, r.d.Counts().Deferred)
		h, err = r.d.Endpoint(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointActive, h.Health.State)
		require.Equal(t, 8, h.Health.Window)
	})
}

// A redelivery that fails at a paused endpoint is its probe: it is sent again when the next one is due.
func TestARedeliveryToAPausedEndpointIsRepeated(t *testing.T) {
	bubble(t, func(t *testing.T) {
		receiver := webhooktest.NewReceiver(t, failing, failing, failing, failing, ok)
		r := newRig(t, receiver, func(c *webhook.Config) { c.Poll, c.PauseAfter, c.Retry = time.Hour, 3, webhook.Schedule{} }).run()
		r.endpoint("hook")
		for range 3 {
			r.emit()
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		d, err := r.d.Redeliver(r.ctx, r.deliveries(webhook.DeliveryFilter{})[0].ID)
		require.NoError(t, err)
		require.Equal(t, webhook.DeliveryPending, d.State)
		require.Equal(t, 1, d.Deferred)
		time.Sleep(20 * time.Minute)
		d, err = r.d.Delivery(r.ctx, d.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.DeliverySucceeded, d.State)
	})
}

// What was on its way when the pause began, and succeeds, ends it at once, also for what another process emitted.
func TestASuccessFromBeforeThePauseEndsIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		receiver := webhooktest.NewReceiver(t)
		receiver.Script("/hook", ok, ok, webhooktest.Answer{Delay: 2 * time.Second}, failing, failing, failing, ok)
		r := newRig(t, receiver, func(c *webhook.Config) { c.Poll, c.PauseAfter, c.Retry = time.Hour, 3, webhook.Schedule{} }).run()
		other := rigOn(t, r.store, receiver, nil)
		e := r.endpoint("hook")
		for range 2 {
			r.emit()
			time.Sleep(time.Second)
		}
		start := time.Now()
		for range 4 {
			r.emit()
			time.Sleep(100 * time.Millisecond)
		}
		paused, err := r.d.Endpoint(t.Context(), e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointPaused, paused.Health.State)
		other.emit()
		time.Sleep(time.Second)
		require.Len(t, receiver.Requests(), 6)
		time.Sleep(time.Minute)
		require.Equal(t, 2*time.Second, receiver.Requests()[6].Time.Sub(start))
	})
}

func TestSwitchingOnProbesAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		receiver := webhooktest.NewReceiver(t)
		receiver.Script("/hook", failing)
		r := newRig(t, receiver, nil).run()
		e := r.endpoint("hook")
		for range 20 {
			r.emit()
		}
		time.Sleep(2 * time.Hour)
		receiver.Script("/hook", ok)
		before := len(receiver.Requests())
		_, err := r.d.SetEnabled(r.ctx, e.ID, true)
		require.NoError(t, err)
		time.Sleep(5 * time.Second)
		require.Equal(t, before+20, len(receiver.Requests()))
	})
}

func TestAPausedEndpointIsHealedByAPing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		receiver := webhooktest.NewReceiver(t)
		receiver.Script("/hook", failing)
		r := newRig(t, receiver, nil).run()
		e := r.endpoint("hook")
		for range 20 {
			r.emit()
		}
		time.Sleep(time.Hour)
		receiver.Script("/hook", ok)
		_, err := r.d.Ping(r.ctx, e.ID)
		require.NoError(t, err)
		time.Sleep(5 * time.Second)
		for _, d := range r.deliveries(webhook.DeliveryFilter{}) {
			require.Equal(t, webhook.DeliverySucceeded, d.State)
		}
	})
}
