package storetest

import (
	"time"

	"github.com/meshia/webhook"
)

const promiseLost = "A lease whose term has run out MUST be logged as an attempt with AttemptInterrupted and ErrorOwnerLost, started when the lease was given; its delivery MUST fall due at once, or fail with FailInterrupted if its kind is Once or this was interruption number [MaxInterrupted]."

var lostCases = []kase{
	{
		name:    "an owner that died",
		promise: promiseLost,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 1)
			lost := c.lose()
			l := first(c.soon())
			equal(c, "delivery", l.Delivery.ID, lost.Delivery.ID)
			equal(c, "attempt", l.Delivery.AttemptCount, 2)
			equal(c, "interruptions", l.Delivery.Interrupted, 1)
			c.want(!l.StartedAt.Before(lost.StartedAt.Add(c.tick-time.Millisecond)), "the second lease started at %v, the first at %v", l.StartedAt, lost.StartedAt)
			d := c.delivery(l)
			equal(c, "logged attempts", len(d.Attempts), 1)
			c.same("the interrupted attempt", d.Attempts[0], webhook.Attempt{
				Number: 1, StartedAt: lost.StartedAt, Result: webhook.AttemptInterrupted, Error: webhook.ErrorOwnerLost,
			})
			c.record(outcome(l, webhook.OutcomeDelivered))
			c.numbered(c.delivery(l), 2)
		},
	},
	{
		name:    "a hand-over or direct lease whose owner died",
		promise: promiseLost,
		f: func(c *check) {
			e := c.endpoint("t")
			c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: c.events(1), HandOver: &webhook.HandOver{Owner: "one", Term: c.tick, Max: 1}})
			c.directly(e, webhook.KindRedelivery, c.tick)
			c.outlast()
			leases := c.soon()
			leases = append(leases, c.claim(10)...)
			for _, l := range leases {
				c.record(outcome(l, webhook.OutcomeDelivered))
				c.numbered(c.delivery(l), l.Delivery.AttemptCount)
			}
			equal(c, "deliveries that came back", len(leases), 2)
		},
	},
	{
		name:    "deliveries with one attempt",
		promise: promiseLost,
		f: func(c *check) {
			e := c.endpoint("t")
			for _, kind := range []webhook.DeliveryKind{webhook.KindPing, webhook.KindTest} {
				l := c.directly(e, kind, c.tick)
				c.outlast()
				c.none()
				d := c.delivery(l)
				equal(c, "state", d.State, webhook.DeliveryFailed)
				equal(c, "reason", d.Reason, webhook.FailInterrupted)
				c.want(!d.FinishedAt.IsZero(), "FinishedAt is zero")
				c.numbered(d, 1)
			}
		},
	},
	{
		name:    "MaxInterrupted times",
		promise: promiseLost,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 1)
			l := c.one()
			c.record(retry(l, 0)) // which is not an interruption
			for n := range webhook.MaxInterrupted - 1 {
				l = c.one()
				equal(c, "interruptions", l.Delivery.Interrupted, n)
				c.record(outcome(l, webhook.OutcomeInterrupted))
			}
			c.lose()
			c.outlast()
			c.none()
			d := c.delivery(l)
			equal(c, "state", d.State, webhook.DeliveryFailed)
			equal(c, "reason", d.Reason, webhook.FailInterrupted)
			equal(c, "interruptions", d.Interrupted, webhook.MaxInterrupted)
			c.numbered(d, webhook.MaxInterrupted+1)
		},
	},
	{
		name:    "an endpoint that was deleted meanwhile",
		promise: "A delivery that would be pending but whose endpoint was deleted MUST fail with FailEndpointDeleted, here and where Claim settles a lease.",
		f: func(c *check) {
			e := c.endpoint("t")
			c.emit("t", 1)
			l := c.lose()
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
			c.outlast()
			c.none()
			d := c.delivery(l)
			equal(c, "state", d.State, webhook.DeliveryFailed)
			equal(c, "reason", d.Reason, webhook.FailEndpointDeleted)
			c.numbered(d, 1)
		},
	},
	{
		name:    "the owner comes back before anyone noticed",
		promise: "A lease whose term has run out is still present until Claim has settled it.",
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 1)
			l := c.lose()
			c.outlast()
			c.record(outcome(l, webhook.OutcomeDelivered))
			d := c.delivery(l)
			equal(c, "state", d.State, webhook.DeliverySucceeded)
			c.numbered(d, 1)
			c.none()
		},
	},
	{
		name:    "the owner comes back too late",
		promise: promiseStale,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 1)
			lost := c.lose()
			c.outlast()
			l := first(c.soon())
			for _, kind := range []webhook.OutcomeKind{webhook.OutcomeDelivered, webhook.OutcomeFailed, webhook.OutcomeRetry, webhook.OutcomeDeferred, webhook.OutcomeInterrupted, webhook.OutcomeReleased} {
				before := c.everything("t")
				c.want(!c.recorded(outcome(lost, kind))[0], "outcome %s of a lost lease was applied", kind)
				equal(c, "what is stored", c.everything("t"), before)
			}
			c.record(outcome(l, webhook.OutcomeDelivered))
			c.numbered(c.delivery(l), 2)
		},
	},
}

// lose leases one delivery for a tick.
func (c *check) lose() webhook.Lease {
	c.Helper()
	req := claimRequest(1)
	req.Term = c.tick
	leases := c.claimWith(req).Leases
	equal(c, "leases", len(leases), 1)
	return leases[0]
}
