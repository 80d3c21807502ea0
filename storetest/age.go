package storetest

import (
	"time"

	"github.com/meshia/webhook"
)

const promiseAge = "A pending delivery that was created longer than MaxAge ago MUST fail with FailExpired, whatever its endpoint's state; a call may leave some of them to the next call, but MUST NOT hand them out."

var ageCases = []kase{
	{
		name:    "whatever the endpoint's state",
		promise: promiseAge,
		f: func(c *check) {
			var endpoints []webhook.Endpoint
			for range 4 {
				endpoints = append(endpoints, c.endpoint("t"))
			}
			c.emit("t", 2)
			c.turn(endpoints[1], webhook.EndpointDisabled)
			c.turn(endpoints[2], webhook.EndpointPending)
			c.pause(endpoints[3], c.now().Add(far))
			c.outlast()
			c.expire(c.tick)
			all := c.deliveries("t", webhook.DeliveryFilter{})
			equal(c, "deliveries", len(all), 8)
			for _, d := range all {
				c.expired(d, 0)
			}
			for _, e := range endpoints {
				c.turn(e, webhook.EndpointActive)
			}
			c.none()
		},
	},
	{
		name:    "not before their time, and never without MaxAge",
		promise: promiseAge,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 1)
			c.pass()
			for _, maxAge := range []time.Duration{far, 0} {
				req := claimRequest(1)
				req.MaxAge = maxAge
				leases := c.claimWith(req).Leases
				equal(c, "leases", len(leases), 1)
				c.record(retry(leases[0], 0))
			}
		},
	},
	{
		name:    "age counts from the creation",
		promise: promiseAge,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 2)
			leases := c.claim(2)
			c.outlast()
			c.record(retry(leases[0], 0), retry(leases[1], far))
			c.expire(c.tick)
			for _, l := range leases {
				c.expired(c.delivery(l), 1)
			}
		},
	},
	{
		name:    "not while an attempt is under way",
		promise: promiseAge,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 1)
			l := c.one()
			c.outlast()
			c.expire(c.tick)
			equal(c, "state", c.delivery(l).State, webhook.DeliveryLeased)
			c.record(outcome(l, webhook.OutcomeDelivered))
			equal(c, "state", c.delivery(l).State, webhook.DeliverySucceeded)
		},
	},
	{
		name:    "a lost lease whose delivery is too old",
		promise: promiseAge,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 1)
			l := c.lose()
			c.outlast()
			c.expire(c.tick)
			c.expired(c.delivery(l), 1)
		},
	},
}

// expire claims a few times, since a call may leave some deliveries to the next, where all are older than maxAge.
func (c *check) expire(maxAge time.Duration) {
	c.Helper()
	for range 5 {
		req := claimRequest(10)
		req.MaxAge = maxAge
		for _, l := range c.claimWith(req).Leases {
			c.failf("a delivery %v old was handed out where MaxAge is %v", l.StartedAt.Sub(l.Delivery.CreatedAt), maxAge)
		}
	}
}

func (c *check) expired(d webhook.Delivery, attempts int) {
	c.Helper()
	equal(c, "state", d.State, webhook.DeliveryFailed)
	equal(c, "reason", d.Reason, webhook.FailExpired)
	c.want(!d.FinishedAt.IsZero() && d.NextAttemptAt.IsZero(), "finished at %v, next attempt at %v", d.FinishedAt, d.NextAttemptAt)
	c.numbered(d, attempts)
}
