package storetest

import (
	"github.com/meshia/webhook"
)

const (
	promiseFair  = "The endpoint that has waited longest MUST come first; no backlog of one endpoint may keep another from being served."
	promiseTurns = "Of one endpoint's due deliveries the one that fell due first MUST come first, but first attempts and retries MUST take turns while both are due."
)

var orderCases = []kase{
	{
		name:    "a newcomer beside a backlog",
		promise: promiseFair,
		f: func(c *check) {
			c.endpoint("big")
			c.emit("big", 10_000)
			c.claim(2)
			small := c.endpoint("small")
			c.pass()
			c.emit("small", 1)
			for range 2 { // the backlog may have its turn before, once
				for _, l := range c.claimWith(claimRequest(4)).Leases {
					if l.Delivery.EndpointID == small.ID {
						return
					}
				}
			}
			c.failf("two claims served the backlog only")
		},
	},
	{
		name:    "a newcomer beside many endpoints",
		promise: promiseFair,
		f: func(c *check) {
			for range 20 {
				c.endpoint("many")
			}
			c.emit("many", 10)
			c.pass()
			c.endpoint("small")
			c.emit("small", 1)
			for n := range 21 {
				c.pass()
				for _, l := range c.claimWith(claimRequest(1)).Leases {
					if l.Delivery.Tenant == "small" {
						equal(c, "claims before the newcomer's", n, 20)
						return
					}
				}
			}
			c.failf("the newcomer was not served while 20 others were served once each")
		},
	},
	{
		name:    "endpoints with backlogs take turns",
		promise: promiseFair,
		f: func(c *check) {
			for range 3 {
				c.endpoint("t")
			}
			c.emit("t", 4)
			served := map[string]int{}
			for n := range 12 {
				c.pass()
				leases := c.claimWith(claimRequest(1)).Leases
				equal(c, "leases", len(leases), 1)
				served[leases[0].Delivery.EndpointID]++
				for id, times := range served {
					c.want(times <= n/3+1, "endpoint %s was served %d times in %d claims among three", id, times, n+1)
				}
			}
		},
	},
	{
		name:    "first come, first served",
		promise: promiseTurns,
		f: func(c *check) {
			c.endpoint("t")
			var want []string
			for range 5 {
				want = append(want, c.emit("t", 1)[0].ID)
				c.pass()
			}
			for _, id := range want {
				leases := c.claimWith(claimRequest(1)).Leases
				equal(c, "leases", len(leases), 1)
				equal(c, "event", leases[0].Event.ID, id)
			}
		},
	},
	{
		name:    "retries by when they fall due",
		promise: promiseTurns,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 3)
			leases := c.claim(3)
			equal(c, "leases", len(leases), 3)
			for _, i := range []int{2, 0, 1} {
				c.record(retry(leases[i], 0))
				c.pass()
			}
			for _, i := range []int{2, 0, 1} {
				next := c.claimWith(claimRequest(1)).Leases
				equal(c, "leases", len(next), 1)
				equal(c, "retry", next[0].Delivery.ID, leases[i].Delivery.ID)
			}
		},
	},
	{
		name:    "first attempts and retries take turns",
		promise: promiseTurns,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 10)
			for _, l := range c.claim(10) {
				c.record(retry(l, 0))
			}
			c.pass()
			c.emit("t", 10) // all of which fell due after all retries
			c.pass()
			firsts, retries := 0, 0
			for range 12 {
				leases := c.claimWith(claimRequest(1)).Leases
				equal(c, "leases", len(leases), 1)
				if leases[0].Delivery.AttemptCount == 1 {
					firsts++
				} else {
					retries++
				}
				c.want(firsts-retries <= 1 && retries-firsts <= 1, "%d first attempts and %d retries were handed out while both were due", firsts, retries)
			}
			for _, l := range c.claim(1) {
				c.record(outcome(l, webhook.OutcomeDelivered))
			}
		},
	},
}
