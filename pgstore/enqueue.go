package pgstore

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/failpoint"
)

// newID makes a delivery's id from the column now: its order is that of (created_at, id), which is how lists page.
const newID = `'dlv_' || lpad(to_hex((extract(epoch FROM now) * 1000000)::bigint), 14, '0') || replace(gen_random_uuid()::text, '-', '')`

// subscribers are the lanes of the endpoints that get an event of the row event, or miss it: where a gap is open.
func subscribers(event string) string {
	return `(
		SELECT l.id, l.gap, l.state, l.slow, l.window_size, l.burst
		FROM {subscriptions} u JOIN {lanes} l ON l.tenant = u.tenant AND l.id = u.endpoint_id
		WHERE u.tenant = ` + event + `.tenant AND u.type IN (` + event + `.type, '*') OFFSET 0)`
}

// sqlEnqueue stores events of many requests, matches them and hands some deliveries over, in one statement. It locks
// nothing that is there already, but for an event that comes again. What it made, the inbox is told of: a bound on the
// deliveries that wait is kept by the next Claim.
//
// An event that is known with another digest violates NOT NULL, which takes all of the statement back; that way it
// holds as well against one that another transaction commits meanwhile, which this statement's snapshot does not show.
var sqlEnqueue = `
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
input AS MATERIALIZED (
	SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::bytea[], $7::text[], $8::bytea[],
		$9::int[], $10::int[], $11::text[], $12::bigint[])
	WITH ORDINALITY AS i (tenant, id, type, session_id, time, body, metadata, digest, request, hand_max, owner, term, n)
),
stored AS (
	INSERT INTO {events} AS v (tenant, id, type, session_id, time, body, metadata, digest, stored_at)
	SELECT i.tenant, i.id, i.type, i.session_id, i.time, i.body, i.metadata::jsonb, i.digest, clock.now FROM input i, clock ORDER BY i.n
	ON CONFLICT (tenant, id) DO UPDATE SET digest = NULL WHERE v.digest <> excluded.digest
	RETURNING tenant, id
),
matched AS MATERIALIZED (
	SELECT i.n, i.request, i.tenant, i.id AS event_id, i.type, i.hand_max, i.owner, i.term, l.id AS endpoint_id, l.gap,
		i.hand_max > 0 AND l.gap IS NULL AND l.state = 'active' AND NOT l.slow AND l.burst = 0 AS free, greatest(l.window_size, 1) AS room
	FROM stored s JOIN input i ON i.tenant = s.tenant AND i.id = s.id CROSS JOIN LATERAL ` + subscribers("i") + ` l
),
rooms AS MATERIALIZED (
	SELECT f.tenant, f.endpoint_id, f.room - ` + leases("f.tenant", "f.endpoint_id", "f.room") + ` AS room
	FROM (SELECT DISTINCT tenant, endpoint_id, room FROM matched WHERE free) f, clock
	WHERE coalesce((SELECT min(d.due_at) FROM {deliveries} d WHERE d.tenant = f.tenant AND d.endpoint_id = f.endpoint_id AND d.turn = 0) > clock.now, true)
	AND coalesce((SELECT min(d.due_at) FROM {deliveries} d WHERE d.tenant = f.tenant AND d.endpoint_id = f.endpoint_id AND d.turn = 1) > clock.now, true)
),
fitting AS (
	SELECT m.*, coalesce(row_number() OVER (PARTITION BY m.tenant, m.endpoint_id ORDER BY m.n) <= r.room, false) AS fits
	FROM matched m LEFT JOIN rooms r ON m.free AND r.tenant = m.tenant AND r.endpoint_id = m.endpoint_id
	WHERE m.gap IS NULL
),
handed AS (
	SELECT f.*, f.fits AND row_number() OVER (PARTITION BY f.request, f.fits ORDER BY f.n, f.endpoint_id) <= f.hand_max AS hand FROM fitting f
),
made AS (
	INSERT INTO {deliveries} (tenant, id, event_id, event_type, endpoint_id, kind, state, turn, created_at, due_at, attempts, token, owner, leased_at)
	SELECT h.tenant, ` + newID + `, h.event_id, h.type, h.endpoint_id, 'event',
		CASE WHEN h.hand THEN 'leased' ELSE 'pending' END, CASE WHEN h.hand THEN 2 ELSE 0 END, now,
		CASE WHEN h.hand THEN now + h.term * interval '1 microsecond' ELSE now END, CASE WHEN h.hand THEN 1 ELSE 0 END,
		CASE WHEN h.hand THEN gen_random_uuid() END, CASE WHEN h.hand THEN h.owner ELSE '' END, CASE WHEN h.hand THEN now END
	FROM handed h, clock
	RETURNING tenant, id, event_id, endpoint_id, turn, token
),
told AS (
	INSERT INTO {inbox} (tenant, endpoint_id, gap, events, at)
	SELECT m.tenant, m.endpoint_id, NULL, count(*), min(clock.now) FILTER (WHERE m.turn = 0) FROM made m, clock GROUP BY m.tenant, m.endpoint_id
	UNION ALL
	SELECT tenant, endpoint_id, gap, count(*), NULL FROM matched WHERE gap IS NOT NULL GROUP BY tenant, endpoint_id, gap
)
SELECT clock.now, waits.requests, g.events, g.ids, g.tokens, ` + endpointColumns + `
FROM clock
CROSS JOIN (SELECT array_agg(DISTINCT i.request) AS requests FROM made m JOIN input i ON i.tenant = m.tenant AND i.id = m.event_id WHERE m.turn = 0) waits
LEFT JOIN (
	SELECT m.tenant, m.endpoint_id, array_agg(m.event_id) AS events, array_agg(m.id) AS ids, array_agg(m.token::text) AS tokens
	FROM made m WHERE m.turn = 2 GROUP BY m.tenant, m.endpoint_id) g ON true
LEFT JOIN {endpoints} e ON e.tenant = g.tenant AND e.id = g.endpoint_id
LEFT JOIN {lanes} l ON l.tenant = g.tenant AND l.id = g.endpoint_id`

// eventArgs are the events of a statement, column by column.
type eventArgs struct {
	tenants, ids, types, sessions []string
	times                         []time.Time
	bodies                        [][]byte
	metadata                      []*string
	digests                       [][]byte
}

func (a *eventArgs) add(tenant string, e *webhook.Event, digest [32]byte) error {
	metadata, err := packMetadata(e.Metadata)
	if err != nil {
		return err
	}
	a.tenants, a.ids, a.types, a.sessions = append(a.tenants, tenant), append(a.ids, e.ID), append(a.types, e.Type), append(a.sessions, e.SessionID)
	body := e.Body
	if body == nil {
		body = []byte{} // NULL is a body that was removed
	}
	a.times, a.bodies, a.metadata, a.digests = append(a.times, e.Time), append(a.bodies, body), append(a.metadata, metadata), append(a.digests, digest[:])
	return nil
}

func (a *eventArgs) list() []any {
	return []any{a.tenants, a.ids, a.types, a.sessions, a.times, a.bodies, a.metadata, a.digests}
}

// prepared is an event of a request, with what tells whether another one is the same.
type prepared struct {
	*webhook.Event
	digest [32]byte
}

// prepare leaves out the events whose id came before in the request, and sorts the others: all statements insert in
// the order of ids, so that two with the same ones wait for each other and not in a circle.
func prepare(events []webhook.Event) ([]prepared, error) {
	out := make([]prepared, len(events))
	for i := range events {
		out[i] = prepared{&events[i], events[i].Digest()}
	}
	slices.SortStableFunc(out, func(a, b prepared) int { return cmp.Compare(a.ID, b.ID) })
	kept := out[:0]
	for _, e := range out {
		if n := len(kept); n > 0 && kept[n-1].ID == e.ID {
			if kept[n-1].digest != e.digest {
				return nil, fmt.Errorf("%w: %q comes twice in one request", webhook.ErrConflict, e.ID)
			}
			continue
		}
		kept = append(kept, e)
	}
	return kept, nil
}

// Enqueue implements [webhook.Outbox]. Calls that come while another one is at the database share one transaction.
func (s *Store) Enqueue(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
	events, err := prepare(req.Events)
	if err != nil {
		return webhook.EnqueueResult{}, fail("enqueue", err)
	}
	if req.Direct != nil {
		result, err := s.direct(ctx, req.Tenant, events, req.Direct, req.MaxPending)
		return result, err
	}
	if len(events) == 0 {
		return webhook.EnqueueResult{}, fail("enqueue", ctx.Err())
	}
	c := &call{tenant: req.Tenant, events: events, hand: req.HandOver}
	result, err := s.emits.do(ctx, s, c)
	return result, fail("enqueue", err)
}

// store writes what the calls ask for, all or nothing, and fills in their results.
func (s *Store) store(ctx context.Context, calls []*call) error {
	type item struct {
		prepared
		call int
	}
	var items []item
	for i, c := range calls {
		for _, e := range c.events {
			items = append(items, item{e, i})
		}
	}
	slices.SortStableFunc(items, func(a, b item) int {
		return cmp.Or(cmp.Compare(calls[a.call].tenant, calls[b.call].tenant), cmp.Compare(a.ID, b.ID))
	})
	var args eventArgs
	var requests, hands []int32
	var owners []string
	var terms []int64
	from := make(map[ref]item, len(items))
	for _, it := range items {
		c := calls[it.call]
		k := ref{c.tenant, it.ID}
		if same, twice := from[k]; twice {
			if !bytes.Equal(same.digest[:], it.digest[:]) {
				return fmt.Errorf("%w: %q", webhook.ErrConflict, it.ID) // one by one it will come out who is first
			}
			continue
		}
		from[k] = it
		if err := args.add(c.tenant, it.Event, it.digest); err != nil {
			return err
		}
		hand := webhook.HandOver{}
		if c.hand != nil {
			hand = *c.hand
		}
		requests, hands = append(requests, int32(it.call)), append(hands, small(max(hand.Max, 0)))
		owners, terms = append(owners, hand.Owner), append(terms, micros(hand.Term))
	}

	err := s.inTx(ctx, "enqueue", func(t *tx) error {
		for _, c := range calls {
			c.result = webhook.EnqueueResult{}
		}
		t.plans = sqlPlans
		failpoint.Pass(failpoint.K0)
		t.queue(sqlEnqueue, append(args.list(), requests, hands, owners, terms)...).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				events, lease, err := scanHanded(rows, calls)
				if err != nil {
					return err
				}
				for i, id := range events {
					it := from[ref{lease[i].Delivery.Tenant, id}]
					lease[i].Event, lease[i].Term = *it.Event, calls[it.call].hand.Term
					lease[i].Delivery.EventType = it.Type
					calls[it.call].result.Leases = append(calls[it.call].result.Leases, lease[i])
				}
			}
			return rows.Err()
		})
		return t.finish(ctx, func() {
			// The inserts are one statement, and the COMMIT is on its way with it.
			failpoint.Pass(failpoint.K1)
			failpoint.Pass(failpoint.K2)
			failpoint.Pass(failpoint.K3)
		})
	})
	if is(err, "23502") { // not_null_violation: see sqlEnqueue
		return fmt.Errorf("%w: an event of the request is stored with another type, session or data", webhook.ErrConflict)
	}
	if err == nil {
		failpoint.Pass(failpoint.K4)
	}
	return err
}

// scanHanded reads a row of sqlEnqueue: the deliveries that were handed over to one endpoint, if any, with the ids of
// their events. It marks the calls of which something waits.
func scanHanded(rows pgx.Rows, calls []*call) (events []string, leases []webhook.Lease, err error) {
	var now time.Time
	var waiting []int32
	var ids, tokens []string
	var row endpointRow
	dest := append([]any{&now, &waiting, &events, &ids, &tokens}, row.dest()...)
	if rows.RawValues()[2] == nil { // nothing was handed over
		clear(dest[2:])
	}
	if err := rows.Scan(dest...); err != nil {
		return nil, nil, err
	}
	for _, i := range waiting {
		calls[i].result.Queued = true
	}
	if len(ids) == 0 {
		return nil, nil, nil
	}
	endpoint, err := row.value()
	for i := range ids {
		leases = append(leases, webhook.Lease{
			Delivery: webhook.Delivery{
				ID: ids[i], Tenant: endpoint.Tenant, EventID: events[i], EndpointID: endpoint.ID, Kind: webhook.KindEvent,
				State: webhook.DeliveryLeased, CreatedAt: now.UTC(), AttemptCount: 1,
			},
			Endpoint: &endpoint, Token: tokens[i], StartedAt: now.UTC(),
		})
	}
	return events, leases, err
}
