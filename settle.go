package webhook

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"
)

// slowAfter is the latency from which an endpoint counts as slow though it answers 2xx: a few such endpoints would
// otherwise hold most of the slots.
const slowAfter = time.Second

// rules are what settle decides by.
type rules struct {
	policy        RetryPolicy
	maxRetryAfter time.Duration
	maxInFlight   int

	pauseAfter         int // failures in a row
	pauseMin, pauseMax time.Duration
	disableAfter       time.Duration // of failing; 0: never
}

// disableMinimum is how many attempts must have failed in a row before an endpoint is disabled for it, however long
// ago the first was.
const disableMinimum = 10

// settle decides what becomes of a delivery after an attempt, and of its endpoint. It is a pure function: nothing else
// decides it.
func (r rules) settle(l *Lease, a Attempt) Outcome {
	o := Outcome{
		Tenant: l.Delivery.Tenant, DeliveryID: l.Delivery.ID, EndpointID: l.Delivery.EndpointID, Token: l.Token,
		Attempt: a,
	}
	switch {
	case a.Result == AttemptInterrupted && a.Error == ErrorCancelled && l.Delivery.Kind.Once():
		o.Kind, o.Reason = OutcomeFailed, FailCancelled
		return o
	case a.Result == AttemptInterrupted: // says nothing about the endpoint
		o.Kind = OutcomeInterrupted
		return o
	case a.Result == AttemptDelivered:
		o.Kind = OutcomeDelivered
	case a.Status == http.StatusGone:
		o.Kind, o.Reason = OutcomeFailed, FailGone
	default:
		o.Kind, o.Wait = r.again(l, a)
		if o.Kind == OutcomeFailed {
			o.Reason = FailExhausted
		}
	}
	o.Judge = r.judge(l, a)
	return o
}

// inFlight is how many requests the endpoint may have under way.
func (r rules) inFlight(e *Endpoint) int {
	if e.MaxInFlight > 0 {
		return min(e.MaxInFlight, r.maxInFlight)
	}
	return r.maxInFlight
}

// release gives back a lease of which nothing was sent.
func release(l *Lease) Outcome {
	return Outcome{
		Tenant: l.Delivery.Tenant, DeliveryID: l.Delivery.ID, EndpointID: l.Delivery.EndpointID, Token: l.Token,
		Kind: OutcomeReleased,
	}
}

func (r rules) again(l *Lease, a Attempt) (OutcomeKind, time.Duration) {
	if l.Delivery.Kind.Once() {
		return OutcomeFailed, 0
	}
	asked := min(retryAfter(a.ResponseHeader, a.StartedAt.Add(a.Latency)), r.maxRetryAfter)
	if l.Endpoint.Health.broken() && l.Delivery.Deferred < MaxDeferred { // it was the probe: the pause decides when there is another one
		return OutcomeDeferred, asked
	}
	wait, again := r.policy.Next(l.Delivery.AttemptCount-l.Delivery.Interrupted-l.Delivery.Deferred, a)
	if !again {
		return OutcomeFailed, 0
	}
	return OutcomeRetry, max(wait, asked)
}

// retryAfter reads a Retry-After header in both its forms (RFC 9110, section 10.2.3). What is in neither, or lies in
// the past, asks for nothing.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if value == "" {
		return 0
	}
	const longest = uint64(math.MaxInt64 / time.Second)
	seconds, err := strconv.ParseUint(value, 10, 64)
	if err == nil || errors.Is(err, strconv.ErrRange) { // out of range: ParseUint returns the largest there is
		return time.Duration(min(seconds, longest)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// judge says what an attempt tells of its endpoint, as long as that has the URL that the attempt went to.
func (r rules) judge(l *Lease, a Attempt) Judge {
	generation, ping, most := l.Endpoint.Health.Generation, l.Delivery.Kind == KindPing, r.inFlight(l.Endpoint)
	return func(h Health, now time.Time) Health {
		if h.Generation != generation {
			return h
		}
		if h.Reason == ReasonKeyMissing { // here it was not
			h = enter(h, EndpointActive, "", now)
		}
		if a.Result == AttemptDelivered {
			return r.succeeded(h, a, ping, most, now)
		}
		return r.failed(h, a, now)
	}
}

func (r rules) succeeded(h Health, a Attempt, ping bool, most int, now time.Time) Health {
	h.Failures, h.FailingSince, h.LastFailure, h.LastSuccess = 0, time.Time{}, time.Time{}, now
	h.AcceptedSecret = a.SecretID
	h.Slow = a.Latency >= slowAfter
	if !h.Slow { // one that holds its slots for long gets no more of them
		h.Window = min(2*max(h.Window, 1), most)
	}
	if ping {
		h.Verified = true
	}
	if h.broken() || ping && h.State == EndpointPending {
		h = enter(h, EndpointActive, "", now)
	}
	return h
}

func (r rules) failed(h Health, a Attempt, now time.Time) Health {
	if h.Failures == 0 {
		h.FailingSince = now
	}
	h.Failures++
	h.LastFailure = now
	h.Slow = true
	if a.Error == ErrorTimeout || a.Latency >= slowAfter { // it holds its slots for nothing
		h.Window = 1
	}
	switch {
	case !h.State.Queues():
	case a.Status == http.StatusGone:
		h = enter(h, EndpointDisabled, ReasonGone, now)
	case r.disableAfter > 0 && h.Failures >= disableMinimum && now.Sub(h.FailingSince) >= r.disableAfter:
		h = enter(h, EndpointDisabled, ReasonFailing, now)
	case h.State == EndpointActive && h.Failures >= r.pauseAfter:
		h = enter(h, EndpointPaused, ReasonBreaker, now)
		h.Window = 1 // one probe at a time, and few deliveries at first when it is over
		h.PausedUntil = now.Add(r.pauseMin)
	case h.broken() && !now.Before(h.PausedUntil): // the probe, and not what was on its way when the pause began
		h.PausedUntil = now.Add(min(max(now.Sub(h.Since), r.pauseMin), r.pauseMax)) // each pause as long as all before it
	}
	return h
}

// warns reports whether an endpoint has just failed for half of the time after which it is disabled.
func (r rules) warns(before, after *Health) bool {
	if r.disableAfter == 0 || !after.State.Queues() {
		return false
	}
	half := after.FailingSince.Add(r.disableAfter / 2)
	late := func(h *Health) bool { return h.Failures >= disableMinimum/2 && !h.LastFailure.Before(half) }
	return late(after) && !late(before)
}

// broken reports whether the breaker has paused the endpoint.
func (h *Health) broken() bool { return h.Reason == ReasonBreaker }

// enter changes the state.
func enter(h Health, s EndpointState, why StateReason, now time.Time) Health {
	if h.State != s || h.Reason != why {
		h.State, h.Reason, h.Since = s, why, now
		h.PausedUntil = time.Time{}
	}
	return h
}
