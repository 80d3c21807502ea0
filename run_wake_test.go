package webhook_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// Other processes are told of what this one cannot send at once, and left alone otherwise.
func TestOthersAreToldWhenThisProcessCannot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &bell{Store: webhook.NewMemoryStore(nil), ring: make(chan struct{}, 1)}
		receiver := webhooktest.NewReceiver(t)
		receiver.Script("/slow", webhooktest.Answer{Delay: 20 * time.Second})
		r := rigOn(t, store, receiver, func(c *webhook.Config) { c.Slots, c.Timeout, c.Drain = 1, 30*time.Second, time.Minute })
		told := func() int64 {
			before := store.wakes.Load()
			r.d.Wake(r.ctx)
			return store.wakes.Load() - before
		}
		require.EqualValues(t, 1, told(), "it does not run")
		r.run()
		synctest.Wait()
		require.Zero(t, told(), "it has a slot free")
		r.endpoint("slow")
		r.emit()
		synctest.Wait()
		require.EqualValues(t, 1, told(), "it has none")
		time.Sleep(20 * time.Second)
		synctest.Wait()
		require.Zero(t, told())
	})
}

func TestOthersAreToldByAProcessThatEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &bell{Store: webhook.NewMemoryStore(nil), ring: make(chan struct{}, 1)}
		receiver := webhooktest.NewReceiver(t, webhooktest.Answer{Delay: 20 * time.Second})
		r := rigOn(t, store, receiver, func(c *webhook.Config) { c.Slots, c.Timeout, c.Drain = 2, 30*time.Second, time.Minute }).run()
		r.endpoint("slow")
		r.emit()
		synctest.Wait()
		go r.stop()
		synctest.Wait() // it waits for the request, and has a slot
		before := store.wakes.Load()
		r.d.Wake(r.ctx)
		require.EqualValues(t, 1, store.wakes.Load()-before)
		time.Sleep(time.Minute)
	})
}

// A claim leaves slots to what is emitted meanwhile, if there are many.
func TestAClaimLeavesSlotsToEmit(t *testing.T) {
	for slots, want := range map[int][]int{
		64: {64},
		65: {33, 32}, // what was left is claimed as well, if there is so much
	} {
		t.Run(fmt.Sprint(slots), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				store := newProbe()
				var asked []int
				store.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
					claimed, err := store.Store.Claim(ctx, req)
					if len(claimed.Leases) == req.Max {
						asked = append(asked, req.Max)
						claimed.Next, claimed.Blocked = -1, true // it need not say when more of what Max kept back falls due
					}
					return claimed, err
				}
				receiver := webhooktest.NewReceiver(t, hanging)
				r := rigOn(t, store, receiver, func(c *webhook.Config) { c.Slots, c.Poll, c.MaxEndpoints = slots, time.Hour, 70 })
				for i := range 70 {
					r.endpoint(fmt.Sprint("hook", i))
				}
				r.emit()
				r.run()
				synctest.Wait()
				require.Equal(t, want, asked)
				require.Len(t, receiver.Requests(), slots)
				receiver.Release()
			})
		})
	}
}

// Claims that find nothing keep the next ones from the store for a moment. Others do not.
func TestOnlyVainClaimsRest(t *testing.T) {
	at := func(start time.Time, requests []webhooktest.Request) (ms []int64) {
		for _, q := range requests {
			ms = append(ms, q.Time.Sub(start).Milliseconds())
		}
		return ms
	}
	t.Run("after a claim that found something", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			store := newProbe()
			store.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
				time.Sleep(5 * time.Millisecond)
				return store.Store.Claim(ctx, req)
			}
			receiver := webhooktest.NewReceiver(t, hanging)
			emitter := rigOn(t, store, receiver, nil)
			r := rigOn(t, store, receiver, pollHourly).run()
			for i := range 2 {
				emitter.endpoint(fmt.Sprint("hook", i), []string{webhook.PlanCompleted.Name(), webhook.ExperimentCompleted.Name()}[i])
			}
			time.Sleep(time.Minute)
			start := time.Now()
			require.NoError(t, emitter.d.Emit(t.Context(), webhook.PlanCompleted.New("", webhook.PlanCompletedData{})))
			r.d.Wake(t.Context())
			time.Sleep(6 * time.Millisecond)
			emitter.emit()
			r.d.Wake(t.Context())
			time.Sleep(time.Second)
			require.Equal(t, []int64{5, 11}, at(start, receiver.Requests()))
			receiver.Release()
		})
	})
	t.Run("after a look without a slot", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			store := newProbe()
			receiver := webhooktest.NewReceiver(t, webhooktest.Answer{Delay: 100 * time.Millisecond})
			emitter := rigOn(t, store, receiver, nil)
			r := rigOn(t, store, receiver, func(c *webhook.Config) { c.Poll, c.Slots = time.Hour, 1 }).run()
			r.endpoint("hook")
			time.Sleep(time.Minute)
			start := time.Now()
			r.emit()
			time.Sleep(99 * time.Millisecond)
			r.d.Wake(t.Context())
			time.Sleep(2 * time.Millisecond)
			emitter.emit()
			r.d.Wake(t.Context())
			time.Sleep(time.Second)
			require.Equal(t, []int64{0, 101}, at(start, receiver.Requests()))
		})
	})
}

// A process that lacks the keys of very many endpoints claims nothing for a while.
func TestAProcessThatLacksManyKeysClaimsNothing(t *testing.T) {
	for n, claims := range map[int]bool{webhook.KeylessMax: false, webhook.KeylessMax - 1: true} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				store := newProbe()
				r := rigOn(t, store, webhooktest.NewReceiver(t), nil)
				r.endpoint("hook")
				r.emit()
				for i := range n {
					r.d.Shut(webhook.EndpointRef{ID: fmt.Sprint("we_", i)})
				}
				r.run()
				time.Sleep(30 * time.Second)
				require.Equal(t, claims, store.claimed() > 0)
				time.Sleep(time.Minute)
				require.Equal(t, webhook.DeliverySucceeded, r.only().State)
			})
		})
	}
}

// Where the store is slow the next outcomes are recorded while a claim is under way.
func TestASlowStoreRecordsBesideAClaim(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := newProbe()
		var slow atomic.Bool
		var recorded []time.Time
		store.record = func(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
			recorded = append(recorded, time.Now()) // one at a time
			time.Sleep(2 * time.Millisecond)
			return store.Store.Record(ctx, outcomes)
		}
		store.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			if slow.Load() {
				time.Sleep(time.Second)
			}
			return store.Store.Claim(ctx, req)
		}
		receiver := webhooktest.NewReceiver(t)
		receiver.Script("/a", webhooktest.Answer{Delay: 10 * time.Millisecond})
		receiver.Script("/b", webhooktest.Answer{Delay: 20 * time.Millisecond})
		r := rigOn(t, store, receiver, func(c *webhook.Config) { c.Poll, c.Slots = time.Hour, 2 })
		for _, path := range []string{"a", "b", "c"} {
			r.endpoint(path)
		}
		r.emit() // one more than there are slots
		start := time.Now()
		r.run()
		synctest.Wait()
		slow.Store(true)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, recorded, 3)
		require.Equal(t, 20*time.Millisecond, recorded[1].Sub(start))
	})
}
