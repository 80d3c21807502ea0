package webhook

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// EnableOption changes how an endpoint is switched on.
type EnableOption func(*enableOptions)

type enableOptions struct{ replay *Replay }

// WithReplay starts a replay of the endpoint as soon as it is switched on, as [Dispatcher.Replay] does. With
// Replay{Missed: true} it gets all that it missed and that is kept; from its Health.Since on, as it was before, what it
// missed since it was disabled.
func WithReplay(r Replay) EnableOption {
	return func(o *enableOptions) {
		of := r // an option may be given to several calls
		o.replay = &of
	}
}

// SetEnabled switches an endpoint off, or on again. Events that happen while it is off are not queued but counted in a
// gap; what was queued before waits. Switching on does not ping: the endpoint is active again if it had answered a ping
// before, else pending. Of one that the breaker has paused, the next probe is sent at once, but no sooner than 5 s
// after the last one failed. Errors: [ErrNotFound]; [ErrInvalidEndpoint] where a replay is not one, or comes with
// switching off, and then nothing is changed; with any other error of the replay, such as [ErrReplayRunning], the
// endpoint is returned, switched on.
func (d *Dispatcher) SetEnabled(ctx context.Context, endpointID string, enabled bool, opts ...EnableOption) (Endpoint, error) {
	fail := func(e Endpoint, err error) (Endpoint, error) { return e, fmt.Errorf("webhook: set enabled: %w", err) }
	if err := d.allowed(); err != nil {
		return fail(Endpoint{}, err)
	}
	var o enableOptions
	for _, opt := range opts {
		opt(&o)
	}
	if o.replay != nil {
		o.replay.EndpointID = endpointID
		err := checkReplay(o.replay)
		if !enabled {
			err = field("replay", errors.New("must wait until the endpoint is switched on"))
		}
		if err != nil {
			return fail(Endpoint{}, err)
		}
	}
	judge, seen := d.watched(EndpointRef{d.tenant, endpointID}, switched(enabled))
	e, err := d.store.JudgeEndpoint(ctx, d.tenant, endpointID, judge)
	if err != nil {
		return fail(Endpoint{}, err)
	}
	d.changed(ctx, *seen)
	if enabled {
		d.Wake(ctx) // what was queued before it was switched off
	}
	if o.replay != nil { // not before: what is emitted in between would be missed by it too
		if _, err := d.startReplay(ctx, *o.replay); err != nil {
			return fail(shown(e), err)
		}
	}
	return shown(e), nil
}

// probeRest bounds how many attempts are logged because somebody keeps switching on what is paused.
const probeRest = 5 * time.Second

// switched is the judge of SetEnabled.
func switched(on bool) Judge {
	return func(h Health, now time.Time) Health {
		switch {
		case !on:
			return enter(h, EndpointDisabled, ReasonByUser, now)
		case h.broken():
			if soon := h.LastFailure.Add(probeRest); soon.After(now) {
				now = soon
			}
			h.PausedUntil = now
			return h
		case h.State != EndpointDisabled:
			return h
		case h.Verified:
			h.Failures, h.FailingSince, h.LastFailure, h.Window = 0, time.Time{}, time.Time{}, 1
			return enter(h, EndpointActive, "", now)
		default:
			return enter(h, EndpointPending, "", now)
		}
	}
}
