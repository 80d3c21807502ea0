package sqlitestore

import (
	"errors"
	"time"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/failpoint"
)

// row is a delivery whose lease ends, or that expires, as far as it takes to say what becomes of it.
type row struct {
	key, lane   int64
	kind        webhook.DeliveryKind
	attempts    int
	interrupted int
	deferred    int
	secret      string
	created     int64
	leased      time.Time
	contents    bool // of its event are there; they are not once it was erased
}

const rowColumns = `d.key, d.endpoint, d.kind, d.attempt_count, d.interrupted, d.deferred, d.last_secret, d.created_at, d.leased_at, e.contents`

func (d *row) dest() []any {
	return []any{&d.key, &d.lane, &d.kind, &d.attempts, &d.interrupted, &d.deferred, &d.secret, &d.created, stamp{&d.leased}, &d.contents}
}

var (
	lostLeases = statement(`SELECT ` + rowColumns + ` FROM webhook_deliveries d INDEXED BY webhook_deliveries_leased CROSS JOIN webhook_events e ON e.key = d.event
		WHERE d.state = 'leased' AND d.lease_until <= ? ORDER BY d.lease_until LIMIT ?`)
	oldDeliveries = statement(`SELECT d.key, d.endpoint FROM webhook_lanes l INDEXED BY webhook_lanes_oldest
		CROSS JOIN webhook_deliveries d INDEXED BY webhook_deliveries_waiting ON d.endpoint = l.endpoint
		WHERE l.oldest_at <= ?1 AND d.state = 'pending' AND d.created_at <= ?1 ORDER BY l.oldest_at LIMIT ?2`)
	deadDeliveries = statement(`SELECT d.key, d.endpoint FROM webhook_lanes l INDEXED BY webhook_lanes_deleted
		CROSS JOIN webhook_deliveries d INDEXED BY webhook_deliveries_waiting ON d.endpoint = l.endpoint
		WHERE l.deleted = 1 AND l.oldest_at IS NOT NULL AND d.state = 'pending' LIMIT ?`)
	failDeliveries = statement(`UPDATE webhook_deliveries SET state = 'failed', reason = ?, due_at = NULL, finished_at = ?
		WHERE key IN (SELECT value FROM json_each(?))`)
	endLease = statement(`UPDATE webhook_deliveries SET state = ?, reason = ?, again = ?, due_at = ?, finished_at = ?, attempt_count = ?, interrupted = ?, deferred = ?, last_secret = ?,
		token = NULL, owner = NULL, leased_at = NULL, lease_until = NULL WHERE key = ?`)
	insertAttempt = statement(`INSERT INTO webhook_attempts (delivery, number, started_at, result, error, detail, status, latency, dns, connect, tls, first_byte, reused,
		remote_addr, secret_id, truncated, request_header, response_header, response_body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
)

// settleLost ends the leases whose term has run out; it reports whether it got them all.
func (t *txn) settleLost() (all bool, err error) {
	var lost []row
	var keys []int64
	rows, err := t.query(lostLeases, t.at, settleAtOnce)
	if err := each(rows, err, func() error {
		var d row
		err := rows.Scan(d.dest()...)
		lost, keys = append(lost, d), append(keys, d.lane)
		return err
	}); err != nil {
		return false, err
	}
	if err := t.load(keys); err != nil {
		return false, err
	}
	for i := range lost {
		d := &lost[i]
		log := webhook.Attempt{StartedAt: d.leased, Result: webhook.AttemptInterrupted, Error: webhook.ErrorOwnerLost}
		if err := t.settle(d, &webhook.Outcome{Kind: webhook.OutcomeInterrupted, Attempt: log}); err != nil {
			return false, err
		}
	}
	if len(lost) > 0 {
		failpoint.Pass(failpoint.K17)
	}
	return len(lost) < settleAtOnce, nil
}

// expire fails the pending deliveries that are too old; it reports whether it got them all.
func (t *txn) expire(maxAge time.Duration) (all bool, err error) {
	if maxAge <= 0 {
		return true, nil
	}
	n, err := t.fail(webhook.FailExpired, oldDeliveries, t.at-maxAge.Microseconds(), settleAtOnce)
	return n < settleAtOnce, err
}

// buryAtOnce bounds how many deliveries of deleted endpoints a call fails: nobody waits for a backlog.
const buryAtOnce = 1000

// bury fails what deleted endpoints have pending; it reports whether it got all of it.
func (t *txn) bury() (all bool, err error) {
	n, err := t.fail(webhook.FailEndpointDeleted, deadDeliveries, buryAtOnce)
	return n < buryAtOnce, err
}

// fail fails the pending deliveries that a query finds, and returns how many these are.
func (t *txn) fail(reason webhook.FailReason, find query, args ...any) (n int, err error) {
	if err := t.flush(); err != nil { // they are looked for along the lanes in the database
		return 0, err
	}
	var found, keys []int64
	rows, err := t.query(find, args...)
	if err := each(rows, err, func() error {
		var d, l int64
		err := rows.Scan(&d, &l)
		found, keys = append(found, d), append(keys, l)
		return err
	}); err != nil || len(found) == 0 {
		return 0, err
	}
	if err := t.load(keys); err != nil {
		return 0, err
	}
	for _, k := range keys {
		t.unwait(t.lanes[k])
		if err := t.finish(t.lanes[k], 1); err != nil {
			return 0, err
		}
	}
	return len(found), t.run(failDeliveries, reason, t.at, marshal(found))
}

var errUnknownKind = errors.New("unknown kind of outcome")

// settle ends the delivery's lease with the outcome. Its lane is held.
func (t *txn) settle(d *row, o *webhook.Outcome) error {
	l := t.lanes[d.lane]
	l.leases--
	t.touch(l)

	if o.Kind == webhook.OutcomeReleased {
		d.attempts--
	} else {
		if err := t.log(d, &o.Attempt); err != nil {
			return err
		}
		t.tally(l, d.kind, &o.Attempt)
	}
	switch o.Kind {
	case webhook.OutcomeDelivered:
		return t.end(d, webhook.DeliverySucceeded, "", 0)
	case webhook.OutcomeFailed:
		return t.end(d, webhook.DeliveryFailed, o.Reason, 0)
	case webhook.OutcomeDeferred:
		d.deferred++
		if d.kind.Once() {
			return t.end(d, webhook.DeliveryFailed, webhook.FailExhausted, 0)
		}
	case webhook.OutcomeInterrupted:
		d.interrupted++
		if d.kind.Once() || d.interrupted >= webhook.MaxInterrupted {
			return t.end(d, webhook.DeliveryFailed, webhook.FailInterrupted, 0)
		}
	case webhook.OutcomeReleased:
		if d.kind.Once() {
			return t.end(d, webhook.DeliveryFailed, webhook.FailCancelled, 0)
		}
	}
	switch {
	case l.deleted:
		return t.end(d, webhook.DeliveryFailed, webhook.FailEndpointDeleted, 0)
	case !d.contents:
		return t.end(d, webhook.DeliveryFailed, webhook.FailErased, 0)
	}
	due := t.in(o.Wait)
	l.wait(d.attempts > 0, due, d.created)
	return t.end(d, webhook.DeliveryPending, "", due)
}

func (t *txn) end(d *row, state webhook.DeliveryState, reason webhook.FailReason, due int64) error {
	var finished int64
	if state.Final() {
		finished = t.at
		if err := t.finish(t.lanes[d.lane], 1); err != nil {
			return err
		}
	}
	return t.run(endLease, state, reason, d.attempts > 0, some(due), some(finished), d.attempts, d.interrupted, d.deferred, d.secret, d.key)
}

// log stores the row of an attempt.
func (t *txn) log(d *row, a *webhook.Attempt) error {
	if a.Result != webhook.AttemptInterrupted {
		d.secret = a.SecretID
	}
	request, response, body := header(a.RequestHeader), header(a.ResponseHeader), a.ResponseBody
	if !d.contents {
		request, response, body = nil, nil, nil
	}
	return t.run(insertAttempt, d.key, d.attempts, micros(a.StartedAt), a.Result, a.Error, a.Detail, a.Status, int64(a.Latency),
		int64(a.Phases.DNS), int64(a.Phases.Connect), int64(a.Phases.TLS), int64(a.Phases.FirstByte), a.Phases.Reused,
		a.RemoteAddr, a.SecretID, a.Truncated, request, response, body)
}
