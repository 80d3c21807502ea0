package storetest

import (
	"slices"

	"github.com/meshia/webhook"
)

const (
	promiseLooked = "What a replay looks at are the events of the tenant that were stored in its time, from Since up to but not including Until, the oldest first."
	promiseAgain  = "An event is queued again if the endpoint subscribes to it and none of its deliveries to the endpoint succeeded or is still pending or leased, and."
	promiseWhich  = "- with Failed, one of them failed that was no ping and no test, or - with Missed, there is none at all, and the event was stored while one of the endpoint's gaps was open."
)

const promiseNobodys = "An event that a Direct request stored, since it was not there, MUST count as missed by nobody."

// replayEventCases are about which events are queued again.
var replayEventCases = []kase{
	{
		name:    "the oldest first",
		promise: promiseLooked,
		f: func(c *check) {
			e := c.endpoint("t")
			var want []string
			for n := range 6 { // missed and failed by turns
				if n%2 == 0 {
					want = append(want, c.missed(e, 1)...)
				} else {
					want = append(want, c.failed(e, 1)...)
				}
				c.pass()
			}
			r := c.replay(e)
			var got []string
			for range 20 {
				c.step(3, 1)
				for _, l := range c.claim(10) { // one at a time, so that the order is that of the steps
					got = append(got, l.Delivery.EventID)
					c.record(outcome(l, webhook.OutcomeDelivered))
				}
			}
			c.list("events", got, want)
			equal(c, "state", c.replayOf(r).State, webhook.ReplayDone)
		},
	},
	{
		name:    "from Since until Until",
		promise: promiseLooked,
		f: func(c *check) {
			e := c.endpoint("t")
			c.missed(e, 2)
			c.pass()
			since := c.now()
			c.pass()
			want := c.missed(e, 3)
			c.pass()
			until := c.now()
			c.pass()
			c.missed(e, 2)
			c.pass()
			r := c.replay(e, func(r *webhook.Replay) { r.Since, r.Until = since, until })
			c.replayAll()
			c.list("events", c.waiting(e), want)
			equal(c, "events that were looked at", c.replayOf(r).Looked, 3)
		},
	},
	{
		name:    "not what comes while it runs",
		promise: promiseLooked,
		f: func(c *check) {
			e := c.endpoint("t")
			want := c.missed(e, 3)
			c.pass()
			r := c.replay(e)
			c.pass()
			c.step(1, 10)
			c.missed(e, 2)
			c.failed(e, 2, c.waiting(e)...)
			c.replayAll()
			c.list("events", c.waiting(e), want)
			equal(c, "events that were looked at", c.replayOf(r).Looked, 3)
			c.pass()
			c.replay(e)
			c.replayAll()
			equal(c, "deliveries after another replay", len(c.waiting(e)), 7)
		},
	},
	{
		name:    "not what another tenant has",
		promise: promiseLooked,
		f: func(c *check) {
			e, other := c.endpoint("t"), c.endpoint("u", func(e *webhook.Endpoint) { e.ID = "we_1" })
			c.missed(other, 2)
			want := c.missed(e, 1)
			c.failed(other, 1)
			c.pass()
			r := c.replay(e)
			c.replayAll()
			c.list("events", c.waiting(e), want)
			equal(c, "events that were looked at", c.replayOf(r).Looked, 1)
			equal(c, "deliveries of another tenant", len(c.waiting(other)), 0)
		},
	},
	{
		name:    "what failed and what was missed",
		promise: promiseWhich,
		f: func(c *check) {
			e := c.endpoint("t")
			c.settled(e, webhook.OutcomeDelivered)
			var failed, missed []string // and not queued again yet
			for i, step := range []struct{ failed, missed bool }{{true, false}, {false, true}, {true, true}, {true, true}} {
				if i < 3 {
					failed, missed = append(failed, c.failed(e, 2)...), append(missed, c.missed(e, 3)...)
					c.pass()
				}
				var want []string
				if step.failed {
					want, failed = append(want, failed...), nil
				}
				if step.missed {
					want, missed = append(want, missed...), nil
				}
				slices.SortFunc(want, byAge)
				r := c.replay(e, func(r *webhook.Replay) { r.Failed, r.Missed = step.failed, step.missed })
				c.replayAll()
				c.list("events", c.waiting(e), want)
				equal(c, "events that were looked at", c.replayOf(r).Looked, int64(1+5*min(i+1, 3)))
				equal(c, "events that were queued again", c.replayOf(r).Queued, int64(len(want)))
				for _, l := range c.claim(20) {
					c.record(outcome(l, webhook.OutcomeDelivered))
				}
			}
		},
	},
	{
		name:    "what was missed in several gaps",
		promise: promiseWhich,
		f: func(c *check) {
			e := c.endpoint("t", state(webhook.EndpointPending))
			want := ids(c.emit("t", 2))
			c.turn(e, webhook.EndpointActive)
			for range 3 {
				c.settled(e, webhook.OutcomeDelivered)
				want = append(want, c.missed(e, 1)...)
			}
			b := c.bound(3)
			batch := b.emit("t", 5) // of which as many are missed as come after the gap has opened
			leases := b.claim(5)
			for _, l := range leases {
				batch = slices.DeleteFunc(batch, func(event webhook.Event) bool { return event.ID == l.Delivery.EventID })
			}
			want = append(want, ids(batch)...)
			c.pass()
			want = append(want, ids(b.emit("t", 2))...) // in a gap that stays open
			c.pass()
			c.want(c.lastGap(e).To.IsZero(), "the gap is closed")
			c.replay(e)
			c.replayAll()
			c.list("events", c.waiting(e), want)
		},
	},
	{
		name:    "not what nobody missed",
		promise: promiseWhich,
		f: func(c *check) {
			e := c.endpoint("t", subscribed(ceased))
			c.emit("t", 2) // which it does not subscribe to, yet
			e.Events = []string{webhook.AllEvents}
			e = c.update(e)
			c.pass()
			want := c.missed(e, 1)
			b := c.bound(1)
			b.emit("t", 1)
			equal(c, "leases", len(b.claim(1)), 1)
			c.pass()
			want = append(want, ids(b.emit("t", 1))...) // in a gap that stays open
			c.pass()
			c.replay(e)
			c.replayAll()
			c.list("events", c.waiting(e), want)
		},
	},
	{
		name:    "not what it does not subscribe to any more",
		promise: promiseAgain,
		f: func(c *check) {
			e := c.endpoint("t")
			c.failed(e, 1)
			c.missed(e, 1)
			c.turn(e, webhook.EndpointDisabled)
			event := c.event(ceased)
			c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{event}})
			e = c.turn(e, webhook.EndpointActive)
			c.pass()
			r := c.replay(e)
			e.Events = []string{ceased}
			e = c.update(e)
			c.replayAll()
			c.list("events", c.waiting(e), []string{event.ID})
			equal(c, "events that were looked at", c.replayOf(r).Looked, 3)
			equal(c, "events that were skipped", c.replayOf(r).Skipped, 0)
		},
	},
	{
		name:    "not what it got since, or is about to get",
		promise: promiseAgain,
		f: func(c *check) {
			e := c.endpoint("t")
			for _, id := range c.failed(e, 2) {
				c.record(outcome(c.resend(e, id), webhook.OutcomeDelivered))
			}
			missed := c.missed(e, 2)
			c.record(outcome(c.resend(e, missed[0]), webhook.OutcomeDelivered))
			c.resend(e, missed[1]) // leased
			failed := c.failed(e, 2)
			c.resend(e, failed[0])
			c.record(retry(c.resend(e, failed[1]), far)) // pending
			c.emit("t", 1)
			c.emit("t", 1)
			l := first(c.claim(1))
			c.pass()
			before := len(c.deliveries("t", webhook.DeliveryFilter{}))
			r := c.replay(e)
			c.replayAll()
			equal(c, "deliveries", len(c.deliveries("t", webhook.DeliveryFilter{})), before)
			equal(c, "events that were looked at", c.replayOf(r).Looked, 8)
			c.record(outcome(l, webhook.OutcomeDelivered))
		},
	},
	{
		name:    "what became of it at another endpoint does not count",
		promise: promiseAgain,
		f: func(c *check) {
			e, other := c.endpoint("t"), c.endpoint("t")
			event := c.emit("t", 1)[0]
			for _, l := range c.claim(2) {
				kind := webhook.OutcomeDelivered
				if l.Delivery.EndpointID == e.ID {
					kind = webhook.OutcomeFailed
				}
				c.record(outcome(l, kind))
			}
			c.turn(e, webhook.EndpointDisabled)
			missed := c.emit("t", 2)
			e = c.turn(e, webhook.EndpointActive)
			leases := c.claim(2)
			c.record(outcome(leases[0], webhook.OutcomeDelivered), outcome(leases[1], webhook.OutcomeFailed))
			c.pass()
			c.replay(e)
			c.replay(other)
			c.replayAll()
			c.list("events", c.waiting(e), []string{event.ID, missed[0].ID, missed[1].ID})
			c.list("events of the other endpoint", c.waiting(other), []string{leases[1].Delivery.EventID})
		},
	},
	{
		name:    "what was stored for one endpoint",
		promise: promiseNobodys,
		f: func(c *check) {
			tested, off := c.endpoint("t", subscribed(ceased)), c.endpoint("t", state(webhook.EndpointDisabled))
			test := c.direct(tested, webhook.KindTest)
			c.record(outcome(test, webhook.OutcomeDelivered))
			c.outlast()
			again := c.resend(tested, test.Event.ID)
			c.prune(webhook.PruneRequest{Deliveries: c.tick})
			equal(c, "deliveries", len(c.deliveries("t", webhook.DeliveryFilter{EventID: test.Event.ID})), 1)
			want := ids(c.emit("t", 1))
			c.turn(off, webhook.EndpointActive)
			c.pass()
			c.replay(off)
			c.replayAll()
			c.list("events", c.waiting(off), want)
			c.record(outcome(again, webhook.OutcomeDelivered))
		},
	},
	{
		name:    "pings and tests do not count",
		promise: promiseWhich,
		f: func(c *check) {
			e, other := c.endpoint("t"), c.endpoint("t", subscribed(ceased))
			want := c.failed(e, 1)
			event, err := c.store.Event(c.Context(), "t", want[0])
			c.ok(err)
			test := c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{event}, Direct: &webhook.Direct{
				EndpointID: e.ID, Kind: webhook.KindTest, Owner: "one", Term: far,
			}})
			c.record(outcome(first(test.Leases), webhook.OutcomeDelivered))
			c.turn(e, webhook.EndpointDisabled)
			for _, to := range []webhook.Endpoint{e, other} { // of events that were stored for them alone
				for _, kind := range []webhook.DeliveryKind{webhook.KindPing, webhook.KindTest} {
					c.record(outcome(c.direct(to, kind), webhook.OutcomeFailed))
					c.record(outcome(c.direct(to, kind), webhook.OutcomeDelivered))
				}
			}
			want = append(want, ids(c.emit("t", 1))...)
			c.turn(e, webhook.EndpointActive)
			c.pass()
			c.replay(e)
			c.replayAll()
			c.list("events", c.waiting(e), want)
		},
	},
}
