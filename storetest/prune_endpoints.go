package storetest

import (
	"errors"
	"time"

	"github.com/meshia/webhook"
)

const promiseOldEndpoint = "An endpoint that was deleted longer than req.Deliveries ago and has no delivery left MUST be removed: its id may be used again."

var pruneEndpointCases = []kase{
	{
		name:    "deleted endpoints",
		promise: promiseOldEndpoint,
		f: func(c *check) {
			e, busy, off := c.endpoint("t"), c.endpoint("t"), c.endpoint("t", state(webhook.EndpointDisabled))
			c.emit("t", 2)
			for _, l := range c.claim(10) {
				c.record(outcome(l, webhook.OutcomeDelivered))
			}
			c.missed(e, 1)
			c.replay(e)
			lease := c.direct(busy, webhook.KindTest)
			for _, deleted := range []webhook.Endpoint{e, busy} {
				c.ok(c.store.DeleteEndpoint(c.Context(), "t", deleted.ID))
			}
			c.outlast()
			taken := func(e webhook.Endpoint) {
				c.Helper()
				_, err := c.store.CreateEndpoint(c.Context(), e, 1000)
				c.fails("CreateEndpoint with the id of "+e.ID, err, webhook.ErrConflict)
			}
			equal(c, "gaps before it is removed", len(c.gaps(e)), 1)
			c.prune(webhook.PruneRequest{Deliveries: far, Bodies: c.tick})
			taken(e) // it is not old enough
			c.prune(webhook.PruneRequest{Deliveries: c.tick})
			taken(busy) // it has a delivery
			taken(off)
			equal(c, "state", c.delivery(lease).State, webhook.DeliveryLeased)

			again, err := c.store.CreateEndpoint(c.Context(), e, 1000)
			c.ok(err)
			equal(c, "version", again.Version, 1)
			equal(c, "gaps and replays that it begins with", len(c.gaps(again))+len(c.replays(again)), 0)
			equal(c, "attempts that it begins with", c.delivered(again), 0)
			c.emit("t", 1)
			equal(c, "endpoint", c.one().Delivery.EndpointID, e.ID)
			equal(c, "deliveries", len(c.deliveries("t", webhook.DeliveryFilter{EndpointID: e.ID})), 1)
			c.missed(again, 2)
			c.gap(c.lastGap(again), again, webhook.GapDisabled, 2)
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
			taken(e)

			c.record(outcome(lease, webhook.OutcomeDelivered))
			c.outlast()
			c.prune(webhook.PruneRequest{Deliveries: c.tick})
			_, err = c.store.CreateEndpoint(c.Context(), busy, 1000)
			c.ok(err)
		},
	},
	{
		name:    "an endpoint by when it was deleted",
		promise: promiseOldEndpoint,
		f: func(c *check) {
			for age := c.tick; ; age *= 2 {
				e := c.endpoint("t")
				time.Sleep(age + c.tick/2)
				t0 := c.now()
				c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
				c.prune(webhook.PruneRequest{Deliveries: age})
				_, err := c.store.CreateEndpoint(c.Context(), e, 1000)
				if c.now().Sub(t0) < age {
					c.want(errors.Is(err, webhook.ErrConflict), "got error %v, want ErrConflict: the endpoint was deleted less than %v ago", err, age)
					return
				}
				c.want(age < 100*c.tick, "a call takes more than %v", age) // else a slow store has another try
			}
		},
	},
}
