package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/meshia/webhook"
	"github.com/stretchr/testify/require"
)

// replay starts one of all that the endpoint did not get.
func (m *memory) replay(endpointID string, since, until time.Time) webhook.Replay {
	m.Helper()
	m.n++
	r, err := m.CreateReplay(m.Context(), webhook.Replay{
		ID: fmt.Sprint("rpl_", m.n), Tenant: "t", EndpointID: endpointID, Since: since, Until: until, Failed: true, Missed: true,
	})
	require.NoError(m, err)
	return r
}

func (m *memory) step(most, pending int) webhook.ReplayStepped {
	m.Helper()
	step, err := m.ContinueReplay(m.Context(), webhook.ReplayStep{Max: most, Pending: pending})
	require.NoError(m, err)
	return step
}

func (m *memory) state(endpointID string, s webhook.EndpointState) {
	m.Helper()
	_, err := m.JudgeEndpoint(m.Context(), "t", endpointID, func(h webhook.Health, _ time.Time) webhook.Health {
		h.State = s
		return h
	})
	require.NoError(m, err)
}

func TestMemoryStoreReplaysToTheNanosecond(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		m.add("e", webhook.Health{State: webhook.EndpointDisabled})
		var at []time.Time
		for range 5 {
			at = append(at, time.Now().UTC())
			m.emit(2)
			time.Sleep(time.Nanosecond)
		}
		m.state("e", webhook.EndpointActive)
		r := m.replay("e", at[1], at[4])
		require.Equal(m, at[1], r.Reached)
		require.Equal(m, webhook.ReplayStepped{Stepped: true, Queued: true}, m.step(3, 100))
		list, err := m.Replays(m.Context(), "t", "e")
		require.NoError(m, err)
		require.EqualValues(m, 3, list[0].Looked)
		require.Equal(m, at[2], list[0].Reached)
		require.Equal(m, webhook.ReplayStepped{Stepped: true, Queued: true}, m.step(3, 100))
		require.Equal(m, webhook.ReplayStepped{}, m.step(3, 100))
		list, err = m.Replays(m.Context(), "t", "e")
		require.NoError(m, err)
		require.EqualValues(m, 6, list[0].Queued)
		require.Equal(m, at[4], list[0].Reached)
		var events []string
		for _, l := range m.claim(10) {
			events = append(events, l.Event.ID)
		}
		require.Equal(m, []string{"evt_3", "evt_4", "evt_5", "evt_6", "evt_7", "evt_8"}, events)
	})
}

func TestMemoryStoreReplaysFromTheBeginningOfTime(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		m.add("e", webhook.Health{State: webhook.EndpointDisabled})
		m.emit(1)
		m.state("e", webhook.EndpointActive)
		time.Sleep(time.Nanosecond)
		m.replay("e", time.Time{}, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
		require.True(m, m.step(10, 10).Queued)
		m.replay("e", time.Date(9998, 1, 1, 0, 0, 0, 0, time.UTC), time.Time{})
		require.Equal(m, webhook.ReplayStepped{Stepped: true}, m.step(10, 10))
		m.replay("e", time.Time{}, time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC))
		require.Equal(m, webhook.ReplayStepped{Stepped: true}, m.step(10, 10))
	})
}

// The event that finds the backlog full is the first one that is missed.
func TestMemoryStoreReplaysWhatOpenedAGap(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		m.add("e", webhook.Health{Window: 10})
		var events []webhook.Event
		for i := range 4 {
			events = append(events, webhook.Event{ID: fmt.Sprint("evt_", i), Type: "a", Body: []byte("{}")})
		}
		_, err := m.Enqueue(m.Context(), webhook.EnqueueRequest{Tenant: "t", Events: events, MaxPending: 2})
		require.NoError(m, err)
		time.Sleep(time.Nanosecond)
		m.replay("e", time.Time{}, time.Time{})
		require.True(m, m.step(10, 10).Queued)
		var got []string
		for _, l := range m.claim(10) {
			got = append(got, l.Event.ID)
		}
		require.Equal(m, []string{"evt_0", "evt_1", "evt_2", "evt_3"}, got)
	})
}

func TestMemoryStoreThatIsFullLetsReplaysWait(t *testing.T) {
	inMemory(t, &webhook.MemoryConfig{MaxPending: 3}, func(m *memory) {
		m.add("e", webhook.Health{State: webhook.EndpointDisabled, Window: 10})
		m.emit(4)
		m.state("e", webhook.EndpointActive)
		m.add("other", webhook.Health{Window: 10})
		m.state("e", webhook.EndpointDisabled)
		m.emit(2)
		m.state("e", webhook.EndpointActive)
		time.Sleep(time.Nanosecond)
		m.replay("e", time.Time{}, time.Time{})
		require.Equal(m, webhook.ReplayStepped{Stepped: true, Queued: true}, m.step(10, 100))
		require.Equal(m, 3, m.Sizes()["live"])
		require.Equal(m, webhook.ReplayStepped{Waiting: true}, m.step(10, 100))
		sent := 0
		for range 10 {
			leases := m.claim(10)
			sent += len(leases)
			m.finish(webhook.OutcomeDelivered, leases...)
			m.step(10, 100)
			require.LessOrEqual(m, m.Sizes()["live"], 3)
		}
		require.Equal(m, 2+6, sent)
		require.Equal(m, 1, m.Sizes()["replayed"])
	})
}

func TestMemoryStoreBoundsAStep(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		m.add("e", webhook.Health{State: webhook.EndpointDisabled})
		m.emit(450)
		m.state("e", webhook.EndpointActive)
		time.Sleep(time.Nanosecond)
		m.replay("e", time.Time{}, time.Time{})
		for _, step := range []struct{ most, looked int64 }{{1 << 30, 200}, {0, 201}, {-1, 202}, {500, 402}, {500, 450}} {
			require.True(m, m.step(int(step.most), 1000).Queued)
			list, err := m.Replays(m.Context(), "t", "e")
			require.NoError(m, err)
			require.Equal(m, step.looked, list[0].Looked)
		}
		require.Equal(m, webhook.ReplayStepped{}, m.step(1, 1000))
	})
}

func TestMemoryStoreBoundsReplays(t *testing.T) {
	inMemory(t, &webhook.MemoryConfig{MaxFinished: 3, FinishedAge: time.Hour}, func(m *memory) {
		m.add("e", webhook.Health{})
		m.add("off", webhook.Health{State: webhook.EndpointDisabled})
		m.replay("off", time.Time{}, time.Time{})
		var all []webhook.Replay
		for range 5 {
			all = append(all, m.replay("e", time.Time{}, time.Time{}))
			m.step(1, 1)
			time.Sleep(time.Minute)
		}
		list, err := m.Replays(m.Context(), "t", "e")
		require.NoError(m, err)
		require.Len(m, list, 3)
		require.Equal(m, all[4].ID, list[0].ID)
		_, err = m.StopReplay(m.Context(), "t", all[1].ID)
		require.ErrorIs(m, err, webhook.ErrNotFound)
		time.Sleep(time.Hour - 3*time.Minute)
		m.claim(1)
		require.Equal(m, 3, m.Sizes()["replayed"])
		time.Sleep(time.Nanosecond)
		m.claim(1)
		require.Equal(m, 2, m.Sizes()["replayed"])
		time.Sleep(time.Hour)
		require.Equal(m, webhook.ReplayStepped{Waiting: true}, m.step(1, 1))
		n := m.Sizes()
		require.Zero(m, n["replayed"])
		require.Equal(m, 1, n["replays"], "one that runs stays")
		require.NoError(m, m.DeleteEndpoint(m.Context(), "t", "e"))
		require.NoError(m, m.DeleteEndpoint(m.Context(), "t", "off"))
		require.Equal(m, 1, m.Sizes()["replayed"])
		time.Sleep(time.Hour + 1)
		m.claim(1)
		require.Empty(m, m.Sizes())
	})
}

func TestMemoryStoreForgetsReplaysWithTheirEndpoint(t *testing.T) {
	inMemory(t, &webhook.MemoryConfig{MaxFinished: 2}, func(m *memory) {
		for i := range 3 {
			m.add(fmt.Sprint(i), webhook.Health{})
		}
		m.replay("0", time.Time{}, time.Time{})
		for i := range 3 {
			require.NoError(m, m.DeleteEndpoint(m.Context(), "t", fmt.Sprint(i)))
		}
		n := m.Sizes()
		require.Equal(m, 2, n["deleted"])
		require.Zero(m, n["replayed"])
		require.Zero(m, n["replays"])
	})
}

// A reading of the monotonic clock means nothing to another process, and sums are wrong with it once the clock was set.
func TestMemoryStoreKeepsTimesOfReplaysByTheWall(t *testing.T) {
	t.Parallel()
	m := &memory{MemoryStore: webhook.NewMemoryStore(nil), T: t}
	m.add("e", webhook.Health{})
	now := time.Now()
	require.NotEqual(t, now, now.Round(0))
	r := m.replay("e", now.Add(-time.Hour), now.Add(-time.Minute))
	require.Equal(t, r.Since.Round(0), r.Since)
	require.Equal(t, r.Until.Round(0), r.Until)
}

func TestMemoryStoreKnowsReplaysByTheirIDs(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		m.add("a", webhook.Health{})
		m.add("b", webhook.Health{})
		r := m.replay("a", time.Time{}, time.Time{})
		r.EndpointID = "b"
		_, err := m.CreateReplay(m.Context(), r)
		require.ErrorIs(m, err, webhook.ErrConflict)
	})
}

// TestMemoryStored holds the order of storing against a model, with a clock that is set back now and then.
func TestMemoryStored(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	var list webhook.Stored
	var model []webhook.StoredEvent
	clock := time.Duration(0)
	for i := range 20_000 {
		switch {
		case r.IntN(200) == 0:
			clock -= time.Duration(r.IntN(40))
		case r.IntN(2) == 0:
			clock += time.Duration(r.IntN(3))
		}
		if grow := i%8000 < 5000; r.IntN(4) == 0 == grow && len(model) > 0 {
			at := r.IntN(len(model))
			if i%2000 < 200 { // mostly it is the oldest that goes, but not always
				at = 0
			}
			list.Drop(model[at])
			model = append(model[:at], model[at+1:]...)
		} else {
			e := list.Add(clock)
			at := len(model)
			for at > 0 && model[at-1].At() > clock {
				at--
			}
			model = append(model[:at], append([]webhook.StoredEvent{e}, model[at:]...)...)
		}
		if i%50 > 0 {
			continue
		}
		from, to := clock-time.Duration(r.IntN(60)), clock-time.Duration(r.IntN(20))
		var want []webhook.StoredEvent
		for _, e := range model {
			if e.At() >= from && e.At() < to {
				want = append(want, e)
			}
		}
		require.Equal(t, len(want), len(list.Between(from, to)))
		for i, e := range list.Between(from, to) {
			require.True(t, e == want[i])
		}
		require.LessOrEqual(t, list.Len(), 2*len(model)+1, "it lets go of what was dropped")
	}
}

// replays does something with replays in a store that all kinds of things happen to.
func replays(m *memory, r *rand.Rand) {
	m.Helper()
	ctx := context.Background()
	switch id := fmt.Sprint(r.IntN(12)); r.IntN(4) {
	case 0:
		m.n++
		_, err := m.CreateReplay(ctx, webhook.Replay{
			ID: fmt.Sprint("rpl_", m.n), Tenant: "t", EndpointID: id, Failed: r.IntN(2) == 0, Missed: true, Since: time.Now().Add(-time.Duration(r.IntN(60)) * time.Minute),
		})
		if err != nil {
			require.True(m, errors.Is(err, webhook.ErrNotFound) || errors.Is(err, webhook.ErrReplayRunning), "%v", err)
		}
	case 1:
		_, err := m.StopReplay(ctx, "t", fmt.Sprint("rpl_", r.IntN(m.n+1)))
		if err != nil {
			require.ErrorIs(m, err, webhook.ErrNotFound)
		}
	default:
		before := m.Sizes()["live"]
		step := m.step(r.IntN(5), r.IntN(8))
		require.Equal(m, step.Queued, m.Sizes()["live"] > before)
		require.Equal(m, step.Waiting, !step.Stepped && m.Sizes()["replaying"] > 0)
	}
	n := m.Sizes()
	require.Equal(m, n["replays"], n["replaying"]+n["replayed"])
	require.Equal(m, n["replays"], n["endpoints' replays"])
	require.LessOrEqual(m, n["replayed"], 20)
}
