package storetest

import (
	"errors"
	"time"

	"github.com/meshia/webhook"
)

const (
	promiseOldBody = "The contents of an event that was stored longer than req.Bodies ago MUST be removed if none of its deliveries is pending or leased: its Body and Metadata, and of its deliveries' attempts the RequestHeader, ResponseHeader and ResponseBody."
	promiseDigest  = "The rows stay, and so does what Event.Digest is compared with."
)

var bodyCases = []kase{
	{
		name:    "of an event and its deliveries",
		promise: promiseOldBody,
		f: func(c *check) {
			e, other := c.endpoint("t"), c.endpoint("t")
			l := c.logged(e)
			again := c.again(l, other)
			failed := outcome(again, webhook.OutcomeFailed)
			fill(&failed)
			c.record(failed)
			c.turn(e, webhook.EndpointDisabled)
			c.turn(other, webhook.EndpointDisabled)
			idle := c.emit("t", 1)[0]
			c.outlast()
			equal(c, "what is said to be removed where nothing is old enough", c.prune(webhook.PruneRequest{Bodies: far}), webhook.PruneResult{})
			first, second := c.delivery(l), c.delivery(again)
			equal(c, "what is said to be removed", c.prune(webhook.PruneRequest{Bodies: c.tick}), webhook.PruneResult{Bodies: 2})
			c.bare(l.Event, first, second)
			c.bare(idle)
			equal(c, "what is said to be removed once more", c.prune(webhook.PruneRequest{Bodies: c.tick}), webhook.PruneResult{})
			c.outlast()
			equal(c, "deliveries that are removed later", c.prune(webhook.PruneRequest{Deliveries: c.tick}).Deliveries, 2)
		},
	},
	{
		name:    "not while a delivery needs them",
		promise: promiseOldBody,
		f: func(c *check) {
			e, other, third := c.endpoint("t"), c.endpoint("t"), c.endpoint("t")
			l := c.logged(e)
			waits, leased := c.again(l, other), c.again(l, third)
			c.record(retry(waits, 0))
			c.outlast()
			keeps := func() {
				c.Helper()
				equal(c, "what is said to be removed", c.prune(webhook.PruneRequest{Bodies: c.tick}), webhook.PruneResult{})
				stored, err := c.store.Event(c.Context(), "t", l.Event.ID)
				c.ok(err)
				c.same("event", stored, l.Event)
			}
			keeps()
			c.record(outcome(leased, webhook.OutcomeDelivered))
			keeps()
			waits = c.one()
			c.same("event of a retry", waits.Event, l.Event)
			keeps()
			c.record(outcome(waits, webhook.OutcomeDelivered))
			all := c.deliveries("t", webhook.DeliveryFilter{EventID: l.Event.ID})
			equal(c, "bodies that are said to be removed", c.prune(webhook.PruneRequest{Bodies: c.tick}).Bodies, 1)
			c.bare(l.Event, all...)
		},
	},
	{
		name:    "by when it was stored, whenever its deliveries finished",
		promise: promiseOldBody,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 1)
			l := c.one()
			c.outlast()
			c.record(outcome(l, webhook.OutcomeDelivered))
			equal(c, "bodies that are said to be removed", c.prune(webhook.PruneRequest{Bodies: c.tick}).Bodies, 1)
			c.bare(l.Event)
		},
	},
	{
		name:    "by the store's time, not by the event's own",
		promise: promiseOldBody,
		f: func(c *check) {
			for age := c.tick; ; age *= 2 {
				time.Sleep(age + c.tick/2)
				c.prune(webhook.PruneRequest{Bodies: age}) // what a try before left
				t0 := c.now()
				events := c.dated()
				c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: events})
				early := c.prune(webhook.PruneRequest{Bodies: age})
				if c.now().Sub(t0) < age {
					equal(c, "bodies that are said to be removed too early", early.Bodies, 0)
					time.Sleep(age + c.tick/2)
					equal(c, "bodies that are said to be removed", c.prune(webhook.PruneRequest{Bodies: age}).Bodies, 2)
					c.bare(events[0])
					c.bare(events[1])
					return
				}
				c.want(age < 100*c.tick, "a call takes more than %v", age) // else a slow store has another try
			}
		},
	},
	{
		name:    "pruned while it is sent again",
		promise: promiseOldBody,
		f: func(c *check) {
			const n = 16
			e := c.endpoint("t")
			var logged []webhook.Lease
			for range n {
				logged = append(logged, c.logged(e))
			}
			c.outlast()
			leases := make([]webhook.EnqueueResult, n)
			c.ok(parallel(n+4, func(i int) error {
				if i >= n {
					_, err := c.handle(i).Prune(c.Context(), webhook.PruneRequest{Bodies: c.tick, Max: 5})
					return err
				}
				var err error
				leases[i], err = c.handle(i).Enqueue(c.Context(), redelivery(logged[i], e))
				if errors.Is(err, webhook.ErrBodyPruned) {
					err = nil
				}
				return err
			}))
			for i, result := range leases {
				for _, l := range result.Leases {
					stored, err := c.store.Event(c.Context(), "t", l.Event.ID)
					c.ok(err)
					c.same("event that is being sent", stored, logged[i].Event)
					c.record(outcome(l, webhook.OutcomeDelivered))
				}
			}
			c.prune(webhook.PruneRequest{Bodies: c.tick}) // which may go on where one of the others stopped
			c.prune(webhook.PruneRequest{Bodies: c.tick})
			for _, l := range logged {
				c.bare(l.Event)
			}
		},
	},
	{
		name:    "what is left of an event",
		promise: promiseDigest,
		f: func(c *check) {
			e := c.endpoint("t")
			l := c.logged(e)
			erased := c.logged(e)
			c.ok(c.store.EraseDelivery(c.Context(), "t", erased.Delivery.ID))
			c.outlast()
			c.prune(webhook.PruneRequest{Bodies: c.tick})
			for _, event := range []webhook.Event{l.Event, erased.Event} {
				before := c.everything("t")
				result := c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{event}})
				c.want(!result.Queued && len(result.Leases) == 0, "an event that is known was delivered again")
				equal(c, "what there is after it was emitted again", c.everything("t"), before)
				_, err := c.store.Enqueue(c.Context(), webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{newEvent(happened, event.ID, "other")}})
				c.fails("Enqueue of another event with the id", err, webhook.ErrConflict)
				read, err := c.store.Event(c.Context(), "t", event.ID)
				c.ok(err)
				_, err = c.store.Enqueue(c.Context(), webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{read}})
				c.fails("Enqueue of the event without its data", err, webhook.ErrConflict)
				equal(c, "what there is", c.everything("t"), before)
			}
		},
	},
}

// redelivery asks for the event of a lease to be sent to e.
func redelivery(l webhook.Lease, e webhook.Endpoint) webhook.EnqueueRequest {
	return webhook.EnqueueRequest{
		Tenant: e.Tenant, Events: []webhook.Event{l.Event},
		Direct: &webhook.Direct{EndpointID: e.ID, Kind: webhook.KindRedelivery, RedeliveryOf: l.Delivery.ID, Owner: "direct", Term: far},
	}
}

// again leases another delivery of the same event.
func (c *check) again(l webhook.Lease, e webhook.Endpoint) webhook.Lease {
	c.Helper()
	leases := c.enqueue(redelivery(l, e)).Leases
	equal(c, "leases", len(leases), 1)
	return leases[0]
}

// bare checks that an event and these of its deliveries are what they were, without their contents.
func (c *check) bare(event webhook.Event, before ...webhook.Delivery) {
	c.Helper()
	stored, err := c.store.Event(c.Context(), "t", event.ID)
	c.ok(err)
	event.Body, event.Metadata = nil, nil
	if len(stored.Metadata) == 0 {
		stored.Metadata = nil
	}
	c.same("event without its contents", stored, event)
	for _, want := range before {
		var rows []webhook.Attempt
		for _, a := range want.Attempts {
			a.RequestHeader, a.ResponseHeader, a.ResponseBody = nil, nil, nil
			rows = append(rows, a)
		}
		want.Attempts = rows
		c.same("delivery without its contents", c.deliveryOf("t", want.ID), want)
		for _, d := range c.deliveries("t", webhook.DeliveryFilter{EventID: event.ID}) {
			if d.ID == want.ID {
				c.same("delivery without its contents, in a list", d, want)
			}
		}
	}
}
