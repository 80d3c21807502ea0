package storetest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/meshia/webhook"
)

const (
	promiseStep   = "ContinueReplay takes one step of one replay that runs: it looks at the next events, about req.Max of them, and queues what is to be queued, in one transaction, so that a step is done once and not at all otherwise."
	promiseTurn   = "The replay whose last step is the longest ago MUST come first."
	promiseWait   = "Replays of an endpoint whose state does not queue, or for which req.Pending deliveries are pending or leased, MUST wait, and MUST NOT hold up others."
	promiseRoom   = "A step MUST NOT queue so many that more than req.Pending are pending or leased."
	promiseDone   = "The step after which there are no more events MUST end the replay, as ReplayDone, with Until as Reached."
	promiseOrphan = "That of a deleted endpoint MUST end it as ReplayStopped."
)

// replayStepCases are about how a replay goes on.
var replayStepCases = []kase{
	{
		name:    "step by step",
		promise: promiseStep,
		f: func(c *check) {
			const batch, singles = 10, 5
			for most := 1; most <= 3; most++ {
				tenant := fmt.Sprint("t", most)
				e := c.endpoint(tenant)
				want := c.missed(e, batch) // which may have been stored at the same time
				c.settled(e, webhook.OutcomeDelivered)
				for range singles {
					want = append(want, c.missed(e, 1)...)
				}
				c.pass()
				last := c.replay(e)
				for step := 1; last.State == webhook.ReplayRunning; step++ {
					c.want(step <= batch+singles+2, "the replay runs after %d steps", step)
					result := c.step(most, 1000)
					c.want(result.Stepped, "a replay runs, and no step was taken")
					r := c.replayOf(last)
					c.want(r.Looked-last.Looked <= int64(2*most), "%d events were looked at where %d were asked for", r.Looked-last.Looked, most)
					c.want(r.Looked > last.Looked || r.State == webhook.ReplayDone, "a step looked at nothing")
					equal(c, "whether something was queued", result.Queued, r.Queued > last.Queued)
					equal(c, "deliveries", int64(len(c.waiting(e))), r.Queued)
					c.want(!r.Reached.Before(last.Reached) && !r.Reached.Before(r.Since) && !r.Reached.After(r.Until),
						"reached %v after %v, between %v and %v", r.Reached, last.Reached, r.Since, r.Until)
					last = r
				}
				c.list("events", c.waiting(e), want)
				equal(c, "events that were looked at", last.Looked, batch+1+singles)
				equal(c, "events that were queued again", last.Queued, batch+singles)
				for _, l := range c.claim(len(want)) {
					c.record(outcome(l, webhook.OutcomeDelivered))
				}
			}
		},
	},
	{
		name:    "events that go meanwhile",
		promise: promiseStep,
		f: func(c *check) {
			for age := c.tick; ; age *= 2 {
				tenant := c.name("t")
				e := c.endpoint(tenant, subscribed(happened))
				c.enqueue(webhook.EnqueueRequest{Tenant: tenant, Events: []webhook.Event{c.event(ceased), c.event(ceased), c.event(ceased), c.event(ceased)}})
				time.Sleep(age + c.tick/2)
				t0 := c.now()
				want := c.missed(e, 3)
				c.pass()
				r := c.replay(e)
				c.step(1, 100)
				c.prune(webhook.PruneRequest{Deliveries: age}) // what was looked at already, and what comes next
				if c.now().Sub(t0) < age {
					c.replayAll()
					c.list("events", c.waiting(e), want)
					equal(c, "state", c.replayOf(r).State, webhook.ReplayDone)
					return
				}
				c.want(age < 100*c.tick, "a call takes more than %v", age) // else a slow store has another try
			}
		},
	},
	{
		name:    "done once, or not at all",
		promise: promiseStep,
		f: func(c *check) {
			e := c.endpoint("t")
			want := c.missed(e, 30)
			c.pass()
			r := c.replay(e)
			for i := 0; c.replayOf(r).State == webhook.ReplayRunning; i++ {
				c.want(i < 1000, "the replay does not end")
				ctx, cancel := context.WithCancel(c.Context())
				if i%2 == 0 { // every other time the caller gives up meanwhile
					go cancel()
				}
				_, err := c.store.ContinueReplay(ctx, webhook.ReplayStep{Max: 2, Pending: 100})
				cancel()
				c.want(err == nil || i%2 == 0, "unexpected error: %v", err)
				equal(c, "events that were queued again", c.replayOf(r).Queued, int64(len(c.waiting(e))))
			}
			c.list("events", c.waiting(e), want)
		},
	},
	{
		name:    "several processes at once",
		promise: promiseStep,
		f: func(c *check) {
			e, other := c.endpoint("t"), c.endpoint("u")
			want, others := c.missed(e, 40), c.missed(other, 40)
			c.pass()
			replays := []webhook.Replay{c.replay(e), c.replay(other)}
			c.ok(parallel(8, func(i int) error {
				for range 1000 {
					step, err := c.handle(i).ContinueReplay(c.Context(), webhook.ReplayStep{Max: 3, Pending: 100})
					if err != nil || !step.Stepped {
						return err
					}
				}
				return nil
			}))
			c.replayAll()
			c.list("events", c.waiting(e), want)
			c.list("events of the other endpoint", c.waiting(other), others)
			for _, r := range replays {
				r = c.replayOf(r)
				equal(c, "state", r.State, webhook.ReplayDone)
				equal(c, "events that were looked at", r.Looked, 40)
				equal(c, "events that were queued again", r.Queued, 40)
			}
		},
	},
	{
		name:    "in turns",
		promise: promiseTurn,
		f: func(c *check) {
			const n = 3
			var replays []webhook.Replay
			for i := range n {
				e := c.endpoint(fmt.Sprint("t", i))
				c.missed(e, 20)
				c.pass()
				replays = append(replays, c.replay(e))
				c.pass()
			}
			var first string
			for round := range 4 {
				var order []int
				for range n {
					c.want(c.step(1, 100).Stepped, "replays run, and no step was taken")
					for i, r := range replays {
						replays[i] = c.replayOf(r)
						if replays[i].Looked > r.Looked {
							order = append(order, i)
						}
					}
					c.pass()
				}
				if round == 0 {
					first = fmt.Sprint(order)
				}
				equal(c, "order of the steps", fmt.Sprint(order), first)
				slices.Sort(order)
				equal(c, "replays that took a step", fmt.Sprint(order), "[0 1 2]")
			}
		},
	},
	{
		name:    "what waits holds up nobody",
		promise: promiseWait,
		f: func(c *check) {
			off, pending, busy, e := c.endpoint("t"), c.endpoint("u"), c.endpoint("v"), c.endpoint("w")
			wait := map[string]webhook.Endpoint{"off": off, "pending": pending, "busy": busy}
			want := map[string][]string{}
			replays := map[string]webhook.Replay{}
			for name, ep := range wait { // they have all waited longer than the one that can go on
				want[name] = c.missed(ep, 3)
				c.pass()
				replays[name] = c.replay(ep)
				c.pass()
			}
			c.turn(off, webhook.EndpointDisabled)
			c.turn(pending, webhook.EndpointPending)
			leases := []webhook.Lease{c.direct(busy, webhook.KindTest), c.direct(busy, webhook.KindTest)}
			equal(c, "what a step does while all wait", c.step(1, 2), webhook.ReplayStepped{Waiting: true})
			for range 2 {
				events := c.missed(e, 2)
				c.pass()
				r := c.replay(e)
				for range 6 {
					c.step(1, 2)
				}
				c.list("events", c.waiting(e), events)
				equal(c, "state", c.replayOf(r).State, webhook.ReplayDone)
				for _, l := range c.claim(2) {
					c.record(outcome(l, webhook.OutcomeDelivered))
				}
			}
			for name, r := range replays {
				c.same("the replay that waits, of "+name, c.replayOf(r), r)
			}
			c.turn(off, webhook.EndpointActive)
			c.pause(pending, c.now().Add(far)) // which queues
			c.record(outcome(leases[0], webhook.OutcomeDelivered), outcome(leases[1], webhook.OutcomeDelivered))
			c.replayAll()
			for name, ep := range wait {
				c.list("events of "+name, c.waiting(ep), want[name])
				equal(c, "state", c.replayOf(replays[name]).State, webhook.ReplayDone)
			}
			equal(c, "what a step does where no replay runs", c.step(1, 2), webhook.ReplayStepped{})
		},
	},
	{
		name:    "no more than may wait",
		promise: promiseRoom,
		f: func(c *check) {
			const most = 4
			e := c.endpoint("t")
			want := c.missed(e, 15)
			c.pass()
			c.direct(e, webhook.KindTest) // leased as long as the case lasts
			c.emit("t", 1)
			l := c.one()
			c.record(retry(l, far)) // and pending
			c.pass()                // both of its events are looked at
			r := c.replay(e)
			var got []string
			for i := 0; c.replayOf(r).State == webhook.ReplayRunning; i++ {
				c.want(i < 100, "the replay does not end: %+v", c.replayOf(r))
				for c.step(10, most).Stepped {
					c.want(c.stats(e).Pending <= most, "%d deliveries are pending or leased where there may be %d", c.stats(e).Pending, most)
				}
				leases := c.claim(1)
				equal(c, "leases", len(leases), 1)
				got = append(got, leases[0].Delivery.EventID)
				runs := c.replayOf(r).State == webhook.ReplayRunning
				equal(c, "what a step does while as many are leased", c.step(10, int(c.stats(e).Pending)), webhook.ReplayStepped{Waiting: runs})
				c.record(outcome(leases[0], webhook.OutcomeDelivered))
			}
			for _, l := range c.claim(most) {
				got = append(got, l.Delivery.EventID)
			}
			slices.SortFunc(got, byAge)
			c.list("events", got, want)
			equal(c, "events that were looked at", c.replayOf(r).Looked, 15+2)
		},
	},
	{
		name:    "the last step",
		promise: promiseDone,
		f: func(c *check) {
			const n = 3
			e := c.endpoint("t")
			done := func(r webhook.Replay, most, pending int) {
				c.Helper()
				t0 := c.now()
				c.want(c.step(most, pending).Stepped, "no step was taken")
				t1 := c.now()
				r = c.replayOf(r)
				equal(c, "state", r.State, webhook.ReplayDone)
				c.during("FinishedAt", r.FinishedAt, t0, t1)
				c.during("Reached", r.Reached, r.Until, r.Until)
				equal(c, "what a step does after it", c.step(most, pending), webhook.ReplayStepped{})
			}
			done(c.replay(e), 10, 10) // there are no events
			c.pass()
			since := c.now()
			c.pass()
			c.settled(e, webhook.OutcomeDelivered)
			c.pass()
			done(c.replay(e), 10, 10)
			done(c.replay(e, func(r *webhook.Replay) { r.Until = since }), 10, 10) // there are some, but not in its time
			c.missed(e, n)
			c.pass()
			r := c.replay(e)
			c.missed(e, 1) // not in its time
			done(r, 10, n) // there is no room for more, and no need
			equal(c, "deliveries", len(c.waiting(e)), n)
		},
	},
	{
		name:    "an endpoint that is deleted",
		promise: promiseOrphan,
		f: func(c *check) {
			e, other := c.endpoint("t"), c.endpoint("u")
			c.missed(e, 5)
			want := c.missed(other, 2)
			c.pass()
			r, running := c.replay(e), c.replay(other)
			c.replay(c.endpoint("v", state(webhook.EndpointDisabled)))
			c.step(1, 100)
			c.step(1, 100)
			before := c.replayOf(r)
			t0 := c.now()
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
			c.replayAll()
			after := c.replayOf(r)
			c.during("FinishedAt", after.FinishedAt, t0, c.now())
			before.State, before.FinishedAt = webhook.ReplayStopped, after.FinishedAt
			c.same("replay", after, before)
			equal(c, "deliveries", len(c.waiting(e)), 0)
			c.list("events of the other endpoint", c.waiting(other), want)
			equal(c, "state of the other replay", c.replayOf(running).State, webhook.ReplayDone)
		},
	},
}
