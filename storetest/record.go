package storetest

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/meshia/webhook"
)

const (
	promiseStale       = "An outcome whose Token is not that of the delivery's present lease MUST change nothing and be answered with false; it MUST NOT keep the other outcomes from being applied."
	promiseTransaction = "The attempt's row, the delivery's state and due time, and the endpoint's health MUST be written in one transaction."
	promiseOutcomes    = "OutcomeDelivered MUST make the delivery succeeded, OutcomeFailed failed with its Reason, OutcomeRetry pending and due after Wait."
	promiseInterrupted = "OutcomeInterrupted MUST do what Claim does for a lease that has run out, but for the row, which is the outcome's, and the due time, which is after Wait."
	promiseReleased    = "OutcomeReleased MUST store no attempt, lower AttemptCount by one and make the delivery pending and due after Wait; where the kind is Once it MUST fail with FailCancelled."
	promiseDeleted     = "A delivery that would be pending but whose endpoint was deleted MUST fail with FailEndpointDeleted, here and where Claim settles a lease."
	promiseFinal       = "A final state MUST NOT change again."
)

var recordCases = []kase{
	{
		name:    "outcomes without a present lease",
		promise: promiseStale,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 4)
			leases := c.claim(3)
			old := leases[0]
			c.record(retry(old, 0))
			again := first(c.claim(1))
			var bad []webhook.Outcome
			for _, token := range []string{"", "nonsense", old.Token, leases[1].Token, "%", " " + again.Token} {
				o := outcome(again, webhook.OutcomeDelivered)
				o.Token = token
				if token != again.Token {
					bad = append(bad, o)
				}
			}
			pending := c.deliveries("t", webhook.DeliveryFilter{State: webhook.DeliveryPending})
			equal(c, "pending deliveries", len(pending), 1)
			bad = append(bad,
				webhook.Outcome{Tenant: "t", DeliveryID: pending[0].ID, EndpointID: pending[0].EndpointID, Kind: webhook.OutcomeDelivered},
				webhook.Outcome{Tenant: "t", DeliveryID: "dlv_unknown", EndpointID: pending[0].EndpointID, Token: again.Token, Kind: webhook.OutcomeDelivered})
			for i := range bad {
				bad[i].Judge = func(h webhook.Health, _ time.Time) webhook.Health {
					h.Failures = 99
					return h
				}
			}
			before := c.everything("t")
			for i, applied := range c.recorded(bad...) {
				c.want(!applied, "outcome %d, with token %q, was applied", i, bad[i].Token)
			}
			equal(c, "what is stored", c.everything("t"), before)
		},
	},
	{
		name:    "a stale outcome among others",
		promise: promiseStale,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 4)
			leases := c.claim(4)
			stale := outcome(leases[1], webhook.OutcomeDelivered)
			stale.Token = "stale"
			applied := c.recorded(outcome(leases[0], webhook.OutcomeDelivered), stale, retry(leases[2], far), outcome(leases[3], webhook.OutcomeDelivered))
			for i, want := range []bool{true, false, true, true} {
				equal(c, "applied", applied[i], want)
			}
			for i, want := range []webhook.DeliveryState{webhook.DeliverySucceeded, webhook.DeliveryLeased, webhook.DeliveryPending, webhook.DeliverySucceeded} {
				equal(c, "state", c.delivery(leases[i]).State, want)
			}
		},
	},
	{
		name:    "an outcome that comes twice",
		promise: promiseStale,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 1)
			l := c.one()
			o := retry(l, far)
			applied := c.recorded(o, o)
			c.want(applied[0] && !applied[1], "applied: %v, want true and false", applied)
			c.want(!c.recorded(o)[0], "the same outcome was applied in a second call")
			c.numbered(c.delivery(l), 1)
		},
	},
	{name: "what readers see", promise: promiseTransaction, f: readersDuringRecord},
	{
		name:    "each kind of outcome",
		promise: promiseOutcomes,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 4)
			leases := c.claim(4)
			gone := outcome(leases[2], webhook.OutcomeFailed)
			gone.Reason = webhook.FailGone
			t0 := c.now()
			c.record(outcome(leases[0], webhook.OutcomeDelivered), outcome(leases[1], webhook.OutcomeFailed), gone, retry(leases[3], far))
			t1 := c.now()
			for i, want := range []struct {
				state  webhook.DeliveryState
				reason webhook.FailReason
			}{
				{webhook.DeliverySucceeded, ""}, {webhook.DeliveryFailed, webhook.FailExhausted}, {webhook.DeliveryFailed, webhook.FailGone}, {webhook.DeliveryPending, ""},
			} {
				d := c.delivery(leases[i])
				equal(c, "state", d.State, want.state)
				equal(c, "reason", d.Reason, want.reason)
				c.numbered(d, 1)
				equal(c, "FinishedAt is zero", d.FinishedAt.IsZero(), !want.state.Final())
				equal(c, "NextAttemptAt is zero", d.NextAttemptAt.IsZero(), want.state.Final())
			}
			c.during("NextAttemptAt", c.delivery(leases[3]).NextAttemptAt, t0.Add(far), t1.Add(far))
			c.none()
		},
	},
	{
		name:    "an interrupted attempt",
		promise: promiseInterrupted,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 1)
			l := c.one()
			o := outcome(l, webhook.OutcomeInterrupted)
			o.Wait = far
			o.Attempt.Detail = "stopped"
			t0 := c.now()
			c.record(o)
			t1 := c.now()
			d := c.delivery(l)
			equal(c, "state", d.State, webhook.DeliveryPending)
			equal(c, "interruptions", d.Interrupted, 1)
			c.during("NextAttemptAt", d.NextAttemptAt, t0.Add(far), t1.Add(far))
			c.numbered(d, 1)
			c.same("attempt", d.Attempts[0], o.Attempt)
			c.none()
		},
	},
	{
		name:    "interrupted MaxInterrupted times",
		promise: promiseInterrupted,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 1)
			var l webhook.Lease
			for range webhook.MaxInterrupted {
				l = c.one()
				c.record(outcome(l, webhook.OutcomeInterrupted))
			}
			c.none()
			d := c.delivery(l)
			equal(c, "state", d.State, webhook.DeliveryFailed)
			equal(c, "reason", d.Reason, webhook.FailInterrupted)
			c.numbered(d, webhook.MaxInterrupted)
		},
	},
	{
		name:    "an interrupted ping",
		promise: promiseInterrupted,
		f: func(c *check) {
			e := c.endpoint("t")
			for _, kind := range []webhook.DeliveryKind{webhook.KindPing, webhook.KindTest} {
				l := c.direct(e, kind)
				c.record(outcome(l, webhook.OutcomeInterrupted))
				d := c.delivery(l)
				equal(c, "state", d.State, webhook.DeliveryFailed)
				equal(c, "reason", d.Reason, webhook.FailInterrupted)
				c.numbered(d, 1)
			}
			l := c.direct(e, webhook.KindRedelivery) // which may be retried
			c.record(outcome(l, webhook.OutcomeInterrupted))
			equal(c, "state of a redelivery", c.delivery(l).State, webhook.DeliveryPending)
		},
	},
	{
		name:    "a number that is given back",
		promise: promiseReleased,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 1)
			for n := 1; n <= 3; n++ {
				for range 2 {
					l := c.one()
					equal(c, "attempt", l.Delivery.AttemptCount, n)
					c.record(outcome(l, webhook.OutcomeReleased))
					d := c.delivery(l)
					equal(c, "state", d.State, webhook.DeliveryPending)
					c.numbered(d, n-1)
				}
				c.record(retry(c.one(), 0))
			}
			l := c.one()
			o := outcome(l, webhook.OutcomeReleased)
			o.Wait = far
			t0 := c.now()
			c.record(o)
			t1 := c.now()
			c.during("NextAttemptAt", c.delivery(l).NextAttemptAt, t0.Add(far), t1.Add(far))
			c.none()
		},
	},
	{
		name:    "a ping that is given back",
		promise: promiseReleased,
		f: func(c *check) {
			e := c.endpoint("t")
			for _, kind := range []webhook.DeliveryKind{webhook.KindPing, webhook.KindTest} {
				l := c.direct(e, kind)
				c.record(outcome(l, webhook.OutcomeReleased))
				d := c.delivery(l)
				equal(c, "state", d.State, webhook.DeliveryFailed)
				equal(c, "reason", d.Reason, webhook.FailCancelled)
				c.numbered(d, 0)
			}
		},
	},
	{
		name:    "of a deleted endpoint",
		promise: promiseDeleted,
		f: func(c *check) {
			e := c.endpoint("t")
			c.emit("t", 5)
			leases := c.claim(5)
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
			kinds := []webhook.OutcomeKind{webhook.OutcomeRetry, webhook.OutcomeDeferred, webhook.OutcomeInterrupted, webhook.OutcomeReleased}
			for i, kind := range kinds {
				c.record(outcome(leases[i], kind))
				d := c.delivery(leases[i])
				equal(c, "state after "+string(kind), d.State, webhook.DeliveryFailed)
				equal(c, "reason after "+string(kind), d.Reason, webhook.FailEndpointDeleted)
				equal(c, "logged attempts", len(d.Attempts), d.AttemptCount)
			}
			c.record(outcome(leases[4], webhook.OutcomeDelivered))
			equal(c, "state after a success", c.delivery(leases[4]).State, webhook.DeliverySucceeded)
		},
	},
	{
		name:    "final is final",
		promise: promiseFinal,
		f: func(c *check) {
			e := c.endpoint("t")
			c.emit("t", 2)
			leases := c.claim(2)
			c.record(outcome(leases[0], webhook.OutcomeDelivered), outcome(leases[1], webhook.OutcomeFailed))
			before := text(c.deliveries("t", webhook.DeliveryFilter{}))
			for _, l := range leases {
				for _, kind := range []webhook.OutcomeKind{webhook.OutcomeDelivered, webhook.OutcomeFailed, webhook.OutcomeRetry, webhook.OutcomeDeferred, webhook.OutcomeInterrupted, webhook.OutcomeReleased} {
					for _, token := range []string{l.Token, ""} {
						o := outcome(l, kind)
						o.Token = token
						c.want(!c.recorded(o)[0], "outcome %s was applied to a finished delivery", kind)
					}
				}
			}
			c.outlast()
			c.expire(c.tick)
			c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
			c.none()
			equal(c, "the finished deliveries", text(c.deliveries("t", webhook.DeliveryFilter{})), before)
		},
	},
}

// readersDuringRecord reads deliveries and health while outcomes are recorded: whoever sees a delivery finished must
// see its attempt and, asking afterwards, what became of its endpoint.
func readersDuringRecord(c *check) {
	const n = 40
	e := c.endpoint("t")
	c.emit("t", n)
	leases := c.claim(n)
	equal(c, "leases", len(leases), n)
	var done atomic.Bool
	c.ok(parallel(3, func(i int) error {
		if i == 0 {
			defer done.Store(true)
			for _, l := range leases {
				o := outcome(l, webhook.OutcomeDelivered)
				o.Judge = func(h webhook.Health, _ time.Time) webhook.Health {
					h.Failures++
					return h
				}
				if _, err := c.store.Record(c.Context(), []webhook.Outcome{o}); err != nil {
					return err
				}
			}
			return nil
		}
		for last := false; !last; {
			last = done.Load()
			page, err := c.handle(i).Deliveries(c.Context(), "t", webhook.DeliveryFilter{Limit: n})
			if err != nil {
				return err
			}
			finished := 0
			for _, d := range page.Deliveries {
				switch d.State {
				case webhook.DeliverySucceeded:
					finished++
					if len(d.Attempts) != 1 || d.FinishedAt.IsZero() {
						return errors.New("a delivery was seen finished without its attempt or time")
					}
				case webhook.DeliveryLeased:
					if len(d.Attempts) != 0 {
						return errors.New("an attempt was seen before its delivery had finished")
					}
				}
			}
			now, err := c.handle(i).Endpoint(c.Context(), "t", e.ID)
			if err != nil {
				return err
			}
			if now.Health.Failures < finished {
				return errors.New("a delivery was seen finished before its endpoint's health was judged")
			}
			time.Sleep(time.Millisecond)
		}
		return nil
	}))
}
