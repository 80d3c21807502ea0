package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// ReceiverConfig configures [NewReceiver].
type ReceiverConfig struct {
	// Dedupe keeps an event from being handled twice. Defaults to NewMemoryDeduper(nil); [NoDedupe] switches it off.
	Dedupe Deduper
	// Unhandled gets the events that no handler was registered for. Defaults to accepting and ignoring them: a sender
	// would retry what is refused, and new event types come with new versions.
	Unhandled func(context.Context, Event) error
	// Logger gets the reasons for which requests are refused, and what handlers return and panic with. Defaults to
	// slog.Default().
	Logger *slog.Logger
}

// Receiver is an [http.Handler] for webhooks: it verifies requests, drops duplicates and calls the handler that
// [Handle] registered for the event's type. It answers
//
//   - 204: handled; a duplicate; a ping; an event that nobody handles
//   - 400: verified, but not an event, or its data does not fit its type
//   - 401: not verified, with one text for every reason
//   - 405: not a POST
//   - 413: the body is over the limit
//   - 415: the Content-Type is not JSON, or there is a Content-Encoding
//   - 500: the handler failed or panicked, or something read the body before
//   - 503 with Retry-After: another attempt at the event is being handled
//
// A sender gives up an attempt after some seconds (this library's after 15): a handler should store what it got and
// return, and do the work later.
// The handler's context ends when the sender hangs up.
type Receiver struct {
	verifier  atomic.Pointer[Verifier]
	dedupe    Deduper
	unhandled prepare
	logger    *slog.Logger

	mu       sync.RWMutex
	handlers map[string]prepare
}

// prepare decodes an event's data and returns the call of its handler.
type prepare func(Event) (func(context.Context) error, error)

// NewReceiver makes a receiver of what the verifier accepts. A nil config is all defaults. It panics if the verifier
// is nil.
func NewReceiver(v *Verifier, cfg *ReceiverConfig) *Receiver {
	if cfg == nil {
		cfg = &ReceiverConfig{}
	}
	r := &Receiver{dedupe: cfg.Dedupe, logger: cfg.Logger, handlers: make(map[string]prepare)}
	r.SetVerifier(v)
	if r.dedupe == nil {
		r.dedupe = NewMemoryDeduper(nil)
	}
	if unhandled := cfg.Unhandled; unhandled != nil {
		r.unhandled = func(e Event) (func(context.Context) error, error) {
			return func(ctx context.Context) error { return unhandled(ctx, e) }, nil
		}
	}
	return r
}

// Handle registers the handler of an event type. It panics if handler is nil or the type has one already, as
// [http.ServeMux] does: both are mistakes in the source.
// It may be called while the receiver serves.
func Handle[T any](r *Receiver, t EventType[T], handler func(context.Context, Event, T) error) {
	if handler == nil {
		panic("webhook: Handle: the handler is nil")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, twice := r.handlers[t.Name()]; twice {
		panic(fmt.Sprintf("webhook: Handle: event type %q has a handler already", t.Name()))
	}
	r.handlers[t.Name()] = func(e Event) (func(context.Context) error, error) {
		data, err := t.Decode(e)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) error { return handler(ctx, e, data) }, nil
	}
}

// SetVerifier changes what requests are verified with, at any time: for a secret that was rotated. Handlers and what is
// known of events stay. It panics if the verifier is nil.
func (r *Receiver) SetVerifier(v *Verifier) {
	if v == nil {
		panic("webhook: a receiver needs a verifier, which is nil")
	}
	r.verifier.Store(v)
}

// ServeHTTP answers a webhook request.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	verifier := r.verifier.Load() // one and the same for the whole request
	e, err := verifier.admitPost(w, req)
	if err == nil {
		err = r.receive(req.Context(), verifier, e)
	}
	answer(w, req, r.logger, e, err)
}

func (r *Receiver) receive(ctx context.Context, verifier *Verifier, e Event) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = handlerError{fmt.Errorf("webhook: the handler panicked: %v\n%s", p, debug.Stack())}
		}
	}()
	r.mu.RLock()
	prepare, ok := r.handlers[e.Type]
	r.mu.RUnlock()
	if !ok && e.Type != pingName {
		prepare = r.unhandled
	}
	if prepare == nil {
		return nil
	}
	run, err := prepare(e)
	if err != nil {
		return err
	}
	return r.once(ctx, verifier.dedupeKey(e), run)
}

// once runs a handler, if its event has not been handled and is not being handled. However the run ends, the key is
// not left claimed.
func (r *Receiver) once(ctx context.Context, key string, run func(context.Context) error) (err error) {
	ctx, state, err := r.dedupe.Begin(ctx, key)
	switch {
	case err != nil:
		return handlerError{fmt.Errorf("webhook: de-duplication: %w", err)}
	case state == DedupeDone:
		return nil
	case state == DedupeRunning:
		return errRunning
	case state != DedupeBegun:
		return handlerError{fmt.Errorf("webhook: de-duplication: unknown state %d", state)}
	}
	outcome := context.WithoutCancel(ctx) // the sender may have hung up by then; what happened is recorded all the same

	done := false
	defer func() { // also on the way of a panic or a runtime.Goexit
		if done {
			return
		}
		if err := r.dedupe.Abort(outcome, key); err != nil {
			loggerOr(r.logger).ErrorContext(ctx, "webhook: de-duplication: the event's key was not given back", "error", err)
		}
	}()
	if err := run(ctx); err != nil {
		return handlerError{err}
	}
	if err := r.dedupe.Done(outcome, key); err != nil {
		return handlerError{fmt.Errorf("webhook: de-duplication: %w", err)}
	}
	done = true
	return nil
}
