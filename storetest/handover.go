package storetest

import "github.com/meshia/webhook"

const promiseHandOver = "A delivery MUST be handed over only if the endpoint is active, has fewer leases than its Health.Window, is not slow, has no Rate and has nothing due before it; and never more than HandOver.Max of them."

var handOverCases = []kase{
	{
		name:    "at most Max",
		promise: promiseHandOver,
		f: func(c *check) {
			for range 4 {
				c.endpoint("t")
			}
			for n := range 4 {
				result := c.handOver(n, 1)
				c.want(len(result.Leases) <= n, "%d handed over where at most %d were asked for", len(result.Leases), n)
				c.want(result.Queued, "Queued is false although the rest waits")
				for _, l := range append(result.Leases, c.claim(10)...) {
					c.record(outcome(l, webhook.OutcomeDelivered))
				}
			}
		},
	},
	{
		name:    "not to an endpoint that is not active",
		promise: promiseHandOver,
		f: func(c *check) {
			c.endpoint("t", state(webhook.EndpointPaused))
			c.endpoint("t", state(webhook.EndpointDisabled))
			c.endpoint("t", state(webhook.EndpointPending))
			c.nothingHandedOver()
		},
	},
	{
		name:    "not to a slow endpoint",
		promise: promiseHandOver,
		f: func(c *check) {
			c.endpoint("t", slow)
			c.nothingHandedOver()
		},
	},
	{
		name:    "not to an endpoint with a rate",
		promise: promiseHandOver,
		f: func(c *check) {
			e := c.endpoint("t", rate(10_000, 10_000))
			c.nothingHandedOver()
			for _, l := range c.claim(10) {
				c.record(outcome(l, webhook.OutcomeDelivered))
			}
			e.Rate = 0
			e = c.update(e)
			c.want(len(c.handOver(10, 1).Leases) <= 1, "more was handed over than there is")
			for _, l := range c.claim(10) {
				c.record(outcome(l, webhook.OutcomeDelivered))
			}
			e.Rate = slowly
			c.update(e)
			c.nothingHandedOver()
		},
	},
	{
		name:    "not beyond the window",
		promise: promiseHandOver,
		f: func(c *check) {
			e := c.endpoint("t", window(2))
			c.direct(e, webhook.KindTest)
			leases := c.handOver(10, 3).Leases
			c.want(len(leases) <= 1, "%d deliveries handed over with room for 1", len(leases))
			c.claim(10)
			c.nothingHandedOver()

			single := c.endpoint("u", window(0))
			c.direct(single, webhook.KindTest)
			result := c.enqueue(webhook.EnqueueRequest{Tenant: "u", Events: c.events(1), HandOver: &webhook.HandOver{Owner: "one", Term: far, Max: 10}})
			equal(c, "leases with a window of 0, which counts as 1", len(result.Leases), 0)
		},
	},
	{
		name:    "not before what is due",
		promise: promiseHandOver,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 1)
			c.nothingHandedOver()
			for _, l := range c.claim(10) {
				c.record(retry(l, 0))
			}
			c.nothingHandedOver() // retries are due
		},
	},
	{
		name:    "what was handed over is leased",
		promise: "While a lease lasts its delivery MUST NOT be given to anyone else.",
		f: func(c *check) {
			e := c.endpoint("t", window(2))
			result := c.handOver(10, 1)
			total := len(result.Leases) + len(c.claim(10))
			equal(c, "leases handed over and claimed", total, 1)
			c.none()
			for _, l := range result.Leases {
				equal(c, "attempt", l.Delivery.AttemptCount, 1)
				equal(c, "kind", l.Delivery.Kind, webhook.KindEvent)
				equal(c, "term", l.Term, far)
				c.same("endpoint", *l.Endpoint, e)
				equal(c, "state", c.delivery(l).State, webhook.DeliveryLeased)
				c.record(outcome(l, webhook.OutcomeDelivered))
				c.numbered(c.delivery(l), 1)
			}
		},
	},
	{
		name:    "what was not handed over waits",
		promise: promiseMatch,
		f: func(c *check) {
			for range 3 {
				c.endpoint("t")
			}
			result := c.handOver(2, 2)
			equal(c, "leases handed over and claimed", len(result.Leases)+len(c.claim(10)), 6)
		},
	},
}

func (c *check) handOver(n, events int) webhook.EnqueueResult {
	c.Helper()
	return c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: c.events(events), HandOver: &webhook.HandOver{Owner: "one", Term: far, Max: n}})
}

func (c *check) nothingHandedOver() {
	c.Helper()
	leases := c.handOver(10, 1).Leases
	c.want(len(leases) == 0, "a delivery was handed over to %+v", first(leases).Endpoint)
}
