package pgstore

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/meshia/webhook"
)

const (
	sqlEvent = `SELECT ` + eventColumns + ` FROM {events} v WHERE v.tenant = $1::text AND v.id = $2::text`

	// One statement, so that a delivery and its attempts are of one moment.
	sqlDeliveries = `
SELECT ` + deliveryColumns + `, ` + attemptColumns + `
FROM (SELECT * FROM {deliveries} d WHERE d.tenant = $1::text AND {filter} ORDER BY d.id DESC LIMIT $2::int) d
LEFT JOIN {attempts} a ON a.tenant = d.tenant AND a.delivery_id = d.id ORDER BY d.id DESC, a.number`

	sqlGaps = `
SELECT g.endpoint_id, g.reason, g.from_at, g.to_at, g.events FROM (
	SELECT *, count + coalesce((SELECT sum(i.events) FROM {inbox} i
		WHERE i.tenant = g.tenant AND i.endpoint_id = g.endpoint_id AND i.gap = g.number), 0)::bigint AS events
	FROM {gaps} g WHERE tenant = $1::text AND endpoint_id = $2::text) g
WHERE g.to_at IS NULL OR g.events > 0 ORDER BY g.number DESC LIMIT 1000`
)

// Event implements [webhook.History].
func (s *Store) Event(ctx context.Context, tenant, id string) (webhook.Event, error) {
	rows, err := s.pool.Query(ctx, s.sql(sqlEvent), tenant, id)
	if err != nil {
		return webhook.Event{}, fail("event", err)
	}
	list, err := pgx.CollectRows(rows, func(rows pgx.CollectableRow) (webhook.Event, error) {
		var row eventRow
		if err := rows.Scan(row.dest()...); err != nil {
			return webhook.Event{}, err
		}
		return row.value()
	})
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%w: event", webhook.ErrNotFound)
	}
	if err != nil {
		return webhook.Event{}, fail("event", err)
	}
	return list[0], nil
}

// Delivery implements [webhook.History].
func (s *Store) Delivery(ctx context.Context, tenant, id string) (webhook.Delivery, error) {
	list, err := s.deliveries(ctx, `d.id = $3::text`, tenant, 1, id)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%w: delivery", webhook.ErrNotFound)
	}
	if err != nil {
		return webhook.Delivery{}, fail("delivery", err)
	}
	return list[0], nil
}

// cursorForm is that of the part of a delivery's id that differs: a cursor is the last one of its page.
var cursorForm = regexp.MustCompile(`^[0-9a-f]{46}$`)

// Deliveries implements [webhook.History]. It reads along the order of ids, which is that of (created_at, id): see
// newID.
func (s *Store) Deliveries(ctx context.Context, tenant string, f webhook.DeliveryFilter) (webhook.DeliveryPage, error) {
	if f.Limit <= 0 || f.Limit > webhook.MaxPage {
		f.Limit = webhook.MaxPage
	}
	filter, args := `true`, []any{tenant, f.Limit + 1}
	where := func(condition string, value string) {
		args = append(args, value)
		filter += fmt.Sprintf(` AND d.%s $%d::text`, condition, len(args))
	}
	if f.Cursor != "" {
		if !cursorForm.MatchString(f.Cursor) {
			return webhook.DeliveryPage{}, fail("deliveries", webhook.ErrInvalidCursor)
		}
		where(`id <`, "dlv_"+f.Cursor)
	}
	if !f.Since.IsZero() {
		where(`id >=`, idAt(f.Since))
	}
	if !f.Until.IsZero() {
		where(`id <`, idAt(f.Until))
	}
	for _, equal := range [][2]string{{"endpoint_id =", f.EndpointID}, {"event_id =", f.EventID}, {"event_type =", f.EventType}, {"state =", string(f.State)}} {
		if equal[1] != "" {
			where(equal[0], equal[1])
		}
	}
	list, err := s.deliveries(ctx, filter, args...)
	if err != nil {
		return webhook.DeliveryPage{}, fail("deliveries", err)
	}
	page := webhook.DeliveryPage{Deliveries: list}
	if len(list) > f.Limit {
		page.Deliveries = list[:f.Limit:f.Limit]
		page.NextCursor = list[f.Limit-1].ID[len("dlv_"):]
	}
	return page, nil
}

// idAt sorts before the ids of what was created at t or later, and after those of what was created before.
func idAt(t time.Time) string {
	micros := t.UnixMicro()
	if t.Nanosecond()%1000 != 0 { // between two microseconds
		micros++
	}
	return fmt.Sprintf("dlv_%014x", max(micros, 0))
}

func (s *Store) deliveries(ctx context.Context, filter string, args ...any) ([]webhook.Delivery, error) {
	rows, err := s.pool.Query(ctx, strings.Replace(s.sql(sqlDeliveries), "{filter}", filter, 1), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []webhook.Delivery
	for rows.Next() {
		var row deliveryRow
		var attempt attemptRow
		dest := append(row.dest(), attempt.dest()...)
		logged := rows.RawValues()[len(row.dest())] != nil
		if !logged {
			clear(dest[len(row.dest()):])
		}
		if err := rows.Scan(dest...); err != nil {
			return nil, err
		}
		if d := row.value(); len(list) == 0 || list[len(list)-1].ID != d.ID {
			list = append(list, d)
		}
		if logged {
			a, err := attempt.value()
			if err != nil {
				return nil, err
			}
			d := &list[len(list)-1]
			d.Attempts = append(d.Attempts, a)
		}
	}
	return list, rows.Err()
}

// Gaps implements [webhook.History].
func (s *Store) Gaps(ctx context.Context, tenant, endpointID string) ([]webhook.Gap, error) {
	rows, err := s.pool.Query(ctx, s.sql(sqlGaps), tenant, endpointID)
	if err != nil {
		return nil, fail("gaps", err)
	}
	list, err := pgx.CollectRows(rows, func(rows pgx.CollectableRow) (webhook.Gap, error) {
		var g webhook.Gap
		var to *time.Time
		err := rows.Scan(&g.EndpointID, &g.Reason, &g.From, &to, &g.Count)
		g.From, g.To = g.From.UTC(), at(to)
		return g, err
	})
	return list, fail("gaps", err)
}
