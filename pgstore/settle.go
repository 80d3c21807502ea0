package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/failpoint"
)

// overdueAtOnce bounds how many leases and how many old deliveries one call of Claim settles.
const overdueAtOnce = 1000

const (
	// sqlLost ends the leases whose term has run out. It locks no lane: the inbox tells Claim to look at it, and how
	// many deliveries are over. Whoever records an outcome has the lane first and the delivery then; this has the
	// delivery alone, and waits for nobody.
	sqlLost = `
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
lost AS MATERIALIZED (
	SELECT tenant, id FROM {deliveries} WHERE turn = 2 AND due_at <= (SELECT now FROM clock) ORDER BY due_at LIMIT $1::int FOR UPDATE SKIP LOCKED
),
verdict AS MATERIALIZED (
	SELECT d.tenant, d.id, CASE
		WHEN d.kind IN ('ping', 'test') OR d.interrupted + 1 >= $2::int THEN 'interrupted'
		WHEN NOT EXISTS (SELECT FROM {lanes} l WHERE l.tenant = d.tenant AND l.id = d.endpoint_id AND NOT l.deleted) THEN 'endpoint_deleted'
		WHEN d.erased THEN 'erased'
		ELSE '' END AS reason
	FROM lost JOIN {deliveries} d ON d.tenant = lost.tenant AND d.id = lost.id
),
ended AS (
	UPDATE {deliveries} d SET
		state = CASE WHEN v.reason = '' THEN 'pending' ELSE 'failed' END, turn = CASE WHEN v.reason = '' THEN 1 END, reason = v.reason,
		due_at = CASE WHEN v.reason = '' THEN clock.now END, finished_at = CASE WHEN v.reason <> '' THEN clock.now END,
		interrupted = d.interrupted + 1, token = NULL
	FROM verdict v, clock WHERE d.tenant = v.tenant AND d.id = v.id
	RETURNING d.tenant, d.id, d.endpoint_id, d.turn, d.attempts, d.leased_at
),
logged AS (
	INSERT INTO {attempts} (tenant, delivery_id, number, started_at, result, error, detail, status, latency, dns, connect, tls, first_byte, reused,
		remote_addr, truncated, secret_id)
	SELECT tenant, id, attempts, leased_at, 'interrupted', 'lost', '', 0, 0, 0, 0, 0, 0, false, '', false, '' FROM ended
),
told AS (
	INSERT INTO {inbox} (tenant, endpoint_id, gap, events, at)
	SELECT e.tenant, e.endpoint_id, NULL, -count(*) FILTER (WHERE e.turn IS NULL), clock.now FROM ended e, clock GROUP BY e.tenant, e.endpoint_id, clock.now
)
SELECT count(*) FROM ended`

	// sqlExpire fails what has waited for too long. Lanes that had nothing else are corrected when it is their turn.
	sqlExpire = `
WITH old AS MATERIALIZED (
	SELECT tenant, id FROM {deliveries} WHERE turn < 2 AND created_at <= (SELECT clock_timestamp() - $2::bigint * interval '1 microsecond')
	ORDER BY created_at LIMIT $1::int FOR UPDATE SKIP LOCKED
),
failed AS (
	UPDATE {deliveries} d SET state = 'failed', turn = NULL, reason = 'expired', due_at = NULL, finished_at = clock_timestamp()
	FROM old o WHERE d.tenant = o.tenant AND d.id = o.id RETURNING d.tenant, d.endpoint_id
),
told AS (INSERT INTO {inbox} (tenant, endpoint_id, gap, events) SELECT tenant, endpoint_id, NULL, -count(*) FROM failed GROUP BY tenant, endpoint_id)
SELECT count(*) FROM failed`
)

// settle ends the leases that ran out and fails what is too old. more says that there is more of it.
func (s *Store) settle(ctx context.Context, maxAge time.Duration) (more bool, err error) {
	err = s.inTx(ctx, "claim", func(t *tx) error {
		more = false
		count := func(row pgx.Row) error {
			var n int
			err := row.Scan(&n)
			more = more || n == overdueAtOnce
			return err
		}
		t.queue(sqlLost, overdueAtOnce, webhook.MaxInterrupted).QueryRow(count)
		if maxAge > 0 {
			t.queue(sqlExpire, overdueAtOnce, micros(maxAge)).QueryRow(count)
		}
		if err := t.send(ctx); err != nil {
			return err
		}
		failpoint.Pass(failpoint.K17)
		return t.commit(ctx)
	})
	return more, err
}
