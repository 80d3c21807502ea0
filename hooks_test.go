package webhook_test

import (
	"context"
	"fmt"
	"slices"
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

// witness writes down what hooks are told.
type witness struct {
	mu    sync.Mutex
	lines []string
	stall func(line string) // may block, or panic
}

func (w *witness) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	w.mu.Lock()
	w.lines = append(w.lines, line)
	w.mu.Unlock()
	if w.stall != nil {
		w.stall(line)
	}
}

// heard returns what was told with this in it, and forgets it.
func (w *witness) heard(with string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found, rest []string
	for _, l := range w.lines {
		if strings.Contains(l, with) {
			found = append(found, l)
		} else {
			rest = append(rest, l)
		}
	}
	w.lines = rest
	return found
}

func (w *witness) hooks() *webhook.Hooks {
	attempt := func(name string) func(context.Context, webhook.AttemptInfo) {
		return func(_ context.Context, a webhook.AttemptInfo) {
			w.say("%s %s %s %d %s %s %d %s %v", name, a.Endpoint.ID, a.Delivery.State, a.Delivery.AttemptCount, a.Delivery.Reason, a.Attempt.Result, a.Attempt.Status, a.Event.Type, a.Wait)
		}
	}
	change := func(name string) func(context.Context, webhook.EndpointChange) {
		return func(_ context.Context, c webhook.EndpointChange) {
			w.say("%s %s %s>%s %s", name, c.Endpoint.ID, c.Before.State, c.After.State, c.After.Reason)
		}
	}
	return &webhook.Hooks{
		Emitted: func(_ context.Context, tenant string, events []webhook.Event) {
			w.say("emitted %q %d", tenant, len(events))
		},
		AttemptStarted: attempt("started"), AttemptEnded: attempt("ended"), Delivered: attempt("delivered"), GivenUp: attempt("given up"),
		EndpointFailing: change("failing"), EndpointPaused: change("paused"), EndpointDisabled: change("disabled"), EndpointEnabled: change("enabled"),
		GapOpened: func(_ context.Context, of webhook.EndpointRef, reason webhook.GapReason) {
			w.say("gap %s %s", of.ID, reason)
		},
	}
}

func hooked(t *testing.T, receiver *webhooktest.Receiver, change func(*webhook.Config)) (*rig, *witness) {
	w := &witness{}
	return newRig(t, receiver, func(c *webhook.Config) {
		c.Hooks = w.hooks()
		if change != nil {
			change(c)
		}
	}), w
}

func TestHooksTellOfADelivery(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, w := hooked(t, webhooktest.NewReceiver(t, failing, ok, failing), nil)
		r.run()
		e := r.endpoint("hook")
		r.emit()
		time.Sleep(11 * time.Second)
		require.Equal(t, []string{
			`emitted "" 1`,
			"started " + e.ID + " leased 1   0 experiment.completed 0s",
			"ended " + e.ID + " pending 1  failed 500 experiment.completed 10s",
			"started " + e.ID + " leased 2   0 experiment.completed 0s",
			"ended " + e.ID + " succeeded 2  delivered 200 experiment.completed 0s",
			"delivered " + e.ID + " succeeded 2  delivered 200 experiment.completed 0s",
		}, w.heard(""))

		r.emit()
		time.Sleep(time.Hour)
		require.Equal(t, []string{"given up " + e.ID + " failed 4 exhausted failed 500 experiment.completed 0s"}, w.heard("given up"))
		require.Len(t, w.heard("started"), 4)
		require.Len(t, w.heard("ended"), 4)
	})
}

func TestHooksTellOfADirectDelivery(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, w := hooked(t, webhooktest.NewReceiver(t, failing, ok), nil)
		e, _, err := r.d.AddEndpoint(r.ctx, webhook.Endpoint{URL: "https://example.com/hook", Events: []string{webhook.AllEvents}})
		require.NoError(t, err)
		require.Equal(t, []string{
			"started " + e.ID + " leased 1   0 ping 0s",
			"ended " + e.ID + " failed 1 exhausted failed 500 ping 0s",
			"given up " + e.ID + " failed 1 exhausted failed 500 ping 0s",
		}, w.heard(""))
		_, err = r.d.Ping(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, []string{"enabled " + e.ID + " pending>active "}, w.heard("enabled"))
		require.Len(t, w.heard("delivered "), 2)
	})
}

func TestHooksTellOfAnEndpoint(t *testing.T) {
	bubble(t, func(t *testing.T) {
		receiver := webhooktest.NewReceiver(t)
		r, w := hooked(t, receiver, func(c *webhook.Config) { c.MaxPending = 30 })
		r.run()
		e := r.endpoint("hook")
		states := func() []string {
			return slices.Concat(w.heard("failing "), w.heard("paused "), w.heard("disabled "), w.heard("enabled "), w.heard("gap "))
		}
		_, err := r.d.SetEnabled(r.ctx, e.ID, false)
		require.NoError(t, err)
		require.Equal(t, []string{"disabled " + e.ID + " active>disabled by_user", "gap " + e.ID + " disabled"}, states())
		_, err = r.d.SetEnabled(r.ctx, e.ID, false)
		require.NoError(t, err)
		require.Empty(t, states(), "nothing changed")
		_, err = r.d.SetEnabled(r.ctx, e.ID, true)
		require.NoError(t, err)
		require.Equal(t, []string{"enabled " + e.ID + " disabled>active "}, states())

		receiver.Script("/hook", failing)
		for range 40 {
			r.emit()
		}
		synctest.Wait()
		require.Equal(t, []string{"paused " + e.ID + " active>paused breaker", "gap " + e.ID + " backlog"}, states())
		time.Sleep(time.Minute)
		require.Empty(t, states())
		time.Sleep(2*24*time.Hour + 11*time.Hour)
		require.Empty(t, states())
		time.Sleep(2 * time.Hour)
		require.Equal(t, []string{"failing " + e.ID + " paused>paused breaker"}, states())
		time.Sleep(2*24*time.Hour + 10*time.Hour)
		require.Empty(t, states(), "the warning comes once")
		time.Sleep(2 * time.Hour)
		require.Empty(t, states(), "all that waited has expired, so nothing was sent")
		r.emit()
		time.Sleep(time.Hour)
		require.Equal(t, []string{"disabled " + e.ID + " paused>disabled failing", "gap " + e.ID + " disabled"}, states())

		moved := e
		moved, err = r.d.Endpoint(r.ctx, e.ID)
		require.NoError(t, err)
		moved.URL = "https://example.com/new"
		_, _, err = r.d.UpdateEndpoint(r.ctx, moved)
		require.NoError(t, err)
		require.Equal(t, []string{"enabled " + e.ID + " pending>active ", "gap " + e.ID + " pending"}, states())
	})
}

// A hook that takes long, or never comes back, or panics, is its own endpoint's trouble.
func TestAHookHarmsNoOtherEndpoint(t *testing.T) {
	for name, stall := range map[string]func(){
		"slow":    func() { time.Sleep(time.Minute) },
		"panics":  func() { panic("hook") },
		"forever": nil,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				receiver := webhooktest.NewReceiver(t)
				var book logbook
				r, w := hooked(t, receiver, func(c *webhook.Config) { c.Slots, c.Logger = 40, book.logger() })
				release := make(chan struct{})
				if stall == nil {
					stall = func() { <-release }
				}
				r.run()
				bad, good := r.endpoint("bad"), r.endpoint("good")
				w.stall = func(line string) {
					if strings.Contains(line, bad.ID) && strings.HasPrefix(line, "delivered") {
						stall()
					}
				}
				for range 100 {
					r.emit()
				}
				time.Sleep(time.Second)
				done := func(of webhook.Endpoint) int {
					return len(r.deliveries(webhook.DeliveryFilter{EndpointID: of.ID, State: webhook.DeliverySucceeded}))
				}
				require.Equal(t, 100, done(good))
				if name == "panics" {
					require.Equal(t, 100, done(bad))
					require.Len(t, book.lines("a hook panicked"), 100)
				} else {
					require.Less(t, done(bad), 30, "it gets no more slots than it may have requests")
				}
				close(release)
				time.Sleep(time.Hour)
				require.Equal(t, 100, done(bad))
				if name == "slow" {
					require.Len(t, book.lines("a hook was slow"), 100)
				}
			})
		})
	}
}

// What was handed over while the hooks of its endpoint took too many slots is given back, and sent when they are done.
func TestAHookKeepsWhatWasHandedOverMeanwhile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store, w, release := newProbe(), &witness{}, make(chan struct{})
		var slow atomic.Bool
		store.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			res, err := store.Store.Enqueue(ctx, req)
			if slow.CompareAndSwap(true, false) {
				time.Sleep(time.Second)
			}
			return res, err
		}
		w.stall = func(line string) {
			if strings.HasPrefix(line, "delivered") {
				<-release
			}
		}
		r := rigOn(t, store, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.Hooks, c.Slots, c.MaxInFlight = w.hooks(), 40, 2 }).run()
		r.endpoint("hook")
		for range 3 {
			r.emit()
			time.Sleep(time.Millisecond)
		}
		slow.Store(true)
		go r.emit()
		time.Sleep(time.Millisecond)
		for range 3 {
			r.emit()
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Minute)
		require.Len(t, r.receiver.Requests(), 6, "three times as many as it may have under way")
		released := kinds{webhook.OutcomeReleased}
		before := store.recorded()
		require.Contains(t, before, released)
		r.emit() // is not handed over at all
		time.Sleep(time.Second)
		require.Equal(t, before, store.recorded())
		close(release)
		time.Sleep(time.Second)
		requests := r.receiver.Requests()
		require.Len(t, requests, 8)
		require.Equal(t, "1", requests[6].Header.Get(webhook.HeaderAttempt))
	})
}

// Nothing is handed over to an endpoint whose hooks have too many slots: it would only be given back.
func TestNothingIsHandedOverWhileHooksTakeTooLong(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store, w, release := newProbe(), &witness{}, make(chan struct{})
		w.stall = func(line string) {
			if strings.HasPrefix(line, "delivered") {
				<-release
			}
		}
		r := rigOn(t, store, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.Hooks, c.Slots, c.MaxInFlight = w.hooks(), 40, 1 }).run()
		r.endpoint("hook")
		for range 3 {
			r.emit()
			time.Sleep(time.Millisecond)
		}
		before := len(store.recorded())
		r.emit()
		time.Sleep(time.Second)
		require.Len(t, store.recorded(), before)
		close(release)
		time.Sleep(time.Second)
		require.Len(t, r.receiver.Requests(), 4)
	})
}

// An endpoint whose outcomes no hook is told of has its slots back, also where they are recorded with others.
func TestWhatNoHookIsToldOfKeepsNoSlot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store, w := newProbe(), &witness{}
		store.record = func(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
			time.Sleep(time.Millisecond)
			return store.Store.Record(ctx, outcomes)
		}
		receiver := webhooktest.NewReceiver(t)
		receiver.Script("/good", webhooktest.Answer{Delay: time.Millisecond / 2}) // while the first outcome is recorded
		receiver.Script("/bad", webhooktest.Answer{Status: 500, Delay: time.Millisecond / 2})
		var book logbook
		r := rigOn(t, store, receiver, func(c *webhook.Config) {
			c.Logger = book.logger()
			c.Hooks, c.Retry, c.MaxInFlight, c.PauseAfter = &webhook.Hooks{Delivered: w.hooks().Delivered}, webhook.Schedule{}, 1, 1000
		}).run()
		for _, path := range []string{"first", "good", "bad"} {
			r.endpoint(path)
		}
		for range 10 {
			r.emit()
			time.Sleep(time.Second)
		}
		require.Contains(t, store.recorded(), kinds{webhook.OutcomeDelivered, webhook.OutcomeFailed})
		require.Len(t, receiver.Requests(), 30)
		require.Empty(t, book.lines("panicked"), "hooks that are not there are not called")
	})
}

func TestAHookBeforeTheAttemptTakesOfItsLease(t *testing.T) {
	bubble(t, func(t *testing.T) {
		receiver := webhooktest.NewReceiver(t)
		r, w := hooked(t, receiver, nil)
		r.run()
		e := r.endpoint("hook")
		once := sync.OnceFunc(func() { time.Sleep(8 * time.Second) })
		w.stall = func(line string) {
			if strings.HasPrefix(line, "started") {
				once()
			}
		}
		start := time.Now()
		r.emit()
		time.Sleep(time.Minute)
		d := r.only()
		require.Equal(t, e.ID, d.EndpointID)
		require.Equal(t, webhook.DeliverySucceeded, d.State)
		require.Equal(t, 1, d.AttemptCount, "the first lease was given back unsent")
		require.Equal(t, 8*time.Second, d.Attempts[0].StartedAt.Sub(start))
		require.EqualValues(t, 1, r.d.Counts().Released)
		require.Len(t, receiver.Requests(), 1)
	})
}

func TestRunWaitsForHooks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, w := hooked(t, webhooktest.NewReceiver(t), nil)
		r.run()
		r.endpoint("hook")
		ended := false
		w.stall = func(line string) {
			if strings.HasPrefix(line, "delivered") {
				time.Sleep(5 * time.Second)
				ended = true
			}
		}
		r.emit()
		time.Sleep(time.Second)
		r.stop()
		require.True(t, ended)
	})
}
