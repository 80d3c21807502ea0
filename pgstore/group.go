package pgstore

import (
	"context"
	"sync"
	"time"

	"github.com/meshia/webhook"
)

// group lets concurrent calls of Enqueue share transactions: a commit takes about as long for many events as for one.
// There is no goroutine for it. The first caller who comes writes, those who come meanwhile wait, and the first of
// them then writes for all of them.
type group struct {
	mu      sync.Mutex
	waiting []*call
	busy    bool // somebody writes, or was told to
}

// call is one Enqueue. What it holds belongs to whoever writes until done is closed.
type call struct {
	tenant string
	events []prepared
	hand   *webhook.HandOver
	result webhook.EnqueueResult
	err    error

	lead chan struct{} // closed: this caller is to write
	done chan struct{} // closed: result and err are final
	gone bool          // the caller does not wait any more; under group.mu
}

const (
	groupEvents = 256     // events of one transaction at most, where no single call has more
	groupBytes  = 8 << 20 // of bodies, likewise
	// groupLimit bounds a transaction that strangers wait for; the caller who writes may be gone before.
	groupLimit = 30 * time.Second
)

func (g *group) do(ctx context.Context, s *Store, c *call) (webhook.EnqueueResult, error) {
	if err := ctx.Err(); err != nil {
		return webhook.EnqueueResult{}, err
	}
	c.lead, c.done = make(chan struct{}), make(chan struct{})
	g.mu.Lock()
	g.waiting = append(g.waiting, c)
	if !g.busy {
		g.busy = true
		close(g.waiting[0].lead)
	}
	g.mu.Unlock()

	select {
	case <-c.done:
		return c.result, c.err
	case <-c.lead:
		return g.write(ctx, s, c)
	case <-ctx.Done():
		return g.leave(ctx, s, c)
	}
}

// write stores the first calls that wait, the caller's own among them, and passes the pen on.
func (g *group) write(ctx context.Context, s *Store, own *call) (webhook.EnqueueResult, error) {
	g.mu.Lock()
	n, events, size := 0, 0, 0
	for _, c := range g.waiting {
		events += len(c.events)
		for _, e := range c.events {
			size += len(e.Body)
		}
		if n > 0 && (events > groupEvents || size > groupBytes) {
			break
		}
		n++
	}
	calls := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	g.mu.Unlock()

	if n == 1 { // nobody else's time is spent: it ends with its own context
		own.err = s.store(ctx, calls)
	} else {
		shared, cancel := context.WithTimeout(context.WithoutCancel(ctx), groupLimit)
		defer cancel()
		if err := s.store(shared, calls); err != nil {
			// Each for itself: what is wrong with one of them must not keep the others out.
			for i, c := range calls {
				c.err = s.store(shared, calls[i:i+1])
			}
		}
	}

	g.mu.Lock()
	if len(g.waiting) > 0 {
		close(g.waiting[0].lead)
	} else {
		g.busy = false
	}
	own.gone = ctx.Err() != nil
	var left []*call
	for _, c := range calls {
		if c.gone && c.err == nil {
			left = append(left, c)
		}
		close(c.done)
	}
	g.mu.Unlock()

	for _, c := range left { // nobody else looks at their results
		s.giveBack(ctx, c.result.Leases)
	}
	if own.gone && own.err == nil {
		return webhook.EnqueueResult{}, ctx.Err()
	}
	if own.err != nil {
		return webhook.EnqueueResult{}, own.err
	}
	return own.result, nil
}

// leave ends a call whose context ended while it waited.
func (g *group) leave(ctx context.Context, s *Store, c *call) (webhook.EnqueueResult, error) {
	g.mu.Lock()
	select {
	case <-c.done: // too late to leave: its leases are the caller's
		g.mu.Unlock()
		s.giveBack(ctx, c.result.Leases)
		return webhook.EnqueueResult{}, ctx.Err()
	case <-c.lead: // others wait for it to write
		g.mu.Unlock()
		return g.write(ctx, s, c)
	default:
	}
	defer g.mu.Unlock()
	for i, other := range g.waiting {
		if other == c { // nobody has begun with it
			g.waiting = append(g.waiting[:i:i], g.waiting[i+1:]...)
			return webhook.EnqueueResult{}, ctx.Err()
		}
	}
	c.gone = true // the writer still has it, and gives its leases back
	return webhook.EnqueueResult{}, ctx.Err()
}

// giveBack returns leases that nobody will use, so that they need not run out.
func (s *Store) giveBack(ctx context.Context, leases []webhook.Lease) {
	if len(leases) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackLimit)
	defer cancel()
	outcomes := make([]webhook.Outcome, len(leases))
	for i := range leases {
		d := &leases[i].Delivery
		outcomes[i] = webhook.Outcome{Tenant: d.Tenant, DeliveryID: d.ID, EndpointID: d.EndpointID, Token: leases[i].Token, Kind: webhook.OutcomeReleased}
	}
	_, _ = s.Record(ctx, outcomes) // where it fails, the leases run out
}
