package storetest

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/meshia/webhook"
)

const (
	promiseSecret   = "Endpoint.Secret and Endpoint.Headers MUST NOT be stored: what a store may know of them is in Secrets and StoredHeaders."
	promiseCreate   = "It MUST return [ErrConflict] if the tenant has an endpoint with this id, or had one that Prune has not removed, and [ErrTooManyEndpoints] if it has max endpoints already; deleted ones do not count."
	promiseHidden   = "Endpoint returns one endpoint, or [ErrNotFound]; a deleted one MUST NOT be found."
	promiseListed   = "Endpoints returns the tenant's endpoints; the order MUST be that in which they were created."
	promiseVersion  = "If e.Version is not the stored one it MUST change nothing and return [ErrVersionConflict]; otherwise the version MUST grow by one."
	promiseKeeps    = "JudgeEndpoint applies judge to the endpoint's health and changes nothing else; the version MUST NOT change."
	promiseReadable = "Its deliveries and attempts MUST stay readable."
)

var endpointCases = []kase{
	{
		name:    "the secret",
		promise: promiseSecret,
		f: func(c *check) {
			e := c.endpoint("t", func(e *webhook.Endpoint) { e.Secret = webhook.NewSecret("hidden") })
			equal(c, "secret of a created endpoint", e.Secret, webhook.Secret{})
			e.Secret = webhook.NewSecret("hidden")
			e, err := c.store.UpdateEndpoint(c.Context(), e, nil)
			c.ok(err)
			equal(c, "secret of an updated endpoint", e.Secret, webhook.Secret{})
			c.emit("t", 1)
			equal(c, "secret in a lease", c.one().Endpoint.Secret, webhook.Secret{})
			e, err = c.store.Endpoint(c.Context(), "t", e.ID)
			c.ok(err)
			equal(c, "secret of a read endpoint", e.Secret, webhook.Secret{})
		},
	},
	{
		name:    "the headers",
		promise: promiseSecret,
		f: func(c *check) {
			stored := []webhook.StoredHeader{{Name: "X-Key", Sealed: []byte("sealed")}}
			e := c.endpoint("t", func(e *webhook.Endpoint) {
				e.Headers, e.StoredHeaders = map[string]webhook.Secret{"X-Key": webhook.NewSecret("hidden")}, stored
			})
			equal(c, "headers of a created endpoint", len(e.Headers), 0)
			e.Headers = map[string]webhook.Secret{"X-Key": webhook.NewSecret("hidden")}
			e = c.update(e)
			equal(c, "headers of an updated endpoint", len(e.Headers), 0)
			c.emit("t", 1)
			l := c.one()
			equal(c, "headers in a lease", len(l.Endpoint.Headers), 0)
			e, err := c.store.Endpoint(c.Context(), "t", e.ID)
			c.ok(err)
			equal(c, "headers of a read endpoint", len(e.Headers), 0)
			for _, got := range []webhook.Endpoint{e, *l.Endpoint} {
				c.same("stored headers", got.StoredHeaders, stored)
			}
		},
	},
	{
		name:    "an id that is taken",
		promise: promiseCreate,
		f: func(c *check) {
			e := c.endpoint("t")
			equal(c, "version", e.Version, 1)
			other := e
			other.URL, other.Version = "https://example.com/other", 0
			_, err := c.store.CreateEndpoint(c.Context(), other, 1000)
			c.fails("CreateEndpoint", err, webhook.ErrConflict)
			got, err := c.store.Endpoint(c.Context(), "t", e.ID)
			c.ok(err)
			c.same("endpoint", got, e)
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
			_, err = c.store.CreateEndpoint(c.Context(), other, 1000)
			c.fails("CreateEndpoint with a deleted one's id", err, webhook.ErrConflict)
			other.Tenant = "u"
			_, err = c.store.CreateEndpoint(c.Context(), other, 1000)
			c.ok(err)
		},
	},
	{
		name:    "as many as may be",
		promise: promiseCreate,
		f: func(c *check) {
			e := c.endpoint("t")
			c.endpoint("t")
			next := e
			next.ID = "we_next"
			_, err := c.store.CreateEndpoint(c.Context(), next, 2)
			c.fails("CreateEndpoint", err, webhook.ErrTooManyEndpoints)
			_, err = c.store.Endpoint(c.Context(), "t", next.ID)
			c.notFound("Endpoint", err)
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
			_, err = c.store.CreateEndpoint(c.Context(), next, 2)
			c.ok(err)
		},
	},
	{
		name:    "as many as may be, created at once",
		promise: promiseCreate,
		f: func(c *check) {
			proto := c.endpoint("u")
			proto.Tenant = "t"
			var created atomic.Int32
			c.ok(parallel(8, func(i int) error {
				e := proto
				e.ID = "we_" + string(rune('a'+i))
				_, err := c.handle(i).CreateEndpoint(c.Context(), e, 3)
				switch {
				case err == nil:
					created.Add(1)
				case !errors.Is(err, webhook.ErrTooManyEndpoints):
					return err
				}
				return nil
			}))
			equal(c, "endpoints created", created.Load(), 3)
			list, err := c.store.Endpoints(c.Context(), "t")
			c.ok(err)
			equal(c, "endpoints", len(list), 3)
		},
	},
	{
		name:    "a deleted one",
		promise: promiseHidden,
		f: func(c *check) {
			e := c.endpoint("t")
			_, err := c.store.Endpoint(c.Context(), "t", "we_unknown")
			c.notFound("Endpoint", err)
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
			_, err = c.store.Endpoint(c.Context(), "t", e.ID)
			c.notFound("Endpoint", err)
			_, err = c.store.UpdateEndpoint(c.Context(), e, nil)
			c.notFound("UpdateEndpoint", err)
			_, err = c.store.JudgeEndpoint(c.Context(), "t", e.ID, func(h webhook.Health, _ time.Time) webhook.Health { return h })
			c.notFound("JudgeEndpoint", err)
			c.notFound("DeleteEndpoint", c.store.DeleteEndpoint(c.Context(), "t", e.ID))
			list, err := c.store.Endpoints(c.Context(), "t")
			c.ok(err)
			equal(c, "endpoints", len(list), 0)
		},
	},
	{
		name:    "the list",
		promise: promiseListed,
		f: func(c *check) {
			ids := []string{"we_m", "we_z", "we_A", "we_a", "we_0", "we_Z"}
			var last webhook.Endpoint
			for _, id := range ids {
				last = c.endpoint("t", func(e *webhook.Endpoint) { e.ID = id })
			}
			c.endpoint("u")
			last.URL = "https://example.com/changed"
			_, err := c.store.UpdateEndpoint(c.Context(), last, nil)
			c.ok(err)
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", ids[2]))
			list, err := c.store.Endpoints(c.Context(), "t")
			c.ok(err)
			equal(c, "endpoints", len(list), 5)
			for i, id := range append(ids[:2:2], ids[3:]...) {
				equal(c, "id", list[i].ID, id)
				one, err := c.store.Endpoint(c.Context(), "t", id)
				c.ok(err)
				c.same("endpoint", list[i], one)
			}
		},
	},
	{
		name:    "an update",
		promise: promiseVersion,
		f: func(c *check) {
			e := c.endpoint("t")
			next := e
			next.URL, next.Events, next.Description = "https://example.com/next", []string{"a", "b"}, "next"
			next.Secrets = []webhook.StoredSecret{{ID: "s1", Sealed: []byte("sealed"), CreatedAt: someTime}}
			next.Rate, next.Burst, next.MaxInFlight, next.Timeout = 12.5, 20, 300, 1500*time.Millisecond
			next.StoredHeaders = []webhook.StoredHeader{{Name: "X-Key", Sealed: []byte("sealed")}}
			next.Health = webhook.Health{State: webhook.EndpointDisabled, Failures: 5} // not the owner's
			got, err := c.store.UpdateEndpoint(c.Context(), next, nil)
			c.ok(err)
			next.Health, next.Version = e.Health, 2
			c.same("updated endpoint", got, next)
			got, err = c.store.Endpoint(c.Context(), "t", e.ID)
			c.ok(err)
			c.same("read endpoint", got, next)
			got.Secrets, got.StoredHeaders = nil, nil
			got.Rate, got.Burst, got.MaxInFlight, got.Timeout = 0, 0, 0, 0
			got, err = c.store.UpdateEndpoint(c.Context(), got, func(h webhook.Health, _ time.Time) webhook.Health {
				h.State, h.Window = webhook.EndpointPending, h.Window+1
				return h
			})
			c.ok(err)
			next.Secrets, next.Version, next.Health.State, next.Health.Window = nil, 3, webhook.EndpointPending, 101
			next.StoredHeaders, next.Rate, next.Burst, next.MaxInFlight, next.Timeout = nil, 0, 0, 0, 0
			c.same("endpoint judged with the update", got, next)
		},
	},
	{
		name:    "an update of what has changed meanwhile",
		promise: promiseVersion,
		f: func(c *check) {
			e := c.endpoint("t")
			now, err := c.store.UpdateEndpoint(c.Context(), e, nil)
			c.ok(err)
			for _, version := range []int64{1, 0, 3, -1} {
				stale := e
				stale.Version, stale.URL = version, "https://example.com/stale"
				_, err := c.store.UpdateEndpoint(c.Context(), stale, func(h webhook.Health, _ time.Time) webhook.Health {
					h.Failures = 9
					return h
				})
				c.fails("UpdateEndpoint", err, webhook.ErrVersionConflict)
				got, err := c.store.Endpoint(c.Context(), "t", e.ID)
				c.ok(err)
				c.same("endpoint", got, now)
			}
		},
	},
	{
		name:    "updates at once",
		promise: promiseVersion,
		f: func(c *check) {
			e := c.endpoint("t")
			var won atomic.Int32
			c.ok(parallel(8, func(i int) error {
				_, err := c.handle(i).UpdateEndpoint(c.Context(), e, nil)
				switch {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, webhook.ErrVersionConflict):
					return err
				}
				return nil
			}))
			equal(c, "updates of one version", won.Load(), 1)
		},
	},
	{
		name:    "a judgement",
		promise: promiseKeeps,
		f: func(c *check) {
			e := c.endpoint("t", func(e *webhook.Endpoint) { e.Secrets = []webhook.StoredSecret{{ID: "s1", Sealed: []byte("sealed")}} })
			got := c.change(e, func(h *webhook.Health) {
				h.State, h.Reason, h.Failures = webhook.EndpointDisabled, webhook.ReasonByUser, 3
			})
			want := e
			want.Health.State, want.Health.Reason, want.Health.Failures = webhook.EndpointDisabled, webhook.ReasonByUser, 3
			c.same("judged endpoint", got, want)
			got, err := c.store.Endpoint(c.Context(), "t", e.ID)
			c.ok(err)
			c.same("read endpoint", got, want)
		},
	},
	{
		name:    "deliveries of a deleted endpoint",
		promise: promiseDelete,
		f: func(c *check) {
			e, stays := c.endpoint("t"), c.endpoint("t")
			c.emit("t", 6)
			var leased, retried []webhook.Lease
			for _, l := range c.claim(6) {
				if l.Delivery.EndpointID != e.ID {
					continue
				}
				if len(leased) == 0 {
					leased = append(leased, l)
				} else {
					retried = append(retried, l)
					c.record(retry(l, far))
				}
			}
			c.want(len(leased) == 1 && len(retried) > 0, "%d leases of 6 are of one of two endpoints", len(leased)+len(retried))
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
			for _, d := range c.deliveries("t", webhook.DeliveryFilter{EndpointID: e.ID}) {
				if d.ID == leased[0].Delivery.ID {
					equal(c, "state of the leased delivery", d.State, webhook.DeliveryLeased)
					continue
				}
				equal(c, "state", d.State, webhook.DeliveryFailed)
				equal(c, "reason", d.Reason, webhook.FailEndpointDeleted)
				c.want(!d.FinishedAt.IsZero() && d.NextAttemptAt.IsZero(), "finished at %v, next attempt at %v", d.FinishedAt, d.NextAttemptAt)
			}
			for _, d := range c.deliveries("t", webhook.DeliveryFilter{EndpointID: stays.ID}) {
				c.want(!d.State.Final(), "a delivery to another endpoint is %s", d.State)
			}
			for _, l := range c.claim(10) {
				equal(c, "endpoint", l.Delivery.EndpointID, stays.ID)
			}
			c.record(outcome(leased[0], webhook.OutcomeDelivered))
			equal(c, "state", c.delivery(leased[0]).State, webhook.DeliverySucceeded)
		},
	},
	{
		name:    "the log of a deleted endpoint",
		promise: promiseReadable,
		f: func(c *check) {
			e := c.endpoint("t")
			c.emit("t", 2)
			l := first(c.claim(1))
			c.record(outcome(l, webhook.OutcomeDelivered))
			before := text(c.delivery(l))
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
			equal(c, "delivery", text(c.delivery(l)), before)
			equal(c, "deliveries", len(c.deliveries("t", webhook.DeliveryFilter{EndpointID: e.ID})), 2)
			_, err := c.store.Event(c.Context(), "t", l.Event.ID)
			c.ok(err)
		},
	},
}
