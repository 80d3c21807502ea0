package simulation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing/synctest"
	"time"

	"github.com/meshia/webhook"
)

// settings are what a run is made with.
type settings struct {
	Seed          uint64
	Poll          time.Duration
	Drain         time.Duration
	MaxAge        time.Duration
	MaxRetryAfter time.Duration
	Slots         int
	MaxInFlight   int
	MaxPending    int                 // of the store: MemoryConfig.MaxPending
	Policy        webhook.RetryPolicy // must be a pure function without chance: the model asks it too
	Wakes         bool                // whether dispatchers hear of each other's events
	Hooks         hooksKind
	ReplayMax     int // events that a step of a replay looks at; 0: as many as it likes

	PauseAfter         int
	PauseMin, PauseMax time.Duration
	DisableAfter       time.Duration // 0: never
	Backlog            int           // of one endpoint: Config.MaxPending

	// What tests of the checker break on purpose.
	breakStore     func(webhook.Store) webhook.Store // below the ledger
	breakProcess   func(webhook.Store) webhook.Store // above it
	breakTransport func(http.RoundTripper) http.RoundTripper
	breakConfig    func(*webhook.Config)
}

func standard() settings {
	return settings{
		Poll: 30 * time.Second, Drain: 20 * time.Second, MaxAge: 5 * 24 * time.Hour, MaxRetryAfter: 24 * time.Hour, Slots: 8, MaxInFlight: 8,
		Policy:     webhook.Schedule{10 * time.Second, time.Minute, 6 * time.Minute},
		PauseAfter: 10, PauseMin: 30 * time.Second, PauseMax: 10 * time.Minute, DisableAfter: 5 * 24 * time.Hour, Backlog: 100_000,
	}
}

// world is one run: the store that survives, the dispatchers that come and go, the receivers, and the ledgers. All of
// it lives in one bubble.
type world struct {
	settings
	ledger   *ledger
	nodes    []*node
	over     chan struct{} // closed when the run ends: lets go of what dead dispatchers hold
	tasks    sync.WaitGroup
	began    time.Time
	calm     bool // the end of the run: nothing fails any more
	crashes  int
	accepted int

	endpoints []endpointKey // that were asked for, in this order
	emitted   []emitted
	sequence  int
}

type endpointKey struct{ tenant, id string }

// emitted is what the producer knows of an event.
type emitted struct {
	tenant string
	event  webhook.Event
}

func newWorld(s settings) *world {
	var store webhook.Store = webhook.NewMemoryStore(&webhook.MemoryConfig{
		MaxPending: s.MaxPending, MaxFinished: 1 << 30, FinishedAge: 100 * 365 * 24 * time.Hour, // nothing is forgotten: the model does not forget
	})
	if s.breakStore != nil {
		store = s.breakStore(store)
	}
	w := &world{settings: s, over: make(chan struct{}), began: time.Now()}
	w.ledger = newLedger(w, store)
	return w
}

// chance is a number that depends on nothing but the seed and what it is for, so that a run can be repeated whatever
// order goroutines run in.
func (w *world) chance(of string, n uint64) uint64 {
	x := w.Seed ^ n*0x9e3779b97f4a7c15
	for i := range len(of) {
		x = (x ^ uint64(of[i])) * 0x100000001b3
	}
	x ^= x >> 31
	x *= 0x9e3779b97f4a7c15
	return x ^ x>>29
}

// node is a process: a dispatcher with its own way to the store and to the network.
type node struct {
	w     *world
	name  string
	d     *webhook.Dispatcher
	store *faulty

	death   chan struct{} // closed by crash
	running bool
	stop    context.CancelFunc
	done    chan struct{} // closed when Run has returned
	stopped time.Time

	// Guarded by ledger.mu.
	flying           int               // requests of Run's that are under way
	serving          map[string]int    // those of each tenant
	full             map[*endpoint]int // gaps of backlogs that it opened and that no hook told of
	emits, announced int               // calls of Emit that succeeded, and that a hook told of
}

func (w *world) start() *node {
	n := &node{w: w, name: fmt.Sprintf("node%d", len(w.nodes)+1), death: make(chan struct{}), full: map[*endpoint]int{}, serving: map[string]int{}}
	n.store = &faulty{node: n, ledger: w.ledger}
	var transport http.RoundTripper = n
	if w.breakTransport != nil {
		transport = w.breakTransport(transport)
	}
	var store webhook.Store = n.store
	if w.Wakes {
		store = waker{n.store}
	}
	if w.breakProcess != nil {
		store = w.breakProcess(store)
	}
	cfg := &webhook.Config{
		Retry: w.Policy, MaxRetryAfter: w.MaxRetryAfter, MaxAge: w.MaxAge, Drain: w.Drain, Poll: w.Poll, Slots: w.Slots, MaxInFlight: w.MaxInFlight,
		PauseAfter: w.PauseAfter, PauseMin: w.PauseMin, PauseMax: w.PauseMax, DisableAfter: w.DisableAfter, NeverDisable: w.DisableAfter == 0, MaxPending: w.Backlog,
		Hooks: n.hooks(), UnguardedTransport: transport, Logger: slog.New(w.ledger.logs()),
	}
	if w.breakConfig != nil {
		w.breakConfig(cfg)
	}
	d, err := webhook.NewDispatcher(store, cfg)
	if err != nil {
		panic(err)
	}
	n.d = d
	w.nodes = append(w.nodes, n)
	n.run()
	return n
}

// run starts Run, for the first time or again.
func (n *node) run() {
	ctx, cancel := context.WithCancel(context.Background())
	n.running, n.stop, n.done = true, cancel, make(chan struct{})
	done := n.done
	n.w.tasks.Go(func() {
		err := n.d.Run(ctx)
		cancel()
		if !n.dead() {
			n.w.ledger.stopped(n, err)
		}
		close(done)
	})
}

// shutdown ends Run's context. It does not wait.
func (n *node) shutdown() {
	n.running, n.stopped = false, time.Now()
	n.stop()
}

// crash ends the process: nothing that it does reaches anybody any more, but for the requests that are on their way.
func (n *node) crash() {
	n.w.ledger.mu.Lock()
	defer n.w.ledger.mu.Unlock()
	n.running = false
	close(n.death)
	n.w.crashes++
}

func (n *node) dead() bool {
	select {
	case <-n.death:
		return true
	default:
		return false
	}
}

// mayRerun: Run was ended and has returned.
func (n *node) mayRerun() bool {
	if n.running || n.dead() {
		return false
	}
	select {
	case <-n.done:
		return true
	default:
		return false
	}
}

func (w *world) alive(want func(*node) bool) []*node {
	var out []*node
	for _, n := range w.nodes {
		if !n.dead() && (want == nil || want(n)) {
			out = append(out, n)
		}
	}
	return out
}

var errDead = errors.New("simulation: the process is dead")

// hold keeps a call of a dead process from ever being answered; it ends with the run, so that its goroutine can.
func (n *node) hold() error {
	<-n.w.over
	return errDead
}

// sleep lets time pass, and reports false if the process died or ctx ended first.
func (n *node) sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return !n.dead() && ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return !n.dead()
	case <-ctx.Done():
	case <-n.death:
	}
	return false
}

// do makes a call of the producer's, and waits for its end for as long as patience says; then it goes on by itself.
func (w *world) do(patience time.Duration, call func()) {
	done := make(chan struct{})
	w.tasks.Go(func() {
		defer close(done)
		call()
	})
	if patience > 0 {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
		}
	}
	synctest.Wait()
}

// end stops whatever is left; every goroutine of the bubble can end after it.
func (w *world) end() {
	for _, n := range w.nodes {
		n.stop()
	}
	close(w.over)
	w.tasks.Wait()
}
