package webhook

import (
	"context"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"time"
)

// Hooks are functions that a dispatcher calls as things happen in its own process; any of them may be nil.
//
// A hook that is told of an attempt runs on the attempt's slot, and an endpoint has at most three times as many slots
// as it may have requests in flight: a hook that is slow for some endpoints delays no others, unless it is for so many
// that they have all of Config.Slots. GapOpened runs beside them. One that takes over a second is logged, and one that
// panics is recovered and logged; neither changes what is stored. ctx ends with Run's drain, or with the call that the
// hook runs in.
//
// A hook may call the dispatcher: the view of the endpoint's tenant is d.Tenant(of.Tenant).
//
// What a hook is told must not be modified. It is told after it was stored, but for AttemptStarted: a process that
// dies between the two tells nobody. Run waits for hooks when it ends: one that goes on after its ctx has ended holds
// it up.
type Hooks struct {
	// Emitted: Emit stored these events. It runs in Emit, before that returns. EmitTo tells nobody: its transaction
	// may still be rolled back.
	Emitted func(ctx context.Context, tenant string, events []Event)

	// AttemptStarted: a request is about to be made. It takes from the time of the lease: an attempt that could not
	// end within it any more is given back unsent, and AttemptEnded is not told of it.
	AttemptStarted func(ctx context.Context, a AttemptInfo)
	// AttemptEnded: the request is over and was recorded, or its lease was lost before that.
	AttemptEnded func(ctx context.Context, a AttemptInfo)
	// Delivered: the delivery succeeded.
	Delivered func(ctx context.Context, a AttemptInfo)
	// GivenUp: the delivery failed after its last attempt, for the reason in a.Delivery.Reason. Those that fail
	// without an attempt, since they expired or their endpoint was deleted, are in the log only.
	GivenUp func(ctx context.Context, a AttemptInfo)

	// EndpointFailing: an endpoint has failed for half of the time after which it is disabled.
	EndpointFailing func(ctx context.Context, c EndpointChange)
	// EndpointPaused: the breaker paused it, or the key to its secret is missing.
	EndpointPaused func(ctx context.Context, c EndpointChange)
	// EndpointDisabled: it was disabled, for the reason in c.After.Reason, by its owner too.
	EndpointDisabled func(ctx context.Context, c EndpointChange)
	// EndpointEnabled: it became active: it was switched on, answered its first ping, or its pause is over.
	EndpointEnabled func(ctx context.Context, c EndpointChange)
	// GapOpened: from now on the endpoint misses events, for this reason. A new endpoint that was not pinged yet has a
	// gap too, which is not told. That a gap was closed is told by EndpointEnabled, but for one with GapBacklog.
	GapOpened func(ctx context.Context, endpoint EndpointRef, reason GapReason)
}

// AttemptInfo is what hooks learn of an attempt.
type AttemptInfo struct {
	// Delivery is without its attempts; after the attempt with the state that came of it. Where its endpoint was
	// deleted, or its contents erased, during the attempt, the log has it as failed, and this has not.
	Delivery Delivery
	Event    Event     // with its body
	Endpoint *Endpoint // as it was when the attempt began
	Attempt  Attempt   // zero in AttemptStarted
	// Wait is how long until the next attempt, where there is to be one.
	Wait time.Duration
}

// EndpointChange is what hooks learn of an endpoint's health.
type EndpointChange struct {
	Endpoint      EndpointRef
	Before, After Health
}

// slowHook is from when a hook is logged for its slowness.
const slowHook = time.Second

// call runs a hook. A nil *Hooks has none.
func (e *engine) call(name string, of EndpointRef, hook func()) {
	start := time.Now()
	defer func() {
		about := []slog.Attr{slog.String("hook", name), slog.String("tenant", of.Tenant), slog.String("endpoint", of.ID)}
		if p := recover(); p != nil {
			e.log.LogAttrs(context.Background(), slog.LevelError, "webhook: a hook panicked", append(about, slog.Any("panic", p), slog.String("stack", string(debug.Stack())))...)
		}
		if took := time.Since(start); took >= slowHook {
			e.log.LogAttrs(context.Background(), slog.LevelWarn, "webhook: a hook was slow", append(about, slog.Duration("took", took))...)
		}
	}()
	hook()
}

// info is what hooks learn of an attempt at l.
func info(l *Lease) AttemptInfo {
	a := AttemptInfo{Delivery: l.Delivery, Event: l.Event}
	to := shown(*l.Endpoint)
	a.Endpoint = &to
	return a
}

// info is what they learn after it.
func (s *settled) info() AttemptInfo {
	a := info(s.lease)
	a.Attempt, a.Wait = s.Attempt, s.Wait
	d := &a.Delivery
	switch s.Kind {
	case OutcomeDelivered:
		d.State = DeliverySucceeded
	case OutcomeFailed:
		d.State, d.Reason = DeliveryFailed, s.Reason
	case OutcomeInterrupted:
		d.Interrupted++
		d.State = DeliveryPending
		if d.Interrupted >= MaxInterrupted {
			d.State, d.Reason = DeliveryFailed, FailInterrupted
		}
	case OutcomeDeferred:
		d.Deferred++
		d.State = DeliveryPending
	case OutcomeRetry, OutcomeReleased:
		d.State = DeliveryPending
	}
	return a
}

// started tells of an attempt that is about to be made, and reports whether it is not too late for it after that.
func (e *engine) started(ctx context.Context, l *Lease, late func() bool) bool {
	h := e.cfg.Hooks
	if h == nil || h.AttemptStarted == nil {
		return true
	}
	e.call("AttemptStarted", l.Endpoint.ref(), func() { h.AttemptStarted(ctx, info(l)) })
	return !late()
}

// news returns what there is to be told of an outcome that was recorded, or nil.
func (e *engine) news(s *settled) func(context.Context) {
	h := e.cfg.Hooks
	if h == nil {
		return nil
	}
	var calls []func(context.Context)
	of := s.lease.Endpoint.ref()
	about := func(name string, hook func(context.Context, AttemptInfo)) {
		if hook != nil {
			calls = append(calls, func(ctx context.Context) { e.call(name, of, func() { hook(ctx, s.info()) }) })
		}
	}
	if s.Kind != OutcomeReleased {
		about("AttemptEnded", h.AttemptEnded)
	}
	switch kind := s.Kind; {
	case !s.applied: // somebody else says what became of it
	case kind == OutcomeDelivered:
		about("Delivered", h.Delivered)
	case s.info().Delivery.State == DeliveryFailed:
		about("GivenUp", h.GivenUp)
	}
	if s.applied {
		calls = append(calls, e.changes(EndpointChange{of, s.before, s.after})...)
	}
	if len(calls) == 0 {
		return nil
	}
	return func(ctx context.Context) {
		for _, call := range calls {
			call(ctx)
		}
	}
}

// changes are the calls that a change of an endpoint's health asks for.
func (e *engine) changes(c EndpointChange) (calls []func(context.Context)) {
	h := e.cfg.Hooks
	if h == nil {
		return nil
	}
	tell := func(name string, hook func(context.Context, EndpointChange)) {
		if hook != nil {
			calls = append(calls, func(ctx context.Context) { e.call(name, c.Endpoint, func() { hook(ctx, c) }) })
		}
	}
	before, after := &c.Before, &c.After
	if e.rules.warns(before, after) {
		tell("EndpointFailing", h.EndpointFailing)
	}
	moved := before.State != after.State || before.Reason != after.Reason
	if !moved {
		return calls
	}
	switch after.State {
	case EndpointPaused:
		tell("EndpointPaused", h.EndpointPaused)
	case EndpointDisabled:
		tell("EndpointDisabled", h.EndpointDisabled)
	case EndpointActive:
		tell("EndpointEnabled", h.EndpointEnabled)
	}
	if reason := after.State.gap(); reason != "" && h.GapOpened != nil {
		calls = append(calls, func(ctx context.Context) {
			e.call("GapOpened", c.Endpoint, func() { h.GapOpened(ctx, c.Endpoint, reason) })
		})
	}
	return calls
}

// changed tells of a change that a call of the dispatcher's made, in that call.
func (e *engine) changed(ctx context.Context, c EndpointChange) {
	for _, call := range e.changes(c) {
		call(ctx)
	}
}

// spread returns the outcomes of a batch of which there is something to be told, whose slots are kept for it, and what
// begins to tell it: each on a goroutine and with its own slot. left are those that were not recorded.
func (r *run) spread(batch, left []settled) (kept []settled, tell func()) {
	var calls []func()
	for i := range batch {
		s := batch[i] // a copy: the batch is filled again
		if slices.ContainsFunc(left, func(l settled) bool { return l.lease == s.lease }) {
			continue
		}
		news := r.news(&s)
		if news == nil {
			continue
		}
		kept = append(kept, s)
		calls = append(calls, func() {
			news(r.attempts)
			r.giveBack([]settled{s})
			r.spared()
		})
	}
	return kept, func() {
		for _, call := range calls {
			r.workers.Go(call)
		}
	}
}

// hold counts the slots that an endpoint has, where there are hooks. With more than hookRoom times what it may have
// under way it is clogged: its hooks are slower than its requests.
func (r *run) hold(e *Endpoint, n int) {
	if r.cfg.Hooks == nil {
		return
	}
	of, most := e.ref(), hookRoom*r.rules.inFlight(e)
	r.mu.Lock()
	if r.held == nil {
		r.held, r.clogged = make(map[EndpointRef]int), make(map[EndpointRef]bool)
	}
	if r.held[of] += n; r.held[of] == 0 {
		delete(r.held, of)
	}
	full, was := r.held[of] >= most, r.clogged[of]
	if full {
		r.clogged[of] = true
	} else {
		delete(r.clogged, of)
	}
	r.mu.Unlock()
	if was && !full {
		r.wake()
	}
}

// hookRoom leaves room for what is under way, what is being recorded, and hooks.
const hookRoom = 3

// clogs are the endpoints that get no slots while their hooks have so many.
func (r *run) clogs() []EndpointRef {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.clogged))
}

func (r *run) anyClogged() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.clogged) > 0
}

// backlogged tells of endpoints whose backlog is full.
func (e *engine) backlogged(ctx context.Context, refs []EndpointRef) {
	for _, ref := range refs {
		e.log.LogAttrs(ctx, slog.LevelWarn, "webhook: too much waits for an endpoint; it misses events until a tenth of it is worked off",
			slog.String("tenant", ref.Tenant), slog.String("endpoint", ref.ID))
		if h := e.cfg.Hooks; h != nil && h.GapOpened != nil {
			e.call("GapOpened", ref, func() { h.GapOpened(ctx, ref, GapBacklog) })
		}
	}
}
