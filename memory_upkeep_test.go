package webhook_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/meshia/webhook"
	"github.com/stretchr/testify/require"
)

func TestMemoryStorePrunesSoMuchAtOnce(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		m.emit(500) // nobody subscribed
		m.add("e", webhook.Health{Window: 1000})
		m.emit(1000)
		m.finish(webhook.OutcomeDelivered, m.claim(1000)...)
		time.Sleep(time.Hour)
		result, err := m.Prune(m.Context(), webhook.PruneRequest{Deliveries: time.Hour, Bodies: time.Hour, Max: 1000})
		require.NoError(m, err)
		require.Zero(m, result, "nothing is older than that")
		req := webhook.PruneRequest{Deliveries: time.Minute, Bodies: time.Minute, Max: 300}
		calls, sum := 0, webhook.PruneResult{More: true}
		for ; sum.More; calls++ {
			r, err := m.Prune(m.Context(), req)
			require.NoError(m, err)
			require.LessOrEqual(m, r.Deliveries+r.Events+r.Bodies, req.Max+1)
			sum = webhook.PruneResult{Deliveries: sum.Deliveries + r.Deliveries, Events: sum.Events + r.Events, Bodies: sum.Bodies + r.Bodies, More: r.More}
		}
		require.Equal(m, webhook.PruneResult{Deliveries: 1000, Events: 1500}, sum)
		require.Equal(m, 9, calls)
		require.Equal(m, map[string]int{"tenants": 1, "endpoints": 1, "types": 1, "named": 1}, m.Sizes())
	})
}

func TestMemoryStoreWeighsTheBodiesThatItPrunes(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		for i := range 10 {
			e := webhook.Event{ID: fmt.Sprint(i), Type: "a", Body: make([]byte, 100*4096)}
			_, err := m.Enqueue(m.Context(), webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{e}})
			require.NoError(m, err)
		}
		time.Sleep(time.Hour)
		result, err := m.Prune(m.Context(), webhook.PruneRequest{Bodies: time.Minute, Max: 500})
		require.NoError(m, err)
		require.Equal(m, webhook.PruneResult{Bodies: 5, More: true}, result, "each is as much work as a hundred rows")
	})
}

func TestMemoryStoreErasesSoMuchAtOnce(t *testing.T) {
	inMemory(t, &webhook.MemoryConfig{MaxFinished: 1000}, func(m *memory) {
		m.emit(100)
		for i := range 10 {
			m.add(fmt.Sprint(i), webhook.Health{})
		}
		m.emit(90)
		m.finish(webhook.OutcomeDelivered, m.claim(300)...)
		lost := m.claim(1)
		left := 100 + 10 + 900
		for _, id := range []string{"1", "2"} {
			require.NoError(m, m.DeleteEndpoint(m.Context(), "t", id))
		}
		for more := true; more; {
			var err error
			more, err = m.EraseTenant(m.Context(), "t", 50)
			require.NoError(m, err)
			require.Empty(m, m.claim(1), "what waits is not handed out any more")
			n := m.Sizes()
			require.LessOrEqual(m, left-(n["endpoints"]+n["deliveries"]+n["idle"]), 50)
			left = n["endpoints"] + n["deliveries"] + n["idle"]
			require.Equal(m, left > 0, more)
		}
		require.Empty(m, m.Sizes())
		applied, err := m.Record(m.Context(), []webhook.Outcome{{Tenant: "t", DeliveryID: lost[0].Delivery.ID, Token: lost[0].Token, Kind: webhook.OutcomeDelivered}})
		require.NoError(m, err)
		require.Equal(m, []bool{false}, applied)
	})
}

func TestMemoryStoreErasesAllEndpointsFirst(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		for i := range 3 {
			m.add(fmt.Sprint(i), webhook.Health{})
		}
		m.emit(1)
		leases := m.claim(2)
		more, err := m.EraseTenant(m.Context(), "t", 1)
		require.NoError(m, err)
		require.True(m, more)
		for i := range 3 {
			_, err := m.Endpoint(m.Context(), "t", fmt.Sprint(i))
			require.ErrorIs(m, err, webhook.ErrNotFound)
		}
		list, err := m.Endpoints(m.Context(), "t")
		require.NoError(m, err)
		require.Empty(m, list)
		m.finish(webhook.OutcomeRetry, leases[0]) // whose delivery is there still
		d, err := m.Delivery(m.Context(), "t", leases[0].Delivery.ID)
		require.NoError(m, err)
		require.Equal(m, webhook.FailEndpointDeleted, d.Reason)
	})
}

func TestMemoryStoreErasesOneTenantAtNoOthersCost(t *testing.T) {
	inMemory(t, &webhook.MemoryConfig{MaxFinished: 3}, func(m *memory) {
		mine := webhook.Endpoint{ID: "mine", Tenant: "u", URL: "https://example.com", Events: []string{"*"}, Health: webhook.Health{State: webhook.EndpointActive}}
		_, err := m.CreateEndpoint(m.Context(), mine, 1)
		require.NoError(m, err)
		require.NoError(m, m.DeleteEndpoint(m.Context(), "u", "mine"))
		for i := range 5 {
			m.add(fmt.Sprint(i), webhook.Health{})
		}
		m.emit(2)
		for i := range 3 {
			require.NoError(m, m.DeleteEndpoint(m.Context(), "t", fmt.Sprint(i)))
		}
		more, err := m.EraseTenant(m.Context(), "t", 1000)
		require.NoError(m, err)
		require.False(m, more)
		require.Equal(m, map[string]int{"tenants": 1, "endpoints": 1, "deleted": 1}, m.Sizes())
		_, err = m.CreateEndpoint(m.Context(), mine, 1)
		require.ErrorIs(m, err, webhook.ErrConflict, "the trace of another tenant's endpoint was not pushed out")
	})
}

func TestMemoryStoreForgetsGapsThatNobodyAddsTo(t *testing.T) {
	inMemory(t, &webhook.MemoryConfig{FinishedAge: time.Hour}, func(m *memory) {
		e := m.add("e", webhook.Health{State: webhook.EndpointDisabled})
		m.emit(1)
		_, err := m.JudgeEndpoint(m.Context(), "t", e.ID, func(h webhook.Health, _ time.Time) webhook.Health {
			h.State = webhook.EndpointActive
			return h
		})
		require.NoError(m, err)
		time.Sleep(time.Hour)
		m.claim(1)
		require.Equal(m, 1, m.Sizes()["gaps"])
		time.Sleep(time.Nanosecond)
		m.claim(1)
		require.Zero(m, m.Sizes()["gaps"])
		gaps, err := m.Gaps(m.Context(), "t", e.ID)
		require.NoError(m, err)
		require.Empty(m, gaps)
	})
}

func TestMemoryStoreForgetsGapsWithTheirEndpoint(t *testing.T) {
	inMemory(t, &webhook.MemoryConfig{MaxFinished: 1}, func(m *memory) {
		for i := range 2 {
			e := m.add(fmt.Sprint(i), webhook.Health{State: webhook.EndpointDisabled})
			m.emit(1)
			require.NoError(m, m.DeleteEndpoint(m.Context(), "t", e.ID))
		}
		n := m.Sizes()
		require.Equal(m, 1, n["deleted"])
		require.Equal(m, 1, n["gaps"])
	})
}

// TestMemoryStoreSkipsInPlace lets one dispatcher skip the endpoint that has waited longest: it is still the first for
// the other.
func TestMemoryStoreSkipsInPlace(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		for i := range 5 {
			m.add(fmt.Sprint(i), webhook.Health{Window: 1, Slow: i%2 == 1})
		}
		m.emit(1)
		skip := []webhook.EndpointRef{{Tenant: "t", ID: "0"}, {Tenant: "t", ID: "1"}, {Tenant: "t", ID: "0"}, {Tenant: "t", ID: "unknown"}, {Tenant: "u", ID: "2"}}
		req := webhook.ClaimRequest{Owner: "o", Term: time.Hour, Max: 2, MaxSlow: 2, Skip: skip}
		var got []string
		for _, r := range []webhook.ClaimRequest{req, {Owner: "o", Term: time.Hour, Max: 5, MaxSlow: 5}} {
			c, err := m.Claim(m.Context(), r)
			require.NoError(m, err)
			for _, l := range c.Leases {
				got = append(got, l.Delivery.EndpointID)
			}
		}
		require.Equal(m, []string{"2", "3", "0", "1", "4"}, got)
	})
}

func TestMemoryStoreDoesNotWaitForWhatItSkips(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		m.add("e", webhook.Health{})
		m.emit(1)
		c, err := m.Claim(m.Context(), webhook.ClaimRequest{Owner: "o", Term: time.Hour, Max: 2, MaxSlow: 2, Skip: []webhook.EndpointRef{{Tenant: "t", ID: "e"}}})
		require.NoError(m, err)
		require.Equal(m, webhook.Claimed{Next: -1}, c)
		require.Len(m, m.claim(1), 1)
	})
}

// TestMemoryNames holds the set of names against a sorted slice.
func TestMemoryNames(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	var names webhook.Names
	require.Empty(t, names.After(nil, 10))
	names.Remove("none")
	var model []string
	for i := range 20_000 {
		name := fmt.Sprint(r.IntN(3000))
		if name == "0" {
			name = ""
		}
		at, found := slices.BinarySearch(model, name)
		if grow := i%8000 < 5000; r.IntN(4) == 0 != grow { // it grows and shrinks by turns
			names.Add(name)
			if !found {
				model = slices.Insert(model, at, name)
			}
		} else {
			names.Remove(name)
			if found {
				model = slices.Delete(model, at, at+1)
			}
		}
		if i%50 > 0 {
			continue
		}
		require.Equal(t, model, append(model[:0:0], names.After(nil, 1<<30)...))
		after := fmt.Sprint(r.IntN(3000))
		rest := model
		if at, found := slices.BinarySearch(model, after); found {
			rest = model[at+1:]
		} else {
			rest = model[at:]
		}
		rest = rest[:min(len(rest), 700)]
		require.Equal(t, append([]string{}, rest...), names.After(&after, 700))
	}
}

// TestMemoryStoreErasesWhileOthersRead is for the race detector: a delivery that was read is copied without the lock.
func TestMemoryStoreErasesWhileOthersRead(t *testing.T) {
	t.Parallel()
	m := &memory{MemoryStore: webhook.NewMemoryStore(nil), T: t}
	m.add("e", webhook.Health{Window: 1000})
	m.emit(200)
	leases := m.claim(200)
	for _, l := range leases {
		o := webhook.Outcome{Tenant: "t", DeliveryID: l.Delivery.ID, Token: l.Token, Kind: webhook.OutcomeDelivered}
		o.Attempt.ResponseBody = []byte("contents")
		_, err := m.Record(m.Context(), []webhook.Outcome{o})
		require.NoError(m, err)
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for _, l := range leases {
				if d, err := m.Delivery(t.Context(), "t", l.Delivery.ID); err != nil || len(d.Attempts) != 1 {
					t.Errorf("a delivery with %d attempts: %v", len(d.Attempts), err)
				}
			}
		})
	}
	wg.Go(func() {
		for _, l := range leases {
			if err := m.EraseDelivery(t.Context(), "t", l.Delivery.ID); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
}
