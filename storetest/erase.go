package storetest

import (
	"sync"

	"github.com/meshia/webhook"
)

const (
	promiseErase    = "EraseDelivery removes the contents of the delivery's event, as Prune does, for all of the event's deliveries."
	promiseErased   = "Those that are pending MUST fail with FailErased; one that is leased MUST fail with it, instead of becoming pending, when its lease ends, and what its outcome brings of contents MUST NOT be stored."
	promiseNoErased = "Errors: [ErrNotFound]."
)

var eraseCases = []kase{
	{
		name:    "what was sent",
		promise: promiseErase,
		f: func(c *check) {
			e, other := c.endpoint("t"), c.endpoint("t")
			l := c.logged(e)
			again := c.again(l, other)
			o := outcome(again, webhook.OutcomeFailed)
			fill(&o)
			c.record(o)
			spared := c.logged(e)
			kept := c.delivery(spared)
			all := c.deliveries("t", webhook.DeliveryFilter{EventID: l.Event.ID})
			equal(c, "deliveries of the event", len(all), 2)
			for range 2 { // the second time there is nothing left to erase
				c.ok(c.store.EraseDelivery(c.Context(), "t", again.Delivery.ID))
				c.bare(l.Event, all...)
			}
			c.same("delivery of another event", c.delivery(spared), kept)
			stored, err := c.store.Event(c.Context(), "t", spared.Event.ID)
			c.ok(err)
			c.same("another event", stored, spared.Event)
		},
	},
	{
		name:    "what waits",
		promise: promiseErased,
		f: func(c *check) {
			for range 3 {
				c.endpoint("t")
			}
			event := c.emit("t", 1)[0]
			leases := c.claim(2)
			done, again := outcome(leases[0], webhook.OutcomeDelivered), retry(leases[1], far)
			fill(&done)
			fill(&again)
			c.record(done, again)
			other := c.emit("t", 1)[0]
			all := c.deliveries("t", webhook.DeliveryFilter{EventID: event.ID})
			equal(c, "deliveries of the event", len(all), 3)
			c.ok(c.store.EraseDelivery(c.Context(), "t", all[0].ID))
			for _, d := range all {
				if now := c.deliveryOf("t", d.ID); d.ID == leases[0].Delivery.ID {
					equal(c, "state of what was delivered", now.State, webhook.DeliverySucceeded)
				} else {
					c.erased(now, d.AttemptCount)
				}
			}
			c.bare(event)
			left := c.claim(10)
			equal(c, "leases, those of another event", len(left), 3)
			for _, l := range left {
				c.same("event", l.Event, other)
			}
		},
	},
	{
		name:    "what is being sent",
		promise: promiseErased,
		f: func(c *check) {
			for range 5 {
				c.endpoint("t")
			}
			event := c.emit("t", 1)[0]
			leases := c.claim(5)
			equal(c, "leases", len(leases), 5)
			c.ok(c.store.EraseDelivery(c.Context(), "t", leases[0].Delivery.ID))
			for i, kind := range []webhook.OutcomeKind{
				webhook.OutcomeDelivered, webhook.OutcomeFailed, webhook.OutcomeRetry, webhook.OutcomeInterrupted, webhook.OutcomeReleased,
			} {
				equal(c, "state before the outcome", c.delivery(leases[i]).State, webhook.DeliveryLeased)
				o, rows := outcome(leases[i], kind), 1
				if kind == webhook.OutcomeReleased {
					rows = 0
				} else {
					fill(&o)
				}
				c.record(o)
				d := c.delivery(leases[i])
				want := o.Attempt
				want.RequestHeader, want.ResponseHeader, want.ResponseBody = nil, nil, nil
				c.numbered(d, rows)
				for _, a := range d.Attempts {
					c.same("row of outcome "+string(kind), a, want)
				}
				switch kind {
				case webhook.OutcomeDelivered:
					equal(c, "state", d.State, webhook.DeliverySucceeded)
				case webhook.OutcomeFailed:
					equal(c, "state", d.State, webhook.DeliveryFailed)
					equal(c, "reason", d.Reason, o.Reason)
				default:
					c.erased(d, rows)
				}
			}
			c.bare(event)
			c.none()
		},
	},
	{
		name:    "what was sent by an owner that died",
		promise: promiseErased,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 1)
			l := c.lose()
			c.ok(c.store.EraseDelivery(c.Context(), "t", l.Delivery.ID))
			c.outlast()
			c.none()
			d := c.delivery(l)
			c.erased(d, 1)
			equal(c, "error of the attempt", d.Attempts[0].Error, webhook.ErrorOwnerLost)
		},
	},
	{
		name:    "erased while outcomes are recorded",
		promise: promiseErased,
		f: func(c *check) {
			const n = 16
			c.endpoint("t")
			c.emit("t", n)
			leases := c.claim(n)
			var mu sync.Mutex
			c.ok(parallel(2*n, func(i int) error {
				l, s := leases[i/2], c.handle(i)
				if i/2%2 == 1 { // either may be the first to come
					s = c.handle(i + 1)
				}
				if i%2 == 0 {
					return s.EraseDelivery(c.Context(), "t", l.Delivery.ID)
				}
				o := retry(l, 0)
				fill(&o)
				applied, err := s.Record(c.Context(), []webhook.Outcome{o})
				mu.Lock()
				defer mu.Unlock()
				c.want(err != nil || applied[0], "an outcome was not applied")
				return err
			}))
			for _, l := range leases {
				d := c.delivery(l)
				c.erased(d, 1)
				c.bare(l.Event, d)
			}
			c.none()
		},
	},
	{
		name:    "a delivery that is not there",
		promise: promiseNoErased,
		f: func(c *check) {
			c.endpoint("t")
			l := c.logged(c.endpoint("t"))
			for _, id := range []string{"", "dlv_unknown", l.Event.ID} {
				c.notFound("EraseDelivery", c.store.EraseDelivery(c.Context(), "t", id))
			}
			c.outlast()
			c.prune(webhook.PruneRequest{Deliveries: c.tick})
			c.notFound("EraseDelivery of what was pruned", c.store.EraseDelivery(c.Context(), "t", l.Delivery.ID))
		},
	},
}

func (c *check) erased(d webhook.Delivery, attempts int) {
	c.Helper()
	equal(c, "state", d.State, webhook.DeliveryFailed)
	equal(c, "reason", d.Reason, webhook.FailErased)
	c.want(!d.FinishedAt.IsZero() && d.NextAttemptAt.IsZero(), "finished at %v, next attempt at %v", d.FinishedAt, d.NextAttemptAt)
	c.numbered(d, attempts)
}
