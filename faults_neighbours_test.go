package webhook_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// TestTenThousandHangingEndpointsAndOneHealthy: whatever they do, the healthy one gets its events, in its turn while
// nothing is known of anybody, and at once when the others have been met. Requests under way, goroutines and heap
// are bounded by the slots and not by the endpoints. It is not parallel: it counts the process's goroutines, and its
// heap.
func TestTenThousandHangingEndpointsAndOneHealthy(t *testing.T) {
	const (
		slots, hanging = 256, 10_000
		timeout        = 15 * time.Second
		round          = (hanging/slots + 2) * timeout // in which each of them has timed out once
		atOnce         = 10 * time.Millisecond
	)
	heap := watchHeap(t)
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		arrived := map[string]time.Time{}
		met := map[string]bool{}
		g := newGauge(roundTripper(func(req *http.Request) (*http.Response, error) {
			if strings.HasPrefix(req.URL.Path, "/hangs") {
				<-req.Context().Done()
				mu.Lock()
				met[req.URL.Path] = true
				mu.Unlock()
				return nil, req.Context().Err()
			}
			mu.Lock()
			defer mu.Unlock()
			arrived[req.Header.Get(webhook.HeaderID)] = time.Now()
			return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
		}))
		r := newRig(t, nil, func(c *webhook.Config) {
			c.Slots, c.MaxEndpoints, c.Timeout, c.UnguardedTransport = slots, hanging+1, timeout, g
			c.Retry = webhook.Schedule{0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // as much as they can get
		})
		for i := range hanging {
			r.endpoint(fmt.Sprint("hangs", i), webhook.ExperimentCompleted.Name())
		}
		r.endpoint("healthy", webhook.PlanCompleted.Name())
		for range 2 {
			r.emit()
		}

		workers, live := 0, int64(0)
		heap.begin()
		r.run()
		// waits emits to the healthy endpoint n times, so far apart, and returns the longest wait for the request.
		waits := func(n int, gap time.Duration) (most time.Duration) {
			t.Helper()
			sent := map[string]time.Time{}
			for range n {
				e := webhook.PlanCompleted.New("", webhook.PlanCompletedData{})
				sent[e.ID] = time.Now()
				require.NoError(t, r.d.Emit(r.ctx, e))
				time.Sleep(gap)
			}
			workers = max(workers, senders())
			live = max(live, heap.live()) // with what the memory store keeps of the attempts
			time.Sleep(timeout + time.Second)
			mu.Lock()
			defer mu.Unlock()
			for id, at := range sent {
				require.Contains(t, arrived, id)
				most = max(most, arrived[id].Sub(at))
			}
			return most
		}
		time.Sleep(time.Second)
		cold := waits(1, round)
		require.LessOrEqual(t, cold, round, "nothing is known of anybody: it waits for those that came before it")
		mu.Lock()
		require.Len(t, met, hanging, "each of them has had its turn")
		mu.Unlock()
		require.LessOrEqual(t, waits(200, 100*time.Millisecond), atOnce)
		r.emit() // to all of them
		require.LessOrEqual(t, waits(200, 100*time.Millisecond), atOnce)
		r.stop()
		t.Logf("cold %v, %d workers at most, %d requests under way at most, the heap grew by %.1f MiB", cold, workers, g.peak(), float64(live)/(1<<20))
		require.LessOrEqual(t, g.peak(), slots)
		require.LessOrEqual(t, workers, slots+10, "a goroutine for each slot, and few beside")
		require.Less(t, live, int64(bombProof))
		require.Zero(t, g.inFlight())
	})
	nobodyLeft(t)
}
