package webhook_test

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

type kinds = []webhook.OutcomeKind

func pollHourly(c *webhook.Config) { c.Poll = time.Hour }

func TestALeaseThatWasLongOnItsWayIsGivenBackUnsent(t *testing.T) {
	for delay, want := range map[time.Duration][]kinds{
		7500 * time.Millisecond:   {{webhook.OutcomeDelivered}},
		7500*time.Millisecond + 1: {{webhook.OutcomeReleased}, {webhook.OutcomeDelivered}},
	} {
		t.Run(delay.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				store := newProbe()
				late := true
				store.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
					got, err := store.Store.Claim(ctx, req)
					if late && len(got.Leases) > 0 {
						late = false
						time.Sleep(delay)
					}
					return got, err
				}
				r := rigOn(t, store, webhooktest.NewReceiver(t), nil)
				r.endpoint("hook")
				r.emit() // before Run: it has to be claimed
				r.run()
				time.Sleep(time.Minute)
				require.Equal(t, want, store.recorded())
				require.Len(t, r.receiver.Requests(), 1)
				require.Equal(t, "1", r.receiver.Requests()[0].Header.Get(webhook.HeaderAttempt), "the number was given back")
				require.Equal(t, []webhook.AttemptResult{webhook.AttemptDelivered}, results(r.only()))
			})
		})
	}
}

func TestOutcomesAreRecordedByOneAtATime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := newProbe()
		var now, most atomic.Int64
		store.record = func(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			time.Sleep(time.Second)
			return store.Store.Record(ctx, outcomes)
		}
		r := rigOn(t, store, webhooktest.NewReceiver(t), nil).run()
		for i := range 9 {
			r.endpoint(fmt.Sprint("hook", i))
		}
		synctest.Wait()
		r.emit()
		time.Sleep(tenMin)
		require.EqualValues(t, 1, most.Load())
		all := r.deliveries(webhook.DeliveryFilter{})
		require.Len(t, all, 9)
		for _, d := range all {
			require.Equal(t, []webhook.AttemptResult{webhook.AttemptDelivered}, results(d))
		}
	})
}

func TestARetryAmongTheOutcomesOfABatchIsNotForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := newProbe()
		store.record = func(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
			time.Sleep(100 * time.Millisecond)
			return store.Store.Record(ctx, outcomes)
		}
		r := rigOn(t, store, webhooktest.NewReceiver(t), pollHourly).run()
		r.receiver.Script("/second", webhooktest.Answer{Status: 500, Delay: 10 * time.Millisecond}, ok)
		r.receiver.Script("/third", webhooktest.Answer{Delay: 20 * time.Millisecond})
		r.endpoint("first")
		second := r.endpoint("second")
		r.endpoint("third")
		synctest.Wait()
		start := time.Now()
		r.emit() // to all three at once: while the first outcome is recorded, the others come
		time.Sleep(time.Minute)
		require.Equal(t, []kinds{{webhook.OutcomeDelivered}, {webhook.OutcomeRetry, webhook.OutcomeDelivered}, {webhook.OutcomeDelivered}}, store.recorded())
		d := r.deliveries(webhook.DeliveryFilter{EndpointID: second.ID})[0]
		require.Equal(t, 10*time.Second+200*time.Millisecond, d.Attempts[1].StartedAt.Sub(start))
	})
}

func TestAnOutcomeThatLeavesNothingToDoIsNoReasonToClaim(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := newProbe()
		r := rigOn(t, store, webhooktest.NewReceiver(t, ok, failing), func(c *webhook.Config) { c.Poll, c.Retry = time.Hour, webhook.Schedule{} }).run()
		r.endpoint("hook")
		synctest.Wait()
		before := store.claimed()
		for range 2 { // is handed over
			r.emit()
			time.Sleep(time.Minute)
		}
		require.Equal(t, []kinds{{webhook.OutcomeDelivered}, {webhook.OutcomeFailed}}, store.recorded())
		require.Equal(t, before, store.claimed())
	})
}

func TestWhatTheStoreHasMoreOfIsAskedForAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := newProbe()
		store.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			if store.claimed() == 1 {
				return webhook.Claimed{Next: 0}, nil // it was busy with what expired
			}
			return store.Store.Claim(ctx, req)
		}
		r := rigOn(t, store, webhooktest.NewReceiver(t), pollHourly)
		r.endpoint("hook")
		r.emit()
		start := time.Now()
		r.run()
		require.Equal(t, start, r.receiver.WaitFor(t.Context(), 1)[0].Time)
	})
}

func TestNothingIsClaimedWhenRunsContextHasEnded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := newProbe()
		r := rigOn(t, store, webhooktest.NewReceiver(t, webhooktest.Answer{Delay: 2 * time.Second}), pollHourly).run()
		r.endpoint("hook")
		synctest.Wait()
		r.emit()
		store.claim = func(_ context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			time.Sleep(5 * time.Second) // a store that is slow to hear of it
			return store.Store.Claim(context.Background(), req)
		}
		before := store.claimed()
		r.d.Wake(r.ctx)
		time.Sleep(time.Second)
		r.stop() // and an outcome is recorded while that claim is under way
		require.Equal(t, []kinds{{webhook.OutcomeDelivered}}, store.recorded())
		require.Equal(t, before+1, store.claimed())
	})
}

func TestEmitHandsNothingOverToARunThatEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := newProbe()
		r := rigOn(t, store, webhooktest.NewReceiver(t, hanging), func(c *webhook.Config) { c.Drain = 10 * time.Second }).run()
		r.endpoint("hook")
		r.endpoint("other", "experiment.failed")
		synctest.Wait()
		var handed []*webhook.HandOver
		store.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			handed = append(handed, req.HandOver)
			return store.Store.Enqueue(ctx, req)
		}
		r.emit()
		synctest.Wait()
		stopped := make(chan struct{})
		go func() { defer close(stopped); r.stop() }()
		time.Sleep(time.Second)
		require.NoError(t, r.d.Emit(r.ctx, webhook.ExperimentFailed.New("", webhook.ExperimentFailedData{})))
		<-stopped
		require.Len(t, handed, 2)
		require.NotNil(t, handed[0])
		require.Nil(t, handed[1])
		require.Equal(t, []kinds{{webhook.OutcomeInterrupted}}, store.recorded())
	})
}

func TestWhatIsHandedOverAfterRunHasEndedIsGivenBack(t *testing.T) {
	for name, want := range map[string][]kinds{"nothing": nil, "a lease": {{webhook.OutcomeReleased}}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				store := newProbe()
				r := rigOn(t, store, webhooktest.NewReceiver(t), nil).run()
				r.endpoint("hook")
				synctest.Wait()
				store.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
					time.Sleep(time.Minute)
					if want == nil {
						req.HandOver = nil
					}
					return store.Store.Enqueue(ctx, req)
				}
				stopped := make(chan struct{})
				go func() { defer close(stopped); time.Sleep(time.Second); r.stop() }()
				r.emit()
				<-stopped
				require.Equal(t, want, store.recorded())
				require.Empty(t, r.receiver.Requests())
				require.Equal(t, webhook.DeliveryPending, r.only().State)
				require.Zero(t, r.only().AttemptCount)
			})
		})
	}
}

// TestWhatIsClaimedAfterRunHasEndedIsGivenBack has the claim that follows an outcome outlast the end.
func TestWhatIsClaimedAfterRunHasEndedIsGivenBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := newProbe()
		var slow atomic.Bool
		store.record = func(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
			slow.Store(true)
			return store.Store.Record(ctx, outcomes)
		}
		store.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			if slow.Load() {
				time.Sleep(time.Second)
			}
			return store.Store.Claim(ctx, req)
		}
		r := rigOn(t, store, webhooktest.NewReceiver(t), pollHourly)
		r.endpoint("hook")
		r.emit()
		r.emit()
		r.run()
		time.Sleep(time.Second / 2)
		r.stop()
		require.Equal(t, []kinds{{webhook.OutcomeDelivered}, {webhook.OutcomeReleased}}, store.recorded(), "and once")
		require.Len(t, r.receiver.Requests(), 1)
		require.Zero(t, r.d.Counts().Stale)
	})
}

func TestAStoreThatAnswersTooFewOutcomesIsAskedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := newProbe()
		store.record = func(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
			if len(store.recorded()) == 1 {
				return nil, nil
			}
			return store.Store.Record(ctx, outcomes)
		}
		var book logbook
		r := rigOn(t, store, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.Logger = book.logger() }).run()
		r.endpoint("hook")
		r.emit()
		time.Sleep(time.Minute)
		require.Equal(t, webhook.DeliverySucceeded, r.only().State)
		require.Equal(t, []kinds{{webhook.OutcomeDelivered}, {webhook.OutcomeDelivered}}, store.recorded())
		require.Len(t, book.lines("the store answered 0 of 1 outcomes"), 1)
	})
}

// keeping is a transport of the user's that counts how often it is told to let go of its connections.
type keeping struct {
	http.RoundTripper
	closed atomic.Int64
}

func (k *keeping) CloseIdleConnections() { k.closed.Add(1) }

func TestATransportOfTheUsersKeepsItsConnections(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var transport *keeping
		r := newRig(t, webhooktest.NewReceiver(t), func(c *webhook.Config) {
			transport = &keeping{RoundTripper: c.UnguardedTransport}
			c.UnguardedTransport = transport
		}).run()
		r.endpoint("hook")
		r.emit()
		r.receiver.WaitFor(t.Context(), 1)
		r.stop()
		require.Zero(t, transport.closed.Load())
	})
}

func TestASlotOfAnOutcomeThatWasRefusedAtFirstIsUsedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := newProbe()
		refused := false
		store.record = func(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
			if !refused {
				refused = true
				return nil, errAway
			}
			return store.Store.Record(ctx, outcomes)
		}
		r := rigOn(t, store, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.Slots, c.Poll = 1, time.Hour }).run()
		r.endpoint("hook")
		require.NoError(t, r.d.Emit(r.ctx, experiment(), experiment(), experiment()))
		time.Sleep(time.Second)
		require.Len(t, r.deliveries(webhook.DeliveryFilter{State: webhook.DeliverySucceeded}), 3)
	})
}
