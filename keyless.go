package webhook

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// keyless are the endpoints whose secrets this process could not open, and until when it leaves them to others.
type keyless struct {
	mu    sync.Mutex
	until map[EndpointRef]time.Time
}

const (
	keylessFor = time.Minute
	keylessMax = keyringSize // with as many, this process claims nothing at all
)

func (k *keyless) add(of EndpointRef, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.until == nil {
		k.until = make(map[EndpointRef]time.Time)
	}
	k.until[of] = now.Add(keylessFor)
}

// any reports whether there are endpoints that were left to others, and not looked at again since.
func (k *keyless) any() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.until) > 0
}

// list returns the endpoints that are left to others now.
func (k *keyless) list(now time.Time) []EndpointRef {
	k.mu.Lock()
	defer k.mu.Unlock()
	var refs []EndpointRef
	for of, until := range k.until {
		if now.Before(until) {
			refs = append(refs, of)
		} else {
			delete(k.until, of)
		}
	}
	return refs
}

// leave gives a lease back whose endpoint's secret does not open here: no attempt is used, other processes may have
// the key, and people see that it is missing somewhere.
func (e *engine) leave(ctx context.Context, l *Lease, err error) Outcome {
	e.log.LogAttrs(ctx, slog.LevelError, "webhook: an endpoint is left to other processes for a minute",
		slog.String("endpoint", l.Endpoint.ID), slog.Any("error", err))
	e.shut.add(l.Endpoint.ref(), time.Now())
	o := release(l)
	o.Judge = func(h Health, now time.Time) Health {
		if h.State == EndpointActive {
			h = enter(h, EndpointPaused, ReasonKeyMissing, now)
			h.PausedUntil = time.Time{}
		}
		return h
	}
	return o
}
