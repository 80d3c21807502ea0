package webhook

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"time"
)

// attempt sends and settles, in whichever goroutine owns the lease.
func (e *engine) attempt(out *line, l *Lease) settled {
	to, err := e.keys.target(out.parent, l.Endpoint, time.Now())
	out.limit = e.timeout(l.Endpoint)
	switch {
	case errors.Is(err, errNotOpened) && out.parent.Err() != nil: // which says nothing of the key
		return settled{Outcome: release(l, 0), lease: l}
	case errors.Is(err, errNotOpened):
		return settled{Outcome: e.leave(out.parent, l, err), lease: l}
	}
	return settled{Outcome: e.settle(l, e.send(out, l, to, err)), lease: l}
}

// timeout bounds one attempt at the endpoint.
func (e *engine) timeout(to *Endpoint) time.Duration {
	if to.Timeout > 0 {
		return min(to.Timeout, e.cfg.Timeout) // which may have been lowered since the endpoint was saved
	}
	return e.cfg.Timeout
}

// send is sender.send where the endpoint can be used and the transport, which may be the user's, does not panic.
func (e *engine) send(out *line, l *Lease, to target, unusable error) (a Attempt) {
	ctx, started := out.parent, time.Now()
	broken := func(detail string) Attempt {
		a := Attempt{Number: l.Delivery.AttemptCount, StartedAt: started.UTC(), Latency: time.Since(started)}
		a.fail(AttemptFailed, ErrorInternal, detail)
		return a
	}
	defer func() {
		if p := recover(); p != nil {
			e.log.LogAttrs(ctx, slog.LevelError, "webhook: sending panicked", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			a = broken("the request could not be made")
		}
	}()
	if unusable != nil {
		e.log.LogAttrs(ctx, slog.LevelError, "webhook: an endpoint cannot be used as it is stored",
			slog.String("endpoint", l.Endpoint.ID), slog.Any("error", unusable))
		return broken("the endpoint cannot be used as it was saved: " + unusable.Error())
	}
	if len(l.Event.Body) == 0 { // every event has one: a signed request without it would say what nobody emitted
		e.log.LogAttrs(ctx, slog.LevelError, "webhook: an event cannot be sent as it is stored", slog.String("event", l.Event.ID))
		return broken("the event's contents are gone")
	}
	return e.sender.send(out, l, to)
}

// settle is rules.settle where the policy, which may be the user's, does not panic; if it does, the default one
// decides.
func (e *engine) settle(l *Lease, a Attempt) (o Outcome) {
	defer func() {
		if p := recover(); p != nil {
			e.log.LogAttrs(context.Background(), slog.LevelError, "webhook: the retry policy panicked", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			standard := e.rules
			standard.policy = Backoff{}
			o = standard.settle(l, a)
		}
	}()
	return e.rules.settle(l, a)
}
