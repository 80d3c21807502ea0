package webhook

import (
	"container/list"
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/meshia/webhook/internal/id"
)

// MemoryConfig bounds what a [MemoryStore] keeps. A delivery takes about 600 bytes beside its event, which is kept
// once for all of its deliveries and takes 250 bytes more than its body.
// The attempts of a delivery take about 600 bytes each and what is kept of the responses. An hour in which an endpoint
// had attempts takes about 800 bytes.
type MemoryConfig struct {
	// MaxPending is how many deliveries may be pending or leased; what would be more is refused with [ErrStoreFull].
	// Defaults to 100 000: about 60 MB, and another 120 MB where each is of an event of its own of 1 KiB.
	MaxPending int
	// MaxFinished is how many finished deliveries are kept, over all tenants. The oldest go first, and an event goes
	// with its last delivery. As many events that never had a delivery are kept, for the sake of their ids and to be
	// replayed, and as many traces of deleted endpoints and replays that have ended. Defaults to 10 000.
	MaxFinished int
	// FinishedAge is for how long these are kept at most, and the hours of Stats. Defaults to 72 hours.
	FinishedAge time.Duration
}

// MemoryStore is a [Store] in the memory of one process, and the reference implementation of the contract. It is for
// tests, for development and for services that can bear its limits:
//
//   - When the process ends, all of it is lost: the endpoints, the log and what was not delivered yet.
//   - It serves the dispatchers of one process. There is no transaction of the caller's to take part in, so there is
//     nothing to give to Dispatcher.EmitTo.
//   - What was dropped under [MemoryConfig] is forgotten altogether: an event's id is new again, an old delivery is not
//     found and cannot be redelivered, and the id of an endpoint deleted long ago may be used again. These bounds hold
//     beside what Prune is asked for.
//   - Its room is shared: a backlog that one endpoint builds up can fill it, and Emit then fails with [ErrStoreFull]
//     for all. Its bounds count, and do not weigh.
//   - Of one endpoint's closed gaps the last 1000 are kept, for no longer than FinishedAge.
//
// All of it is under one lock, [Judge] calls included. It starts no goroutine.
type MemoryStore struct {
	maxPending, maxFinished int
	finishedAge             time.Duration

	run   string    // tells this store's cursors from those of others
	begin time.Time // what instants count from

	mu      sync.Mutex
	seq     uint64 // numbers deliveries, tokens and places in heaps
	tenants map[string]*memTenant

	// What Claim looks at. Nothing in here is ever searched from end to end.
	normal, slow memHeap[memEndpoint] // endpoints that have something to send and may be sent to, by when; those with Health.Slow apart
	full         int                  // how many endpoints have something waiting that only their window keeps from being sent
	leases       memHeap[memDelivery] // leased deliveries by when the lease ends
	pending      memHeap[memDelivery] // pending deliveries by when they were created: which expires next
	live         int                  // deliveries pending or leased

	// What bounds on backlogs look at: endpoints that may get events and have deliveries pending or leased. Their order
	// is how many.
	under memHeap[memEndpoint] // those without an open gap, the largest backlog first
	over  memHeap[memEndpoint] // those with an open gap, which then is GapBacklog, the smallest backlog first

	// What is kept for a while, the oldest first: what is dropped next.
	finished list.List            // *memDelivery
	idle     list.List            // *memEvent without a delivery
	gaps     list.List            // *memGap, closed
	hours    list.List            // *memHour
	replayed list.List            // *memReplay that has ended
	deleted  memHeap[memEndpoint] // without a delivery, by when they were deleted
	resting  memHeap[memEvent]    // those with contents and no delivery pending or leased, by when they were stored

	replaying list.List // *memReplay that runs, by when it took its last step, or was created

	names memNames // of the tenants with endpoints that are not deleted
}

var _ Store = (*MemoryStore)(nil)

// NewMemoryStore returns an empty store; nil stands for the defaults. It panics on a negative bound, as make does on a
// negative length.
func NewMemoryStore(cfg *MemoryConfig) *MemoryStore {
	var c MemoryConfig
	if cfg != nil {
		c = *cfg
	}
	if c.MaxPending < 0 || c.MaxFinished < 0 || c.FinishedAge < 0 {
		panic(fmt.Sprintf("webhook: NewMemoryStore: negative bound in %+v", c))
	}
	if c.MaxPending == 0 {
		c.MaxPending = 100_000
	}
	if c.MaxFinished == 0 {
		c.MaxFinished = 10_000
	}
	if c.FinishedAge == 0 {
		c.FinishedAge = 72 * time.Hour
	}
	return &MemoryStore{
		maxPending:  c.MaxPending,
		maxFinished: c.MaxFinished,
		finishedAge: c.FinishedAge,
		run:         id.New(""),
		begin:       time.Now(),
		tenants:     map[string]*memTenant{},
	}
}

// memTenant is all that one tenant has. Every look-up begins here, so that none can reach another tenant's.
type memTenant struct {
	id         string
	events     map[string]*memEvent
	deliveries map[string]*memDelivery
	endpoints  map[string]*memEndpoint   // the deleted ones too
	order      []*memEndpoint            // not deleted, as created
	byType     map[string][]*memEndpoint // not deleted, by what they subscribe to; under AllEvents those that take all, and there only
	log        memLog
	stored     memStored
	replays    map[string]*memReplay
}

type memEvent struct {
	Event
	tenant     *memTenant
	deliveries *memDelivery  // the first of a list of them
	open       int           // how many of them are pending or leased
	direct     bool          // it was stored for one endpoint: no other missed it
	idle       *list.Element // in MemoryStore.idle, while no delivery ever needed it
	stored     time.Duration
	place      memPlace  // in memTenant.stored
	pos        int       // in MemoryStore.resting, or memNowhere
	digest     *[32]byte // what Digest was before the contents were removed; nil: they are there
}

// memNowhere is the position of what is in no heap.
const memNowhere = -1

// stripped reports whether the event's contents were removed.
func (e *memEvent) stripped() bool { return e.digest != nil }

// sameAs reports whether the event has this digest.
func (e *memEvent) sameAs(digest [32]byte) bool {
	if e.digest != nil {
		return *e.digest == digest
	}
	return e.Digest() == digest
}

type memEndpoint struct {
	Endpoint
	tenant *memTenant
	// shared is what leases carry: a copy that nobody modifies, made when the next lease needs it.
	shared  *Endpoint
	gaps    []*memGap // closed ones, as closed
	gap     *memGap   // the open one
	bound   int       // which GapBacklog was opened for
	lane    memLane
	log     memLog
	open    memOpen
	hours   []*memHour   // the oldest first
	replays []*memReplay // the oldest first

	deleted bool
	gone    time.Duration // when it was deleted
	buried  int           // in MemoryStore.deleted, once no delivery is left either; or memNowhere
}

type memDelivery struct {
	Delivery
	seq      uint64
	event    *memEvent
	prev     *memDelivery // of the same event
	next     *memDelivery
	endpoint *memEndpoint
	created  time.Duration
	finished time.Duration
	pos      int           // in its lane's queue while pending, in MemoryStore.leases while leased
	age      int           // in MemoryStore.pending
	open     memOpenLinks  // in memEndpoint.open while pending or leased
	done     *list.Element // in MemoryStore.finished

	// Of the present lease.
	token   string
	started time.Time
}

type memGap struct {
	Gap
	endpoint *memEndpoint
	// What was stored while it was open: the events whose places were numbered later than after, up to upTo.
	after, upTo uint64
	closed      time.Duration
	at          *list.Element // in MemoryStore.gaps, once it is closed
}

// memInstant is a moment as the store sees it. What it compares is at, which is monotonic, so that setting the
// machine's clock neither ends a lease nor holds a retry back; what it shows is wall.
type memInstant struct {
	at   time.Duration
	wall time.Time
}

func (s *MemoryStore) now() memInstant {
	now := time.Now()
	return memInstant{now.Sub(s.begin), now.Round(0).UTC()}
}

// in is the moment d later, or the last there is.
func (i memInstant) in(d time.Duration) time.Duration {
	if d > 0 && i.at > math.MaxInt64-d {
		return math.MaxInt64
	}
	return i.at + d
}

// lock takes the lock unless ctx has ended. Nothing waits for long under it, so that no call needs to look at ctx
// again.
func (s *MemoryStore) lock(ctx context.Context) error {
	s.mu.Lock()
	if err := ctx.Err(); err != nil {
		s.mu.Unlock()
		return fmt.Errorf("webhook: memory store: %w", err)
	}
	return nil
}

// tenant returns what the tenant has; it makes no room for one that has nothing.
func (s *MemoryStore) tenant(name string) *memTenant {
	if t := s.tenants[name]; t != nil {
		return t
	}
	return &memTenant{id: name}
}

// keep makes room for a tenant that is about to have something.
func (s *MemoryStore) keep(t *memTenant) {
	if t.events == nil {
		t.events = map[string]*memEvent{}
		t.deliveries = map[string]*memDelivery{}
		t.endpoints = map[string]*memEndpoint{}
		t.byType = map[string][]*memEndpoint{}
		t.replays = map[string]*memReplay{}
		s.tenants[t.id] = t
	}
}

// endpoint returns an endpoint that is not deleted, or nil.
func (t *memTenant) endpoint(id string) *memEndpoint {
	if ep := t.endpoints[id]; ep != nil && !ep.deleted {
		return ep
	}
	return nil
}

// subscribers are the endpoints that want events of this type, in two lists without an endpoint in common.
func (t *memTenant) subscribers(eventType string) [2][]*memEndpoint {
	return [2][]*memEndpoint{t.byType[eventType], t.byType[AllEvents]}
}
