package bench

import (
	"testing"
	"time"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/pgtest"
)

// BenchmarkWalk compares the whole way of an event to one endpoint, from Emit until the delivery and its attempt are in
// the log, with a net/http client that posts the same bytes to the same sink and keeps nothing; 64 requests are in
// flight at most on either side. x-http is our rate divided by the client's: what is left of the machine's HTTP once
// everything is stored as durably as the store does it.
func BenchmarkWalk(b *testing.B) {
	b.Run("memory", func(b *testing.B) {
		benchmarkWalk(b, webhook.NewMemoryStore(nil), 8, 20_000)
		marked(b, 0.80)
	})
	b.Run("sqlite", func(b *testing.B) {
		s, _ := openSQLite(b)
		benchmarkWalk(b, s, 64, 10_000)
		marked(b, 0.40, 0.50)
	})
	for _, i := range pgtest.Required(b) {
		b.Run(i.String(), func(b *testing.B) {
			s, _ := openPostgres(b, startServer(b, i).DSN("postgres"), 40)
			benchmarkWalk(b, s, 64, 10_000)
			marked(b, 0.35, 0.45)
		})
	}
}

func benchmarkWalk(b *testing.B, s webhook.Store, emitters, perRound int) {
	b.Helper()
	const inFlight = 64
	theirs, ours := startSink(b), startSink(b)
	raw := newPoster(b, theirs.hook(), inFlight)
	w := newWalk(b, s, ours.hook(), emitters)
	versus(b, "x-http", size(perRound), func(n int) time.Duration { return raw.round(b, n, inFlight) }, func(n int) time.Duration { return w.round(b, n) })
	w.check(b, ours.seen(b, 0))
}
