package storetest

import (
	"time"

	"github.com/meshia/webhook"
)

var pruneReplayCases = []kase{
	{
		name:    "replays that have ended",
		promise: promiseOldGap,
		f: func(c *check) {
			e, other, deleted := c.endpoint("t"), c.endpoint("t", state(webhook.EndpointDisabled)), c.endpoint("t")
			running := c.replay(other)
			c.replay(deleted)
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", deleted.ID))
			done := c.replay(e)
			c.replayAll()
			stopped := c.replay(e)
			_, err := c.store.StopReplay(c.Context(), "t", stopped.ID)
			c.ok(err)
			c.outlast()
			c.prune(webhook.PruneRequest{Deliveries: far, Bodies: c.tick})
			equal(c, "replays where none is old enough", len(c.replays(e))+len(c.replays(other))+len(c.replays(deleted)), 4)
			c.prune(webhook.PruneRequest{Deliveries: c.tick})
			equal(c, "replays that have ended", len(c.replays(e))+len(c.replays(deleted)), 0)
			for _, r := range []webhook.Replay{done, stopped} {
				_, err := c.store.StopReplay(c.Context(), "t", r.ID)
				c.notFound("StopReplay", err)
			}
			c.same("one that runs", c.replayOf(running), running)
		},
	},
	{
		name:    "a replay by when it ended",
		promise: promiseOldGap,
		f: func(c *check) {
			e := c.endpoint("t")
			for age := c.tick; ; age *= 2 {
				r := c.replay(e)
				time.Sleep(age + c.tick/2)
				t0 := c.now()
				_, err := c.store.StopReplay(c.Context(), "t", r.ID)
				c.ok(err)
				c.prune(webhook.PruneRequest{Deliveries: age})
				replays := c.replays(e)
				if c.now().Sub(t0) < age {
					equal(c, "replays", len(replays), 1)
					return
				}
				c.want(age < 100*c.tick, "a call takes more than %v", age) // else a slow store has another try
			}
		},
	},
}
