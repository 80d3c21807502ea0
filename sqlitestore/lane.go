package sqlitestore

import (
	"database/sql"
	"errors"
	"fmt"

	"github.com/meshia/webhook"
)

// lane is an endpoint as dispatchers see it, while a transaction has it: its health, and when it is its turn. It is
// changed here and written when the transaction ends, once, however much of it is of this endpoint.
type lane struct {
	key        int64
	tenant, id string
	version    int64
	deleted    bool
	health     webhook.Health

	maxInFlight int          // the endpoint's own; 0: none
	limited     bool         // it has a rate
	pace        webhook.Pace // of that, or of the last one it had
	paced       int64        // the pace's moment
	pending     int          // deliveries that are pending or leased
	backlog     int          // how many may be, while a gap is open because they were; 0: there is no such gap

	leases             int
	firstDue, againDue int64 // of the pending deliveries without an attempt, and of the others; 0: there is none
	oldest             int64 // when the oldest pending delivery was created; 0: there is none
	served             int64
	servedFirst        bool
	eligible           int64 // as it is stored; 0: it cannot be said
	blocked            bool  // as it is stored

	stored webhook.Health     // the health as it is stored
	missed int64              // events to be added to the open gap
	tally  *webhook.HourStats // attempts to be added to the hour's
	stale  bool               // firstDue, againDue and oldest have to be read again
	dirty  bool               // in txn.order
	shared *webhook.Endpoint
}

const laneColumns = `l.endpoint, p.tenant, p.id, p.version, l.deleted, p.rate > 0, p.max_in_flight,
	l.state, l.reason, l.since, l.verified, l.generation, l.window_size, l.slow, l.paused_until, l.failures, l.failing_since, l.last_failure, l.last_success, l.accepted_secret,
	l.pace_interval, l.pace_burst, coalesce(l.paced_at, 0), l.pending, coalesce(l.backlog_bound, 0),
	l.leases, coalesce(l.first_due, 0), coalesce(l.again_due, 0), coalesce(l.oldest_at, 0), coalesce(l.served_at, 0), l.served_first, coalesce(l.eligible_at, 0), l.blocked`

func (l *lane) dest() []any {
	h := &l.health
	return []any{
		&l.key, &l.tenant, &l.id, &l.version, &l.deleted, &l.limited, &l.maxInFlight,
		&h.State, &h.Reason,
		stamp{&h.Since},
		&h.Verified, &h.Generation, &h.Window, &h.Slow,
		stamp{&h.PausedUntil},
		&h.Failures,
		stamp{&h.FailingSince},
		stamp{&h.LastFailure},
		stamp{&h.LastSuccess},
		&h.AcceptedSecret,
		span{&l.pace.Interval},
		&l.pace.Burst, &l.paced, &l.pending, &l.backlog,
		&l.leases, &l.firstDue, &l.againDue, &l.oldest, &l.served, &l.servedFirst, &l.eligible, &l.blocked,
	}
}

var (
	lanesByKey = statement(`SELECT ` + laneColumns + ` FROM json_each(?) j
		CROSS JOIN webhook_lanes l ON l.endpoint = j.value JOIN webhook_endpoints p ON p.key = l.endpoint`)
	laneByID = statement(`SELECT ` + laneColumns + ` FROM webhook_endpoints p
		CROSS JOIN webhook_lanes l ON l.endpoint = p.key WHERE p.tenant = ? AND p.id = ?`)
	laneDues = statement(`SELECT
		coalesce((SELECT due_at FROM webhook_deliveries WHERE endpoint = ?1 AND again = 0 AND state = 'pending' ORDER BY due_at LIMIT 1), 0),
		coalesce((SELECT due_at FROM webhook_deliveries WHERE endpoint = ?1 AND again = 1 AND state = 'pending' ORDER BY due_at LIMIT 1), 0),
		coalesce((SELECT created_at FROM webhook_deliveries INDEXED BY webhook_deliveries_waiting WHERE endpoint = ?1 AND state = 'pending' ORDER BY created_at LIMIT 1), 0)`)
	placeLane = statement(`UPDATE webhook_lanes SET leases = ?, first_due = ?, again_due = ?, oldest_at = ?, served_at = ?, served_first = ?, eligible_at = ?, blocked = ?,
		paced_at = ?, pending = ?, backlog_bound = ? WHERE endpoint = ?`)
	judgeLane = statement(`UPDATE webhook_lanes SET state = ?, reason = ?, since = ?, verified = ?, generation = ?, window_size = ?, slow = ?, paused_until = ?,
		failures = ?, failing_since = ?, last_failure = ?, last_success = ?, accepted_secret = ? WHERE endpoint = ?`)
	errNoLane = errors.New("an endpoint has no lane")
)

// laneOf returns the lane of the tenant's endpoint, or sql.ErrNoRows; that of a deleted one too.
func (t *txn) laneOf(tenant, id string) (*lane, error) {
	l := &lane{}
	if err := t.row(laneByID, []any{tenant, id}, l.dest()...); err != nil {
		return nil, err
	}
	return t.hold(l), nil
}

// hold keeps a lane that was read, unless it was read before: that one may have been changed since.
func (t *txn) hold(l *lane) *lane {
	if known := t.lanes[l.key]; known != nil {
		return known
	}
	l.stored = l.health
	t.lanes[l.key] = l
	return l
}

// load reads the lanes that are not held yet, in one query.
func (t *txn) load(keys []int64) error {
	var missing []int64
	for _, k := range keys {
		if t.lanes[k] == nil {
			missing = append(missing, k)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	l := &lane{}
	rows, err := t.query(lanesByKey, marshal(missing))
	if err := each(rows, err, func() error {
		if err := rows.Scan(l.dest()...); err != nil {
			return err
		}
		t.hold(l)
		l = &lane{}
		return nil
	}); err != nil {
		return err
	}
	for _, k := range missing {
		if t.lanes[k] == nil {
			return fmt.Errorf("%w: %d", errNoLane, k)
		}
	}
	return nil
}

func (l *lane) ref() webhook.EndpointRef { return webhook.EndpointRef{Tenant: l.tenant, ID: l.id} }

// touch says that the lane is to be written.
func (t *txn) touch(l *lane) {
	if !l.dirty {
		l.dirty = true
		t.order = append(t.order, l)
	}
}

// wait notes that a delivery became pending. The caller touches the lane.
func (l *lane) wait(again bool, due, created int64) {
	of := &l.firstDue
	if again {
		of = &l.againDue
	}
	if *of == 0 || due < *of {
		*of = due
	}
	if l.oldest == 0 || created < l.oldest {
		l.oldest = created
	}
}

// unwait notes that a pending delivery is pending no more.
func (t *txn) unwait(l *lane) {
	l.stale = true
	t.touch(l)
}

// dues brings firstDue, againDue and oldest up to date.
func (t *txn) dues(l *lane) error {
	if !l.stale {
		return nil
	}
	l.stale = false
	return t.row(laneDues, []any{l.key}, &l.firstDue, &l.againDue, &l.oldest)
}

// due is when the first of the lane's deliveries falls due; 0: there is none.
func (l *lane) due() int64 {
	if l.firstDue == 0 || l.againDue != 0 && l.againDue < l.firstDue {
		return l.againDue
	}
	return l.firstDue
}

// room is how many leases more the endpoint's window has room for.
func (l *lane) room() int { return max(1, l.health.Window) - l.leases }

// place works out when the endpoint can be served next: it has something due, was last served before, its pause is over
// and its rate lets it go. That cannot be said while there is nothing to send, its state forbids it, or its window is
// full; what fills a window ends with a lease, which places the lane again.
func (l *lane) place() (eligible int64, blocked bool) {
	due := l.due()
	if due == 0 || l.deleted {
		return 0, false
	}
	if !l.health.State.Queues() {
		return 0, false
	}
	if l.room() <= 0 {
		return 0, true
	}
	eligible = max(due, l.served)
	if l.health.State == webhook.EndpointPaused && !l.health.PausedUntil.IsZero() {
		eligible = max(eligible, l.health.PausedUntil.UnixMicro())
	}
	if l.limited {
		eligible = max(eligible, l.paced-int64(l.pace.Burst-1)*l.pace.Interval.Microseconds()) // when Pace.Room was, or will be, 1
	}
	return eligible, false
}

// flush writes the lanes that were changed.
func (t *txn) flush() error {
	for _, l := range t.order {
		l.dirty = false
		if err := t.dues(l); err != nil {
			return err
		}
		if h := &l.health; *h != l.stored {
			if err := t.run(judgeLane, h.State, h.Reason, micros(h.Since), h.Verified, h.Generation, h.Window, h.Slow, micros(h.PausedUntil),
				h.Failures, micros(h.FailingSince), micros(h.LastFailure), micros(h.LastSuccess), h.AcceptedSecret, l.key); err != nil {
				return err
			}
			l.stored = *h
		}
		l.eligible, l.blocked = l.place()
		if err := t.run(placeLane, l.leases, some(l.firstDue), some(l.againDue), some(l.oldest), some(l.served), l.servedFirst, some(l.eligible), l.blocked,
			some(l.paced), l.pending, some(int64(l.backlog)), l.key); err != nil {
			return err
		}
		if err := t.count(l); err != nil {
			return err
		}
	}
	t.order = t.order[:0]
	return t.countHours()
}

// lane returns the lane of an endpoint that is not deleted, or refuses.
func (t *txn) lane(tenant, id string) (*lane, error) {
	l, err := t.laneOf(tenant, id)
	if errors.Is(err, sql.ErrNoRows) || err == nil && l.deleted {
		return nil, refuse("%w: endpoint", webhook.ErrNotFound)
	}
	return l, err
}
