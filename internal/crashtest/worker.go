//go:build linux

package crashtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/sqlitestore"
)

// worker is a process, or in tests of the checker a part of one.
type worker struct {
	*Config
	*opened
	ledger *Ledger
	d      *webhook.Dispatcher
	serial int
}

// Work does what the configuration says.
func (c *Config) Work() error {
	// The first SIGTERM stops Run; after it signals do what they do by default, so that a second one ends the process.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	ledger, err := OpenLedger(c.Ledger)
	if err != nil {
		return err
	}
	store, err := c.open(ctx)
	for err != nil && c.Role == Load { // it may be away for a while
		if ctx.Err() != nil {
			return nil
		}
		pause(ctx, 20*time.Millisecond)
		store, err = c.open(ctx)
	}
	if err != nil {
		return err
	}
	w, err := newWorker(c, store, ledger)
	if err == nil {
		err = w.play(ctx)
	}
	return errors.Join(err, store.close())
}

func newWorker(c *Config, store *opened, ledger *Ledger) (*worker, error) {
	d, err := webhook.NewDispatcher(Watch(store.Store, ledger), c.Dispatcher())
	return &worker{Config: c, opened: store, ledger: ledger, d: d}, err
}

func (w *worker) play(ctx context.Context) error {
	switch w.Role {
	case Walk:
		return w.walk(ctx)
	case Load:
		return w.load(ctx)
	case Emit:
		if err := w.ensure(ctx); err != nil {
			return err
		}
		for range w.Events {
			w.emit(ctx)
		}
		return nil
	case Drain:
		return w.drain(ctx)
	default:
		return fmt.Errorf("there is no role %q", w.Role)
	}
}

// event makes the event with this id.
func (w *worker) event(id string) webhook.Event {
	number, _ := strconv.Atoi(id[strings.LastIndexByte(id, '_')+1:])
	note := Note{ID: id}
	if number%2 == 1 {
		note.Padding = strings.Repeat(id+" ", w.Large/(len(id)+1))
	}
	return NoteWritten.New("sess_"+id, note, webhook.WithID(id))
}

func (w *worker) nextID() string {
	w.serial++
	return fmt.Sprintf("%s_%d", w.Name, w.serial)
}

// emitLimit bounds a call that emits.
const emitLimit = 5 * time.Second

// emit emits the next event, and again if it is to be.
func (w *worker) emit(ctx context.Context) {
	id := w.nextID()
	for range 200 {
		if w.emitOnce(ctx, id, w.d.Emit) || !w.EmitAgain || ctx.Err() != nil {
			return
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// emitOnce emits an event by the given call, and reports whether it was accepted.
func (w *worker) emitOnce(ctx context.Context, id string, by func(context.Context, ...webhook.Event) error) bool {
	e := w.event(id)
	sum := sha256.Sum256(e.Body)
	must(w.ledger.Sync(Line{Op: OpEmit, Event: id, Sum: hex.EncodeToString(sum[:])}))
	// What is stopped need not give up what it is storing.
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), emitLimit)
	defer cancel()
	err := by(limited, e)
	switch {
	case err == nil:
		must(w.ledger.Sync(Line{Op: OpAccepted, Event: id}))
		return true
	case errors.Is(err, sqlitestore.ErrBusy), errors.Is(err, webhook.ErrStoreFull):
		must(w.ledger.Sync(Line{Op: OpRefused, Event: id, Error: err.Error()}))
	default:
		must(w.ledger.Sync(Line{Op: OpUnknown, Event: id, Error: err.Error()}))
	}
	return false
}

// emitTo emits the next event in a transaction of its own.
func (w *worker) emitTo(ctx context.Context) {
	w.emitOnce(ctx, w.nextID(), func(ctx context.Context, events ...webhook.Event) error {
		err := w.opened.emitTo(ctx, func(box webhook.Outbox) error { return w.d.EmitTo(ctx, box, events...) })
		if err == nil {
			w.d.Wake(ctx)
		}
		return err
	})
}

// ensure makes the endpoints that are not there.
func (w *worker) ensure(ctx context.Context) error {
	for _, t := range w.Endpoints {
		e, err := w.d.Endpoint(ctx, t.ID)
		if errors.Is(err, webhook.ErrNotFound) {
			err = w.change(ctx, t.ID, func() (webhook.Endpoint, error) {
				e, _, err := w.d.AddEndpoint(ctx, w.endpoint(t), webhook.WithoutPing())
				if errors.Is(err, webhook.ErrConflict) { // another process was faster
					e, err = w.d.Endpoint(ctx, t.ID)
				}
				return e, err
			})
		} else if err == nil {
			must(w.ledger.Write(Line{Op: OpState, Endpoint: t.ID, State: string(e.Health.State)}))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) endpoint(t Target) webhook.Endpoint {
	return webhook.Endpoint{ID: t.ID, URL: t.URL, Events: []string{webhook.AllEvents}, Secret: webhook.NewSecret(w.Secret)}
}

// change changes an endpoint and writes down what it is then.
func (w *worker) change(ctx context.Context, id string, by func() (webhook.Endpoint, error)) error {
	must(w.ledger.Sync(Line{Op: OpChanging, Endpoint: id}))
	e, err := by()
	if err != nil {
		return err
	}
	state := string(e.Health.State)
	if e.ID == "" {
		state = Deleted
	}
	must(w.ledger.Sync(Line{Op: OpState, Endpoint: id, State: state}))
	return nil
}

// run runs the dispatcher; the answer stops it and waits for it.
func (w *worker) run(ctx context.Context) (stop func() error) {
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(ctx, func() { must(w.ledger.Write(Line{Op: OpStopping})) })
	done := make(chan error)
	must(w.ledger.Write(Line{Op: OpRunning}))
	go func() { done <- w.d.Run(ctx) }()
	return func() error {
		cancel()
		err := <-done
		must(w.ledger.Write(Line{Op: OpDone, N: max(0, runtime.NumGoroutine()-before)}))
		return err
	}
}

// pause waits, or less if ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
