package storetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/meshia/webhook"
)

const promiseWindow = "Claim MUST NOT give an endpoint more leases, over all owners and however they were given, than its Health.Window (0 counts as 1)."

const promiseBlocked = "Claimed.Blocked MUST be true if deliveries are left that only the window of their endpoint, Max or MaxSlow keeps from being handed out, now or when they fall due."

const promiseOwnWindow = "A Window that is larger than the endpoint's MaxInFlight, where that is not 0, MUST be stored as that, here and wherever a health is stored: the outcome may be that of an attempt from before the bound was lowered."

var windowCases = []kase{
	{
		name:    "of one claim",
		promise: promiseWindow,
		f: func(c *check) {
			for _, n := range []int{0, 1, 3} {
				e := c.endpoint("t", window(n), subscribed(happened))
				c.emit("t", 5)
				equal(c, fmt.Sprintf("leases with a window of %d", n), len(c.claim(10)), max(1, n))
				c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
			}
		},
	},
	{
		name:    "over several owners",
		promise: promiseWindow,
		f: func(c *check) {
			c.endpoint("t", window(3))
			c.emit("t", 10)
			n := 0
			for i := range 6 {
				claimed, err := c.handle(i).Claim(c.Context(), webhook.ClaimRequest{Owner: fmt.Sprint(i), Term: far, Max: 2, MaxSlow: 2})
				c.ok(err)
				n += len(claimed.Leases)
			}
			equal(c, "leases", n, 3)
		},
	},
	{
		name:    "over several owners at once",
		promise: promiseWindow,
		f: func(c *check) {
			e := c.endpoint("t", window(4))
			c.emit("t", 40)
			var mu sync.Mutex
			var leases []webhook.Lease
			for range 5 {
				leases = nil
				c.ok(parallel(8, func(i int) error {
					claimed, err := c.handle(i).Claim(c.Context(), webhook.ClaimRequest{Owner: fmt.Sprint(i), Term: far, Max: 3, MaxSlow: 3})
					mu.Lock()
					defer mu.Unlock()
					leases = append(leases, claimed.Leases...)
					return err
				}))
				c.want(len(leases) <= 4, "%d leases with a window of 4", len(leases))
				leases = append(leases, c.claim(10)...)
				equal(c, "leases", len(leases), 4)
				for _, l := range leases {
					c.record(outcome(l, webhook.OutcomeDelivered))
				}
			}
			equal(c, "deliveries", len(c.deliveries("t", webhook.DeliveryFilter{EndpointID: e.ID, State: webhook.DeliverySucceeded})), 20)
		},
	},
	{
		name:    "direct leases count",
		promise: promiseWindow,
		f: func(c *check) {
			e := c.endpoint("t", window(2))
			c.emit("t", 3)
			leases := []webhook.Lease{c.direct(e, webhook.KindTest)}
			leases = append(leases, c.one())
			c.none()
			leases = append(leases, c.direct(e, webhook.KindTest))
			c.record(outcome(leases[0], webhook.OutcomeDelivered))
			c.none()
			c.record(outcome(leases[1], webhook.OutcomeDelivered))
			c.one()
		},
	},
	{
		name:    "every end of a lease makes room",
		promise: promiseWindow,
		f: func(c *check) {
			e := c.endpoint("t", window(1))
			c.emit("t", 9)
			for _, kind := range []webhook.OutcomeKind{webhook.OutcomeDelivered, webhook.OutcomeRetry, webhook.OutcomeFailed, webhook.OutcomeDeferred, webhook.OutcomeInterrupted, webhook.OutcomeReleased} {
				l := c.one()
				c.none()
				o := outcome(l, kind)
				o.Wait = far
				c.record(o)
			}
			req := claimRequest(1)
			req.Term = c.tick
			equal(c, "leases", len(c.claimWith(req).Leases), 1)
			c.outlast()
			equal(c, "leases after one has run out", len(c.soon()), 1)
			equal(c, "deliveries in flight", len(c.deliveries("t", webhook.DeliveryFilter{EndpointID: e.ID, State: webhook.DeliveryLeased})), 1)
		},
	},
	{
		name:    "a window that changes",
		promise: promiseWindow,
		f: func(c *check) {
			e := c.endpoint("t", window(4))
			c.emit("t", 10)
			leases := c.claim(10)
			equal(c, "leases", len(leases), 4)
			c.change(e, func(h *webhook.Health) { h.Window = 2 })
			c.record(outcome(leases[0], webhook.OutcomeDelivered), outcome(leases[1], webhook.OutcomeDelivered))
			c.none()
			c.record(outcome(leases[2], webhook.OutcomeDelivered))
			c.one()
			c.change(e, func(h *webhook.Health) { h.Window = 5 })
			equal(c, "leases after the window grew", len(c.claim(10)), 3)
		},
	},
	{
		name:    "each endpoint has its own",
		promise: promiseWindow,
		f: func(c *check) {
			c.endpoint("t", window(1))
			c.endpoint("t", window(2))
			c.endpoint("u", window(1))
			c.emit("t", 3)
			c.emit("u", 3)
			equal(c, "leases", len(c.claim(10)), 4)
		},
	},
	{
		name:    "what a window keeps back is blocked",
		promise: promiseBlocked,
		f: func(c *check) {
			c.endpoint("t", window(1))
			c.emit("t", 2)
			first := c.claimWith(claimRequest(10))
			equal(c, "leases", len(first.Leases), 1)
			c.want(first.Blocked, "the second delivery is not said to be blocked")
			c.want(c.claimWith(claimRequest(10)).Blocked, "it is not said to be blocked where nothing was handed out")
			c.record(outcome(first.Leases[0], webhook.OutcomeDelivered))
			equal(c, "leases", len(c.claimWith(claimRequest(10)).Leases), 1)
		},
	},
	{
		name:    "what a window would keep back when it falls due is blocked",
		promise: promiseBlocked,
		f: func(c *check) {
			c.endpoint("t", window(1))
			c.emit("t", 2)
			retry := outcome(c.one(), webhook.OutcomeRetry)
			retry.Wait = far
			c.record(retry)
			claimed := c.claimWith(claimRequest(10))
			equal(c, "leases", len(claimed.Leases), 1)
			c.want(claimed.Blocked, "a retry that waits for its time behind a full window is not said to be blocked")
		},
	},
	{
		name:    "what Max and MaxSlow keep back is blocked",
		promise: promiseBlocked,
		f: func(c *check) {
			c.endpoint("t", window(5))
			c.endpoint("t", window(5), slow)
			c.emit("t", 2)
			req := claimRequest(1)
			c.want(c.claimWith(req).Blocked, "what Max kept back is not said to be blocked")
			req.Max, req.MaxSlow = 10, 0
			equal(c, "leases", len(c.claimWith(req).Leases) > 0, true)
			c.want(c.claimWith(req).Blocked, "what MaxSlow kept back is not said to be blocked")
		},
	},
	{
		name:    "an endpoint's own bound",
		promise: promiseOwnWindow,
		f: func(c *check) {
			bound := func(e webhook.Endpoint, what string, n int) {
				c.Helper()
				equal(c, what, e.Health.Window, n)
				equal(c, what+", as it is stored", c.health(e).Window, n)
			}
			wide := func(h webhook.Health, _ time.Time) webhook.Health {
				h.Window = 100
				return h
			}
			e := c.endpoint("t", window(9), func(e *webhook.Endpoint) { e.MaxInFlight = 5 })
			bound(e, "window when created", 5)
			c.emit("t", 10)
			leases := c.claim(10)
			equal(c, "leases", len(leases), 5)
			e.MaxInFlight = 3
			e = c.update(e)
			bound(e, "window after a lower bound", 3)
			for _, l := range leases {
				o := outcome(l, webhook.OutcomeDelivered)
				o.Judge = wide
				c.record(o)
				equal(c, "window after an outcome", c.health(e).Window, 3)
			}
			equal(c, "leases after that", len(c.claim(10)), 3)
			judged, err := c.store.JudgeEndpoint(c.Context(), "t", e.ID, wide)
			c.ok(err)
			bound(judged, "window after a judgement", 3)
			e.MaxInFlight = 0
			e, err = c.store.UpdateEndpoint(c.Context(), e, wide)
			c.ok(err)
			bound(e, "window without a bound", 100)
		},
	},
}
