package webhook

import (
	"context"
	"fmt"
	"log/slog"
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
	recorder recorder

	mu      sync.Mutex
	free    int                  // slots
	busy    int                  // leases that workers have, each on a slot
	slow    int                  // slots that slow endpoints have
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
		jobs: make(chan job), over: make(chan struct{}), due: make(chan struct{}, 1), opened: make(chan struct{}, 1), empty: make(chan struct{}),
		free: e.cfg.Slots,
	}
	r.recorder.run = r
	// Not the context of the attempts: what the drain cut off is recorded too.
	r.recorder.writes = bounded{parent: context.Background(), limit: leaseMargin}
	return r
}

// reserve takes up to n free slots, and answers how many.
func (r *run) reserve(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		return 0
	}
	n = min(n, r.free)
	r.free -= n
	return n
}

// reserveMost takes the free slots for a claim, but for some that Emit may hand leases to meanwhile.
func (r *run) reserveMost() int {
	r.mu.Lock()
	free := r.free
	r.mu.Unlock()
	if free > 2*handOverMost {
		free -= handOverMost
	}
	return r.reserve(free)
}

// able reports whether the claim loop can take what is due: it has slots, and keys for all that it has met.
func (r *run) able() bool {
	if r.shut.any() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.free > 0 && !r.closing
}

// occupy puts leases on the reserved slots and gives the slots that are left back. The answer is false if Run is
// ending: whoever waited for the store until now is not waited for, and the leases are given back unsent.
func (r *run) occupy(leases []Lease, reserved int) bool {
	slow := 0
	for i := range leases {
		if leases[i].Endpoint.Health.Slow {
			slow++
		}
	}
	r.mu.Lock()
	r.free += reserved - len(leases)
	ending := r.closing
	if ending {
		r.free += len(leases)
	} else {
		r.busy += len(leases)
		r.slow += slow
	}
	r.mu.Unlock()
	if !ending || len(leases) == 0 {
		return !ending
	}
	unsent := make([]settled, len(leases))
	for i := range leases {
		unsent[i] = settled{lease: &leases[i], Outcome: release(&leases[i], 0)}
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaseMargin)
	defer cancel()
	r.record(ctx, unsent)
	return false
}

// spared makes the claim loop look if there is more to claim than it found slots for: some that were reserved are free
// again.
func (r *run) spared() {
	r.mu.Lock()
	waiting := r.waiting
	r.mu.Unlock()
	if waiting {
		r.wake()
	}
}

// vacate gives the slots of n leases back, slow of which slow endpoints had.
func (r *run) vacate(n, slow int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free += n
	r.busy -= n
	r.slow -= slow
	if r.closing && r.busy == 0 && n > 0 { // the last of them, and not who keeps them all for hooks
		close(r.empty)
	}
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
	if unwanted || late() || !r.started(out.parent, j.Lease, late) {
		return settled{lease: j.Lease, Outcome: release(j.Lease, 0)}
	}
	r.hold(j.Endpoint, 1)
	s := r.engine.attempt(out, j.Lease)
	s.held = true
	return s
}

// wake makes the claim loop look.
func (r *run) wake() {
	select {
	case r.due <- struct{}{}:
	default: // it is going to look already
	}
}

// open makes the claim loop look for what an outcome has made claimable.
func (r *run) open() {
	select {
	case r.opened <- struct{}{}:
	default:
	}
}

// claimUntil claims whenever something is due and a slot is free, until ctx ends.
func (r *run) claimUntil(ctx context.Context) {
	if r.waker != nil {
		listening, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() { defer close(done); r.listen(listening) }()
		defer func() { stop(); <-done }()
	}
	r.wake()
	later := time.AfterFunc(r.cfg.Poll, r.wake)
	defer later.Stop()
	for {
		select {
		case <-ctx.Done():
		case <-r.due:
		case <-r.opened:
		}
		if ctx.Err() != nil {
			return
		}
		leases, asked, wait := r.claim(ctx)
		r.start(leases, asked)
		now := time.Now()
		r.mu.Lock()
		r.look = now.Add(wait)
		r.mu.Unlock()
		if wait > 0 { // timers that are due at once crash the race detector within synctest: https://go.dev/issue/78156
			later.Reset(wait)
		} else {
			r.wake()
		}
		if len(leases) == 0 && !asked.IsZero() {
			r.rest(ctx, 2*now.Sub(asked))
		}
	}
}

// maxRest bounds how much later an event goes out because of the claims before it that found nothing.
const maxRest = 10 * time.Millisecond

// rest keeps claims that find nothing, since every window is full and yet each Emit asks for one, from taking more than
// a third of the store's time. An outcome that was recorded ends it: it may have opened a window.
func (r *run) rest(ctx context.Context, d time.Duration) {
	if d = min(d, maxRest); d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-r.opened:
		r.wake()
	}
}

// listen hears what other processes tell through the store.
func (r *run) listen(ctx context.Context) {
	for ctx.Err() == nil {
		_ = retryStore(ctx, func() error { return r.waker.Wait(ctx) }, func(err error) {
			if ctx.Err() == nil {
				r.log.LogAttrs(ctx, slog.LevelWarn, "webhook: not hearing other dispatchers, polling", slog.Any("error", err))
			}
		})
		r.wake()
	}
}

// claim leases what fits into the free slots, and returns it with how long to wait before the next look. asked is when
// the store was asked.
func (r *run) claim(ctx context.Context) (leases []Lease, asked time.Time, wait time.Duration) {
	skip := append(r.shut.list(time.Now()), r.clogs()...)
	if len(skip) >= keylessMax {
		return nil, asked, r.cfg.Poll
	}
	n := r.reserveMost()
	r.mu.Lock()
	r.waiting = true // until the answer is in: an outcome that is recorded meanwhile makes it old
	slow := max(min(n, (r.cfg.Slots+1)/2-r.slow), 0)
	r.mu.Unlock()
	if n == 0 {
		return nil, asked, r.cfg.Poll
	}
	asked = time.Now()
	// It outlasts ctx, since a claim that is cut off while it commits leaves leases that nobody has; and it ends, since
	// over a connection that has fallen silent no answer comes.
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseMargin)
	defer cancel()
	got, err := r.store.Claim(bounded, ClaimRequest{
		Owner: r.owner, Term: r.term(), Max: n, MaxSlow: slow, MaxAge: r.cfg.MaxAge, MaxPending: r.cfg.MaxPending, Skip: skip,
	})
	r.backlogged(ctx, got.Backlogged)
	if !r.occupy(got.Leases, n) {
		return nil, asked, r.cfg.Poll
	}
	if err != nil {
		if ctx.Err() == nil {
			r.log.LogAttrs(ctx, slog.LevelError, "webhook: claiming failed", slog.Any("error", err))
		}
		return nil, asked, r.cfg.Poll
	}
	r.mu.Lock()
	r.waiting = got.Blocked || len(got.Leases) == n
	more := len(got.Leases) == n && r.free > 0 // what was left to Emit
	r.mu.Unlock()
	switch {
	case more:
		return got.Leases, asked, 0
	case got.Next < 0:
		return got.Leases, asked, r.cfg.Poll
	}
	return got.Leases, asked, min(got.Next, r.cfg.Poll)
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
