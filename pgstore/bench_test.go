package pgstore_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/pgtest"
	"github.com/meshia/webhook/pgstore"
)

// durable is a rig on a cluster of its own that writes as a real one does.
func durable(b *testing.B) *rig {
	b.Helper()
	installed := pgtest.Required(b)
	c := installed[0].Start(b, &pgtest.Options{Durable: true, Settings: []string{"shared_buffers=512MB", "autovacuum=on", "autovacuum_naptime=5s", "max_wal_size=4GB"}})
	pool := connect(b, c.DSN("postgres"), func(cfg *pgxpool.Config) { cfg.MaxConns = 40 })
	require.NoError(b, pgstore.Migrate(b.Context(), pool, nil))
	return &rig{Store: open(b, pool, nil), TB: b, pool: pool, cfg: &pgstore.Config{Schema: "public"}}
}

// answering is a transport whose requests all succeed at once.
type answering struct{}

func (answering) RoundTrip(r *http.Request) (*http.Response, error) {
	_, err := io.Copy(io.Discard, r.Body)
	return &http.Response{StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody, Request: r}, err
}

func experiment(opts ...webhook.EventOption) webhook.Event {
	return webhook.ExperimentCompleted.New("sess_abc123", webhook.ExperimentCompletedData{
		ExperimentID: "exp_def456", Metrics: webhook.Metrics{"loss": 0.0342, "accuracy": 0.921}, DurationSeconds: 1847,
	}, opts...)
}

// counting counts the outcomes that were recorded.
type counting struct {
	*pgstore.Store
	recorded atomic.Int64
	open     chan struct{}
}

func (c *counting) Record(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
	applied, err := c.Store.Record(ctx, outcomes)
	c.recorded.Add(int64(len(outcomes)))
	for range outcomes {
		<-c.open
	}
	return applied, err
}

// BenchmarkWalk is the whole way of an event to one endpoint that answers at once, 64 of them open at a time: what the
// store costs, with the log and everything. commits/op are transactions for an event.
func BenchmarkWalk(b *testing.B) {
	r := durable(b)
	store := &counting{Store: r.Store, open: make(chan struct{}, 64)}
	d, err := webhook.NewDispatcher(store, &webhook.Config{UnguardedTransport: answering{}, MaxInFlight: 256, Slots: 256, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	_, _, err = d.AddEndpoint(b.Context(), webhook.Endpoint{URL: "https://example.com", Events: []string{"*"}}, webhook.WithoutPing())
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = d.Run(ctx) })
	defer func() { cancel(); running.Wait() }()

	before := commits(r)
	b.ResetTimer()
	work := make(chan struct{}, 64)
	var workers sync.WaitGroup
	for range 64 {
		workers.Go(func() {
			for range work {
				store.open <- struct{}{}
				if err := d.Emit(b.Context(), experiment()); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	workers.Wait()
	for store.recorded.Load() < int64(b.N) {
		time.Sleep(100 * time.Microsecond)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(commits(r)-before)/float64(b.N), "commits/op")
}

// BenchmarkEmitTo compares transactions of 32 clients that insert one row of an event's size with transactions that
// emit an event: x-insert is the rate of the second divided by that of the first.
func BenchmarkEmitTo(b *testing.B) {
	r := durable(b)
	r.endpointOf("", "e", webhook.Health{})
	r.exec(`CREATE TABLE business (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body bytea, at timestamptz DEFAULT now())`)
	d, err := webhook.NewDispatcher(r.Store, nil)
	require.NoError(b, err)
	body := experiment().Body
	clients := func(b *testing.B, n int, f func(ctx context.Context) error) time.Duration {
		var left atomic.Int64
		left.Store(int64(n))
		var all sync.WaitGroup
		t0 := time.Now()
		for range 32 {
			all.Go(func() {
				for left.Add(-1) >= 0 {
					if err := f(b.Context()); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		return time.Since(t0)
	}
	insert := func(ctx context.Context) error {
		tx, err := r.pool.Begin(ctx)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO business (body) VALUES ($1)`, body); err != nil {
			return err
		}
		return tx.Commit(ctx)
	}
	emit := func(ctx context.Context) error {
		tx, err := r.pool.Begin(ctx)
		if err != nil {
			return err
		}
		if err := d.EmitTo(ctx, r.Tx(tx), experiment()); err != nil {
			return err
		}
		return tx.Commit(ctx)
	}
	both := func(ctx context.Context) error {
		tx, err := r.pool.Begin(ctx)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO business (body) VALUES ($1)`, body); err != nil {
			return err
		}
		if err := d.EmitTo(ctx, r.Tx(tx), experiment()); err != nil {
			return err
		}
		return tx.Commit(ctx)
	}
	clients(b, 500, insert)
	clients(b, 500, emit)
	b.ResetTimer()
	var plain, ours, together time.Duration
	for range b.N {
		plain += clients(b, 3000, insert)
		ours += clients(b, 3000, emit)
		together += clients(b, 3000, both)
	}
	rate := func(d time.Duration) float64 { return 3000 * float64(b.N) / d.Seconds() }
	b.ReportMetric(rate(plain), "inserts/s")
	b.ReportMetric(rate(ours), "emits/s")
	b.ReportMetric(rate(ours)/rate(plain), "x-insert")
	b.ReportMetric(rate(together)/rate(plain), "x-both")
}
