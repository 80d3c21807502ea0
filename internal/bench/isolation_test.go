package bench

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// quarter is a dispatcher whose endpoints answer at once, or never. Its requests go nowhere: what is measured is what
// the endpoints do to each other, and no network.
type quarter struct {
	*webhook.Dispatcher
	emitters int
	stop     func()

	mu    sync.Mutex
	waits map[string]series // of the healthy ones, by phase, from Emit to the request, in milliseconds
	hung  map[string]bool   // the paths that have timed out
	came  atomic.Int64      // requests to healthy ones
	open  chan struct{}     // one for each event of a flood that has not arrived yet
}

// newQuarter starts one.
func newQuarter(tb testing.TB, s webhook.Store, timeout time.Duration, emitters int) *quarter {
	tb.Helper()
	q := &quarter{emitters: emitters, open: make(chan struct{}, 64), waits: map[string]series{}, hung: map[string]bool{}}
	var err error
	q.Dispatcher, err = webhook.NewDispatcher(s, &webhook.Config{
		Timeout: timeout, Drain: time.Millisecond, MaxEndpoints: 1 << 20, Logger: slog.New(slog.DiscardHandler), UnguardedTransport: q,
		Retry: webhook.Schedule{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, // hanging ones come round as often as they can
	})
	require.NoError(tb, err)
	q.stop = running(tb, q.Dispatcher)
	return q
}

// RoundTrip answers for all endpoints.
func (q *quarter) RoundTrip(req *http.Request) (*http.Response, error) {
	now := time.Now()
	if strings.HasPrefix(req.URL.Path, "/hangs/") {
		<-req.Context().Done()
		q.mu.Lock()
		q.hung[req.URL.Path] = true
		q.mu.Unlock()
		return nil, req.Context().Err()
	}
	q.came.Add(1)
	if parts := strings.Split(req.Header.Get(webhook.HeaderID), "_"); len(parts) == 3 { // the phase, the moment of Emit, a number
		sent, err := strconv.ParseInt(parts[1], 10, 64)
		if err == nil {
			q.mu.Lock()
			q.waits[parts[0]] = append(q.waits[parts[0]], millis(time.Duration(now.UnixNano()-sent)))
			q.mu.Unlock()
		}
	} else {
		<-q.open
	}
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

// settle adds n endpoints, each of a tenant of its own, every tenth of which hangs if any is to.
func (q *quarter) settle(tb testing.TB, street string, n int, hang bool) {
	tb.Helper()
	var next atomic.Int64
	together(tb, n, q.emitters, func() error {
		k := int(next.Add(1) - 1)
		kind := "answers"
		if hang && k%10 == 0 {
			kind = "hangs"
		}
		_, _, err := q.Tenant(fmt.Sprint(street, k)).AddEndpoint(context.Background(), webhook.Endpoint{
			ID: "we", URL: fmt.Sprintf("https://example.com/%s/%s/%d", kind, street, k), Events: []string{webhook.AllEvents}, Secret: webhook.GenerateSecret(),
		}, webhook.WithoutPing())
		return err
	})
}

// leave deletes them again, so that what waits for them is nobody's affair any more.
func (q *quarter) leave(tb testing.TB, street string, n int) {
	tb.Helper()
	var next atomic.Int64
	together(tb, n, q.emitters, func() error {
		return q.Tenant(fmt.Sprint(street, next.Add(1)-1)).DeleteEndpoint(context.Background(), "we")
	})
}

// trickle emits so many events a second to the n endpoints in turn, and returns the healthy ones' 99th percentile of
// the waits in milliseconds. Where alone is set the places of those that would hang are left out: the others get what
// they get beside them.
func (q *quarter) trickle(tb testing.TB, street, phase string, n, perSecond int, d time.Duration, alone bool) float64 {
	tb.Helper()
	phase += street
	events := int(d.Seconds() * float64(perSecond))
	var next, healthy atomic.Int64
	start := time.Now()
	together(tb, events, q.emitters, func() error {
		i := int(next.Add(1) - 1)
		time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(perSecond))))
		if i%n%10 == 0 {
			if alone {
				return nil
			}
		} else {
			healthy.Add(1)
		}
		return q.Tenant(fmt.Sprint(street, i%n)).Emit(context.Background(), experiment(webhook.WithID(fmt.Sprintf("%s_%d_%d", phase, time.Now().UnixNano(), i))))
	})
	var waits series
	require.Eventually(tb, func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		waits = q.waits[phase]
		return len(waits) >= int(healthy.Load())
	}, time.Minute, 5*time.Millisecond, "healthy endpoints wait for their events")
	return waits.percentile(99)
}

// flood emits to the tenant's endpoint as fast as it gets its events, and returns how many a second that were.
func (q *quarter) flood(tb testing.TB, tenant string, d time.Duration) float64 {
	tb.Helper()
	emit := func(d time.Duration) float64 {
		before, start := q.came.Load(), time.Now()
		var all sync.WaitGroup
		failed := make(chan error, q.emitters)
		for range q.emitters {
			all.Go(func() {
				for time.Since(start) < d {
					q.open <- struct{}{}
					if err := q.Tenant(tenant).Emit(context.Background(), webhook.PlanCompleted.New("", webhook.PlanCompletedData{})); err != nil {
						failed <- err
						return
					}
				}
			})
		}
		all.Wait()
		require.Empty(tb, failed)
		return float64(q.came.Load()-before) / time.Since(start).Seconds()
	}
	emit(d / 4) // its window opens
	return emit(d)
}

// crowd adds n endpoints that hang, and sends all of them an event. It returns when each has timed out, with what the
// heap held before that event.
func (q *quarter) crowd(tb testing.TB, n int) (heap float64) {
	tb.Helper()
	var next atomic.Int64
	together(tb, n, q.emitters, func() error {
		_, _, err := q.Tenant("crowd").AddEndpoint(context.Background(), webhook.Endpoint{
			URL: fmt.Sprint("https://example.com/hangs/crowd/", next.Add(1)), Events: []string{webhook.SessionStarted.Name()}, Secret: webhook.GenerateSecret(),
		}, webhook.WithoutPing())
		return err
	})
	q.mu.Lock()
	clear(q.hung)
	q.mu.Unlock()
	heap = heapNow()
	require.NoError(tb, q.Tenant("crowd").Emit(context.Background(), webhook.SessionStarted.New("", webhook.SessionStartedData{})))
	require.Eventually(tb, func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		met := 0
		for path := range q.hung {
			if strings.HasPrefix(path, "/hangs/crowd/") {
				met++
			}
		}
		return met == n
	}, 5*time.Minute, 20*time.Millisecond, "hanging endpoints that had no turn")
	return heap
}

// heapNow is what the heap holds without garbage.
func heapNow() float64 {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return float64(sample[0].Value.Uint64()) / (1 << 20)
}

// left is how many goroutines are left over those that there were, once they have had time to end.
func left(before int) float64 {
	for range 1000 {
		if runtime.NumGoroutine() <= before {
			return 0
		}
		time.Sleep(5 * time.Millisecond)
	}
	return float64(runtime.NumGoroutine() - before)
}

func TestQuarter(t *testing.T) {
	t.Parallel()
	q := newQuarter(t, webhook.NewMemoryStore(nil), 50*time.Millisecond, 4)
	q.settle(t, "a", 20, true)
	require.Positive(t, q.trickle(t, "a", "alone", 20, 200, 200*time.Millisecond, true))
	require.Empty(t, q.hung, "nobody asked them")
	require.Len(t, q.waits["alonea"], 36)
	q.trickle(t, "a", "beside", 20, 200, 200*time.Millisecond, false)
	require.Len(t, q.waits["besidea"], 36)
	require.Eventually(t, func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return len(q.hung) == 2
	}, time.Minute, time.Millisecond)
	q.leave(t, "a", 20)
	_, err := q.Tenant("a0").Endpoint(t.Context(), "we")
	require.ErrorIs(t, err, webhook.ErrNotFound)

	q.settle(t, "b", 1, false)
	require.Positive(t, q.flood(t, "b0", 20*time.Millisecond))
	q.crowd(t, 10)
	require.Positive(t, q.flood(t, "b0", 20*time.Millisecond))
	q.stop()
	page, err := q.Tenant("crowd").Deliveries(t.Context(), webhook.DeliveryFilter{})
	require.NoError(t, err)
	require.Len(t, page.Deliveries, 10)
	for _, d := range page.Deliveries {
		require.NotEmpty(t, d.Attempts)
		require.Equal(t, webhook.ErrorTimeout, d.Attempts[0].Error)
	}
}
