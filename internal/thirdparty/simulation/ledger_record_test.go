package simulation

import (
	"context"
	"time"

	"github.com/meshia/webhook"
)

func (l *ledger) record(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	applied, err := l.store.Record(ctx, outcomes)
	if err != nil {
		return applied, err
	}
	touched := map[*endpoint]bool{}
	for i := range outcomes {
		o := &outcomes[i]
		d := l.deliveries[o.DeliveryID]
		if d == nil && l.gone[o.DeliveryID] != nil {
			if applied[i] {
				l.complain("TOKEN: an outcome (%s) of a delivery that was removed was answered with true", o.Kind)
			}
			continue
		}
		if d == nil {
			l.complain("GHOST: an outcome (%s) of a delivery that nobody made", o.Kind)
			continue
		}
		want := d.lease != nil && d.lease.token == o.Token
		if applied[i] != want {
			l.complain("TOKEN: an outcome (%s) of %s was answered with %t", o.Kind, d.name, applied[i])
		}
		if want {
			l.recorded(d, o, now)
			touched[d.at] = true
		}
	}
	for ep := range touched {
		l.judged(ep)
	}
	return applied, nil
}

// recorded notes an outcome, and checks that it is the one that the rules ask for.
func (l *ledger) recorded(d *delivery, o *webhook.Outcome, now time.Time) {
	held := d.lease
	l.end(held)
	r := l.requests[attemptKey{d.ID, held.number}]
	row := o.Attempt
	if o.Kind != webhook.OutcomeReleased {
		l.checkRow(held, r, &row)
	}
	completed := d.AttemptCount - d.Interrupted - d.Deferred
	l.countAttempt(d, o, now)
	switch o.Kind {
	case webhook.OutcomeDelivered:
		d.Attempts = append(d.Attempts, d.of.keeps(row))
		l.finish(d, webhook.DeliverySucceeded, "", now)
		if r == nil || !r.answered || r.status < 200 || r.status > 299 {
			l.complain("LOST: %s counts as delivered, and no 2xx was seen", held)
		}
	case webhook.OutcomeFailed, webhook.OutcomeRetry, webhook.OutcomeDeferred:
		d.Attempts = append(d.Attempts, d.of.keeps(row))
		want, wait := l.w.asksFor(held, completed, row)
		switch {
		case want == o.Kind:
		case o.Kind == webhook.OutcomeDeferred, want == webhook.OutcomeDeferred:
			l.complain("DEFERRED: %s, which began while the endpoint was %s (%q), ends as %s", held, held.endpoint.Health.State, held.endpoint.Health.Reason, o.Kind)
		default:
			l.complain("RETRY: %s, the %d. completed one, ends as %s (%s)", held, completed, o.Kind, o.Reason)
		}
		if o.Kind == webhook.OutcomeDeferred {
			held.deferred = true
			d.Deferred++
			l.deferred++
		}
		if o.Kind == webhook.OutcomeFailed {
			l.finish(d, webhook.DeliveryFailed, o.Reason, now)
			break
		}
		if r != nil && r.answered {
			wait = max(wait, min(time.Duration(retryAfter(row.ResponseHeader))*time.Second, l.w.MaxRetryAfter))
		}
		if o.Wait != wait {
			l.complain("WAIT: %s is to wait %v, not %v", held, o.Wait, wait)
		}
		l.again(d, o.Wait, now)
	case webhook.OutcomeInterrupted:
		l.interrupt(d, row, o.Wait, now)
	case webhook.OutcomeReleased:
		if r != nil {
			l.complain("UNLOGGED: %s was sent, and is released", held)
		}
		d.AttemptCount--
		if d.Kind.Once() {
			l.finish(d, webhook.DeliveryFailed, webhook.FailCancelled, now)
			break
		}
		l.again(d, o.Wait, now)
	}
	held.news, held.reason = newsOf(d, o), d.Reason
	l.judge(d.at, held, o, now)
}
