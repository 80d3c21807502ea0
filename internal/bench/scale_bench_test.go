package bench

import (
	"math"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// pendingVariable is how many deliveries BenchmarkClaimAtScale fills its tables with.
const pendingVariable = "WEBHOOK_BENCH_PENDING"

// BenchmarkClaimAtScale compares a claim of 64 deliveries, and a page of 50 of the log, in a large queue with the same
// in a small one of 2 000 deliveries and 100 endpoints. In half-for-one one endpoint has half of what is pending, in
// rest-in-future all endpoints but one have only retries that fall due in an hour, and in long-history ten times as
// many deliveries are finished as are pending. x-claim, x-page and x-endpoint-page (of one endpoint's log) are the
// large one's times divided by the small one's, and x-claim-buffers and the like the same of the pages that Postgres
// looked at, which no noise disturbs: the mark says that what is not asked for costs next to nothing. claim-buffers and
// the like are how many the large one took. day and week are looks at one endpoint's statistics of so long.
//
// It fills its tables with 20 000 deliveries for 200 endpoints; WEBHOOK_BENCH_PENDING=1000000 makes that a million for
// 10 000, and long-history then has ten million more, which takes a good part of an hour and 20 GB of disk: with
//
//	WEBHOOK_BENCH_PENDING=1000000 go test -run '^$' -bench ClaimAtScale -benchtime 1x -timeout 0
func BenchmarkClaimAtScale(b *testing.B) {
	pending := 20_000
	if testing.Short() {
		pending = 5_000
	}
	if text := os.Getenv(pendingVariable); text != "" {
		var err error
		pending, err = strconv.Atoi(text)
		require.NoError(b, err, pendingVariable)
		require.GreaterOrEqual(b, pending, 5_000, pendingVariable)
	}
	for _, shape := range []string{"half-for-one", "rest-in-future", "long-history"} {
		b.Run("sqlite/"+shape, func(b *testing.B) {
			benchmarkScale(b, shape, sqliteQueue(b), sqliteQueue(b), pending)
		})
		b.Run("postgres/"+shape, func(b *testing.B) {
			server := startServer(b, newest(b), "autovacuum=off") // what it reads would be counted too
			_, admin := openPostgres(b, server.DSN("postgres"), 2)
			benchmarkScale(b, shape, postgresQueue(b, server, admin), postgresQueue(b, server, admin), pending)
		})
	}
}

func benchmarkScale(b *testing.B, shape string, small, large *queue, pending int) {
	b.Helper()
	small.fill(b, shape, 100, 2_000)
	large.fill(b, shape, max(100, pending/100), pending)
	looks := []struct {
		name string
		at   func(q *queue) cost
	}{
		{"claim", func(q *queue) cost { return q.claims(b) }},
		{"page", func(q *queue) cost { return q.reads(b, webhook.DeliveryFilter{}) }},
		{"endpoint-page", func(q *queue) cost { return q.reads(b, webhook.DeliveryFilter{EndpointID: endpointID(0)}) }},
		{"day", func(q *queue) cost { return q.counts(b, 24*time.Hour) }},
		{"week", func(q *queue) cost { return q.counts(b, 7*24*time.Hour) }},
	}
	times, pages, absolute, buffers := map[string]series{}, map[string]series{}, map[string]series{}, map[string]series{}
	for b.Loop() {
		for range rounds() {
			for _, look := range looks {
				little, much := look.at(small), look.at(large)
				times[look.name] = append(times[look.name], much.millis/little.millis)
				pages[look.name] = append(pages[look.name], much.pages/little.pages)
				absolute[look.name] = append(absolute[look.name], much.millis)
				buffers[look.name] = append(buffers[look.name], much.pages)
			}
		}
	}
	for _, look := range looks {
		times[look.name].report(b, "x-"+look.name)
		b.ReportMetric(absolute[look.name].median(), look.name+"-ms")
		if ratio := pages[look.name].median(); !math.IsNaN(ratio) {
			b.ReportMetric(ratio, "x-"+look.name+"-buffers")
			b.ReportMetric(buffers[look.name].median(), look.name+"-buffers")
		}
	}
	marked(b, 2)
}
