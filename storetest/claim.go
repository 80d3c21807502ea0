package storetest

import (
	"slices"
	"time"

	"github.com/meshia/webhook"
)

const (
	promiseLease  = "While a lease lasts its delivery MUST NOT be given to anyone else."
	promiseToken  = "A lease ends when its outcome is recorded or when its term has run out; its Token MUST be one that the delivery never had before."
	promiseRaised = "The delivery's AttemptCount MUST be raised by one with the lease, and all that is needed to log the attempt as interrupted MUST be stored with it."
	promiseDue    = "Claim MUST hand out only deliveries that are due, whose endpoint is active, or paused with PausedUntil in the past."
	promiseLimits = "Claim MUST hand out at most Max leases, and at most MaxSlow of them to endpoints whose Health.Slow is set."
	promiseCarry  = "A lease carries the delivery, the event with its exact bytes and the endpoint, all as they are at this moment, and the secret of the last attempt that was not interrupted."
	promiseNext   = "Claimed.Next MUST be no later than when the next delivery can be handed out: one falls due, a lease runs out, a pause ends, a Rate lets the next one go."
)

var claimCases = []kase{
	{
		name:    "one owner at a time",
		promise: promiseLease,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 1)
			l := c.one()
			c.none()
			claimed, err := c.other.Claim(c.Context(), webhook.ClaimRequest{Owner: "two", Term: far, Max: 10, MaxSlow: 10})
			c.ok(err)
			equal(c, "leases of another owner", len(claimed.Leases), 0)
			c.record(retry(l, 0))
			c.record(outcome(c.one(), webhook.OutcomeDelivered))
			c.none()
		},
	},
	{
		name:    "every lease has a token of its own",
		promise: promiseToken,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 1)
			seen := map[string]bool{}
			take := func(l webhook.Lease) {
				c.want(l.Token != "" && !seen[l.Token], "token %q was there before: %v", l.Token, seen)
				seen[l.Token] = true
			}
			for range 3 {
				l := c.one()
				take(l)
				c.record(retry(l, 0))
				l = c.one()
				take(l)
				c.record(outcome(l, webhook.OutcomeReleased))
			}
			req := claimRequest(1)
			req.Term = c.tick
			leases := c.claimWith(req).Leases
			equal(c, "leases", len(leases), 1)
			take(leases[0])
			c.outlast()
			take(first(c.soon()))
		},
	},
	{
		name:    "the number of the attempt",
		promise: promiseRaised,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 1)
			for n := 1; n <= 3; n++ {
				l := c.one()
				equal(c, "AttemptCount of the lease", l.Delivery.AttemptCount, n)
				d := c.delivery(l)
				equal(c, "AttemptCount of the delivery", d.AttemptCount, n)
				equal(c, "state", d.State, webhook.DeliveryLeased)
				equal(c, "logged attempts", len(d.Attempts), n-1)
				c.record(retry(l, 0))
			}
		},
	},
	{
		name:    "only what is due",
		promise: promiseDue,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 2)
			leases := c.claim(2)
			equal(c, "leases", len(leases), 2)
			c.record(retry(leases[0], far), retry(leases[1], c.tick))
			due := c.delivery(leases[1]).NextAttemptAt
			l := c.soon()
			equal(c, "deliveries that fell due", len(l), 1)
			equal(c, "delivery that fell due", l[0].Delivery.ID, leases[1].Delivery.ID)
			c.want(!l[0].StartedAt.Before(due.Add(-time.Millisecond)), "handed out at %v, due at %v", l[0].StartedAt, due)
			c.none()
		},
	},
	{
		name:    "only to endpoints that may be sent to",
		promise: promiseDue,
		f: func(c *check) {
			e := c.endpoint("t")
			c.emit("t", 1)
			for _, s := range []webhook.EndpointState{webhook.EndpointPending, webhook.EndpointDisabled} {
				c.turn(e, s)
				c.none()
			}
			c.pause(e, c.now().Add(far))
			c.none()
			c.turn(e, webhook.EndpointDisabled)
			c.none()
			c.turn(e, webhook.EndpointActive) // PausedUntil counts while it is paused only
			c.record(retry(c.one(), 0))
			past := c.now()
			c.pass()
			c.pause(e, past)
			c.one()
		},
	},
	{
		name:    "when a pause ends",
		promise: promiseDue,
		f: func(c *check) {
			e := c.endpoint("t")
			c.emit("t", 1)
			until := c.now().Add(c.tick).Truncate(time.Millisecond)
			c.pause(e, until)
			l := first(c.soon())
			c.want(!l.StartedAt.Before(until), "handed out at %v, paused until %v", l.StartedAt, until)
		},
	},
	{
		name:    "at most Max, at most MaxSlow of them slow",
		promise: promiseLimits,
		f: func(c *check) {
			slowOnes := []string{c.endpoint("t", slow).ID, c.endpoint("t", slow).ID}
			fast := c.endpoint("t")
			c.emit("t", 10)
			for _, limit := range [][2]int{{5, 0}, {5, 2}, {6, 3}, {3, 6}, {1, 1}, {0, 0}, {2, 0}} {
				leases := c.claimWith(webhook.ClaimRequest{Owner: "one", Term: far, Max: limit[0], MaxSlow: limit[1]}).Leases
				n := 0
				for _, l := range leases {
					if slices.Contains(slowOnes, l.Delivery.EndpointID) {
						n++
					}
				}
				c.want(len(leases) <= limit[0] && n <= limit[1], "%d leases, %d of them slow, where Max is %d and MaxSlow %d", len(leases), n, limit[0], limit[1])
			}
			c.claim(1000)
			c.emit("t", 2)
			c.change(fast, func(h *webhook.Health) { h.Slow = true })
			none := c.claimWith(webhook.ClaimRequest{Owner: "one", Term: far, Max: 5, MaxSlow: 0}).Leases
			equal(c, "leases where all are slow and MaxSlow is 0", len(none), 0)
			equal(c, "leases with room for slow ones", len(c.claim(1000)), 6)
		},
	},
	{
		name:    "what a lease carries",
		promise: promiseCarry,
		f: func(c *check) {
			e := c.endpoint("t", func(e *webhook.Endpoint) {
				e.Secrets = []webhook.StoredSecret{{ID: "s1", Sealed: []byte("sealed"), CreatedAt: someTime}}
			})
			event := c.emit("t", 1)[0]
			l := c.one()
			c.same("event", l.Event, event)
			c.same("endpoint", *l.Endpoint, e)
			equal(c, "term", l.Term, far)
			equal(c, "LastSecret before the first attempt", l.LastSecret, "")
			d := c.delivery(l)
			d.Attempts = nil
			c.same("delivery", l.Delivery, d)

			o := retry(l, 0)
			o.Attempt.SecretID = "s1"
			c.record(o)
			e.URL = "https://example.com/changed"
			e, err := c.store.UpdateEndpoint(c.Context(), e, nil)
			c.ok(err)
			e = c.change(e, func(h *webhook.Health) { h.Failures = 4 })
			l = c.one()
			c.same("changed endpoint", *l.Endpoint, e)
			equal(c, "LastSecret", l.LastSecret, "s1")

			cut := outcome(l, webhook.OutcomeInterrupted)
			cut.Attempt.Result, cut.Attempt.SecretID = webhook.AttemptInterrupted, "s2"
			c.record(cut)
			equal(c, "LastSecret after an attempt that was interrupted, and so says nothing", c.one().LastSecret, "s1")
		},
	},
	{name: "when to come back", promise: promiseNext, f: whenToComeBack},
}

// whenToComeBack lets something become possible in an hour, and expects to be told of a time no later.
func whenToComeBack(c *check) {
	within := func(what string, claimed webhook.Claimed) {
		c.Helper()
		c.want(claimed.Next >= 0 && claimed.Next <= far, "Next where %s in an hour: %v", what, claimed.Next)
	}
	e := c.endpoint("t")
	c.emit("t", 1)
	claimed := c.claimWith(claimRequest(1))
	within("a lease runs out", claimed)
	c.record(retry(claimed.Leases[0], far))
	within("a retry falls due", c.claimWith(claimRequest(1)))
	c.change(e, func(h *webhook.Health) { h.Slow = true })
	within("a slow endpoint's retry falls due", c.claimWith(webhook.ClaimRequest{Owner: "one", Term: far, Max: 1}))

	c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
	e = c.endpoint("t")
	c.emit("t", 1)
	c.pause(e, c.now().Add(far))
	within("a pause ends", c.claimWith(claimRequest(1)))

	c.turn(e, webhook.EndpointActive)
	c.emit("t", 2)
	claimed = c.claimWith(claimRequest(2))
	equal(c, "leases", len(claimed.Leases), 2)
	equal(c, "Next where something is due already", claimed.Next, 0)

	e = c.change(e, func(h *webhook.Health) { h.Window = 2 })
	within("the window is full until a lease runs out", c.claimWith(claimRequest(2)))
}
