package bench

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/pgtest"
	"github.com/meshia/webhook/pgstore"
)

const (
	claimAtOnce = 64
	pageLength  = 50
	byTheHour   = time.Hour
)

// queue is a store full of deliveries, and how to look at what it costs.
type queue struct {
	use     func(f func(webhook.Store)) // f has the store; once it has returned the server knows what it cost
	history func(times int)             // adds finished deliveries, so many times what is there, and a week of statistics
	tidy    func()                      // does what a server does by and by
	touched func() float64              // pages that were looked at until now; NaN where nobody counts
}

func postgresQueue(b *testing.B, server *pgtest.Cluster, admin *pgxpool.Pool) *queue {
	b.Helper()
	database := server.Database(b, "")
	exec := func(text string) { require.NoError(b, server.Exec(database, text)) }
	return &queue{
		use: func(f func(webhook.Store)) { commits(b, admin, server, database, func(s *pgstore.Store) { f(s) }) },
		history: func(times int) { // each an hour older than the next, with an attempt as it is logged
			exec(fmt.Sprintf(`
				INSERT INTO webhook_deliveries (tenant, id, event_id, event_type, endpoint_id, kind, state, created_at, finished_at, attempts)
				SELECT tenant, 'dlv_' || lpad(to_hex((extract(epoch FROM created_at) * 1000000)::bigint - n * 3600000000), 14, '0') || right(id, 32),
					event_id, event_type, endpoint_id, kind, 'succeeded', created_at - n * interval '1 hour', created_at - n * interval '1 hour', 1
				FROM webhook_deliveries, generate_series(1, %d) n;
				INSERT INTO webhook_attempts (tenant, delivery_id, number, started_at, result, error, detail, status, latency, dns, connect, tls, first_byte,
					reused, remote_addr, truncated, secret_id)
				SELECT tenant, id, 1, finished_at, 'delivered', '', '', 200, 1, 0, 0, 0, 1, true, '127.0.0.1:80', false, '' FROM webhook_deliveries WHERE state = 'succeeded';
				INSERT INTO webhook_hours (tenant, endpoint_id, hour, delivered, failed, latency)
				SELECT tenant, id, date_trunc('hour', clock_timestamp()) - n * interval '1 hour', 1000, 10, array_fill(25, ARRAY[40])
				FROM generate_series(1, 24 * 7) n, webhook_endpoints ORDER BY n DESC`, times))
		},
		tidy: func() { exec(`VACUUM (ANALYZE)`); exec(`CHECKPOINT`) },
		touched: func() (pages float64) {
			pool := connect(b, server.DSN(database), 1)
			defer pool.Close()
			require.NoError(b, pool.QueryRow(b.Context(), `SELECT sum(heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read
				+ coalesce(toast_blks_hit + toast_blks_read + tidx_blks_hit + tidx_blks_read, 0))::float8 FROM pg_statio_user_tables`).Scan(&pages))
			return pages
		},
	}
}

func sqliteQueue(b *testing.B) *queue {
	b.Helper()
	s, path := openSQLite(b)
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(60000)")
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, db.Close()) })
	exec := func(text string, args ...any) {
		_, err := db.Exec(text, args...)
		require.NoError(b, err)
	}
	return &queue{
		use: func(f func(webhook.Store)) { f(s) },
		history: func(times int) {
			exec(`
				WITH RECURSIVE times (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM times WHERE n < ?)
				INSERT INTO webhook_deliveries (id, tenant, event, event_type, endpoint, kind, state, reason, again, created_at, finished_at, attempt_count,
					interrupted, redelivery_of, last_secret)
				SELECT id || '_' || n, tenant, event, event_type, endpoint, kind, 'succeeded', '', 1, created_at - n * 3600000000, created_at - n * 3600000000, 1,
					0, '', '' FROM times, webhook_deliveries`, times)
			exec(`
				INSERT INTO webhook_attempts (delivery, number, started_at, result, error, detail, status, latency, dns, connect, tls, first_byte, reused,
					remote_addr, secret_id, truncated)
				SELECT key, 1, finished_at, 'delivered', '', '', 200, 1, 0, 0, 0, 1, 1, '127.0.0.1:80', '', 0 FROM webhook_deliveries WHERE state = 'succeeded'`)
			exec(`
				WITH RECURSIVE past (n, hour) AS (SELECT 1, unixepoch() / 3600 UNION ALL SELECT n + 1, hour - 1 FROM past WHERE n <= 24 * 7)
				INSERT INTO webhook_hours (endpoint, hour, delivered, failed, latency)
				SELECT key, (hour - 1) * 3600000000, 1000, 10, '{"1":500,"2":500,"20":5,"40":5}' FROM past, webhook_endpoints ORDER BY n DESC`)
		},
		tidy:    func() { exec(`PRAGMA wal_checkpoint(TRUNCATE)`) },
		touched: func() float64 { return math.NaN() },
	}
}

// fill makes endpoints, all of which subscribe to one type of event and the first to another one as well, so many
// deliveries to them, and the shape that is asked for.
func (q *queue) fill(b *testing.B, shape string, endpoints, pending int) {
	b.Helper()
	all, first := webhook.SessionStarted.Name(), webhook.SessionStopped.Name()
	q.use(func(s webhook.Store) {
		for i := range endpoints {
			types := []string{all}
			if i == 0 {
				types = append(types, first)
			}
			_, err := s.CreateEndpoint(b.Context(), webhook.Endpoint{
				ID: endpointID(i), URL: "https://example.com/", Events: types, Health: webhook.Health{State: webhook.EndpointActive, Window: 2 * claimAtOnce},
			}, math.MaxInt32)
			require.NoError(b, err)
		}
		switch shape {
		case "half-for-one":
			enqueue(b, s, all, pending/2/endpoints, max(1, 10_000/endpoints))
			enqueue(b, s, first, pending/2, webhook.MaxEventsPerEmit)
		case "rest-in-future":
			enqueue(b, s, all, pending/endpoints, max(1, 10_000/endpoints))
			for claimed := claim(b, s, 1000); len(claimed) > 0; claimed = claim(b, s, 1000) {
				record(b, s, claimed, webhook.OutcomeRetry, byTheHour)
			}
			enqueue(b, s, first, 1000, webhook.MaxEventsPerEmit)
		case "long-history":
			enqueue(b, s, all, pending/endpoints, max(1, 10_000/endpoints))
		default:
			require.FailNow(b, "unknown shape", shape)
		}
	})
	if shape == "long-history" {
		q.history(10)
	}
	q.use(func(s webhook.Store) { // what was enqueued is seen by claims, and all endpoints have had their turn
		for range endpoints/claimAtOnce + 3 {
			record(b, s, claim(b, s, claimAtOnce), webhook.OutcomeReleased, 0)
		}
	})
	q.tidy()
}

func endpointID(i int) string { return fmt.Sprintf("we_%d", i) }

// enqueue stores n events, so many a call.
func enqueue(b *testing.B, s webhook.Store, eventType string, n, atOnce int) {
	b.Helper()
	for n > 0 {
		events := make([]webhook.Event, min(n, atOnce))
		for i := range events {
			e := experiment()
			e.Type = eventType
			events[i] = e
		}
		_, err := s.Enqueue(b.Context(), webhook.EnqueueRequest{Events: events})
		require.NoError(b, err)
		n -= len(events)
	}
}

func claim(b *testing.B, s webhook.Store, n int) []webhook.Lease {
	b.Helper()
	for range 100 { // a call may leave the rest to the next one
		c, err := s.Claim(context.Background(), webhook.ClaimRequest{Owner: "o", Term: time.Hour, Max: n, MaxSlow: n, MaxAge: 5 * 24 * time.Hour})
		require.NoError(b, err)
		if len(c.Leases) > 0 || c.Next != 0 {
			return c.Leases
		}
	}
	return nil
}

func record(b *testing.B, s webhook.Store, leases []webhook.Lease, kind webhook.OutcomeKind, wait time.Duration) {
	b.Helper()
	outcomes := make([]webhook.Outcome, len(leases))
	for i, l := range leases {
		outcomes[i] = webhook.Outcome{DeliveryID: l.Delivery.ID, EndpointID: l.Delivery.EndpointID, Token: l.Token, Kind: kind, Wait: wait}
		if kind != webhook.OutcomeReleased {
			outcomes[i].Attempt = webhook.Attempt{Number: l.Delivery.AttemptCount, StartedAt: l.StartedAt, Result: webhook.AttemptFailed, Error: webhook.ErrorStatus, Status: 500}
		}
	}
	applied, err := s.Record(context.Background(), outcomes)
	require.NoError(b, err)
	require.NotContains(b, applied, false)
}

// cost is what one call costs.
type cost struct{ millis, pages float64 }

// claims measures calls of Claim, and gives back what they handed out.
func (q *queue) claims(b *testing.B) cost {
	b.Helper()
	const times = 20
	var took series
	q.use(func(s webhook.Store) {
		for range times {
			began := time.Now()
			leases := claim(b, s, claimAtOnce)
			took = append(took, millis(time.Since(began)))
			require.Len(b, leases, claimAtOnce)
			record(b, s, leases, webhook.OutcomeReleased, 0)
		}
	})
	before := q.touched()
	var leases []webhook.Lease
	q.use(func(s webhook.Store) { leases = claim(b, s, claimAtOnce) })
	pages := q.touched() - before
	q.use(func(s webhook.Store) { record(b, s, leases, webhook.OutcomeReleased, 0) })
	return cost{took.median(), pages}
}

// reads measures pages of the log.
func (q *queue) reads(b *testing.B, f webhook.DeliveryFilter) cost {
	b.Helper()
	f.Limit = pageLength
	return q.looks(func(s webhook.Store) {
		page, err := s.Deliveries(context.Background(), "", f)
		require.NoError(b, err)
		require.Len(b, page.Deliveries, pageLength, f.EndpointID)
	})
}

// counts measures a look at an endpoint's statistics.
func (q *queue) counts(b *testing.B, back time.Duration) cost {
	b.Helper()
	return q.looks(func(s webhook.Store) {
		stats, err := s.Stats(context.Background(), "", endpointID(0), time.Now().Add(-back))
		require.NoError(b, err)
		require.Positive(b, stats.Pending)
	})
}

func (q *queue) looks(look func(webhook.Store)) cost {
	const times = 20
	var took series
	before := q.touched()
	q.use(func(s webhook.Store) {
		for range times {
			began := time.Now()
			look(s)
			took = append(took, millis(time.Since(began)))
		}
	})
	return cost{took.median(), (q.touched() - before) / times}
}
