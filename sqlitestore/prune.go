package sqlitestore

import (
	"context"
	"sync"
	"time"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/failpoint"
)

// removeAtOnce bounds one transaction of what removes many rows: others write between two of them.
const removeAtOnce = 200

// inSteps calls step, each time in a transaction of its own and with how many rows it may remove, until less than that
// was left or about so many rows as are asked for, and one at least, were removed. committed is called after each.
func (s *Store) inSteps(ctx context.Context, most int, step func(t *txn, n int) (rows int, err error), committed func()) (more bool, err error) {
	for left := max(most, 1); ; {
		n, rows := min(left, removeAtOnce), 0
		err := s.write(ctx, &write{weight: n, do: func(t *txn) (err error) {
			rows, err = step(t, n)
			return err
		}})
		if err != nil {
			return false, err
		}
		committed()
		if rows < n {
			return false, nil
		}
		if left -= rows; left <= 0 {
			return true, nil
		}
	}
}

// walk is how far the search for contents to remove has come. It passes over the events that still have something to be
// sent, so without it each call would pass over them again. What it passed over it sees the next time around.
type walk struct {
	mu sync.Mutex
	at place
}

type place struct{ stored, key int64 }

// Prune implements [webhook.Upkeep]. It removes no more than some hundred rows in one transaction. The file does not
// shrink: what is freed is used again.
func (s *Store) Prune(ctx context.Context, req webhook.PruneRequest) (webhook.PruneResult, error) {
	s.bodies.mu.Lock()
	defer s.bodies.mu.Unlock()
	var result webhook.PruneResult
	var p pruning
	more, err := s.inSteps(ctx, req.Max, func(t *txn, n int) (int, error) {
		p = pruning{txn: t, left: n, result: result, at: s.bodies.at}
		err := p.prune(&req)
		failpoint.Pass(failpoint.K18)
		return n - p.left, err
	}, func() { result, s.bodies.at = p.result, p.at })
	if err != nil {
		return webhook.PruneResult{}, wrap("prune", err)
	}
	result.More = more
	return result, nil
}

// pruning is one step of a Prune.
type pruning struct {
	*txn
	left   int // rows that it may still remove, or pass over
	result webhook.PruneResult
	at     place
}

var (
	finishedDeliveries = statement(`SELECT key, event FROM webhook_deliveries INDEXED BY webhook_deliveries_finished
		WHERE finished_at < ? ORDER BY finished_at LIMIT ?`)
	deleteAttempts   = statement(`DELETE FROM webhook_attempts WHERE delivery IN (SELECT value FROM json_each(?))`)
	deleteDeliveries = statement(`DELETE FROM webhook_deliveries WHERE key IN (SELECT value FROM json_each(?))`)
	bareEvents       = statement(`UPDATE webhook_events SET idle = 1 WHERE key IN (SELECT value FROM json_each(?))
		AND NOT EXISTS (SELECT 1 FROM webhook_deliveries d INDEXED BY webhook_deliveries_event WHERE d.event = webhook_events.key)`)
	deleteIdle = statement(`DELETE FROM webhook_events WHERE key IN
		(SELECT key FROM webhook_events INDEXED BY webhook_events_idle WHERE idle = 1 AND stored_at < ? ORDER BY stored_at LIMIT ?)`)
	deleteGaps = statement(`DELETE FROM webhook_gaps WHERE key IN
		(SELECT key FROM webhook_gaps INDEXED BY webhook_gaps_closed WHERE closed_at < ? ORDER BY closed_at LIMIT ?)`)
	deleteHours = statement(`DELETE FROM webhook_hours WHERE (endpoint, hour) IN
		(SELECT endpoint, hour FROM webhook_hours INDEXED BY webhook_hours_hour WHERE hour < ? ORDER BY hour LIMIT ?)`)
	deleteReplays = statement(`DELETE FROM webhook_replays WHERE key IN
		(SELECT key FROM webhook_replays INDEXED BY webhook_replays_finished WHERE finished_at < ? ORDER BY finished_at LIMIT ?)`)
	oldEndpoints = statement(`SELECT key FROM webhook_endpoints p INDEXED BY webhook_endpoints_deleted WHERE deleted_at < ?
		AND NOT EXISTS (SELECT 1 FROM webhook_deliveries d INDEXED BY webhook_deliveries_endpoint WHERE d.endpoint = p.key) ORDER BY deleted_at LIMIT ?`)
	eventContents = statement(`SELECT e.stored_at, e.key,
		EXISTS (SELECT 1 FROM webhook_deliveries d INDEXED BY webhook_deliveries_event WHERE d.event = e.key AND d.finished_at IS NULL)
		FROM webhook_events e INDEXED BY webhook_events_contents
		WHERE e.contents = 1 AND e.stored_at >= ?1 AND e.stored_at < ?2 AND (e.stored_at > ?1 OR e.key > ?3) ORDER BY e.stored_at, e.key LIMIT ?4`)
	emptyEvents   = statement(`UPDATE webhook_events SET contents = 0, metadata = NULL, body = NULL WHERE key IN (SELECT value FROM json_each(?))`)
	emptyAttempts = statement(`UPDATE webhook_attempts SET request_header = NULL, response_header = NULL, response_body = NULL WHERE delivery IN
		(SELECT d.key FROM json_each(?) j CROSS JOIN webhook_deliveries d INDEXED BY webhook_deliveries_event ON d.event = j.value)`)
)

func (p *pruning) prune(req *webhook.PruneRequest) error {
	if req.Deliveries > 0 {
		before := p.before(req.Deliveries)
		if err := p.deliveries(before); err != nil {
			return err
		}
		n, err := p.some(deleteIdle, before)
		if err != nil {
			return err
		}
		p.result.Events += n
		if _, err := p.some(deleteGaps, before); err != nil {
			return err
		}
		if _, err := p.some(deleteHours, before-time.Hour.Microseconds()); err != nil {
			return err
		}
		if _, err := p.some(deleteReplays, before); err != nil {
			return err
		}
		if err := p.endpoints(before); err != nil {
			return err
		}
	}
	if req.Bodies > 0 {
		return p.contents(p.before(req.Bodies))
	}
	return nil
}

// before is the moment age ago; what is not older than it stays.
func (p *pruning) before(age time.Duration) int64 {
	return p.txn.at - (age + time.Microsecond - 1).Microseconds()
}

// some removes rows by a statement that takes a moment and a limit.
func (p *pruning) some(q query, before int64) (int, error) {
	if p.left <= 0 {
		return 0, nil
	}
	n, err := p.affected(q, before, p.left)
	p.left -= n
	return n, err
}

// affected is exec for how many rows it changed.
func (t *txn) affected(q query, args ...any) (int, error) {
	res, err := t.exec(q, args...)
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

func (p *pruning) deliveries(before int64) error {
	var keys, events []int64
	rows, err := p.query(finishedDeliveries, before, p.left)
	if err := each(rows, err, func() error {
		var d, e int64
		err := rows.Scan(&d, &e)
		keys, events = append(keys, d), append(events, e)
		return err
	}); err != nil || len(keys) == 0 {
		return err
	}
	p.result.Deliveries += len(keys)
	p.left -= len(keys)
	n, err := p.removeDeliveries(keys)
	p.left -= n
	if err != nil {
		return err
	}
	// They are removed as those that never had a delivery, when it is their time: mostly at once.
	return p.run(bareEvents, marshal(events))
}

// removeDeliveries removes deliveries with their attempts, and returns how many of these there were.
func (t *txn) removeDeliveries(keys []int64) (attempts int, err error) {
	list := marshal(keys)
	if attempts, err = t.affected(deleteAttempts, list); err != nil {
		return 0, err
	}
	return attempts, t.run(deleteDeliveries, list)
}

// endpoints removes deleted endpoints. Those of their deliveries, gaps and replays that are as old went before.
func (p *pruning) endpoints(before int64) error {
	if p.left <= 0 {
		return nil
	}
	keys, err := p.keys(oldEndpoints, before, p.left)
	if err != nil {
		return err
	}
	p.left -= len(keys)
	return p.removeEndpoints(keys)
}

// contents removes the contents of events that have nothing left to be sent.
func (p *pruning) contents(before int64) error {
	if p.left <= 0 {
		return nil
	}
	var empty []int64
	seen := 0
	rows, err := p.query(eventContents, p.at.stored, before, p.at.key, p.left)
	if err := each(rows, err, func() error {
		var open bool
		if err := rows.Scan(&p.at.stored, &p.at.key, &open); err != nil {
			return err
		}
		seen++
		if !open {
			empty = append(empty, p.at.key)
		}
		return nil
	}); err != nil {
		return err
	}
	if seen < p.left { // this was the end: from the beginning again
		p.at = place{}
	}
	p.left -= seen
	p.result.Bodies += len(empty)
	return p.empty(empty)
}

// empty removes the contents of events, and of the attempts at their deliveries.
func (t *txn) empty(events []int64) error {
	if len(events) == 0 {
		return nil
	}
	list := marshal(events)
	if err := t.run(emptyEvents, list); err != nil {
		return err
	}
	return t.run(emptyAttempts, list)
}
