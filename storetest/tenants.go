package storetest

import (
	"errors"
	"time"

	"github.com/meshia/webhook"
)

const promiseTenant = "Every method MUST see and change only what belongs to the tenant that it is given: what another tenant has is not found ([ErrNotFound]) and in no list, never forbidden."

var tenantCases = []kase{
	{
		name:    "what another tenant has is not found",
		promise: promiseTenant,
		f: func(c *check) {
			e := c.endpoint("a")
			c.emit("a", 1)
			l := c.one()
			c.replay(e)
			for _, tenant := range []string{"", "b", "A", "a ", "a%", "%"} {
				c.strange(tenant, e, l)
			}
		},
	},
	{
		name:    "what belongs to the empty tenant is not everybody's",
		promise: promiseTenant,
		f: func(c *check) {
			e := c.endpoint("")
			c.emit("", 1)
			c.strange("a", e, c.one())
		},
	},
	{
		name:    "another tenant changes nothing",
		promise: promiseTenant,
		f: func(c *check) {
			e := c.endpoint("a")
			c.emit("a", 2)
			l := first(c.claim(1))
			r, idle := c.replay(e), c.endpoint("a")
			before := c.everything("a")

			bad := outcome(l, webhook.OutcomeDelivered)
			bad.Tenant = "b"
			c.want(!c.recorded(bad)[0], "the outcome of another tenant was applied")
			foreign := e
			foreign.Tenant = "b"
			_, err := c.store.UpdateEndpoint(c.Context(), foreign, nil)
			c.notFound("UpdateEndpoint", err)
			_, err = c.store.JudgeEndpoint(c.Context(), "b", e.ID, func(h webhook.Health, _ time.Time) webhook.Health {
				h.State = webhook.EndpointDisabled
				return h
			})
			c.notFound("JudgeEndpoint", err)
			c.notFound("DeleteEndpoint", c.store.DeleteEndpoint(c.Context(), "b", e.ID))
			_, err = c.store.Enqueue(c.Context(), webhook.EnqueueRequest{
				Tenant: "b", Events: c.events(1), Direct: &webhook.Direct{EndpointID: e.ID, Kind: webhook.KindTest, Owner: "one", Term: far},
			})
			c.notFound("a direct Enqueue", err)
			_, err = c.store.StopReplay(c.Context(), "b", r.ID)
			c.notFound("StopReplay", err)
			idle.Tenant = "b"
			_, err = c.store.CreateReplay(c.Context(), replayRequest(idle, "rpl_b"))
			c.notFound("CreateReplay", err)
			c.notFound("EraseDelivery", c.store.EraseDelivery(c.Context(), "b", l.Delivery.ID))
			for _, tenant := range []string{"b", "", "A", "a ", "a%", "%", "_"} {
				c.eraseTenant(tenant)
			}
			c.emit("b", 1)
			equal(c, "what tenant a has", c.everything("a"), before)
		},
	},
	{
		name:    "two tenants may use the same ids",
		promise: promiseTenant,
		f: func(c *check) {
			ids := func(e *webhook.Endpoint) { e.ID = "we_same" }
			for _, tenant := range []string{"a", "b"} {
				c.endpoint(tenant, ids)
				c.enqueue(webhook.EnqueueRequest{Tenant: tenant, Events: []webhook.Event{newEvent(happened, "evt_same", tenant)}})
			}
			for _, tenant := range []string{"a", "b"} {
				e, err := c.store.Event(c.Context(), tenant, "evt_same")
				c.ok(err)
				equal(c, "data of tenant "+tenant, string(e.Data()), `"`+tenant+`"`)
				equal(c, "deliveries", len(c.deliveries(tenant, webhook.DeliveryFilter{EndpointID: "we_same"})), 1)
			}
			for _, l := range c.claim(10) {
				equal(c, "tenant of the endpoint", l.Endpoint.Tenant, l.Delivery.Tenant)
				equal(c, "data of the event", string(l.Event.Data()), `"`+l.Delivery.Tenant+`"`)
			}
			var replays []webhook.Replay
			for _, tenant := range []string{"a", "b"} {
				replays = append(replays, c.replay(webhook.Endpoint{Tenant: tenant, ID: "we_same"}, func(r *webhook.Replay) { r.ID = "rpl_same" }))
			}
			_, err := c.store.StopReplay(c.Context(), "a", "rpl_same")
			c.ok(err)
			c.same("replay of the other tenant", c.replayOf(replays[1]), replays[1])
			equal(c, "state of the replay that was stopped", c.replayOf(replays[0]).State, webhook.ReplayStopped)
			c.ok(c.store.DeleteEndpoint(c.Context(), "a", "we_same"))
			_, err = c.store.Endpoint(c.Context(), "b", "we_same")
			c.ok(err)
		},
	},
	{
		name:    "of two tenants with the same ids one is erased",
		promise: promiseTenant,
		f: func(c *check) {
			leases := map[string]webhook.Lease{}
			for _, tenant := range []string{"a", "", "b"} {
				c.endpoint(tenant, func(e *webhook.Endpoint) { e.ID = "we_same" })
				c.enqueue(webhook.EnqueueRequest{Tenant: tenant, Events: []webhook.Event{newEvent(happened, "evt_same", tenant)}})
				leases[tenant] = c.one()
			}
			a, b := c.everything("a"), c.everything("b")
			c.ok(c.store.EraseDelivery(c.Context(), "", leases[""].Delivery.ID))
			c.eraseTenant("")
			equal(c, "what tenant a has", c.everything("a"), a)
			c.eraseTenant("a")
			equal(c, "what tenant b has", c.everything("b"), b)
			c.record(outcome(leases["b"], webhook.OutcomeDelivered))
		},
	},
	{
		name:    "each tenant has its own number of endpoints",
		promise: promiseTenant,
		f: func(c *check) {
			e := c.endpoint("a")
			e.Tenant, e.ID = "b", "we_b"
			_, err := c.store.CreateEndpoint(c.Context(), e, 1)
			c.ok(err)
		},
	},
}

// strange checks that a tenant sees nothing of what another one has.
func (c *check) strange(tenant string, e webhook.Endpoint, l webhook.Lease) {
	c.Helper()
	_, err := c.store.Endpoint(c.Context(), tenant, e.ID)
	c.notFound("Endpoint", err)
	_, err = c.store.Event(c.Context(), tenant, l.Event.ID)
	c.notFound("Event", err)
	_, err = c.store.Delivery(c.Context(), tenant, l.Delivery.ID)
	c.notFound("Delivery", err)
	_, err = c.store.Stats(c.Context(), tenant, e.ID, time.Time{})
	c.notFound("Stats", err)
	list, err := c.store.Endpoints(c.Context(), tenant)
	c.ok(err)
	equal(c, "endpoints of tenant "+tenant, len(list), 0)
	for _, f := range []webhook.DeliveryFilter{{}, {EndpointID: e.ID}, {EventID: l.Event.ID}, {EventType: l.Event.Type}} {
		equal(c, "deliveries of tenant "+tenant, len(c.deliveries(tenant, f)), 0)
	}
	e.Tenant = tenant
	equal(c, "gaps of tenant "+tenant, len(c.gaps(e)), 0)
	equal(c, "replays of tenant "+tenant, len(c.replays(e)), 0)
}

func (c *check) notFound(call string, err error) {
	c.Helper()
	c.fails(call, err, webhook.ErrNotFound)
}

func (c *check) fails(call string, err, want error) {
	c.Helper()
	c.want(errors.Is(err, want), "%s: got error %v, want %v", call, err, want)
}
