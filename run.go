package webhook

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/meshia/webhook/internal/failpoint"
)

// Run sends what is due until ctx ends. It then claims no more, waits up to Config.Drain for the attempts in flight,
// cuts off those that are left, records every outcome, and returns nil: nothing of it runs on. It returns [ErrRunning]
// if this dispatcher, or a view of it, is running already. A store that is away does not end it.
func (d *Dispatcher) Run(ctx context.Context) error {
	r := newRun(ctx, d.engine)
	if !d.run.CompareAndSwap(nil, r) {
		return fmt.Errorf("webhook: run: %w", ErrRunning)
	}
	var beside sync.WaitGroup
	if !r.cfg.KeepForever {
		beside.Go(func() { r.tidy(ctx) })
	}
	beside.Go(func() { r.replay(ctx) })
	r.claimUntil(ctx)
	failpoint.Pass(failpoint.K21)
	r.drain()
	beside.Wait()
	if c, ok := r.sender.transport.(interface{ CloseIdleConnections() }); ok && r.cfg.UnguardedTransport == nil { // each has goroutines; a transport of the user's is the user's
		c.CloseIdleConnections()
	}
	d.run.Store(nil) // last: until then a second Run is refused
	return nil
}

// run is the state of one call of Run: its slots, its workers, and the outcomes that wait to be recorded.
type run struct {
	*engine
	claiming context.Context // Run's own: when it ends nothing more is claimed
	attempts context.Context // what attempts run on: it outlives Run's own context by the drain
	cut      context.CancelCauseFunc
	jobs     chan job
	over     chan struct{} // closed when idle workers are to end
	workers  sync.WaitGroup
	due      chan struct{} // something may have become claimable
	opened   chan struct{} // and so it may since an outcome was recorded
	replays  chan struct{} // a replay was started here
	recorder recorder

	mu      sync.Mutex
	free    int                  // slots
	busy    int                  // leases that workers have, each on a slot
	slow    int                  // slots that slow endpoints have
	tenants map[string]int       // slots that each tenant has, with those that Emit has reserved; the empty one's are not counted
	asked   *ClaimRequest        // the claim that is under way
	missed  bool                 // another one was to be made meanwhile
	waiting bool                 // there is more than fitted: a slot or a window that becomes free is worth a claim
	look    time.Time            // when the claim loop looks next by itself
	held    map[EndpointRef]int  // where there are hooks: slots that an endpoint has, from its attempt to the end of its hooks
	clogged map[EndpointRef]bool // endpoints that have too many of them
	closing bool
	empty   chan struct{} // closed when closing and no worker is busy
}

// job is a lease on its way to a worker.
type job struct {
	*Lease
	asked time.Time // when the call that gave the lease was made: its term counts from then
}

func newRun(ctx context.Context, e *engine) *run {
	attempts, cut := context.WithCancelCause(context.Background())
	r := &run{
		engine: e, claiming: ctx, attempts: attempts, cut: cut,
		jobs: make(chan job), over: make(chan struct{}), due: make(chan struct{}, 1), opened: make(chan struct{}, 1), replays: make(chan struct{}, 1), empty: make(chan struct{}),
		free: e.cfg.Slots, tenants: make(map[string]int),
	}
	r.recorder.run = r
	// Not the context of the attempts: what the drain cut off is recorded too.
	r.recorder.writes = bounded{parent: context.Background(), limit: leaseMargin}
	return r
}

// start hands leases that occupy slots to workers.
func (r *run) start(leases []Lease, asked time.Time) {
	for i := range leases {
		j := job{&leases[i], asked}
		select {
		case r.jobs <- j: // to a worker that is idle
		default:
			r.workers.Go(func() { r.work(j) })
		}
	}
}

// work makes attempts until Run is over. Workers are kept since the stack of a request, once grown, serves the next
// one too.
func (r *run) work(j job) {
	out := newLine(r.attempts, r.cfg.Timeout)
	defer out.drop()
	for {
		next, ok := r.recorder.add(r.attempt(out, j))
		if ok { // what was claimed for the slot that became free
			j = next
			continue
		}
		select {
		case j = <-r.jobs:
		case <-r.over:
			return
		}
	}
}

// attempt sends, unless it is too late to, and settles.
func (r *run) attempt(out *line, j job) settled {
	// A lease that was long on its way could end while the request is under way.
	late := func() bool { return time.Since(j.asked) > leaseMargin/2 }
	r.mu.Lock()
	unwanted := r.closing || r.clogged[j.Endpoint.ref()] // which it was not when it was claimed
	r.mu.Unlock()
	if unwanted || late() {
		return settled{lease: j.Lease, Outcome: release(j.Lease)}
	}
	r.hold(j.Endpoint, 1) // from here on: AttemptStarted may be what takes long
	s := settled{lease: j.Lease, Outcome: release(j.Lease)}
	if r.started(out.parent, j.Lease, late) {
		s = r.engine.attempt(out, j.Lease)
	}
	s.held = true
	return s
}

// drain waits for what is in flight, cuts off what takes longer than it may, and ends the workers.
func (r *run) drain() {
	r.mu.Lock()
	r.closing = true
	if r.busy == 0 {
		close(r.empty)
	}
	r.mu.Unlock()

	timer := time.NewTimer(r.cfg.Drain)
	defer timer.Stop()
	select {
	case <-r.empty:
	case <-timer.C:
		r.cut(errStopped)
		<-r.empty
	}
	r.cut(errStopped)
	close(r.over)
	r.workers.Wait()
	r.recorder.writes.drop()
}
