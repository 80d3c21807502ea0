package sqlitestore

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"strings"
	"time"

	"github.com/meshia/webhook"
)

const eventColumns = `e.tenant, e.id, e.type, e.session, e.time, e.metadata, e.body`

// eventRead is an event on its way out of the database.
type eventRead struct {
	webhook.Event
	tenant   string
	time     int64
	metadata *string
}

func (e *eventRead) dest() []any {
	return []any{&e.tenant, &e.ID, &e.Type, &e.SessionID, &e.time, &e.metadata, &e.Body}
}

func (e *eventRead) event() (webhook.Event, error) {
	e.Time = time.Unix(e.time, 0).UTC()
	return e.Event, unmarshal(e.metadata, &e.Metadata)
}

const selectEvent = `SELECT ` + eventColumns + ` FROM webhook_events e WHERE e.tenant = ? AND e.id = ?`

var (
	eventByID    = statement(selectEvent)
	readEvent    = readStatement(selectEvent)
	readDelivery = readStatement(`SELECT ` + deliveryColumns + ` FROM webhook_deliveries d JOIN webhook_events e ON e.key = d.event
		JOIN webhook_endpoints p ON p.key = d.endpoint WHERE d.id = ? AND d.tenant = ?`)
	readAttempts = readStatement(`SELECT a.delivery, a.number, a.started_at, a.result, a.error, a.detail, a.status, a.latency, a.dns, a.connect, a.tls, a.first_byte, a.reused,
		a.remote_addr, a.secret_id, a.truncated, a.request_header, a.response_header, a.response_body
		FROM json_each(?) j CROSS JOIN webhook_attempts a ON a.delivery = j.value ORDER BY a.delivery, a.number`)
)

func (t *txn) event(tenant, id string) (webhook.Event, error) {
	var e eventRead
	if err := t.row(eventByID, []any{tenant, id}, e.dest()...); err != nil {
		return webhook.Event{}, err
	}
	return e.event()
}

// Event implements [webhook.History]. Once an event's contents were removed, its Body and Metadata are nil.
func (s *Store) Event(ctx context.Context, tenant, id string) (webhook.Event, error) {
	var e eventRead
	if err := s.reads[readEvent].QueryRowContext(ctx, tenant, id).Scan(e.dest()...); err != nil {
		return webhook.Event{}, wrap("event", missing(ctx, err, "event"))
	}
	event, err := e.event()
	return event, wrap("event", err)
}

const deliveryColumns = `d.key, d.id, d.tenant, e.id, d.event_type, p.id, d.kind, d.state, d.reason, d.created_at, d.due_at, d.finished_at,
	d.attempt_count, d.interrupted, d.deferred, d.redelivery_of, d.asked_by`

// listed is a delivery on its way out of the database.
type listed struct {
	webhook.Delivery
	key int64
}

func (d *listed) dest() []any {
	return []any{
		&d.key, &d.ID, &d.Tenant, &d.EventID, &d.EventType, &d.EndpointID, &d.Kind, &d.State, &d.Reason,
		stamp{&d.CreatedAt},
		stamp{&d.NextAttemptAt},
		stamp{&d.FinishedAt},
		&d.AttemptCount, &d.Interrupted, &d.Deferred, &d.RedeliveryOf, &d.AskedBy,
	}
}

// Delivery implements [webhook.History].
func (s *Store) Delivery(ctx context.Context, tenant, id string) (webhook.Delivery, error) {
	list := []listed{{}}
	err := s.read(ctx, func(tx *sql.Tx) error {
		if err := tx.StmtContext(ctx, s.reads[readDelivery]).QueryRowContext(ctx, id, tenant).Scan(list[0].dest()...); err != nil {
			return err
		}
		return s.attempts(ctx, tx, list)
	})
	if err != nil {
		return webhook.Delivery{}, wrap("delivery", missing(ctx, err, "delivery"))
	}
	return list[0].Delivery, nil
}

// Deliveries implements [webhook.History].
func (s *Store) Deliveries(ctx context.Context, tenant string, f webhook.DeliveryFilter) (webhook.DeliveryPage, error) {
	if f.Limit <= 0 || f.Limit > webhook.MaxPage {
		f.Limit = webhook.MaxPage
	}
	query, args, err := search(tenant, &f)
	if err != nil {
		return webhook.DeliveryPage{}, wrap("deliveries", err)
	}
	var list []listed
	err = s.read(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, query, args...)
		if err := each(rows, err, func() error {
			var d listed
			err := rows.Scan(d.dest()...)
			list = append(list, d)
			return err
		}); err != nil {
			return err
		}
		return s.attempts(ctx, tx, list[:min(len(list), f.Limit)])
	})
	if err != nil {
		return webhook.DeliveryPage{}, wrap("deliveries", missing(ctx, err, ""))
	}
	var page webhook.DeliveryPage
	for i := range list {
		if i == f.Limit {
			page.NextCursor = cursor(&list[i-1].Delivery)
			break
		}
		page.Deliveries = append(page.Deliveries, list[i].Delivery)
	}
	return page, nil
}

// search is the query for a page and one row more. Each of its indexes lists as the page does, so that it reads about
// what it returns; a filter that no index serves makes it read what it passes over as well.
func search(tenant string, f *webhook.DeliveryFilter) (query string, args []any, err error) {
	var where []string
	also := func(condition string, values ...any) {
		where = append(where, condition)
		args = append(args, values...)
	}
	index := "webhook_deliveries_tenant"
	also("d.tenant = ?", tenant)
	switch f.State {
	case "":
	case webhook.DeliverySucceeded: // as nearly all are
		also("d.state = ?", f.State)
	default:
		index = "webhook_deliveries_state"
		also("d.state <> 'succeeded' AND d.state = ?", f.State)
	}
	if f.EndpointID != "" {
		if index == "webhook_deliveries_tenant" { // of what did not succeed there is little, of one endpoint there may be much
			index = "webhook_deliveries_endpoint"
		}
		also("d.endpoint = (SELECT key FROM webhook_endpoints WHERE tenant = ? AND id = ?)", tenant, f.EndpointID)
	}
	if f.EventType != "" {
		also("d.event_type = ?", f.EventType)
	}
	if f.EventID != "" {
		index = "webhook_deliveries_event"
		also("d.event = (SELECT key FROM webhook_events WHERE tenant = ? AND id = ?)", tenant, f.EventID)
	}
	if !f.Since.IsZero() {
		also("d.created_at >= ?", ceil(f.Since))
	}
	if !f.Until.IsZero() {
		also("d.created_at < ?", ceil(f.Until))
	}
	if f.Cursor != "" {
		at, id, ok := parseCursor(f.Cursor)
		if !ok {
			return "", nil, webhook.ErrInvalidCursor
		}
		also("d.created_at <= ? AND (d.created_at < ? OR d.id < ?)", at, at, id)
	}
	args = append(args, f.Limit+1)
	return `SELECT ` + deliveryColumns + ` FROM webhook_deliveries d INDEXED BY ` + index + `
		CROSS JOIN webhook_events e ON e.key = d.event CROSS JOIN webhook_endpoints p ON p.key = d.endpoint
		WHERE ` + strings.Join(where, " AND ") + ` ORDER BY d.created_at DESC, d.id DESC LIMIT ?`, args, nil
}

// ceil is the first stored moment that is not before t.
func ceil(t time.Time) int64 {
	us := t.UnixMicro()
	if time.UnixMicro(us).Before(t) {
		us++
	}
	return us
}

// cursor names the last row of a page: CreatedAt, ID, and a check that it was made here.
func cursor(d *webhook.Delivery) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(d.CreatedAt.UnixMicro()))
	b = append(b, d.ID...)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseCursor(text string) (at int64, id string, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < 12 {
		return 0, "", false
	}
	b, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.ChecksumIEEE(b) != sum {
		return 0, "", false
	}
	return int64(binary.BigEndian.Uint64(b)), string(b[8:]), true
}

// read runs do on one state of the database.
func (s *Store) read(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := s.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback() // there is nothing to commit
	return do(tx)
}

// attempts fills in the attempts of the deliveries.
func (s *Store) attempts(ctx context.Context, tx *sql.Tx, list []listed) error {
	keys := make([]int64, len(list))
	place := make(map[int64]*listed, len(list))
	for i := range list {
		keys[i], place[list[i].key] = list[i].key, &list[i]
	}
	rows, err := tx.StmtContext(ctx, s.reads[readAttempts]).QueryContext(ctx, marshal(keys))
	return each(rows, err, func() error {
		var a webhook.Attempt
		var key int64
		var request, response *string
		if err := rows.Scan(&key, &a.Number, stamp{&a.StartedAt}, &a.Result, &a.Error, &a.Detail, &a.Status, &a.Latency,
			&a.Phases.DNS, &a.Phases.Connect, &a.Phases.TLS, &a.Phases.FirstByte, &a.Phases.Reused,
			&a.RemoteAddr, &a.SecretID, &a.Truncated, &request, &response, &a.ResponseBody); err != nil {
			return err
		}
		if err := unmarshal(request, &a.RequestHeader); err != nil {
			return err
		}
		if err := unmarshal(response, &a.ResponseHeader); err != nil {
			return err
		}
		d := place[key]
		d.Attempts = append(d.Attempts, a)
		return nil
	})
}
