package storetest

import "github.com/meshia/webhook"

const (
	promiseDelete = "Its pending deliveries MUST fail with FailEndpointDeleted: about a thousand with the call, so that nobody waits for a backlog, and the others with the claims that follow, as many with each; they are read as pending until then."
	promiseUnsent = "Nothing of it MUST be handed out from then on."
)

// deleteCases are about what becomes of a deleted endpoint's backlog.
var deleteCases = []kase{
	{
		name:    "a large backlog of a deleted endpoint",
		promise: promiseDelete,
		f: func(c *check) {
			const n = 2500
			e := c.endpoint("t", subscribed(happened))
			c.emit("t", n)
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
			for range n {
				left := c.deliveries("t", webhook.DeliveryFilter{State: webhook.DeliveryPending})
				for _, d := range left {
					equal(c, "reason of one that is pending", d.Reason, "")
				}
				if len(left) == 0 {
					break
				}
				claimed := c.claimWith(claimRequest(10))
				c.want(len(claimed.Leases) == 0, "claimed %+v", first(claimed.Leases).Delivery)
			}
			all := c.deliveries("t", webhook.DeliveryFilter{EndpointID: e.ID})
			equal(c, "deliveries", len(all), n)
			for _, d := range all {
				equal(c, "state", d.State, webhook.DeliveryFailed)
				equal(c, "reason", d.Reason, webhook.FailEndpointDeleted)
			}
			equal(c, "when to come again", c.claimWith(claimRequest(10)).Next < 0, true)
		},
	},
	{
		name:    "who is served while a backlog fails",
		promise: promiseUnsent,
		f: func(c *check) {
			e, stays := c.endpoint("t", subscribed(happened)), c.endpoint("u", subscribed(ceased))
			c.emit("t", 2500)
			c.record(retry(first(c.claim(1)), 0))
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
			c.enqueue(webhook.EnqueueRequest{Tenant: "u", Events: []webhook.Event{c.event(ceased)}})
			for n, claimed := 0, (webhook.Claimed{}); n < 10 || claimed.Next == 0 && n < 1000; n++ {
				claimed = c.claimWith(claimRequest(10))
				if n == 0 {
					equal(c, "leases of another endpoint", len(claimed.Leases), 1)
				}
				for _, l := range claimed.Leases {
					equal(c, "endpoint", l.Delivery.EndpointID, stays.ID)
				}
			}
		},
	},
}
