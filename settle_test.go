package webhook_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

var settleRules = webhook.NewRules(webhook.Schedule{time.Minute, time.Hour}, 24*time.Hour, 8)

func leaseOf(kind webhook.DeliveryKind, attempt, interrupted int) *webhook.Lease {
	return &webhook.Lease{
		Delivery: webhook.Delivery{ID: "dlv_1", Tenant: "acme", EndpointID: "we_1", Kind: kind, State: webhook.DeliveryLeased, AttemptCount: attempt, Interrupted: interrupted},
		Endpoint: &webhook.Endpoint{ID: "we_1", Tenant: "acme"},
		Token:    "token",
	}
}

func answered(status int, retryAfter ...string) webhook.Attempt {
	a := webhook.Attempt{Result: webhook.AttemptFailed, Error: webhook.ErrorStatus, Status: status, ResponseHeader: http.Header{}}
	if status >= 200 && status <= 299 {
		a.Result, a.Error = webhook.AttemptDelivered, ""
	}
	for _, v := range retryAfter {
		a.ResponseHeader.Set("Retry-After", v)
	}
	return a
}

func failed(class webhook.ErrorClass) webhook.Attempt {
	return webhook.Attempt{Result: webhook.AttemptFailed, Error: class}
}

func interrupted(class webhook.ErrorClass) webhook.Attempt {
	return webhook.Attempt{Result: webhook.AttemptInterrupted, Error: class}
}

func TestWhatBecomesOfADelivery(t *testing.T) {
	t.Parallel()
	type want struct {
		kind   webhook.OutcomeKind
		wait   time.Duration
		reason webhook.FailReason
	}
	delivered := want{kind: webhook.OutcomeDelivered}
	event := func(attempt, interrupted int) *webhook.Lease { return leaseOf(webhook.KindEvent, attempt, interrupted) }
	for name, c := range map[string]struct {
		lease   *webhook.Lease
		attempt webhook.Attempt
		want    want
	}{
		"200 is success": {event(1, 0), answered(200), delivered},
		"204 is success": {event(1, 0), answered(204), delivered},
		"299 is success": {event(3, 0), answered(299), delivered},
		"300 is retried": {event(1, 0), answered(300), want{webhook.OutcomeRetry, time.Minute, ""}},
		"400 is retried": {event(1, 0), answered(400), want{webhook.OutcomeRetry, time.Minute, ""}},
		"404 is retried": {event(1, 0), answered(404), want{webhook.OutcomeRetry, time.Minute, ""}},
		"500 is retried": {event(1, 0), answered(500), want{webhook.OutcomeRetry, time.Minute, ""}},
		"999 is retried": {event(1, 0), answered(999), want{webhook.OutcomeRetry, time.Minute, ""}},
		"a refused address is retried, DNS may heal":       {event(1, 0), failed(webhook.ErrorBlocked), want{webhook.OutcomeRetry, time.Minute, ""}},
		"the second failure waits longer":                  {event(2, 0), failed(webhook.ErrorDNS), want{webhook.OutcomeRetry, time.Hour, ""}},
		"the last failure exhausts":                        {event(3, 0), answered(500), want{webhook.OutcomeFailed, 0, webhook.FailExhausted}},
		"410 ends at once":                                 {event(1, 0), answered(410), want{webhook.OutcomeFailed, 0, webhook.FailGone}},
		"interrupted attempts use up no retry":             {event(5, 4), answered(500), want{webhook.OutcomeRetry, time.Minute, ""}},
		"interrupted attempts do not hide the counted":     {event(5, 2), answered(500), want{webhook.OutcomeFailed, 0, webhook.FailExhausted}},
		"an interrupted one is due again":                  {event(3, 0), interrupted(webhook.ErrorStopped), want{webhook.OutcomeInterrupted, 0, ""}},
		"a cancelled redelivery is due again":              {leaseOf(webhook.KindRedelivery, 1, 0), interrupted(webhook.ErrorCancelled), want{webhook.OutcomeInterrupted, 0, ""}},
		"a ping that was cut off is the store's to end":    {leaseOf(webhook.KindPing, 1, 0), interrupted(webhook.ErrorStopped), want{webhook.OutcomeInterrupted, 0, ""}},
		"a cancelled ping is over":                         {leaseOf(webhook.KindPing, 1, 0), interrupted(webhook.ErrorCancelled), want{webhook.OutcomeFailed, 0, webhook.FailCancelled}},
		"a cancelled test is over":                         {leaseOf(webhook.KindTest, 1, 0), interrupted(webhook.ErrorCancelled), want{webhook.OutcomeFailed, 0, webhook.FailCancelled}},
		"a failure is no interruption, whatever its class": {leaseOf(webhook.KindPing, 1, 0), failed(webhook.ErrorCancelled), want{webhook.OutcomeFailed, 0, webhook.FailExhausted}},
		"a ping is not retried":                            {leaseOf(webhook.KindPing, 1, 0), answered(500), want{webhook.OutcomeFailed, 0, webhook.FailExhausted}},
		"a test is not retried":                            {leaseOf(webhook.KindTest, 1, 0), failed(webhook.ErrorTimeout), want{webhook.OutcomeFailed, 0, webhook.FailExhausted}},
		"a redelivery is retried":                          {leaseOf(webhook.KindRedelivery, 1, 0), answered(500), want{webhook.OutcomeRetry, time.Minute, ""}},
		"Retry-After raises the wait":                      {event(1, 0), answered(503, "120"), want{webhook.OutcomeRetry, 2 * time.Minute, ""}},
		"Retry-After does not lower the wait":              {event(1, 0), answered(503, "5"), want{webhook.OutcomeRetry, time.Minute, ""}},
		"Retry-After is capped":                            {event(1, 0), answered(429, "1000000000000000000"), want{webhook.OutcomeRetry, 24 * time.Hour, ""}},
		"Retry-After adds no retry":                        {event(3, 0), answered(503, "120"), want{webhook.OutcomeFailed, 0, webhook.FailExhausted}},
		"Retry-After of a success is nothing":              {event(1, 0), answered(200, "120"), delivered},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := settleRules.Settle(c.lease, c.attempt)
			require.Equal(t, c.want, want{o.Kind, o.Wait, o.Reason})
			require.Equal(t, "token", o.Token)
			require.Equal(t, "acme", o.Tenant)
			require.Equal(t, "dlv_1", o.DeliveryID)
			require.Equal(t, "we_1", o.EndpointID)
		})
	}
}

func TestWhatAnAttemptTellsOfItsEndpoint(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 4, 11, 14, 32, 0, 0, time.UTC)
	before := now.Add(-time.Hour)
	active := func(change func(*webhook.Health)) webhook.Health {
		h := webhook.Health{State: webhook.EndpointActive, Since: before, Verified: true, Window: 2}
		if change != nil {
			change(&h)
		}
		return h
	}
	pending := webhook.Health{State: webhook.EndpointPending, Since: before, Window: 1}
	signedBy := func(a webhook.Attempt, secret string) webhook.Attempt { a.SecretID = secret; return a }
	took := func(a webhook.Attempt, d time.Duration) webhook.Attempt { a.Latency = d; return a }

	for name, c := range map[string]struct {
		kind    webhook.DeliveryKind
		health  webhook.Health
		attempt webhook.Attempt
		want    webhook.Health
	}{
		"a success doubles the window": {
			webhook.KindEvent, active(nil), answered(200),
			active(func(h *webhook.Health) { h.Window, h.LastSuccess = 4, now }),
		},
		"the window ends at its limit": {
			webhook.KindEvent, active(func(h *webhook.Health) { h.Window = 8 }), answered(200),
			active(func(h *webhook.Health) { h.Window, h.LastSuccess = 8, now }),
		},
		"a success ends a run of failures": {
			webhook.KindEvent, active(func(h *webhook.Health) { h.Failures, h.FailingSince, h.LastFailure, h.Slow = 7, before, before, true }), answered(200),
			active(func(h *webhook.Health) { h.Window, h.LastSuccess = 4, now }),
		},
		"a late success is slow": {
			webhook.KindEvent, active(nil), took(answered(200), time.Second),
			active(func(h *webhook.Health) { h.LastSuccess, h.Slow = now, true }),
		},
		"a success shows which secret the receiver knows": {
			webhook.KindEvent, active(nil), signedBy(answered(200), "sec_2"),
			active(func(h *webhook.Health) { h.Window, h.LastSuccess, h.AcceptedSecret = 4, now, "sec_2" }),
		},
		"a failure starts a run": {
			webhook.KindEvent, active(nil), signedBy(answered(500), "sec_2"),
			active(func(h *webhook.Health) { h.Failures, h.FailingSince, h.LastFailure, h.Slow = 1, now, now, true }),
		},
		"a failure lengthens a run": {
			webhook.KindEvent, active(func(h *webhook.Health) { h.Failures, h.FailingSince = 3, before }), answered(500),
			active(func(h *webhook.Health) { h.Failures, h.FailingSince, h.LastFailure, h.Slow = 4, before, now, true }),
		},
		"a timeout closes the window": {
			webhook.KindEvent, active(func(h *webhook.Health) { h.Window = 8 }), failed(webhook.ErrorTimeout),
			active(func(h *webhook.Health) {
				h.Window, h.Failures, h.FailingSince, h.LastFailure, h.Slow = 1, 1, now, now, true
			}),
		},
		"a late failure closes the window too": {
			webhook.KindEvent, active(func(h *webhook.Health) { h.Window = 8 }), took(answered(500), time.Second),
			active(func(h *webhook.Health) {
				h.Window, h.Failures, h.FailingSince, h.LastFailure, h.Slow = 1, 1, now, now, true
			}),
		},
		"a quick failure leaves it open": {
			webhook.KindEvent, active(func(h *webhook.Health) { h.Window = 8 }), took(answered(500), time.Second-1),
			active(func(h *webhook.Health) {
				h.Window, h.Failures, h.FailingSince, h.LastFailure, h.Slow = 8, 1, now, now, true
			}),
		},
		"an attempt shows that the key is there": {
			webhook.KindEvent,
			active(func(h *webhook.Health) { h.State, h.Reason = webhook.EndpointPaused, webhook.ReasonKeyMissing }), answered(500),
			active(func(h *webhook.Health) {
				h.Since, h.Failures, h.FailingSince, h.LastFailure, h.Slow = now, 1, now, now, true
			}),
		},
		"a ping that is answered makes it active": {
			webhook.KindPing, pending, answered(204),
			webhook.Health{State: webhook.EndpointActive, Since: now, Verified: true, Window: 2, LastSuccess: now},
		},
		"a ping that is refused leaves it pending": {
			webhook.KindPing, pending, answered(404),
			webhook.Health{State: webhook.EndpointPending, Since: before, Window: 1, Failures: 1, FailingSince: now, LastFailure: now, Slow: true},
		},
		"a test that is answered does not make it active": {
			webhook.KindTest, pending, answered(200),
			webhook.Health{State: webhook.EndpointPending, Since: before, Window: 2, LastSuccess: now},
		},
		"a ping does not switch on what was switched off": {
			webhook.KindPing,
			webhook.Health{State: webhook.EndpointDisabled, Reason: webhook.ReasonByUser, Since: before, Window: 1},
			answered(200),
			webhook.Health{State: webhook.EndpointDisabled, Reason: webhook.ReasonByUser, Since: before, Verified: true, Window: 2, LastSuccess: now},
		},
		"an attempt at an old URL tells nothing of the new one": {
			webhook.KindPing,
			webhook.Health{State: webhook.EndpointPending, Since: before, Window: 1, Generation: 1},
			answered(200),
			webhook.Health{State: webhook.EndpointPending, Since: before, Window: 1, Generation: 1},
		},
		"410 disables": {
			webhook.KindEvent, active(nil), answered(410),
			webhook.Health{State: webhook.EndpointDisabled, Reason: webhook.ReasonGone, Since: now, Verified: true, Window: 2, Failures: 1, FailingSince: now, LastFailure: now, Slow: true},
		},
		"410 to the first ping leaves it pending": {
			webhook.KindPing, pending, answered(410),
			webhook.Health{State: webhook.EndpointPending, Since: before, Window: 1, Failures: 1, FailingSince: now, LastFailure: now, Slow: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := settleRules.Settle(leaseOf(c.kind, 1, 0), c.attempt)
			require.Equal(t, c.want, o.Judge(c.health, now))
		})
	}
}

func TestAnInterruptedAttemptTellsNothingOfItsEndpoint(t *testing.T) {
	t.Parallel()
	require.Nil(t, settleRules.Settle(leaseOf(webhook.KindEvent, 1, 0), interrupted(webhook.ErrorStopped)).Judge)
	require.Nil(t, settleRules.Settle(leaseOf(webhook.KindPing, 1, 0), interrupted(webhook.ErrorCancelled)).Judge)
}

func TestAPolicyCannotAskForAWaitBelowZero(t *testing.T) {
	t.Parallel()
	back := webhook.RetryFunc(func(int, webhook.Attempt) (time.Duration, bool) { return -time.Hour, true })
	o := webhook.NewRules(back, 24*time.Hour, 8).Settle(leaseOf(webhook.KindEvent, 1, 0), answered(500))
	require.Equal(t, webhook.OutcomeRetry, o.Kind)
	require.Zero(t, o.Wait)
}
