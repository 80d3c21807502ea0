package storetest

import (
	"github.com/meshia/webhook"
)

const (
	promiseSkip     = "Claim MUST NOT hand out deliveries of the endpoints in Skip; Next and Blocked need not count them."
	promiseSkipTurn = "These endpoints MUST NOT keep others from being served, and they keep their own turn for a claim that does not skip them."
)

var skipCases = []kase{
	{
		name:    "what is skipped waits for others",
		promise: promiseSkip,
		f: func(c *check) {
			e, other := c.endpoint("t"), c.endpoint("t")
			c.emit("t", 3)
			for range 3 {
				for _, l := range c.claimBut(10, e) {
					equal(c, "endpoint where the other one is skipped", l.Delivery.EndpointID, other.ID)
					c.record(retry(l, 0))
				}
			}
			equal(c, "leases where all are skipped", len(c.claimBut(10, other, e)), 0)
			claimed, err := c.other.Claim(c.Context(), claimRequest(10))
			c.ok(err)
			n := 0
			for _, l := range append(claimed.Leases, c.claim(10)...) {
				if l.Delivery.EndpointID == e.ID {
					n++
				}
			}
			equal(c, "leases of the endpoint for who does not skip it", n, 3)
		},
	},
	{
		name:    "a slow endpoint, a retry, one whose pause is over",
		promise: promiseSkip,
		f: func(c *check) {
			skipped := []webhook.Endpoint{c.endpoint("t", slow), c.endpoint("t"), c.endpoint("t")}
			c.emit("t", 1)
			for _, l := range c.claim(3) {
				c.record(retry(l, 0))
			}
			past := c.now()
			c.pass()
			c.pause(skipped[2], past)
			equal(c, "leases", len(c.claimBut(10, skipped...)), 0)
			equal(c, "leases where nothing is skipped", len(c.claim(10)), 3)
		},
	},
	{
		name:    "an endpoint is skipped by its tenant and its id",
		promise: promiseSkip,
		f: func(c *check) {
			for _, tenant := range []string{"a", "b", ""} {
				c.endpoint(tenant, func(e *webhook.Endpoint) { e.ID = "we_same" })
				c.emit(tenant, 1)
			}
			strangers := []webhook.Endpoint{{Tenant: "A", ID: "we_same"}, {Tenant: "a", ID: "we_other"}, {Tenant: "a", ID: ""}}
			seen := map[string]int{}
			for _, l := range c.claimBut(10, append(strangers, webhook.Endpoint{Tenant: "b", ID: "we_same"})...) {
				seen[l.Delivery.Tenant]++
			}
			equal(c, "leases of tenant a", seen["a"], 1)
			equal(c, "leases of the empty tenant", seen[""], 1)
			equal(c, "leases of tenant b, whose endpoint is skipped", seen["b"], 0)
			equal(c, "tenant of what is left", c.one().Delivery.Tenant, "b")
		},
	},
	{
		name:    "what is skipped hides nobody",
		promise: promiseSkipTurn,
		f: func(c *check) {
			var skipped []webhook.Endpoint
			for range 30 {
				skipped = append(skipped, c.endpoint("many"))
			}
			c.emit("many", 20)
			c.pass()
			e := c.endpoint("small")
			c.emit("small", 1)
			leases := c.claimBut(1, skipped...)
			equal(c, "leases of the endpoint that came last", len(leases), 1)
			equal(c, "endpoint", leases[0].Delivery.EndpointID, e.ID)
		},
	},
	{
		name:    "what is skipped keeps its turn",
		promise: promiseSkipTurn,
		f: func(c *check) {
			var want []string
			var endpoints []webhook.Endpoint
			for range 4 {
				e := c.endpoint("t", subscribed(c.name("type.t")))
				c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{newEvent(e.Events[0], c.name("evt"), 1), newEvent(e.Events[0], c.name("evt"), 2)}})
				endpoints, want = append(endpoints, e), append(want, e.ID)
				c.pass()
			}
			leases := c.claimBut(1, endpoints[:2]...)
			c.pass()
			for range 3 {
				leases = append(leases, c.claimWith(claimRequest(1)).Leases...)
				c.pass()
			}
			equal(c, "leases", len(leases), 4)
			for i, n := range []int{2, 0, 1, 3} { // the third came first because the two before it were skipped
				equal(c, "endpoint", leases[i].Delivery.EndpointID, want[n])
			}
		},
	},
	{
		name:    "what is skipped is settled",
		promise: promiseAge,
		f: func(c *check) {
			e := c.endpoint("t", window(1))
			c.emit("t", 2)
			lost := c.lose()
			c.outlast()
			for range 5 { // a call may leave some
				c.claimBut(10, e)
			}
			c.numbered(c.delivery(lost), 1)
			req := claimRequest(10)
			req.MaxAge = c.tick
			req.Skip = []webhook.EndpointRef{{Tenant: e.Tenant, ID: e.ID}}
			for range 5 {
				equal(c, "leases", len(c.claimWith(req).Leases), 0)
			}
			for _, d := range c.deliveries("t", webhook.DeliveryFilter{}) {
				c.expired(d, d.AttemptCount)
			}
		},
	},
}

// claimBut leases up to n deliveries of other endpoints than these.
func (c *check) claimBut(n int, skipped ...webhook.Endpoint) []webhook.Lease {
	c.Helper()
	req := claimRequest(n)
	for _, e := range skipped {
		req.Skip = append(req.Skip, webhook.EndpointRef{Tenant: e.Tenant, ID: e.ID})
	}
	leases := c.claimWith(req).Leases
	for _, l := range leases {
		for _, e := range skipped {
			c.want(l.Endpoint.ID != e.ID || l.Endpoint.Tenant != e.Tenant, "a delivery of endpoint %s was handed out, which is to be skipped", e.ID)
		}
	}
	return leases
}
