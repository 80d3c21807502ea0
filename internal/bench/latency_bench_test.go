package bench

import (
	"context"
	"database/sql"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// BenchmarkLatency emits 50 events a second and looks at how long each takes from the call of Emit until its request is
// at the receiver. In between it commits a row of the event's size, one at a time. x-p50 and x-p99 are the percentiles
// of the events divided by the median of those commits: nothing durable can be much below 1. In postgres-other-process
// the dispatcher that emits is not the one that sends, and has a pool of its own; p50-ms is what NOTIFY makes of it.
func BenchmarkLatency(b *testing.B) {
	b.Run("postgres", func(b *testing.B) {
		s, pool := openPostgres(b, startServer(b, newest(b)).DSN("postgres"), 40)
		_, err := pool.Exec(b.Context(), `CREATE TABLE business (id text PRIMARY KEY, body bytea NOT NULL)`)
		require.NoError(b, err)
		d, arrivals := receiving(b, s)
		running(b, d)
		latency(b, d, arrivals, func(e *webhook.Event) error {
			_, err := pool.Exec(context.Background(), `INSERT INTO business (id, body) VALUES ($1, $2)`, e.ID, e.Body)
			return err
		})
		marked(b, 1.5)
		b.ReportMetric(3, "mark-p99")
	})
	b.Run("sqlite", func(b *testing.B) {
		s, path := openSQLite(b)
		dsn := url.URL{Scheme: "file", Opaque: filepath.Join(filepath.Dir(path), "business.db"), RawQuery: "_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"}
		db, err := sql.Open("sqlite", dsn.String()) // another file: who writes to one waits for the other
		require.NoError(b, err)
		defer db.Close()
		_, err = db.Exec(`CREATE TABLE business (id TEXT PRIMARY KEY, body BLOB NOT NULL)`)
		require.NoError(b, err)
		d, arrivals := receiving(b, s)
		running(b, d)
		latency(b, d, arrivals, func(e *webhook.Event) error {
			_, err := db.Exec(`INSERT INTO business (id, body) VALUES (?, ?)`, e.ID, e.Body)
			return err
		})
		marked(b, 1.5)
		b.ReportMetric(3, "mark-p99")
	})
	b.Run("postgres-other-process", func(b *testing.B) {
		dsn := startServer(b, newest(b)).DSN("postgres")
		s, _ := openPostgres(b, dsn, 40)
		d, arrivals := receiving(b, s)
		running(b, d)
		other, pool := openPostgres(b, dsn, 40)
		_, err := pool.Exec(b.Context(), `CREATE TABLE business (id text PRIMARY KEY, body bytea NOT NULL)`)
		require.NoError(b, err)
		emitter, err := webhook.NewDispatcher(other, settings(64))
		require.NoError(b, err)
		latency(b, emitter, arrivals, func(e *webhook.Event) error {
			_, err := pool.Exec(context.Background(), `INSERT INTO business (id, body) VALUES ($1, $2)`, e.ID, e.Body)
			return err
		})
		b.ReportMetric(10, "mark-p50-ms")
		b.ReportMetric(0, "ns/op")
	})
}

// arrivals are when events came to the receiver.
type arrivals struct {
	mu   sync.Mutex
	at   map[string]time.Time
	more chan struct{}
}

// receiving makes a dispatcher with one endpoint, whose receiver is of this process: emitter and receiver have one
// clock.
func receiving(b *testing.B, s webhook.Store) (*webhook.Dispatcher, *arrivals) {
	b.Helper()
	a := &arrivals{at: map[string]time.Time{}, more: make(chan struct{}, 1)}
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		now := time.Now()
		a.mu.Lock()
		a.at[r.Header.Get(webhook.HeaderID)] = now
		a.mu.Unlock()
		select {
		case a.more <- struct{}{}:
		default:
		}
	}))
	b.Cleanup(receiver.Close)
	d, err := webhook.NewDispatcher(s, settings(64))
	require.NoError(b, err)
	_, _, err = d.AddEndpoint(b.Context(), webhook.Endpoint{URL: receiver.URL, Events: []string{webhook.AllEvents}, Secret: webhook.GenerateSecret()}, webhook.WithoutPing())
	require.NoError(b, err)
	return d, a
}

// of returns when the event came, once it has.
func (a *arrivals) of(b *testing.B, id string) time.Time {
	b.Helper()
	stuck := time.NewTimer(time.Minute)
	defer stuck.Stop()
	for {
		a.mu.Lock()
		at, came := a.at[id]
		a.mu.Unlock()
		if came {
			return at
		}
		select {
		case <-a.more:
		case <-stuck.C:
			require.FailNow(b, "an event did not arrive")
		}
	}
}

func latency(b *testing.B, d *webhook.Dispatcher, a *arrivals, insert func(*webhook.Event) error) {
	b.Helper()
	const gap = time.Second / 50
	trickle := func(n int) (waits, commits series) {
		sent := make(map[string]time.Time, n)
		start := time.Now()
		for i := range n {
			e := experiment()
			time.Sleep(time.Until(start.Add(time.Duration(i) * gap)))
			sent[e.ID] = time.Now()
			require.NoError(b, d.Emit(b.Context(), e))
			time.Sleep(time.Until(start.Add(time.Duration(i)*gap + gap/2)))
			began := time.Now()
			require.NoError(b, insert(&e))
			commits = append(commits, millis(time.Since(began)))
		}
		for id, at := range sent {
			waits = append(waits, millis(a.of(b, id).Sub(at)))
		}
		return waits, commits
	}
	trickle(20) // connections are made
	var half, most, halfMillis, mostMillis, commit series
	for b.Loop() {
		for range min(rounds(), 3) {
			waits, commits := trickle(size(500))
			one := commits.median()
			half, most = append(half, waits.median()/one), append(most, waits.percentile(99)/one)
			halfMillis, mostMillis, commit = append(halfMillis, waits.median()), append(mostMillis, waits.percentile(99)), append(commit, one)
		}
	}
	half.report(b, "x-p50")
	most.report(b, "x-p99")
	b.ReportMetric(halfMillis.median(), "p50-ms")
	b.ReportMetric(mostMillis.median(), "p99-ms")
	b.ReportMetric(commit.median(), "commit-ms")
}
