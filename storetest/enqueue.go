package storetest

import (
	"slices"
	"time"

	"github.com/meshia/webhook"
)

const (
	promiseAll      = "It MUST store all of the request's events with all of their deliveries, or nothing."
	promiseEvery    = "It MUST store every event, also one that no endpoint subscribed to."
	promiseKnown    = "An event whose id the tenant has already with an equal Event.Digest MUST change nothing: the first one's time and body stand."
	promiseConflict = "With another digest Enqueue MUST return [ErrConflict] and store nothing."
	promiseTwice    = "Both MUST hold as well for two events with one id in one request, which are one event."
	promiseMatch    = "Each new event MUST get exactly one delivery, of KindEvent and due at once, for each endpoint of the tenant that subscribes to it (Endpoint.Subscribes) and has no open gap."
	promiseMissed   = "For an endpoint that subscribes and has an open gap, the event MUST be counted in the gap."
	promiseFull     = "A store whose room for pending deliveries is bounded MUST return [ErrStoreFull] and store nothing when the bound is reached."
)

var enqueueCases = []kase{
	{
		name:    "a batch",
		promise: promiseAll,
		f: func(c *check) {
			c.endpoint("t")
			c.endpoint("t")
			events := c.emit("t", 3)
			for _, e := range events {
				_, err := c.store.Event(c.Context(), "t", e.ID)
				c.ok(err)
				equal(c, "deliveries of an event", len(c.deliveries("t", webhook.DeliveryFilter{EventID: e.ID})), 2)
			}
		},
	},
	{
		name:    "a batch with one event that is refused",
		promise: promiseAll,
		f: func(c *check) {
			c.endpoint("t")
			known := c.emit("t", 1)[0]
			before := c.everything("t")
			events := append(c.events(2), newEvent(happened, known.ID, "other"), c.event(happened))
			_, err := c.store.Enqueue(c.Context(), webhook.EnqueueRequest{Tenant: "t", Events: events})
			c.fails("Enqueue", err, webhook.ErrConflict)
			c.unknown("t", events[0], events[1], events[3])
			equal(c, "what is stored", c.everything("t"), before)
		},
	},
	{
		name:    "a batch in which one id stands for two events",
		promise: promiseTwice,
		f: func(c *check) {
			c.endpoint("t")
			events := append(c.events(2), newEvent(happened, "evt_1", "other"))
			events[0].ID = "evt_1"
			_, err := c.store.Enqueue(c.Context(), webhook.EnqueueRequest{Tenant: "t", Events: events})
			c.fails("Enqueue", err, webhook.ErrConflict)
			c.unknown("t", events...)
			c.none()
		},
	},
	{
		name:    "a batch in which one event comes twice",
		promise: promiseTwice,
		f: func(c *check) {
			c.endpoint("t")
			gone := c.endpoint("t", state(webhook.EndpointDisabled))
			e := c.event(happened)
			c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{e, c.event(happened), e}})
			equal(c, "deliveries of the event", len(c.deliveries("t", webhook.DeliveryFilter{EventID: e.ID})), 1)
			equal(c, "events missed", c.gaps(gone)[0].Count, 2)
		},
	},
	{
		name:    "an event without a subscriber",
		promise: promiseEvery,
		f: func(c *check) {
			e := c.emit("t", 1)[0]
			got, err := c.store.Event(c.Context(), "t", e.ID)
			c.ok(err)
			c.same("event", got, e)
			c.none()
		},
	},
	{
		name:    "the same event again",
		promise: promiseKnown,
		f: func(c *check) {
			c.endpoint("t")
			off := c.endpoint("t", state(webhook.EndpointDisabled))
			e := c.emit("t", 1)[0]
			l := c.one()
			c.record(outcome(l, webhook.OutcomeDelivered))
			c.endpoint("t") // which is too late for the event
			before := c.everything("t")
			again := webhook.NewEventType[any](happened, "", nil).New(e.SessionID, e.Data(), webhook.WithID(e.ID), webhook.WithTime(e.Time.Add(far)))
			result := c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{again}, HandOver: &webhook.HandOver{Owner: "one", Term: far, Max: 5}})
			c.want(len(result.Leases) == 0 && !result.Queued, "the second time: %+v", result)
			equal(c, "what is stored", c.everything("t"), before)
			equal(c, "events missed", c.gaps(off)[0].Count, 1)
			c.none()
		},
	},
	{
		name:    "another event with a known id",
		promise: promiseConflict,
		f: func(c *check) {
			c.endpoint("t")
			e := c.emit("t", 1)[0]
			before := c.everything("t")
			typed := webhook.NewEventType[any](ceased, "", nil).New(e.SessionID, e.Data(), webhook.WithID(e.ID))
			session := webhook.NewEventType[any](happened, "", nil).New("sess_2", e.Data(), webhook.WithID(e.ID))
			for what, other := range map[string]webhook.Event{"data": newEvent(happened, e.ID, "other"), "type": typed, "session": session} {
				_, err := c.store.Enqueue(c.Context(), webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{other}})
				c.fails("Enqueue with other "+what, err, webhook.ErrConflict)
				equal(c, "what is stored", c.everything("t"), before)
			}
		},
	},
	{name: "who gets an event", promise: promiseMatch, f: whoGetsWhat},
	{
		name:    "a new delivery",
		promise: promiseMatch,
		f: func(c *check) {
			e := c.endpoint("t")
			event := c.event(happened)
			result := c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{event}})
			c.want(result.Queued, "Queued is false")
			equal(c, "leases without a hand-over", len(result.Leases), 0)
			l := c.one()
			d := c.delivery(l)
			equal(c, "kind", d.Kind, webhook.KindEvent)
			equal(c, "endpoint", d.EndpointID, e.ID)
			equal(c, "event", d.EventID, event.ID)
			equal(c, "event type", d.EventType, happened)
			c.want(len(d.ID) > 4 && d.ID[:4] == "dlv_" && len(d.ID) <= 64, "id %q", d.ID)
		},
	},
	{
		name:    "a changed subscription",
		promise: promiseMatch,
		f: func(c *check) {
			e := c.endpoint("t", subscribed(happened, ceased))
			e.Events = []string{ceased}
			e, err := c.store.UpdateEndpoint(c.Context(), e, nil)
			c.ok(err)
			c.emit("t", 1)
			c.none()
			e.Events = []string{webhook.AllEvents}
			_, err = c.store.UpdateEndpoint(c.Context(), e, nil)
			c.ok(err)
			c.emit("t", 1)
			c.one()
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
			c.emit("t", 1)
			c.none()
		},
	},
	{
		name:    "events that were missed",
		promise: promiseMissed,
		f: func(c *check) {
			for _, s := range []webhook.EndpointState{webhook.EndpointPending, webhook.EndpointDisabled} {
				e := c.endpoint("t", state(s), subscribed(happened))
				c.emit("t", 3)
				c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{c.event(ceased)}})
				gaps := c.gaps(e)
				equal(c, "gaps", len(gaps), 1)
				equal(c, "events missed while "+string(s), gaps[0].Count, 3)
				equal(c, "deliveries", len(c.deliveries("t", webhook.DeliveryFilter{EndpointID: e.ID})), 0)
			}
		},
	},
	{
		name:    "a full store",
		promise: promiseFull,
		f: func(c *check) {
			if c.bounded == nil {
				c.SkipNow()
			}
			c.store = c.bounded(5)
			c.endpoint("t")
			c.endpoint("t")
			c.emit("t", 2)
			event := c.event(happened)
			req := webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{event}}
			_, err := c.store.Enqueue(c.Context(), req)
			c.fails("Enqueue", err, webhook.ErrStoreFull)
			c.unknown("t", event)
			equal(c, "deliveries", len(c.deliveries("t", webhook.DeliveryFilter{})), 4)
			for _, l := range c.claim(1) {
				c.record(outcome(l, webhook.OutcomeDelivered))
			}
			c.enqueue(req)
		},
	},
}

// unknown checks that none of the events was stored.
func (c *check) unknown(tenant string, events ...webhook.Event) {
	c.Helper()
	for _, e := range events {
		_, err := c.store.Event(c.Context(), tenant, e.ID)
		c.notFound("Event", err)
	}
}

// whoGetsWhat holds deliveries and gaps against Endpoint.Subscribes and EndpointState.Queues.
func whoGetsWhat(c *check) {
	var endpoints []webhook.Endpoint
	for _, s := range []webhook.EndpointState{webhook.EndpointActive, webhook.EndpointPaused, webhook.EndpointPending, webhook.EndpointDisabled} {
		for _, events := range [][]string{
			{"a"}, {"a.b"}, {"b"}, {"a", "b"}, {"b", "a", "a"}, {"*"}, {"*", "a"}, {"a", "*", "*"}, {"a.b", "a_b"}, {"%"}, {"a%"}, {"_"},
		} {
			endpoints = append(endpoints, c.endpoint("t", state(s), subscribed(events...)))
		}
	}
	deleted := c.endpoint("t")
	c.ok(c.store.DeleteEndpoint(c.Context(), "t", deleted.ID))
	missed := map[string]int64{}
	for _, eventType := range []string{"a", "b", "a.b", "a_b", "axb", "ab"} {
		event := c.event(eventType)
		c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{event}})
		var want, got []string
		for _, e := range endpoints {
			switch {
			case !e.Subscribes(eventType):
			case e.Health.State.Queues():
				want = append(want, e.ID)
			default:
				missed[e.ID]++
			}
		}
		for _, d := range c.deliveries("t", webhook.DeliveryFilter{EventID: event.ID}) {
			got = append(got, d.EndpointID)
			equal(c, "state", d.State, webhook.DeliveryPending)
			c.want(!d.NextAttemptAt.After(c.now().Add(time.Millisecond)), "due at %v, not at once", d.NextAttemptAt)
		}
		slices.Sort(want)
		slices.Sort(got)
		c.want(slices.Equal(got, want), "endpoints that get %q: got %v, want %v", eventType, got, want)
	}
	for _, e := range endpoints {
		if !e.Health.State.Queues() {
			equal(c, "events missed by "+e.ID, c.gaps(e)[0].Count, missed[e.ID])
		}
	}
}
