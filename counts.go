package webhook

import "sync/atomic"

// Counts is what a dispatcher has done since it was made, in this process, for all tenants.
type Counts struct {
	Emitted     int64 // events that Emit stored, those that were known included
	Delivered   int64 // deliveries that succeeded
	Retried     int64 // attempts that failed and will be repeated
	Deferred    int64 // attempts at paused endpoints that failed and do not count against the retries
	Failed      int64 // deliveries that were given up after an attempt
	Interrupted int64 // attempts that were cut off
	Released    int64 // leases that were given back unsent
	// Stale counts outcomes that changed nothing: the lease had run out and was given to another owner, who made the
	// attempt again. More than a few mean that processes stand still for longer than a lease lasts.
	Stale int64
}

type counters struct {
	emitted, delivered, retried, deferred, failed, interrupted, released, stale atomic.Int64
}

// Counts returns what the dispatcher has done until now.
func (d *Dispatcher) Counts() Counts {
	c := &d.counts
	return Counts{
		Emitted: c.emitted.Load(), Delivered: c.delivered.Load(), Retried: c.retried.Load(), Deferred: c.deferred.Load(), Failed: c.failed.Load(),
		Interrupted: c.interrupted.Load(), Released: c.released.Load(), Stale: c.stale.Load(),
	}
}

// add counts an outcome that was recorded.
func (c *counters) add(kind OutcomeKind, applied bool) {
	if !applied {
		c.stale.Add(1)
		return
	}
	switch kind {
	case OutcomeDelivered:
		c.delivered.Add(1)
	case OutcomeRetry:
		c.retried.Add(1)
	case OutcomeDeferred:
		c.deferred.Add(1)
	case OutcomeFailed:
		c.failed.Add(1)
	case OutcomeInterrupted:
		c.interrupted.Add(1)
	case OutcomeReleased:
		c.released.Add(1)
	}
}
