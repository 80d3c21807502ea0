package simulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshia/webhook"
)

// ledger stands between the processes and the store. It makes one call at a time, and knows from the calls alone what
// must be in the store.
type ledger struct {
	w     *world
	store webhook.Store
	bell  bell

	mu         sync.Mutex // held through a call to the store; nothing waits under it
	events     map[eventKey]*event
	deliveries map[string]*delivery
	gone       map[string]*delivery // those that were removed
	forgotten  map[eventKey]bool    // events that were removed, and may have come again
	open       map[*delivery]bool   // those that are not final
	endpoints  map[endpointKey]*endpoint
	owned      map[string]*lease     // by delivery: the leases that are present
	leases     map[attemptKey]*lease // by attempt: the last one that was given for it
	requests   map[attemptKey]*request
	replaying  []*replay // those that run, the one first whose last step is the longest ago
	placed     uint64    // how many events were stored
	verifiers  map[[2]string]*webhook.Verifier
	secrets    []string   // every secret that there ever was
	logMu      sync.Mutex // apart: a process may log within a call to the store
	logged     strings.Builder

	asked    atomic.Uint64 // calls to the store
	compared uint64        // as many had there been at the last comparison

	turns map[turn]*turns
	calls map[string]int // of hooks, by what they are about

	sent, interrupted, deferred, calledHooks, backlogs, replayed, skipped int
	entered                                                               map[webhook.StateReason]int // how often
	complaints                                                            []string
}

type eventKey struct{ tenant, id string }

type attemptKey struct {
	delivery string
	number   int
}

// event is an event that is stored.
type event struct {
	key     eventKey
	kind    string
	digest  [32]byte
	body    []byte
	stored  time.Time
	place   uint64   // in the order of storing
	direct  bool     // stored for one endpoint
	bare    bool     // its contents were removed from the store, if they were
	erased  bool     // by its owner
	matched []string // endpoints, as they were when it was stored
}

// gap is one with what was stored in it: the events after one and up to another.
type gap struct {
	webhook.Gap
	after, upTo uint64
}

type delivery struct {
	webhook.Delivery
	name  string // without chance in it
	event string
	of    *event
	// endpoint is the id; at is what it names.
	endpoint string
	tenant   string
	at       *endpoint
	lease    *lease
	tokens   map[string]bool
}

type lease struct {
	delivery *delivery
	node     *node
	token    string
	number   int
	given    time.Time
	ends     time.Time
	direct   bool
	endpoint webhook.Endpoint // as it was leased
	texts    map[string]string
	headers  map[string]string

	deferred bool // that is what came of it
	hooked
}

func (l *lease) String() string { return fmt.Sprintf("%s, attempt %d", l.delivery.name, l.number) }

// live are the secrets that may sign at that time.
func (l *lease) live(now time.Time) []string {
	var out []string
	for _, s := range l.endpoint.Secrets {
		if s.ExpiresAt.IsZero() || now.Before(s.ExpiresAt) {
			out = append(out, l.texts[s.ID])
		}
	}
	return out
}

type endpoint struct {
	webhook.Endpoint
	deleted  bool
	gone     time.Time // when it was deleted
	receiver receiver
	texts    map[string]string // StoredSecret.ID to its text
	headers  map[string]string // its own, by name; replaced as a whole
	gaps     []gap             // closed ones, with something in them
	gap      *gap
	placed   *uint64   // ledger.placed
	replays  []*replay // the oldest first
	missed   int64
	gapped   map[webhook.GapReason]int // gaps that opened and that no hook told of; those of backlogs aside
	named    int                       // numbers its deliveries
	backlog  int                       // deliveries pending or leased
	hours    map[time.Time]*webhook.HourStats
	pruned   bool // something of its log or its hours was removed
	erasing  bool // with its tenant, and some of it may still be found

	pace    pace
	meter   meter
	flying  map[*request]bool // requests that are under way, but for direct ones
	bounded time.Time         // when its MaxInFlight was last changed
}

func newLedger(w *world, store webhook.Store) *ledger {
	return &ledger{
		w: w, store: store, bell: bell{c: make(chan struct{})},
		events: map[eventKey]*event{}, deliveries: map[string]*delivery{}, gone: map[string]*delivery{}, forgotten: map[eventKey]bool{}, open: map[*delivery]bool{}, endpoints: map[endpointKey]*endpoint{},
		turns: map[turn]*turns{}, calls: map[string]int{}, entered: map[webhook.StateReason]int{}, owned: map[string]*lease{}, leases: map[attemptKey]*lease{}, requests: map[attemptKey]*request{}, verifiers: map[[2]string]*webhook.Verifier{},
	}
}

// complain notes a broken promise. The first word is its kind. The caller holds mu.
func (l *ledger) complain(format string, args ...any) {
	if len(l.complaints) < 20 {
		l.complaints = append(l.complaints, fmt.Sprintf("%v: ", time.Since(l.w.began))+fmt.Sprintf(format, args...))
	}
}

// broken returns the complaints so far.
func (l *ledger) broken() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.complaints, "\n")
}

// stopped is called when a Run has returned.
func (l *ledger) stopped(n *node, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.complain("STOP: Run of %s returned an error: %v", n.name, err)
	}
	if n.flying != 0 {
		l.complain("STOP: Run of %s has returned with %d requests under way", n.name, n.flying)
	}
	for _, held := range l.present() {
		if r := l.requests[attemptKey{held.delivery.ID, held.number}]; held.node == n && !held.direct && r != nil && r.ended.IsZero() {
			l.complain("STOP: Run of %s has returned and left %s", n.name, held)
		}
	}
}

// present are the leases that there are, in an order without chance.
func (l *ledger) present() []*lease {
	return slices.SortedFunc(maps.Values(l.owned), func(a, b *lease) int { return strings.Compare(a.delivery.name, b.delivery.name) })
}

// all are the deliveries, in an order without chance.
func (l *ledger) all() []*delivery {
	return slices.SortedFunc(maps.Values(l.deliveries), func(a, b *delivery) int { return strings.Compare(a.name, b.name) })
}

// place is where the ledger keeps what it knows of an endpoint.
func (l *ledger) place(tenant, id string) *endpoint {
	key := endpointKey{tenant, id}
	if l.endpoints[key] == nil {
		l.endpoints[key] = &endpoint{placed: &l.placed, texts: map[string]string{}, hours: map[time.Time]*webhook.HourStats{}, gapped: map[webhook.GapReason]int{}, flying: map[*request]bool{}, receiver: receiver{mode: modes[0]}, deleted: true}
	}
	return l.endpoints[key]
}

// room is how many deliveries an endpoint may have in flight, by its window and its own bound, and how many it has.
func (l *ledger) room(ep *endpoint) (window, has int) {
	for _, held := range l.owned {
		if held.delivery.at == ep {
			has++
		}
	}
	return min(max(1, ep.Health.Window), l.w.inFlight(&ep.Endpoint)), has
}

// due are the endpoint's deliveries that wait and have fallen due.
func (l *ledger) due(ep *endpoint, now time.Time) []*delivery {
	var out []*delivery
	for d := range l.open {
		if d.at == ep && d.State == webhook.DeliveryPending && !d.NextAttemptAt.After(now) {
			out = append(out, d)
		}
	}
	return out
}

// give notes a lease. The rules that are not Claim's alone are checked here.
func (l *ledger) give(n *node, given *webhook.Lease, direct bool, asked time.Duration) *lease {
	now := time.Now()
	d := l.deliveries[given.Delivery.ID]
	if d == nil {
		l.complain("GHOST: a lease of a delivery that was never made, for event %q", given.Event.ID)
		return nil
	}
	held := &lease{
		delivery: d, node: n, token: given.Token, number: d.AttemptCount + 1, given: now, ends: now.Add(asked), direct: direct,
		endpoint: *given.Endpoint, texts: maps.Clone(d.at.texts), headers: d.at.headers,
	}
	if other := l.owned[d.ID]; other != nil {
		l.complain("TWO OWNERS: %s is given to %s while %s has it for another %v", held, n.name, other.node.name, other.ends.Sub(now))
	}
	if d.State.Final() {
		l.complain("FINAL: %s is given out after it was %s", held, d.State)
	}
	if d.tokens[given.Token] {
		l.complain("TOKEN: %s has a token that the delivery had before", held)
	}
	if g := &given.Delivery; g.AttemptCount != held.number || g.Interrupted != d.Interrupted || g.Deferred != d.Deferred {
		l.complain("NUMBER: %s is leased as attempt %d, %d of them interrupted and %d deferred, which are %d and %d", held, g.AttemptCount, g.Interrupted, g.Deferred, d.Interrupted, d.Deferred)
	}
	if given.Term != asked {
		l.complain("TERM: %s has %v, not %v", held, given.Term, asked)
	}
	if d.of.bare {
		l.complain("BODY: %s is given out, and the event's contents are gone", held)
	}
	if string(d.of.body) != string(given.Event.Body) || given.Event.ID != d.event {
		l.complain("CHANGED: %s carries another event", held)
	}
	if e := given.Endpoint; e.ID != d.endpoint || e.Tenant != d.tenant || e.Version != d.at.Version || e.Health != d.at.Health || chosen(e) != chosen(&d.at.Endpoint) {
		l.complain("CHANGED: %s carries another endpoint, or as it was some time ago", held)
	}
	wantLast := ""
	for _, a := range d.Attempts {
		if a.Result != webhook.AttemptInterrupted {
			wantLast = a.SecretID
		}
	}
	if given.LastSecret != wantLast {
		l.complain("CHANGED: %s does not carry the secret of the last attempt that came to an end", held)
	}
	d.tokens[given.Token] = true
	d.lease = held
	d.AttemptCount++
	d.State = webhook.DeliveryLeased
	d.NextAttemptAt = time.Time{}
	l.owned[d.ID] = held
	l.leases[attemptKey{d.ID, held.number}] = held
	return held
}

// finish gives a delivery its final state.
func (l *ledger) finish(d *delivery, state webhook.DeliveryState, why webhook.FailReason, now time.Time) {
	delete(l.open, d)
	d.State, d.Reason, d.FinishedAt, d.NextAttemptAt = state, why, now, time.Time{}
	d.at.backlog--
	d.at.relieve(l.w.Backlog, now)
}

// again makes a delivery wait.
func (l *ledger) again(d *delivery, wait time.Duration, now time.Time) {
	switch {
	case d.at.deleted:
		l.finish(d, webhook.DeliveryFailed, webhook.FailEndpointDeleted, now)
	case d.of.erased:
		l.finish(d, webhook.DeliveryFailed, webhook.FailErased, now)
	default:
		d.State, d.NextAttemptAt = webhook.DeliveryPending, now.Add(wait)
	}
}

// interrupt notes an interrupted attempt.
func (l *ledger) interrupt(d *delivery, row webhook.Attempt, wait time.Duration, now time.Time) {
	l.interrupted++
	d.Attempts = append(d.Attempts, d.of.keeps(row))
	d.Interrupted++
	if d.Kind.Once() || d.Interrupted >= webhook.MaxInterrupted {
		l.finish(d, webhook.DeliveryFailed, webhook.FailInterrupted, now)
		return
	}
	l.again(d, wait, now)
}

func (l *ledger) end(held *lease) {
	held.delivery.lease = nil
	delete(l.owned, held.delivery.ID)
}

// bell is what processes hear each other by.
type bell struct {
	mu sync.Mutex
	c  chan struct{}
}

func (b *bell) ring() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.c)
	b.c = make(chan struct{})
	return nil
}

func (b *bell) heard() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.c
}
