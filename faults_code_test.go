package webhook_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// Faults of the code that a dispatcher's owner brings: hooks, a retry policy, a sealer, a log handler.

// TestEveryHookMayPanic makes all of them panic, in all that they are told of.
func TestEveryHookMayPanic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var book logbook
		receiver := webhooktest.NewReceiver(t)
		receiver.Script("/failing", failing)
		receiver.Script("/gone", webhooktest.Answer{Status: 410})
		r, w := hooked(t, receiver, func(c *webhook.Config) {
			c.Logger, c.Slots, c.PauseAfter, c.MaxPending, c.DisableAfter, c.Poll = book.logger(), 3, 5, 4, 2*time.Hour, time.Minute
		})
		w.stall = func(string) { panic("a hook of the user's") }
		r.run()
		good := r.endpoint("good")
		bad := r.endpoint("failing")
		r.endpoint("gone")
		for range 8 {
			r.emit()
		}
		_, err := r.d.SetEnabled(r.ctx, good.ID, false)
		require.NoError(t, err)
		_, err = r.d.SetEnabled(r.ctx, good.ID, true)
		require.NoError(t, err)
		_, err = r.d.Ping(r.ctx, good.ID)
		require.NoError(t, err)
		time.Sleep(5 * time.Hour)

		names := map[string]int{}
		for _, line := range book.lines("a hook panicked") {
			_, rest, _ := strings.Cut(line, "hook=")
			name, _, _ := strings.Cut(rest, " ")
			names[name]++
			require.Contains(t, line, "a hook of the user's")
		}
		for _, name := range []string{
			"Emitted", "AttemptStarted", "AttemptEnded", "Delivered", "GivenUp",
			"EndpointFailing", "EndpointPaused", "EndpointDisabled", "EndpointEnabled", "GapOpened",
		} {
			require.Positive(t, names[name], "%s did not panic", name)
		}
		for _, d := range r.deliveries(webhook.DeliveryFilter{EndpointID: good.ID}) {
			require.Equal(t, webhook.DeliverySucceeded, d.State)
			require.Len(t, d.Attempts, 1)
		}
		e, err := r.d.Endpoint(r.ctx, bad.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointDisabled, e.Health.State)
		require.Equal(t, webhook.ReasonFailing, e.Health.Reason)
	})
}

// TestHooksThatDoNotReturn block for one endpoint, in each place after its attempt; the other one has its slots.
func TestHooksThatDoNotReturn(t *testing.T) {
	for _, hook := range []string{"ended", "delivered", "given up", "paused"} {
		t.Run(hook, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				receiver := webhooktest.NewReceiver(t)
				pauseAfter := 1000
				switch hook {
				case "paused":
					pauseAfter = 5
					fallthrough
				case "given up":
					receiver.Script("/bad", failing)
				}
				r, w := hooked(t, receiver, func(c *webhook.Config) { c.Slots, c.Retry, c.PauseAfter = 40, webhook.Schedule{}, pauseAfter })
				release := make(chan struct{})
				var blocked atomic.Int64
				r.run()
				t.Cleanup(func() { close(release) }) // before Run is waited for
				bad, good := r.endpoint("bad"), r.endpoint("good")
				w.stall = func(line string) {
					if strings.Contains(line, bad.ID) && strings.HasPrefix(line, hook) {
						blocked.Add(1)
						<-release
					}
				}
				for range 3 {
					for range 50 {
						r.emit()
					}
					time.Sleep(10 * time.Minute)
				}
				require.Positive(t, blocked.Load())
				require.Less(t, blocked.Load(), int64(40), "not on every slot")
				require.Len(t, r.deliveries(webhook.DeliveryFilter{EndpointID: good.ID, State: webhook.DeliverySucceeded}), 150)
			})
		})
	}
}

// TestAPolicyThatTakesLong delays those that it is asked about and nobody else.
func TestAPolicyThatTakesLong(t *testing.T) {
	bubble(t, func(t *testing.T) {
		receiver := webhooktest.NewReceiver(t)
		receiver.Script("/bad", failing)
		r := newRig(t, receiver, func(c *webhook.Config) {
			c.Slots, c.PauseAfter = 16, 1000
			c.Retry = webhook.RetryFunc(func(n int, _ webhook.Attempt) (time.Duration, bool) {
				time.Sleep(10 * time.Second)
				return time.Second, n < 3
			})
		}).run()
		bad, good := r.endpoint("bad"), r.endpoint("good", webhook.PlanCompleted.Name())
		for range 8 {
			r.emit()
		}
		for range 50 {
			require.NoError(t, r.d.Emit(r.ctx, webhook.PlanCompleted.New("", webhook.PlanCompletedData{})))
			time.Sleep(100 * time.Millisecond)
		}
		for _, d := range r.deliveries(webhook.DeliveryFilter{EndpointID: good.ID}) {
			require.Equal(t, webhook.DeliverySucceeded, d.State)
			require.Zero(t, d.FinishedAt.Sub(d.CreatedAt))
		}
		time.Sleep(time.Hour)
		for _, d := range r.deliveries(webhook.DeliveryFilter{EndpointID: bad.ID}) {
			require.Equal(t, webhook.FailExhausted, d.Reason)
			require.Len(t, d.Attempts, 3)
		}
	})
}

// TestAPolicyMayAnswerNonsense: waits below zero and beyond all bounds do not make a storm, nor lose a delivery.
func TestAPolicyMayAnswerNonsense(t *testing.T) {
	for name, c := range map[string]struct {
		wait     time.Duration
		requests int
		reason   webhook.FailReason
	}{
		"below zero":           {-time.Hour, 5, webhook.FailExhausted},
		"the longest there is": {1<<63 - 1, 1, webhook.FailExpired},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, webhooktest.NewReceiver(t, failing), func(cfg *webhook.Config) {
					cfg.MaxAge, cfg.Poll = time.Hour, time.Minute
					cfg.Retry = webhook.RetryFunc(func(n int, _ webhook.Attempt) (time.Duration, bool) { return c.wait, n < 5 })
				}).run()
				r.endpoint("hook")
				r.emit()
				time.Sleep(2 * time.Hour)
				require.Len(t, r.receiver.Requests(), c.requests)
				d := r.only()
				require.Equal(t, webhook.DeliveryFailed, d.State)
				require.Equal(t, c.reason, d.Reason)
			})
		})
	}
}

// slowSealer takes until its context ends for the endpoint with the id "stuck".
type slowSealer struct {
	webhook.Sealer
	freed atomic.Bool
}

func (s *slowSealer) Open(ctx context.Context, of webhook.EndpointRef, sealed []byte) ([]byte, error) {
	if of.ID == "stuck" && !s.freed.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.Sealer.Open(ctx, of, sealed)
}

// TestASealerThatBlocks holds up one endpoint: it keeps its slot for 5 s and is left alone for a minute then, and the
// others go on.
func TestASealerThatBlocks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		keys := &slowSealer{Sealer: sealer(t, sealingKey("k"))}
		r := newRig(t, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.Sealer, c.Slots = keys, 2 }).run()
		stuck := webhook.Endpoint{ID: "stuck", URL: "https://example.com/stuck", Events: []string{"*"}, Secret: secretA}
		_, _, err := r.d.AddEndpoint(r.ctx, stuck, webhook.WithoutPing())
		require.NoError(t, err)
		good := r.endpoint("good")
		for range 30 {
			r.emit()
			time.Sleep(10 * time.Second)
		}
		for _, d := range r.deliveries(webhook.DeliveryFilter{EndpointID: good.ID}) {
			require.Equal(t, webhook.DeliverySucceeded, d.State)
			require.Less(t, d.FinishedAt.Sub(d.CreatedAt), 5*time.Second)
		}
		for _, d := range r.deliveries(webhook.DeliveryFilter{EndpointID: "stuck"}) {
			require.Equal(t, webhook.DeliveryPending, d.State)
			require.Zero(t, d.AttemptCount, "nothing is used up")
		}
		keys.freed.Store(true)
		time.Sleep(2 * time.Minute)
		require.Len(t, r.deliveries(webhook.DeliveryFilter{EndpointID: "stuck", State: webhook.DeliverySucceeded}), 30)
	})
}

// jammed is a log handler that blocks until it is told not to.
type jammed struct {
	slog.Handler
	mu    sync.Mutex
	until chan struct{}
}

func (j *jammed) Handle(ctx context.Context, record slog.Record) error {
	j.mu.Lock()
	until := j.until
	j.mu.Unlock()
	if until != nil {
		<-until
	}
	return j.Handler.Handle(ctx, record)
}

func (j *jammed) jam() (release func()) {
	until := make(chan struct{})
	j.mu.Lock()
	defer j.mu.Unlock()
	j.until = until
	return func() {
		j.mu.Lock()
		j.until = nil
		j.mu.Unlock()
		close(until)
	}
}

// TestALogHandlerThatBlocks holds everything up for a while, as a full pipe does. Nothing is lost by it, what was
// recorded is not sent again, and all slots are there afterwards.
func TestALogHandlerThatBlocks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var book logbook
		handler := &jammed{Handler: book.logger().Handler()}
		r := newRig(t, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.Logger, c.Slots = slog.New(handler), 5 }).run()
		for _, path := range []string{"a", "b", "c"} {
			r.endpoint(path)
		}
		release := handler.jam()
		for range 20 {
			r.emit()
		}
		time.Sleep(10 * time.Second)
		release()
		time.Sleep(time.Minute)
		r.emit()
		time.Sleep(time.Second)
		all := r.deliveries(webhook.DeliveryFilter{})
		require.Len(t, all, 63)
		for _, d := range all {
			require.Equal(t, webhook.DeliverySucceeded, d.State)
			require.Len(t, d.Attempts, 1)
		}
		require.Len(t, r.receiver.Requests(), 63)
		require.Len(t, book.lines("webhook: delivered"), 63)
		last := slices.MaxFunc(all, func(a, b webhook.Delivery) int { return a.CreatedAt.Compare(b.CreatedAt) })
		require.Zero(t, last.FinishedAt.Sub(last.CreatedAt))
	})
}
