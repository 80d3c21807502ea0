package simulation

import (
	"context"
	"net/http"
	"time"

	"github.com/meshia/webhook"
)

// The model of an endpoint's health: what each recorded outcome makes of it, in the order in which they were recorded.

// paused reports whether the breaker has paused the endpoint.
func paused(h *webhook.Health) bool {
	return h.State == webhook.EndpointPaused && h.Reason == webhook.ReasonBreaker
}

// probe reports whether the attempt began while its endpoint was paused by the breaker.
func (l *lease) probe() bool { return paused(&l.endpoint.Health) }

// asksFor is what an attempt that failed asks for: the n-th that counts, if it is no probe.
func (w *world) asksFor(held *lease, n int, row webhook.Attempt) (webhook.OutcomeKind, time.Duration) {
	wait, more := w.Policy.Next(n, row)
	switch {
	case held.delivery.Kind.Once(), row.Status == http.StatusGone:
		return webhook.OutcomeFailed, 0
	case held.probe():
		return webhook.OutcomeDeferred, 0
	case more:
		return webhook.OutcomeRetry, wait
	}
	return webhook.OutcomeFailed, 0
}

// inFlight is how many requests an endpoint may have under way.
func (w *world) inFlight(e *webhook.Endpoint) int {
	if e.MaxInFlight == 0 {
		return w.MaxInFlight
	}
	return e.MaxInFlight
}

// judge notes what an outcome makes of its endpoint's health.
func (l *ledger) judge(ep *endpoint, held *lease, o *webhook.Outcome, at time.Time) {
	h, a, now := ep.Health, &o.Attempt, at.Round(0).UTC()
	if ep.deleted || o.Kind == webhook.OutcomeReleased || a.Result == webhook.AttemptInterrupted || h.Generation != held.endpoint.Health.Generation {
		return
	}
	enter := func(s webhook.EndpointState, why webhook.StateReason) {
		h.State, h.Reason, h.Since, h.PausedUntil = s, why, now, time.Time{}
	}
	late := a.Latency >= time.Second
	if a.Result == webhook.AttemptDelivered {
		ping := held.delivery.Kind == webhook.KindPing
		h.Failures, h.FailingSince, h.LastFailure, h.LastSuccess = 0, time.Time{}, time.Time{}, now
		h.Slow, h.AcceptedSecret, h.Verified = late, a.SecretID, h.Verified || ping
		if !late {
			h.Window = min(2*max(1, h.Window), l.w.inFlight(&held.endpoint))
		}
		if paused(&h) || ping && h.State == webhook.EndpointPending {
			enter(webhook.EndpointActive, "")
		}
	} else {
		if h.Failures++; h.Failures == 1 {
			h.FailingSince = now
		}
		h.Slow, h.LastFailure = true, now
		if late || a.Error == webhook.ErrorTimeout {
			h.Window = 1
		}
		failing := now.Sub(h.FailingSince)
		switch {
		case h.State != webhook.EndpointActive && h.State != webhook.EndpointPaused:
		case a.Status == http.StatusGone:
			enter(webhook.EndpointDisabled, webhook.ReasonGone)
		case l.w.DisableAfter > 0 && h.Failures >= 10 && failing >= l.w.DisableAfter:
			enter(webhook.EndpointDisabled, webhook.ReasonFailing)
		case h.State == webhook.EndpointActive && h.Failures >= l.w.PauseAfter:
			enter(webhook.EndpointPaused, webhook.ReasonBreaker)
			h.Window, h.PausedUntil = 1, now.Add(l.w.PauseMin)
		case h.State == webhook.EndpointPaused && !now.Before(h.PausedUntil):
			h.PausedUntil = now.Add(min(l.w.PauseMax, max(l.w.PauseMin, now.Sub(h.Since))))
		}
	}
	if ep.MaxInFlight > 0 { // which may be less than when the attempt began
		h.Window = min(h.Window, ep.MaxInFlight)
	}
	old := ep.Health
	ep.Health = h
	if old.State != h.State || old.Reason != h.Reason {
		held.turn = turn{ep: ep, state: h.State, reason: h.Reason, since: h.Since}
	}
	l.turned(ep, old)
	l.gapBetween(ep, old, at)
}

// judged holds what is stored of an endpoint's health, after outcomes, against what it is to be.
func (l *ledger) judged(ep *endpoint) {
	if ep.deleted {
		return
	}
	stored, err := l.store.Endpoint(context.Background(), ep.Tenant, ep.ID)
	if err != nil {
		l.complain("READ: %v", err)
		return
	}
	if stored.Health != ep.Health {
		l.complain("STATE: endpoint %s has health %+v, not %+v", ep.ID, stored.Health, ep.Health)
	}
	ep.Health = stored.Health
}

// chosen is what an endpoint's owner chose about how it is served, as far as it can be compared.
func chosen(e *webhook.Endpoint) (out struct {
	rate        float64
	burst       int
	maxInFlight int
	timeout     time.Duration
	headers     int
},
) {
	out.rate, out.burst, out.maxInFlight, out.timeout, out.headers = e.Rate, e.Burst, e.MaxInFlight, e.Timeout, len(e.StoredHeaders)
	return out
}

// chose notes how an endpoint is served from now on; old is nil for a new one.
func (l *ledger) chose(ep *endpoint, old, asked *webhook.Endpoint, now time.Time) {
	if chosen(&ep.Endpoint) != chosen(asked) || len(ep.headers) != len(ep.StoredHeaders) {
		l.complain("CHANGED: endpoint %s is stored as %+v, not %+v", ep.ID, chosen(&ep.Endpoint), chosen(asked))
	}
	if old == nil || old.MaxInFlight != ep.MaxInFlight {
		ep.bounded = now
	}
	if old == nil || old.Rate != ep.Rate || old.Burst != ep.Burst {
		ep.pace.change(&ep.Endpoint, now)
		ep.meter = meter{since: now}
	}
	if old == nil {
		l.turned(ep, webhook.Health{})
	} else {
		l.turned(ep, old.Health)
	}
}
