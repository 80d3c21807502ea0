package bench

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

func experiment(opts ...webhook.EventOption) webhook.Event {
	return webhook.ExperimentCompleted.New("sess_abc123", webhook.ExperimentCompletedData{
		ExperimentID: "exp_def456", Metrics: webhook.Metrics{"loss": 0.0342, "accuracy": 0.921}, DurationSeconds: 1847,
	}, opts...)
}

// settings are those of a dispatcher that may send to the sink.
func settings(maxInFlight int) *webhook.Config {
	return &webhook.Config{
		MaxInFlight: maxInFlight, Slots: 256, MaxEndpoints: 1 << 20, Logger: slog.New(slog.DiscardHandler),
		InsecureHTTP: true, AllowAnyPort: true, AllowPrefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}
}

// openAtOnce is how many events may be emitted and not recorded yet: a service does not run far ahead of its
// deliveries.
const openAtOnce = 128

// tracked is a store that tells what was recorded.
type tracked struct {
	webhook.Store
	open     chan struct{} // one for each event that was emitted and has no final outcome yet
	finished atomic.Int64
	changed  chan struct{}
}

// trackedWaker is tracked on a store that is a [webhook.Waker], which a dispatcher looks for.
type trackedWaker struct {
	*tracked
	webhook.Waker
}

func (s *tracked) Record(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
	applied, err := s.Store.Record(ctx, outcomes)
	if err != nil {
		return applied, err
	}
	for i := range outcomes {
		if applied[i] && (outcomes[i].Kind == webhook.OutcomeDelivered || outcomes[i].Kind == webhook.OutcomeFailed) {
			s.finished.Add(1)
			<-s.open
		}
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return applied, nil
}

// walk is a dispatcher with one endpoint, and emitters before it: what it does is the whole way of an event until it is
// delivered and in the log.
type walk struct {
	*webhook.Dispatcher
	store    *tracked
	emitters int
	emitted  int64
	stop     func() // ends Run and waits for it
}

// newWalk starts one. Where a commit is waited for, many emitters share it, as the requests to a service do.
func newWalk(tb testing.TB, s webhook.Store, url string, emitters int) *walk {
	tb.Helper()
	w := &walk{store: &tracked{Store: s, open: make(chan struct{}, openAtOnce), changed: make(chan struct{}, 1)}, emitters: emitters}
	var given webhook.Store = w.store
	if waker, ok := s.(webhook.Waker); ok {
		given = &trackedWaker{w.store, waker}
	}
	var err error
	w.Dispatcher, err = webhook.NewDispatcher(given, settings(64))
	require.NoError(tb, err)
	_, _, err = w.AddEndpoint(context.Background(), webhook.Endpoint{URL: url, Events: []string{webhook.AllEvents}, Secret: webhook.GenerateSecret()}, webhook.WithoutPing())
	require.NoError(tb, err)
	w.stop = running(tb, w.Dispatcher)
	return w
}

// running runs a dispatcher until the test ends, or stop is called.
func running(tb testing.TB, d *webhook.Dispatcher) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(tb, <-done)
		}
	}
	tb.Cleanup(stop)
	return stop
}

// round emits n events and returns how long it took until all were delivered and recorded.
func (w *walk) round(tb testing.TB, n int) time.Duration {
	tb.Helper()
	start := time.Now()
	together(tb, n, w.emitters, func() error {
		w.store.open <- struct{}{}
		return w.Emit(context.Background(), experiment())
	})
	w.emitted += int64(n)
	stuck := time.NewTimer(time.Minute)
	defer stuck.Stop()
	for w.store.finished.Load() < w.emitted {
		select {
		case <-w.store.changed:
		case <-stuck.C:
			require.FailNow(tb, "stuck", "%d of %d events came through", w.store.finished.Load(), w.emitted)
		}
	}
	return time.Since(start)
}

// check sees that what was measured is the whole way: each event sent once, and in the log with its attempt.
func (w *walk) check(tb testing.TB, requests int) {
	tb.Helper()
	w.stop()
	require.EqualValues(tb, w.emitted, requests)
	require.Equal(tb, webhook.Counts{Emitted: w.emitted, Delivered: w.emitted}, w.Counts())
	page, err := w.Deliveries(context.Background(), webhook.DeliveryFilter{Limit: webhook.MaxPage})
	require.NoError(tb, err)
	require.Len(tb, page.Deliveries, int(min(webhook.MaxPage, w.emitted)))
	for _, d := range page.Deliveries {
		require.Equal(tb, webhook.DeliverySucceeded, d.State)
		require.Len(tb, d.Attempts, 1)
		require.Equal(tb, 200, d.Attempts[0].Status)
		require.NotEmpty(tb, d.Attempts[0].RequestHeader)
	}
}

func TestWalkIsTheWholeWay(t *testing.T) {
	t.Parallel()
	s := startSink(t)
	raw := newPoster(t, s.hook(), 4)
	raw.round(t, 50, 4)
	require.Equal(t, 50, s.seen(t, 50))
	w := newWalk(t, webhook.NewMemoryStore(nil), s.hook(), 8)
	w.round(t, 300)
	w.round(t, 33)
	w.check(t, s.seen(t, 383)-50)
}
