package pgstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/failpoint"
)

const (
	sqlDirectStore = `
INSERT INTO {events} (tenant, id, type, session_id, time, body, metadata, digest, stored_at, direct)
SELECT i.tenant, i.id, i.type, i.session_id, i.time, i.body, i.metadata::jsonb, i.digest, clock_timestamp(), true
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::bytea[], $7::text[], $8::bytea[])
	WITH ORDINALITY AS i (tenant, id, type, session_id, time, body, metadata, digest, n) ORDER BY i.n
ON CONFLICT (tenant, id) DO NOTHING`

	// Locked, so that neither the event nor its body is pruned before the delivery is there.
	sqlDirectEvents = `SELECT ` + eventColumns + `, v.digest, v.pruned FROM {events} v WHERE v.tenant = $1::text AND v.id = ANY($2::text[]) ORDER BY v.id FOR SHARE`

	sqlEndpoint = `SELECT ` + endpointColumns + ` FROM {endpoints} e JOIN {lanes} l ON l.tenant = e.tenant AND l.id = e.id
WHERE e.tenant = $1::text AND e.id = $2::text AND e.deleted_at IS NULL`

	sqlDirect = `
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
made AS (
	INSERT INTO {deliveries} AS d (tenant, id, event_id, event_type, endpoint_id, kind, state, turn, created_at, due_at, attempts,
		redelivery_of, asked_by, token, owner, leased_at)
	SELECT $1::text, ` + newID + `, i.id, i.type, $4::text, $5::text, CASE WHEN $10::bool THEN 'pending' ELSE 'leased' END, CASE WHEN $10::bool THEN 0 ELSE 2 END,
		now, CASE WHEN $10::bool THEN now ELSE now + $8::bigint * interval '1 microsecond' END, CASE WHEN $10::bool THEN 0 ELSE 1 END, $6::text, $9::text,
		CASE WHEN NOT $10::bool THEN gen_random_uuid() END, CASE WHEN $10::bool THEN '' ELSE $7::text END, CASE WHEN NOT $10::bool THEN now END
	FROM unnest($2::text[], $3::text[]) AS i (id, type), clock
	RETURNING d.*
),
told AS (
	INSERT INTO {inbox} (tenant, endpoint_id, gap, events, at)
	SELECT $1::text, $4::text, NULL, count(*), min(d.due_at) FILTER (WHERE d.turn = 0) FROM made d HAVING count(*) > 0
)
SELECT ` + deliveryColumns + `, d.token::text, d.leased_at FROM made d WHERE d.turn = 2`
)

// sqlPendingOf locks nothing: a lane is not worth waiting for to keep a bound to the last delivery.
var sqlPendingOf = `SELECT ` + pendingOf("l") + ` FROM {lanes} l WHERE l.tenant = $1::text AND l.id = $2::text`

// direct makes deliveries for one endpoint, leased or queued. It is what a person waits for who pressed a button, so
// it goes alone.
func (s *Store) direct(ctx context.Context, tenant string, events []prepared, to *webhook.Direct, maxPending int) (webhook.EnqueueResult, error) {
	var args eventArgs
	var types []string
	for _, e := range events {
		if err := args.add(tenant, e.Event, e.digest); err != nil {
			return webhook.EnqueueResult{}, fail("enqueue", err)
		}
		types = append(types, e.Type)
	}
	var result webhook.EnqueueResult
	err := s.inTx(ctx, "enqueue", func(t *tx) error {
		result = webhook.EnqueueResult{Queued: to.Queued && len(events) > 0}
		failpoint.Pass(failpoint.K0)
		stored := map[string]webhook.Event{}
		var refused error // as the store is: what the request is refused for comes first
		t.queue(sqlDirectStore, args.list()...)
		t.queue(sqlDirectEvents, tenant, args.ids).Query(func(rows pgx.Rows) error {
			want := map[string]prepared{}
			for _, e := range events {
				want[e.ID] = e
			}
			for rows.Next() {
				var row eventRow
				var digest []byte
				var pruned bool
				if err := rows.Scan(append(row.dest(), &digest, &pruned)...); err != nil {
					return err
				}
				event, err := row.value()
				if err != nil {
					return err
				}
				stored[event.ID] = event
				e := want[event.ID]
				switch {
				case pruned:
					refused = errors.Join(refused, fmt.Errorf("%w: event %q", webhook.ErrBodyPruned, event.ID))
				case string(digest) != string(e.digest[:]):
					refused = errors.Join(refused, fmt.Errorf("%w: %q", webhook.ErrConflict, event.ID))
				}
			}
			return rows.Err()
		})
		var pending int
		if to.Queued && maxPending > 0 {
			t.queue(sqlPendingOf, tenant, to.EndpointID).Query(func(rows pgx.Rows) error {
				_, err := pgx.ForEachRow(rows, []any{&pending}, func() error { return nil })
				return err
			})
		}
		endpoint, err := t.endpoint(ctx, sqlEndpoint, tenant, to.EndpointID)
		if err != nil || refused != nil {
			return errors.Join(err, refused)
		}
		if to.Queued && maxPending > 0 && pending+len(events) > maxPending {
			return fmt.Errorf("%w: %d of %d", webhook.ErrBacklogFull, pending, maxPending)
		}
		failpoint.Pass(failpoint.K1)

		t.queue(sqlDirect, tenant, args.ids, types, to.EndpointID, string(to.Kind), to.RedeliveryOf, to.Owner, micros(to.Term), to.AskedBy, to.Queued).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var row deliveryRow
				var token string
				var leasedAt time.Time
				if err := rows.Scan(append(row.dest(), &token, &leasedAt)...); err != nil {
					return err
				}
				d := row.value()
				result.Leases = append(result.Leases, webhook.Lease{
					Delivery: d, Event: stored[d.EventID], Endpoint: &endpoint, Token: token, StartedAt: leasedAt.UTC(), Term: to.Term,
				})
			}
			return rows.Err()
		})
		return t.finish(ctx, func() {
			failpoint.Pass(failpoint.K2) // on its way together with the COMMIT
			failpoint.Pass(failpoint.K3)
		})
	})
	if err != nil {
		return webhook.EnqueueResult{}, err
	}
	failpoint.Pass(failpoint.K4)
	return result, nil
}

// endpoint sends what was queued and a statement that reads one endpoint.
func (t *tx) endpoint(ctx context.Context, text string, args ...any) (webhook.Endpoint, error) {
	var row endpointRow
	found := false
	t.queue(text, args...).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			found = true
			if err := rows.Scan(row.dest()...); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	if err := t.send(ctx); err != nil {
		return webhook.Endpoint{}, err
	}
	if !found {
		return webhook.Endpoint{}, fmt.Errorf("%w: endpoint", webhook.ErrNotFound)
	}
	return row.value()
}
