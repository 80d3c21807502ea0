package sqlitestore_test

import (
	"database/sql"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/sqlitestore"
)

// plan is how SQLite goes about a query.
func plan(t testing.TB, db *sql.DB, text string, args ...any) (steps []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+text, args...)
	require.NoError(t, err, text)
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var step string
		require.NoError(t, rows.Scan(&id, &parent, &unused, &step))
		steps = append(steps, step)
	}
	require.NoError(t, rows.Err())
	return steps
}

// placeholders makes up arguments for a statement.
func placeholders(text string) []any {
	n := strings.Count(text, "?")
	for _, m := range regexp.MustCompile(`\?(\d+)`).FindAllStringSubmatch(text, -1) {
		if i, _ := strconv.Atoi(m[1]); n != 0 {
			n = -max(i, -min(n, 0)) // numbered ones count once
		}
	}
	return make([]any, max(n, -n))
}

// TestNoStatementReadsATableFromEndToEnd looks at the plans of all statements and lists.
func TestNoStatementReadsATableFromEndToEnd(t *testing.T) {
	t.Parallel()
	path := file(t)
	open(t, path)
	db := pool(t, path)
	// They read the first entry of an index that holds what is open, and no more.
	firstOf := map[string]bool{
		"SCAN webhook_deliveries USING COVERING INDEX webhook_deliveries_leased": true,
		"SCAN webhook_lanes USING COVERING INDEX webhook_lanes_blocked":          true,
		"SCAN webhook_replays USING COVERING INDEX webhook_replays_running":      true,
		"SCAN l USING INDEX webhook_lanes_deleted":                               true, // all of them have something to be failed
		"SCAN r USING INDEX webhook_replays_running":                             true, // the first that does not wait
	}
	table := regexp.MustCompile(`^SCAN (webhook_\w+|[adeghlprs])\b`)
	check := func(text string, args []any) {
		for _, step := range plan(t, db, text, args...) {
			require.False(t, table.MatchString(step) && !firstOf[step], "%s\nreads a table from end to end: %s", text, step)
			require.False(t, strings.Contains(step, "AUTOMATIC"), "%s\nneeds an index that is not there: %s", text, step)
		}
	}
	require.Greater(t, len(sqlitestore.Statements()), 40)
	for _, text := range sqlitestore.Statements() {
		check(text, placeholders(text))
	}
	at := time.Now()
	for _, f := range []webhook.DeliveryFilter{
		{},
		{EndpointID: "we_1"},
		{EventID: "evt_1"},
		{EventType: "a"},
		{State: webhook.DeliveryFailed},
		{State: webhook.DeliveryPending},
		{State: webhook.DeliverySucceeded, Since: at, Until: at},
		{EndpointID: "we_1", State: webhook.DeliveryFailed, EventType: "a"},
	} {
		text, args, err := sqlitestore.Search("t", f)
		require.NoError(t, err)
		check(text, args)
		for _, step := range plan(t, db, text, args...) {
			// Sorted are those of one event, or those of one microsecond.
			require.False(t, f.EventID == "" && strings.Contains(step, "TEMP B-TREE FOR ORDER BY"), "%s\nsorts: %s", text, step)
		}
	}
}

// TestStatsLooksAtNoDelivery finds what Stats asks for: its queries name the hours, or the lane's oldest delivery.
func TestStatsLooksAtNoDelivery(t *testing.T) {
	t.Parallel()
	path := file(t)
	open(t, path)
	db := pool(t, path)
	found := 0
	for _, text := range sqlitestore.Statements() {
		if !regexp.MustCompile(`(?s)^SELECT (hour,|p\.key, l\.pending,)`).MatchString(text) {
			continue
		}
		found++
		for _, step := range plan(t, db, text, placeholders(text)...) {
			require.Regexp(t, `^SEARCH (p|l|webhook_hours) USING (PRIMARY KEY|INTEGER PRIMARY KEY|INDEX sqlite_autoindex_webhook_endpoints_1) `, step, text)
		}
	}
	require.Equal(t, 2, found)
}

// TestIndexesAreReadInTheirOrder wants no sort between the indexes and the claim, nor between the hours and Stats, nor
// between the events and a replay.
func TestIndexesAreReadInTheirOrder(t *testing.T) {
	t.Parallel()
	path := file(t)
	open(t, path)
	db := pool(t, path)
	found := 0
	for _, text := range sqlitestore.Statements() {
		if !regexp.MustCompile(`ORDER BY (l\.eligible_at|due_at, key|l\.oldest_at|hour|r\.stepped_at|stepped_at|r\.key|e\.stored_at, e\.key|g\.opened_at|opened_at)\b`).MatchString(text) {
			continue
		}
		found++
		for _, step := range plan(t, db, text, placeholders(text)...) {
			require.NotContains(t, step, "TEMP B-TREE", text)
		}
	}
	require.Equal(t, 15, found)
}

// rows is a size for a benchmark: reduced, unless WEBHOOK_BENCH_ROWS says how much.
func rows(b *testing.B, reduced int) int {
	text := os.Getenv("WEBHOOK_BENCH_ROWS")
	if text == "" {
		return reduced
	}
	n, err := strconv.Atoi(text)
	require.NoError(b, err)
	return n
}

// fill puts n deliveries of one endpoint in a state into the file, by SQL and quickly.
func fill(b *testing.B, path, endpoint, state string, n int) {
	b.Helper()
	db := pool(b, path, "synchronous(OFF)", "busy_timeout(5000)")
	now := time.Now().UnixMicro()
	for start := 0; start < n; start += 50_000 {
		execute(b, db, `WITH RECURSIVE c (i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM c WHERE i + 1 < ?2)
			INSERT INTO webhook_events (tenant, id, type, session, time, digest, stored_at, direct, idle, contents, metadata, body)
			SELECT 't', ?4 || i, 'test.happened', '', 0, x'00', ?3 - ?5 + i, 0, 0, 1, NULL, x'7b7d' FROM c`, start, min(n, start+50_000), now, endpoint+state, n)
		execute(b, db, `WITH RECURSIVE c (i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM c WHERE i + 1 < ?2)
			INSERT INTO webhook_deliveries (id, tenant, event, event_type, endpoint, kind, state, reason, again, created_at, due_at, finished_at, attempt_count, interrupted, deferred, redelivery_of, asked_by, last_secret)
			SELECT 'dlv_' || ?4 || i, 't', (SELECT key FROM webhook_events WHERE tenant = 't' AND id = ?4 || i), 'test.happened',
				(SELECT key FROM webhook_endpoints WHERE tenant = 't' AND id = ?6), 'event', ?7, iif(?7 = 'failed', 'exhausted', ''), 0, ?3 - ?5 + i,
				iif(?7 = 'pending', ?3, NULL), iif(?7 = 'pending', NULL, ?3), iif(?7 = 'pending', 0, 1), 0, 0, '', '', '' FROM c`,
			start, min(n, start+50_000), now, endpoint+state, n, endpoint, state)
	}
	execute(b, db, `UPDATE webhook_lanes SET first_due = ?1, eligible_at = ?1, oldest_at = ?1 - ?2, pending = ?2
		WHERE endpoint = (SELECT key FROM webhook_endpoints WHERE tenant = 't' AND id = ?3) AND ?4 = 'pending'`, now, n, endpoint, state)
}

// BenchmarkClaimWithBacklog claims and records one delivery of a fresh endpoint and some of the backlog's, while as
// much as named waits, has finished, or is of endpoints with nothing to do.
func BenchmarkClaimWithBacklog(b *testing.B) {
	for _, n := range []int{0, rows(b, 20_000)} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			path := file(b)
			s := open(b, path)
			endpoint(b, s, "t", "we_big")
			endpoint(b, s, "t", "we_done")
			if n > 0 {
				fill(b, path, "we_big", "pending", n)
				fill(b, path, "we_done", "succeeded", n)
			}
			for i := range n / 100 {
				endpoint(b, s, "idle", "we_"+strconv.Itoa(i))
			}
			endpoint(b, s, "fresh", "we_1", func(e *webhook.Endpoint) { e.Health.Window = 1_000_000 })
			list := events(b.N * 16)
			emit(b, s, "fresh", list...)
			b.ResetTimer()
			for range b.N {
				c, err := s.Claim(b.Context(), webhook.ClaimRequest{Owner: "o", Term: time.Hour, Max: 16, MaxSlow: 8, MaxAge: 100 * time.Hour})
				require.NoError(b, err)
				require.Len(b, c.Leases, 16)
				outcomes := make([]webhook.Outcome, 16)
				for i, l := range c.Leases {
					outcomes[i] = delivered(l)
				}
				_, err = s.Record(b.Context(), outcomes)
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkLists reads the first page, and one from the middle, of a long log.
func BenchmarkLists(b *testing.B) {
	n := rows(b, 20_000)
	path := file(b)
	s := open(b, path)
	endpoint(b, s, "t", "we_done")
	endpoint(b, s, "t", "we_failed")
	fill(b, path, "we_done", "succeeded", n)
	fill(b, path, "we_failed", "failed", n/100)
	middle := time.Now().Add(-time.Duration(n/2) * time.Microsecond)
	for name, f := range map[string]webhook.DeliveryFilter{
		"all": {}, "endpoint": {EndpointID: "we_failed"}, "failed": {State: webhook.DeliveryFailed}, "pending": {State: webhook.DeliveryPending}, "middle": {Until: middle},
	} {
		b.Run(fmt.Sprintf("%s/rows=%d", name, n), func(b *testing.B) {
			f.Limit = 50
			for range b.N {
				_, err := s.Deliveries(b.Context(), "t", f)
				require.NoError(b, err)
			}
		})
	}
}
