package webhook_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// The sink is an HTTP server in a process of its own, this test binary started anew: what it costs is not in the
// figures of the senders.
const sinkVariable = "WEBHOOK_BENCH_SINK"

func runSink() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	go func() { // ends with the benchmark, however that ends
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusOK)
	}))
}

func startSink(b *testing.B) string {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), sinkVariable+"=1")
	in, err := cmd.StdinPipe()
	require.NoError(b, err)
	out, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	b.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	addr, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(b, err)
	return "http://" + strings.TrimSpace(addr) + "/hook"
}

// counting counts the outcomes that a store has recorded.
type counting struct {
	webhook.Store
	recorded atomic.Int64
	changed  chan struct{}
	open     chan struct{} // one for each event that was emitted and is not recorded yet
}

// emit emits as soon as there is room for an event that is open: a service does not run far ahead of its deliveries.
func (c *counting) emit(ctx context.Context, d *webhook.Dispatcher) error {
	c.open <- struct{}{}
	return d.Emit(ctx, experiment())
}

func newCounting() *counting {
	return &counting{Store: webhook.NewMemoryStore(nil), changed: make(chan struct{}, 1), open: make(chan struct{}, 128)}
}

func (c *counting) Record(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
	applied, err := c.Store.Record(ctx, outcomes)
	c.recorded.Add(int64(len(outcomes)))
	for range outcomes {
		<-c.open
	}
	select {
	case c.changed <- struct{}{}:
	default:
	}
	return applied, err
}

// waitFor returns when n outcomes have been recorded.
func (c *counting) waitFor(n int64) {
	for c.recorded.Load() < n {
		<-c.changed
	}
}

// BenchmarkDispatcherAgainstHTTP compares a dispatcher on a memory store, its whole log on, with a tuned net/http
// client that posts requests of the same bytes to the same sink, 64 in flight each. x-http is the dispatcher's rate
// divided by the client's: the median of interleaved rounds.
func BenchmarkDispatcherAgainstHTTP(b *testing.B) {
	const inFlight, perRound, rounds = 64, 20_000, 7
	url := startSink(b)
	body := experiment().Body
	header := map[string]string{ // as a delivery has them: the two send the same bytes
		"Content-Type": "application/json", "User-Agent": "Meshia-Webhook/" + webhook.Version,
		webhook.HeaderID: "evt_33nf3y2xm1tjg8zqbqxs7ffmbc2gkwyhxhjce", webhook.HeaderTimestamp: "1775917920",
		webhook.HeaderDelivery: "dlv_33nf3y2xm1tjg8zqbqxs7ffmbc2gkwyhxhjce", webhook.HeaderAttempt: "1",
		webhook.HeaderSignature: webhook.Sign(body, "secret"), webhook.HeaderStandardSignature: "v1,X8m3hMTZaypBFQVYiQGqDsvzv+iSNeRQmlJY0ax78yo=",
	}

	transport := &http.Transport{MaxIdleConnsPerHost: 128, DisableCompression: true}
	client := &http.Client{Transport: transport}
	raw := func() time.Duration {
		start := time.Now()
		var left atomic.Int64
		left.Store(perRound)
		var wg sync.WaitGroup
		for range inFlight {
			wg.Go(func() {
				for left.Add(-1) >= 0 {
					req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
					if err != nil {
						b.Error(err)
						return
					}
					for name, value := range header {
						req.Header.Set(name, value)
					}
					res, err := client.Do(req)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
				}
			})
		}
		wg.Wait()
		return time.Since(start)
	}

	store := newCounting()
	d, err := webhook.NewDispatcher(store, &webhook.Config{
		MaxInFlight: inFlight, Slots: 256, InsecureHTTP: true, AllowAnyPort: true, AllowPrefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Logger: quiet,
	})
	require.NoError(b, err)
	_, _, err = d.AddEndpoint(b.Context(), webhook.Endpoint{URL: url, Events: []string{"*"}, Secret: webhook.GenerateSecret()}, webhook.WithoutPing())
	require.NoError(b, err)
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()
	emitted := int64(0)
	ours := func() time.Duration {
		start := time.Now()
		var wg sync.WaitGroup
		const emitters = 8
		for range emitters {
			wg.Go(func() {
				for range perRound / emitters {
					if err := store.emit(ctx, d); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		emitted += perRound
		store.waitFor(emitted)
		return time.Since(start)
	}

	raw()
	ours()
	var ratios, rates []float64
	for b.Loop() {
		ratios, rates = nil, nil
		for range rounds {
			theirs, mine := raw(), ours()
			ratios = append(ratios, theirs.Seconds()/mine.Seconds())
			rates = append(rates, perRound/mine.Seconds())
		}
	}
	stop()
	require.NoError(b, <-done)
	b.ReportMetric(median(ratios), "x-http")
	b.ReportMetric(slices.Min(ratios), "x-http-min")
	b.ReportMetric(slices.Max(ratios), "x-http-max")
	b.ReportMetric(median(rates), "deliveries/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkDispatcherAlone is what a delivery costs beside its HTTP: the transport answers at once.
func BenchmarkDispatcherAlone(b *testing.B) {
	store := newCounting()
	d, err := webhook.NewDispatcher(store, &webhook.Config{MaxInFlight: 64, Logger: quiet, UnguardedTransport: roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody}, nil
	})})
	require.NoError(b, err)
	_, _, err = d.AddEndpoint(b.Context(), webhook.Endpoint{URL: "https://example.com/", Events: []string{"*"}, Secret: webhook.GenerateSecret()}, webhook.WithoutPing())
	require.NoError(b, err)
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()
	b.ReportAllocs()
	emitted := int64(0)
	for b.Loop() {
		if err := store.emit(ctx, d); err != nil {
			b.Fatal(err)
		}
		emitted++
	}
	store.waitFor(emitted)
	stop()
	require.NoError(b, <-done)
}
