package pgstore

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/meshia/webhook"
)

const (
	// sqlHours adds to the present hour of each endpoint. Whoever runs it has the endpoints' lanes, so that two never
	// wait for each other's hours.
	sqlHours = `
INSERT INTO {hours} AS h (tenant, endpoint_id, hour, delivered, failed, latency)
SELECT i.tenant, i.id, $6::timestamptz, i.delivered, i.failed, i.latency::bigint[]
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[]) AS i (tenant, id, delivered, failed, latency)
ON CONFLICT (tenant, endpoint_id, hour) DO UPDATE SET delivered = h.delivered + excluded.delivered, failed = h.failed + excluded.failed,
	latency = ARRAY(SELECT coalesce(u.a, 0) + coalesce(u.b, 0) FROM unnest(h.latency, excluded.latency) WITH ORDINALITY AS u (a, b, n) ORDER BY u.n)`

	// sqlQueue says where an endpoint's queue stands, each figure from one place of an index.
	sqlQueue = `
SELECT (l.pending + coalesce((SELECT sum(i.events) FROM {inbox} i WHERE i.tenant = l.tenant AND i.endpoint_id = l.id AND i.gap IS NULL), 0))::bigint,
	(SELECT min(d.created_at) FROM {deliveries} d WHERE d.tenant = l.tenant AND d.endpoint_id = l.id AND d.turn < 2),
	least(
		(SELECT min(d.due_at) FROM {deliveries} d WHERE d.tenant = l.tenant AND d.endpoint_id = l.id AND d.turn = 0),
		(SELECT min(d.due_at) FROM {deliveries} d WHERE d.tenant = l.tenant AND d.endpoint_id = l.id AND d.turn = 1))
FROM {lanes} l WHERE l.tenant = $1::text AND l.id = $2::text AND NOT l.deleted`

	sqlHoursSince = `
SELECT hour, delivered, failed, latency FROM {hours} WHERE tenant = $1::text AND endpoint_id = $2::text AND hour >= $3::timestamptz ORDER BY hour`
)

// count adds an attempt to the present hour of its endpoint.
func (r *record) count(p *present, a *webhook.Attempt) {
	if p.kind.Once() || r.lanes[p.endpoint].deleted || (a.Result != webhook.AttemptDelivered && a.Result != webhook.AttemptFailed) {
		return
	}
	h := r.hours[p.endpoint]
	if h == nil {
		h = new(webhook.HourStats)
		r.hours[p.endpoint] = h
	}
	if a.Result == webhook.AttemptDelivered {
		h.Delivered++
	} else {
		h.Failed++
	}
	h.Latency.Add(a.Latency)
}

// countHours queues the statement that stores what was counted.
func (r *record) countHours() {
	var tenants, ids, latencies []string
	var delivered, failed []int64
	for _, l := range r.order {
		h := r.hours[l.ref]
		if h == nil {
			continue
		}
		last := len(h.Latency)
		for h.Latency[last-1] == 0 { // an attempt was counted, so that one is not
			last--
		}
		tenants, ids, delivered, failed = append(tenants, l.tenant), append(ids, l.id), append(delivered, h.Delivered), append(failed, h.Failed)
		latencies = append(latencies, array(h.Latency[:last], func(n int64) string { return strconv.FormatInt(n, 10) }))
	}
	if len(ids) > 0 {
		r.queue(sqlHours, tenants, ids, delivered, failed, latencies, r.now.Truncate(time.Hour))
	}
}

// Stats implements [webhook.History]. Beside what it returns it reads what no claim has taken in yet.
func (s *Store) Stats(ctx context.Context, tenant, endpointID string, since time.Time) (webhook.Stats, error) {
	var stats webhook.Stats
	first := since.UTC().Truncate(time.Hour)
	if first.Before(since) {
		first = first.Add(time.Hour)
	}
	err := s.inTx(ctx, "stats", func(t *tx) error {
		stats = webhook.Stats{}
		found := false
		t.queue(sqlQueue, tenant, endpointID).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				found = true
				var oldest, next *time.Time
				if err := rows.Scan(&stats.Pending, &oldest, &next); err != nil {
					return err
				}
				stats.OldestPending, stats.NextAttempt = at(oldest), at(next)
			}
			return rows.Err()
		})
		t.queue(sqlHoursSince, tenant, endpointID, first).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var h webhook.HourStats
				var latency []int64
				if err := rows.Scan(&h.Start, &h.Delivered, &h.Failed, &latency); err != nil {
					return err
				}
				h.Start = h.Start.UTC()
				copy(h.Latency[:], latency)
				stats.Hours = append(stats.Hours, h)
			}
			return rows.Err()
		})
		if err := t.commit(ctx); err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("%w: endpoint", webhook.ErrNotFound)
		}
		return nil
	})
	if err != nil {
		return webhook.Stats{}, err
	}
	return stats, nil
}
