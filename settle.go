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
}

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
	o.Judge = r.judge(l.Delivery.Kind, a, l.Endpoint.Health.Generation)
	return o
}

// release gives back a lease of which nothing was sent.
func release(l *Lease, wait time.Duration) Outcome {
	return Outcome{
		Tenant: l.Delivery.Tenant, DeliveryID: l.Delivery.ID, EndpointID: l.Delivery.EndpointID, Token: l.Token,
		Kind: OutcomeReleased, Wait: wait,
	}
}

func (r rules) again(l *Lease, a Attempt) (OutcomeKind, time.Duration) {
	if l.Delivery.Kind.Once() {
		return OutcomeFailed, 0
	}
	wait, again := r.policy.Next(l.Delivery.AttemptCount-l.Delivery.Interrupted, a)
	if !again {
		return OutcomeFailed, 0
	}
	asked := retryAfter(a.ResponseHeader, a.StartedAt.Add(a.Latency))
	return OutcomeRetry, max(wait, min(asked, r.maxRetryAfter))
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
func (r rules) judge(kind DeliveryKind, a Attempt, generation int64) Judge {
	return func(h Health, now time.Time) Health {
		if h.Generation != generation {
			return h
		}
		if h.State == EndpointPaused && h.Reason == ReasonKeyMissing { // here it was not
			h = enter(h, EndpointActive, "", now)
		}
		if a.Result == AttemptDelivered {
			h.Failures, h.FailingSince, h.LastSuccess = 0, time.Time{}, now
			h.AcceptedSecret = a.SecretID
			h.Slow = a.Latency >= slowAfter
			if !h.Slow { // one that holds its slots for long gets no more of them
				h.Window = min(2*max(h.Window, 1), r.maxInFlight)
			}
			if kind == KindPing {
				h.Verified = true
				if h.State == EndpointPending {
					h = enter(h, EndpointActive, "", now)
				}
			}
			return h
		}
		if h.Failures == 0 {
			h.FailingSince = now
		}
		h.Failures++
		h.Slow = true
		if a.Error == ErrorTimeout || a.Latency >= slowAfter { // it holds its slots for nothing
			h.Window = 1
		}
		if a.Status == http.StatusGone && h.State.Queues() {
			h = enter(h, EndpointDisabled, ReasonGone, now)
		}
		return h
	}
}

// enter changes the state.
func enter(h Health, s EndpointState, why StateReason, now time.Time) Health {
	if h.State != s || h.Reason != why {
		h.State, h.Reason, h.Since = s, why, now
	}
	return h
}
