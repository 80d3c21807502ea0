package webhook_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

func TestRunLetsWhatIsInFlightFinish(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, webhooktest.Answer{Delay: 10 * time.Second}), nil).run()
		r.endpoint("hook")
		r.emit()
		r.receiver.WaitFor(t.Context(), 1)
		start := time.Now()
		r.stop()
		require.Equal(t, 10*time.Second, time.Since(start))
		require.Equal(t, webhook.DeliverySucceeded, r.only().State)
	})
}

func TestRunCutsOffWhatOutlastsTheDrain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, hanging, ok), func(c *webhook.Config) { c.Drain = 3 * time.Second }).run()
		r.endpoint("hook")
		r.emit()
		r.receiver.WaitFor(t.Context(), 1)
		start := time.Now()
		r.stop()
		require.Equal(t, 3*time.Second, time.Since(start))
		d := r.only()
		require.Equal(t, webhook.DeliveryPending, d.State)
		require.Equal(t, []webhook.AttemptResult{webhook.AttemptInterrupted}, results(d))
		require.Equal(t, webhook.ErrorStopped, d.Attempts[0].Error)

		r.run() // the next start sends it at once
		require.Len(t, r.receiver.WaitFor(t.Context(), 2), 2)
		require.Equal(t, 3*time.Second, time.Since(start))
		time.Sleep(time.Second)
		d = r.only()
		require.Equal(t, webhook.DeliverySucceeded, d.State)
		require.Equal(t, 2, d.Attempts[1].Number)
	})
}

func TestBeingStoppedUsesUpNoRetry(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, hanging), func(c *webhook.Config) { c.Drain = time.Second })
		r.endpoint("hook")
		r.emit()
		for n := range 3 {
			r.run()
			r.receiver.WaitFor(t.Context(), n+1)
			r.stop()
		}
		r.receiver.Script("", failing)
		r.run()
		time.Sleep(time.Hour)
		d := r.only()
		require.Equal(t, webhook.FailExhausted, d.Reason)
		require.Len(t, d.Attempts, 3+4)
		require.Equal(t, 3, d.Interrupted)
	})
}

func TestWhatIsInterruptedEveryTimeFailsInTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, hanging), func(c *webhook.Config) { c.Drain = time.Second })
		r.endpoint("hook")
		r.emit()
		for n := range webhook.MaxInterrupted {
			r.run()
			r.receiver.WaitFor(t.Context(), n+1)
			r.stop()
		}
		d := r.only()
		require.Equal(t, webhook.DeliveryFailed, d.State)
		require.Equal(t, webhook.FailInterrupted, d.Reason)
		require.Len(t, d.Attempts, webhook.MaxInterrupted)
	})
}

// lost is a store whose dispatcher dies: nothing reaches it any more.
type lost struct {
	webhook.Store
	dead atomic.Bool
}

func (l *lost) Claim(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
	if l.dead.Load() {
		return webhook.Claimed{}, errAway
	}
	return l.Store.Claim(ctx, req)
}

func (l *lost) Record(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
	if l.dead.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return l.Store.Record(ctx, outcomes)
}

func TestADeadOwnersDeliveryIsTakenOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &lost{Store: webhook.NewMemoryStore(nil)}
		r := rigOn(t, store, webhooktest.NewReceiver(t), nil).run()
		r.endpoint("hook")
		synctest.Wait() // Run is running: it is handed the delivery
		store.dead.Store(true)
		start := time.Now()
		r.emit()
		r.receiver.WaitFor(t.Context(), 1)

		other := rigOn(t, store.Store, r.receiver, nil).run()
		got := r.receiver.WaitFor(t.Context(), 2)
		require.Equal(t, 30*time.Second, got[1].Time.Sub(start), "the lease is the timeout and 15 s")
		require.Equal(t, "2", got[1].Header.Get(webhook.HeaderAttempt))
		time.Sleep(time.Second)
		d := other.only()
		require.Equal(t, webhook.DeliverySucceeded, d.State)
		require.Equal(t, []webhook.AttemptResult{webhook.AttemptInterrupted, webhook.AttemptDelivered}, results(d))
		require.Equal(t, webhook.ErrorOwnerLost, d.Attempts[0].Error)
		require.True(t, d.Attempts[0].StartedAt.Equal(start))
	})
}

func TestAStaleOwnerChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		// The owner is held up in the store past the end of its lease, and then reports a failure.
		held := &slowRecord{Store: webhook.NewMemoryStore(nil)}
		held.delay.Store(int64(40 * time.Second))
		r := rigOn(t, held, webhooktest.NewReceiver(t, failing, ok), nil).run()
		r.endpoint("hook")
		r.emit()
		r.receiver.WaitFor(t.Context(), 1)
		other := rigOn(t, held.Store, r.receiver, nil).run()
		time.Sleep(tenMin)
		d := other.only()
		require.Equal(t, webhook.DeliverySucceeded, d.State)
		require.Equal(t, []webhook.AttemptResult{webhook.AttemptInterrupted, webhook.AttemptDelivered}, results(d))
		require.Equal(t, int64(1), r.d.Counts().Stale)
		require.Equal(t, int64(1), r.d.Counts().Delivered+other.d.Tenant("any").Counts().Delivered)
	})
}

func TestWhatComesOfAttemptsIsCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, failing, ok, webhooktest.Answer{Status: 410}, hanging), func(c *webhook.Config) { c.Drain = time.Second }).run()
		r.endpoint("hook")
		r.emit() // fails, and is delivered
		time.Sleep(time.Minute)
		e := r.emit() // gone
		time.Sleep(time.Minute)
		require.NoError(t, r.d.Emit(r.ctx, e))
		r.endpoint("other", "plan.completed")
		require.NoError(t, r.d.Emit(r.ctx, webhook.PlanCompleted.New("", webhook.PlanCompletedData{})))
		time.Sleep(time.Second)
		r.stop()
		require.Equal(t, webhook.Counts{Emitted: 4, Delivered: 1, Retried: 1, Failed: 1, Interrupted: 1}, r.d.Counts())
	})
}

// slowRecord is a store whose first Record is long on its way.
type slowRecord struct {
	webhook.Store
	delay atomic.Int64
}

func (s *slowRecord) Record(_ context.Context, outcomes []webhook.Outcome) ([]bool, error) {
	time.Sleep(time.Duration(s.delay.Swap(0)))
	return s.Store.Record(context.Background(), outcomes)
}

// gauge counts the requests that are in flight, in all and by path.
type gauge struct {
	http.RoundTripper
	mu        sync.Mutex
	now, most map[string]int
}

func newGauge(rt http.RoundTripper) *gauge {
	return &gauge{RoundTripper: rt, now: map[string]int{}, most: map[string]int{}}
}

func (g *gauge) RoundTrip(req *http.Request) (*http.Response, error) {
	g.add(1, req.URL.Path)
	defer g.add(-1, req.URL.Path)
	return g.RoundTripper.RoundTrip(req)
}

// inFlight is how many requests are under way.
func (g *gauge) inFlight() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.now["all"]
}

// peak is the most that it ever was.
func (g *gauge) peak() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.most["all"]
}

func (g *gauge) add(n int, path string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, key := range []string{path, "all"} {
		g.now[key] += n
		g.most[key] = max(g.most[key], g.now[key])
	}
}

func TestNoMoreIsInFlightThanThereAreSlots(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var g *gauge
		r := newRig(t, webhooktest.NewReceiver(t, webhooktest.Answer{Delay: 100 * time.Millisecond}), func(c *webhook.Config) {
			g = newGauge(c.UnguardedTransport)
			c.UnguardedTransport, c.Slots = g, 5
		}).run()
		for i := range 20 {
			r.endpoint(fmt.Sprint("hook", i))
		}
		for range 10 {
			r.emit()
		}
		r.receiver.WaitFor(t.Context(), 200)
		require.Equal(t, 5, g.peak())
	})
}

func TestAnEndpointsWindowOpensWithSuccessAndClosesWithATimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var g *gauge
		r := newRig(t, webhooktest.NewReceiver(t, webhooktest.Answer{Delay: 100 * time.Millisecond}), func(c *webhook.Config) {
			g = newGauge(c.UnguardedTransport)
			c.UnguardedTransport = g
		}).run()
		r.endpoint("hook")
		for range 100 {
			r.emit()
		}
		time.Sleep(50 * time.Millisecond)
		require.Equal(t, 1, g.inFlight(), "nothing is known of it yet")
		time.Sleep(100 * time.Millisecond)
		require.Equal(t, 2, g.inFlight())
		time.Sleep(100 * time.Millisecond)
		require.Greater(t, g.inFlight(), 2)
		r.receiver.WaitFor(t.Context(), 100)
		require.Equal(t, 8, g.peak())

		time.Sleep(time.Minute)
		r.receiver.Script("", hanging)
		for range 100 {
			r.emit()
		}
		time.Sleep(10 * time.Second)
		require.Equal(t, 8, g.inFlight())
		time.Sleep(10 * time.Second)
		require.Equal(t, 1, g.inFlight(), "after the first timeouts")
	})
}

func TestHangingEndpointsDoNotDelayHealthyOnes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const slots, hangers = 20, 40
		r := newRig(t, webhooktest.NewReceiver(t, hanging), func(c *webhook.Config) {
			c.Slots, c.MaxEndpoints, c.Poll = slots, 100, time.Hour
			c.Retry = webhook.Schedule{0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // as much as they can get
		}).run()
		r.receiver.Script("/healthy", ok)
		for i := range hangers {
			r.endpoint(fmt.Sprint("hang", i))
		}
		r.endpoint("healthy", "experiment.failed")
		for range 5 {
			r.emit()
		}
		time.Sleep(2 * time.Minute) // each of them has timed out by now

		for range 20 {
			start := time.Now()
			// Hanging endpoints get this one too.
			require.NoError(t, r.d.Emit(r.ctx, webhook.ExperimentFailed.New("sess", webhook.ExperimentFailedData{})))
			synctest.Wait()
			requests := r.receiver.Requests()
			healthy := 0
			for _, q := range requests {
				if strings.HasSuffix(q.URL, "/healthy") && q.Time.Equal(start) {
					healthy++
				}
			}
			require.Equal(t, 1, healthy)
			time.Sleep(time.Second)
		}
	})
}

func TestARetryBehindAFullWindowIsNotForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, ok, failing, webhooktest.Answer{Delay: 3 * time.Second}), func(c *webhook.Config) {
			c.Poll, c.MaxInFlight = time.Hour, 2
		}).run()
		r.endpoint("hook")
		r.emit() // opens the window
		time.Sleep(time.Second)
		start := time.Now()
		for range 3 { // one fails, the others fill the window
			r.emit()
		}
		requests := r.receiver.WaitFor(t.Context(), 5)
		require.Equal(t, 10*time.Second, requests[4].Time.Sub(start))
		require.Equal(t, "2", requests[4].Header.Get(webhook.HeaderAttempt))
	})
}

func TestWhatPanicsHarmsOneDeliveryOnly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, failing, ok), func(c *webhook.Config) {
			inner := c.UnguardedTransport
			c.UnguardedTransport = roundTripper(func(req *http.Request) (*http.Response, error) {
				if strings.HasSuffix(req.URL.Path, "broken") {
					panic("a transport of the user's")
				}
				return inner.RoundTrip(req)
			})
			c.Retry = webhook.RetryFunc(func(int, webhook.Attempt) (time.Duration, bool) { panic("a policy of the user's") })
		}).run()
		broken, fine := r.endpoint("broken"), r.endpoint("fine")
		r.emit()
		time.Sleep(time.Hour)

		d := r.deliveries(webhook.DeliveryFilter{EndpointID: broken.ID})[0]
		require.Equal(t, webhook.FailExhausted, d.Reason, "the default policy decided")
		require.Len(t, d.Attempts, 4)
		require.Equal(t, webhook.ErrorInternal, d.Attempts[0].Error)
		d = r.deliveries(webhook.DeliveryFilter{EndpointID: fine.ID})[0]
		require.Equal(t, webhook.DeliverySucceeded, d.State)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// bell is a store that tells other dispatchers.
type bell struct {
	webhook.Store
	ring  chan struct{}
	wakes atomic.Int64
	fail  atomic.Int64
}

func (b *bell) Wake(context.Context) error {
	b.wakes.Add(1)
	if b.fail.Add(-1) >= 0 {
		return errAway
	}
	select {
	case b.ring <- struct{}{}:
	default:
	}
	return nil
}

func (b *bell) Wait(ctx context.Context) error {
	if b.fail.Add(-1) >= 0 {
		return errAway
	}
	select {
	case <-b.ring:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestDispatchersHearEachOtherThroughTheStore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &bell{Store: webhook.NewMemoryStore(nil), ring: make(chan struct{}, 1)}
		store.fail.Store(3) // a listener whose connection drops listens again
		receiver := webhooktest.NewReceiver(t)
		emitter := rigOn(t, store, receiver, nil)
		rigOn(t, store, receiver, func(c *webhook.Config) { c.Poll = time.Hour }).run()
		emitter.endpoint("hook")
		time.Sleep(time.Minute)
		start := time.Now()
		emitter.emit()
		require.Equal(t, start, receiver.WaitFor(t.Context(), 1)[0].Time)

		store.fail.Store(1)
		emitter.emit() // nobody could be told: it is stored all the same
		time.Sleep(time.Minute)
		emitter.d.Wake(t.Context())
		receiver.WaitFor(t.Context(), 2)
	})
}
