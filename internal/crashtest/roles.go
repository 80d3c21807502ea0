//go:build linux

package crashtest

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/meshia/webhook"
)

// walk passes every failpoint that a process can pass.
func (w *worker) walk(ctx context.Context) error {
	// Opening the store has passed K19 where it had to migrate.
	if err := w.ensure(ctx); err != nil {
		return err
	}
	if _, err := w.d.Prune(ctx); err != nil { // K18
		return err
	}
	// Nothing runs yet that these could be handed to: K5 is passed, and the first claim finds something.
	w.emit(ctx)
	w.emit(ctx)
	stop := w.run(ctx) // K17 where a lease ran out before, K6 and K7; K8 to K16 with each delivery
	side := w.Side.ID
	if err := w.change(ctx, side, func() (webhook.Endpoint, error) { // K0 to K4 for one endpoint, and its ping
		e, _, err := w.d.AddEndpoint(ctx, w.endpoint(*w.Side))
		return e, err
	}); err != nil {
		return err
	}
	for i := range max(w.Events, 8) {
		if i%4 == 3 {
			w.emitTo(ctx)
		} else {
			w.emit(ctx)
		}
		switch i { // K20
		case 2, 4:
			if err := w.change(ctx, side, func() (webhook.Endpoint, error) { return w.d.SetEnabled(ctx, side, i == 4) }); err != nil {
				return err
			}
		}
	}
	w.wait(ctx, 1500*time.Millisecond)
	if err := w.redeliver(ctx); err != nil {
		return err
	}
	w.emit(ctx)
	if err := w.change(ctx, side, func() (webhook.Endpoint, error) { // K20
		return webhook.Endpoint{}, w.d.DeleteEndpoint(ctx, side)
	}); err != nil {
		return err
	}
	w.emit(ctx)
	return stop() // K21, with something in flight
}

// redeliver sends a finished delivery once more.
func (w *worker) redeliver(ctx context.Context) error {
	page, err := w.d.Deliveries(ctx, webhook.DeliveryFilter{EndpointID: w.Endpoints[0].ID, State: webhook.DeliverySucceeded, Limit: 1})
	if err != nil || len(page.Deliveries) == 0 {
		return err
	}
	_, err = w.d.Redeliver(ctx, page.Deliveries[0].ID)
	return err
}

// load emits and delivers until ctx ends.
func (w *worker) load(ctx context.Context) error {
	// The store may be away for a while: so is what it is asked for.
	for err := w.ensure(ctx); err != nil; err = w.ensure(ctx) {
		if ctx.Err() != nil {
			return nil
		}
		pause(ctx, 20*time.Millisecond)
	}
	stop := w.run(ctx)
	for n := 0; (w.Events == 0 || n < w.Events) && ctx.Err() == nil; n++ {
		w.emit(ctx)
		pause(ctx, time.Duration(rand.Int64N(int64(2*w.Pause)+1)))
	}
	<-ctx.Done()
	return stop()
}

// drainLimit is how long a process has that finds a store in any state, and nothing that disturbs it.
const drainLimit = 60 * time.Second

var errNotQuiet = errors.New("deliveries are left that are not finished")

// drain is the life of a healthy process: it delivers what others left.
func (w *worker) drain(ctx context.Context) error {
	if err := w.ensure(ctx); err != nil {
		return err
	}
	for _, id := range w.Again {
		w.emitOnce(ctx, id, w.d.Emit)
	}
	stop := w.run(ctx)
	if w.Side != nil {
		if err := w.revive(ctx); err != nil {
			return errors.Join(err, stop())
		}
	}
	if _, err := w.d.Prune(ctx); err != nil {
		return errors.Join(err, stop())
	}
	quiet := w.wait(ctx, drainLimit)
	if err := stop(); err != nil || quiet {
		return err
	}
	return errNotQuiet
}

// revive makes the side endpoint active, unless it was deleted or never added.
func (w *worker) revive(ctx context.Context) error {
	side, err := w.d.Endpoint(ctx, w.Side.ID)
	if errors.Is(err, webhook.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return w.change(ctx, side.ID, func() (webhook.Endpoint, error) {
		if side.Health.State == webhook.EndpointDisabled {
			if side, err = w.d.SetEnabled(ctx, side.ID, true); err != nil {
				return side, err
			}
		}
		if side.Health.State == webhook.EndpointPending {
			if _, err = w.d.Ping(ctx, side.ID); err != nil {
				return side, err
			}
		}
		return w.d.Endpoint(ctx, side.ID)
	})
}

// wait waits until every delivery is finished, and reports whether that came within the limit.
func (w *worker) wait(ctx context.Context, limit time.Duration) bool {
	deadline := time.Now().Add(limit)
	for ctx.Err() == nil && time.Now().Before(deadline) {
		// The first two are quick, but what is leased at the one may be pending at the other. The third sees each
		// delivery once, and what is final then stays so.
		if w.none(ctx, webhook.DeliveryPending) && w.none(ctx, webhook.DeliveryLeased) && w.allFinal(ctx) {
			return true
		}
		pause(ctx, 5*time.Millisecond)
	}
	return false
}

// none reports whether no delivery is in the state.
func (w *worker) none(ctx context.Context, state webhook.DeliveryState) bool {
	page, err := w.d.Deliveries(ctx, webhook.DeliveryFilter{State: state, Limit: 1})
	return err == nil && len(page.Deliveries) == 0
}

func (w *worker) allFinal(ctx context.Context) bool {
	filter := webhook.DeliveryFilter{Limit: webhook.MaxPage}
	for {
		page, err := w.d.Deliveries(ctx, filter)
		if err != nil {
			return false
		}
		for i := range page.Deliveries {
			if !page.Deliveries[i].State.Final() {
				return false
			}
		}
		if page.NextCursor == "" {
			return true
		}
		filter.Cursor = page.NextCursor
	}
}
