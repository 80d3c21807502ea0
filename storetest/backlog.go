package storetest

import "github.com/meshia/webhook"

const (
	promiseBacklog    = "With a MaxPending an endpoint's backlog is bounded: while so many of its deliveries are pending or leased, a gap with GapBacklog MUST be open, if none is open for another reason, until at most nine tenths as many are left."
	promiseByClaim    = "It may open as late as the next Claim with the same MaxPending, which then MUST open it, and it MUST be closed by the next Claim at the latest."
	promiseNoBound    = "A bound of 0 opens none."
	promiseBacklogged = "The call that opens such a gap MUST name the endpoint in Backlogged."
	promiseGapStays   = "One with GapBacklog stays open, under the endpoint's other states that queue, until its backlog is worked off: see Enqueue."
	promiseGapAgain   = "A state that does not queue MUST close it and open its own; leaving that state opens it again where the backlog is still over the bound, by the next Claim."
)

var backlogCases = []kase{
	{
		name:    "as many as the bound",
		promise: promiseBacklog,
		f: func(c *check) {
			b := c.bound(10)
			e, other := c.endpoint("t", state(webhook.EndpointPaused)), c.endpoint("t", subscribed(ceased))
			c.pause(e, c.now().Add(far))
			t0 := c.now()
			b.emit("t", 9)
			b.look()
			equal(c, "gaps below the bound", len(c.gaps(e)), 0)
			b.emit("t", 1)
			b.look()
			t1 := c.now()
			events := b.emit("t", 3)
			b.look()
			gaps := c.gaps(e)
			equal(c, "gaps", len(gaps), 1)
			c.gap(gaps[0], e, webhook.GapBacklog, 3)
			c.during("From", gaps[0].From, t0, t1)
			c.want(gaps[0].To.IsZero(), "the open gap ends at %v", gaps[0].To)
			equal(c, "deliveries", len(c.deliveries("t", webhook.DeliveryFilter{})), 10)
			b.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: append(events[:2:2], c.event(ceased))})
			c.gap(c.lastGap(e), e, webhook.GapBacklog, 4) // of which two came before
			equal(c, "deliveries to another endpoint", len(c.deliveries("t", webhook.DeliveryFilter{EndpointID: other.ID})), 1)
			equal(c, "gaps of another endpoint", len(c.gaps(other)), 0)
		},
	},
	{
		name:    "a batch beyond the bound",
		promise: promiseByClaim,
		f: func(c *check) {
			b := c.bound(10)
			e := c.endpoint("t")
			b.emit("t", 25) // of which as many are missed as come after the gap has opened
			leases := b.claim(100)
			gaps := c.gaps(e)
			equal(c, "gaps", len(gaps), 1)
			equal(c, "events that were queued or missed", len(leases)+int(gaps[0].Count), 25)
			c.want(len(leases) >= 10, "%d deliveries where 10 may be pending", len(leases))
			result := b.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: c.events(2), HandOver: &webhook.HandOver{Owner: "one", Term: far, Max: 5}})
			c.want(len(result.Leases) == 0 && !result.Queued, "%d leases, queued: %v, while a gap is open", len(result.Leases), result.Queued)
			c.gap(c.lastGap(e), e, webhook.GapBacklog, gaps[0].Count+2)
			equal(c, "deliveries", len(c.deliveries("t", webhook.DeliveryFilter{})), len(leases))
		},
	},
	{
		name:    "until nine tenths are left",
		promise: promiseBacklog,
		f: func(c *check) {
			for _, step := range []struct{ bound, left int }{{20, 18}, {15, 13}, {1, 0}, {2, 1}, {9, 8}, {11, 9}} {
				b := c.bound(step.bound)
				e := c.endpoint("t")
				b.emit("t", step.bound)
				leases := b.claim(step.bound) // leased is as good as pending
				equal(c, "leases", len(leases), step.bound)
				b.emit("t", 1)
				for n := step.bound; n > step.left; n-- {
					b.look()
					c.want(c.lastGap(e).To.IsZero(), "the gap is closed with %d of %d left", n, step.bound)
					c.record(outcome(leases[n-1], webhook.OutcomeDelivered))
				}
				b.look()
				gaps := c.gaps(e)
				equal(c, "gaps", len(gaps), 1)
				c.gap(gaps[0], e, webhook.GapBacklog, 1)
				c.want(!gaps[0].To.IsZero(), "the gap is open with %d of %d left", step.left, step.bound)
				b.emit("t", 1)
				equal(c, "leases after the gap was closed", len(b.claim(10)), 1)
				c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
			}
		},
	},
	{
		name:    "every end of a delivery counts",
		promise: promiseByClaim,
		f: func(c *check) {
			b := c.bound(4)
			e := c.endpoint("t")
			b.emit("t", 4)
			old := b.claim(4)
			b.emit("t", 1)
			t0 := c.now()
			c.record(retry(old[0], 0), outcome(old[1], webhook.OutcomeFailed))
			b.claim(4)
			t1 := c.now()
			gap := c.lastGap(e)
			c.gap(gap, e, webhook.GapBacklog, 1)
			c.during("To after one has failed", gap.To, t0, t1)

			b.emit("t", 1)
			equal(c, "leases", len(b.claim(4)), 1)
			b.emit("t", 1)
			c.gap(c.lastGap(e), e, webhook.GapBacklog, 1)
			c.ok(c.store.EraseDelivery(c.Context(), "t", old[0].Delivery.ID)) // which is leased
			b.look()
			c.want(c.lastGap(e).To.IsZero(), "the gap was closed though nothing has ended")
			c.record(outcome(old[2], webhook.OutcomeReleased))
			c.ok(c.store.EraseDelivery(c.Context(), "t", old[2].Delivery.ID))
			b.look()
			c.want(!c.lastGap(e).To.IsZero(), "the gap is open after a delivery was erased")
		},
	},
	{
		name:    "what expires or is lost counts",
		promise: promiseByClaim,
		f: func(c *check) {
			b := c.bound(3)
			e := c.endpoint("t")
			c.pause(e, c.now().Add(far))
			b.emit("t", 2)
			test := c.direct(e, webhook.KindTest)
			b.look()
			b.emit("t", 1)
			c.gap(c.lastGap(e), e, webhook.GapBacklog, 1)
			c.directly(e, webhook.KindTest, c.tick)
			c.record(outcome(test, webhook.OutcomeDelivered))
			c.outlast()
			for range 3 { // a call may leave some
				b.look()
			}
			c.want(!c.lastGap(e).To.IsZero(), "the gap is open after a test was lost")
			b.emit("t", 1)
			b.look()
			b.emit("t", 1)
			c.want(c.lastGap(e).To.IsZero(), "no gap is open")
			c.outlast()
			for range 3 {
				c.claimWith(webhook.ClaimRequest{Owner: "one", Term: far, Max: 1, MaxSlow: 1, MaxAge: c.tick, MaxPending: 3})
			}
			c.want(!c.lastGap(e).To.IsZero(), "the gap is open after the backlog has expired")
			equal(c, "gaps", len(c.gaps(e)), 2)
		},
	},
	{
		name:    "whatever made the deliveries",
		promise: promiseByClaim,
		f: func(c *check) {
			b := c.bound(3)
			e := c.endpoint("t")
			c.emit("t", 1) // without a bound
			c.direct(e, webhook.KindTest)
			c.direct(e, webhook.KindRedelivery)
			equal(c, "leases", len(b.claim(10)), 1)
			b.emit("t", 2)
			c.gap(c.lastGap(e), e, webhook.GapBacklog, 2)
			c.emit("t", 1) // without a bound, but the gap is open
			c.gap(c.lastGap(e), e, webhook.GapBacklog, 3)
			equal(c, "deliveries", len(c.deliveries("t", webhook.DeliveryFilter{})), 3)
			c.direct(e, webhook.KindTest) // which a gap does not keep back
		},
	},
	{
		name:    "no bound",
		promise: promiseNoBound,
		f: func(c *check) {
			e := c.endpoint("t")
			c.emit("t", 50)
			equal(c, "leases", len(c.claim(50)), 50)
			c.emit("t", 50)
			equal(c, "leases", len(c.claim(50)), 50)
			equal(c, "gaps", len(c.gaps(e)), 0)
		},
	},
	{
		name:    "who is named",
		promise: promiseBacklogged,
		f: func(c *check) {
			b := c.bound(5)
			same := func(e *webhook.Endpoint) { e.ID = "we_same" }
			t, u := c.endpoint("t", same), c.endpoint("u", same)
			other := c.endpoint("t", subscribed(ceased))
			b.emit("u", 4)
			b.emit("t", 5)
			b.claim(20)
			b.emit("t", 3)
			b.look()
			equal(c, "times that an endpoint was named whose gap opened once", b.named[webhook.EndpointRef{Tenant: "t", ID: t.ID}], 1)
			equal(c, "times that another tenant's was named", b.named[webhook.EndpointRef{Tenant: "u", ID: u.ID}], 0)
			b.emit("u", 1)
			b.claim(20)
			equal(c, "times that it was named after its own gap opened", b.named[webhook.EndpointRef{Tenant: "u", ID: u.ID}], 1)
			equal(c, "times that an endpoint without a backlog was named", b.named[webhook.EndpointRef{Tenant: "t", ID: other.ID}], 0)
			equal(c, "endpoints that were named", len(b.named), 2)
		},
	},
	{
		name:    "states that queue",
		promise: promiseGapStays,
		f: func(c *check) {
			b := c.bound(4)
			e := c.endpoint("t")
			b.emit("t", 4)
			leases := b.claim(4)
			b.emit("t", 1)
			c.pause(e, c.now().Add(far))
			b.look()
			b.emit("t", 1)
			c.turn(e, webhook.EndpointActive)
			b.look()
			b.emit("t", 1)
			gaps := c.gaps(e)
			equal(c, "gaps", len(gaps), 1)
			c.gap(gaps[0], e, webhook.GapBacklog, 3)
			c.want(gaps[0].To.IsZero(), "the gap was closed by a state that queues")
			c.record(outcome(leases[0], webhook.OutcomeDelivered))
			b.look()
			c.want(!c.lastGap(e).To.IsZero(), "the gap is open with 3 of 4 left")
		},
	},
	{
		name:    "states that do not queue",
		promise: promiseGapAgain,
		f: func(c *check) {
			b := c.bound(4)
			e := c.endpoint("t")
			b.emit("t", 4)
			leases := b.claim(4)
			b.emit("t", 1)
			for i, s := range []webhook.EndpointState{webhook.EndpointDisabled, webhook.EndpointPending} {
				c.pass()
				c.turn(e, s)
				gaps := c.gaps(e)
				equal(c, "gaps", len(gaps), 2*i+2)
				c.want(!gaps[1].To.IsZero() && gaps[0].To.IsZero(), "the gaps end at %v and %v, the newest first", gaps[0].To, gaps[1].To)
				b.look()
				b.emit("t", 2)
				gaps = c.gaps(e)
				c.gap(gaps[0], e, []webhook.GapReason{webhook.GapDisabled, webhook.GapPending}[i], 2)
				c.gap(gaps[1], e, webhook.GapBacklog, 1)
				c.pass()
				c.turn(e, webhook.EndpointActive)
				b.look()
				b.emit("t", 1)
				gaps = c.gaps(e)
				equal(c, "gaps", len(gaps), 2*i+3)
				c.gap(gaps[0], e, webhook.GapBacklog, 1)
				c.want(gaps[0].To.IsZero() && !gaps[1].To.IsZero(), "the gaps end at %v and %v, the newest first", gaps[0].To, gaps[1].To)
				equal(c, "times that the endpoint was named", b.named[webhook.EndpointRef{Tenant: "t", ID: e.ID}], i+2)
			}
			c.turn(e, webhook.EndpointDisabled)
			c.record(outcome(leases[0], webhook.OutcomeDelivered))
			c.turn(e, webhook.EndpointActive)
			b.look()
			c.want(!c.lastGap(e).To.IsZero(), "a gap is open with 3 of 4 left")
		},
	},
	{
		name:    "a gap that is open for another reason",
		promise: promiseBacklog,
		f: func(c *check) {
			b := c.bound(4)
			e := c.endpoint("t")
			b.emit("t", 3)
			b.claim(3)
			c.turn(e, webhook.EndpointDisabled)
			c.direct(e, webhook.KindTest)
			b.look()
			b.emit("t", 2)
			gaps := c.gaps(e)
			equal(c, "gaps", len(gaps), 1)
			c.gap(gaps[0], e, webhook.GapDisabled, 2)
			equal(c, "endpoints that were named", len(b.named), 0)
		},
	},
	{
		name:    "a backlog in which no event was missed",
		promise: promiseNoGap,
		f: func(c *check) {
			b := c.bound(4)
			e := c.endpoint("t")
			b.emit("t", 4)
			leases := b.claim(4)
			equal(c, "gaps while one is open", len(c.gaps(e)), 1)
			c.record(outcome(leases[0], webhook.OutcomeDelivered))
			b.look()
			equal(c, "gaps", len(c.gaps(e)), 0)
		},
	},
	{
		name:    "an endpoint that is deleted",
		promise: promiseGapEnds,
		f: func(c *check) {
			b := c.bound(2)
			e := c.endpoint("t")
			b.emit("t", 2)
			b.claim(1)
			b.emit("t", 1)
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
			b.emit("t", 1)
			b.look()
			gaps := c.gaps(e)
			equal(c, "gaps", len(gaps), 1)
			c.gap(gaps[0], e, webhook.GapBacklog, 1)
			c.want(!gaps[0].To.IsZero(), "the gap of a deleted endpoint is open")
		},
	},
	{
		name:    "what is missed takes no room in a full store",
		promise: promiseMissed,
		f: func(c *check) {
			if c.bounded == nil {
				c.SkipNow()
			}
			c.store = c.bounded(5)
			b := c.bound(5)
			e := c.endpoint("t")
			b.emit("t", 5)
			b.claim(5)
			b.emit("t", 3)
			c.gap(c.lastGap(e), e, webhook.GapBacklog, 3)
		},
	},
}
