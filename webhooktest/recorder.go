package webhooktest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/meshia/webhook"
)

// Recorder is a [webhook.Store] that notes the events emitted through it.
type Recorder struct {
	webhook.Store

	mu     sync.Mutex
	events []webhook.Event
	known  map[[2]string]bool // tenant and event id
}

var (
	_ webhook.Store = (*Recorder)(nil)
	_ webhook.Waker = (*Recorder)(nil)
)

// Record returns a recorder in front of a store, to hand to webhook.NewDispatcher in its place.
//
// It notes each event that the store accepted, once for its id and tenant, as the store keeps it once. Pings, tests
// and redeliveries are not noted, nor what goes through an Outbox that the store makes for a transaction.
func Record(store webhook.Store) *Recorder {
	return &Recorder{Store: store, known: make(map[[2]string]bool)}
}

// Enqueue hands the request on and notes its events if it succeeds.
func (r *Recorder) Enqueue(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
	result, err := r.Store.Enqueue(ctx, req)
	if err != nil || req.Direct != nil {
		return result, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range req.Events {
		if key := [2]string{req.Tenant, e.ID}; !r.known[key] {
			r.known[key] = true
			r.events = append(r.events, e)
		}
	}
	return result, nil
}

// Wake hands the call on to a store that is a [webhook.Waker]; for others there is nobody to tell.
func (r *Recorder) Wake(ctx context.Context) error {
	if w, ok := r.Store.(webhook.Waker); ok {
		return w.Wake(ctx)
	}
	return ctx.Err()
}

// Wait hands the call on to a store that is a [webhook.Waker]; for others there is nothing to hear, and it returns
// when ctx ends.
func (r *Recorder) Wait(ctx context.Context) error {
	if w, ok := r.Store.(webhook.Waker); ok {
		return w.Wait(ctx)
	}
	<-ctx.Done()
	return ctx.Err()
}

// Events returns all events that were emitted, of every tenant, in order.
func (r *Recorder) Events() []webhook.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// Emitted returns the data of the emitted events of a type, in order. Data that does not decode fails the test.
func Emitted[T any](t testing.TB, r *Recorder, et webhook.EventType[T]) []T {
	t.Helper()
	var all []T
	for _, e := range r.Events() {
		if e.Type != et.Name() {
			continue
		}
		data, err := et.Decode(e)
		if err != nil {
			t.Fatalf("webhooktest: event %s: %v", e.ID, err)
		}
		all = append(all, data)
	}
	return all
}

// RequireEmitted returns the data of the one emitted event of a type. None and several fail the test.
func RequireEmitted[T any](t testing.TB, r *Recorder, et webhook.EventType[T]) T {
	t.Helper()
	all := Emitted(t, r, et)
	if len(all) != 1 {
		t.Fatalf("webhooktest: want one %s to be emitted, got %d; %s", et.Name(), len(all), r.summary())
	}
	return all[0]
}

// RequireNotEmitted fails the test if an event of the type was emitted.
func RequireNotEmitted(t testing.TB, r *Recorder, et webhook.AnyEventType) {
	t.Helper()
	n := 0
	for _, e := range r.Events() {
		if e.Type == et.Name() {
			n++
		}
	}
	if n > 0 {
		t.Fatalf("webhooktest: want no %s to be emitted, got %d; %s", et.Name(), n, r.summary())
	}
}

// summary lists what was emitted, without the data.
func (r *Recorder) summary() string {
	events := r.Events()
	if len(events) == 0 {
		return "nothing was emitted"
	}
	var b strings.Builder
	b.WriteString("emitted was:")
	for _, e := range events {
		fmt.Fprintf(&b, "\n\t%s %s", e.Type, e.ID)
		if e.SessionID != "" {
			fmt.Fprintf(&b, " (session %s)", e.SessionID)
		}
	}
	return b.String()
}
