package sqlitestore

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/failpoint"
)

// settleAtOnce bounds how many deliveries one Claim lets expire, and how many lost leases it settles, so that nobody
// waits for long for the transaction that it shares.
const settleAtOnce = 500

// Claim implements [webhook.Queue].
func (s *Store) Claim(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
	var claimed webhook.Claimed
	err := s.write(ctx, &write{weight: max(0, req.Max) + 1, do: func(t *txn) (err error) {
		claimed, err = t.claim(&req)
		return err
	}})
	if err != nil {
		return webhook.Claimed{}, wrap("claim", err)
	}
	failpoint.Pass(failpoint.K7)
	return claimed, nil
}

var (
	eligibleLanes = statement(`SELECT ` + laneColumns + ` FROM webhook_lanes l INDEXED BY webhook_lanes_eligible CROSS JOIN webhook_endpoints p ON p.key = l.endpoint
		WHERE l.slow = ? AND l.eligible_at <= ? AND p.tenant NOT IN (SELECT value FROM json_each(?)) ORDER BY l.eligible_at`)
	nextLanes = statement(`SELECT l.eligible_at, p.tenant, p.id FROM webhook_lanes l INDEXED BY webhook_lanes_eligible CROSS JOIN webhook_endpoints p ON p.key = l.endpoint
		WHERE l.slow = ? AND l.eligible_at IS NOT NULL AND p.tenant NOT IN (SELECT value FROM json_each(?)) ORDER BY l.eligible_at LIMIT ?`)
	nextOthers = statement(`SELECT
		coalesce((SELECT lease_until FROM webhook_deliveries WHERE state = 'leased' ORDER BY lease_until LIMIT 1), 0),
		coalesce((SELECT oldest_at FROM webhook_lanes INDEXED BY webhook_lanes_oldest WHERE oldest_at IS NOT NULL ORDER BY oldest_at LIMIT 1), 0),
		EXISTS (SELECT 1 FROM webhook_lanes INDEXED BY webhook_lanes_blocked WHERE blocked = 1)`)
	dueDeliveries = statement(`SELECT key, due_at FROM webhook_deliveries INDEXED BY webhook_deliveries_due
		WHERE endpoint = ?1 AND again = ?2 AND state = 'pending' AND due_at >= ?3 AND due_at <= ?4 AND (due_at > ?3 OR key > ?5) ORDER BY due_at, key LIMIT ?6`)
	leaseDeliveries = statement(`UPDATE webhook_deliveries SET state = 'leased', due_at = NULL, attempt_count = attempt_count + 1, token = ?, owner = ?, leased_at = ?, lease_until = ?
		WHERE key IN (SELECT value FROM json_each(?))`)
	leasedDeliveries = statement(`SELECT d.key, d.id, d.kind, d.created_at, d.attempt_count, d.interrupted, d.deferred, d.redelivery_of, d.asked_by, d.last_secret, ` + eventColumns + `
		FROM json_each(?) j CROSS JOIN webhook_deliveries d ON d.key = j.value JOIN webhook_events e ON e.key = d.event`)
)

// errEnough ends a query whose other rows are not needed.
var errEnough = errors.New("there are enough rows")

func (t *txn) claim(req *webhook.ClaimRequest) (c webhook.Claimed, err error) {
	settled, err := t.settleLost()
	if err == nil && settled {
		settled, err = t.expire(req.MaxAge)
	}
	if err == nil {
		c.Backlogged, err = t.backlogs(req.MaxPending)
	}
	if err != nil || !settled {
		return c, err // rather come back at once: what has expired could be handed out
	}
	if err := t.flush(); err != nil { // the line is read from the database
		return c, err
	}

	skip := make(map[webhook.EndpointRef]bool, len(req.Skip))
	for _, ref := range req.Skip {
		skip[ref] = true
	}
	slow := max(0, req.MaxSlow)
	rooms := rooms{req: req, given: map[string]int{}}
	line, err := t.line(req.Max, min(req.Max, slow), skip, rooms)
	if err != nil {
		return c, err
	}
	picks, err := t.pick(line, req.Max, &slow, rooms)
	if err != nil {
		return c, err
	}
	if c.Leases, err = t.take(picks, req); err != nil {
		return c, err
	}
	failpoint.Pass(failpoint.K6)
	if err := t.flush(); err != nil {
		return c, err
	}
	c.Next, c.Blocked, err = t.next(slow > 0, req.MaxAge, skip, rooms)
	return c, err
}

// rooms are how many leases each tenant may get, and has got.
type rooms struct {
	req   *webhook.ClaimRequest
	given map[string]int
}

func (r rooms) left(tenant string) int { return r.req.Room(tenant) - r.given[tenant] }

// full are the tenants that may get none, or no more.
func (r rooms) full() string {
	list := []string{}
	for _, tenants := range []map[string]int{r.req.Tenants, r.given} {
		for tenant := range tenants {
			if r.left(tenant) <= 0 {
				list = append(list, tenant)
			}
		}
	}
	return marshal(list)
}

// turn is an endpoint in the line, and what it has to send.
type turn struct {
	*lane
	queues [2]dueQueue // first attempts, and the others
}

// line returns the endpoints that can be served, who waited longest first: no more than can get something.
func (t *txn) line(limit, slow int, skip map[webhook.EndpointRef]bool, rooms rooms) (line []*turn, err error) {
	for kind, n := range []int{limit, slow} {
		if n <= 0 {
			continue
		}
		found, of := 0, map[string]int{}
		l := &lane{}
		rows, err := t.query(eligibleLanes, kind, t.at, rooms.full())
		if err := each(rows, err, func() error {
			if err := rows.Scan(l.dest()...); err != nil {
				return err
			}
			if !skip[l.ref()] && of[l.tenant] < rooms.left(l.tenant) { // each of them gets one at least
				found++
				of[l.tenant]++
				line = append(line, &turn{lane: t.hold(l)})
				if found == n {
					return errEnough
				}
			}
			l = &lane{}
			return nil
		}); err != nil && !errors.Is(err, errEnough) {
			return nil, err
		}
	}
	slices.SortStableFunc(line, func(a, b *turn) int { return cmp.Compare(a.eligible, b.eligible) })
	return line, nil
}

// dueQueue are the due deliveries of one lane and one kind, read a few at a time.
type dueQueue struct {
	entries []dueEntry
	last    dueEntry
	end     bool // there are no more than entries
}

type dueEntry struct{ key, due int64 }

// head returns the next delivery, or nil. It reads n more when it has none left.
func (t *txn) head(u *turn, again, n int) (*dueEntry, error) {
	q := &u.queues[again]
	if len(q.entries) == 0 && !q.end {
		first := u.firstDue
		if again == 1 {
			first = u.againDue
		}
		if first == 0 || first > t.at {
			q.end = true
			return nil, nil
		}
		rows, err := t.query(dueDeliveries, u.key, again, q.last.due, t.at, q.last.key, n)
		if err := each(rows, err, func() error {
			err := rows.Scan(&q.last.key, &q.last.due)
			q.entries = append(q.entries, q.last)
			return err
		}); err != nil {
			return nil, err
		}
		q.end = len(q.entries) < n
	}
	if len(q.entries) == 0 {
		return nil, nil
	}
	return &q.entries[0], nil
}

// pick is a delivery that is to be leased.
type pick struct {
	*lane
	key int64
}

// pick goes along the line again and again, and takes one delivery of each endpoint as long as there is room: in the
// window, at its rate, for its tenant, for slow ones, and at all. First attempts and retries that are due take turns:
// else a flood of events would keep the retries waiting, or retries the events.
func (t *txn) pick(line []*turn, limit int, slow *int, rooms rooms) (picks []pick, err error) {
	for len(line) > 0 && len(picks) < limit {
		rest := line[:0]
		chunk := min(limit, limit/len(line)+2)
		for _, u := range line {
			room := min(t.allowance(u.lane), rooms.left(u.tenant))
			if len(picks) >= limit || room <= 0 || u.health.Slow && *slow == 0 {
				continue
			}
			var heads [2]*dueEntry
			for again := range heads {
				if heads[again], err = t.head(u, again, min(chunk, room)); err != nil {
					return nil, err
				}
			}
			again := 0
			switch {
			case heads[0] == nil && heads[1] == nil:
				continue
			case heads[0] == nil || heads[1] != nil && u.servedFirst:
				again = 1
			}
			if u.health.Slow {
				*slow--
			}
			rooms.given[u.tenant]++
			u.queues[again].entries = u.queues[again].entries[1:]
			t.serve(u.lane, again == 1)
			picks = append(picks, pick{u.lane, heads[again].key})
			rest = append(rest, u)
		}
		line = rest
	}
	return picks, nil
}

// take leases what was picked.
func (t *txn) take(picks []pick, req *webhook.ClaimRequest) ([]webhook.Lease, error) {
	if len(picks) == 0 {
		return nil, nil
	}
	keys := make([]int64, len(picks))
	place := make(map[int64]int, len(picks))
	for i, p := range picks {
		keys[i], place[p.key] = p.key, i
	}
	list := marshal(keys)
	if err := t.run(leaseDeliveries, t.token, req.Owner, t.at, t.in(req.Term), list); err != nil {
		return nil, err
	}
	leases := make([]webhook.Lease, len(picks))
	rows, err := t.query(leasedDeliveries, list)
	if err := each(rows, err, func() error {
		var key int64
		var created time.Time
		var secret string
		var e eventRead
		var d webhook.Delivery
		if err := rows.Scan(append([]any{&key, &d.ID, &d.Kind, stamp{&created}, &d.AttemptCount, &d.Interrupted, &d.Deferred, &d.RedeliveryOf, &d.AskedBy, &secret}, e.dest()...)...); err != nil {
			return err
		}
		event, err := e.event()
		if err != nil {
			return err
		}
		i := place[key]
		l := picks[i].lane
		d.Tenant, d.EventID, d.EventType, d.EndpointID, d.State, d.CreatedAt = l.tenant, event.ID, event.Type, l.id, webhook.DeliveryLeased, created
		leases[i] = webhook.Lease{Delivery: d, Event: event, Token: t.token, StartedAt: t.now, Term: req.Term, LastSecret: secret}
		return nil
	}); err != nil {
		return nil, err
	}
	for i := range leases {
		if leases[i].Endpoint, err = t.endpoint(picks[i].lane); err != nil {
			return nil, err
		}
	}
	return leases, nil
}

// next is how long until a claim can find something that is not there now, negative where only something else can bring
// it about, and whether anything is left that only a limit keeps back.
func (t *txn) next(slow bool, maxAge time.Duration, skip map[webhook.EndpointRef]bool, rooms rooms) (next time.Duration, blocked bool, err error) {
	next = -1
	sooner := func(at int64) {
		if wait := time.Duration(max(0, at-t.at)) * time.Microsecond; next < 0 || wait < next {
			next = wait
		}
	}
	var lease, created int64
	if err := t.row(nextOthers, nil, &lease, &created, &blocked); err != nil {
		return 0, false, err
	}
	if lease != 0 {
		sooner(lease)
	}
	if created != 0 && maxAge > 0 {
		sooner(created + maxAge.Microseconds())
	}
	full := rooms.full()
	for kind := range 2 {
		first := true // that is not skipped
		rows, err := t.query(nextLanes, kind, full, len(skip)+1)
		if err := each(rows, err, func() error {
			var at int64
			var ref webhook.EndpointRef
			if err := rows.Scan(&at, &ref.Tenant, &ref.ID); err != nil || !first || skip[ref] {
				return err
			}
			first = false
			blocked = blocked || at <= t.at
			if kind == 0 || slow || at > t.at {
				sooner(at)
			}
			return nil
		}); err != nil {
			return 0, false, err
		}
	}
	return next, blocked, nil
}
