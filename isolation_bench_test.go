package webhook_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// BenchmarkIsolation emits 1 000 events a second to endpoints in turn, one in ten of which never answers, and looks at
// how long the others wait from Emit to the request. x-alone is their p99 once the hanging ones are known, divided by
// their p99 where there are none; cold is the same before anything is known of anybody. Medians of interleaved rounds.
func BenchmarkIsolation(b *testing.B) {
	for _, endpoints := range []int{10, 1000} {
		b.Run(fmt.Sprintf("hanging=%dof%d", endpoints/10, endpoints), func(b *testing.B) {
			const rounds = 3
			var warm, cold, alone, with []float64
			for b.Loop() {
				for range rounds {
					_, quiet := isolation(b, endpoints, false)
					first, known := isolation(b, endpoints, true)
					alone, with = append(alone, quiet), append(with, known)
					warm, cold = append(warm, known/quiet), append(cold, first/quiet)
				}
			}
			b.ReportMetric(median(warm), "x-alone")
			b.ReportMetric(median(cold), "x-alone-cold")
			b.ReportMetric(median(alone), "alone-p99-us")
			b.ReportMetric(median(with), "p99-us")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// isolation returns the p99 of the healthy endpoints in microseconds, before and after the others' first timeouts.
func isolation(b *testing.B, endpoints int, hang bool) (cold, warm float64) {
	b.Helper()
	const (
		perSecond = 1000
		timeout   = 2 * time.Second // instead of 15 s: what is learnt is learnt sooner, and what hangs comes round more often
		phase     = 3 * time.Second
	)
	var mu sync.Mutex
	var waits [2][]float64 // in microseconds
	transport := roundTripper(func(req *http.Request) (*http.Response, error) {
		now := time.Now()
		if hang && strings.HasSuffix(req.URL.Path, "0") { // one in ten
			<-req.Context().Done()
			return nil, req.Context().Err()
		}
		id := req.Header.Get(webhook.HeaderID) // the moment of Emit, and the phase
		sent, err := strconv.ParseInt(id[2:], 10, 64)
		if err == nil {
			mu.Lock()
			waits[id[0]-'0'] = append(waits[id[0]-'0'], float64(now.UnixNano()-sent)/1e3)
			mu.Unlock()
		}
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	})
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), &webhook.Config{Timeout: timeout, Drain: time.Millisecond, Logger: quiet, UnguardedTransport: transport})
	require.NoError(b, err)
	for i := range endpoints {
		_, _, err := d.Tenant(strconv.Itoa(i)).AddEndpoint(b.Context(), webhook.Endpoint{URL: fmt.Sprint("https://example.com/", i), Events: []string{"*"}, Secret: secretA}, webhook.WithoutPing())
		require.NoError(b, err)
	}
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()

	start := time.Now()
	for n, at := 0, time.Duration(0); at < 2*phase; n, at = n+1, at+time.Second/perSecond {
		time.Sleep(time.Until(start.Add(at)))
		e := experiment(webhook.WithID(fmt.Sprintf("%d_%d", at/phase, time.Now().UnixNano())))
		if hang || n%endpoints%10 != 0 { // alone: the healthy ones get what they get beside the others
			require.NoError(b, d.Tenant(strconv.Itoa(n%endpoints)).Emit(ctx, e))
		}
	}
	stop()
	require.NoError(b, <-done)
	p99 := func(v []float64) float64 {
		slices.Sort(v)
		return v[len(v)*99/100]
	}
	mu.Lock()
	defer mu.Unlock()
	return p99(waits[0]), p99(waits[1])
}
