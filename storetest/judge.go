package storetest

import (
	"time"

	"github.com/meshia/webhook"
)

const promiseJudge = "Judge MUST be called for an applied outcome, on the health as it is in the transaction, and what it returned in the transaction that was committed MUST be stored; for a deleted endpoint it is not called."

var judgeCases = []kase{
	{
		name:    "once for each outcome",
		promise: promiseJudge,
		f: func(c *check) {
			e := c.endpoint("t")
			c.emit("t", 4)
			leases := c.claim(4)
			kinds := []webhook.OutcomeKind{webhook.OutcomeDelivered, webhook.OutcomeFailed, webhook.OutcomeRetry, webhook.OutcomeReleased}
			var seen []int
			var outcomes []webhook.Outcome
			for i, l := range leases {
				o := outcome(l, kinds[i])
				o.Judge = func(h webhook.Health, _ time.Time) webhook.Health {
					seen = append(seen, h.Failures)
					h.Failures++
					return h
				}
				outcomes = append(outcomes, o)
			}
			t0 := c.now()
			c.record(outcomes[:3]...)
			c.record(outcomes[3])
			equal(c, "calls", len(seen), 4)
			for i, failures := range seen {
				equal(c, "failures seen by a Judge", failures, i)
			}
			h := c.health(e)
			equal(c, "failures stored", h.Failures, 4)
			c.want(!h.Since.After(t0), "Since was changed")
		},
	},
	{
		name:    "on the latest health, whatever the lease says",
		promise: promiseJudge,
		f: func(c *check) {
			e := c.endpoint("t")
			c.emit("t", 1)
			l := c.one()
			c.change(e, func(h *webhook.Health) { h.Failures, h.AcceptedSecret = 41, "s1" })
			at := c.now().Add(-far)
			var shown time.Time
			o := outcome(l, webhook.OutcomeDelivered)
			o.Judge = func(h webhook.Health, now time.Time) webhook.Health {
				shown = now
				h.Failures++
				h.Window, h.Slow, h.FailingSince, h.LastFailure, h.State, h.PausedUntil = 7, true, at, at, webhook.EndpointPaused, at
				h.Verified, h.Generation = !h.Verified, 1<<40
				return h
			}
			t0 := c.now()
			c.record(o)
			t1 := c.now()
			c.during("the time that a Judge is shown", shown, t0, t1)
			want := e.Health
			want.Failures, want.AcceptedSecret, want.Window, want.Slow = 42, "s1", 7, true
			want.FailingSince, want.LastFailure, want.State, want.PausedUntil = at, at, webhook.EndpointPaused, at
			want.Verified, want.Generation = !want.Verified, 1<<40
			c.same("health", c.health(e), want)
		},
	},
	{
		name:    "judgements at once",
		promise: promiseJudge,
		f: func(c *check) {
			const n = 32
			e := c.endpoint("t")
			c.emit("t", n)
			leases := c.claim(n)
			equal(c, "leases", len(leases), n)
			more := func(h webhook.Health, _ time.Time) webhook.Health {
				h.Failures++
				return h
			}
			c.ok(parallel(n, func(i int) error {
				o := outcome(leases[i], webhook.OutcomeDelivered)
				o.Judge = more
				if _, err := c.handle(i).Record(c.Context(), []webhook.Outcome{o}); err != nil {
					return err
				}
				_, err := c.handle(i+1).JudgeEndpoint(c.Context(), "t", e.ID, more)
				return err
			}))
			equal(c, "judgements", c.health(e).Failures, 2*n)
		},
	},
	{
		name:    "not without an applied outcome, not for a deleted endpoint",
		promise: promiseJudge,
		f: func(c *check) {
			e := c.endpoint("t")
			c.emit("t", 2)
			leases := c.claim(2)
			calls := 0
			judged := func(o webhook.Outcome) webhook.Outcome {
				o.Judge = func(h webhook.Health, _ time.Time) webhook.Health {
					calls++
					return h
				}
				return o
			}
			stale := judged(outcome(leases[0], webhook.OutcomeDelivered))
			stale.Token = "stale"
			c.recorded(stale)
			equal(c, "calls for a stale outcome", calls, 0)
			c.record(retry(leases[0], far)) // no Judge: the health stays
			c.same("health", c.health(e), e.Health)
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
			c.record(judged(outcome(leases[1], webhook.OutcomeDelivered)))
			equal(c, "calls for a deleted endpoint", calls, 0)
		},
	},
}
