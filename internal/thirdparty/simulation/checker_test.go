package simulation

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/meshia/webhook"
)

// compare demands that the store has what the ledger knows, neither more nor less. It is called after every move, so
// that a final state that changes is seen when it does.
func (l *ledger) compare() {
	l.mu.Lock()
	defer l.mu.Unlock()
	asked := l.asked.Load()
	if asked == l.compared {
		return // nobody has called the store since
	}
	l.compared = asked
	seen := 0
	for _, tenant := range tenants {
		filter := webhook.DeliveryFilter{Limit: 50}
		for {
			page, err := l.store.Deliveries(context.Background(), tenant, filter)
			if err != nil {
				l.complain("READ: %v", err)
				return
			}
			for i := range page.Deliveries {
				got := &page.Deliveries[i]
				want := l.deliveries[got.ID]
				if want == nil || want.tenant != tenant {
					l.complain("GHOST: a delivery of event %s for endpoint %s that nobody made", got.EventID, got.EndpointID)
					continue
				}
				seen++
				l.same(got, want)
			}
			if page.NextCursor == "" {
				break
			}
			filter.Cursor = page.NextCursor
		}
	}
	if seen != len(l.deliveries) {
		l.complain("LOST: %d deliveries are in the store, of %d", seen, len(l.deliveries))
	}
	l.compareStats(time.Now().Truncate(time.Hour).Add(-time.Hour))
	l.compareReplays()
}

func (l *ledger) same(got *webhook.Delivery, want *delivery) {
	differ := func(what string, g, w any) {
		if g != w {
			l.complain("STORED: %s has %s %v, not %v", want.name, what, g, w)
		}
	}
	differ("state", got.State, want.State)
	differ("reason", got.Reason, want.Reason)
	differ("kind", got.Kind, want.Kind)
	differ("event", got.EventID, want.EventID)
	differ("type", got.EventType, want.EventType)
	differ("endpoint", got.EndpointID, want.EndpointID)
	differ("tenant", got.Tenant, want.Tenant)
	differ("number of attempts", got.AttemptCount, want.AttemptCount)
	differ("interruptions", got.Interrupted, want.Interrupted)
	differ("failed probes", got.Deferred, want.Deferred)
	differ("due time", got.NextAttemptAt.UnixNano(), want.NextAttemptAt.UnixNano())
	differ("creation", got.CreatedAt.UnixNano(), want.CreatedAt.UnixNano())
	differ("end", got.FinishedAt.UnixNano(), want.FinishedAt.UnixNano())
	differ("repetition of", got.RedeliveryOf, want.RedeliveryOf)
	differ("who asked", got.AskedBy, want.AskedBy)
	differ("rows", len(got.Attempts), len(want.Attempts))
	for i := range min(len(got.Attempts), len(want.Attempts)) {
		g, w := &got.Attempts[i], &want.Attempts[i]
		if sameRow(g, w) {
			continue
		}
		row := fmt.Sprintf("in row %d ", i+1)
		differ(row+"number", g.Number, w.Number)
		differ(row+"result", g.Result, w.Result)
		differ(row+"error", g.Error, w.Error)
		differ(row+"status", g.Status, w.Status)
		differ(row+"start", g.StartedAt.UnixNano(), w.StartedAt.UnixNano())
		differ(row+"secret", g.SecretID, w.SecretID)
		differ(row+"body", string(g.ResponseBody), string(w.ResponseBody))
		differ(row+"header of the request", len(g.RequestHeader), len(w.RequestHeader))
		differ(row+"header of the response", len(g.ResponseHeader), len(w.ResponseHeader))
	}
}

// sameRow is the comparison in short: there are many rows, and mostly they are the same.
func sameRow(g, w *webhook.Attempt) bool {
	return g.Number == w.Number && g.Result == w.Result && g.Error == w.Error && g.Status == w.Status && g.SecretID == w.SecretID &&
		g.StartedAt.Equal(w.StartedAt) && bytes.Equal(g.ResponseBody, w.ResponseBody) &&
		len(g.RequestHeader) == len(w.RequestHeader) && len(g.ResponseHeader) == len(w.ResponseHeader)
}

// unsettled names the deliveries without a final state, and the replays that run.
func (l *ledger) unsettled() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var left []string
	for d := range l.open {
		left = append(left, fmt.Sprintf("%s is %s, due in %v, its endpoint is %s", d.name, d.State, time.Until(d.NextAttemptAt), d.at.Health.State))
	}
	for _, r := range l.replaying {
		left = append(left, fmt.Sprintf("%s runs, and has looked at %d events, its endpoint is %s", r.name, r.Looked, r.at.Health.State))
	}
	slices.Sort(left)
	return strings.Join(left, "; ")
}

// audit is the sum at the end, when nothing is under way any more.
func (l *ledger) audit() {
	l.compare()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.all() {
		l.auditDelivery(d)
	}
	for key, r := range l.requests {
		d := r.lease.delivery
		if l.gone[d.ID] != nil && !d.State.Final() {
			continue // it was erased with its tenant while it was sent
		}
		if n := slices.IndexFunc(d.Attempts, func(a webhook.Attempt) bool { return a.Number == key.number }); n < 0 {
			l.complain("UNLOGGED: %s was sent by %s, and there is no row of it", r.lease, r.node.name)
		}
	}
	l.compareStats(time.Time{})
	l.auditStats()
	l.auditEvents()
	l.auditGaps()
	l.auditReplays()
	l.auditHooks()
	l.auditSecrets()
	l.auditTenants()
}

// auditDelivery checks a delivery's whole life.
func (l *ledger) auditDelivery(d *delivery) {
	if !d.State.Final() {
		l.complain("STUCK: %s is %s, and everything is well", d.name, d.State)
		return
	}
	completed, interrupted, deferred, refused := 0, 0, 0, 0
	for i, a := range d.Attempts {
		r := l.requests[attemptKey{d.ID, a.Number}]
		if a.Number != i+1 {
			l.complain("NUMBER: row %d of %s is numbered %d", i+1, d.name, a.Number)
		}
		if a.Error == webhook.ErrorCancelled {
			break // a caller gave up its only attempt: that is counted as neither
		}
		if a.Result == webhook.AttemptInterrupted {
			interrupted++
			continue
		}
		if r != nil && r.mismatch && r.innocent && sameSecrets(r, l.requests[attemptKey{d.ID, 1}]) {
			refused++
		}
		probe := l.leases[attemptKey{d.ID, a.Number}].deferred
		if probe {
			deferred++
		} else {
			completed++
		}
		if i+1 < len(d.Attempts) {
			l.auditPause(d, r, completed, probe, d.Attempts[i+1])
		}
	}
	if d.AttemptCount != len(d.Attempts) || d.Interrupted != interrupted || d.Deferred != deferred || interrupted > webhook.MaxInterrupted {
		l.complain("NUMBER: %s counts %d attempts, %d interruptions and %d failed probes, and has %d, %d and %d rows", d.name, d.AttemptCount, d.Interrupted, d.Deferred, len(d.Attempts), interrupted, deferred)
	}
	if completed > 1 { // its retries are what follows the first
		if _, may := l.w.Policy.Next(completed-1, d.Attempts[0]); !may {
			l.complain("RETRY: %s was tried %d times beside interruptions and probes", d.name, completed)
		}
	}
	var last webhook.Attempt
	if n := len(d.Attempts); n > 0 {
		last = d.Attempts[n-1]
	}
	more := true
	if completed > 0 {
		_, more = l.w.Policy.Next(completed, last)
	}
	ok := false
	switch d.Reason {
	case "":
		ok = d.State == webhook.DeliverySucceeded && last.Result == webhook.AttemptDelivered
	case webhook.FailExhausted:
		ok = last.Result == webhook.AttemptFailed && (!more || d.Kind.Once())
	case webhook.FailGone:
		ok = last.Status == http.StatusGone
	case webhook.FailExpired:
		ok = d.FinishedAt.Sub(d.CreatedAt) >= l.w.MaxAge
	case webhook.FailEndpointDeleted:
		ok = d.at.deleted
	case webhook.FailErased:
		ok = d.of.erased
	case webhook.FailInterrupted:
		ok = d.Kind.Once() && interrupted == 1 || interrupted == webhook.MaxInterrupted
	case webhook.FailCancelled:
		ok = d.Kind.Once()
	}
	if !ok {
		l.complain("REASON: %s is %s (%q) after %d attempts, %d of them interrupted", d.name, d.State, d.Reason, d.AttemptCount, interrupted)
	}
	if d.Reason == webhook.FailExhausted && !d.Kind.Once() && refused == completed+deferred {
		l.complain("ROTATION: %s is lost, and its receiver knew a secret that was live all the time", d.name)
	}
}

func sameSecrets(a, b *request) bool {
	return b != nil && slices.Equal(a.lease.live(a.started), b.lease.live(b.started))
}

// auditPause checks the time between two requests as the receiver saw them, and which secret the second one was signed
// with.
func (l *ledger) auditPause(d *delivery, r *request, completed int, probe bool, next webhook.Attempt) {
	after := l.requests[attemptKey{d.ID, next.Number}]
	if r == nil || after == nil {
		return
	}
	row := d.Attempts[next.Number-2]
	wait := time.Duration(0)
	if !probe {
		wait, _ = l.w.Policy.Next(completed, row)
	}
	if pause := after.started.Sub(r.ended); pause < wait {
		l.complain("WAIT: attempt %d of %s came after %v, not %v", next.Number, d.name, pause, wait)
	}
	live := after.lease.live(after.started)
	if len(live) == 2 && sameSecrets(r, after) && row.SecretID != "" && row.SecretID == next.SecretID {
		l.complain("ROTATION: attempts %d and %d of %s are signed with the same one of two secrets", row.Number, next.Number, d.name)
	}
}

// auditEvents checks that whoever was told that an event is accepted can rely on it.
func (l *ledger) auditEvents() {
	made := map[*event]map[string]int{}
	for _, all := range []map[string]*delivery{l.deliveries, l.gone} {
		for _, d := range all {
			if d.Kind == webhook.KindEvent {
				if made[d.of] == nil {
					made[d.of] = map[string]int{}
				}
				made[d.of][d.endpoint]++
			}
		}
	}
	for key, e := range l.events {
		for _, id := range e.matched {
			if n := made[e][id]; n != 1 {
				l.complain("LOST: event %s has %d deliveries for endpoint %s", key.id, n, id)
			}
		}
		if len(made[e]) > len(e.matched) {
			l.complain("GHOST: event %s has deliveries for %d endpoints, and matched %d", key.id, len(made[e]), len(e.matched))
		}
		stored, err := l.store.Event(context.Background(), key.tenant, key.id)
		if err != nil {
			l.complain("LOST: event %s: %v", key.id, err)
		} else if bare := len(stored.Body) == 0; bare != e.bare {
			l.complain("BODY: event %s has no contents: %t", key.id, bare)
		}
	}
}

func (l *ledger) auditGaps() {
	for key, ep := range l.endpoints {
		if ep.erasing {
			continue
		}
		got, err := l.store.Gaps(context.Background(), key.tenant, key.id)
		if err != nil {
			l.complain("READ: %v", err)
		}
		want := slices.Clone(ep.gaps)
		if ep.gap != nil {
			want = append(want, *ep.gap)
		}
		slices.Reverse(want)
		same := slices.EqualFunc(got, want, func(a webhook.Gap, b gap) bool {
			return a.EndpointID == b.EndpointID && a.Reason == b.Reason && a.Count == b.Count && a.From.Equal(b.From) && a.To.Equal(b.To)
		})
		sum := int64(0)
		for _, g := range got {
			sum += g.Count
		}
		if sum != ep.missed || !same {
			l.complain("GAP: endpoint %s missed %d events, and its gaps say %d: %v, not %v", key.id, ep.missed, sum, got, want)
		}
	}
}

// logs returns a handler that keeps what is logged.
func (l *ledger) logs() slog.Handler {
	return slog.NewTextHandler(logWriter{l}, &slog.HandlerOptions{Level: slog.LevelDebug})
}

type logWriter struct{ l *ledger }

func (w logWriter) Write(p []byte) (int, error) {
	w.l.logMu.Lock()
	defer w.l.logMu.Unlock()
	return w.l.logged.Write(p)
}
