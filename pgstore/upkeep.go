package pgstore

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/failpoint"
)

const (
	// Rows that somebody else holds are left to the next call.
	sqlPruneDeliveries = `
WITH old AS MATERIALIZED (
	SELECT tenant, id FROM {deliveries} WHERE finished_at < (SELECT clock_timestamp() - $1::bigint * interval '1 microsecond')
	ORDER BY finished_at LIMIT $2::int FOR UPDATE SKIP LOCKED
),
rows AS (DELETE FROM {attempts} a USING old o WHERE a.tenant = o.tenant AND a.delivery_id = o.id),
gone AS (DELETE FROM {deliveries} d USING old o WHERE d.tenant = o.tenant AND d.id = o.id RETURNING 1)
SELECT count(*) FROM gone`

	// The events are locked first, and looked at again by the next statement: a redelivery locks its event before it
	// is inserted, so that one of the two sees the other.
	sqlIdleEvents = `
SELECT v.tenant, v.id FROM {events} v
WHERE v.pruned = $3::bool AND v.stored_at < (SELECT clock_timestamp() - $1::bigint * interval '1 microsecond')
	AND NOT EXISTS (SELECT FROM {deliveries} d WHERE d.tenant = v.tenant AND d.event_id = v.id)
ORDER BY v.stored_at LIMIT $2::int FOR UPDATE SKIP LOCKED`

	sqlPruneEvents = `
WITH gone AS (
	DELETE FROM {events} v USING unnest($1::text[], $2::text[]) AS i (tenant, id) WHERE v.tenant = i.tenant AND v.id = i.id
		AND NOT EXISTS (SELECT FROM {deliveries} d WHERE d.tenant = v.tenant AND d.event_id = v.id)
	RETURNING 1)
SELECT count(*) FROM gone`

	sqlOldBodies = `
SELECT v.tenant, v.id FROM {events} v
WHERE NOT v.pruned AND v.stored_at < (SELECT clock_timestamp() - $1::bigint * interval '1 microsecond')
	AND NOT EXISTS (SELECT FROM {deliveries} d WHERE d.tenant = v.tenant AND d.event_id = v.id AND d.turn IS NOT NULL)
ORDER BY v.stored_at LIMIT $2::int FOR UPDATE SKIP LOCKED`

	sqlPruneBodies = `
WITH bare AS (
	UPDATE {events} v SET body = NULL, metadata = NULL, pruned = true
	FROM unnest($1::text[], $2::text[]) AS i (tenant, id) WHERE v.tenant = i.tenant AND v.id = i.id
		AND NOT EXISTS (SELECT FROM {deliveries} d WHERE d.tenant = v.tenant AND d.event_id = v.id AND d.turn IS NOT NULL)
	RETURNING v.tenant, v.id),
stripped AS (
	UPDATE {attempts} a SET request_header = NULL, response_header = NULL, response_body = NULL
	FROM bare b JOIN {deliveries} d ON d.tenant = b.tenant AND d.event_id = b.id WHERE a.tenant = d.tenant AND a.delivery_id = d.id)
SELECT count(*) FROM bare`

	sqlPruneGaps = `
WITH old AS (SELECT tenant, endpoint_id, number FROM {gaps} WHERE to_at < (SELECT clock_timestamp() - $1::bigint * interval '1 microsecond')
	ORDER BY to_at LIMIT $2::int FOR UPDATE SKIP LOCKED),
gone AS (DELETE FROM {gaps} g USING old o WHERE g.tenant = o.tenant AND g.endpoint_id = o.endpoint_id AND g.number = o.number RETURNING 1)
SELECT count(*) FROM gone`

	sqlPruneHours = `
WITH old AS (SELECT tenant, endpoint_id, hour FROM {hours} WHERE hour < (SELECT clock_timestamp() - $1::bigint * interval '1 microsecond' - interval '1 hour')
	ORDER BY hour LIMIT $2::int FOR UPDATE SKIP LOCKED),
gone AS (DELETE FROM {hours} h USING old o WHERE h.tenant = o.tenant AND h.endpoint_id = o.endpoint_id AND h.hour = o.hour RETURNING 1)
SELECT count(*) FROM gone`

	sqlPruneReplays = `
WITH old AS (SELECT tenant, id FROM {replays} WHERE finished_at < (SELECT clock_timestamp() - $1::bigint * interval '1 microsecond')
	ORDER BY finished_at LIMIT $2::int FOR UPDATE SKIP LOCKED),
gone AS (DELETE FROM {replays} r USING old o WHERE r.tenant = o.tenant AND r.id = o.id RETURNING 1)
SELECT count(*) FROM gone`

	// Whose gaps and replays were not pruned yet are left to the next call: if their ids are used again, nothing of
	// what they had may be found under them.
	sqlPruneEndpoints = `
WITH old AS MATERIALIZED (
	SELECT e.tenant, e.id FROM {endpoints} e WHERE e.deleted_at < (SELECT clock_timestamp() - $1::bigint * interval '1 microsecond')
		AND NOT EXISTS (SELECT FROM {deliveries} d WHERE d.endpoint_id = e.id AND d.tenant = e.tenant)
		AND NOT EXISTS (SELECT FROM {gaps} g WHERE g.endpoint_id = e.id AND g.tenant = e.tenant)
		AND NOT EXISTS (SELECT FROM {replays} r WHERE r.endpoint_id = e.id AND r.tenant = e.tenant)
	ORDER BY e.deleted_at LIMIT $2::int
),
held AS MATERIALIZED (
	SELECT o.* FROM old o CROSS JOIN LATERAL (SELECT FROM {lanes} l WHERE l.tenant = o.tenant AND l.id = o.id FOR UPDATE SKIP LOCKED) l
),
box AS (DELETE FROM {inbox} i USING held o WHERE i.tenant = o.tenant AND i.endpoint_id = o.id),
hours AS (DELETE FROM {hours} h USING held o WHERE h.tenant = o.tenant AND h.endpoint_id = o.id),
lanes AS (DELETE FROM {lanes} l USING held o WHERE l.tenant = o.tenant AND l.id = o.id),
gone AS (DELETE FROM {endpoints} e USING held o WHERE e.tenant = o.tenant AND e.id = o.id RETURNING 1)
SELECT count(*) FROM gone`
)

// Prune implements [webhook.Upkeep]. It waits for no row that somebody else has, and keeps nobody waiting for longer
// than one statement of req.Max rows takes.
func (s *Store) Prune(ctx context.Context, req webhook.PruneRequest) (webhook.PruneResult, error) {
	var result webhook.PruneResult
	left := max(req.Max, 1)
	if req.Deliveries <= 0 && req.Bodies <= 0 {
		return result, fail("prune", ctx.Err())
	}
	// step removes some, and says so if there may be more.
	step := func(n *int, f func(t *tx, limit int, n *int) error) error {
		if left <= 0 {
			result.More = true
			return nil
		}
		var removed int
		err := s.inTx(ctx, "prune", func(t *tx) error {
			removed = 0
			if err := f(t, left, &removed); err != nil {
				return err
			}
			failpoint.Pass(failpoint.K18)
			return t.commit(ctx)
		})
		if err != nil {
			return err
		}
		result.More = result.More || removed >= left
		left -= removed
		*n += removed
		return nil
	}
	simple := func(text string) func(t *tx, limit int, n *int) error {
		return func(t *tx, limit int, n *int) error {
			t.queue(text, micros(req.Deliveries), limit).QueryRow(func(row pgx.Row) error { return row.Scan(n) })
			return t.send(ctx)
		}
	}
	// checked locks events with one statement and removes with another what is still to be removed.
	checked := func(find, remove string, args ...any) func(t *tx, limit int, n *int) error {
		return func(t *tx, limit int, n *int) error {
			var tenants, ids []string
			t.queue(find, append([]any{args[0], limit}, args[1:]...)...).Query(func(rows pgx.Rows) error {
				var tenant, id string
				_, err := pgx.ForEachRow(rows, []any{&tenant, &id}, func() error {
					tenants, ids = append(tenants, tenant), append(ids, id)
					return nil
				})
				return err
			})
			if err := t.send(ctx); err != nil || len(ids) == 0 {
				return err
			}
			t.queue(remove, tenants, ids).QueryRow(func(row pgx.Row) error { return row.Scan(n) })
			return t.send(ctx)
		}
	}
	if req.Deliveries > 0 {
		var gaps, hours, replays, endpoints int
		for _, f := range []struct {
			n *int
			f func(t *tx, limit int, n *int) error
		}{
			{&result.Deliveries, simple(sqlPruneDeliveries)},
			{&result.Events, checked(sqlIdleEvents, sqlPruneEvents, micros(req.Deliveries), false)},
			{&result.Events, checked(sqlIdleEvents, sqlPruneEvents, micros(req.Deliveries), true)},
			{&gaps, simple(sqlPruneGaps)},
			{&hours, simple(sqlPruneHours)},
			{&replays, simple(sqlPruneReplays)},
			{&endpoints, simple(sqlPruneEndpoints)},
		} {
			if err := step(f.n, f.f); err != nil {
				return result, err
			}
		}
	}
	if req.Bodies > 0 {
		if err := step(&result.Bodies, checked(sqlOldBodies, sqlPruneBodies, micros(req.Bodies))); err != nil {
			return result, err
		}
	}
	return result, nil
}

const (
	sqlEraseEvent = `
UPDATE {events} v SET body = NULL, metadata = NULL, pruned = true FROM {deliveries} d
WHERE d.tenant = $1::text AND d.id = $2::text AND v.tenant = d.tenant AND v.id = d.event_id RETURNING v.id`

	// What is leased is marked, and whoever ends the lease heeds it. The lanes are not locked: the inbox is told.
	sqlEraseDeliveries = `
WITH marked AS (
UPDATE {deliveries} d SET erased = true, state = CASE WHEN d.turn = 2 THEN d.state ELSE 'failed' END, reason = CASE WHEN d.turn = 2 THEN '' ELSE 'erased' END,
	due_at = CASE WHEN d.turn = 2 THEN d.due_at END, finished_at = CASE WHEN d.turn = 2 THEN NULL ELSE clock_timestamp() END,
	turn = CASE WHEN d.turn = 2 THEN d.turn END
WHERE d.tenant = $1::text AND d.event_id = $2::text AND d.turn IS NOT NULL
RETURNING d.endpoint_id, d.turn)
INSERT INTO {inbox} (tenant, endpoint_id, gap, events) SELECT $1::text, endpoint_id, NULL, -count(*) FROM marked WHERE turn IS NULL GROUP BY endpoint_id`

	// A statement of its own: it sees what was recorded before the deliveries were marked.
	sqlEraseAttempts = `
UPDATE {attempts} a SET request_header = NULL, response_header = NULL, response_body = NULL
FROM {deliveries} d WHERE d.tenant = $1::text AND d.event_id = $2::text AND a.tenant = d.tenant AND a.delivery_id = d.id`
)

// EraseDelivery implements [webhook.Upkeep].
func (s *Store) EraseDelivery(ctx context.Context, tenant, id string) error {
	return s.inTx(ctx, "erase delivery", func(t *tx) error {
		var event *string
		t.queue(sqlEraseEvent, tenant, id).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				if err := rows.Scan(&event); err != nil {
					return err
				}
			}
			return rows.Err()
		})
		if err := t.send(ctx); err != nil {
			return err
		}
		if event == nil {
			return fmt.Errorf("%w: delivery", webhook.ErrNotFound)
		}
		t.queue(sqlEraseDeliveries, tenant, *event)
		t.queue(sqlEraseAttempts, tenant, *event)
		return t.commit(ctx)
	})
}

// sqlErase are the statements that remove a part of a tenant, in their order.
var sqlErase = []string{
	`WITH part AS (SELECT tenant, id FROM {endpoints} WHERE tenant = $1::text ORDER BY tenant, id LIMIT $2::int),
	held AS MATERIALIZED (SELECT l.tenant, l.id FROM {lanes} l JOIN part s ON s.tenant = l.tenant AND s.id = l.id ORDER BY l.tenant, l.id FOR UPDATE OF l),
	subscribed AS (DELETE FROM {subscriptions} u USING part s WHERE u.tenant = s.tenant AND u.endpoint_id = s.id),
	lanes AS (DELETE FROM {lanes} l USING held h WHERE l.tenant = h.tenant AND l.id = h.id),
	gone AS (DELETE FROM {endpoints} e USING part s WHERE e.tenant = s.tenant AND e.id = s.id RETURNING 1) SELECT count(*) FROM gone`,
	`WITH gone AS (DELETE FROM {inbox} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {inbox} WHERE tenant = $1::text LIMIT $2::int)) AND tenant = $1::text RETURNING 1)
	SELECT count(*) FROM gone`,
	`WITH part AS (SELECT tenant, endpoint_id, number FROM {gaps} WHERE tenant = $1::text LIMIT $2::int),
	gone AS (DELETE FROM {gaps} g USING part s WHERE g.tenant = s.tenant AND g.endpoint_id = s.endpoint_id AND g.number = s.number RETURNING 1)
	SELECT count(*) FROM gone`,
	`WITH part AS (SELECT tenant, endpoint_id, hour FROM {hours} WHERE tenant = $1::text LIMIT $2::int),
	gone AS (DELETE FROM {hours} h USING part s WHERE h.tenant = s.tenant AND h.endpoint_id = s.endpoint_id AND h.hour = s.hour RETURNING 1)
	SELECT count(*) FROM gone`,
	`WITH part AS (SELECT tenant, id FROM {replays} WHERE tenant = $1::text LIMIT $2::int),
	gone AS (DELETE FROM {replays} r USING part s WHERE r.tenant = s.tenant AND r.id = s.id RETURNING 1) SELECT count(*) FROM gone`,
	`WITH part AS (SELECT tenant, id FROM {deliveries} WHERE tenant = $1::text ORDER BY id LIMIT $2::int),
	gone AS (DELETE FROM {deliveries} d USING part s WHERE d.tenant = s.tenant AND d.id = s.id RETURNING 1) SELECT count(*) FROM gone`,
	`WITH part AS (SELECT tenant, delivery_id, number FROM {attempts} WHERE tenant = $1::text LIMIT $2::int),
	gone AS (DELETE FROM {attempts} a USING part s WHERE a.tenant = s.tenant AND a.delivery_id = s.delivery_id AND a.number = s.number RETURNING 1)
	SELECT count(*) FROM gone`,
	`WITH part AS (SELECT tenant, id FROM {events} WHERE tenant = $1::text ORDER BY id LIMIT $2::int),
	gone AS (DELETE FROM {events} v USING part s WHERE v.tenant = s.tenant AND v.id = s.id RETURNING 1) SELECT count(*) FROM gone`,
}

// EraseTenant implements [webhook.Upkeep].
func (s *Store) EraseTenant(ctx context.Context, tenant string, limit int) (more bool, err error) {
	left := max(limit, 1)
	for _, text := range sqlErase {
		if left <= 0 {
			return true, nil
		}
		var n int
		err := s.inTx(ctx, "erase tenant", func(t *tx) error {
			t.queue(text, tenant, left).QueryRow(func(row pgx.Row) error { return row.Scan(&n) })
			return t.commit(ctx)
		})
		if err != nil {
			return true, err
		}
		if n >= left {
			return true, nil
		}
		left -= n
	}
	return false, nil
}

const sqlTenants = `
SELECT DISTINCT tenant FROM {endpoints} WHERE deleted_at IS NULL AND ($1::text IS NULL OR tenant > $1::text) ORDER BY tenant LIMIT $2::int`

// Tenants implements [webhook.Upkeep].
func (s *Store) Tenants(ctx context.Context, after *string, limit int) ([]string, error) {
	rows, err := s.pool.Query(ctx, s.sql(sqlTenants), after, max(limit, 0))
	if err != nil {
		return nil, fail("tenants", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return list, fail("tenants", err)
}
