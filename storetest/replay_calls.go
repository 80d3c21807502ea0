package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/meshia/webhook"
)

const (
	promiseReplay      = "CreateReplay stores a new replay, with the store's time as CreatedAt and Since as Reached."
	promiseUntil       = "If Until is zero or in the future it MUST be set to CreatedAt."
	promiseOneReplay   = "Errors: [ErrNotFound] for an endpoint that the tenant does not have, [ErrReplayRunning] if it has a replay that runs."
	promiseReplayOrder = "Replays returns the endpoint's replays, the newest first, 100 at most; a deleted endpoint's as well."
	promiseFewReplays  = "Of the endpoint's replays that have ended it MUST leave no more than the newest 100."
	promiseStop        = "StopReplay ends a replay as it is; one that has ended MUST NOT change."
)

// replayCallCases are about all but the steps.
var replayCallCases = []kase{
	{
		name:    "a new replay",
		promise: promiseReplay,
		f: func(c *check) {
			e := c.endpoint("t")
			old := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
			asked := replayRequest(e, "rpl_1")
			asked.Missed, asked.AskedBy, asked.CreatedAt = false, "ops@example.com", old
			t0 := c.now()
			got, err := c.store.CreateReplay(c.Context(), asked)
			c.ok(err)
			t1 := c.now()
			c.during("CreatedAt", got.CreatedAt, t0, t1)
			want := asked
			want.CreatedAt, want.Until, want.Reached = got.CreatedAt, got.Until, asked.Since
			c.same("replay", got, want)
			c.same("replay as it is read", c.replayOf(got), got)
		},
	},
	{
		name:    "until when",
		promise: promiseUntil,
		f: func(c *check) {
			e := c.endpoint("t")
			now := c.now()
			c.pass()
			for _, step := range []struct{ since, until, want time.Time }{
				{}, {until: now.Add(far)}, {since: now.Add(-far), until: now.Add(1000 * far)}, {until: now, want: now}, {since: now.Add(-2 * far), until: now.Add(-far), want: now.Add(-far)},
			} {
				r := c.replay(e, func(r *webhook.Replay) { r.Since, r.Until = step.since, step.until })
				if step.want.IsZero() {
					step.want = r.CreatedAt
				}
				for range 2 {
					c.during("Until", r.Until, step.want, step.want)
					c.same("Since", r.Since, step.since)
					r = c.replayOf(r)
				}
				c.replayAll()
			}
		},
	},
	{
		name:    "no such endpoint",
		promise: promiseOneReplay,
		f: func(c *check) {
			deleted, foreign := c.endpoint("t"), c.endpoint("u")
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", deleted.ID))
			for name, id := range map[string]string{"deleted": deleted.ID, "foreign": foreign.ID, "unknown": "we_unknown", "nameless": ""} {
				e := webhook.Endpoint{Tenant: "t", ID: id}
				_, err := c.store.CreateReplay(c.Context(), replayRequest(e, c.name("rpl")))
				c.want(errors.Is(err, webhook.ErrNotFound), "%s endpoint: got error %v, want ErrNotFound", name, err)
				equal(c, "replays of the "+name+" endpoint", len(c.replays(e))+len(c.replays(foreign)), 0)
			}
			equal(c, "what a step does", c.step(10, 10), webhook.ReplayStepped{})
		},
	},
	{
		name:    "one at a time",
		promise: promiseOneReplay,
		f: func(c *check) {
			e, other := c.endpoint("t"), c.endpoint("t")
			again := func() {
				before := c.everything("t")
				_, err := c.store.CreateReplay(c.Context(), replayRequest(e, c.name("rpl")))
				c.fails("CreateReplay while one runs", err, webhook.ErrReplayRunning)
				equal(c, "what is stored", c.everything("t"), before)
			}
			c.missed(e, 3)
			c.pass()
			r := c.replay(e)
			again()
			c.replay(other)
			c.step(1, 10)
			c.step(1, 10)
			again()
			_, err := c.store.StopReplay(c.Context(), "t", r.ID)
			c.ok(err)
			r = c.replay(e)
			again()
			c.replayAll()
			equal(c, "state", c.replayOf(r).State, webhook.ReplayDone)
			c.replay(e)
		},
	},
	{
		name:    "asked for at once",
		promise: promiseOneReplay,
		f: func(c *check) {
			e := c.endpoint("t")
			var started atomic.Int32
			c.ok(parallel(8, func(i int) error {
				_, err := c.handle(i).CreateReplay(c.Context(), replayRequest(e, fmt.Sprint("rpl_", i)))
				if err == nil {
					started.Add(1)
				} else if errors.Is(err, webhook.ErrReplayRunning) {
					err = nil
				}
				return err
			}))
			equal(c, "replays that were started", started.Load(), 1)
			equal(c, "replays", len(c.replays(e)), 1)
		},
	},
	{
		name:    "the newest first, and not too many",
		promise: promiseReplayOrder,
		f: func(c *check) {
			const n = 103
			e, other := c.endpoint("t"), c.endpoint("t")
			equal(c, "replays", len(c.replays(e)), 0)
			c.replay(other)
			var want []string
			for range n {
				r := c.replay(e)
				_, err := c.store.StopReplay(c.Context(), "t", r.ID)
				c.ok(err)
				want = append(want, r.ID)
				c.pass()
			}
			var got []string
			for _, r := range c.replays(e) {
				got = append(got, r.ID)
				equal(c, "endpoint", r.EndpointID, e.ID)
			}
			slices.Reverse(want)
			c.list("replays", got, want[:100])
		},
	},
	{
		name:    "many that have ended",
		promise: promiseFewReplays,
		f: func(c *check) {
			const n = 104
			e, other := c.endpoint("t"), c.endpoint("t")
			kept := c.replay(other)
			var ended []webhook.Replay
			for i := range n {
				r := c.replay(e)
				if i%2 == 0 {
					c.replayAll()
				}
				_, err := c.store.StopReplay(c.Context(), "t", r.ID)
				c.ok(err)
				ended = append(ended, r)
			}
			running := c.replay(e)
			for i, r := range ended {
				_, err := c.store.StopReplay(c.Context(), "t", r.ID)
				if i < n-100 {
					c.notFound("StopReplay", err)
				} else {
					c.ok(err)
				}
			}
			equal(c, "state", c.replayOf(running).State, webhook.ReplayRunning)
			c.replayOf(kept)
		},
	},
	{
		name:    "stopped in the middle",
		promise: promiseStop,
		f: func(c *check) {
			e := c.endpoint("t")
			c.missed(e, 10)
			c.pass()
			r := c.replay(e)
			c.step(2, 10)
			before := c.replayOf(r)
			c.want(before.Queued > 0 && before.State == webhook.ReplayRunning, "a step looked at 10 events where it was asked for 2: %+v", before)
			t0 := c.now()
			stopped, err := c.store.StopReplay(c.Context(), "t", r.ID)
			c.ok(err)
			c.during("FinishedAt", stopped.FinishedAt, t0, c.now())
			want := before
			want.State, want.FinishedAt = webhook.ReplayStopped, stopped.FinishedAt
			c.same("replay", stopped, want)
			equal(c, "what a step does after it", c.step(10, 100), webhook.ReplayStepped{})
			c.same("replay as it is read", c.replayOf(r), want)
			leases := c.claim(20)
			equal(c, "deliveries that it had queued", int64(len(leases)), want.Queued)
			for _, l := range leases {
				c.record(outcome(l, webhook.OutcomeDelivered))
			}
		},
	},
	{
		name:    "one that has ended is not stopped",
		promise: promiseStop,
		f: func(c *check) {
			e := c.endpoint("t")
			c.missed(e, 1)
			c.pass()
			done, stopped := c.replay(e), webhook.Replay{}
			c.replayAll()
			stopped = c.replay(e)
			_, err := c.store.StopReplay(c.Context(), "t", stopped.ID)
			c.ok(err)
			running := c.replay(e)
			before := c.everything("t")
			c.pass()
			for _, r := range []webhook.Replay{done, stopped} {
				got, err := c.store.StopReplay(c.Context(), "t", r.ID)
				c.ok(err)
				c.same("replay that is stopped again", got, c.replayOf(r))
			}
			equal(c, "what is stored", c.everything("t"), before)
			equal(c, "state", c.replayOf(done).State, webhook.ReplayDone)
			equal(c, "state", c.replayOf(running).State, webhook.ReplayRunning)
		},
	},
	{
		name:    "what is not there is not stopped",
		promise: "Errors: [ErrNotFound].",
		f: func(c *check) {
			r := c.replay(c.endpoint("t"))
			for _, ref := range []struct{ tenant, id string }{{"t", "rpl_unknown"}, {"t", ""}, {"u", r.ID}, {"", r.ID}} {
				_, err := c.store.StopReplay(c.Context(), ref.tenant, ref.id)
				c.notFound("StopReplay", err)
			}
			equal(c, "state", c.replayOf(r).State, webhook.ReplayRunning)
		},
	},
}
