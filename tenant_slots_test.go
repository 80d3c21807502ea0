package webhook_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// as is the rig through a tenant's view.
func (r *rig) as(tenant string) *rig {
	view := *r
	view.d = r.d.Tenant(tenant)
	return &view
}

// TestATenantsEndpointsDoNotDelayThoseOfOthers has a tenant with as many endpoints as it may have. They are quick until
// their windows are open, and then hang, so that nobody knows them to be slow.
func TestATenantsEndpointsDoNotDelayThoseOfOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const endpoints, quick, slots = 50, 3, 128
		r := newRig(t, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.Poll = time.Hour }).run()
		many, other := r.as("many"), r.as("other")
		for i := range endpoints {
			many.endpoint(fmt.Sprint("many", i))
			r.receiver.Script(fmt.Sprint("/many", i), ok, ok, ok, hanging)
		}
		for range quick {
			many.emit()
			time.Sleep(time.Second)
		}
		require.Equal(t, quick*endpoints, len(r.receiver.Requests()))
		for range 300 {
			many.emit()
		}
		synctest.Wait()
		require.Equal(t, quick*endpoints+slots, len(r.receiver.Requests()), "half of the slots is its share")

		other.endpoint("other")
		e, _, err := other.d.AddEndpoint(r.ctx, webhook.Endpoint{
			URL: "https://example.com/paced", Events: []string{webhook.AllEvents}, Secret: secretA, Rate: 10, // so that it has to be claimed
		}, webhook.WithoutPing())
		require.NoError(t, err)
		require.NotZero(t, e.Rate)
		for range 60 {
			start := time.Now()
			other.emit()
			synctest.Wait()
			at := map[string]int{}
			for _, q := range r.receiver.Requests() {
				if path := q.URL[strings.LastIndex(q.URL, "/"):]; q.Time.Equal(start) && !strings.HasPrefix(path, "/many") {
					at[path]++
				}
			}
			require.Equal(t, map[string]int{"/other": 1, "/paced": 1}, at)
			time.Sleep(time.Second)
		}
	})
}

// A slot that a tenant has free again is used at once, whatever it was that freed it.
func TestATenantsSlotsAreUsedAgainAtOnce(t *testing.T) {
	const request, hook = 10, 5
	for name, c := range map[string]struct {
		hooks *webhook.Hooks
		every int64
	}{
		"by the request": {nil, request},
		"by a hook":      {&webhook.Hooks{Delivered: func(context.Context, webhook.AttemptInfo) { time.Sleep(hook * time.Second) }}, request + hook},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, webhooktest.NewReceiver(t, webhooktest.Answer{Delay: request * time.Second}), func(cfg *webhook.Config) {
					cfg.Slots, cfg.TenantSlots, cfg.Poll, cfg.Hooks = 8, 2, time.Hour, c.hooks
				}).run()
				a := r.as("a")
				for i := range 6 {
					a.endpoint(fmt.Sprint("hook", i))
				}
				start := time.Now()
				a.emit()
				var at []int64
				for _, q := range r.receiver.WaitFor(t.Context(), 6) {
					at = append(at, int64(q.Time.Sub(start)/time.Second))
				}
				require.Equal(t, []int64{0, 0, c.every, c.every, 2 * c.every, 2 * c.every}, at)
			})
		})
	}
}

// TestATenantHasNoMoreSlotsThanItMay has events emitted, handed over and claimed, and outcomes recorded, while claims
// are under way.
func TestATenantHasNoMoreSlotsThanItMay(t *testing.T) {
	var handed atomic.Int64
	t.Cleanup(func() { require.Positive(t, handed.Load(), "nothing was handed over") })
	const types, each, slots = 12, 10, 100 // so many slots that a claim leaves some to Emit
	var registered []webhook.AnyEventType
	var kinds []webhook.EventType[int]
	for i := range types {
		kinds = append(kinds, webhook.NewEventType(fmt.Sprint("type.n", i), "", 0))
		registered = append(registered, kinds[i])
	}
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 1))
				store := newProbe()
				store.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
					claimed, err := store.Store.Claim(ctx, req)
					time.Sleep(3 * time.Millisecond)
					return claimed, err
				}
				store.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
					res, err := store.Store.Enqueue(ctx, req)
					time.Sleep(time.Millisecond)
					if req.Tenant == "a" {
						handed.Add(int64(len(res.Leases)))
					}
					return res, err
				}
				receiver := webhooktest.NewReceiver(t, hanging)
				receiver.Script("/quick", ok)
				r := rigOn(t, store, receiver, func(c *webhook.Config) {
					c.Slots, c.TenantSlots, c.MaxEndpoints, c.Poll = 512, slots, types*each, time.Hour
					c.Registry = webhook.NewRegistry(registered...)
				}).run()
				a := r.as("a")
				for i := range types * each {
					a.endpoint(fmt.Sprint("a", i), kinds[i%types].Name())
				}
				r.endpoint("quick")
				count := func(path string) (n int) {
					for _, q := range receiver.Requests() {
						if strings.HasPrefix(q.URL, "https://example.com/"+path) {
							n++
						}
					}
					return n
				}
				for _, n := range random.Perm(types) {
					go func() { _ = a.d.Emit(r.ctx, kinds[n].New("", 0)) }()
					for range random.IntN(6) {
						go func() { _ = r.d.Emit(r.ctx, kinds[0].New("", 0)) }() // what is recorded makes for more claims
						time.Sleep(time.Millisecond)
					}
					require.LessOrEqual(t, count("a"), slots)
				}
				time.Sleep(time.Second)
				require.Equal(t, slots, count("a"))
				for i := range slots + 1 {
					r.endpoint(fmt.Sprint("free", i), kinds[0].Name())
				}
				require.NoError(t, r.d.Emit(r.ctx, kinds[0].New("", 0)))
				time.Sleep(time.Second)
				require.Equal(t, slots+1, count("free"), "who has no tenant is not bound")
			})
		})
	}
}

// A claim leaves slots of the tenant to what is emitted meanwhile, if it has many, and what is left is claimed as well.
func TestAClaimLeavesATenantsSlotsToEmit(t *testing.T) {
	for slots, want := range map[int][]int{
		64: {64},
		65: {33, 32},
	} {
		t.Run(fmt.Sprint(slots), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				store := newProbe()
				var got []int
				store.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
					claimed, err := store.Store.Claim(ctx, req)
					if len(claimed.Leases) > 0 {
						got = append(got, len(claimed.Leases))
					}
					return claimed, err
				}
				receiver := webhooktest.NewReceiver(t, hanging)
				r := rigOn(t, store, receiver, func(c *webhook.Config) {
					c.Slots, c.TenantSlots, c.Poll, c.MaxEndpoints = 512, slots, time.Hour, 70
				})
				for i := range 70 {
					r.as("a").endpoint(fmt.Sprint("hook", i))
				}
				r.as("a").emit()
				r.run()
				synctest.Wait()
				require.Equal(t, want, got)
				require.Equal(t, slots, len(receiver.Requests()))
				receiver.Release()
			})
		})
	}
}

// While a claim is under way no other is made: the claim loop looks after it.
func TestWhatAClaimUnderWayMissesIsLookedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := newProbe()
		store.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			claimed, err := store.Store.Claim(ctx, req)
			time.Sleep(5 * time.Millisecond)
			return claimed, err
		}
		r := rigOn(t, store, webhooktest.NewReceiver(t, webhooktest.Answer{Delay: 2 * time.Millisecond}), func(c *webhook.Config) {
			c.Slots, c.TenantSlots, c.Poll = 8, 1, time.Hour
		}).run()
		a := r.as("a")
		a.endpoint("one")
		a.endpoint("two")
		time.Sleep(time.Minute)
		start := time.Now()
		a.emit() // one is handed over and done in 2 ms, while the other one's claim, which may bring none, takes 5
		requests := r.receiver.WaitFor(t.Context(), 2)
		require.Zero(t, requests[0].Time.Sub(start))
		require.Equal(t, 10*time.Millisecond, requests[1].Time.Sub(start))
	})
}

func TestOthersAreToldWhenATenantHasNoSlot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &bell{Store: webhook.NewMemoryStore(nil), ring: make(chan struct{}, 1)}
		r := rigOn(t, store, webhooktest.NewReceiver(t, webhooktest.Answer{Delay: 10 * time.Second}), func(c *webhook.Config) {
			c.Slots, c.TenantSlots = 3, 1
		}).run()
		told := func(tenant string) int64 {
			before := store.wakes.Load()
			r.as(tenant).d.Wake(r.ctx)
			return store.wakes.Load() - before
		}
		for _, tenant := range []string{"a", ""} {
			r.as(tenant).endpoint("hook")
			r.as(tenant).emit()
		}
		synctest.Wait()
		require.EqualValues(t, 1, told("a"))
		require.Zero(t, told("b"))
		require.Zero(t, told(""), "it is not bound")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Zero(t, told("a"))
	})
}
