package webhook_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/meshia/webhook"
	"github.com/stretchr/testify/require"
)

func rated(rate float64, burst int) func(*webhook.Endpoint) {
	return func(e *webhook.Endpoint) { e.Rate, e.Burst = rate, burst }
}

// within claims one delivery with a bound on backlogs.
func (m *memory) within(maxPending int) webhook.Claimed {
	m.Helper()
	c, err := m.Claim(m.Context(), webhook.ClaimRequest{Owner: "o", Term: time.Hour, Max: 1, MaxSlow: 1, MaxPending: maxPending})
	require.NoError(m, err)
	return c
}

func (m *memory) batch(n, maxPending int) (webhook.EnqueueResult, error) {
	m.Helper()
	req := webhook.EnqueueRequest{Tenant: "t", MaxPending: maxPending}
	for range n {
		m.n++
		req.Events = append(req.Events, webhook.Event{ID: fmt.Sprintf("evt_%d", m.n), Type: "a"})
	}
	return m.Enqueue(m.Context(), req)
}

func (m *memory) gaps(id string) []webhook.Gap {
	m.Helper()
	gaps, err := m.Gaps(m.Context(), "t", id)
	require.NoError(m, err)
	return gaps
}

func TestMemoryStoreSaysWhenARateLetsTheNextOneGo(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		m.add("e", webhook.Health{}, rated(0.1, 2))
		m.emit(5)
		for i, next := range []time.Duration{0, 10 * time.Second, 10 * time.Second, 10 * time.Second} {
			c := m.within(0)
			require.Len(m, c.Leases, 1)
			require.Equal(m, next, c.Next)
			require.Equal(m, next == 0, c.Blocked, "what waits for its rate only is not blocked")
			if next == 0 {
				continue
			}
			time.Sleep(next - time.Nanosecond)
			require.Equal(m, webhook.Claimed{Next: 1}, m.within(0), "after lease %d", i+1)
			time.Sleep(time.Nanosecond)
		}
	})
}

// TestMemoryStoreChangesAPace changes a pace and looks when the next delivery can go.
func TestMemoryStoreChangesAPace(t *testing.T) {
	type pace struct {
		rate  float64
		burst int
	}
	for name, k := range map[string]struct {
		from pace
		used int
		to   []pace
		want time.Duration
	}{
		"as it was":           {pace{1, 4}, 4, []pace{{1, 4}}, time.Second},
		"lower":               {pace{1, 4}, 4, []pace{{0.1, 4}}, 10 * time.Second},
		"higher":              {pace{0.001, 4}, 4, []pace{{10, 4}}, 100 * time.Millisecond},
		"higher and back":     {pace{0.001, 4}, 4, []pace{{10, 4}, {0.001, 4}}, 1000 * time.Second},
		"a larger burst":      {pace{1, 2}, 2, []pace{{1, 3}}, 0},
		"a smaller burst":     {pace{1, 9}, 9, []pace{{1, 2}}, time.Second},
		"a burst not used up": {pace{1, 9}, 3, []pace{{1, 3}}, time.Second},
		"none and back":       {pace{0.001, 2}, 2, []pace{{0, 0}, {0.001, 2}}, 1000 * time.Second},
		"none and lower":      {pace{1, 2}, 2, []pace{{0, 0}, {0.001, 2}}, 1000 * time.Second},
		"none":                {pace{0.001, 2}, 2, []pace{{0, 0}}, 0},
		"the first":           {pace{0, 0}, 5, []pace{{0.001, 1}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, nil, func(m *memory) {
				e := m.add("e", webhook.Health{}, rated(k.from.rate, k.from.burst))
				m.emit(20)
				require.Len(m, m.claim(k.used), k.used)
				for _, p := range k.to {
					e.Rate, e.Burst = p.rate, p.burst
					var err error
					e, err = m.UpdateEndpoint(m.Context(), e, nil)
					require.NoError(m, err)
				}
				c, err := m.Claim(m.Context(), webhook.ClaimRequest{Term: time.Hour})
				require.NoError(m, err)
				require.Equal(m, k.want, c.Next)
				if k.want > 0 {
					time.Sleep(k.want - time.Nanosecond)
					require.Empty(m, m.claim(1))
					time.Sleep(time.Nanosecond)
				}
				require.Len(m, m.claim(1), 1)
			})
		})
	}
}

// TestMemoryStoreForgetsNoDebtWithoutARate takes a rate away for half of the time that one lease takes at it, and sets
// a lower one: half of that lease is left to wait for.
func TestMemoryStoreForgetsNoDebtWithoutARate(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		e := m.add("e", webhook.Health{}, rated(0.1, 3))
		m.emit(10)
		require.Len(m, m.claim(10), 3)
		for _, rate := range []float64{0, 0.001} {
			e.Rate = rate
			var err error
			e, err = m.UpdateEndpoint(m.Context(), e, nil)
			require.NoError(m, err)
			time.Sleep(5 * time.Second)
		}
		c := m.within(0)
		require.Empty(m, c.Leases)
		require.Equal(m, 500*time.Second-5*time.Second, c.Next)
	})
}

func TestMemoryStoreBoundsABacklogAtOnce(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		m.add("e", webhook.Health{})
		begin := time.Now().UTC()
		result, err := m.batch(25, 10)
		require.NoError(m, err)
		require.Equal(m, webhook.EnqueueResult{Queued: true, Backlogged: []webhook.EndpointRef{{Tenant: "t", ID: "e"}}}, result)
		require.Equal(m, []webhook.Gap{{EndpointID: "e", Reason: webhook.GapBacklog, From: begin, Count: 15}}, m.gaps("e"))
		require.Equal(m, 10, m.Sizes()["live"])

		leases := m.claim(0)
		require.Empty(m, leases)
		require.NotZero(m, m.gaps("e")[0].To, "a claim without a bound knows of no backlog")
		require.Equal(m, []webhook.EndpointRef{{Tenant: "t", ID: "e"}}, m.within(10).Backlogged)
		require.Nil(m, m.within(10).Backlogged)
		require.Nil(m, m.within(11).Backlogged, "ten of eleven are too many still")
		require.Len(m, m.gaps("e"), 2)
		require.Nil(m, m.within(12).Backlogged)
		require.Len(m, m.gaps("e"), 1, "and ten of twelve are not; nothing was missed in the second gap")
	})
}

func TestMemoryStoreEndsAGapWithItsBacklog(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		m.add("e", webhook.Health{})
		_, err := m.batch(11, 10)
		require.NoError(m, err)
		leases := m.claimAll(10, 10)
		time.Sleep(time.Minute)
		m.finish(webhook.OutcomeDelivered, leases[0])
		require.Equal(m, time.Now().UTC(), m.gaps("e")[0].To, "without a claim")
		require.Equal(m, int64(1), m.gaps("e")[0].Count)
	})
}

func (m *memory) claimAll(n, maxPending int) []webhook.Lease {
	m.Helper()
	c, err := m.Claim(m.Context(), webhook.ClaimRequest{Owner: "o", Term: time.Hour, Max: n, MaxSlow: n, MaxPending: maxPending})
	require.NoError(m, err)
	require.Len(m, c.Leases, n)
	return c.Leases
}

func TestMemoryStoreCountsOnlyWhatABoundLetsIn(t *testing.T) {
	inMemory(t, &webhook.MemoryConfig{MaxPending: 20}, func(m *memory) {
		m.add("e", webhook.Health{})
		m.add("f", webhook.Health{})
		_, err := m.batch(21, 11)
		require.ErrorIs(m, err, webhook.ErrStoreFull)
		require.Zero(m, m.Sizes()["live"])
		require.Empty(m, m.gaps("e"))
		_, err = m.batch(21, 10)
		require.NoError(m, err)
		require.Equal(m, 20, m.Sizes()["live"])
		require.Equal(m, int64(11), m.gaps("f")[0].Count)
		_, err = m.batch(1, 10)
		require.NoError(m, err, "it takes no room")
	})
}

func TestMemoryStoreForgetsHours(t *testing.T) {
	inMemory(t, &webhook.MemoryConfig{FinishedAge: 3 * time.Hour}, func(m *memory) {
		deliver := func() {
			m.emit(1)
			for _, l := range m.claim(10) {
				o := webhook.Outcome{Tenant: "t", DeliveryID: l.Delivery.ID, Token: l.Token, Kind: webhook.OutcomeDelivered}
				o.Attempt.Result = webhook.AttemptDelivered
				_, err := m.Record(m.Context(), []webhook.Outcome{o})
				require.NoError(m, err)
			}
		}
		hours := func() (n int) {
			s, err := m.Stats(m.Context(), "t", "e", time.Time{})
			require.NoError(m, err)
			require.Equal(m, m.Sizes()["hours"], m.Sizes()["endpoint hours"])
			return len(s.Hours)
		}
		m.add("e", webhook.Health{})
		for range 10 {
			deliver()
			time.Sleep(time.Hour)
		}
		deliver()
		require.Equal(m, 5, hours(), "the one that it is, three that are old enough to go but not older, and one between")
		m.add("f", webhook.Health{})
		deliver()
		require.Equal(m, 6, m.Sizes()["hours"])
		require.NoError(m, m.DeleteEndpoint(m.Context(), "t", "f"))
		require.Equal(m, 5, m.Sizes()["hours"], "those of a deleted endpoint go with it")
		result, err := m.Prune(m.Context(), webhook.PruneRequest{Deliveries: time.Minute, Max: 1})
		require.NoError(m, err)
		require.True(m, result.More)
		for result.More {
			result, err = m.Prune(m.Context(), webhook.PruneRequest{Deliveries: time.Minute, Max: 1})
			require.NoError(m, err)
		}
		require.Equal(m, 2, hours(), "the hour that it is, and the one that ended just now")
		more, err := m.EraseTenant(m.Context(), "t", 1000)
		require.NoError(m, err)
		require.False(m, more)
		require.Empty(m, m.Sizes())
	})
}

func TestMemoryStoreSortsHoursOfAClockSetBack(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		m.add("e", webhook.Health{})
		now := time.Now().UTC()
		for _, hour := range []int{3, 1, 2, 1, 3, 0, 3} {
			m.CountAt("t", "e", now.Add(time.Duration(hour)*time.Hour+59*time.Minute))
		}
		s, err := m.Stats(m.Context(), "t", "e", now.Add(time.Hour))
		require.NoError(m, err)
		require.Len(m, s.Hours, 3)
		for i, want := range []int64{2, 1, 3} {
			require.Equal(m, now.Add(time.Duration(i+1)*time.Hour), s.Hours[i].Start)
			require.Equal(m, want, s.Hours[i].Delivered)
		}
	})
}

// TestMemoryStoreThatIsFullCountsWhatIsMissed takes no room for it.
func TestMemoryStoreThatIsFullCountsWhatIsMissed(t *testing.T) {
	inMemory(t, &webhook.MemoryConfig{MaxPending: 2}, func(m *memory) {
		m.add("on", webhook.Health{})
		m.emit(2)
		require.NoError(m, m.DeleteEndpoint(m.Context(), "t", "on"))
		m.add("full", webhook.Health{})
		m.emit(2)
		_, err := m.batch(1, 0)
		require.ErrorIs(m, err, webhook.ErrStoreFull)
		m.state("full", webhook.EndpointDisabled)
		_, err = m.batch(3, 0)
		require.NoError(m, err)
		require.EqualValues(m, 3, m.gaps("full")[0].Count)
	})
}

// TestMemoryStoreGapBeginsAfterWhatWasStoredBefore has an event stored, that nobody wanted then, just before a gap
// opens.
func TestMemoryStoreGapBeginsAfterWhatWasStoredBefore(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		e := m.add("e", webhook.Health{}, func(e *webhook.Endpoint) { e.Events = []string{"a"} })
		m.emit(2)
		_, err := m.Enqueue(m.Context(), webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{{ID: "evt_b", Type: "b", Body: []byte(`{}`)}}})
		require.NoError(m, err)
		require.Len(m, m.within(1).Backlogged, 1)
		e, err = m.Endpoint(m.Context(), "t", "e")
		require.NoError(m, err)
		e.Events = []string{"a", "b"}
		_, err = m.UpdateEndpoint(m.Context(), e, func(h webhook.Health, _ time.Time) webhook.Health { return h })
		require.NoError(m, err)
		time.Sleep(time.Nanosecond)
		m.replay("e", time.Time{}, time.Time{})
		require.Equal(m, webhook.ReplayStepped{Stepped: true}, m.step(10, 100), "it missed nothing")
	})
}
