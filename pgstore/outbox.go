package pgstore

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/meshia/webhook"
)

// sqlOutbox stores events of one tenant and matches them, in a transaction of the caller's: it only inserts. An event
// that is there already ends nothing; which ones are new is the answer.
var sqlOutbox = `
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
stored AS (
	INSERT INTO {events} (tenant, id, type, session_id, time, body, metadata, digest, stored_at)
	SELECT i.tenant, i.id, i.type, i.session_id, i.time, i.body, i.metadata::jsonb, i.digest, clock.now
	FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::bytea[], $7::text[], $8::bytea[])
		WITH ORDINALITY AS i (tenant, id, type, session_id, time, body, metadata, digest, n), clock ORDER BY i.n
	ON CONFLICT (tenant, id) DO NOTHING
	RETURNING tenant, id, type
),
matched AS MATERIALIZED (
	SELECT s.tenant, s.id AS event_id, s.type, l.id AS endpoint_id, l.gap FROM stored s CROSS JOIN LATERAL ` + subscribers("s") + ` l
),
made AS (
	INSERT INTO {deliveries} (tenant, id, event_id, event_type, endpoint_id, kind, state, turn, created_at, due_at)
	SELECT m.tenant, ` + newID + `, m.event_id, m.type, m.endpoint_id, 'event', 'pending', 0, now, now FROM matched m, clock WHERE m.gap IS NULL
),
told AS (
	INSERT INTO {inbox} (tenant, endpoint_id, gap, events, at)
	SELECT m.tenant, m.endpoint_id, m.gap, count(*), CASE WHEN m.gap IS NULL THEN min(clock.now) END FROM matched m, clock GROUP BY m.tenant, m.endpoint_id, m.gap
)
SELECT id FROM stored`

// sqlDigests reads what tells whether known events are the same.
const sqlDigests = `SELECT id, digest FROM {events} WHERE tenant = $1::text AND id = ANY($2::text[])`

// ErrDirectInTx says that a request named one endpoint, for a ping or a redelivery, and came to an outbox that writes
// into a transaction of the caller's: its lease would be nobody's until the commit.
var ErrDirectInTx = errors.New("a delivery to one endpoint cannot be enqueued in a transaction of the caller's")

// Tx returns an outbox that writes into tx, for Dispatcher.EmitTo: the events are stored when tx is committed, and
// never were there if it is rolled back. It only inserts, so that transactions that emit do not wait for each other or
// for dispatchers, unless they insert an event with the same id. Nothing is handed over, and nobody is woken: call
// Dispatcher.Wake after the commit.
//
// Neither a known event nor [webhook.ErrConflict] ends the transaction; an error of the database does. In a
// transaction that is REPEATABLE READ or SERIALIZABLE, an id that another one stores meanwhile is a serialization
// failure.
func (s *Store) Tx(tx pgx.Tx) webhook.Outbox { return outbox{s, pgxTx{tx}} }

// SQLTx is Tx for a transaction of database/sql, whatever its driver: pgx's stdlib, or lib/pq.
func (s *Store) SQLTx(tx *sql.Tx) webhook.Outbox { return outbox{s, sqlTx{tx}} }

// caller is a transaction of the caller's.
type caller interface {
	exec(ctx context.Context, sql string) error
	// insert runs sqlOutbox and returns the ids that are new.
	insert(ctx context.Context, sql string, args *eventArgs) ([]string, error)
	digests(ctx context.Context, sql, tenant string, ids []string) (map[string][]byte, error)
}

type outbox struct {
	store *Store
	tx    caller
}

// Enqueue implements [webhook.Outbox].
func (o outbox) Enqueue(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
	err := o.enqueue(ctx, req)
	return webhook.EnqueueResult{Queued: err == nil && len(req.Events) > 0}, fail("enqueue", err)
}

func (o outbox) enqueue(ctx context.Context, req webhook.EnqueueRequest) error {
	if req.Direct != nil {
		return ErrDirectInTx
	}
	events, err := prepare(req.Events)
	if err != nil || len(events) == 0 {
		return errors.Join(err, ctx.Err())
	}
	var args eventArgs
	for _, e := range events {
		if err := args.add(req.Tenant, e.Event, e.digest); err != nil {
			return err
		}
	}
	// One event is stored or not. Of several some may be stored before another turns out to be in conflict.
	several := len(events) > 1
	if several {
		if err := o.tx.exec(ctx, `SAVEPOINT webhook_enqueue`); err != nil {
			return err
		}
	}
	fresh, err := o.tx.insert(ctx, o.store.sql(sqlOutbox), &args)
	if err != nil {
		return err
	}
	if len(fresh) < len(events) {
		if err = o.compare(ctx, req.Tenant, events, fresh); errors.Is(err, webhook.ErrConflict) && several {
			err = errors.Join(err, o.tx.exec(ctx, `ROLLBACK TO SAVEPOINT webhook_enqueue`))
		}
	}
	if several && (err == nil || errors.Is(err, webhook.ErrConflict)) {
		err = errors.Join(err, o.tx.exec(ctx, `RELEASE SAVEPOINT webhook_enqueue`))
	}
	return err
}

// compare looks whether the events that are not new are the ones that are stored.
func (o outbox) compare(ctx context.Context, tenant string, events []prepared, fresh []string) error {
	known := map[string]prepared{}
	for _, e := range events {
		known[e.ID] = e
	}
	for _, id := range fresh {
		delete(known, id)
	}
	ids := make([]string, 0, len(known))
	for id := range known {
		ids = append(ids, id)
	}
	digests, err := o.tx.digests(ctx, o.store.sql(sqlDigests), tenant, ids)
	if err != nil {
		return err
	}
	for id, e := range known {
		switch stored, found := digests[id]; {
		case !found: // its transaction is not in this one's snapshot
			return fmt.Errorf("event %q was stored or removed meanwhile; repeat the transaction", id)
		case !bytes.Equal(stored, e.digest[:]):
			return fmt.Errorf("%w: %q", webhook.ErrConflict, id)
		}
	}
	return nil
}

type pgxTx struct{ pgx.Tx }

func (t pgxTx) exec(ctx context.Context, sql string) error {
	_, err := t.Exec(ctx, sql)
	return err
}

func (t pgxTx) insert(ctx context.Context, sql string, args *eventArgs) ([]string, error) {
	rows, err := t.Query(ctx, sql, args.list()...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func (t pgxTx) digests(ctx context.Context, sql, tenant string, ids []string) (map[string][]byte, error) {
	rows, err := t.Query(ctx, sql, tenant, ids)
	if err != nil {
		return nil, err
	}
	digests := map[string][]byte{}
	var id string
	var digest []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &digest}, func() error {
		digests[id] = bytes.Clone(digest)
		return nil
	})
	return digests, err
}

// sqlTx passes arrays as the text that Postgres reads and writes them as, since drivers have no common form for them.
type sqlTx struct{ *sql.Tx }

func (t sqlTx) exec(ctx context.Context, sql string) error {
	_, err := t.ExecContext(ctx, sql)
	return err
}

func (t sqlTx) insert(ctx context.Context, sql string, a *eventArgs) (ids []string, err error) {
	rows, err := t.QueryContext(ctx, sql,
		array(a.tenants, quoted), array(a.ids, quoted), array(a.types, quoted), array(a.sessions, quoted),
		array(a.times, timeText), array(a.bodies, bytesText), array(a.metadata, optional), array(a.digests, bytesText))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

func (t sqlTx) digests(ctx context.Context, sql, tenant string, ids []string) (map[string][]byte, error) {
	rows, err := t.QueryContext(ctx, sql, tenant, array(ids, quoted))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	digests := map[string][]byte{}
	for rows.Next() {
		var id string
		var digest []byte
		if err := rows.Scan(&id, &digest); err != nil {
			return nil, err
		}
		digests[id] = digest
	}
	return digests, rows.Err()
}

// array writes an array's text (PostgreSQL documentation, "Array Input and Output Syntax").
func array[T any](items []T, text func(T) string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, item := range items {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(text(item))
	}
	b.WriteByte('}')
	return b.String()
}

var quotes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func quoted(s string) string { return `"` + quotes.Replace(s) + `"` }

func optional(s *string) string {
	if s == nil {
		return "NULL"
	}
	return quoted(*s)
}

func bytesText(b []byte) string { return `"\\x` + hex.EncodeToString(b) + `"` }

// timeText is a time as Postgres reads it: it has no year 0, but 1 BC.
func timeText(t time.Time) string {
	t = t.UTC()
	if t.Year() < 1 {
		return fmt.Sprintf(`"%04d-%s BC"`, 1-t.Year(), t.Format("01-02 15:04:05.999999+00"))
	}
	return t.Format(`"2006-01-02 15:04:05.999999+00"`)
}
