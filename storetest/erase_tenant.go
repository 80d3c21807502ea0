package storetest

import (
	"slices"
	"strings"
	"time"

	"github.com/meshia/webhook"
)

const (
	promiseGone     = "Nothing of it MUST be found after a call that answered false, and an outcome for one of its leases MUST be answered with false."
	promiseEraseAll = "EraseTenant removes a part of all that a tenant has, about max rows: endpoints, events, deliveries, attempts, gaps, replays."
	promiseFirst    = "The endpoints go first, so that nothing is queued meanwhile."
	promiseTenants  = "Tenants returns the tenants that have endpoints which are not deleted: at most max of them, in the order of their names' bytes, each greater than after."
	promiseNameless = "The tenant \"\" is one where it has any, and is listed first: after is nil to begin with."
)

var eraseTenantCases = []kase{
	{
		name:    "all that it has",
		promise: promiseGone,
		f: func(c *check) {
			mine, yours := c.household("t"), c.household("u")
			c.emit("t", 1)
			c.emit("u", 1)
			before := c.everything("u")
			gaps := text(c.gaps(yours.gone), c.gaps(yours.off))
			all := c.deliveries("t", webhook.DeliveryFilter{})
			replays := slices.Concat(c.replays(mine.on), c.replays(mine.off), c.replays(mine.gone))
			c.eraseTenant("t")

			for _, e := range []webhook.Endpoint{mine.on, mine.off, mine.gone} {
				c.strange("t", e, mine.leased)
			}
			for _, d := range all {
				_, err := c.store.Delivery(c.Context(), "t", d.ID)
				c.notFound("Delivery", err)
				_, err = c.store.Event(c.Context(), "t", d.EventID)
				c.notFound("Event", err)
			}
			for _, r := range replays {
				_, err := c.store.StopReplay(c.Context(), "t", r.ID)
				c.notFound("StopReplay", err)
			}
			equal(c, "what a step does of another tenant's replay", c.step(10, 100), webhook.ReplayStepped{Waiting: true})
			c.unknown("t", mine.idle)
			equal(c, "tenants", strings.Join(c.tenants(nil, 10), " "), "u")
			equal(c, "what another tenant has", c.everything("u"), before)
			equal(c, "gaps that another tenant has", text(c.gaps(yours.gone), c.gaps(yours.off)), gaps)
			equal(c, "tenant of what can be claimed", c.one().Delivery.Tenant, "u")
		},
	},
	{
		name:    "outcomes of its leases",
		promise: promiseGone,
		f: func(c *check) {
			mine, yours := c.household("t"), c.household("u")
			c.eraseTenant("t")
			calls := 0
			var outcomes []webhook.Outcome
			for _, kind := range []webhook.OutcomeKind{webhook.OutcomeDelivered, webhook.OutcomeRetry, webhook.OutcomeReleased} {
				o := outcome(mine.leased, kind)
				o.Judge = func(h webhook.Health, _ time.Time) webhook.Health {
					calls++
					return h
				}
				outcomes = append(outcomes, o)
			}
			applied := c.recorded(append(outcomes, outcome(yours.leased, webhook.OutcomeDelivered))...)
			c.want(slices.Equal(applied, []bool{false, false, false, true}), "applied: %v", applied)
			equal(c, "calls of a Judge", calls, 0)
			equal(c, "deliveries", len(c.deliveries("t", webhook.DeliveryFilter{})), 0)
		},
	},
	{
		name:    "its ids are new",
		promise: promiseGone,
		f: func(c *check) {
			mine := c.household("t")
			c.eraseTenant("t")
			e := c.endpoint("t", func(e *webhook.Endpoint) { e.ID = mine.on.ID })
			c.same("statistics", c.stats(e), webhook.Stats{})
			equal(c, "replays", len(c.replays(e)), 0)
			c.replay(e, func(r *webhook.Replay) { r.ID = mine.replay.ID })
			c.replayAll()
			c.endpoint("t", func(e *webhook.Endpoint) { e.ID = mine.gone.ID }, subscribed(ceased))
			equal(c, "version", e.Version, 1)
			event := newEvent(happened, mine.idle.ID, "other")
			c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{event}})
			c.same("event", c.one().Event, event)
			equal(c, "gaps", len(c.gaps(mine.gone)), 0)
			equal(c, "deliveries", len(c.deliveries("t", webhook.DeliveryFilter{})), 1)
		},
	},
	{
		name:    "a part at a time",
		promise: promiseEraseAll,
		f: func(c *check) {
			const n, most = 60, 10
			c.endpoint("t")
			c.emit("t", n)
			for _, l := range c.claim(n / 2) {
				c.record(outcome(l, webhook.OutcomeDelivered))
			}
			left := n
			for range 20 * n {
				more, err := c.store.EraseTenant(c.Context(), "t", most)
				c.ok(err)
				now := len(c.deliveries("t", webhook.DeliveryFilter{}))
				c.want(left-now <= 2*most, "%d deliveries were removed at once where %d rows were asked for", left-now, most)
				if left = now; !more {
					break
				}
			}
			equal(c, "deliveries", left, 0)
		},
	},
	{
		name:    "endpoints first",
		promise: promiseFirst,
		f: func(c *check) {
			e := c.endpoint("t")
			c.missed(e, 2)
			c.emit("t", 100)
			c.pass()
			c.replay(e)
			more, err := c.store.EraseTenant(c.Context(), "t", 10)
			c.ok(err)
			c.want(more, "a hundred deliveries were removed where ten rows were asked for")
			_, err = c.store.Endpoint(c.Context(), "t", e.ID)
			c.notFound("Endpoint after the first of many calls", err)
			event := c.event(happened)
			result := c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{event}})
			c.want(!result.Queued, "an event was queued for an endpoint that is erased")
			for range 3 {
				c.want(!c.step(10, 1000).Queued, "a replay goes on for an endpoint that is erased")
			}
			c.none()
			c.eraseTenant("t")
			c.unknown("t", event)
		},
	},
	{
		name:    "a tenant that has nothing",
		promise: promiseGone,
		f: func(c *check) {
			more, err := c.store.EraseTenant(c.Context(), "nobody", 10)
			c.ok(err)
			c.want(!more, "there is more to remove of a tenant that has nothing")
			_, err = c.store.EraseTenant(c.Context(), "", 10)
			c.ok(err)
		},
	},
}

var listTenantsCases = []kase{
	{
		name:    "in order, page by page",
		promise: promiseTenants,
		f: func(c *check) {
			equal(c, "tenants of an empty store", len(c.tenants(nil, 10)), 0)
			names := []string{"b", "a%", "", "B", "aa", "é", "a ", "a", "日本", "\U0010ffff", "a_", "Z", "'", "10", "9"}
			for _, name := range names {
				c.endpoint(name)
				c.endpoint(name, state(webhook.EndpointDisabled))
			}
			slices.Sort(names)
			for _, page := range []int{1, 4, len(names), 1000} {
				var got []string
				for after := (*string)(nil); len(got) < 100; after = &got[len(got)-1] {
					list := c.tenants(after, page)
					c.want(len(list) <= page, "%d tenants where at most %d were asked for", len(list), page)
					if len(list) == 0 {
						break
					}
					got = append(got, list...)
				}
				c.want(slices.Equal(got, names), "tenants in pages of %d: got %q, want %q", page, got, names)
			}
			between := "a$" // which is no tenant
			c.want(slices.Equal(c.tenants(&between, 2), []string{"a%", "a_"}), "after %q comes %q", between, c.tenants(&between, 2))
		},
	},
	{
		name:    "those that have endpoints",
		promise: promiseTenants,
		f: func(c *check) {
			c.emit("events-only", 1)
			e, other := c.endpoint("t"), c.endpoint("t")
			c.emit("t", 1)
			for _, step := range []struct {
				do   func()
				want string
			}{
				{func() { c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID)) }, "t"},
				{func() { c.ok(c.store.DeleteEndpoint(c.Context(), "t", other.ID)) }, ""},
				{func() { c.endpoint("t", state(webhook.EndpointPending)) }, "t"},
				{func() { c.endpoint("s") }, "s t"},
				{func() { c.eraseTenant("t") }, "s"},
			} {
				step.do()
				equal(c, "tenants", strings.Join(c.tenants(nil, 10), " "), step.want)
			}
		},
	},
	{
		name:    "the one without a name",
		promise: promiseNameless,
		f: func(c *check) {
			c.endpoint("t")
			equal(c, "first tenant", c.tenants(nil, 1)[0], "t")
			c.endpoint("")
			list := c.tenants(nil, 10)
			c.want(slices.Equal(list, []string{"", "t"}), "tenants: %q", list)
			list = c.tenants(&list[0], 10)
			c.want(slices.Equal(list, []string{"t"}), "tenants after the one without a name: %q", list)
		},
	},
}

// eraseTenant erases until there is no more.
func (c *check) eraseTenant(tenant string) {
	c.Helper()
	for range 1000 {
		more, err := c.store.EraseTenant(c.Context(), tenant, 100)
		c.ok(err)
		if !more {
			return
		}
	}
	c.failf("EraseTenant says again and again that there is more to remove")
}

func (c *check) tenants(after *string, limit int) []string {
	c.Helper()
	list, err := c.store.Tenants(c.Context(), after, limit)
	c.ok(err)
	return list
}

// household is one of each thing that a tenant can have.
type household struct {
	on, off, gone webhook.Endpoint // active; disabled, with a closed gap and an open one; deleted, with a gap
	idle          webhook.Event    // which nobody got
	replay        webhook.Replay   // of the disabled one: it waits
	leased        webhook.Lease
}

func (c *check) household(tenant string) (h household) {
	c.Helper()
	h.off = c.endpoint(tenant, state(webhook.EndpointDisabled))
	h.gone = c.endpoint(tenant, state(webhook.EndpointPending))
	h.idle = c.emit(tenant, 1)[0]
	h.off = c.turn(c.turn(h.off, webhook.EndpointActive), webhook.EndpointDisabled)
	c.emit(tenant, 1)
	h.gone = c.turn(h.gone, webhook.EndpointActive)
	c.emit(tenant, 1)
	c.replay(h.gone)
	c.ok(c.store.DeleteEndpoint(c.Context(), tenant, h.gone.ID))
	h.replay = c.replay(h.off)
	h.on = c.endpoint(tenant)
	c.logged(h.on)
	c.emit(tenant, 2)
	leases := c.claim(10)
	equal(c, "leases", len(leases), 2)
	c.record(retry(leases[0], far))
	h.leased = leases[1]
	return h
}
