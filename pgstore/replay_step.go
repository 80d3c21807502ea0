package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/meshia/webhook"
)

// replayAtOnce bounds how many events a step looks at while others wait for its lane.
const replayAtOnce = 1000

// sqlNextReplay takes the replay whose turn it is, and its lane. Those that wait it passes over. $1 is how many
// deliveries may be pending. It waits for the lane only: who has that is quick, and waits for no replay.
var sqlNextReplay = `
WITH mine AS MATERIALIZED (
	SELECT r.* FROM {replays} r CROSS JOIN LATERAL (
		SELECT FROM {lanes} l WHERE l.tenant = r.tenant AND l.id = r.endpoint_id
			AND (l.deleted OR l.state IN ('active', 'paused') AND ` + pendingOf("l") + ` < $1::bigint
				AND CASE WHEN r.awaits = '{}' THEN true ELSE NOT EXISTS (` + writers + ` AND k.virtualtransaction = ANY (r.awaits)) END)
		OFFSET 0) l
	WHERE r.state = 'running'
	ORDER BY r.stepped_at LIMIT 1 FOR UPDATE OF r SKIP LOCKED
)
SELECT r.tenant, r.id, l.deleted, l.state FROM mine r
CROSS JOIN LATERAL (SELECT l.deleted, l.state FROM {lanes} l WHERE l.tenant = r.tenant AND l.id = r.endpoint_id FOR UPDATE) l`

// pendingOf is how many deliveries of a lane are pending or leased.
func pendingOf(lane string) string {
	return `(` + lane + `.pending + coalesce((SELECT sum(i.events) FROM {inbox} i WHERE i.tenant = ` + lane + `.tenant AND i.endpoint_id = ` + lane + `.id AND i.gap IS NULL), 0))`
}

const sqlReplaysRun = `SELECT EXISTS (SELECT FROM {replays} WHERE state = 'running')`

// sqlStep looks at the next events of a replay. Whoever runs it has the replay and the lane, by an earlier statement,
// so that it sees all that was done under them before. $3 is how many events, $4 how many deliveries may be pending.
//
// Of the gaps that opened before an event was stored only the last can have been open then: they follow one another.
// An event that began while it was open may be stored some seconds after it was closed. $5 is how many.
//
// The events that are queued again are locked, so that neither they nor their bodies are removed before their
// deliveries are there, and in the order in which all others lock them. Their deliveries fall due one after the other,
// within less time than storing them takes.
//
// The columns of one CTE are joined with each table, and no parameters: with those the planner would take the key's
// first column for enough.
var sqlStep = `
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
mine AS MATERIALIZED (
	SELECT r.*, l.room FROM {replays} r
	CROSS JOIN LATERAL (SELECT $4::bigint - ` + pendingOf("l") + ` AS room FROM {lanes} l WHERE l.tenant = r.tenant AND l.id = r.endpoint_id OFFSET 0) l
	WHERE r.tenant = $1::text AND r.id = $2::text
),
next AS MATERIALIZED (
	SELECT r.tenant, v.*, row_number() OVER (ORDER BY v.stored_at, v.id) AS n
	FROM mine r CROSS JOIN LATERAL (
		SELECT v.id, v.type, v.stored_at, v.pruned, v.direct FROM {events} v
		WHERE v.id <> '' AND v.tenant = r.tenant AND v.stored_at < r.until AND (v.stored_at, v.id) > (coalesce(r.reached_at, '-infinity'), r.reached_id)
		ORDER BY v.stored_at, v.id LIMIT $3::int + 1) v
),
judged AS MATERIALIZED (
	SELECT n.*, d.last, CASE
		WHEN NOT EXISTS (SELECT FROM {subscriptions} u WHERE u.tenant = r.tenant AND u.type IN (n.type, '*') AND u.endpoint_id = r.endpoint_id) THEN false
		WHEN d.last IS NOT NULL THEN r.failed AND NOT d.settled
		WHEN NOT r.missed OR n.direct THEN false
		ELSE coalesce((SELECT g.to_at IS NULL OR n.stored_at < g.to_at + $5::bigint * interval '1 microsecond' FROM {gaps} g
			WHERE g.endpoint_id = r.endpoint_id AND g.tenant = r.tenant AND g.from_at <= n.stored_at ORDER BY g.from_at DESC, g.number DESC LIMIT 1), false)
		END AS wanted
	FROM mine r CROSS JOIN next n CROSS JOIN LATERAL (
		SELECT max(d.id) AS last, bool_or(d.state <> 'failed') AS settled FROM {deliveries} d
		WHERE d.event_id = n.id AND d.tenant = r.tenant AND d.endpoint_id = r.endpoint_id AND d.kind NOT IN ('ping', 'test')) d
	WHERE n.n <= $3::int
),
taken AS MATERIALIZED (
	SELECT j.* FROM (SELECT j.*, count(*) FILTER (WHERE j.wanted AND NOT j.pruned) OVER (ORDER BY j.n) AS used FROM judged j) j, mine r WHERE j.used <= r.room
),
locked AS MATERIALIZED (
	SELECT t.id, t.type, t.last, t.n, v.pruned FROM taken t JOIN {events} v ON v.tenant = t.tenant AND v.id = t.id
	WHERE t.wanted ORDER BY v.id FOR SHARE OF v
),
made AS (
	INSERT INTO {deliveries} (tenant, id, event_id, event_type, endpoint_id, kind, state, turn, created_at, due_at, redelivery_of, asked_by)
	SELECT k.tenant, ` + newID + `, k.id, k.type, k.endpoint_id, 'redelivery', 'pending', 0, now, now, coalesce(k.last, ''), k.asked_by
	FROM (
		SELECT r.tenant, r.endpoint_id, r.asked_by, k.id, k.type, k.last, k.n, clock.now + k.n * interval '1 microsecond' AS now
		FROM locked k, mine r, clock WHERE NOT k.pruned) k ORDER BY k.n
	RETURNING due_at
),
queued AS MATERIALIZED (SELECT count(*) AS n, min(due_at) AS at FROM made),
lane AS (
	UPDATE {lanes} l SET pending = l.pending + q.n, eligible_at = CASE WHEN l.state IN ('active', 'paused')
		THEN least(l.eligible_at, greatest(q.at, ` + notBefore("l", "l") + `)) ELSE l.eligible_at END
	FROM queued q, mine r WHERE q.n > 0 AND l.tenant = r.tenant AND l.id = r.endpoint_id
),
looked AS MATERIALIZED (SELECT count(*) AS n, max(t.n) AS last, count(*) = (SELECT count(*) FROM next) AS is_all FROM taken t)
UPDATE {replays} r SET
	awaits = '{}', looked = r.looked + k.n, queued = r.queued + q.n, skipped = r.skipped + (SELECT count(*) FROM locked WHERE pruned), stepped_at = clock.now,
	state = CASE WHEN k.is_all THEN 'done' ELSE r.state END, finished_at = CASE WHEN k.is_all THEN clock.now END,
	reached_at = CASE WHEN k.is_all THEN greatest(r.reached_at, r.until) ELSE coalesce(t.stored_at, r.reached_at) END,
	reached_id = CASE WHEN k.is_all THEN '' ELSE coalesce(t.id, r.reached_id) END
FROM looked k LEFT JOIN taken t ON t.n = k.last, queued q, clock
WHERE r.tenant = $1::text AND r.id = $2::text
RETURNING q.n`

const sqlDelayReplay = `UPDATE {replays} SET stepped_at = clock_timestamp() WHERE tenant = $1::text AND id = $2::text AND state = 'running'`

// ContinueReplay implements [webhook.Replays].
func (s *Store) ContinueReplay(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
	var stepped webhook.ReplayStepped
	var tenant, id string // of the replay whose turn it is
	found := false
	err := s.inTx(ctx, "continue replay", func(t *tx) error {
		stepped, found = webhook.ReplayStepped{}, false
		var deleted bool
		var state webhook.EndpointState
		t.queue(sqlNextReplay, req.Pending, s.names.table("events")).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				found = true
				if err := rows.Scan(&tenant, &id, &deleted, &state); err != nil {
					return err
				}
			}
			return rows.Err()
		})
		if err := t.send(ctx); err != nil {
			return err
		}
		switch {
		case found && deleted:
			stepped.Stepped = true
			t.queue(sqlStopReplay, tenant, id)
		case found && state.Queues():
			stepped.Stepped = true
			t.queue(sqlStep, tenant, id, max(1, min(req.Max, replayAtOnce)), req.Pending, micros(lateness)).QueryRow(func(row pgx.Row) error {
				var queued int64
				err := row.Scan(&queued)
				stepped.Queued = queued > 0
				return err
			})
		default:
			t.queue(sqlReplaysRun).QueryRow(func(row pgx.Row) error { return row.Scan(&stepped.Waiting) })
		}
		return t.commit(ctx)
	})
	if err == nil {
		return stepped, nil
	}
	if found { // it takes its turn nonetheless; where that fails too nothing works
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackLimit)
		defer cancel()
		_, _ = s.pool.Exec(ctx, s.sql(sqlDelayReplay), tenant, id)
	}
	return webhook.ReplayStepped{}, err
}

// lateness is how much later an event may be stored than the gap was closed in which it was missed: as long as it
// takes from when a statement sees the open gap until it reads the clock, and from when the gap's transaction reads it
// until it is committed.
const lateness = 5 * time.Second
