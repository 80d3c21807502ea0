package pgstore_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// fill puts rows into the store: finished ones, and pending ones that wait for endpoints, one of which has half of
// them.
func (r *rig) fill(endpoints, pending, finished int) {
	r.Helper()
	for i := range endpoints {
		r.endpoint("e"+strconv.Itoa(i), webhook.Health{Window: 10_000}, "type"+strconv.Itoa(i))
	}
	r.exec(`INSERT INTO {events} (tenant, id, type, session_id, time, body, digest, stored_at)
		SELECT 't', 'evt_' || i, 'type0', '', now(), 'body', '\x00', now() - interval '1 hour' FROM generate_series(1, 100) i`)
	insert := `INSERT INTO {deliveries} (tenant, id, event_id, event_type, endpoint_id, kind, state, turn, created_at, due_at, finished_at, attempts)
		SELECT 't', 'dlv_' || lpad(to_hex((extract(epoch FROM at) * 1000000)::bigint), 14, '0') || md5(i::text), 'evt_' || 1 + i % 100, 'type0',
			'e' || CASE WHEN i % 2 = 0 THEN 0 ELSE i % $1::int END, 'event', `
	r.exec(insert+`'succeeded', NULL, at, NULL, at + interval '1 second', 1
		FROM (SELECT i, now() - interval '2 hours' + i * interval '1 millisecond' AS at FROM generate_series(1, $2::int) i) g`, endpoints, finished)
	r.exec(insert+`'pending', i % 4 / 2, at, at, NULL, i % 4 / 2
		FROM (SELECT i, now() - interval '1 hour' + i * interval '1 millisecond' AS at FROM generate_series(1, $2::int) i) g`, endpoints, pending)
	r.exec(`INSERT INTO {inbox} SELECT tenant, endpoint_id, NULL, count(*), min(due_at) FROM {deliveries} WHERE turn < 2 GROUP BY tenant, endpoint_id`)
}

// blocks is how many blocks of the store's tables and indexes the pool's only connection has touched.
func (r *rig) blocks() int {
	r.Helper()
	r.exec(`SELECT pg_stat_force_next_flush()`)
	return r.count(`SELECT sum(heap_blks_hit + heap_blks_read + coalesce(idx_blks_hit, 0) + coalesce(idx_blks_read, 0))::int
		FROM pg_statio_user_tables WHERE schemaname = $1`, r.cfg.Schema)
}

// TestClaimGrowsWithWhatItHandsOut counts the blocks that claims touch in a small and in a large store, which has just
// been filled: what the planner knows of it is nothing. WEBHOOK_PG_ROWS sets how large.
func TestClaimGrowsWithWhatItHandsOut(t *testing.T) {
	t.Parallel()
	rows := 60_000
	if text := os.Getenv("WEBHOOK_PG_ROWS"); text != "" {
		var err error
		rows, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	each(t, func(t *testing.T, s *server) {
		cost := map[int]map[int]int{}
		for _, n := range []int{2_000, rows} {
			cfg := s.schema(t)
			pool := connect(t, s.DSN("postgres"), func(cfg *pgxpool.Config) { cfg.MaxConns = 1 })
			r := &rig{Store: open(t, pool, cfg), TB: t, pool: pool, cfg: cfg}
			r.endpoint("first", webhook.Health{}, "none") // plans made now are of empty tables
			r.claim(1)
			r.Store = open(t, pool, cfg)
			r.fill(100, n, n)
			r.claim(1) // takes the inbox in
			cost[n] = map[int]int{}
			// Before the claims: what they leave behind in the indexes can only be dropped once nobody on the server
			// sees it.
			before := r.blocks()
			result, err := r.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{
				webhook.NewEventType[any]("type99", "", nil).New("", 1),
			}, HandOver: &webhook.HandOver{Owner: "o", Term: time.Hour, Max: 1}})
			require.NoError(t, err)
			require.Empty(t, result.Leases, "something is due before it")
			cost[n][0] = r.blocks() - before
			r.endpointOf("u", "e", webhook.Health{Window: 10_000})
			_, err = r.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "u", Events: r.events(40)})
			require.NoError(t, err)
			for _, limit := range []int{8, 1, 64} {
				const times = 4
				req := request(limit)
				if limit == 8 { // which are found behind the endpoints of a tenant that may get none
					req.Tenants = map[string]int{"t": 0}
				}
				before = r.blocks()
				var leases []webhook.Lease
				for range times {
					c, err := r.Claim(t.Context(), req)
					require.NoError(t, err)
					require.Equal(t, limit, len(c.Leases))
					leases = append(leases, c.Leases...)
				}
				cost[n][limit] = (r.blocks() - before) / times
				r.record(webhook.OutcomeReleased, leases...)
			}
		}
		t.Logf("blocks by rows and leases (0: an event is enqueued): %v", cost)
		for limit := range cost[rows] {
			require.Less(t, cost[rows][limit], 2*cost[2_000][limit]+100, "leases: %d", limit)
			require.Less(t, cost[rows][limit], 500+80*limit, "leases: %d", limit)
		}
	})
}
