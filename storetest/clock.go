package storetest

import (
	"time"

	"github.com/meshia/webhook"
)

const promiseClock = "Every time that it fills in or compares MUST come from the store's own clock: the database's where there is one; callers hand it durations."

var clockCases = []kase{
	{
		name:    "the times of a delivery",
		promise: promiseClock,
		f: func(c *check) {
			c.endpoint("t")
			t0 := c.now()
			c.emit("t", 1)
			t1 := c.now()
			d := c.deliveries("t", webhook.DeliveryFilter{})[0]
			c.during("CreatedAt", d.CreatedAt, t0, t1)
			c.during("NextAttemptAt of a new delivery", d.NextAttemptAt, t0, t1)
			c.want(d.FinishedAt.IsZero(), "FinishedAt of a pending delivery: %v", d.FinishedAt)

			t0 = c.now()
			l := c.one()
			t1 = c.now()
			c.during("StartedAt of the lease", l.StartedAt, t0, t1)
			d = c.delivery(l)
			c.want(d.NextAttemptAt.IsZero(), "NextAttemptAt of a leased delivery: %v", d.NextAttemptAt)

			t0 = c.now()
			c.record(retry(l, far))
			t1 = c.now()
			d = c.delivery(l)
			c.during("NextAttemptAt after an hour's wait", d.NextAttemptAt, t0.Add(far), t1.Add(far))

			l = c.direct(c.endpoint("t"), webhook.KindTest)
			t0 = c.now()
			c.record(outcome(l, webhook.OutcomeFailed))
			t1 = c.now()
			d = c.delivery(l)
			c.during("FinishedAt", d.FinishedAt, t0, t1)
			c.want(d.NextAttemptAt.IsZero(), "NextAttemptAt of a failed delivery: %v", d.NextAttemptAt)
		},
	},
	{
		name:    "the times of an endpoint",
		promise: promiseClock,
		f: func(c *check) {
			old := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
			t0 := c.now()
			e := c.endpoint("t", func(e *webhook.Endpoint) { e.CreatedAt, e.Health.Since = old, old })
			t1 := c.now()
			for range 2 {
				c.during("CreatedAt", e.CreatedAt, t0, t1)
				c.during("Health.Since", e.Health.Since, t0, t1)
				var err error
				e, err = c.store.Endpoint(c.Context(), "t", e.ID)
				c.ok(err)
			}
			e.CreatedAt = old
			updated, err := c.store.UpdateEndpoint(c.Context(), e, nil)
			c.ok(err)
			c.during("CreatedAt after an update", updated.CreatedAt, t0, t1)
		},
	},
	{
		name:    "an event's own time decides nothing",
		promise: promiseClock,
		f: func(c *check) {
			c.endpoint("t")
			for _, at := range []time.Time{time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)} {
				e := webhook.NewEventType[any](happened, "", nil).New("", nil, webhook.WithTime(at))
				c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{e}})
				req := claimRequest(10)
				req.MaxAge = far
				leases := c.claimWith(req).Leases
				equal(c, "claimed deliveries of an event of "+at.String(), len(leases), 1)
				c.want(leases[0].Event.Time.Equal(at), "the event's time: got %v, want %v", leases[0].Event.Time, at)
			}
		},
	},
}
