package storetest

import (
	"errors"

	"github.com/meshia/webhook"
)

const (
	promiseDirect   = "A request with Direct set MUST make exactly one delivery for each of its events, to the named endpoint and to no other, whatever its state, window and subscriptions, and MUST lease it to the caller, or with Direct.Queued make it pending and due at once; the event may be a stored one, which is then not stored again."
	promiseNoDirect = "If the tenant has no such endpoint, Enqueue MUST return [ErrNotFound] and store nothing."
	promiseNoBody   = "If the body of a stored event was removed by Prune or erased, it MUST return [ErrBodyPruned], whatever the digest, and store nothing: who read the event has no body either to work the digest out from."
)

var directCases = []kase{
	{
		name:    "to one endpoint and no other",
		promise: promiseDirect,
		f: func(c *check) {
			c.endpoint("t")
			off := c.endpoint("t", state(webhook.EndpointDisabled))
			e := c.endpoint("t", subscribed(ceased))
			l := c.direct(e, webhook.KindTest)
			equal(c, "endpoint", l.Delivery.EndpointID, e.ID)
			equal(c, "kind", l.Delivery.Kind, webhook.KindTest)
			equal(c, "deliveries", len(c.deliveries("t", webhook.DeliveryFilter{})), 1)
			equal(c, "events that a disabled endpoint missed", c.gaps(off)[0].Count, 0)
			c.none()
		},
	},
	{
		name:    "whatever the endpoint's state",
		promise: promiseDirect,
		f: func(c *check) {
			for _, s := range []webhook.EndpointState{webhook.EndpointPending, webhook.EndpointDisabled, webhook.EndpointPaused, webhook.EndpointActive} {
				e := c.endpoint("t", state(s), func(e *webhook.Endpoint) { e.Health.PausedUntil = c.now().Add(far) })
				l := c.direct(e, webhook.KindPing)
				equal(c, "state of the delivery", c.delivery(l).State, webhook.DeliveryLeased)
				if !s.Queues() {
					equal(c, "events missed", c.gaps(e)[0].Count, 0)
				}
				c.record(outcome(l, webhook.OutcomeDelivered))
				equal(c, "state of the delivery", c.delivery(l).State, webhook.DeliverySucceeded)
			}
		},
	},
	{
		name:    "whatever the endpoint's window",
		promise: promiseDirect,
		f: func(c *check) {
			e := c.endpoint("t", window(1), slow)
			c.direct(e, webhook.KindTest)
			c.direct(e, webhook.KindRedelivery)
		},
	},
	{
		name:    "what the lease has",
		promise: promiseDirect,
		f: func(c *check) {
			e := c.endpoint("t")
			l := c.direct(e, webhook.KindTest)
			equal(c, "attempt", l.Delivery.AttemptCount, 1)
			equal(c, "state", l.Delivery.State, webhook.DeliveryLeased)
			equal(c, "term", l.Term, far)
			c.same("endpoint", *l.Endpoint, e)
			d := c.delivery(l)
			equal(c, "attempt", d.AttemptCount, 1)
			c.record(outcome(l, webhook.OutcomeDelivered))
			c.numbered(c.delivery(l), 1)
		},
	},
	{
		name:    "a stored event",
		promise: promiseDirect,
		f: func(c *check) {
			e := c.endpoint("t")
			other := c.endpoint("t", subscribed(ceased))
			event := c.emit("t", 1)[0]
			l := c.one()
			c.record(outcome(l, webhook.OutcomeFailed))
			for _, to := range []webhook.Endpoint{e, other} {
				result := c.enqueue(webhook.EnqueueRequest{
					Tenant: "t", Events: []webhook.Event{event},
					Direct: &webhook.Direct{
						EndpointID: to.ID, Kind: webhook.KindRedelivery, RedeliveryOf: l.Delivery.ID, AskedBy: "ops@example.com", Owner: "one", Term: far,
					},
				})
				equal(c, "leases", len(result.Leases), 1)
				d := c.delivery(result.Leases[0])
				equal(c, "kind", d.Kind, webhook.KindRedelivery)
				equal(c, "what it repeats", d.RedeliveryOf, l.Delivery.ID)
				equal(c, "who asked for it", d.AskedBy, "ops@example.com")
				c.same("delivery in its lease", result.Leases[0].Delivery, d)
				equal(c, "event", d.EventID, event.ID)
				c.want(d.ID != l.Delivery.ID, "the redelivery has the old delivery's id")
				c.record(retry(result.Leases[0], 0))
				again := c.one()
				equal(c, "delivery of the second attempt", again.Delivery.ID, d.ID)
				c.record(outcome(again, webhook.OutcomeDelivered))
			}
			equal(c, "state of the first delivery", c.delivery(l).State, webhook.DeliveryFailed)
			equal(c, "deliveries of the event", len(c.deliveries("t", webhook.DeliveryFilter{EventID: event.ID})), 3)
		},
	},
	{
		name:    "another event with a known id",
		promise: promiseConflict,
		f: func(c *check) {
			e := c.endpoint("t")
			event := c.emit("t", 1)[0]
			before := c.everything("t")
			_, err := c.store.Enqueue(c.Context(), webhook.EnqueueRequest{
				Tenant: "t", Events: []webhook.Event{c.event(happened), newEvent(happened, event.ID, "other")},
				Direct: &webhook.Direct{EndpointID: e.ID, Kind: webhook.KindTest, Owner: "one", Term: far},
			})
			c.fails("Enqueue", err, webhook.ErrConflict)
			equal(c, "what is stored", c.everything("t"), before)
		},
	},
	{
		name:    "several events",
		promise: promiseDirect,
		f: func(c *check) {
			e := c.endpoint("t")
			result := c.enqueue(webhook.EnqueueRequest{
				Tenant: "t", Events: c.events(3),
				Direct: &webhook.Direct{EndpointID: e.ID, Kind: webhook.KindRedelivery, Owner: "one", Term: far},
			})
			equal(c, "leases", len(result.Leases), 3)
			for _, l := range result.Leases {
				c.record(outcome(l, webhook.OutcomeDelivered))
			}
			c.none()
		},
	},
	{
		name:    "left to Claim",
		promise: promiseDirect,
		f: func(c *check) {
			e, other := c.endpoint("t", subscribed(ceased), window(1)), c.endpoint("t")
			stored := c.emit("t", 1)[0]
			c.record(outcome(c.one(), webhook.OutcomeDelivered))
			t0 := c.now()
			result := c.queue(e, stored, c.event(happened))
			t1 := c.now()
			all := c.deliveries("t", webhook.DeliveryFilter{EndpointID: e.ID})
			equal(c, "deliveries", len(all), 2)
			equal(c, "deliveries to another endpoint", len(c.deliveries("t", webhook.DeliveryFilter{EndpointID: other.ID})), 1)
			for _, d := range all {
				equal(c, "state", d.State, webhook.DeliveryPending)
				equal(c, "kind", d.Kind, webhook.KindRedelivery)
				equal(c, "what it repeats", d.RedeliveryOf, "dlv_old")
				equal(c, "who asked for it", d.AskedBy, "ops@example.com")
				equal(c, "attempts", d.AttemptCount, 0)
				c.during("NextAttemptAt", d.NextAttemptAt, t0, t1)
			}
			c.want(len(result.Leases) == 0 && result.Queued, "%d leases, queued: %v", len(result.Leases), result.Queued)
			for range 2 { // the window is for them too
				l := c.one()
				c.record(retry(l, far)) // and the retries
			}
			equal(c, "deliveries that are pending or leased", c.stats(e).Pending, 2)
		},
	},
	{
		name:    "left to Claim, whatever the endpoint's state",
		promise: promiseDirect,
		f: func(c *check) {
			for _, s := range []webhook.EndpointState{webhook.EndpointPending, webhook.EndpointDisabled, webhook.EndpointPaused} {
				e := c.endpoint("t", state(s), func(e *webhook.Endpoint) { e.Health.PausedUntil = c.now().Add(far) })
				c.queue(e, c.event(happened))
				c.none()
				if !s.Queues() {
					equal(c, "events missed", c.gaps(e)[0].Count, 0)
				}
				c.turn(e, webhook.EndpointActive)
				c.record(outcome(c.one(), webhook.OutcomeDelivered))
			}
		},
	},
	{
		name:    "left to Claim, as many as the bound",
		promise: promiseBacklog,
		f: func(c *check) {
			b := c.bound(20)
			e := c.endpoint("t")
			b.enqueue(c.queued(e, c.events(20)...))
			leases := b.claim(30)
			equal(c, "leases", len(leases), 20)
			c.gap(c.lastGap(e), e, webhook.GapBacklog, 0)
			c.record(outcome(leases[0], webhook.OutcomeDelivered))
			b.enqueue(c.queued(e, c.event(happened)))
			equal(c, "leases while a gap is open", len(b.claim(10)), 1)
			equal(c, "times that the endpoint was named", b.named[webhook.EndpointRef{Tenant: "t", ID: e.ID}], 1)
		},
	},
	{
		name:    "no such endpoint",
		promise: promiseNoDirect,
		f: func(c *check) {
			deleted, foreign := c.endpoint("t"), c.endpoint("u")
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", deleted.ID))
			for name, id := range map[string]string{"deleted": deleted.ID, "foreign": foreign.ID, "unknown": "we_unknown", "nameless": ""} {
				event := c.event(happened)
				_, err := c.store.Enqueue(c.Context(), webhook.EnqueueRequest{
					Tenant: "t", Events: []webhook.Event{event}, Direct: &webhook.Direct{EndpointID: id, Kind: webhook.KindPing, Owner: "one", Term: far},
				})
				c.want(errors.Is(err, webhook.ErrNotFound), "%s endpoint: got error %v, want ErrNotFound", name, err)
				c.unknown("t", event)
				_, err = c.store.Enqueue(c.Context(), c.queued(webhook.Endpoint{Tenant: "t", ID: id}, event))
				c.want(errors.Is(err, webhook.ErrNotFound), "%s endpoint: got error %v, want ErrNotFound", name, err)
				c.unknown("t", event)
			}
			equal(c, "deliveries", len(c.deliveries("t", webhook.DeliveryFilter{})), 0)
		},
	},
	{
		name:    "an event whose body was pruned",
		promise: promiseNoBody,
		f: func(c *check) {
			e := c.endpoint("t")
			l := c.logged(e)
			idle := newEvent(ceased, "evt_idle", 1)
			c.turn(e, webhook.EndpointDisabled)
			c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{idle}})
			c.outlast()
			c.prune(webhook.PruneRequest{Bodies: c.tick})
			c.refused(e, l.Event)
			c.refused(e, idle)
		},
	},
	{
		name:    "an event that was erased",
		promise: promiseNoBody,
		f: func(c *check) {
			e := c.endpoint("t")
			l := c.logged(e)
			c.ok(c.store.EraseDelivery(c.Context(), "t", l.Delivery.ID))
			c.refused(e, l.Event)
			c.emit("t", 1)
			waits := c.deliveries("t", webhook.DeliveryFilter{State: webhook.DeliveryPending})[0]
			event, err := c.store.Event(c.Context(), "t", waits.EventID)
			c.ok(err)
			c.ok(c.store.EraseDelivery(c.Context(), "t", waits.ID))
			c.refused(e, event)
		},
	},
}

// queued is a request for redeliveries to the endpoint that are left to Claim.
func (c *check) queued(e webhook.Endpoint, events ...webhook.Event) webhook.EnqueueRequest {
	return webhook.EnqueueRequest{Tenant: e.Tenant, Events: events, Direct: &webhook.Direct{
		EndpointID: e.ID, Kind: webhook.KindRedelivery, RedeliveryOf: "dlv_old", AskedBy: "ops@example.com", Queued: true,
	}}
}

func (c *check) queue(e webhook.Endpoint, events ...webhook.Event) webhook.EnqueueResult {
	c.Helper()
	return c.enqueue(c.queued(e, events...))
}

// refused asks for a redelivery of an event whose body is gone: as it was, as it is read now, and as another one.
func (c *check) refused(e webhook.Endpoint, event webhook.Event) {
	c.Helper()
	read, err := c.store.Event(c.Context(), "t", event.ID)
	c.ok(err)
	before := c.everything("t")
	for name, again := range map[string]webhook.Event{"as it was": event, "as it is read": read, "as another one": newEvent(happened, event.ID, "other")} {
		fresh := c.event(happened)
		_, err := c.store.Enqueue(c.Context(), webhook.EnqueueRequest{
			Tenant: "t", Events: []webhook.Event{fresh, again},
			Direct: &webhook.Direct{EndpointID: e.ID, Kind: webhook.KindRedelivery, Owner: "one", Term: far},
		})
		c.fails("a direct Enqueue of the event "+name, err, webhook.ErrBodyPruned)
		_, err = c.store.Enqueue(c.Context(), c.queued(e, fresh, again))
		c.fails("a direct Enqueue of the event "+name+", left to Claim", err, webhook.ErrBodyPruned)
		c.unknown("t", fresh)
	}
	equal(c, "what is stored", c.everything("t"), before)
}
