package pgstore

import (
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/meshia/webhook"
)

// held is a lane that the transaction has locked.
type held struct {
	ref
	deleted       bool
	maxInFlight   int // the endpoint's own; 0: none
	gap           *int64
	gapsMade      int64
	backlogged    bool
	finished      int64 // of its deliveries, in this transaction
	before, after webhook.Health
}

// heldColumns are those that scanHeld reads.
const heldColumns = `l.tenant, l.id, l.deleted, l.max_in_flight, l.gap, l.gaps_made, l.backlogged, ` + healthColumns

func scanHeld(rows pgx.Rows) (*held, error) {
	var h held
	var health healthRow
	if err := rows.Scan(append([]any{&h.tenant, &h.id, &h.deleted, &h.maxInFlight, &h.gap, &h.gapsMade, &h.backlogged}, health.dest()...)...); err != nil {
		return nil, err
	}
	h.before = health.value()
	h.after = h.before
	return &h, nil
}

// sqlJudged writes what the lanes' healths became and, after everything else that the transaction did to their
// deliveries, when they can be served next.
var sqlJudged = `
UPDATE {lanes} l SET state = k.state, reason = k.reason, since = k.since, verified = k.verified, generation = k.generation,
	window_size = k.window_size, slow = k.slow, paused_until = k.paused_until, failures = k.failures, failing_since = k.failing_since,
	last_failure = k.last_failure, last_success = k.last_success, accepted_secret = k.accepted_secret,
	gap = k.gap, gaps_made = k.gaps_made, backlogged = k.backlogged, pending = l.pending - k.finished,
	(eligible_at, full_window) = ` + placed("l", "k") + `
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::bool[], $7::bigint[], $8::int[], $9::bool[], $10::timestamptz[],
	$11::int[], $12::timestamptz[], $13::timestamptz[], $14::timestamptz[], $15::text[], $16::bigint[], $17::bigint[], $18::bool[], $19::bigint[])
	AS k (tenant, id, state, reason, since, verified, generation, window_size, slow, paused_until, failures, failing_since, last_failure,
		last_success, accepted_secret, gap, gaps_made, backlogged, finished)
WHERE l.tenant = k.tenant AND l.id = k.id`

const (
	sqlOpenGap = `
INSERT INTO {gaps} (tenant, endpoint_id, number, reason, from_at, count)
SELECT i.tenant, i.id, i.number, i.reason, $5::timestamptz, 0 FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) AS i (tenant, id, number, reason)`

	// A gap that is closed with nothing missed stays, hidden, until it is swept or pruned: an event may be on its way
	// to be counted in it, in a transaction that is not committed.
	sqlCloseGap = `
UPDATE {gaps} g SET to_at = $4::timestamptz
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS i (tenant, id, number) WHERE g.tenant = i.tenant AND g.endpoint_id = i.id AND g.number = i.number`
)

// sqlSweepGaps removes empty gaps of the endpoints that are about to have another one: whoever switches one off and on
// would make them without end. $3 is lateness: who has seen a gap open is by then a transaction with a number. So a gap
// is marked with the next number, and removed by a later call that sees all transactions before it ended, and still
// nothing missed. Whoever runs it has the lanes.
const sqlSweepGaps = `
WITH found AS MATERIALIZED (
	SELECT g.* FROM unnest($1::text[], $2::text[]) AS i (tenant, id) CROSS JOIN LATERAL (
		SELECT g.tenant, g.endpoint_id, g.number, g.awaits FROM {gaps} g
		WHERE g.endpoint_id = i.id AND g.tenant = i.tenant AND g.count = 0 AND g.to_at IS NOT NULL
			AND g.to_at < (SELECT clock_timestamp() - $3::bigint * interval '1 microsecond')
			AND NOT EXISTS (SELECT FROM {inbox} b WHERE b.tenant = g.tenant AND b.endpoint_id = g.endpoint_id AND b.gap = g.number)
		ORDER BY g.number LIMIT 100 FOR UPDATE SKIP LOCKED) g
),
marked AS (
	UPDATE {gaps} g SET awaits = pg_snapshot_xmax(pg_current_snapshot()) FROM found f
	WHERE f.awaits IS NULL AND g.tenant = f.tenant AND g.endpoint_id = f.endpoint_id AND g.number = f.number
)
DELETE FROM {gaps} g USING found f
WHERE f.awaits <= pg_snapshot_xmin(pg_current_snapshot()) AND g.tenant = f.tenant AND g.endpoint_id = f.endpoint_id AND g.number = f.number`

// judged queues the statements that store what became of the lanes: health, gaps, how much is pending, and when it is
// their turn. The gap of a backlog stays open in the states that queue, and is no reason for another one to stay.
func (t *tx) judged(lanes []*held, now time.Time) {
	var opened, closed gapArgs
	var a healthArgs
	for _, l := range lanes {
		if l.maxInFlight > 0 {
			l.after.Window = min(l.after.Window, l.maxInFlight)
		}
		old, h := l.before, l.after
		switch {
		case l.deleted:
		case h.State.Queues():
			if l.gap != nil && !l.backlogged {
				closed.add(l.ref, *l.gap, "")
				l.gap = nil
			}
		case l.gap == nil || h.State != old.State || h.Reason != old.Reason:
			if l.gap != nil {
				closed.add(l.ref, *l.gap, "")
			}
			l.gapsMade++
			number := l.gapsMade
			l.gap, l.backlogged = &number, false
			opened.add(l.ref, number, gapReason(h.State))
		}
		a.add(l)
	}
	if len(closed.ids) > 0 {
		t.queue(sqlCloseGap, closed.tenants, closed.ids, closed.numbers, now)
	}
	if len(opened.ids) > 0 {
		t.queue(sqlSweepGaps, opened.tenants, opened.ids, micros(lateness))
		t.queue(sqlOpenGap, opened.tenants, opened.ids, opened.numbers, opened.reasons, now)
	}
	t.queue(sqlJudged, a.tenants, a.ids, a.states, a.reasons, a.since, a.verified, a.generations, a.windows, a.slow, a.paused,
		a.failures, a.failing, a.failed, a.success, a.accepted, a.gaps, a.made, a.backlogged, a.finished)
}

func gapReason(s webhook.EndpointState) webhook.GapReason {
	if s == webhook.EndpointPending {
		return webhook.GapPending
	}
	return webhook.GapDisabled
}

type gapArgs struct {
	tenants, ids, reasons []string
	numbers               []int64
}

func (a *gapArgs) add(lane ref, number int64, reason webhook.GapReason) {
	a.tenants, a.ids, a.numbers, a.reasons = append(a.tenants, lane.tenant), append(a.ids, lane.id), append(a.numbers, number), append(a.reasons, string(reason))
}

type healthArgs struct {
	tenants, ids, states, reasons, accepted []string
	since, paused, failing, failed, success []*time.Time
	verified, slow, backlogged              []bool
	generations, made, finished             []int64
	windows, failures                       []int32
	gaps                                    []*int64
}

func (a *healthArgs) add(l *held) {
	h := l.after
	a.tenants, a.ids, a.states, a.reasons = append(a.tenants, l.tenant), append(a.ids, l.id), append(a.states, string(h.State)), append(a.reasons, string(h.Reason))
	a.since, a.paused = append(a.since, moment(h.Since)), append(a.paused, moment(h.PausedUntil))
	a.failing, a.failed, a.success = append(a.failing, moment(h.FailingSince)), append(a.failed, moment(h.LastFailure)), append(a.success, moment(h.LastSuccess))
	a.verified, a.slow, a.accepted = append(a.verified, h.Verified), append(a.slow, h.Slow), append(a.accepted, h.AcceptedSecret)
	a.generations, a.made, a.gaps = append(a.generations, h.Generation), append(a.made, l.gapsMade), append(a.gaps, l.gap)
	a.backlogged, a.finished = append(a.backlogged, l.backlogged), append(a.finished, l.finished)
	a.windows, a.failures = append(a.windows, small(h.Window)), append(a.failures, small(h.Failures))
}
