package storetest

import "github.com/meshia/webhook"

const (
	promiseReplayed = "It is queued as a delivery of KindRedelivery, pending and due at once, that names the replay's AskedBy and the last of the failed ones as RedeliveryOf."
	promiseSkipped  = "An event whose contents were removed is counted as Skipped instead."
)

// replayQueuedCases are about what becomes of an event that is to be queued again.
var replayQueuedCases = []kase{
	{
		name:    "what failed again is queued once",
		promise: promiseReplayed,
		f: func(c *check) {
			e := c.endpoint("t")
			id := c.failed(e, 1)[0]
			var last webhook.Lease
			for range 3 {
				c.pass()
				last = c.resend(e, id)
				c.record(outcome(last, webhook.OutcomeFailed))
			}
			c.pass()
			c.replay(e)
			c.replayAll()
			c.list("events", c.waiting(e), []string{id})
			equal(c, "what the redelivery repeats", c.one().Delivery.RedeliveryOf, last.Delivery.ID)
		},
	},
	{
		name:    "what is queued",
		promise: promiseReplayed,
		f: func(c *check) {
			e := c.endpoint("t")
			failed := c.failed(e, 1)[0]
			of := c.deliveries("t", webhook.DeliveryFilter{})[0].ID
			missed := c.missed(e, 1)[0]
			c.pass()
			c.replay(e, func(r *webhook.Replay) { r.AskedBy = "ops@example.com" })
			t0 := c.now()
			c.want(c.replayAll(), "no step said that something was queued")
			t1 := c.now()
			for id, repeats := range map[string]string{failed: of, missed: ""} {
				d := c.deliveries("t", webhook.DeliveryFilter{EventID: id})[0]
				equal(c, "kind", d.Kind, webhook.KindRedelivery)
				equal(c, "state", d.State, webhook.DeliveryPending)
				equal(c, "what it repeats", d.RedeliveryOf, repeats)
				equal(c, "who asked for it", d.AskedBy, "ops@example.com")
				equal(c, "attempts", d.AttemptCount, 0)
				c.during("CreatedAt", d.CreatedAt, t0, t1)
				c.during("NextAttemptAt", d.NextAttemptAt, t0, t1)
			}
			leases := c.claim(5)
			equal(c, "leases", len(leases), 2)
			for _, l := range leases {
				event, err := c.store.Event(c.Context(), "t", l.Delivery.EventID)
				c.ok(err)
				c.same("event", l.Event, event)
				c.record(retry(l, 0)) // it has attempts of its own
			}
			equal(c, "leases", len(c.claim(5)), 2)
		},
	},
	{
		name:    "contents that were removed",
		promise: promiseSkipped,
		f: func(c *check) {
			e := c.endpoint("t")
			c.settled(e, webhook.OutcomeDelivered)
			c.failed(e, 2)
			c.missed(e, 1)
			c.outlast()
			c.prune(webhook.PruneRequest{Bodies: c.tick})
			want := append(c.failed(e, 1), c.missed(e, 1)...)
			c.failed(e, 1)
			c.ok(c.store.EraseDelivery(c.Context(), "t", c.deliveries("t", webhook.DeliveryFilter{})[0].ID))
			c.pass()
			r := c.replay(e)
			c.replayAll()
			c.list("events", c.waiting(e), want)
			r = c.replayOf(r)
			equal(c, "events that were looked at", r.Looked, 7)
			equal(c, "events that were queued again", r.Queued, 2)
			equal(c, "events that were skipped", r.Skipped, 4)
		},
	},
}
