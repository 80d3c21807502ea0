package simulation

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/meshia/webhook"
)

// secretKey is where a call's context tells the ledger the text of the secret that the call sets: what is stored does
// not say it.
type secretKey struct{}

// headersKey is the same for the values of an endpoint's own headers, by their names.
type headersKey struct{}

func withSecret(ctx context.Context, text string) context.Context {
	return context.WithValue(ctx, secretKey{}, text)
}

func (l *ledger) createEndpoint(ctx context.Context, e webhook.Endpoint, most int) (webhook.Endpoint, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	stored, err := l.store.CreateEndpoint(ctx, e, most)
	ep := l.place(e.Tenant, e.ID)
	if err != nil {
		if taken := ep.Version > 0; errors.Is(err, webhook.ErrConflict) != taken && ctx.Err() == nil {
			l.complain("REFUSED: an endpoint for no reason: %v", err)
		}
		return stored, err
	}
	ep.Endpoint, ep.deleted = stored, false
	l.learn(ctx, ep)
	l.chose(ep, nil, &e, now)
	l.gapBetween(ep, webhook.Health{State: webhook.EndpointActive}, now)
	return stored, nil
}

func (l *ledger) updateEndpoint(ctx context.Context, e webhook.Endpoint, judge webhook.Judge) (webhook.Endpoint, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	ep := l.place(e.Tenant, e.ID)
	stored, err := l.store.UpdateEndpoint(ctx, e, judge)
	if err != nil {
		return stored, err
	}
	if e.Version != ep.Version || ep.deleted {
		l.complain("VERSION: an endpoint of version %d was changed as if it had %d", ep.Version, e.Version)
	}
	old := ep.Endpoint
	ep.Endpoint = stored
	l.learn(ctx, ep)
	l.chose(ep, &old, &e, now)
	kept := old.Health
	kept.Window = min(kept.Window, l.w.inFlight(&stored))
	switch moved := old.URL != stored.URL; {
	case !moved && stored.Health != old.Health && stored.Health != kept:
		l.complain("STATE: endpoint %s changed its health with its settings", ep.ID)
	case moved && stored.Health.Verified, moved && stored.Health.State != webhook.EndpointPending && stored.Health.Reason != webhook.ReasonByUser:
		l.complain("STATE: endpoint %s is %s and has a new URL", ep.ID, stored.Health.State)
	}
	l.gapBetween(ep, old.Health, now)
	return stored, nil
}

func (l *ledger) judgeEndpoint(ctx context.Context, tenant, id string, judge webhook.Judge) (webhook.Endpoint, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	stored, err := l.store.JudgeEndpoint(ctx, tenant, id, judge)
	if err != nil {
		return stored, err
	}
	ep := l.place(tenant, id)
	old := ep.Health
	ep.Endpoint = stored
	off := stored.Health.State == webhook.EndpointDisabled && stored.Health.Reason == webhook.ReasonByUser
	on := old.State == webhook.EndpointDisabled && (stored.Health.State == webhook.EndpointActive) == old.Verified && stored.Health.State != webhook.EndpointDisabled
	if old.State != stored.Health.State && !off && !on {
		l.complain("STATE: endpoint %s was switched from %s to %s", id, old.State, stored.Health.State)
	}
	l.turned(ep, old)
	l.gapBetween(ep, old, now)
	return stored, nil
}

func (l *ledger) deleteEndpoint(ctx context.Context, tenant, id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if err := l.store.DeleteEndpoint(ctx, tenant, id); err != nil {
		return err
	}
	ep := l.place(tenant, id)
	ep.deleted, ep.gone = true, now
	ep.closeGap(now)
	clear(ep.hours)
	for d := range l.open {
		if d.at == ep && d.State == webhook.DeliveryPending {
			l.finish(d, webhook.DeliveryFailed, webhook.FailEndpointDeleted, now)
		}
	}
	l.orphaned(ep, now)
	return nil
}

// learn reads the texts of a secret and of headers that were set.
func (l *ledger) learn(ctx context.Context, ep *endpoint) {
	text, ok := ctx.Value(secretKey{}).(string)
	if n := len(ep.Secrets); ok && n > 0 {
		ep.texts[ep.Secrets[n-1].ID] = text
		l.secrets = append(l.secrets, text)
	}
	if headers, ok := ctx.Value(headersKey{}).(map[string]string); ok {
		ep.headers = map[string]string{}
		for name, value := range headers {
			ep.headers[http.CanonicalHeaderKey(name)] = value
			l.secrets = append(l.secrets, value)
		}
	}
}

// gapBetween opens and closes the endpoint's gap as its state asks for.
func (l *ledger) gapBetween(ep *endpoint, old webhook.Health, now time.Time) {
	h := ep.Health
	switch {
	case h.State.Queues() && ep.gap != nil && ep.gap.Reason == webhook.GapBacklog: // it stays while the backlog does
	case h.State.Queues():
		ep.closeGap(now)
	case ep.gap == nil || h.State != old.State || h.Reason != old.Reason:
		ep.closeGap(now)
		why := webhook.GapDisabled
		if h.State == webhook.EndpointPending {
			why = webhook.GapPending
		}
		l.openGap(ep, why, now)
		ep.gapped[why]++
	}
}

func (l *ledger) openGap(ep *endpoint, why webhook.GapReason, now time.Time) {
	ep.gap = &gap{Gap: webhook.Gap{EndpointID: ep.ID, Reason: why, From: now}, after: l.placed}
}

func (ep *endpoint) closeGap(now time.Time) {
	if ep.gap != nil && ep.gap.Count > 0 {
		ep.gap.To, ep.gap.upTo = now, *ep.placed
		ep.gaps = append(ep.gaps, *ep.gap)
	}
	ep.gap = nil
}

func retryAfter(h http.Header) int {
	seconds, _ := strconv.Atoi(h.Get("Retry-After"))
	return seconds
}
