package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/failpoint"
)

const (
	// sqlOverdue asks whether settle has something to do.
	sqlOverdue = `
SELECT coalesce((SELECT min(due_at) FROM {deliveries} WHERE turn = 2) <= clock_timestamp(), false)
	OR $1::bigint > 0 AND coalesce((SELECT min(created_at) FROM {deliveries} WHERE turn < 2) <= clock_timestamp() - $1::bigint * interval '1 microsecond', false)`

	// sqlTurns locks the lanes whose turn it is. $1 and $2 are how many, $3 and $4 those that are to be skipped: of a
	// tenant all, where the id is NULL.
	sqlTurns = `
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
skip AS MATERIALIZED (SELECT * FROM unnest($3::text[], $4::text[]) AS s (tenant, id)),
normal AS MATERIALIZED (
	SELECT l.* FROM {lanes} l
	WHERE NOT l.slow AND l.eligible_at <= (SELECT now FROM clock) AND NOT EXISTS (SELECT FROM skip s WHERE s.tenant = l.tenant AND (s.id = l.id OR s.id IS NULL))
	ORDER BY l.eligible_at LIMIT $1::int FOR UPDATE SKIP LOCKED
),
slow AS MATERIALIZED (
	SELECT l.* FROM {lanes} l
	WHERE l.slow AND l.eligible_at <= (SELECT now FROM clock) AND NOT EXISTS (SELECT FROM skip s WHERE s.tenant = l.tenant AND (s.id = l.id OR s.id IS NULL))
	ORDER BY l.eligible_at LIMIT $2::int FOR UPDATE SKIP LOCKED
)
SELECT b.tenant, b.id, b.slow, b.state, b.paused_until, b.window_size, b.pace_interval, b.burst, b.paced_at, b.last_first, b.deleted, clock.now
FROM (TABLE normal UNION ALL TABLE slow) b, clock ORDER BY b.eligible_at`

	// sqlBury fails what deleted endpoints have pending, $3 deliveries at most: a backlog must not hold the lanes for
	// long. Whoever runs it has the lanes, and places them afterwards: see placed.
	sqlBury = `
WITH dead AS MATERIALIZED (
	SELECT d.tenant, d.id FROM unnest($1::text[], $2::text[]) AS l (tenant, id)
	CROSS JOIN LATERAL (
		SELECT d.tenant, d.id FROM {deliveries} d WHERE d.tenant = l.tenant AND d.endpoint_id = l.id AND d.turn < 2
		ORDER BY d.turn, d.due_at LIMIT $3::int FOR UPDATE SKIP LOCKED) d
	LIMIT $3::int
),
failed AS (
	UPDATE {deliveries} d SET state = 'failed', turn = NULL, reason = 'endpoint_deleted', due_at = NULL, finished_at = clock_timestamp()
	FROM dead WHERE d.tenant = dead.tenant AND d.id = dead.id
	RETURNING d.tenant, d.endpoint_id
)
UPDATE {lanes} l SET pending = l.pending - f.n FROM (SELECT tenant, endpoint_id, count(*) AS n FROM failed GROUP BY tenant, endpoint_id) f
WHERE l.tenant = f.tenant AND l.id = f.endpoint_id`
)

// buryAtOnce bounds how many deliveries of deleted endpoints one transaction fails.
const buryAtOnce = 1000

// sqlRoute takes the inbox in: endpoints that got something may be served, what they missed is added to their gaps,
// and how much is pending to their lanes. What is for a lane that somebody else holds stays for the next call, so
// that it waits for nobody.
var sqlRoute = `
WITH box AS MATERIALIZED (SELECT ctid AS place, tenant, endpoint_id, gap, events, at FROM {inbox} LIMIT 20000 FOR UPDATE SKIP LOCKED),
told AS MATERIALIZED (
	SELECT tenant, endpoint_id, gap, array_agg(place) AS places, sum(events) AS events, min(at) AS at FROM box GROUP BY tenant, endpoint_id, gap
),
held AS MATERIALIZED (
	SELECT t.* FROM told t CROSS JOIN LATERAL (
		SELECT FROM {lanes} l WHERE l.tenant = t.tenant AND l.id = t.endpoint_id FOR UPDATE SKIP LOCKED) l
),
gone AS (DELETE FROM {inbox} WHERE ctid = ANY (ARRAY(SELECT unnest(places) FROM held))),
lost AS ( -- of tenants that were erased meanwhile
	DELETE FROM {inbox} WHERE ctid = ANY (ARRAY(SELECT unnest(places) FROM told t
		WHERE NOT EXISTS (SELECT FROM {lanes} l WHERE l.tenant = t.tenant AND l.id = t.endpoint_id)))
),
missed AS (
	UPDATE {gaps} g SET count = g.count + h.events FROM held h WHERE g.tenant = h.tenant AND g.endpoint_id = h.endpoint_id AND g.number = h.gap
)
UPDATE {lanes} l SET pending = l.pending + h.events,
	eligible_at = CASE WHEN h.at IS NOT NULL AND (l.state IN ('active', 'paused') OR l.deleted)
		THEN least(l.eligible_at, greatest(h.at, ` + notBefore("l", "l") + `)) ELSE l.eligible_at END
FROM held h
WHERE h.gap IS NULL AND l.tenant = h.tenant AND l.id = h.endpoint_id`

// sqlLease leases what is due in the lanes, as much of each as its window and its rate let go. Of each it takes the
// ones that fell due first, first attempts and others in turn (pos), and of all lanes first one of each and then the
// next (rank), as long as the tenant has room for it.
var sqlLease = `
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
lane AS MATERIALIZED (
	SELECT * FROM unnest($1::text[], $2::text[], $3::int[], $4::bool[], $5::bool[], $13::int[], $14::int[]) WITH ORDINALITY
		AS l (tenant, id, room, last_first, slow, pace, share, n)
),
due AS MATERIALIZED (
	SELECT l.n, l.slow, l.tenant, l.share, c.id, row_number() OVER (PARTITION BY l.n ORDER BY c.pos) AS rank
	FROM lane l
	CROSS JOIN clock
	CROSS JOIN LATERAL (
		SELECT greatest(0, least(CASE WHEN l.slow THEN $7::int ELSE $6::int END, l.pace, l.share, l.room - ` + leases("l.tenant", "l.id", "l.room") + `)) AS n) room
	CROSS JOIN LATERAL (
		SELECT b.id, b.pos FROM (
			SELECT f.id, 2 * row_number() OVER (ORDER BY f.due_at) + l.last_first::int AS pos FROM (
				SELECT d.id, d.due_at FROM {deliveries} d
				WHERE d.tenant = l.tenant AND d.endpoint_id = l.id AND d.turn = 0 AND d.due_at <= clock.now
					AND ($10::bigint <= 0 OR d.created_at > clock.now - $10::bigint * interval '1 microsecond')
				ORDER BY d.due_at LIMIT room.n FOR UPDATE SKIP LOCKED) f
			UNION ALL
			SELECT f.id, 2 * row_number() OVER (ORDER BY f.due_at) + 1 - l.last_first::int FROM (
				SELECT d.id, d.due_at FROM {deliveries} d
				WHERE d.tenant = l.tenant AND d.endpoint_id = l.id AND d.turn = 1 AND d.due_at <= clock.now
					AND ($10::bigint <= 0 OR d.created_at > clock.now - $10::bigint * interval '1 microsecond')
				ORDER BY d.due_at LIMIT room.n FOR UPDATE SKIP LOCKED) f
		) b ORDER BY b.pos LIMIT room.n) c
),
chosen AS MATERIALIZED (
	SELECT b.n, b.tenant, b.id, b.rank FROM (
		SELECT t.*, row_number() OVER (PARTITION BY slow ORDER BY rank, n) AS nth FROM (
			SELECT *, row_number() OVER (PARTITION BY tenant ORDER BY rank, n) AS of_tenant FROM due) t
		WHERE t.of_tenant <= t.share) b
	WHERE NOT b.slow OR b.nth <= $9::int ORDER BY b.rank, b.n LIMIT $8::int
),
leased AS (
	UPDATE {deliveries} d SET state = 'leased', turn = 2, attempts = d.attempts + 1, token = gen_random_uuid(), owner = $11::text,
		leased_at = clock.now, due_at = clock.now + $12::bigint * interval '1 microsecond'
	FROM chosen c, clock WHERE d.tenant = c.tenant AND d.id = c.id
	RETURNING d.*, c.n, c.rank
),
served AS (
	UPDATE {lanes} l SET served_at = b.leased_at, last_first = b.attempts = 1,
		paced_at = CASE WHEN l.burst > 0 THEN greatest(l.paced_at, b.leased_at) + b.leases * l.pace_interval * interval '1 microsecond' ELSE l.paced_at END
	FROM (
		SELECT DISTINCT ON (tenant, endpoint_id) tenant, endpoint_id, leased_at, attempts, count(*) OVER (PARTITION BY tenant, endpoint_id) AS leases
		FROM leased ORDER BY tenant, endpoint_id, rank DESC) b
	WHERE l.tenant = b.tenant AND l.id = b.endpoint_id
)
SELECT d.n, ` + deliveryColumns + `, d.token::text, d.leased_at, d.last_secret, ` + eventColumns + `
FROM leased d JOIN {events} v ON v.tenant = d.tenant AND v.id = d.event_id ORDER BY d.rank, d.n`

// sqlPlace corrects when the lanes can be served next, and returns their endpoints as they are now.
var sqlPlace = `
UPDATE {lanes} l SET (eligible_at, full_window) = ` + placed("l", "l") + `
FROM unnest($1::text[], $2::text[]) AS k (tenant, id) JOIN {endpoints} e ON e.tenant = k.tenant AND e.id = k.id
WHERE l.tenant = k.tenant AND l.id = k.id
RETURNING ` + endpointColumns

// Claim implements [webhook.Queue]. It takes two round trips where it finds something.
func (s *Store) Claim(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
	// A lane may turn out to have nothing to hand out, since what it waited for expired or was erased. It is corrected
	// then, but others may be behind it, as they may be behind those of a tenant that has got all that it may.
	var got webhook.Claimed // what is committed; Next is 0, so that what is left is asked for at once
	for range repeats {
		var c claim
		err := s.inTx(ctx, "claim", func(t *tx) error {
			c = claim{tx: t, req: req}
			return c.run(ctx)
		})
		if err != nil && len(got.Leases) == 0 {
			return webhook.Claimed{}, err
		}
		if err != nil {
			return got, nil
		}
		got.Backlogged = append(got.Backlogged, c.backlogged...)
		if c.again {
			more, err := s.settle(ctx, req.MaxAge)
			if err != nil && len(got.Leases) == 0 {
				return webhook.Claimed{}, err
			}
			if err != nil || more {
				return got, nil
			}
			continue
		}
		got.Leases = append(got.Leases, c.leases...)
		if rest := c.rest(); len(c.leases) == 0 && len(c.lanes) > 0 || c.hides(&rest) {
			req = rest
			continue
		}
		failpoint.Pass(failpoint.K7)
		claimed := c.claimed()
		claimed.Leases, claimed.Backlogged = got.Leases, got.Backlogged
		return claimed, nil
	}
	got.Blocked = true
	return got, nil
}

// lane is an endpoint whose turn it is.
type lane struct {
	tenant, id      string
	slow, lastFirst bool
	state           webhook.EndpointState
	pausedUntil     *time.Time
	window          int32
	paceInterval    int64 // microseconds
	burst           int32
	pacedAt         *time.Time
	deleted         bool
	now             time.Time
}

func (l *lane) serves() bool {
	return !l.deleted && (l.state == webhook.EndpointActive || l.state == webhook.EndpointPaused && !at(l.pausedUntil).After(l.now))
}

// pace is how many leases the endpoint's rate lets go.
func (l *lane) pace() int32 {
	var p webhook.Pace
	if l.burst > 0 {
		p = webhook.Pace{Interval: time.Duration(l.paceInterval) * time.Microsecond, Burst: int(l.burst)}
	}
	return small(p.Room(max(0, at(l.pacedAt).Sub(l.now))))
}

// claim is one transaction of Claim.
type claim struct {
	*tx
	req    webhook.ClaimRequest
	again  bool // something is overdue: settle that first
	lanes  []lane
	leases []webhook.Lease
	next   next

	backlogged []webhook.EndpointRef
}

func (c *claim) run(ctx context.Context) error {
	skipTenants, skipIDs := c.skip()
	limit, slow := small(max(c.req.Max, 0)), small(max(min(c.req.MaxSlow, c.req.Max), 0))

	c.queue(sqlOverdue, micros(c.req.MaxAge)).QueryRow(func(row pgx.Row) error { return row.Scan(&c.again) })
	c.queue(sqlRoute)
	c.queue(sqlTurns, limit, slow, skipTenants, skipIDs).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var l lane
			err := rows.Scan(&l.tenant, &l.id, &l.slow, &l.state, &l.pausedUntil, &l.window, &l.paceInterval, &l.burst, &l.pacedAt, &l.lastFirst, &l.deleted, &l.now)
			if err != nil {
				return err
			}
			c.lanes = append(c.lanes, l)
		}
		return rows.Err()
	})
	c.ask(skipTenants, skipIDs)
	results := c.post(ctx)
	failpoint.Pass(failpoint.K6)
	if err := results.Close(); err != nil {
		return err
	}
	if c.again {
		return c.commit(ctx)
	}
	c.bound()
	if len(c.lanes) == 0 {
		return c.commit(ctx)
	}
	c.lease(limit, slow)
	c.ask(skipTenants, skipIDs)
	return c.commit(ctx)
}

// lease queues what leases the deliveries of the lanes and corrects the lanes.
func (c *claim) lease(limit, slow int32) {
	var tenants, ids, buriedTenants, buriedIDs, allTenants, allIDs []string
	var rooms, paces, shares []int32
	var lastFirst, slows []bool
	normals := int32(0)
	for _, l := range c.lanes {
		allTenants, allIDs = append(allTenants, l.tenant), append(allIDs, l.id)
		switch {
		case l.deleted:
			buriedTenants, buriedIDs = append(buriedTenants, l.tenant), append(buriedIDs, l.id)
		case l.serves():
			tenants, ids, rooms = append(tenants, l.tenant), append(ids, l.id), append(rooms, max(l.window, 1))
			lastFirst, slows, paces = append(lastFirst, l.lastFirst), append(slows, l.slow), append(paces, l.pace())
			shares = append(shares, small(c.req.Room(l.tenant)))
			if !l.slow {
				normals++
			}
		}
	}
	// How many rows of one lane are looked at: its share, so that the work grows with what is handed out. Where others
	// need less than theirs, the next call gets the rest.
	share := func(limit, lanes int32) int32 { return (limit + max(lanes, 1) - 1) / max(lanes, 1) }
	if len(buriedIDs) > 0 {
		c.queue(sqlBury, buriedTenants, buriedIDs, buryAtOnce)
	}
	type key struct{ tenant, id string }
	endpoints := map[key]*webhook.Endpoint{}
	if len(ids) > 0 {
		c.queue(sqlLease, tenants, ids, rooms, lastFirst, slows, share(limit, normals), share(slow, int32(len(ids))-normals), limit, slow,
			micros(c.req.MaxAge), c.req.Owner, micros(c.req.Term), paces, shares).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var n int64
				var row deliveryRow
				var event eventRow
				lease := webhook.Lease{Term: c.req.Term}
				var err error
				dest := append([]any{&n}, row.dest()...)
				dest = append(append(dest, &lease.Token, &lease.StartedAt, &lease.LastSecret), event.dest()...)
				if err = rows.Scan(dest...); err != nil {
					return err
				}
				if lease.Event, err = event.value(); err != nil {
					return err
				}
				lease.Delivery, lease.StartedAt = row.value(), lease.StartedAt.UTC()
				c.leases = append(c.leases, lease)
			}
			return rows.Err()
		})
	}
	c.queue(sqlPlace, allTenants, allIDs).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var row endpointRow
			if err := rows.Scan(row.dest()...); err != nil {
				return err
			}
			e, err := row.value()
			if err != nil {
				return err
			}
			endpoints[key{e.Tenant, e.ID}] = &e
		}
		for i := range c.leases {
			d := &c.leases[i].Delivery
			c.leases[i].Endpoint = endpoints[key{d.Tenant, d.EndpointID}]
		}
		return rows.Err()
	})
}
