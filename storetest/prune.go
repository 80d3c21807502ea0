package storetest

import (
	"net/http"
	"time"

	"github.com/meshia/webhook"
)

const (
	promiseOld        = "A delivery that finished longer than req.Deliveries ago MUST be removed, with its attempts."
	promiseUnfinished = "One that is pending or leased MUST NOT be, whatever its age."
	promiseOldEvent   = "An event MUST be removed when it has no delivery left and was stored longer than req.Deliveries ago: from then on its id is unknown."
	promiseOldGap     = "So MUST a gap that was closed longer than req.Deliveries ago, an hour of Stats that ended longer ago than that, and a replay that did."
	promiseNoLimit    = "An age of 0 is no limit: Prune MUST NOT remove anything for it."
	promisePart       = "Prune removes a part of what is older than asked: about req.Max rows, quickly, so that a claim that comes meanwhile does not wait for long."
)

var pruneCases = []kase{
	{
		name:    "what has finished",
		promise: promiseOld,
		f: func(c *check) {
			e, deleted := c.endpoint("t"), c.endpoint("t")
			events := c.emit("t", 2)
			for i, l := range c.claim(4) {
				o := outcome(l, []webhook.OutcomeKind{webhook.OutcomeDelivered, webhook.OutcomeFailed}[i%2])
				fill(&o)
				c.record(o)
			}
			c.record(outcome(c.direct(e, webhook.KindTest), webhook.OutcomeReleased))
			c.emit("t", 1)
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", deleted.ID))
			c.record(outcome(c.one(), webhook.OutcomeDelivered))
			c.outlast()
			all := c.deliveries("t", webhook.DeliveryFilter{})
			c.prune(webhook.PruneRequest{Deliveries: far})
			equal(c, "deliveries where none is old enough", len(c.deliveries("t", webhook.DeliveryFilter{})), len(all))
			result := c.prune(webhook.PruneRequest{Deliveries: c.tick})
			for _, d := range all {
				_, err := c.store.Delivery(c.Context(), "t", d.ID)
				c.notFound("Delivery", err)
			}
			c.unknown("t", events...)
			for _, f := range []webhook.DeliveryFilter{{}, {EndpointID: e.ID}, {EventID: events[0].ID}} {
				equal(c, "deliveries that are left", len(c.deliveries("t", f)), 0)
			}
			equal(c, "deliveries that are said to be removed", result.Deliveries, len(all))
			equal(c, "events that are said to be removed", result.Events, 4)
		},
	},
	{
		name:    "by when it finished, not by when it was made",
		promise: promiseOld,
		f: func(c *check) {
			c.endpoint("t")
			for age := c.tick; ; age *= 2 {
				c.emit("t", 1)
				l := c.one()
				time.Sleep(age + c.tick/2)
				t0 := c.now()
				c.record(outcome(l, webhook.OutcomeDelivered))
				c.prune(webhook.PruneRequest{Deliveries: age})
				_, err := c.store.Delivery(c.Context(), "t", l.Delivery.ID)
				if c.now().Sub(t0) < age {
					c.want(err == nil, "a delivery that finished less than %v ago was removed: %v", age, err)
					return
				}
				c.want(age < 100*c.tick, "a call takes more than %v", age) // else a slow store has another try
			}
		},
	},
	{
		name:    "not what is pending or leased",
		promise: promiseUnfinished,
		f: func(c *check) {
			e, paused, off := c.endpoint("t"), c.endpoint("t"), c.endpoint("t")
			c.emit("t", 1)
			c.turn(off, webhook.EndpointDisabled)
			c.pause(paused, c.now().Add(far))
			l := c.one()
			test := c.direct(e, webhook.KindTest)
			c.emit("t", 1)
			c.record(retry(c.one(), far))
			c.emit("t", 1)
			c.lose()
			c.outlast()
			before := c.everything("t")
			result := c.prune(webhook.PruneRequest{Deliveries: c.tick, Bodies: c.tick})
			equal(c, "what there is", c.everything("t"), before)
			equal(c, "what is said to be removed", result, webhook.PruneResult{})
			c.record(outcome(l, webhook.OutcomeDelivered), outcome(test, webhook.OutcomeFailed))
		},
	},
	{
		name:    "an event without deliveries",
		promise: promiseOldEvent,
		f: func(c *check) {
			e := c.endpoint("t", state(webhook.EndpointDisabled))
			old := c.emit("t", 3)
			c.outlast()
			c.prune(webhook.PruneRequest{Deliveries: far})
			for _, event := range old {
				_, err := c.store.Event(c.Context(), "t", event.ID)
				c.ok(err)
			}
			result := c.prune(webhook.PruneRequest{Deliveries: c.tick})
			equal(c, "events that are said to be removed", result.Events, 3)
			c.unknown("t", old...)
			c.turn(e, webhook.EndpointActive)
			c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{newEvent(happened, old[0].ID, "other")}})
			equal(c, "data of a new event with the id", string(c.one().Event.Data()), `"other"`)
		},
	},
	{
		name:    "an event by when it was stored, not by its own time",
		promise: promiseOldEvent,
		f: func(c *check) {
			for age := c.tick; ; age *= 2 {
				time.Sleep(age + c.tick/2) // a store that does not note the time must not find it by chance
				t0 := c.now()
				events := c.dated()
				c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: events})
				c.prune(webhook.PruneRequest{Deliveries: age})
				_, first := c.store.Event(c.Context(), "t", events[0].ID)
				_, second := c.store.Event(c.Context(), "t", events[1].ID)
				if c.now().Sub(t0) < age {
					c.want(first == nil && second == nil, "events stored less than %v ago: %v, %v", age, first, second)
					time.Sleep(age + c.tick/2)
					c.prune(webhook.PruneRequest{Deliveries: age})
					c.unknown("t", events...)
					return
				}
				c.want(age < 100*c.tick, "a call takes more than %v", age) // else a slow store has another try
			}
		},
	},
	{
		name:    "an event with its last delivery",
		promise: promiseOldEvent,
		f: func(c *check) {
			c.endpoint("t")
			c.endpoint("t")
			event := c.emit("t", 1)[0]
			leases := c.claim(2)
			c.record(outcome(leases[0], webhook.OutcomeDelivered), retry(leases[1], 0))
			c.outlast()
			c.prune(webhook.PruneRequest{Deliveries: c.tick})
			equal(c, "deliveries", len(c.deliveries("t", webhook.DeliveryFilter{EventID: event.ID})), 1)
			l := c.one()
			c.same("event", l.Event, event)
			c.record(outcome(l, webhook.OutcomeDelivered))
			c.outlast()
			c.prune(webhook.PruneRequest{Deliveries: c.tick})
			c.unknown("t", event)
			c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{newEvent(happened, event.ID, "other")}})
			equal(c, "leases of a new event with the id", len(c.claim(3)), 2)
		},
	},
	{
		name:    "gaps that are closed",
		promise: promiseOldGap,
		f: func(c *check) {
			e, deleted := c.endpoint("t"), c.endpoint("t")
			for _, ep := range []webhook.Endpoint{e, deleted, e} {
				c.turn(ep, webhook.EndpointDisabled)
				c.emit("t", 1)
				c.turn(ep, webhook.EndpointActive)
				c.pass()
			}
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", deleted.ID))
			c.turn(e, webhook.EndpointDisabled)
			c.emit("t", 2)
			c.outlast()
			c.prune(webhook.PruneRequest{Deliveries: far})
			equal(c, "gaps where none is old enough", len(c.gaps(e))+len(c.gaps(deleted)), 4)
			c.prune(webhook.PruneRequest{Deliveries: c.tick})
			gaps := c.gaps(e)
			equal(c, "gaps", len(gaps), 1)
			c.gap(gaps[0], e, webhook.GapDisabled, 2)
			equal(c, "gaps of a deleted endpoint", len(c.gaps(deleted)), 0)
			c.turn(e, webhook.EndpointActive)
			gaps = c.gaps(e)
			equal(c, "gaps", len(gaps), 1)
			c.gap(gaps[0], e, webhook.GapDisabled, 2)
		},
	},
	{
		name:    "a gap by when it was closed",
		promise: promiseOldGap,
		f: func(c *check) {
			e := c.endpoint("t")
			for age := c.tick; ; age *= 2 {
				c.turn(e, webhook.EndpointDisabled)
				c.emit("t", 1)
				time.Sleep(age + c.tick/2)
				t0 := c.now()
				c.turn(e, webhook.EndpointActive)
				c.prune(webhook.PruneRequest{Deliveries: age})
				gaps := c.gaps(e)
				if c.now().Sub(t0) < age {
					equal(c, "gaps", len(gaps), 1)
					return
				}
				c.want(age < 100*c.tick, "a call takes more than %v", age) // else a slow store has another try
			}
		},
	},
	{
		name:    "hours of statistics",
		promise: promiseOldGap,
		f: func(c *check) {
			if c.later == nil {
				c.SkipNow()
			}
			e := c.endpoint("t")
			for n := range 3 { // of which the last is recorded in an hour that has not ended long ago
				if n > 0 {
					c.later(3)
				}
				c.logged(e)
			}
			for _, req := range []webhook.PruneRequest{{}, {Bodies: far}, {Deliveries: 7 * far}} {
				c.prune(req)
				equal(c, "attempts in hours that are not old enough", c.delivered(e), 3)
			}
			c.prune(webhook.PruneRequest{Deliveries: 4 * far})
			equal(c, "attempts where the first hour ended more than 4 hours ago", c.delivered(e), 2)
			c.prune(webhook.PruneRequest{Deliveries: far})
			equal(c, "attempts where the last hour has not ended an hour ago", c.delivered(e), 1)
		},
	},
	{
		name:    "no limit",
		promise: promiseNoLimit,
		f: func(c *check) {
			e := c.endpoint("t")
			c.logged(e)
			c.turn(e, webhook.EndpointDisabled)
			event := c.emit("t", 1)[0]
			c.turn(e, webhook.EndpointActive)
			_, err := c.store.StopReplay(c.Context(), "t", c.replay(e).ID)
			c.ok(err)
			c.outlast()
			before := c.everything("t")
			for _, req := range []webhook.PruneRequest{{}, {Deliveries: far}, {Bodies: far}} {
				equal(c, "what is said to be removed", c.prune(req), webhook.PruneResult{})
				equal(c, "what is left", c.everything("t"), before)
			}
			c.prune(webhook.PruneRequest{Bodies: c.tick})
			equal(c, "deliveries where bodies are limited only", len(c.deliveries("t", webhook.DeliveryFilter{})), 1)
			equal(c, "gaps where bodies are limited only", len(c.gaps(e)), 1)
			equal(c, "replays where bodies are limited only", len(c.replays(e)), 1)
			_, err = c.store.Event(c.Context(), "t", event.ID)
			c.ok(err)
		},
	},
	{
		name:    "a part at a time",
		promise: promisePart,
		f: func(c *check) {
			const n, most = 40, 10
			e := c.endpoint("t")
			c.emit("t", n)
			for _, l := range c.claim(n) {
				c.record(outcome(l, webhook.OutcomeDelivered))
			}
			c.turn(e, webhook.EndpointDisabled)
			c.emit("t", n)
			c.outlast()
			for _, req := range []webhook.PruneRequest{{Bodies: c.tick, Max: most}, {Deliveries: c.tick, Max: most}} {
				more := true
				for range 4 * n {
					result, err := c.store.Prune(c.Context(), req)
					c.ok(err)
					c.want(max(result.Deliveries, result.Events, result.Bodies) <= 2*most, "%+v was removed at once where Max is %d", result, most)
					if more = result.More; !more {
						break
					}
				}
				c.want(!more, "there is more to remove after %d calls", 4*n)
				if req.Bodies > 0 {
					equal(c, "bodies that are left to remove", c.prune(webhook.PruneRequest{Bodies: c.tick}).Bodies, 0)
				}
			}
			equal(c, "deliveries", len(c.deliveries("t", webhook.DeliveryFilter{})), 0)
		},
	},
}

// prune prunes until there is no more, and returns the sum of what was removed.
func (c *check) prune(req webhook.PruneRequest) (sum webhook.PruneResult) {
	c.Helper()
	req.Max = 100
	for range 100 {
		result, err := c.store.Prune(c.Context(), req)
		c.ok(err)
		sum.Deliveries += result.Deliveries
		sum.Events += result.Events
		sum.Bodies += result.Bodies
		if !result.More {
			return sum
		}
	}
	c.failf("Prune says again and again that there is more to remove: %+v", sum)
	return sum
}

func (c *check) delivered(e webhook.Endpoint) int64 {
	c.Helper()
	stats := c.stats(e)
	return stats.Sum().Delivered
}

// dated are two new events, one of the far past and one of the far future.
func (c *check) dated() (events []webhook.Event) {
	for _, year := range []int{1999, 2999} {
		at := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
		events = append(events, webhook.NewEventType[any](happened, "", nil).New("", year, webhook.WithID(c.name("evt")), webhook.WithTime(at)))
	}
	return events
}

// fill gives an outcome's row all the contents that it can have.
func fill(o *webhook.Outcome) {
	a := &o.Attempt
	a.Detail, a.RemoteAddr, a.SecretID, a.Latency = "in words", "192.0.2.1:443", "s1", time.Second
	a.RequestHeader, a.ResponseHeader = http.Header{"Content-Type": {"application/json"}}, http.Header{"Server": {"x"}}
	a.ResponseBody, a.Truncated = []byte("contents"), true
}

// logged sends the endpoint a new event, and nobody else, and logs all that there can be of it.
func (c *check) logged(e webhook.Endpoint) webhook.Lease {
	c.Helper()
	event := webhook.NewEventType[any](happened, "", nil).New("sess_1", c.serial, webhook.WithID(c.name("evt")), webhook.WithMetadata(map[string]string{"contents": "x"}))
	l := first(c.enqueue(webhook.EnqueueRequest{
		Tenant: e.Tenant, Events: []webhook.Event{event},
		Direct: &webhook.Direct{EndpointID: e.ID, Kind: webhook.KindRedelivery, Owner: "direct", Term: far},
	}).Leases)
	o := outcome(l, webhook.OutcomeDelivered)
	fill(&o)
	c.record(o)
	return l
}
