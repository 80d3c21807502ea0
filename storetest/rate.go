package storetest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/meshia/webhook"
)

const (
	promiseRate     = "Leases to an endpoint with a Rate MUST keep to it, over all owners and however often its rate or burst is changed: at most Burst at once, and then one each 1/Rate of a second (Endpoint.Pace)."
	promiseBeside   = "Leases of Direct requests MUST NOT count, nor wait; a lease that is given back counts as one that was used."
	promiseRateTurn = "An endpoint waits since it was last served, since it had something due and since its pause was over, whichever came last, and not before its Rate lets it be served."
)

var rateCases = []kase{
	{
		name:    "a burst",
		promise: promiseRate,
		f: func(c *check) {
			e := c.endpoint("t", rate(slowly, 3))
			c.emit("t", 10)
			leases := c.claimWith(claimRequest(10)).Leases
			c.want(len(leases) <= 3, "%d leases of one claim with a burst of 3", len(leases))
			equal(c, "leases with a burst of 3", len(leases)+len(c.claim(10)), 3)
			claimed, err := c.other.Claim(c.Context(), webhook.ClaimRequest{Owner: "two", Term: far, Max: 10, MaxSlow: 10})
			c.ok(err)
			equal(c, "leases of another owner", len(claimed.Leases), 0)
			e.URL = "https://example.com/changed"
			c.update(e)
			c.none()
		},
	},
	{
		name:    "a burst of 0 is the rate, rounded up",
		promise: promiseRate,
		f: func(c *check) {
			c.endpoint("t", rate(slowly, 0))
			c.endpoint("u", rate(2.5, 0))
			c.emit("t", 5)
			equal(c, "leases at a rate below 1", len(c.claim(5)), 1)
			t0 := c.now()
			c.emit("u", 100)
			n := len(c.claim(100))
			passed := c.now().Sub(t0)
			c.want(n >= 3 && n <= 4+int(2.5*passed.Seconds()), "%d leases in %v at a rate of 2.5", n, passed)
		},
	},
	{name: "over several owners at once", promise: promiseRate, f: ratedAtOnce},
	{name: "one after the other", promise: promiseRate, f: paced},
	{
		name:    "whatever becomes of the attempts",
		promise: promiseRate,
		f: func(c *check) {
			c.endpoint("t", rate(slowly, 4))
			c.emit("t", 10)
			leases := c.claim(10)
			equal(c, "leases", len(leases), 4)
			for i, kind := range []webhook.OutcomeKind{webhook.OutcomeDelivered, webhook.OutcomeRetry, webhook.OutcomeFailed, webhook.OutcomeInterrupted} {
				c.record(outcome(leases[i], kind))
				c.none()
			}
		},
	},
	{
		name:    "a window within a rate",
		promise: promiseRate,
		f: func(c *check) {
			c.endpoint("t", rate(slowly, 5), window(2))
			c.emit("t", 10)
			for _, n := range []int{2, 2, 1, 0} {
				leases := c.claim(10)
				equal(c, "leases with a window of 2 and a burst of 5", len(leases), n)
				for _, l := range leases {
					c.record(outcome(l, webhook.OutcomeDelivered))
				}
			}
		},
	},
	{
		name:    "each endpoint has its own",
		promise: promiseRate,
		f: func(c *check) {
			want := map[string]int{}
			for _, tenant := range []string{"t", "u"} {
				want[tenant+c.endpoint(tenant, rate(slowly, 2), func(e *webhook.Endpoint) { e.ID = "we_two" }).ID] = 2
				want[tenant+c.endpoint(tenant, rate(slowly, 1)).ID] = 1
				want[tenant+c.endpoint(tenant).ID] = 5
				c.emit(tenant, 5)
			}
			got := map[string]int{}
			for _, l := range c.claim(100) {
				got[l.Delivery.Tenant+l.Delivery.EndpointID]++
			}
			for id, n := range want {
				equal(c, "leases of endpoint "+id, got[id], n)
			}
		},
	},
	{
		name:    "a rate that an endpoint gets",
		promise: promiseRate,
		f: func(c *check) {
			e := c.endpoint("t")
			c.emit("t", 10)
			equal(c, "leases", len(c.claim(3)), 3)
			e.Rate, e.Burst = slowly, 2
			c.update(e)
			n := len(c.claim(10))
			c.want(n <= 2, "%d leases with a burst of 2", n)
			c.none()
		},
	},
	{
		name:    "a higher rate does not wait for the old one",
		promise: promiseRate,
		f: func(c *check) {
			e := c.endpoint("t", rate(slowly, 2))
			c.emit("t", 4)
			equal(c, "leases", len(c.claim(10)), 2)
			c.none()
			e.Rate = 4 / c.tick.Seconds()
			e = c.update(e)
			n := len(c.soon())
			for n < 2 {
				n += len(c.soon())
			}
			e.Rate = 0
			c.update(e)
			c.emit("t", 5)
			equal(c, "leases without a rate", len(c.claim(10)), 5)
		},
	},
	{
		name:    "a lower rate brings no fresh burst",
		promise: promiseRate,
		f: func(c *check) {
			e := c.endpoint("t", rate(4*slowly, 4))
			c.emit("t", 10)
			equal(c, "leases", len(c.claim(10)), 4)
			for _, r := range []float64{slowly, 2 * slowly, slowly, 4 * slowly} {
				e.Rate = r
				e = c.update(e)
				c.none()
			}
		},
	},
	{
		name:    "a rate that is taken away and set again",
		promise: promiseRate,
		f: func(c *check) {
			e := c.endpoint("t", rate(slowly, 4))
			c.emit("t", 10)
			equal(c, "leases", len(c.claim(10)), 4)
			for _, r := range []float64{0, slowly} {
				e.Rate = r
				e = c.update(e)
			}
			c.none()
		},
	},
	{
		name:    "another burst",
		promise: promiseRate,
		f: func(c *check) {
			e := c.endpoint("t", rate(slowly, 4))
			c.emit("t", 10)
			equal(c, "leases", len(c.claim(2)), 2)
			for _, step := range [][2]int{{2, 0}, {3, 1}, {6, 3}} { // of a burst 2, 2, 3 are used already
				e.Burst = step[0]
				e = c.update(e)
				equal(c, fmt.Sprintf("leases after the burst was set to %d", step[0]), len(c.claim(10)), step[1])
			}
		},
	},
	{
		name:    "direct requests",
		promise: promiseBeside,
		f: func(c *check) {
			e := c.endpoint("t", rate(slowly, 2))
			for _, kind := range []webhook.DeliveryKind{webhook.KindPing, webhook.KindTest, webhook.KindRedelivery} {
				c.record(outcome(c.direct(e, kind), webhook.OutcomeDelivered))
			}
			c.emit("t", 5)
			equal(c, "leases after direct ones", len(c.claim(10)), 2)
			c.direct(e, webhook.KindTest)
			c.none()
		},
	},
	{
		name:    "what is given back",
		promise: promiseBeside,
		f: func(c *check) {
			c.endpoint("t", rate(slowly, 2))
			c.emit("t", 5)
			leases := c.claim(10)
			equal(c, "leases", len(leases), 2)
			for _, l := range leases {
				c.record(outcome(l, webhook.OutcomeReleased))
				c.none()
			}
		},
	},
	{
		name:    "a backlog behind a rate keeps nobody waiting",
		promise: promiseFair,
		f: func(c *check) {
			var limited []string
			for range 20 {
				limited = append(limited, c.endpoint("many", rate(slowly, 1)).ID)
			}
			c.emit("many", 5)
			equal(c, "leases", len(c.claim(100)), 20)
			c.pass()
			e := c.endpoint("small")
			c.emit("small", 3)
			for range 3 {
				leases := c.claimWith(claimRequest(1)).Leases
				equal(c, "leases beside endpoints whose rates keep them back", len(leases), 1)
				c.want(!slices.Contains(limited, leases[0].Delivery.EndpointID), "a lease beyond a rate")
				equal(c, "endpoint", leases[0].Delivery.EndpointID, e.ID)
			}
		},
	},
	{name: "who waits for a rate does not wait for a turn", promise: promiseRateTurn, f: ratedTurn},
	{
		name:    "when to come back",
		promise: promiseNext,
		f: func(c *check) {
			c.endpoint("t", rate(slowly, 1))
			c.emit("t", 2)
			equal(c, "leases", len(c.claim(2)), 1)
			const interval = 1000 * time.Second
			for range 2 {
				next := c.claimWith(claimRequest(10)).Next
				c.want(next >= 0 && next <= interval, "Next where a rate lets the next one go in %v at the latest: %v", interval, next)
				c.pass()
			}
		},
	},
	{
		name:    "whoever comes back when he was told finds something",
		promise: promiseNext,
		f: func(c *check) {
			c.endpoint("t", rate(1/c.tick.Seconds(), 1))
			c.emit("t", 3)
			begin, n := c.now(), 0
			for {
				claimed := c.claimWith(claimRequest(10))
				if n += len(claimed.Leases); n == 3 {
					return
				}
				c.want(claimed.Next >= 0 && claimed.Next <= c.tick, "Next where a rate lets one go each %v: %v", c.tick, claimed.Next)
				time.Sleep(max(claimed.Next, time.Millisecond))
				c.want(c.now().Sub(begin) < 100*c.tick, "%d of 3 deliveries could be claimed in %v", n, 100*c.tick)
			}
		},
	},
}

func ratedAtOnce(c *check) {
	c.endpoint("t", rate(slowly, 5))
	c.emit("t", 40)
	var mu sync.Mutex
	n := 0
	c.ok(parallel(8, func(i int) error {
		for range 3 {
			claimed, err := c.handle(i).Claim(c.Context(), webhook.ClaimRequest{Owner: fmt.Sprint(i), Term: far, Max: 3, MaxSlow: 3})
			if err != nil {
				return err
			}
			mu.Lock()
			n += len(claimed.Leases)
			mu.Unlock()
		}
		return nil
	}))
	c.want(n <= 5, "%d leases of several owners with a burst of 5", n)
	equal(c, "leases with a burst of 5", n+len(c.claim(10)), 5)
}

// paced lets an endpoint rest, so that it may have saved something up, and holds the times of all of its leases against
// its rate. Whatever delays a claim makes these times further apart only.
func paced(c *check) {
	const burst, n = 2, 8
	interval := c.tick
	c.endpoint("t", rate(1/interval.Seconds(), burst))
	c.emit("t", 1)
	times := []time.Time{c.one().StartedAt}
	time.Sleep(4 * interval)
	c.emit("t", n-1)
	for len(times) < n {
		for _, l := range c.soon() {
			times = append(times, l.StartedAt)
		}
	}
	for i := range times {
		for j := i + burst; j < n; j++ {
			least := time.Duration(j-i+1-burst) * interval
			passed := times[j].Sub(times[i])
			c.want(passed >= least-2*time.Millisecond, "%d leases in %v with a burst of %d and one each %v", j-i+1, passed, burst, interval)
		}
	}
}

// ratedTurn has an endpoint wait for its rate for longer than another one waits for its turn.
func ratedTurn(c *check) {
	for interval := 2 * c.tick; ; interval *= 2 {
		limited := c.endpoint("t", rate(1/interval.Seconds(), 1), subscribed(happened))
		other := c.endpoint("t", subscribed(ceased))
		c.emit("t", 2)
		l := first(c.claimWith(claimRequest(1)).Leases)
		equal(c, "endpoint", l.Delivery.EndpointID, limited.ID)
		c.pass()
		c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{c.event(ceased)}})
		waits := c.now().Sub(l.StartedAt)
		time.Sleep(interval + c.tick/2)
		next := first(c.claimWith(claimRequest(1)).Leases)
		if waits < interval-2*time.Millisecond {
			equal(c, "endpoint that comes first", next.Delivery.EndpointID, other.ID)
			equal(c, "endpoint that comes next", first(c.soon()).Delivery.EndpointID, limited.ID)
			return
		}
		c.want(interval < 100*c.tick, "a call takes more than %v", interval) // else a slow store has another try
		for _, e := range []webhook.Endpoint{limited, other} {
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
		}
	}
}
