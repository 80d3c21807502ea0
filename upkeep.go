package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// EraseDelivery removes the contents of a delivery's event for good: its body and metadata, and the headers and
// responses in the log of every attempt at it, at other endpoints too. The rows stay. What is still to be sent of the
// event fails with FailErased, and it cannot be delivered again. Errors: [ErrNotFound].
func (d *Dispatcher) EraseDelivery(ctx context.Context, deliveryID string) error {
	_, err := read(d, "erase delivery", func() (struct{}, error) {
		return struct{}{}, d.store.EraseDelivery(ctx, d.tenant, deliveryID)
	})
	return err
}

// EraseTenant removes all that the view's tenant has: endpoints, events, deliveries, attempts, gaps, replays and
// statistics. It works in parts, and may be repeated if ctx ended or the store failed in between: what was removed
// until then is gone.
func (d *Dispatcher) EraseTenant(ctx context.Context) error {
	_, err := read(d, "erase tenant", func() (struct{}, error) {
		for {
			more, err := d.store.EraseTenant(ctx, d.tenant, pruneRows)
			if err != nil || !more {
				return struct{}{}, err
			}
		}
	})
	return err
}

const (
	pruneEvery = time.Minute
	pruneRows  = 1000 // at most in one call: the store's other callers wait for no more than that

	// upkeepLimit bounds one call of Prune or ContinueReplay: over a connection that has fallen silent no answer comes.
	upkeepLimit = 30 * time.Second
)

// Prune removes what is over [Config.KeepDeliveries] and [Config.KeepBodies] now, of all tenants. Run does so by
// itself once a minute; where no dispatcher runs, or something is to be gone at once, this is the call. Errors: the
// store's.
func (d *Dispatcher) Prune(ctx context.Context) (PruneResult, error) {
	all, err := d.prune(ctx)
	if err != nil {
		err = fmt.Errorf("webhook: prune: %w", err)
	}
	return all, err
}

func (e *engine) prune(ctx context.Context) (all PruneResult, err error) {
	if e.cfg.KeepForever {
		return all, nil
	}
	for more := true; more; {
		part, err := e.prunePart(ctx)
		all.Deliveries += part.Deliveries
		all.Events += part.Events
		all.Bodies += part.Bodies
		if err != nil {
			return all, err
		}
		more = part.More
	}
	return all, nil
}

func (e *engine) prunePart(ctx context.Context) (PruneResult, error) {
	ctx, cancel := context.WithTimeout(ctx, upkeepLimit)
	defer cancel()
	return e.store.Prune(ctx, PruneRequest{Deliveries: e.cfg.KeepDeliveries, Bodies: e.cfg.KeepBodies, Max: pruneRows})
}

// tidy prunes from time to time, until ctx ends.
func (e *engine) tidy(ctx context.Context) {
	timer := time.NewTimer(pruneEvery) // no ticker: its tick while Prune ran crashes the race detector within synctest: https://go.dev/issue/78156
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		removed, err := e.prune(ctx)
		switch {
		case err != nil && ctx.Err() == nil: // there is another time
			e.log.LogAttrs(ctx, slog.LevelWarn, "webhook: removing what is over its age failed", slog.Any("error", err))
		case removed != PruneResult{}:
			e.log.LogAttrs(ctx, slog.LevelDebug, "webhook: removed what was over its age",
				slog.Int("deliveries", removed.Deliveries), slog.Int("events", removed.Events), slog.Int("bodies", removed.Bodies))
		}
		timer.Reset(pruneEvery)
	}
}

// PruneRequest says what a store need not keep.
type PruneRequest struct {
	Deliveries time.Duration // finished deliveries older than this, and what belongs to them; 0: never
	Bodies     time.Duration // contents of events older than this; 0: with their deliveries
	Max        int           // rows at most, about; below 1: 1
}

// PruneResult is what a call of Prune removed.
type PruneResult struct {
	Deliveries int  // deliveries
	Events     int  // events
	Bodies     int  // events whose contents were removed
	More       bool // there is more to remove now
}
