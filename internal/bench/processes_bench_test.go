package bench

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/pgstore"
)

const databaseVariable = "WEBHOOK_BENCH_DATABASE"

// runWorker runs a dispatcher from a line that it reads until the next one, and answers how much it delivered; and so
// on, until its input ends.
func runWorker() {
	pool, err := pgxpool.New(context.Background(), os.Getenv(databaseVariable))
	if err != nil {
		panic(err)
	}
	defer pool.Close()
	s, err := pgstore.New(context.Background(), pool, nil)
	if err != nil {
		panic(err)
	}
	d, err := webhook.NewDispatcher(s, settings(8))
	if err != nil {
		panic(err)
	}
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		before := d.Counts().Delivered
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- d.Run(ctx) }()
		lines.Scan()
		stop()
		if err := <-done; err != nil {
			panic(err)
		}
		fmt.Println(d.Counts().Delivered - before)
	}
}

// BenchmarkProcesses lets one, two and three processes work off the same backlog of many endpoints on one Postgres.
// x-two and x-three are their rates divided by that of one process: on a machine that one of them keeps busy there is
// nothing to be won, and little may be lost by getting in each other's way. share-two and share-three are the smallest
// part that one of them delivered, in any round; a half and a third would be even.
func BenchmarkProcesses(b *testing.B) {
	const endpoints, most = 200, 3
	server := startServer(b, newest(b))
	dsn := server.DSN("postgres")
	s, _ := openPostgres(b, dsn, 10)
	receiver := startSink(b)
	d, err := webhook.NewDispatcher(s, settings(8))
	require.NoError(b, err)
	var tenants []*webhook.Dispatcher
	for i := range endpoints {
		t := d.Tenant(strconv.Itoa(i))
		_, _, err := t.AddEndpoint(b.Context(), webhook.Endpoint{URL: receiver.hook(), Events: []string{webhook.AllEvents}, Secret: webhook.GenerateSecret()}, webhook.WithoutPing())
		require.NoError(b, err)
		tenants = append(tenants, t)
	}
	var workers []*child
	for range most {
		w := startChild(b, "worker", databaseVariable+"="+dsn+" pool_max_conns=20")
		require.Equal(b, "ready", w.hear(b))
		workers = append(workers, w)
	}

	total := 0
	// drain lets so many workers deliver each endpoint's events.
	drain := func(n, each int) (rate, share float64) {
		for _, t := range tenants {
			events := make([]webhook.Event, each)
			for i := range events {
				events[i] = experiment()
			}
			require.NoError(b, t.Emit(b.Context(), events...))
		}
		backlog := endpoints * each
		total += backlog
		start := time.Now()
		for _, w := range workers[:n] {
			w.say(b, "go")
		}
		receiver.seen(b, total)
		took := time.Since(start)
		least, sum := backlog, 0
		for _, w := range workers[:n] {
			w.say(b, "stop")
			delivered, err := strconv.Atoi(w.hear(b))
			require.NoError(b, err)
			least, sum = min(least, delivered), sum+delivered
		}
		require.Equal(b, backlog, sum)
		require.Equal(b, total, receiver.seen(b, 0), "each was sent once")
		return float64(backlog) / took.Seconds(), float64(least) / float64(backlog)
	}
	drain(most, 10)
	var two, three, rates series
	shareTwo, shareThree := 1.0, 1.0
	for b.Loop() {
		for range rounds() {
			each := size(100)
			one, _ := drain(1, each)
			rate, share := drain(2, each)
			two, shareTwo = append(two, rate/one), min(shareTwo, share)
			rate, share = drain(3, each)
			three, shareThree = append(three, rate/one), min(shareThree, share)
			rates = append(rates, one)
		}
	}
	two.report(b, "x-two")
	three.report(b, "x-three")
	b.ReportMetric(shareTwo, "share-two")
	b.ReportMetric(shareThree, "share-three")
	b.ReportMetric(rates.median(), "deliveries/s")
	marked(b, 0.85)
}
