package bench

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/stretchr/testify/require"
)

// BenchmarkAgainstRiver compares our walk on Postgres with River, a job queue, whose jobs make the same requests:
// inserted a hundred at a time by four clients that need not wait for the work, worked by 500 workers that fetch every
// 5 ms. Either is done when its server has everything as final. River keeps no response and signs nothing. x-river is
// our rate divided by River's, on the same server.
func BenchmarkAgainstRiver(b *testing.B) {
	server := startServer(b, newest(b))
	theirSink, ourSink := startSink(b), startSink(b)
	jobs := startRiver(b, server.DSN(server.Database(b, "")), newPoster(b, theirSink.hook(), 500))
	s, _ := openPostgres(b, server.DSN(server.Database(b, "")), 40)
	w := newWalk(b, s, ourSink.hook(), 64)
	versus(b, "x-river", size(10_000), func(n int) time.Duration { return jobs.round(b, n) }, func(n int) time.Duration { return w.round(b, n) })
	marked(b, 1.3)
	w.check(b, ourSink.seen(b, 0))
	require.EqualValues(b, jobs.inserted, theirSink.seen(b, 0))
}

// post is a job. The body is a string so that it keeps its bytes: as JSON it would be written anew.
type post struct {
	Body string `json:"body"`
}

func (post) Kind() string { return "post" }

type postWorker struct {
	river.WorkerDefaults[post]
	raw    *poster
	worked *atomic.Int64
}

func (w *postWorker) Work(ctx context.Context, job *river.Job[post]) error {
	if err := w.raw.post(ctx, []byte(job.Args.Body)); err != nil {
		return err
	}
	w.worked.Add(1)
	return nil
}

type riverJobs struct {
	client   *river.Client[pgx.Tx]
	left     func() (bool, error) // whether there are jobs that are not completed
	worked   atomic.Int64
	inserted int64
	body     string
}

func startRiver(b *testing.B, dsn string, raw *poster) *riverJobs {
	b.Helper()
	pool := connect(b, dsn, 40)
	b.Cleanup(pool.Close)
	driver := riverpgxv5.New(pool)
	quiet := slog.New(slog.DiscardHandler)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: quiet})
	require.NoError(b, err)
	_, err = migrator.Migrate(b.Context(), rivermigrate.DirectionUp, nil)
	require.NoError(b, err)

	jobs := &riverJobs{body: string(raw.body)}
	workers := river.NewWorkers()
	river.AddWorker(workers, &postWorker{raw: raw, worked: &jobs.worked})
	jobs.client, err = river.NewClient(driver, &river.Config{
		Queues:        map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 500}},
		FetchCooldown: 5 * time.Millisecond, Workers: workers, Logger: quiet,
	})
	require.NoError(b, err)
	require.NoError(b, jobs.client.Start(context.Background()))
	b.Cleanup(func() { require.NoError(b, jobs.client.Stop(context.Background())) })
	jobs.left = func() (left bool, err error) {
		err = pool.QueryRow(context.Background(), `SELECT EXISTS (SELECT FROM river_job WHERE state IN ('available', 'running', 'retryable', 'scheduled', 'pending'))`).Scan(&left)
		return left, err
	}
	return jobs
}

// round inserts n jobs and returns how long it took until all were worked and stored as completed.
func (r *riverJobs) round(b *testing.B, n int) time.Duration {
	b.Helper()
	const bulk, inserters = 100, 4
	batch := make([]river.InsertManyParams, bulk)
	for i := range batch {
		batch[i].Args = post{r.body}
	}
	start := time.Now()
	together(b, n/bulk, inserters, func() error {
		_, err := r.client.InsertManyFast(context.Background(), batch)
		return err
	})
	r.inserted += int64(n / bulk * bulk)
	for limit := start.Add(time.Minute); ; time.Sleep(time.Millisecond) {
		require.True(b, time.Now().Before(limit), "%d of %d jobs were worked", r.worked.Load(), r.inserted)
		if r.worked.Load() < r.inserted {
			continue
		}
		left, err := r.left()
		require.NoError(b, err)
		if !left {
			return time.Since(start)
		}
	}
}
