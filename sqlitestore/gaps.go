package sqlitestore

import (
	"context"
	"math"

	"github.com/meshia/webhook"
)

var (
	openGap  = statement(`INSERT INTO webhook_gaps (endpoint, reason, opened_at, missed) VALUES (?, ?, ?, 0)`)
	countGap = statement(`UPDATE webhook_gaps SET missed = missed + ? WHERE endpoint = ? AND closed_at IS NULL`)
	dropGap  = statement(`DELETE FROM webhook_gaps WHERE endpoint = ? AND closed_at IS NULL AND missed = 0`)
	closeGap = statement(`UPDATE webhook_gaps SET closed_at = ? WHERE endpoint = ? AND closed_at IS NULL`)
	// Lanes with too much in them and no gap that says so, and lanes whose gap was opened under another bound.
	backlogs = statement(`SELECT endpoint FROM webhook_lanes INDEXED BY webhook_lanes_pending
			WHERE pending >= ?1 AND backlog_bound IS NULL AND state IN ('active', 'paused')
		UNION ALL SELECT endpoint FROM webhook_lanes INDEXED BY webhook_lanes_backlog WHERE backlog_bound < ?2
		UNION ALL SELECT endpoint FROM webhook_lanes INDEXED BY webhook_lanes_backlog WHERE backlog_bound > ?2`)
	readGaps = readStatement(`SELECT g.reason, g.opened_at, g.closed_at, g.missed FROM webhook_endpoints p CROSS JOIN webhook_gaps g ON g.endpoint = p.key
		WHERE p.tenant = ? AND p.id = ? ORDER BY g.opened_at DESC, g.key DESC LIMIT 1000`)
)

// takes reports whether an event is queued for the endpoint: it has no open gap, and does not open one by its backlog.
func (l *lane) takes(bound int) bool {
	return l.health.State.Queues() && l.backlog == 0 && (bound <= 0 || l.pending < bound)
}

// judged changes the endpoint's health, and opens and closes gaps with it.
func (t *txn) judged(l *lane, h webhook.Health) error {
	old := l.health
	if l.maxInFlight > 0 {
		h.Window = min(h.Window, l.maxInFlight)
	}
	if h == old {
		return nil
	}
	l.health = h
	l.shared = nil
	t.touch(l)
	queued, queues := old.State.Queues(), h.State.Queues()
	if queued == queues && (queues || h.State == old.State && h.Reason == old.Reason) {
		return nil
	}
	if err := t.close(l); err != nil { // that of the state before, or of a backlog
		return err
	}
	switch {
	case queues:
		return nil
	case h.State == webhook.EndpointPending:
		return t.open(l, webhook.GapPending)
	default:
		return t.open(l, webhook.GapDisabled)
	}
}

func (t *txn) open(l *lane, reason webhook.GapReason) error {
	return t.run(openGap, l.key, reason, t.at)
}

// openBacklog opens a gap that lasts until the lane's backlog is worked off.
func (t *txn) openBacklog(l *lane, bound int) error {
	l.backlog = bound
	t.touch(l)
	return t.open(l, webhook.GapBacklog)
}

// count adds what was missed to the open gap.
func (t *txn) count(l *lane) error {
	if l.missed == 0 {
		return nil
	}
	n := l.missed
	l.missed = 0
	return t.run(countGap, n, l.key)
}

// close closes the open gap, if there is one; one in which nothing was missed is not kept.
func (t *txn) close(l *lane) error {
	l.backlog = 0
	t.touch(l)
	if err := t.count(l); err != nil {
		return err
	}
	if err := t.run(dropGap, l.key); err != nil {
		return err
	}
	return t.run(closeGap, t.at, l.key)
}

// finish notes that n deliveries of the lane are no longer pending or leased.
func (t *txn) finish(l *lane, n int) error {
	l.pending -= n
	t.touch(l)
	if l.backlog == 0 {
		return nil
	}
	return t.relieve(l)
}

// relieve closes the gap of a backlog that is worked off: at most nine tenths of what may be pending are left, or there
// is no bound any more.
func (t *txn) relieve(l *lane) error {
	if l.backlog > 0 && l.pending > l.backlog-l.backlog/10-min(1, l.backlog%10) {
		return nil
	}
	return t.close(l)
}

// backlogs opens and closes the gaps that bound calls for: events that came without one, or with another, did not.
// Without a bound there is no backlog.
func (t *txn) backlogs(bound int) (opened []webhook.EndpointRef, err error) {
	many := bound
	if bound <= 0 {
		bound, many = 0, math.MaxInt
	}
	if err := t.flush(); err != nil { // they are looked for in the database
		return nil, err
	}
	keys, err := t.keys(backlogs, many, bound)
	if err != nil {
		return nil, err
	}
	if err := t.load(keys); err != nil {
		return nil, err
	}
	for _, k := range keys {
		switch l := t.lanes[k]; {
		case l.deleted: // with deliveries that are leased still
		case l.backlog == 0:
			if err := t.openBacklog(l, bound); err != nil {
				return nil, err
			}
			opened = append(opened, l.ref())
		default:
			l.backlog = bound
			t.touch(l)
			if err := t.relieve(l); err != nil {
				return nil, err
			}
		}
	}
	return opened, nil
}

// Gaps implements [webhook.History].
func (s *Store) Gaps(ctx context.Context, tenant, endpointID string) ([]webhook.Gap, error) {
	var gaps []webhook.Gap
	rows, err := s.reads[readGaps].QueryContext(ctx, tenant, endpointID)
	if err := each(rows, err, func() error {
		g := webhook.Gap{EndpointID: endpointID}
		err := rows.Scan(&g.Reason, stamp{&g.From}, stamp{&g.To}, &g.Count)
		gaps = append(gaps, g)
		return err
	}); err != nil {
		return nil, wrap("gaps", missing(ctx, err, ""))
	}
	return gaps, nil
}
