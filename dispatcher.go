package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshia/webhook/internal/failpoint"
	"github.com/meshia/webhook/internal/id"
	"github.com/meshia/webhook/internal/netguard"
)

// Dispatcher is the emitting side: it accepts events, keeps endpoints, and, while Run runs, sends what is due. It is
// safe for concurrent use.
// A Dispatcher that is not run still emits, pings and reads: the dispatchers of other processes on the same store
// send.
type Dispatcher struct {
	*engine
	tenant string
	view   bool // made by Tenant
}

// engine is what all tenants' views of a dispatcher share.
type engine struct {
	cfg      Config
	store    Store
	waker    Waker // nil where the store has none
	guard    *netguard.Guard
	sender   sender
	rules    rules
	keys     keyring
	counts   counters
	shut     keyless   // endpoints that this process cannot sign for
	unsealed sync.Once // the warning about secrets that are not sealed
	owner    string    // names this dispatcher in leases
	log      *slog.Logger
	run      atomic.Pointer[run] // nil while Run is not running
}

// NewDispatcher makes a dispatcher on a store. A nil cfg means the defaults. All that is wrong with cfg is joined in
// one error, of the family [ErrInvalidConfig].
func NewDispatcher(s Store, cfg *Config) (*Dispatcher, error) {
	c, err := cfg.withDefaults()
	if s == nil {
		err = errors.Join(err, fmt.Errorf("%w: no store", ErrInvalidConfig))
	}
	guard, transport, guardErr := c.transport()
	if err := errors.Join(err, guardErr); err != nil {
		return nil, err // of a family that names the package already
	}
	e := &engine{
		cfg: c, store: s, guard: guard, owner: id.New("own_"), log: c.Logger,
		sender: sender{transport: transport, maxResponse: c.MaxResponseBytes, log: c.Logger, proxied: c.EgressProxy != nil},
		rules: rules{
			policy: c.Retry, maxRetryAfter: c.MaxRetryAfter, maxInFlight: c.MaxInFlight,
			pauseAfter: c.PauseAfter, pauseMin: c.PauseMin, pauseMax: c.PauseMax, disableAfter: c.DisableAfter,
		},
	}
	e.keys.forge = e.newKeys
	e.waker, _ = s.(Waker)
	return &Dispatcher{engine: e}, nil
}

// Tenant returns a view of the dispatcher in which every call is the tenant's: it sees and changes nothing of
// another's. The id is valid UTF-8 of at most 255 bytes; what is not is refused by the calls that are made through the
// view. The dispatcher itself is the view of tenant "".
func (d *Dispatcher) Tenant(id string) *Dispatcher {
	return &Dispatcher{engine: d.engine, tenant: id, view: true}
}

// allowed checks the view that a call is made through.
func (d *Dispatcher) allowed() error {
	switch {
	case d.cfg.RequireTenant && d.tenant == "":
		return ErrTenantRequired
	case len(d.tenant) > 255 || !isText(d.tenant):
		return ErrInvalidTenant
	default:
		return nil
	}
}

// Emit stores the events, all or none, and returns when they are stored. Each endpoint that subscribes and is active
// or paused then gets them, or their failure is in the log; for one that is pending or disabled they are counted in a
// [Gap].
// An event whose id is known, with equal type, session and data, is a no-op.
//
// Errors: those of the family [ErrInvalidEvent], [ErrConflict], [ErrStoreFull], [ErrTenantRequired],
// [ErrInvalidTenant], and the store's own. With any of them nothing was stored, unless the store lost its connection
// while it committed: emit again with the same id then.
func (d *Dispatcher) Emit(ctx context.Context, events ...Event) error {
	if err := d.check(events); err != nil {
		return fmt.Errorf("webhook: emit: %w", err)
	}
	if len(events) == 0 {
		return nil
	}

	req := EnqueueRequest{Tenant: d.tenant, Events: events, MaxPending: d.cfg.MaxPending}
	r := d.run.Load()
	reserved := 0
	if r != nil && !r.anyClogged() {
		reserved = r.reserve(d.tenant, min(len(events)*handOverPerEvent, handOverMost))
	}
	if reserved > 0 {
		req.HandOver = &HandOver{Owner: d.owner, Term: d.term(), Max: reserved}
	}
	asked := time.Now()
	res, err := d.store.Enqueue(ctx, req)
	if r != nil && r.occupy(res.Leases, d.tenant, reserved) {
		r.start(res.Leases, asked)
		if len(res.Leases) < reserved {
			r.spared()
		}
	}
	if err != nil {
		return fmt.Errorf("webhook: emit: %w", err)
	}
	d.counts.emitted.Add(int64(len(events)))
	d.backlogged(ctx, res.Backlogged)
	if h := d.cfg.Hooks; h != nil && h.Emitted != nil {
		d.call("Emitted", EndpointRef{Tenant: d.tenant}, func() { h.Emitted(ctx, d.tenant, events) })
	}
	if res.Queued {
		d.wake(ctx, r)
	}
	return nil
}

// handOverPerEvent is how many slots Emit offers for each event: most events go to few endpoints, and what is not
// handed over is claimed. handOverMost bounds what one call keeps from others while the store is at work on it.
const (
	handOverPerEvent = 4
	handOverMost     = 32
)

// MaxEventsPerEmit is how many events one call of Emit or EmitTo takes: a store keeps others waiting while it stores
// them.
const MaxEventsPerEmit = 1000

// EmitTo is Emit into a transaction of the caller's, which a store's Outbox stands for: rolled back, the events were
// never there. Nothing is sent before the commit; call Wake after it, or the events wait for the next poll.
func (d *Dispatcher) EmitTo(ctx context.Context, box Outbox, events ...Event) error {
	if err := d.check(events); err != nil {
		return fmt.Errorf("webhook: emit: %w", err)
	}
	if len(events) == 0 {
		return nil
	}
	if _, err := box.Enqueue(ctx, EnqueueRequest{Tenant: d.tenant, Events: events, MaxPending: d.cfg.MaxPending}); err != nil {
		return fmt.Errorf("webhook: emit: %w", err)
	}
	return nil
}

// Wake makes the dispatcher look for what is due. Where it does not run, or has no slot free for the tenant, it tells
// the dispatchers of other processes, if the store can.
func (d *Dispatcher) Wake(ctx context.Context) { d.wake(ctx, d.run.Load()) }

func (d *Dispatcher) wake(ctx context.Context, r *run) {
	failpoint.Pass(failpoint.K5)
	if r != nil {
		r.wake()
	}
	if d.waker == nil || r != nil && r.able(d.tenant) { // what this process can claim it tells nobody else of
		return
	}
	if err := d.waker.Wake(ctx); err != nil { // they find it at their next poll
		d.log.LogAttrs(ctx, slog.LevelWarn, "webhook: other dispatchers could not be told", slog.Any("error", err))
	}
}

// check refuses what must not be stored.
func (d *Dispatcher) check(events []Event) error {
	if err := d.allowed(); err != nil {
		return err
	}
	if len(events) > MaxEventsPerEmit {
		return fmt.Errorf("%w: %d, at most %d", ErrTooManyEvents, len(events), MaxEventsPerEmit)
	}
	for i := range events {
		if err := d.checkEvent(&events[i]); err != nil {
			if len(events) > 1 {
				return fmt.Errorf("event %d: %w", i, err)
			}
			return err
		}
	}
	return nil
}

func (d *Dispatcher) checkEvent(e *Event) error {
	if e.err != nil {
		return e.err
	}
	if _, ok := d.cfg.Registry.Lookup(e.Type); !ok {
		return fmt.Errorf("%w: %q is not in Config.Registry", ErrUnknownEventType, e.Type)
	}
	if len(e.Body) > d.cfg.MaxEventBytes {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrEventTooLarge, len(e.Body), d.cfg.MaxEventBytes)
	}
	if e.asMade() {
		return e.check()
	}
	e.dataAt = 0
	// Put together by hand, or received from elsewhere: the fields must be what the body says.
	read, err := ParseEvent(e.ID, e.Body)
	if err != nil {
		return fmt.Errorf("%w: its body is not an event", ErrInvalidEvent)
	}
	if read.Type != e.Type || read.SessionID != e.SessionID || !read.Time.Equal(e.Time) || len(e.Data()) == 0 {
		return fmt.Errorf("%w: its fields and its body differ", ErrInvalidEvent)
	}
	return e.check()
}

// term is how long a lease lasts.
func (e *engine) term() time.Duration { return e.cfg.Timeout + leaseMargin }
