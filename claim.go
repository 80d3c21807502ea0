package webhook

import (
	"context"
	"log/slog"
	"math"
	"time"
)

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
			r.rest(ctx, now.Sub(asked))
		}
	}
}

// maxRest bounds how much later an event goes out because of the claims before it that found nothing.
const maxRest = 10 * time.Millisecond

// rest keeps claims that find nothing, since every window is full and yet each Emit asks for one, from taking more than
// a third of the store's time. An outcome that was recorded ends it: it may have opened a window.
func (r *run) rest(ctx context.Context, took time.Duration) {
	d := 2 * min(took, maxRest/2)
	if d <= 0 {
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

// able reports whether the claim loop can take what is due for the tenant: it has slots, and keys for all that it has
// met.
func (r *run) able(tenant string) bool {
	if r.shut.any() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.free > 0 && r.tenants[tenant] < r.cfg.TenantSlots && !r.closing
}

// claim leases what fits into the free slots, and returns it with how long to wait before the next look. asked is when
// the store was asked. It is not while another claim is under way, who would have to know what that brings each tenant:
// the claim loop looks after it.
func (r *run) claim(ctx context.Context) (leases []Lease, asked time.Time, wait time.Duration) {
	skip := append(r.shut.list(time.Now()), r.clogs()...)
	if len(skip) >= keylessMax {
		return nil, asked, r.cfg.Poll
	}
	req := ClaimRequest{Owner: r.owner, Term: r.term(), MaxAge: r.cfg.MaxAge, MaxPending: r.cfg.MaxPending, Skip: skip}
	if !r.prepare(&req) {
		return nil, asked, r.cfg.Poll
	}
	asked = time.Now()
	// It outlasts ctx, since a claim that is cut off while it commits leaves leases that nobody has; and it ends, since
	// over a connection that has fallen silent no answer comes.
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseMargin)
	defer cancel()
	got, err := r.store.Claim(bounded, req)
	running := r.occupy(got.Leases, "", req.Max)
	r.mu.Lock()
	r.asked = nil
	missed := r.missed
	r.missed = false
	r.mu.Unlock()
	if missed {
		r.open()
	}
	if got.Backlogged != nil { // not here: a hook that blocks would keep all from being served
		r.workers.Go(func() { r.backlogged(r.attempts, got.Backlogged) })
	}
	if !running {
		return nil, asked, r.cfg.Poll
	}
	if err != nil {
		if ctx.Err() == nil {
			r.log.LogAttrs(ctx, slog.LevelError, "webhook: claiming failed", slog.Any("error", err))
		}
		return nil, asked, r.cfg.Poll
	}
	r.mu.Lock()
	r.waiting = got.Blocked || len(got.Leases) == req.Max
	more := len(got.Leases) == req.Max || r.cramped(&req, got.Leases) // what was left to Emit; without a free slot nothing is claimed
	r.mu.Unlock()
	switch {
	case more:
		return got.Leases, asked, 0
	case got.Next < 0:
		return got.Leases, asked, r.cfg.Poll
	}
	return got.Leases, asked, min(got.Next, r.cfg.Poll)
}

// ClaimRequest says what a dispatcher can take.
type ClaimRequest struct {
	Owner   string        // names the dispatcher, for people who read the store
	Term    time.Duration // how long the leases last
	Max     int           // leases at most
	MaxSlow int           // leases to slow endpoints at most
	// MaxTenant is how many leases the endpoints of one tenant may get; 0: any number.
	MaxTenant int
	// Tenants is what the endpoints of these tenants may get instead of MaxTenant.
	Tenants map[string]int
	// MaxAge is after what time pending deliveries expire; 0: never.
	MaxAge time.Duration
	// MaxPending is EnqueueRequest.MaxPending, which some stores apply here.
	MaxPending int
	// Skip are endpoints that the caller cannot serve for now, though others may.
	Skip []EndpointRef
}

// Room is how many leases the endpoints of the tenant may get.
func (r *ClaimRequest) Room(tenant string) int {
	room, own := r.Tenants[tenant]
	switch {
	case tenant == "" || !own && r.MaxTenant <= 0:
		return math.MaxInt
	case !own:
		return r.MaxTenant
	}
	return max(0, room)
}

// Claimed is what [Queue].Claim found.
type Claimed struct {
	Leases []Lease
	// Next is how long until another call can find something; negative: nothing is waiting for a time to come.
	Next time.Duration
	// Blocked reports whether there is more than could be handed out: asking again is worth it as soon as an outcome
	// is recorded.
	Blocked bool
	// Backlogged are the endpoints for which the call opened a gap with GapBacklog.
	Backlogged []EndpointRef
}
