//go:build linux

package crashtest

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// TestTheCheckerSeesWhatIsWrongInTheEvidence changes one thing at a time in evidence that is right.
func TestTheCheckerSeesWhatIsWrongInTheEvidence(t *testing.T) {
	t.Parallel()
	p := playWalk(t, nil)
	require.Empty(t, p.evidence(t).check().wrong)

	// find returns a delivery that has it.
	find := func(t *testing.T, e *evidence, has func(*webhook.Delivery) bool) *webhook.Delivery {
		i := slices.IndexFunc(e.after, func(d webhook.Delivery) bool { return has(&d) })
		require.GreaterOrEqual(t, i, 0)
		e.after[i].Attempts = slices.Clone(e.after[i].Attempts)
		return &e.after[i]
	}
	succeeded := func(d *webhook.Delivery) bool {
		return d.Kind == webhook.KindEvent && d.State == webhook.DeliverySucceeded
	}
	repeated := func(d *webhook.Delivery) bool { return len(d.Attempts) > 1 }
	exhausted := func(d *webhook.Delivery) bool { return d.Reason == webhook.FailExhausted }
	recorded := func(e *evidence) Line {
		i := slices.IndexFunc(e.lines, func(l Line) bool { return l.Op == OpRecorded && l.Kind == string(webhook.OutcomeDelivered) })
		return e.lines[i]
	}

	// whole returns a request of an event that somebody emitted, all of which came.
	whole := func(e *evidence) *request {
		i := slices.IndexFunc(e.requests, func(q request) bool { return q.Complete && !q.Ping })
		return &e.requests[i]
	}

	for _, mutant := range []struct {
		name, wrong string
		change      func(*testing.T, *evidence)
	}{
		{"an event that is not stored", lost, func(t *testing.T, e *evidence) {
			id := find(t, e, succeeded).EventID
			e.after = slices.DeleteFunc(e.after, func(d webhook.Delivery) bool { return d.EventID == id })
			e.before, e.requests = nil, slices.DeleteFunc(e.requests, func(q request) bool { return q.Event == id })
		}},
		{"a delivery that is left", lost, func(t *testing.T, e *evidence) {
			d := find(t, e, succeeded)
			d.State, e.before = webhook.DeliveryPending, nil
		}},
		{"a failure without a reason", lost, func(t *testing.T, e *evidence) { find(t, e, exhausted).Reason = "" }},
		{"a failure for a deletion that was not", lost, func(t *testing.T, e *evidence) { find(t, e, exhausted).Reason = webhook.FailEndpointDeleted }},
		{"two deliveries of one event", twice, func(t *testing.T, e *evidence) {
			twin := *find(t, e, succeeded)
			twin.ID += "x"
			e.after = append(e.after, twin)
		}},
		{"a request that nobody emitted", ghost, func(_ *testing.T, e *evidence) {
			e.requests = append(e.requests, request{Event: "nobody_1", Delivery: "dlv_x", Attempt: 1})
		}},
		{"a request of another event", ghost, func(_ *testing.T, e *evidence) { whole(e).Event += "x" }},
		{"an endpoint that was off", ghost, func(t *testing.T, e *evidence) {
			d := find(t, e, succeeded)
			first := e.lines[0].At.Add(-time.Second)
			e.lines = slices.DeleteFunc(e.lines, func(l Line) bool { return l.Endpoint == d.EndpointID && l.Op != OpLease })
			e.lines = append([]Line{{At: first, Op: OpState, Endpoint: d.EndpointID, State: string(webhook.EndpointDisabled)}}, e.lines...)
		}},
		{"a request without a row", unlogged, func(t *testing.T, e *evidence) {
			d := find(t, e, repeated)
			d.Attempts = d.Attempts[:len(d.Attempts)-1]
		}},
		{"a request that came twice", unlogged, func(_ *testing.T, e *evidence) { e.requests = append(e.requests, *whole(e)) }},
		{"rows with a gap", numbers, func(t *testing.T, e *evidence) { find(t, e, repeated).Attempts[1].Number = 3 }},
		{"a number that no row has", numbers, func(t *testing.T, e *evidence) { find(t, e, repeated).AttemptCount++ }},
		{"an attempt after a success", numbers, func(t *testing.T, e *evidence) { find(t, e, repeated).Attempts[0].Result = webhook.AttemptDelivered }},
		{"a retry too many", retries, func(_ *testing.T, e *evidence) { e.attempts = 3 }},
		{"an interruption that used up a retry", retries, func(t *testing.T, e *evidence) {
			d := find(t, e, exhausted)
			d.Attempts[1].Result, d.Interrupted = webhook.AttemptInterrupted, 1
		}},
		{"an interruption that is not counted", retries, func(t *testing.T, e *evidence) {
			find(t, e, repeated).Attempts[0].Result = webhook.AttemptInterrupted
		}},
		{"a failure of too few interruptions", retries, func(t *testing.T, e *evidence) { find(t, e, exhausted).Reason = webhook.FailInterrupted }},
		{"a row of another answer", invented, func(t *testing.T, e *evidence) { find(t, e, repeated).Attempts[0].Status = 404 }},
		{"requests that overlap", twoOwners, func(t *testing.T, e *evidence) {
			d := find(t, e, repeated)
			for i := range e.requests {
				if q := &e.requests[i]; q.Delivery == d.ID && q.Attempt == 2 {
					q.Start = d.Attempts[0].StartedAt
				}
			}
		}},
		{"a lease that was given twice", twoOwners, func(_ *testing.T, e *evidence) {
			i := slices.IndexFunc(e.lines, func(l Line) bool { return l.Op == OpLease })
			twin := e.lines[i]
			twin.Token += "x"
			e.lines = append(e.lines, twin)
		}},
		{"a token that was given twice", twoOwners, func(_ *testing.T, e *evidence) {
			i := slices.IndexFunc(e.lines, func(l Line) bool { return l.Op == OpLease })
			e.lines = append(e.lines, e.lines[i])
		}},
		{"two outcomes of one attempt", fence, func(_ *testing.T, e *evidence) { e.lines = append(e.lines, recorded(e)) }},
		{"an outcome of a lease that was over", fence, func(_ *testing.T, e *evidence) {
			l := recorded(e)
			e.lines = append(e.lines, Line{At: e.lines[0].At, Op: OpLease, Delivery: l.Delivery, Attempt: l.Attempt + 1, Token: "later"})
		}},
		{"a final state that was another one", changed, func(t *testing.T, e *evidence) {
			was := *find(t, e, succeeded)
			was.State = webhook.DeliveryFailed
			e.before = append(e.before, was)
		}},
		{"a delivery that is gone", changed, func(t *testing.T, e *evidence) {
			was := *find(t, e, succeeded)
			was.ID = "dlv_gone"
			e.before = append(e.before, was)
		}},
		{"a row that is gone", changed, func(t *testing.T, e *evidence) {
			was := *find(t, e, repeated)
			was.State = webhook.DeliveryPending
			e.before = append(e.before, was)
			d := find(t, e, repeated)
			d.Attempts = d.Attempts[:1]
		}},
		{"a request that does not verify", unverified, func(_ *testing.T, e *evidence) { whole(e).Wrong = "no signature" }},
		{"another body", body, func(_ *testing.T, e *evidence) { whole(e).Sum = "00" }},
		{"two bodies of one event", body, func(t *testing.T, e *evidence) {
			d := find(t, e, repeated)
			e.lines = append([]Line{{At: e.lines[0].At, Op: OpEmit, Event: d.EventID, Sum: "00"}}, e.lines...)
			for i := range e.requests {
				if q := &e.requests[i]; q.Delivery == d.ID && q.Attempt == 2 {
					q.Sum = "00"
				}
			}
		}},
		{"a gap that counts too much", gap, func(_ *testing.T, e *evidence) { e.missed["main"]++ }},
		{"a gap that counts too little", gap, func(_ *testing.T, e *evidence) { e.missed["side"]-- }},
	} {
		t.Run(mutant.name, func(t *testing.T) {
			e := p.evidence(t)
			mutant.change(t, e)
			requireKind(t, mutant.wrong, e.check())
		})
	}
}
