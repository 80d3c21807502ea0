package storetest

import (
	"time"

	"github.com/meshia/webhook"
)

const promiseDeferred = "OutcomeDeferred MUST do what OutcomeRetry does, and raise Delivery.Deferred by one; where the kind is Once it MUST fail with FailExhausted."

var deferredCases = []kase{
	{
		name:    "a delivery that is pending again",
		promise: promiseDeferred,
		f: func(c *check) {
			e := c.endpoint("t")
			c.emit("t", 1)
			l := c.one()
			o := outcome(l, webhook.OutcomeDeferred)
			o.Wait = far
			fill(&o)
			o.Judge = func(h webhook.Health, now time.Time) webhook.Health {
				h.Failures, h.LastFailure = h.Failures+1, now
				return h
			}
			t0 := c.now()
			c.record(o)
			t1 := c.now()
			d := c.delivery(l)
			equal(c, "state", d.State, webhook.DeliveryPending)
			equal(c, "deferred attempts", d.Deferred, 1)
			equal(c, "interruptions", d.Interrupted, 0)
			c.during("NextAttemptAt", d.NextAttemptAt, t0.Add(far), t1.Add(far))
			c.numbered(d, 1)
			c.same("attempt", d.Attempts[0], o.Attempt)
			c.same("delivery in a list", c.deliveries("t", webhook.DeliveryFilter{})[0], d)
			equal(c, "failures", c.health(e).Failures, 1)
			c.during("LastFailure", c.health(e).LastFailure, t0, t1)
			c.none()
		},
	},
	{
		name:    "as often as it happens",
		promise: promiseDeferred,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 1)
			deferred := 0
			var l webhook.Lease
			for n, kind := range []webhook.OutcomeKind{
				webhook.OutcomeDeferred, webhook.OutcomeRetry, webhook.OutcomeDeferred, webhook.OutcomeInterrupted, webhook.OutcomeDeferred, webhook.OutcomeDelivered,
			} {
				l = c.one()
				equal(c, "attempt", l.Delivery.AttemptCount, n+1)
				equal(c, "deferred attempts of the lease", l.Delivery.Deferred, deferred)
				c.record(outcome(l, kind))
				if kind == webhook.OutcomeDeferred {
					deferred++
				}
			}
			d := c.delivery(l)
			equal(c, "state", d.State, webhook.DeliverySucceeded)
			equal(c, "deferred attempts", d.Deferred, 3)
			equal(c, "interruptions", d.Interrupted, 1)
			c.numbered(d, 6)
		},
	},
	{
		name:    "a ping, a test, a redelivery",
		promise: promiseDeferred,
		f: func(c *check) {
			e := c.endpoint("t")
			for _, kind := range []webhook.DeliveryKind{webhook.KindPing, webhook.KindTest} {
				l := c.direct(e, kind)
				c.record(outcome(l, webhook.OutcomeDeferred))
				d := c.delivery(l)
				equal(c, "state", d.State, webhook.DeliveryFailed)
				equal(c, "reason", d.Reason, webhook.FailExhausted)
				c.want(!d.FinishedAt.IsZero() && d.NextAttemptAt.IsZero(), "finished at %v, next attempt at %v", d.FinishedAt, d.NextAttemptAt)
				c.numbered(d, 1)
			}
			l := c.direct(e, webhook.KindRedelivery) // which may be retried
			c.record(outcome(l, webhook.OutcomeDeferred))
			equal(c, "state of a redelivery", c.delivery(l).State, webhook.DeliveryPending)
			equal(c, "deferred attempts of a redelivery", c.delivery(l).Deferred, 1)
		},
	},
	{
		name:    "what cannot be pending again",
		promise: promiseDeferred,
		f: func(c *check) {
			deleted, e := c.endpoint("t", subscribed(happened)), c.endpoint("t", subscribed(ceased))
			c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{c.event(happened), c.event(ceased)}})
			leases := c.claim(2)
			equal(c, "leases", len(leases), 2)
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", deleted.ID))
			for _, l := range leases {
				want := webhook.FailEndpointDeleted
				if l.Delivery.EndpointID == e.ID {
					want = webhook.FailErased
					c.ok(c.store.EraseDelivery(c.Context(), "t", l.Delivery.ID))
				}
				c.record(outcome(l, webhook.OutcomeDeferred))
				d := c.delivery(l)
				equal(c, "state", d.State, webhook.DeliveryFailed)
				equal(c, "reason", d.Reason, want)
				c.numbered(d, 1)
			}
			c.none()
		},
	},
}
