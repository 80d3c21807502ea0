package webhook_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/meshia/webhook"
	"github.com/stretchr/testify/require"
)

// TestMemoryStoreAgainstAModel does random things and holds the store's bookkeeping against what must be true of it at
// any time.
func TestMemoryStoreAgainstAModel(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inMemory(t, &webhook.MemoryConfig{MaxPending: 60, MaxFinished: 20, FinishedAge: time.Hour}, func(m *memory) {
				randomly(m, rand.New(rand.NewPCG(seed, 1)))
			})
		})
	}
}

func randomly(m *memory, r *rand.Rand) {
	ctx := context.Background()
	var held []webhook.Lease
	due := map[string]time.Time{} // when a delivery may be handed out again
	kinds := []webhook.OutcomeKind{webhook.OutcomeDelivered, webhook.OutcomeRetry, webhook.OutcomeFailed, webhook.OutcomeInterrupted, webhook.OutcomeReleased}
	states := []webhook.EndpointState{webhook.EndpointActive, webhook.EndpointActive, webhook.EndpointPaused, webhook.EndpointDisabled, webhook.EndpointPending}
	endpoints := 0
	take := func(leases []webhook.Lease) {
		for _, l := range leases {
			require.False(m, due[l.Delivery.ID].After(time.Now()), "a delivery was handed out before it was due, or twice")
			due[l.Delivery.ID] = time.Now().Add(l.Term)
			held = append(held, l)
		}
	}
	for range 600 {
		id := fmt.Sprint(r.IntN(endpoints + 1))
		switch r.IntN(10) {
		case 0:
			if endpoints < 12 {
				m.add(fmt.Sprint(endpoints), webhook.Health{Window: 1 + r.IntN(3), Slow: r.IntN(3) == 0})
				endpoints++
			}
		case 1:
			if r.IntN(5) == 0 {
				_ = m.DeleteEndpoint(ctx, "t", id)
			}
		case 2:
			state, pause := states[r.IntN(len(states))], time.Duration(r.IntN(100))*time.Second
			_, _ = m.JudgeEndpoint(ctx, "t", id, func(h webhook.Health, now time.Time) webhook.Health {
				h.State, h.PausedUntil, h.Slow, h.Window = state, now.Add(pause), r.IntN(3) == 0, r.IntN(4)
				return h
			})
		case 3, 4:
			m.n++
			req := webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{{ID: fmt.Sprint(m.n), Type: "a"}}}
			if r.IntN(2) == 0 {
				req.HandOver = &webhook.HandOver{Term: time.Minute, Max: r.IntN(4)}
			}
			if result, err := m.Enqueue(ctx, req); err == nil {
				take(result.Leases)
			} else {
				require.ErrorIs(m, err, webhook.ErrStoreFull)
			}
		case 5, 6, 7:
			c, err := m.Claim(ctx, webhook.ClaimRequest{Term: time.Duration(1+r.IntN(90)) * time.Second, Max: r.IntN(6), MaxSlow: r.IntN(3), MaxAge: 30 * time.Minute})
			require.NoError(m, err)
			take(c.Leases)
		case 8:
			for range min(len(held), r.IntN(6)) {
				i := r.IntN(len(held))
				l := held[i]
				held = append(held[:i], held[i+1:]...)
				wait := time.Duration(r.IntN(60)) * time.Second
				applied, err := m.Record(ctx, []webhook.Outcome{{Tenant: "t", DeliveryID: l.Delivery.ID, Token: l.Token, Kind: kinds[r.IntN(len(kinds))], Wait: wait}})
				require.NoError(m, err)
				if applied[0] {
					due[l.Delivery.ID] = time.Now().Add(wait)
				}
			}
		case 9:
			time.Sleep(time.Duration(r.IntN(120)) * time.Second)
		}
		consistent(m)
	}
}

// consistent holds what the store says of its deliveries against its own counts.
func consistent(m *memory) {
	m.Helper()
	n := m.Sizes()
	counts := map[webhook.DeliveryState]int{}
	flight := map[string]int{}
	page, err := m.Deliveries(context.Background(), "t", webhook.DeliveryFilter{})
	require.NoError(m, err)
	require.Empty(m, page.NextCursor)
	for _, d := range page.Deliveries {
		counts[d.State]++
		if d.State == webhook.DeliveryLeased {
			flight[d.EndpointID]++
			require.Len(m, d.Attempts, d.AttemptCount-1)
		} else {
			require.Len(m, d.Attempts, d.AttemptCount)
		}
	}
	require.Equal(m, n["pending"], counts[webhook.DeliveryPending])
	require.Equal(m, n["queued"], counts[webhook.DeliveryPending])
	require.Equal(m, n["leases"], counts[webhook.DeliveryLeased])
	require.Equal(m, n["live"], n["pending"]+n["leases"])
	require.Equal(m, n["finished"], counts[webhook.DeliverySucceeded]+counts[webhook.DeliveryFailed])
	require.Equal(m, n["deliveries"], len(page.Deliveries))
	require.LessOrEqual(m, n["live"], 60)
	require.LessOrEqual(m, n["finished"], 20)
	require.LessOrEqual(m, n["idle"], 20)
	for id, leases := range flight {
		require.LessOrEqual(m, leases, 3, "leases of %s: no window was ever larger", id)
	}
}
