package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/pprof"
	"strings"
	"sync"
	"time"

	"github.com/meshia/webhook"
)

var concurrencyCases = []kase{
	{
		name:    "many dispatchers deliver everything",
		promise: "A store MUST be safe for concurrent use, by the dispatchers of one process and, where it is shared, of many.",
		f:       dispatchersAtWork,
	},
	{
		name:    "32 claimers never share a delivery",
		promise: "While a lease lasts its delivery MUST NOT be given to anyone else.",
		f: func(c *check) {
			for range 4 {
				c.endpoint("t")
			}
			c.emit("t", 100)
			var mu sync.Mutex
			owners := map[string]int{}
			c.ok(parallel(32, func(i int) error {
				for {
					claimed, err := c.handle(i).Claim(c.Context(), webhook.ClaimRequest{Owner: fmt.Sprint(i), Term: far, Max: 3, MaxSlow: 3})
					if err != nil || len(claimed.Leases) == 0 {
						return err
					}
					mu.Lock()
					for _, l := range claimed.Leases {
						owners[l.Delivery.ID]++
					}
					mu.Unlock()
				}
			}))
			equal(c, "deliveries claimed", len(owners)+len(c.claim(1000)), 400)
			for id, n := range owners {
				equal(c, "owners of "+id, n, 1)
			}
		},
	},
	{
		name:    "concurrent requests with the same events",
		promise: promiseMatch,
		f: func(c *check) {
			c.endpoint("t")
			c.endpoint("t")
			there, back := c.events(10), make([]webhook.Event, 10)
			for i := range there {
				back[len(back)-1-i] = there[i]
			}
			c.ok(parallel(8, func(i int) error {
				events := there
				if i%2 == 1 {
					events = back
				}
				_, err := c.handle(i/2).Enqueue(c.Context(), webhook.EnqueueRequest{Tenant: "t", Events: events})
				return err
			}))
			for _, e := range there {
				equal(c, "deliveries of "+e.ID, len(c.deliveries("t", webhook.DeliveryFilter{EventID: e.ID})), 2)
			}
		},
	},
	{
		name:    "nothing is left running",
		promise: "A store MUST start no goroutine that outlives the call that needs it.",
		f:       nothingLeftRunning,
	},
}

// handle spreads callers over the handles.
func (c *check) handle(i int) webhook.Store {
	if i%2 == 1 {
		return c.other
	}
	return c.store
}

// dispatchersAtWork emits, claims, records and reads all at once. Every delivery fails once before it succeeds.
func dispatchersAtWork(c *check) {
	const emitters, each, workers, endpoints = 4, 20, 6, 3
	for i := range endpoints {
		c.endpoint("t", window(2+i))
	}
	events := c.events(emitters * each)
	const total = emitters * each * endpoints
	var mu sync.Mutex
	succeeded := 0
	work := func(i int) error {
		s := c.handle(i)
		for range 100_000 {
			mu.Lock()
			done := succeeded == total
			mu.Unlock()
			if done {
				return nil
			}
			claimed, err := s.Claim(c.Context(), webhook.ClaimRequest{Owner: fmt.Sprint(i), Term: far, Max: 4, MaxSlow: 4})
			if err != nil {
				return err
			}
			if len(claimed.Leases) == 0 {
				time.Sleep(time.Millisecond)
				continue
			}
			var outcomes []webhook.Outcome
			delivered := 0
			for _, l := range claimed.Leases {
				o := retry(l, 0)
				if l.Delivery.AttemptCount > 1 {
					o = outcome(l, webhook.OutcomeDelivered)
					delivered++
				}
				o.Judge = func(h webhook.Health, _ time.Time) webhook.Health {
					h.Failures++
					return h
				}
				outcomes = append(outcomes, o)
			}
			applied, err := s.Record(c.Context(), outcomes)
			if err != nil {
				return err
			}
			for i, ok := range applied {
				if !ok {
					return fmt.Errorf("the outcome of attempt %d was not applied", outcomes[i].Attempt.Number)
				}
			}
			mu.Lock()
			succeeded += delivered
			mu.Unlock()
			if _, err := s.Deliveries(c.Context(), "t", webhook.DeliveryFilter{Limit: 5}); err != nil {
				return err
			}
		}
		return errors.New("the deliveries do not come to an end")
	}
	c.ok(parallel(emitters+workers, func(i int) error {
		if i >= emitters {
			return work(i)
		}
		for _, e := range events[i*each : (i+1)*each] {
			if _, err := c.handle(i).Enqueue(c.Context(), webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{e}}); err != nil {
				return err
			}
		}
		return nil
	}))

	all := c.deliveries("t", webhook.DeliveryFilter{})
	equal(c, "deliveries", len(all), total)
	for _, d := range all {
		equal(c, "state", d.State, webhook.DeliverySucceeded)
		c.numbered(d, 2)
	}
	list, err := c.store.Endpoints(c.Context(), "t")
	c.ok(err)
	for _, e := range list {
		equal(c, "judgements of an endpoint", e.Health.Failures, 2*emitters*each)
	}
}

// numbered checks that a delivery has n attempts, numbered from 1 without a gap.
func (c *check) numbered(d webhook.Delivery, n int) {
	c.Helper()
	equal(c, "AttemptCount", d.AttemptCount, n)
	equal(c, "logged attempts", len(d.Attempts), n)
	for i, a := range d.Attempts {
		equal(c, "number of an attempt", a.Number, i+1)
	}
}

// nothingLeftRunning marks its goroutine with a label, which goroutines inherit that are started meanwhile, and looks
// for others that have it and run code of the store's package.
// What a driver or a connection pool keeps running is its own business.
func nothingLeftRunning(c *check) {
	label := fmt.Sprintf("case-%p", c)
	pprof.Do(c.Context(), pprof.Labels("storetest", label), func(context.Context) {
		c.endpoint("t")
		c.emit("t", 3)
		leases := c.claim(2)
		c.record(outcome(leases[0], webhook.OutcomeDelivered), retry(leases[1], 0))
		c.deliveries("t", webhook.DeliveryFilter{})
		c.now()
	})
	pkg := reflect.Indirect(reflect.ValueOf(c.store)).Type().PkgPath()
	var left string
	for range 100 { // one may be about to end
		if left = running(label, pkg+"."); left == "" {
			return
		}
		time.Sleep(c.tick / 10)
	}
	c.failf("still running after the calls returned:\n%s", left)
}

func running(label, pkg string) string {
	var profile strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return err.Error()
	}
	for goroutine := range strings.SplitSeq(profile.String(), "\n\n") {
		if strings.Contains(goroutine, label) && strings.Contains(goroutine, pkg) {
			return goroutine
		}
	}
	return ""
}
