package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/meshia/webhook/internal/id"
)

// Replay sends an endpoint again what failed, or what it missed while it was pending, disabled or its backlog was full:
// the events of a stretch of time. It goes on by itself, in whatever process runs a dispatcher, and survives them.
//
// It queues a part whenever little waits for the endpoint, so that new events do not queue up behind old ones, and
// leaves out what the endpoint got since, or is about to get. What it queues are deliveries of KindRedelivery, with
// attempts of their own; the events keep their ids, by which receivers know them.
type Replay struct {
	ID         string // made by the dispatcher: rpl_…
	Tenant     string
	EndpointID string
	Since      time.Time // events stored at or after
	Until      time.Time // and before; zero: until now
	Failed     bool      // those whose delivery failed
	Missed     bool      // those that were never queued, since the endpoint had a gap
	AskedBy    string    // who asked for it, in the caller's words; at most 255 bytes

	State      ReplayState
	CreatedAt  time.Time
	FinishedAt time.Time // zero while it runs
	Reached    time.Time // events stored before were looked at: between Since and Until
	Looked     int64     // how many events were looked at, of all that the tenant has of that time
	Queued     int64     // how many of them were queued again
	Skipped    int64     // how many would have been, had their contents not been removed
}

// ReplayState says whether a replay goes on.
type ReplayState string

const (
	ReplayRunning ReplayState = "running"
	ReplayDone    ReplayState = "done"    // all of it is queued, which is not yet delivered: see Stats.Pending
	ReplayStopped ReplayState = "stopped" // by StopReplay, or its endpoint was deleted
)

// Replay starts a replay: r names the endpoint, Failed or Missed or both, and may name a time, and who asked for it.
// What was stored earlier than Config.KeepDeliveries is not there any more. Errors: [ErrInvalidEndpoint] where r asks
// for nothing or its times are in no order, [ErrNotFound], [ErrReplayRunning].
func (d *Dispatcher) Replay(ctx context.Context, r Replay) (Replay, error) {
	return read(d, "replay", func() (Replay, error) {
		if err := checkReplay(&r); err != nil {
			return Replay{}, err
		}
		return d.startReplay(ctx, r)
	})
}

func checkReplay(r *Replay) error {
	var errs []error
	if !r.Failed && !r.Missed {
		errs = append(errs, field("replay", errors.New("must ask for what failed, what was missed, or both")))
	}
	if !r.Until.IsZero() && !r.Since.Before(r.Until) {
		errs = append(errs, field("replay", errors.New("must end after it begins")))
	}
	return errors.Join(append(errs, checkAskedBy(r.AskedBy))...)
}

func (d *Dispatcher) startReplay(ctx context.Context, r Replay) (Replay, error) {
	replay, err := d.store.CreateReplay(ctx, Replay{
		ID: id.New("rpl_"), Tenant: d.tenant, EndpointID: r.EndpointID, Since: r.Since.UTC(), Until: r.Until.UTC(), Failed: r.Failed, Missed: r.Missed,
		AskedBy: r.AskedBy, State: ReplayRunning,
	})
	if r := d.run.Load(); r != nil { // elsewhere it is found within replayIdle
		select {
		case r.replays <- struct{}{}:
		default:
		}
	}
	return replay, err
}

func checkAskedBy(name string) error {
	if len(name) > 255 || !isText(name) {
		return field("asked_by", errors.New("must be valid UTF-8 of at most 255 bytes, without U+0000"))
	}
	return nil
}

// Replays returns an endpoint's replays, the newest first, 100 at most.
func (d *Dispatcher) Replays(ctx context.Context, endpointID string) ([]Replay, error) {
	return read(d, "replays", func() ([]Replay, error) { return d.store.Replays(ctx, d.tenant, endpointID) })
}

// StopReplay ends a replay; what it has queued is sent. One that has ended stays as it is. Errors: [ErrNotFound].
func (d *Dispatcher) StopReplay(ctx context.Context, replayID string) (Replay, error) {
	return read(d, "stop replay", func() (Replay, error) { return d.store.StopReplay(ctx, d.tenant, replayID) })
}

// RedeliverEvent queues an event again for each endpoint that subscribes to it and queues now, also for those that got
// it already, and returns how many those are. askedBy, at most 255 bytes of text, is kept with the deliveries. An
// endpoint for which Config.MaxPending deliveries wait already gets none: the error then is [ErrBacklogFull] and names
// each such endpoint, and the others are queued for. Other errors: [ErrNotFound], [ErrBodyPruned], [ErrInvalidEvent]
// for the event of a ping or a test, [ErrInvalidEndpoint] for askedBy; with an error some may have been queued.
func (d *Dispatcher) RedeliverEvent(ctx context.Context, eventID, askedBy string) (queued int, err error) {
	_, err = read(d, "redeliver event", func() (int, error) {
		if err := checkAskedBy(askedBy); err != nil {
			return 0, err
		}
		e, err := d.store.Event(ctx, d.tenant, eventID)
		if err == nil && len(e.Body) == 0 {
			err = ErrBodyPruned
		}
		if err == nil {
			err = d.meantForAll(ctx, eventID)
		}
		if err != nil {
			return 0, err
		}
		endpoints, err := d.store.Endpoints(ctx, d.tenant)
		if err != nil {
			return 0, err
		}
		defer d.Wake(ctx) // also for what was queued before an error
		var full []error
		for i := range endpoints {
			to := &endpoints[i]
			if !to.Subscribes(e.Type) || !to.Health.State.Queues() {
				continue
			}
			_, err := d.store.Enqueue(ctx, EnqueueRequest{
				Tenant: d.tenant, Events: []Event{e}, Direct: &Direct{EndpointID: to.ID, Kind: KindRedelivery, AskedBy: askedBy, Queued: true},
				MaxPending: d.cfg.MaxPending,
			})
			if err == nil {
				queued++
				continue
			}
			of := fmt.Errorf("endpoint %s: %w", to.ID, err)
			switch {
			case errors.Is(err, ErrNotFound): // deleted meanwhile
			case errors.Is(err, ErrBacklogFull):
				full = append(full, of)
			default:
				return queued, errors.Join(append(full, of)...)
			}
		}
		return queued, errors.Join(full...)
	})
	return queued, err // also what was queued before the error
}

// meantForAll refuses the event of a ping or a test, which is one endpoint's.
func (d *Dispatcher) meantForAll(ctx context.Context, eventID string) error {
	f := DeliveryFilter{EventID: eventID, Limit: MaxPage}
	for {
		page, err := d.store.Deliveries(ctx, d.tenant, f)
		if err != nil {
			return err
		}
		for i := range page.Deliveries {
			if kind := page.Deliveries[i].Kind; kind.Once() {
				return fmt.Errorf("%w: it is the event of a %s, and one endpoint's: use Redeliver", ErrInvalidEvent, kind)
			}
		}
		if f.Cursor = page.NextCursor; f.Cursor == "" {
			return nil
		}
	}
}

const (
	replayEvery   = time.Second      // how often Run looks whether replays that wait can go on
	replayIdle    = 10 * time.Second // how often it looks whether there are any
	replayLooked  = 500              // events that a step looks at
	replayPending = 100              // deliveries that may wait for the endpoint after it
)

// replay takes the steps of replays that run, until ctx ends.
func (r *run) replay(ctx context.Context) {
	timer := time.NewTimer(replayEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.replays:
		case <-timer.C:
		}
		wait := replayIdle
		for {
			began := time.Now()
			step, err := r.continueReplay(ctx)
			if ctx.Err() != nil {
				return
			}
			if err != nil { // there is another time, and there are others
				r.log.LogAttrs(ctx, slog.LevelWarn, "webhook: a replay could not go on", slog.Any("error", err))
			}
			if step.Queued {
				r.wake()
			}
			if !step.Stepped {
				if step.Waiting || err != nil {
					wait = replayEvery
				}
				break
			}
			// Replays leave the store to others for as long as they had it.
			if !pause(ctx, min(time.Since(began), replayEvery)) {
				return
			}
		}
		timer.Reset(wait)
	}
}

func (r *run) continueReplay(ctx context.Context) (ReplayStepped, error) {
	ctx, cancel := context.WithTimeout(ctx, upkeepLimit)
	defer cancel()
	return r.store.ContinueReplay(ctx, ReplayStep{Max: replayLooked, Pending: max(1, min(replayPending, r.cfg.MaxPending/2))})
}

// pause waits, and reports false where ctx ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 { // timers that are due at once crash the race detector within synctest: https://go.dev/issue/78156
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// ReplayStep bounds what one call of ContinueReplay does.
type ReplayStep struct {
	Max     int // events looked at, about; below 1: 1
	Pending int // deliveries of the endpoint that may be pending or leased after it
}

// ReplayStepped is what one call of ContinueReplay did.
type ReplayStepped struct {
	Stepped bool // a step was taken; false: no replay can go on now
	Waiting bool // where none was taken: replays run, and wait
	Queued  bool // something was queued for Claim
}
