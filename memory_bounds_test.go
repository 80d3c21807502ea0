package webhook_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/meshia/webhook"
	"github.com/stretchr/testify/require"
)

func TestMemoryStoreRefusesNegativeBounds(t *testing.T) {
	t.Parallel()
	for _, cfg := range []webhook.MemoryConfig{{MaxPending: -1}, {MaxFinished: -1}, {FinishedAge: -1}} {
		require.Panics(t, func() { webhook.NewMemoryStore(&cfg) })
	}
}

func TestMemoryStoreHasDefaults(t *testing.T) {
	t.Parallel()
	want := webhook.MemoryConfig{MaxPending: 100_000, MaxFinished: 10_000, FinishedAge: 72 * time.Hour}
	require.Equal(t, want, webhook.NewMemoryStore(nil).Bounds())
	require.Equal(t, want, webhook.NewMemoryStore(&webhook.MemoryConfig{}).Bounds())
	want = webhook.MemoryConfig{MaxPending: 1, MaxFinished: 2, FinishedAge: 3}
	require.Equal(t, want, webhook.NewMemoryStore(&want).Bounds())
}

func TestMemoryStoreIsFullWithMaxPending(t *testing.T) {
	inMemory(t, &webhook.MemoryConfig{MaxPending: 3}, func(m *memory) {
		e := m.add("e", webhook.Health{})
		m.emit(3)
		more := webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{{ID: "more", Type: "a"}}}
		_, err := m.Enqueue(m.Context(), more)
		require.ErrorIs(m, err, webhook.ErrStoreFull)
		more.Direct = &webhook.Direct{EndpointID: e.ID, Kind: webhook.KindTest, Owner: "o", Term: time.Hour}
		_, err = m.Enqueue(m.Context(), more)
		require.ErrorIs(m, err, webhook.ErrStoreFull)
		_, err = m.Enqueue(m.Context(), webhook.EnqueueRequest{Tenant: "u", Events: more.Events})
		require.NoError(m, err, "an event without a subscriber takes no room")
		m.finish(webhook.OutcomeDelivered, m.claim(1)...)
		_, err = m.Enqueue(m.Context(), more)
		require.NoError(m, err)
	})
}

func TestMemoryStoreDropsWhatIsOverItsAge(t *testing.T) {
	inMemory(t, &webhook.MemoryConfig{FinishedAge: time.Hour}, func(m *memory) {
		m.add("e", webhook.Health{})
		m.emit(2)
		m.finish(webhook.OutcomeDelivered, m.claim(2)...)
		time.Sleep(time.Hour)
		m.emit(1)
		require.Equal(m, 2, m.Sizes()["finished"])
		time.Sleep(time.Nanosecond)
		m.emit(1)
		require.Zero(m, m.Sizes()["finished"])
		m.finish(webhook.OutcomeDelivered, m.claim(2)...)
		time.Sleep(time.Hour + 1)
		require.Empty(m, m.claim(1))
		require.Equal(m, map[string]int{"tenants": 1, "endpoints": 1, "types": 1, "named": 1}, m.Sizes(), "the endpoint stays when all that was sent to it is gone")
	})
}

func TestMemoryStoreDropsTheOldestFinished(t *testing.T) {
	inMemory(t, &webhook.MemoryConfig{MaxFinished: 3}, func(m *memory) {
		m.add("e", webhook.Health{})
		events := m.emit(6)
		leases := m.claim(6)
		m.finish(webhook.OutcomeDelivered, leases[1], leases[0], leases[2], leases[4])
		for i, l := range leases {
			_, deliveryErr := m.Delivery(m.Context(), "t", l.Delivery.ID)
			_, eventErr := m.Event(m.Context(), "t", events[i].ID)
			if i == 1 {
				require.ErrorIs(m, deliveryErr, webhook.ErrNotFound)
				require.ErrorIs(m, eventErr, webhook.ErrNotFound)
				continue
			}
			require.NoError(m, deliveryErr)
			require.NoError(m, eventErr)
		}
		page, err := m.Deliveries(m.Context(), "t", webhook.DeliveryFilter{})
		require.NoError(m, err)
		require.Len(m, page.Deliveries, 5)
		page, err = m.Deliveries(m.Context(), "t", webhook.DeliveryFilter{EndpointID: "e", State: webhook.DeliverySucceeded})
		require.NoError(m, err)
		require.Len(m, page.Deliveries, 3)
	})
}

func TestMemoryStoreKeepsAnEventWhileADeliveryNeedsIt(t *testing.T) {
	inMemory(t, &webhook.MemoryConfig{MaxFinished: 1}, func(m *memory) {
		m.add("one", webhook.Health{})
		m.add("two", webhook.Health{})
		event := m.emit(1)[0]
		leases := m.claim(2)
		m.finish(webhook.OutcomeDelivered, leases[0])
		m.finish(webhook.OutcomeRetry, leases[1])
		m.add("three", webhook.Health{})
		require.NoError(m, m.DeleteEndpoint(m.Context(), "t", "one"))
		require.NoError(m, m.DeleteEndpoint(m.Context(), "t", "three"))
		other := m.emit(1)[0]
		m.finish(webhook.OutcomeDelivered, m.claim(1)...)
		_, err := m.Event(m.Context(), "t", event.ID)
		require.NoError(m, err, "its second delivery is pending")
		_, err = m.Event(m.Context(), "t", other.ID)
		require.NoError(m, err)
		require.Equal(m, 2, m.Sizes()["deliveries"])
	})
}

func TestMemoryStoreBoundsEventsWithoutDelivery(t *testing.T) {
	inMemory(t, &webhook.MemoryConfig{MaxFinished: 3, FinishedAge: time.Hour}, func(m *memory) {
		events := m.emit(3)
		e := m.add("e", webhook.Health{State: webhook.EndpointDisabled})
		direct := &webhook.Direct{EndpointID: e.ID, Kind: webhook.KindRedelivery, Owner: "o", Term: time.Hour}
		replayed, err := m.Enqueue(m.Context(), webhook.EnqueueRequest{Tenant: "t", Events: events[:1], Direct: direct})
		require.NoError(m, err)
		events = append(events, m.emit(2)...)
		for i, e := range events {
			_, err := m.Event(m.Context(), "t", e.ID)
			require.Equal(m, i == 1, err != nil, "event %d: the first is needed, the second is the oldest of four", i)
		}
		time.Sleep(time.Hour + 1)
		m.finish(webhook.OutcomeDelivered, replayed.Leases...)
		require.Equal(m, map[string]int{
			"tenants": 1, "endpoints": 1, "types": 1, "finished": 1, "deliveries": 1, "events": 1, "log": 1, "endpoint logs": 1,
			"named": 1, "resting": 1, "contents at rest": 1,
		}, m.Sizes())
	})
}

func TestMemoryStoreForgetsDeletedEndpointsAndTenants(t *testing.T) {
	inMemory(t, &webhook.MemoryConfig{MaxFinished: 2, FinishedAge: time.Hour}, func(m *memory) {
		for i := range 5 {
			id := fmt.Sprint(i)
			m.add(id, webhook.Health{})
			require.NoError(m, m.DeleteEndpoint(m.Context(), "t", id))
		}
		require.Equal(m, map[string]int{"tenants": 1, "endpoints": 2, "deleted": 2}, m.Sizes())

		m.add("sent", webhook.Health{})
		m.emit(2)
		leases := m.claim(1)
		require.NoError(m, m.DeleteEndpoint(m.Context(), "t", "sent"))
		time.Sleep(time.Hour + 1)
		m.emit(0)
		m.finish(webhook.OutcomeRetry, leases...)
		require.Equal(m, map[string]int{
			"tenants": 1, "endpoints": 1, "finished": 1, "deliveries": 1, "events": 1, "log": 1, "endpoint logs": 1, "resting": 1, "contents at rest": 1,
		}, m.Sizes())
		time.Sleep(time.Hour)
		require.Empty(m, m.claim(1))
		require.Equal(m, 1, m.Sizes()["endpoints"], "as long as it has a delivery")
		time.Sleep(time.Nanosecond)
		require.Empty(m, m.claim(1))
		require.Empty(m, m.Sizes())
	})
}

func TestMemoryStoreBoundsGaps(t *testing.T) {
	inMemory(t, &webhook.MemoryConfig{FinishedAge: time.Hour}, func(m *memory) {
		e := m.add("e", webhook.Health{})
		toggle := func() {
			for _, state := range []webhook.EndpointState{webhook.EndpointDisabled, webhook.EndpointActive} {
				_, err := m.JudgeEndpoint(m.Context(), "t", e.ID, func(h webhook.Health, _ time.Time) webhook.Health {
					h.State = state
					return h
				})
				require.NoError(m, err)
				if state == webhook.EndpointDisabled {
					m.emit(1)
				}
			}
		}
		for range 1010 {
			toggle()
		}
		gaps, err := m.Gaps(m.Context(), "t", e.ID)
		require.NoError(m, err)
		require.Len(m, gaps, 1000)
		_, err = m.JudgeEndpoint(m.Context(), "t", e.ID, func(h webhook.Health, _ time.Time) webhook.Health {
			h.State = webhook.EndpointDisabled
			return h
		})
		require.NoError(m, err)
		gaps, err = m.Gaps(m.Context(), "t", e.ID)
		require.NoError(m, err)
		require.Len(m, gaps, 1000, "the open one among them")
		require.Zero(m, gaps[0].To)
		time.Sleep(time.Hour + 1)
		toggle()
		gaps, err = m.Gaps(m.Context(), "t", e.ID)
		require.NoError(m, err)
		require.Len(m, gaps, 1)
	})
}

func TestMemoryStorePagesPastWhatWasDropped(t *testing.T) {
	inMemory(t, &webhook.MemoryConfig{MaxFinished: 2}, func(m *memory) {
		m.add("e", webhook.Health{Window: 2100})
		m.emit(2100)
		f := webhook.DeliveryFilter{Limit: 1}
		page, err := m.Deliveries(m.Context(), "t", f)
		require.NoError(m, err)
		m.finish(webhook.OutcomeDelivered, m.claim(2100)[1:]...) // the cursor's own delivery too
		f.Cursor = page.NextCursor
		var left []webhook.DeliveryState
		for f.Cursor != "" && len(left) < 10 {
			page, err = m.Deliveries(m.Context(), "t", f)
			require.NoError(m, err)
			for _, d := range page.Deliveries {
				left = append(left, d.State)
			}
			f.Cursor = page.NextCursor
		}
		require.Equal(m, []webhook.DeliveryState{webhook.DeliverySucceeded, webhook.DeliveryLeased}, left)
		f.State = webhook.DeliveryPending // a search that looks at more than one part of the log and finds nothing
		page, err = m.Deliveries(m.Context(), "t", f)
		require.NoError(m, err)
		require.Equal(m, webhook.DeliveryPage{}, page)
	})
}
