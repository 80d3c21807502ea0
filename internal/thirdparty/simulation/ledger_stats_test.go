package simulation

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/meshia/webhook"
)

// What counts: gaps of backlogs, and statistics.

// fills reports whether the endpoint's backlog has reached a bound.
func (ep *endpoint) fills(bound int) bool { return bound > 0 && ep.backlog >= bound }

// fill opens a gap where an endpoint's backlog has reached the bound, and reports whether it did.
func (l *ledger) fill(ep *endpoint, bound int, now time.Time) bool {
	if ep.gap != nil || !ep.fills(bound) {
		return false
	}
	l.openGap(ep, webhook.GapBacklog, now)
	l.backlogs++
	return true
}

// relieve closes the gap of a backlog of which at most nine tenths are left.
func (ep *endpoint) relieve(bound int, now time.Time) {
	if ep.gap != nil && ep.gap.Reason == webhook.GapBacklog && 10*ep.backlog <= 9*bound {
		ep.closeGap(now)
	}
}

// bound is what Claim does about backlogs. It returns the endpoints whose gap it opens.
func (l *ledger) bound(bound int, now time.Time) (opened []webhook.EndpointRef) {
	for key, ep := range l.endpoints {
		if ep.deleted || !ep.Health.State.Queues() {
			continue
		}
		ep.relieve(bound, now)
		if l.fill(ep, bound, now) {
			opened = append(opened, webhook.EndpointRef{Tenant: key.tenant, ID: key.id})
		}
	}
	return opened
}

// named compares the endpoints that a call names as backlogged with those whose gap it opens.
func (l *ledger) named(call string, got, want []webhook.EndpointRef) {
	order := func(a, b webhook.EndpointRef) int { return strings.Compare(a.Tenant+"/"+a.ID, b.Tenant+"/"+b.ID) }
	got, want = slices.SortedFunc(slices.Values(got), order), slices.SortedFunc(slices.Values(want), order)
	if !slices.Equal(got, want) {
		l.complain("GAP: %s opens gaps of backlogs for %v, and names %v", call, want, got)
	}
}

// countAttempt counts an outcome in the hour in which it is recorded.
func (l *ledger) countAttempt(d *delivery, o *webhook.Outcome, now time.Time) {
	counted := o.Kind != webhook.OutcomeReleased && o.Attempt.Result != webhook.AttemptInterrupted
	if !counted || d.Kind.Once() || d.at.deleted {
		return
	}
	start := now.UTC().Truncate(time.Hour)
	h := d.at.hours[start]
	if h == nil {
		h = &webhook.HourStats{Start: start}
		d.at.hours[start] = h
	}
	if o.Attempt.Result == webhook.AttemptDelivered {
		h.Delivered++
	} else {
		h.Failed++
	}
	h.Latency.Add(o.Attempt.Latency)
}

// compareStats holds what the store says of each endpoint against what was recorded and what waits.
func (l *ledger) compareStats(since time.Time) {
	queues := map[*endpoint]*webhook.Stats{}
	for d := range l.open {
		q := queues[d.at]
		if q == nil {
			q = &webhook.Stats{}
			queues[d.at] = q
		}
		q.Pending++
		if d.State != webhook.DeliveryPending {
			continue
		}
		if q.OldestPending.IsZero() || d.CreatedAt.Before(q.OldestPending) {
			q.OldestPending = d.CreatedAt
		}
		if q.NextAttempt.IsZero() || d.NextAttemptAt.Before(q.NextAttempt) {
			q.NextAttempt = d.NextAttemptAt
		}
	}
	for key, ep := range l.endpoints {
		if ep.deleted {
			continue
		}
		got, err := l.store.Stats(context.Background(), key.tenant, key.id, since)
		if err != nil {
			l.complain("LOST: of endpoint %s there are no statistics: %v", key.id, err)
			continue
		}
		want := queues[ep]
		if want == nil {
			want = &webhook.Stats{}
		}
		if got.Pending != want.Pending || !got.OldestPending.Equal(want.OldestPending) || !got.NextAttempt.Equal(want.NextAttempt) {
			l.complain("STATS: of endpoint %s %d wait, since %v and for %v, and the store says %d, %v, %v", key.id, want.Pending, want.OldestPending, want.NextAttempt, got.Pending, got.OldestPending, got.NextAttempt)
		}
		hours := 0
		for start := range ep.hours {
			if !start.Before(since) {
				hours++
			}
		}
		for i := range got.Hours {
			h := &got.Hours[i]
			if w := ep.hours[h.Start]; w == nil || *w != *h || i > 0 && !got.Hours[i-1].Start.Before(h.Start) {
				l.complain("STATS: endpoint %s had other attempts in the hour of %v than %d delivered and %d failed", key.id, h.Start, h.Delivered, h.Failed)
			}
		}
		if len(got.Hours) != hours {
			l.complain("STATS: endpoint %s had attempts in %d hours, and the store says %d", key.id, hours, len(got.Hours))
		}
	}
}

// auditStats holds the sum of an endpoint's hours against the log, as far as nothing of it was removed.
func (l *ledger) auditStats() {
	logged := map[*endpoint][2]int64{}
	for _, d := range l.gone {
		d.at.pruned = true
	}
	for _, d := range l.deliveries {
		n := logged[d.at]
		for _, a := range d.Attempts {
			switch {
			case d.Kind.Once():
			case a.Result == webhook.AttemptDelivered:
				n[0]++
			case a.Result == webhook.AttemptFailed:
				n[1]++
			}
		}
		logged[d.at] = n
	}
	for key, ep := range l.endpoints {
		if ep.deleted || ep.pruned {
			continue
		}
		stats, err := l.store.Stats(context.Background(), key.tenant, key.id, time.Time{})
		if err != nil {
			l.complain("LOST: of endpoint %s there are no statistics: %v", key.id, err)
			continue
		}
		sum := stats.Sum()
		inClasses := int64(0)
		for _, n := range sum.Latency {
			inClasses += n
		}
		if want := logged[ep]; sum.Delivered != want[0] || sum.Failed != want[1] || inClasses != want[0]+want[1] {
			l.complain("STATS: endpoint %s has %d delivered and %d failed attempts in its log, and %d, %d and %d latencies in its hours", key.id, want[0], want[1], sum.Delivered, sum.Failed, inClasses)
		}
	}
}

// pruneHours forgets the hours that a Prune has removed, and returns how many may go and are there.
func (l *ledger) pruneHours(old func(time.Time, time.Duration) bool, age time.Duration) (left int) {
	for key, ep := range l.endpoints {
		if ep.deleted {
			continue
		}
		stats, err := l.store.Stats(context.Background(), key.tenant, key.id, time.Time{})
		if err != nil {
			l.complain("LOST: of endpoint %s there are no statistics: %v", key.id, err)
			continue
		}
		for start := range ep.hours {
			switch {
			case !old(start.Add(time.Hour), age):
			case slices.ContainsFunc(stats.Hours, func(h webhook.HourStats) bool { return h.Start.Equal(start) }):
				left++
			default:
				delete(ep.hours, start)
				ep.pruned = true
			}
		}
	}
	return left
}
