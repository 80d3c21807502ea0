package storetest

import (
	"errors"

	"github.com/meshia/webhook"
)

const promiseDirectFull = "With Direct.Queued and a MaxPending it MUST return [ErrBacklogFull] and store nothing where more than that many of the endpoint's deliveries would be pending or leased."

// directFullCases are about the bound of what Direct requests leave to Claim.
var directFullCases = []kase{
	{
		name:    "as many as may be pending or leased",
		promise: promiseDirectFull,
		f: func(c *check) {
			e, other := c.endpoint("t"), c.endpoint("t")
			foreign := c.endpoint("u", func(same *webhook.Endpoint) { same.ID = e.ID })
			queue := func(e webhook.Endpoint, n int) error {
				req := c.queued(e, c.events(n)...)
				req.MaxPending = 3
				_, err := c.store.Enqueue(c.Context(), req)
				return err
			}
			full := func(n int) {
				c.Helper()
				before := c.everything("t")
				c.fails("a request that is one too many", queue(e, n), webhook.ErrBacklogFull)
				equal(c, "what is stored", c.everything("t"), before)
			}
			full(4)
			c.ok(queue(e, 2))
			full(2)
			c.ok(queue(e, 1))
			full(1)
			leases := c.claim(10)
			equal(c, "leases", len(leases), 3)
			full(1)
			c.record(retry(leases[0], far))
			full(1)
			c.record(outcome(leases[1], webhook.OutcomeDelivered))
			full(2)
			c.ok(queue(e, 1))
			full(1)
			c.ok(queue(other, 3))
			c.ok(queue(foreign, 3))
		},
	},
	{
		name:    "what the bound is not for",
		promise: promiseDirectFull,
		f: func(c *check) {
			e := c.endpoint("t")
			c.queue(e, c.events(5)...) // without one
			bounded := func(req webhook.EnqueueRequest) error {
				req.MaxPending = 2
				_, err := c.store.Enqueue(c.Context(), req)
				return err
			}
			leased := c.queued(e, c.events(2)...)
			leased.Direct.Queued, leased.Direct.Owner, leased.Direct.Term = false, "direct", far
			c.ok(bounded(leased))
			c.fails("a request that is queued", bounded(c.queued(e, c.events(1)...)), webhook.ErrBacklogFull)
			err := bounded(c.queued(webhook.Endpoint{Tenant: "t", ID: "we_unknown"}, c.events(1)...))
			c.want(errors.Is(err, webhook.ErrNotFound) && !errors.Is(err, webhook.ErrBacklogFull), "got error %v for an endpoint that is not there", err)
		},
	},
}
