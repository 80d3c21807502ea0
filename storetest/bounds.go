package storetest

import "github.com/meshia/webhook"

const (
	promiseNoRoom  = "Where Max is 0 or less it MUST hand out nothing, and settle all the same."
	promiseOne     = "A Max below 1 MUST count as 1."
	promiseOneMax  = "A max below 1 MUST count as 1."
	promiseOneStep = "A Max below 1 MUST count as 1; a Pending of 0 or less leaves no room, and all replays wait."
)

// belowOne are bounds that name no number of rows.
var belowOne = []int{0, -1}

var noRoomCases = []kase{
	{
		name:    "no room",
		promise: promiseNoRoom,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 2)
			lost := first(c.claimWith(webhook.ClaimRequest{Owner: "one", Term: c.tick, Max: 1, MaxSlow: 1}).Leases)
			c.outlast()
			for _, most := range belowOne {
				claimed := c.claimWith(webhook.ClaimRequest{Owner: "one", Term: far, Max: most, MaxSlow: most})
				equal(c, "leases", len(claimed.Leases), 0)
			}
			equal(c, "attempts of what was lost", len(c.delivery(lost).Attempts), 1)
			equal(c, "leases where there is room", len(c.claim(10)), 2)
		},
	},
}

var pruneOneCases = []kase{
	{
		name:    "a bound below one",
		promise: promiseOne,
		f: func(c *check) {
			const n = 6
			c.endpoint("t")
			c.emit("t", n)
			for _, l := range c.claim(n) {
				c.record(outcome(l, webhook.OutcomeDelivered))
			}
			c.outlast()
			calls, more := 0, true
			for ; more && calls < 10*n; calls++ {
				result, err := c.store.Prune(c.Context(), webhook.PruneRequest{Deliveries: c.tick, Max: belowOne[calls%2]})
				c.ok(err)
				c.want(result.Deliveries <= 2, "%d deliveries were removed at once", result.Deliveries)
				more = result.More
			}
			c.want(!more, "there is more to remove after %d calls", calls)
			equal(c, "deliveries", len(c.deliveries("t", webhook.DeliveryFilter{})), 0)
		},
	},
}

var eraseOneCases = []kase{
	{
		name:    "a bound below one",
		promise: promiseOneMax,
		f: func(c *check) {
			const n = 6
			c.endpoint("t")
			events := c.emit("t", n)
			calls, more := 0, true
			for left := n; more && calls < 10*n; calls++ {
				var err error
				more, err = c.store.EraseTenant(c.Context(), "t", belowOne[calls%2])
				c.ok(err)
				now := len(c.deliveries("t", webhook.DeliveryFilter{}))
				c.want(left-now <= 2, "%d deliveries were removed at once", left-now)
				left = now
			}
			c.want(!more, "there is more to remove after %d calls", calls)
			c.unknown("t", events...)
		},
	},
}

var replayOneCases = []kase{
	{
		name:    "a bound below one",
		promise: promiseOneStep,
		f: func(c *check) {
			const n = 6
			e := c.endpoint("t")
			c.missed(e, n)
			c.pass()
			r := c.replay(e)
			for _, pending := range belowOne {
				equal(c, "what a step does without room", c.step(10, pending), webhook.ReplayStepped{Waiting: true})
			}
			looked := int64(0)
			for i := 0; c.replayOf(r).State == webhook.ReplayRunning; i++ {
				c.want(i < 4*n, "the replay does not end within %d steps", i)
				c.step(belowOne[i%2], 100)
				now := c.replayOf(r).Looked
				c.want(now-looked <= 2, "%d events were looked at in one step", now-looked)
				looked = now
			}
			equal(c, "events that were looked at", looked, n)
		},
	},
}
