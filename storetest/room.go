package storetest

import (
	"maps"
	"math"

	"github.com/meshia/webhook"
)

const (
	promiseShare  = "It MUST hand out at most MaxTenant leases to the endpoints of one tenant, or as many as Tenants says, which may be none; neither bounds the empty tenant."
	promisePassed = "A tenant that may get none, or has got all that it may, MUST NOT keep the endpoints of others from being served: its endpoints are passed over as those in Skip are, keep their turn for a claim that lets them, and Next and Blocked need not count them."
	promiseLook   = "A call that hands out less than Max since such endpoints hid others MUST answer with a Next of 0."
)

var roomCases = []kase{
	{
		name:    "of one tenant",
		promise: promiseShare,
		f: func(c *check) {
			for _, tenant := range []string{"t", "u"} {
				for range 3 {
					c.endpoint(tenant)
				}
				c.emit(tenant, 5)
			}
			c.shared(webhook.ClaimRequest{Max: 100, MaxTenant: 4}, map[string]int{"t": 4, "u": 4})
		},
	},
	{
		name:    "of one endpoint",
		promise: promiseShare,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 9)
			for _, l := range c.claim(4) { // first attempts and retries
				c.record(retry(l, 0))
			}
			c.shared(webhook.ClaimRequest{Max: 100, MaxTenant: 5}, map[string]int{"t": 5})
		},
	},
	{
		name:    "each tenant its own",
		promise: promiseShare,
		f: func(c *check) {
			for _, tenant := range []string{"none", "one", "other", "more", ""} {
				c.endpoint(tenant)
				c.endpoint(tenant)
				c.emit(tenant, 4)
			}
			req := webhook.ClaimRequest{Max: 100, MaxTenant: 3, Tenants: map[string]int{"none": 0, "one": 1, "more": 6, "unknown": 1}}
			c.shared(req, map[string]int{"one": 1, "other": 3, "more": 6, "": 8})
		},
	},
	{
		name:    "some tenants only",
		promise: promiseShare,
		f: func(c *check) {
			for _, tenant := range []string{"t", "u"} {
				c.endpoint(tenant)
				c.emit(tenant, 5)
			}
			c.shared(webhook.ClaimRequest{Max: 100, Tenants: map[string]int{"u": 2}}, map[string]int{"t": 5, "u": 2})
		},
	},
	{
		name:    "the empty tenant",
		promise: promiseShare,
		f: func(c *check) {
			for range 3 {
				c.endpoint("")
			}
			c.emit("", 4)
			c.shared(webhook.ClaimRequest{Max: 10, MaxTenant: 1}, map[string]int{"": 10})
			c.shared(webhook.ClaimRequest{Max: 10, MaxTenant: 1, Tenants: map[string]int{"": 0}}, map[string]int{"": 2})
		},
	},
	{
		name:    "each claim for itself",
		promise: promiseShare,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 5)
			for _, n := range []int{2, 2, 1} {
				c.shared(webhook.ClaimRequest{Max: 10, MaxTenant: 2}, map[string]int{"t": n})
			}
		},
	},
	{
		name:    "slow and normal endpoints together",
		promise: promiseShare,
		f: func(c *check) {
			for range 3 {
				c.endpoint("t", slow)
				c.endpoint("t")
			}
			c.emit("t", 5)
			c.shared(webhook.ClaimRequest{Max: 100, MaxTenant: 4}, map[string]int{"t": 4})
			c.shared(webhook.ClaimRequest{Max: 100, Tenants: map[string]int{"t": 7}}, map[string]int{"t": 7})
		},
	},
	{
		name:    "who may get none hides nobody",
		promise: promisePassed,
		f: func(c *check) {
			for i := range 30 {
				c.endpoint("many", func(e *webhook.Endpoint) { e.Health.Slow = i%3 == 0 })
			}
			c.emit("many", 20)
			c.pass()
			c.endpoint("small")
			c.endpoint("small", slow)
			c.emit("small", 1)
			req := claimRequest(2)
			req.MaxSlow, req.Tenants = 1, map[string]int{"many": 0}
			leases := c.claimWith(req).Leases
			equal(c, "leases beside a tenant that may get none", len(leases), 2)
			for _, l := range leases {
				equal(c, "tenant", l.Delivery.Tenant, "small")
			}
		},
	},
	{
		name:    "who has all hides nobody",
		promise: promiseLook,
		f: func(c *check) {
			for _, tenant := range []string{"many", "more"} {
				for i := range 20 {
					c.endpoint(tenant, func(e *webhook.Endpoint) { e.Health.Slow = i%3 == 0 })
				}
				c.emit(tenant, 5)
			}
			c.pass()
			c.endpoint("small")
			c.endpoint("small", slow)
			c.emit("small", 3)
			req := webhook.ClaimRequest{Max: 9, MaxTenant: 2, Tenants: map[string]int{"more": 3, "small": 6}}
			c.shared(req, map[string]int{"many": 2, "more": 3, "small": 4})
			req = webhook.ClaimRequest{Max: 10, MaxTenant: 4, Tenants: map[string]int{"many": 0, "more": 0}}
			c.shared(req, map[string]int{"small": 2})
		},
	},
	{
		name:    "who is passed over keeps its turn",
		promise: promisePassed,
		f: func(c *check) {
			var want []string
			for _, tenant := range []string{"full", "full", "t", "t"} {
				e := c.endpoint(tenant, subscribed(c.name("type.t")))
				events := []webhook.Event{newEvent(e.Events[0], c.name("evt"), 1), newEvent(e.Events[0], c.name("evt"), 2)}
				c.enqueue(webhook.EnqueueRequest{Tenant: tenant, Events: events})
				want = append(want, e.ID)
				c.pass()
			}
			req := claimRequest(1)
			req.Tenants = map[string]int{"full": 0}
			leases := c.claimWith(req).Leases
			c.pass()
			for range 3 {
				leases = append(leases, c.claimWith(claimRequest(1)).Leases...)
				c.pass()
			}
			equal(c, "leases", len(leases), 4)
			for i, n := range []int{2, 0, 1, 3} { // the third came first because the two before it were passed over
				equal(c, "endpoint", leases[i].Delivery.EndpointID, want[n])
			}
		},
	},
}

// shared claims as a dispatcher does, which comes back at once for what is left of its request where it is told to, and
// checks who got how many leases.
func (c *check) shared(req webhook.ClaimRequest, want map[string]int) {
	c.Helper()
	req.Owner, req.Term = "one", far
	req.Tenants = maps.Clone(req.Tenants)
	if req.Tenants == nil {
		req.Tenants = map[string]int{}
	}
	got := map[string]int{}
	for range 20 {
		req.MaxSlow = req.Max
		claimed := c.claimWith(req)
		c.want(len(claimed.Leases) <= req.Max, "%d leases, want %d at most", len(claimed.Leases), req.Max)
		req.Max -= len(claimed.Leases)
		req.Tenants = maps.Clone(req.Tenants) // the store may keep what it was given
		for _, l := range claimed.Leases {
			tenant := l.Delivery.Tenant
			got[tenant]++
			room := req.Room(tenant)
			c.want(room > 0, "more leases for tenant %q than it may get", tenant)
			if room < math.MaxInt {
				req.Tenants[tenant] = room - 1
			}
		}
		if claimed.Next != 0 || req.Max == 0 {
			break
		}
	}
	for tenant, n := range want {
		equal(c, "leases of tenant "+tenant, got[tenant], n)
		delete(got, tenant)
	}
	equal(c, "tenants that may get none and got some", len(got), 0)
}
