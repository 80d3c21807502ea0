package storetest

import (
	"time"

	"github.com/meshia/webhook"
)

const (
	promiseGap      = "A gap MUST open when an endpoint is created in, or judged into, a state that does not queue, and close when it leaves it; a change of the state or its reason among those that do not queue MUST close one and open the next."
	promiseNoGap    = "A gap that is closed with no event missed MUST NOT be kept."
	promiseGapEnds  = "Its open gap MUST be closed."
	promiseGapOrder = "Gaps returns the endpoint's gaps, the newest first, 1000 at most; also those of a deleted endpoint."
)

var gapCases = []kase{
	{
		name:    "an endpoint that waits for its ping",
		promise: promiseGap,
		f: func(c *check) {
			t0 := c.now()
			e := c.endpoint("t", state(webhook.EndpointPending))
			t1 := c.now()
			c.emit("t", 2)
			c.pass()
			t2 := c.now()
			c.turn(e, webhook.EndpointActive)
			t3 := c.now()
			c.emit("t", 1)
			gaps := c.gaps(e)
			equal(c, "gaps", len(gaps), 1)
			c.gap(gaps[0], e, webhook.GapPending, 2)
			c.during("From", gaps[0].From, t0, t1)
			c.during("To", gaps[0].To, t2, t3)
		},
	},
	{
		name:    "an endpoint that is switched off and on",
		promise: promiseGap,
		f: func(c *check) {
			e := c.endpoint("t")
			c.emit("t", 1)
			for n := 1; n <= 3; n++ {
				c.pass()
				t0 := c.now()
				c.turn(e, webhook.EndpointDisabled)
				t1 := c.now()
				c.emit("t", n)
				open := c.gaps(e)
				equal(c, "gaps", len(open), n)
				c.gap(open[0], e, webhook.GapDisabled, int64(n))
				c.during("From", open[0].From, t0, t1)
				c.want(open[0].To.IsZero(), "the open gap ends at %v", open[0].To)
				c.turn(e, webhook.EndpointActive)
				c.want(!c.gaps(e)[0].To.IsZero(), "the gap is open although the endpoint is active")
				c.emit("t", 1)
			}
		},
	},
	{
		name:    "a gap that opens with an outcome or an update",
		promise: promiseGap,
		f: func(c *check) {
			e := c.endpoint("t")
			c.emit("t", 1)
			o := outcome(c.one(), webhook.OutcomeFailed)
			o.Judge = func(h webhook.Health, _ time.Time) webhook.Health {
				h.State, h.Reason = webhook.EndpointDisabled, webhook.ReasonGone
				return h
			}
			c.record(o)
			c.emit("t", 1)
			c.gap(c.gaps(e)[0], e, webhook.GapDisabled, 1)
			e, err := c.store.UpdateEndpoint(c.Context(), e, func(h webhook.Health, _ time.Time) webhook.Health {
				h.State, h.Reason = webhook.EndpointPending, ""
				return h
			})
			c.ok(err)
			c.pass()
			c.emit("t", 2)
			gaps := c.gaps(e)
			equal(c, "gaps", len(gaps), 2)
			c.gap(gaps[0], e, webhook.GapPending, 2)
			c.gap(gaps[1], e, webhook.GapDisabled, 1)
			c.want(gaps[0].To.IsZero() && !gaps[1].To.IsZero(), "ends of the open and the closed gap: %v, %v", gaps[0].To, gaps[1].To)
			c.during("From of the gap that follows", gaps[0].From, gaps[1].To, gaps[1].To)
		},
	},
	{
		name:    "another reason, another state",
		promise: promiseGap,
		f: func(c *check) {
			e := c.endpoint("t", state(webhook.EndpointDisabled), func(e *webhook.Endpoint) { e.Health.Reason = webhook.ReasonByUser })
			c.emit("t", 1)
			c.pass()
			c.change(e, func(h *webhook.Health) { h.Reason = webhook.ReasonGone })
			c.emit("t", 2)
			c.change(e, func(h *webhook.Health) { h.Failures = 3 }) // which is no reason
			c.emit("t", 1)
			gaps := c.gaps(e)
			equal(c, "gaps", len(gaps), 2)
			c.gap(gaps[0], e, webhook.GapDisabled, 3)
			c.gap(gaps[1], e, webhook.GapDisabled, 1)

			c.turn(e, webhook.EndpointPending) // for the same reason
			c.emit("t", 2)
			gaps = c.gaps(e)
			equal(c, "gaps", len(gaps), 3)
			c.gap(gaps[0], e, webhook.GapPending, 2)
			c.want(!gaps[1].To.IsZero(), "the gap of the state before is open")
		},
	},
	{
		name:    "states that queue",
		promise: promiseGap,
		f: func(c *check) {
			e := c.endpoint("t", state(webhook.EndpointPaused))
			c.emit("t", 1)
			c.turn(e, webhook.EndpointActive)
			c.emit("t", 1)
			c.pause(e, c.now().Add(far))
			c.emit("t", 1)
			equal(c, "gaps", len(c.gaps(e)), 0)
			equal(c, "deliveries", len(c.deliveries("t", webhook.DeliveryFilter{})), 3)
		},
	},
	{
		name:    "an empty gap",
		promise: promiseNoGap,
		f: func(c *check) {
			e := c.endpoint("t", state(webhook.EndpointPending), subscribed(happened))
			c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{c.event(ceased)}})
			c.turn(e, webhook.EndpointActive)
			equal(c, "gaps", len(c.gaps(e)), 0)
			c.turn(e, webhook.EndpointDisabled)
			c.change(e, func(h *webhook.Health) { h.Reason = webhook.ReasonByUser })
			equal(c, "gaps while one is open", len(c.gaps(e)), 1)
			c.turn(e, webhook.EndpointActive)
			equal(c, "gaps", len(c.gaps(e)), 0)
		},
	},
	{
		name:    "an endpoint that is deleted",
		promise: promiseGapEnds,
		f: func(c *check) {
			e, empty := c.endpoint("t", state(webhook.EndpointDisabled)), c.endpoint("t", state(webhook.EndpointPending), subscribed(ceased))
			c.emit("t", 2)
			t0 := c.now()
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", empty.ID))
			t1 := c.now()
			c.emit("t", 1)
			gaps := c.gaps(e)
			equal(c, "gaps", len(gaps), 1)
			c.gap(gaps[0], e, webhook.GapDisabled, 2)
			c.during("To", gaps[0].To, t0, t1)
			equal(c, "gaps that nothing was missed in", len(c.gaps(empty)), 0)
		},
	},
	{
		name:    "the order",
		promise: promiseGapOrder,
		f: func(c *check) {
			e := c.endpoint("t")
			for n := range 4 {
				c.turn(e, webhook.EndpointDisabled)
				c.emit("t", n+1)
				c.pass()
				c.turn(e, webhook.EndpointActive)
			}
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
			gaps := c.gaps(e)
			equal(c, "gaps", len(gaps), 4)
			for i, g := range gaps {
				equal(c, "events missed", g.Count, int64(4-i))
			}
			other := e
			other.ID = "we_never"
			equal(c, "gaps of an endpoint that never was", len(c.gaps(other)), 0)
		},
	},
}

func (c *check) gap(g webhook.Gap, e webhook.Endpoint, reason webhook.GapReason, count int64) {
	c.Helper()
	equal(c, "endpoint of a gap", g.EndpointID, e.ID)
	equal(c, "reason of a gap", g.Reason, reason)
	equal(c, "events missed", g.Count, count)
}
