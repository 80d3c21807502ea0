package storetest

import (
	"slices"
	"time"

	"github.com/meshia/webhook"
)

const (
	promiseHour    = "An hour MUST be counted in if anything was recorded in it, as long as Prune does not remove it; hours begin on the hour, UTC, by the store's clock."
	promiseHours   = "The oldest MUST come first."
	promiseCounted = "Each attempt that Record applies as delivered or failed MUST be counted once, in the hour in which it was recorded; those of pings and tests MUST NOT, nor interrupted ones."
	promiseCheap   = "The cost MUST NOT grow with the number of deliveries and attempts."
	promiseStats   = "Stats returns what became of an endpoint's attempts, in the hours that begin at or after since, and where its queue stands."
	promiseNoStats = "Errors: [ErrNotFound] for an endpoint that the tenant does not have."
)

var statsCases = []kase{
	{
		name:    "what is counted",
		promise: promiseCounted,
		f: func(c *check) {
			e, other := c.endpoint("t"), c.endpoint("u")
			c.same("statistics of a new endpoint", c.stats(e), webhook.Stats{})
			c.emit("t", 6)
			c.emit("u", 1)
			var want webhook.HourStats
			latency := 700 * time.Microsecond
			for _, kind := range []webhook.OutcomeKind{
				webhook.OutcomeDelivered, webhook.OutcomeRetry, webhook.OutcomeFailed, webhook.OutcomeDeferred, webhook.OutcomeInterrupted, webhook.OutcomeReleased,
			} {
				l := c.lease(e)
				o := outcome(l, kind)
				o.Wait = far
				o.Attempt.Latency = latency
				stale := o
				stale.Token = "stale"
				c.recorded(stale)
				c.record(o)
				c.recorded(o) // once more
				switch kind {
				case webhook.OutcomeDelivered:
					want.Delivered++
					want.Latency.Add(latency)
				case webhook.OutcomeRetry, webhook.OutcomeFailed, webhook.OutcomeDeferred:
					want.Failed++
					want.Latency.Add(latency)
				}
				c.counted(e, want)
				latency *= 40 // up to 20 hours, which is beyond the classes
			}
			c.counted(other, webhook.HourStats{})
		},
	},
	{
		name:    "which deliveries count",
		promise: promiseCounted,
		f: func(c *check) {
			e := c.endpoint("t")
			for _, kind := range []webhook.DeliveryKind{webhook.KindPing, webhook.KindTest} {
				for _, as := range []webhook.OutcomeKind{webhook.OutcomeDelivered, webhook.OutcomeFailed, webhook.OutcomeDeferred, webhook.OutcomeInterrupted} {
					c.record(outcome(c.direct(e, kind), as))
				}
			}
			c.counted(e, webhook.HourStats{})
			want := webhook.HourStats{Delivered: 1}
			want.Latency.Add(0)
			l := c.direct(e, webhook.KindRedelivery)
			c.record(outcome(l, webhook.OutcomeDelivered))
			c.counted(e, want)
			c.ok(c.store.EraseDelivery(c.Context(), "t", l.Delivery.ID))
			c.counted(e, want) // nothing in it is of the contents
		},
	},
	{
		name:    "a lease that is lost",
		promise: promiseCounted,
		f: func(c *check) {
			e := c.endpoint("t")
			c.emit("t", 1)
			c.lose()
			c.outlast()
			l := first(c.soon())
			c.counted(e, webhook.HourStats{})
			c.record(outcome(l, webhook.OutcomeDelivered))
			want := webhook.HourStats{Delivered: 1}
			want.Latency.Add(0)
			c.counted(e, want)
		},
	},
	{
		name:    "recorded at once",
		promise: promiseCounted,
		f: func(c *check) {
			const n = 32
			e := c.endpoint("t")
			c.emit("t", n)
			leases := c.claim(n)
			equal(c, "leases", len(leases), n)
			var want webhook.HourStats
			for i := range n {
				if i%4 == 0 {
					want.Failed++
				} else {
					want.Delivered++
				}
				want.Latency.Add(time.Duration(i) * time.Millisecond)
			}
			c.ok(parallel(n, func(i int) error {
				o := outcome(leases[i], webhook.OutcomeDelivered)
				if i%4 == 0 {
					o = outcome(leases[i], webhook.OutcomeFailed)
				}
				o.Attempt.Latency = time.Duration(i) * time.Millisecond
				_, err := c.handle(i).Record(c.Context(), []webhook.Outcome{o})
				return err
			}))
			c.counted(e, want)
		},
	},
	{
		name:    "by when it is recorded",
		promise: promiseHour,
		f: func(c *check) {
			e := c.endpoint("t")
			c.emit("t", 2)
			t0 := c.now()
			for _, l := range c.claim(2) {
				o := outcome(l, webhook.OutcomeDelivered)
				o.Attempt.StartedAt = someTime // which decides nothing
				c.record(o)
			}
			t1 := c.now()
			hours := c.stats(e).Hours
			c.want(len(hours) > 0, "no hour is counted in")
			for _, h := range hours {
				c.want(h.Start.Equal(h.Start.Truncate(time.Hour)), "an hour begins at %v", h.Start)
				c.want(!h.Start.Before(t0.Truncate(time.Hour)) && !h.Start.After(t1), "an hour begins at %v where attempts were recorded from %v to %v", h.Start, t0, t1)
			}
		},
	},
	{
		name:    "hours since",
		promise: promiseStats,
		f: func(c *check) {
			e := c.endpoint("t")
			c.emit("t", 1)
			c.record(outcome(c.one(), webhook.OutcomeDelivered))
			hours := c.stats(e).Hours
			equal(c, "hours", len(hours), 1)
			start := hours[0].Start
			for since, want := range map[time.Time]int{
				start: 1, start.Add(-time.Millisecond): 1, start.AddDate(-50, 0, 0): 1, start.In(time.FixedZone("", 5400)): 1,
				start.Add(time.Millisecond): 0, start.Add(time.Hour): 0, start.AddDate(50, 0, 0): 0,
			} {
				equal(c, "hours since "+since.String(), len(c.statsSince(e, since).Hours), want)
			}
		},
	},
	{
		name:    "hour by hour",
		promise: promiseHours,
		f: func(c *check) {
			if c.later == nil {
				c.SkipNow()
			}
			e := c.endpoint("t")
			for n := range 4 {
				c.emit("t", n+1)
				for _, l := range c.claim(n + 1) {
					c.record(outcome(l, webhook.OutcomeDelivered))
				}
				if n < 3 {
					c.later(n + 1)
				}
			}
			hours := slices.DeleteFunc(c.stats(e).Hours, func(h webhook.HourStats) bool { return h.Attempts() == 0 })
			c.want(len(hours) >= 4, "%d hours are counted in, where attempts were made in 4", len(hours))
			equal(c, "attempts in the first hour", hours[0].Delivered, 1)
			sum := int64(0)
			for i, h := range slices.Backward(hours) {
				c.want(i == 0 || h.Start.After(hours[i-1].Start), "an hour that begins at %v comes after one that begins at %v", h.Start, hours[max(0, i-1)].Start)
				sum += h.Delivered
				since := c.statsSince(e, h.Start)
				equal(c, "attempts since "+h.Start.String(), since.Sum().Delivered, sum)
			}
			equal(c, "attempts", sum, 10)
		},
	},
	{name: "the queue", promise: promiseStats, f: queueStats},
	{
		name:    "an endpoint that is not there",
		promise: promiseNoStats,
		f: func(c *check) {
			e := c.endpoint("t")
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
			for _, id := range []string{e.ID, "we_unknown", "", "%"} {
				_, err := c.store.Stats(c.Context(), "t", id, time.Time{})
				c.notFound("Stats", err)
			}
		},
	},
	{
		name:    "hours outlive what was counted",
		promise: promiseHour,
		f: func(c *check) {
			for {
				t0 := c.now()
				e := c.endpoint("t")
				c.logged(e)
				c.outlast()
				c.prune(webhook.PruneRequest{Deliveries: c.tick})
				equal(c, "deliveries", len(c.deliveries("t", webhook.DeliveryFilter{})), 0)
				delivered := c.delivered(e)
				if c.now().Truncate(time.Hour).Equal(t0.Truncate(time.Hour)) { // else it may have been pruned
					equal(c, "attempts", delivered, 1)
					return
				}
			}
		},
	},
	{name: "what it costs", promise: promiseCheap, f: cheapStats},
}

// lease claims one delivery of the endpoint, and leaves the others'.
func (c *check) lease(e webhook.Endpoint) webhook.Lease {
	c.Helper()
	for range 400 {
		for _, l := range c.claimWith(claimRequest(1)).Leases {
			if l.Delivery.EndpointID == e.ID {
				return l
			}
		}
	}
	c.failf("nothing could be claimed for endpoint %s", e.ID)
	return webhook.Lease{}
}

// counted compares what was counted in all hours together, since one may begin at any time.
func (c *check) counted(e webhook.Endpoint, want webhook.HourStats) {
	c.Helper()
	stats := c.stats(e)
	got := stats.Sum()
	equal(c, "attempts delivered", got.Delivered, want.Delivered)
	equal(c, "attempts failed", got.Failed, want.Failed)
	equal(c, "latencies", got.Latency, want.Latency)
}

func queueStats(c *check) {
	e := c.endpoint("t")
	c.endpoint("u")
	c.emit("u", 3)
	queue := func(pending int64, oldest, next time.Time) {
		c.Helper()
		got := c.stats(e)
		got.Hours = nil
		c.same("the queue", got, webhook.Stats{Pending: pending, OldestPending: oldest, NextAttempt: next})
	}
	queue(0, time.Time{}, time.Time{})
	var leases []webhook.Lease
	for range 3 {
		c.emit("t", 1)
		leases = append(leases, c.lease(e))
		c.pass()
	}
	queue(3, time.Time{}, time.Time{})
	c.emit("t", 1)
	last := c.deliveries("t", webhook.DeliveryFilter{State: webhook.DeliveryPending})[0]
	queue(4, last.CreatedAt, last.NextAttemptAt)
	c.record(retry(leases[1], far))
	retried := c.delivery(leases[1])
	queue(4, retried.CreatedAt, last.NextAttemptAt)
	c.record(retry(leases[0], 2*far))
	queue(4, c.delivery(leases[0]).CreatedAt, last.NextAttemptAt)
	for _, s := range []webhook.EndpointState{webhook.EndpointPaused, webhook.EndpointDisabled, webhook.EndpointActive} {
		c.turn(e, s)
		queue(4, c.delivery(leases[0]).CreatedAt, last.NextAttemptAt)
	}
	l := c.lease(e)
	equal(c, "delivery", l.Delivery.ID, last.ID)
	queue(4, c.delivery(leases[0]).CreatedAt, retried.NextAttemptAt)
	c.record(outcome(l, webhook.OutcomeDelivered), outcome(leases[2], webhook.OutcomeFailed))
	queue(2, c.delivery(leases[0]).CreatedAt, retried.NextAttemptAt)
	c.ok(c.store.EraseDelivery(c.Context(), "t", leases[0].Delivery.ID))
	queue(1, retried.CreatedAt, retried.NextAttemptAt)
}

// cheapStats compares the quickest of many calls for an endpoint with thousands of deliveries with the quickest for one
// that has none. It is coarse: what it finds is a store that reads them all.
func cheapStats(c *check) {
	const n = 4000
	busy, idle := c.endpoint("t", window(n)), c.endpoint("u")
	c.emit("t", n)
	for range 4 {
		leases := c.claim(n / 10)
		outcomes := make([]webhook.Outcome, len(leases))
		for i, l := range leases {
			outcomes[i] = outcome(l, webhook.OutcomeDelivered)
		}
		c.record(outcomes...)
	}
	quickest := map[string]time.Duration{}
	for range 30 {
		for _, e := range []webhook.Endpoint{busy, idle} {
			begin := time.Now()
			c.stats(e)
			took := time.Since(begin)
			if least, known := quickest[e.ID]; !known || took < least {
				quickest[e.ID] = took
			}
		}
	}
	equal(c, "deliveries pending", c.stats(busy).Pending, n-4*(n/10))
	c.want(quickest[busy.ID] <= 10*quickest[idle.ID]+c.tick, "the quickest of many calls took %v with %d deliveries, and %v with none", quickest[busy.ID], n, quickest[idle.ID])
}
