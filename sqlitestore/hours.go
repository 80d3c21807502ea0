package sqlitestore

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/meshia/webhook"
)

var (
	hourLatency = statement(`SELECT h.endpoint, h.latency FROM json_each(?) j CROSS JOIN webhook_hours h ON h.endpoint = j.value AND h.hour = ?`)
	addHours    = statement(`INSERT INTO webhook_hours (endpoint, hour, delivered, failed, latency)
		SELECT value ->> 0, ?, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?) WHERE true ON CONFLICT (endpoint, hour) DO UPDATE
		SET delivered = delivered + excluded.delivered, failed = failed + excluded.failed, latency = excluded.latency`)
	readQueue = readStatement(`SELECT p.key, l.pending, l.oldest_at, min(coalesce(l.first_due, l.again_due), coalesce(l.again_due, l.first_due))
		FROM webhook_endpoints p CROSS JOIN webhook_lanes l ON l.endpoint = p.key WHERE p.tenant = ? AND p.id = ? AND p.deleted_at IS NULL`)
	readHours = readStatement(`SELECT hour, delivered, failed, latency FROM webhook_hours WHERE endpoint = ? AND hour >= ? ORDER BY hour`)
)

// latencies is a webhook.Histogram as it is written: of its classes those that counted anything.
type latencies map[int]int64

func (c latencies) add(to *webhook.Histogram) {
	for class, n := range c {
		to[min(max(0, class), len(to)-1)] += n
	}
}

func latenciesOf(h *webhook.Histogram) latencies {
	c := latencies{}
	for class, n := range h {
		if n != 0 {
			c[class] = n
		}
	}
	return c
}

// tally counts an attempt in its hour. It is written with the lanes, once for all that a transaction has of it.
func (t *txn) tally(l *lane, kind webhook.DeliveryKind, a *webhook.Attempt) {
	if kind.Once() || a.Result != webhook.AttemptDelivered && a.Result != webhook.AttemptFailed {
		return
	}
	if l.tally == nil {
		l.tally = &webhook.HourStats{}
		t.tallied = append(t.tallied, l)
	}
	if a.Result == webhook.AttemptDelivered {
		l.tally.Delivered++
	} else {
		l.tally.Failed++
	}
	l.tally.Latency.Add(a.Latency)
}

// countHours adds the tallies to the hour: two statements, however many lanes have one.
func (t *txn) countHours() error {
	if len(t.tallied) == 0 {
		return nil
	}
	keys := make([]int64, len(t.tallied))
	for i, l := range t.tallied {
		keys[i] = l.key
	}
	hour := t.now.Truncate(time.Hour).UnixMicro()
	rows, err := t.query(hourLatency, marshal(keys), hour)
	if err := each(rows, err, func() error {
		var key int64
		var latency string
		if err := rows.Scan(&key, &latency); err != nil {
			return err
		}
		return addLatency(latency, &t.lanes[key].tally.Latency)
	}); err != nil {
		return err
	}
	list := make([][4]any, len(t.tallied))
	for i, l := range t.tallied {
		list[i] = [4]any{l.key, l.tally.Delivered, l.tally.Failed, latenciesOf(&l.tally.Latency)}
		l.tally = nil
	}
	t.tallied = t.tallied[:0]
	return t.run(addHours, hour, marshal(list))
}

func addLatency(text string, to *webhook.Histogram) error {
	var c latencies
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	c.add(to)
	return nil
}

// Stats implements [webhook.History]. An endpoint that was deleted is not found.
func (s *Store) Stats(ctx context.Context, tenant, endpointID string, since time.Time) (webhook.Stats, error) {
	var stats webhook.Stats
	err := s.read(ctx, func(tx *sql.Tx) error {
		var key int64
		if err := tx.StmtContext(ctx, s.reads[readQueue]).QueryRowContext(ctx, tenant, endpointID).
			Scan(&key, &stats.Pending, stamp{&stats.OldestPending}, stamp{&stats.NextAttempt}); err != nil {
			return err
		}
		rows, err := tx.StmtContext(ctx, s.reads[readHours]).QueryContext(ctx, key, ceil(since))
		return each(rows, err, func() error {
			var h webhook.HourStats
			var latency string
			if err := rows.Scan(stamp{&h.Start}, &h.Delivered, &h.Failed, &latency); err != nil {
				return err
			}
			err := addLatency(latency, &h.Latency)
			stats.Hours = append(stats.Hours, h)
			return err
		})
	})
	if err != nil {
		return webhook.Stats{}, wrap("stats", missing(ctx, err, "endpoint"))
	}
	return stats, nil
}
