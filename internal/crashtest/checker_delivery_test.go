//go:build linux

package crashtest

import (
	"reflect"
	"slices"
	"time"

	"github.com/meshia/webhook"
)

// checkDelivery checks a delivery's life as the log tells it, and against what its receiver saw.
func (e *evidence) checkDelivery(r *report, d *webhook.Delivery, m *emitted, requests map[try]*request) {
	if m == nil && d.Kind != webhook.KindPing && d.Kind != webhook.KindTest {
		r.complain(ghost, "%s is a delivery of %s, which nobody emitted", d.ID, d.EventID)
	}
	completed, interrupted, answered := 0, 0, false
	for i := range d.Attempts {
		a := &d.Attempts[i]
		if a.Number != i+1 {
			r.complain(numbers, "row %d of %s has number %d", i+1, d.ID, a.Number)
		}
		q := requests[try{d.ID, a.Number}]
		if a.Status != 0 && (q == nil || q.Status != a.Status) {
			r.complain(invented, "attempt %d at %s was answered %d, says its row, and the receiver does not", a.Number, d.ID, a.Status)
		}
		answered = answered || q != nil && q.Status/100 == 2
		switch a.Result {
		case webhook.AttemptInterrupted:
			interrupted++
			continue
		case webhook.AttemptDelivered:
			if d.State != webhook.DeliverySucceeded || i != len(d.Attempts)-1 {
				r.complain(numbers, "attempt %d at %s delivered, and was not the end of it: %s after %d", a.Number, d.ID, d.State, len(d.Attempts))
			}
		}
		completed++
	}
	r.interrupted += interrupted
	made := len(d.Attempts)
	if d.State == webhook.DeliveryLeased {
		made++
	}
	if d.AttemptCount != made {
		r.complain(numbers, "%s counts %d attempts and has %d rows", d.ID, d.AttemptCount, len(d.Attempts))
	}
	if !d.Kind.Once() && d.Interrupted != interrupted {
		r.complain(retries, "%s counts %d interruptions and has %d", d.ID, d.Interrupted, interrupted)
	}
	if d.Deferred < 0 || d.Deferred > completed {
		r.complain(retries, "%s counts %d deferred attempts of %d", d.ID, d.Deferred, completed)
	}
	completed -= d.Deferred // they use up no retry
	if completed > e.attempts || interrupted > webhook.MaxInterrupted {
		r.complain(retries, "%s has %d attempts and %d interruptions", d.ID, completed, interrupted)
	}
	switch {
	case d.State == webhook.DeliverySucceeded:
		r.delivered++
		if !answered {
			r.complain(lost, "%s succeeded, and no receiver has said so", d.ID)
		}
	case d.State == webhook.DeliveryFailed:
		r.failed++
		e.checkReason(r, d, completed, interrupted)
	case d.State == webhook.DeliveryPending && e.endpoints[d.EndpointID] != "" && e.endpoints[d.EndpointID] != webhook.EndpointActive:
		r.waiting++
	default:
		r.complain(lost, "%s of %s to %s is %s, and nothing goes on any more", d.ID, d.EventID, d.EndpointID, d.State)
	}
}

// checkReason asks whether a failed delivery had a reason to.
func (e *evidence) checkReason(r *report, d *webhook.Delivery, completed, interrupted int) {
	switch d.Reason {
	case webhook.FailExhausted:
		if most := e.attempts; completed != most && !d.Kind.Once() {
			r.complain(retries, "%s was given up after %d attempts of %d, and %d interruptions", d.ID, completed, most, interrupted)
		}
	case webhook.FailInterrupted:
		if interrupted < webhook.MaxInterrupted && !d.Kind.Once() {
			r.complain(retries, "%s was given up after %d interruptions of %d", d.ID, interrupted, webhook.MaxInterrupted)
		}
	case webhook.FailEndpointDeleted:
		if e.endpoints[d.EndpointID] != "" {
			r.complain(lost, "%s failed since %s was deleted, which it was not", d.ID, d.EndpointID)
		}
	case webhook.FailCancelled:
		if !d.Kind.Once() {
			r.complain(lost, "%s failed since it was cancelled, and nobody waited for it", d.ID)
		}
	default: // no endpoint says that it is gone, nothing is old, nothing is erased
		r.complain(lost, "%s failed with reason %q", d.ID, d.Reason)
	}
}

// checkOwners asks whether a delivery was ever in two hands, and whether an outcome was taken from the wrong one.
func (e *evidence) checkOwners(r *report, byID map[string]*webhook.Delivery, requests map[try]*request) {
	leases := map[try]map[string]time.Time{} // tokens, and when they were given
	given := map[string]try{}                // by token and delivery: a token need not differ between deliveries
	released := map[try]int{}
	recording := map[string]time.Time{} // so too
	for _, l := range e.lines {
		key := try{l.Delivery, l.Attempt}
		switch l.Op {
		case OpLease:
			if leases[key] == nil {
				leases[key] = map[string]time.Time{}
			}
			if _, again := leases[key][l.Token]; again {
				r.complain(twoOwners, "%s was leased twice by one token for attempt %d", l.Delivery, l.Attempt)
			}
			leases[key][l.Token] = l.At
			given[l.Token+" "+l.Delivery] = key
		case OpRecording:
			if _, again := recording[l.Token+" "+l.Delivery]; !again {
				recording[l.Token+" "+l.Delivery] = l.At
			}
			if l.Kind == string(webhook.OutcomeReleased) {
				if key, its := given[l.Token+" "+l.Delivery]; its { // its line names no attempt: there was none
					released[key]++
				}
			}
		}
	}
	for key, tokens := range leases {
		if len(tokens) > 1+released[key] {
			r.complain(twoOwners, "attempt %d at %s was leased %d times", key.number, key.delivery, len(tokens))
		}
	}
	taken := map[try]int{}
	for _, l := range e.lines {
		if l.Op != OpRecorded || !l.Applied || l.Kind == string(webhook.OutcomeReleased) {
			continue
		}
		key := try{l.Delivery, l.Attempt}
		taken[key]++
		if taken[key] > 1 {
			r.complain(fence, "two outcomes were taken of attempt %d at %s", l.Attempt, l.Delivery)
		}
		for _, at := range leases[try{l.Delivery, l.Attempt + 1}] {
			if at.Before(recording[l.Token+" "+l.Delivery]) {
				r.complain(fence, "an outcome was taken of attempt %d at %s after another lease was given", l.Attempt, l.Delivery)
			}
		}
	}
	for _, d := range byID {
		for i := 1; i < len(d.Attempts); i++ {
			earlier, later := &d.Attempts[i-1], requests[try{d.ID, d.Attempts[i].Number}]
			if later == nil {
				continue
			}
			if over := e.over(d.ID, earlier, requests); later.Start.Before(over) {
				r.complain(twoOwners, "attempt %d at %s began %v before attempt %d was over", d.Attempts[i].Number, d.ID, over.Sub(later.Start), earlier.Number)
			}
		}
	}
}

// over is the earliest time of which it is known that the attempt was over, or its lease; zero: nothing is known.
func (e *evidence) over(delivery string, a *webhook.Attempt, requests map[try]*request) (at time.Time) {
	known := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	key := try{delivery, a.Number}
	if q := requests[key]; q != nil {
		known(q.End)
	}
	known(e.moved[key])
	if a.Error != webhook.ErrorOwnerLost {
		known(a.StartedAt.Add(a.Latency))
	}
	return at
}

// checkFinal compares with the log as it was: what was final is as it was, and rows stay.
func (e *evidence) checkFinal(r *report) {
	now := map[string]*webhook.Delivery{}
	for i := range e.after {
		now[e.after[i].ID] = &e.after[i]
	}
	for i := range e.before {
		was := &e.before[i]
		if isSeed(was.EventID) {
			continue
		}
		is := now[was.ID]
		switch {
		case is == nil:
			r.complain(changed, "%s is gone", was.ID)
		case was.State.Final() && !reflect.DeepEqual(was, is):
			r.complain(changed, "%s was %s with %d attempts, and is %s with %d", was.ID, was.State, len(was.Attempts), is.State, len(is.Attempts))
		case !slices.EqualFunc(was.Attempts, is.Attempts[:min(len(was.Attempts), len(is.Attempts))], sameRow):
			r.complain(changed, "rows of %s have changed", was.ID)
		}
	}
}

func sameRow(a, b webhook.Attempt) bool { return reflect.DeepEqual(a, b) }
