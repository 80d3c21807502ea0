package webhook_test

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/storetest"
	"github.com/stretchr/testify/require"
)

func TestMemoryStoreKeepsTheContract(t *testing.T) {
	t.Parallel()
	storetest.Config{
		Synctest: true,
		Bounded: func(_ *testing.T, pending int) webhook.Store {
			return webhook.NewMemoryStore(&webhook.MemoryConfig{MaxPending: pending})
		},
	}.Run(t, func(*testing.T) webhook.Store { return webhook.NewMemoryStore(nil) })
}

// memory is a store with shorthands, in a bubble.
type memory struct {
	*webhook.MemoryStore
	*testing.T
	n int
}

func inMemory(t *testing.T, cfg *webhook.MemoryConfig, f func(m *memory)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { f(&memory{MemoryStore: webhook.NewMemoryStore(cfg), T: t}) })
}

func (m *memory) add(id string, h webhook.Health, changes ...func(*webhook.Endpoint)) webhook.Endpoint {
	m.Helper()
	if h.State == "" {
		h.State = webhook.EndpointActive
	}
	if h.Window == 0 {
		h.Window = 100
	}
	e := webhook.Endpoint{ID: id, Tenant: "t", URL: "https://example.com", Events: []string{"*"}, Health: h}
	for _, change := range changes {
		change(&e)
	}
	e, err := m.CreateEndpoint(m.Context(), e, 1000)
	require.NoError(m, err)
	return e
}

func (m *memory) emit(n int) []webhook.Event {
	m.Helper()
	var events []webhook.Event
	for range n {
		m.n++
		e := webhook.Event{ID: fmt.Sprintf("evt_%d", m.n), Type: "a", Body: []byte(`{}`)}
		_, err := m.Enqueue(m.Context(), webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{e}})
		require.NoError(m, err)
		events = append(events, e)
	}
	return events
}

func (m *memory) claim(n int) []webhook.Lease {
	m.Helper()
	c, err := m.Claim(m.Context(), webhook.ClaimRequest{Owner: "o", Term: time.Hour, Max: n, MaxSlow: n})
	require.NoError(m, err)
	return c.Leases
}

func (m *memory) finish(kind webhook.OutcomeKind, leases ...webhook.Lease) {
	m.Helper()
	for _, l := range leases {
		o := webhook.Outcome{Tenant: l.Delivery.Tenant, DeliveryID: l.Delivery.ID, Token: l.Token, Kind: kind, Wait: time.Hour}
		applied, err := m.Record(m.Context(), []webhook.Outcome{o})
		require.NoError(m, err)
		require.Equal(m, []bool{true}, applied)
	}
}

func TestMemoryStoreHandsOver(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		m.add("one", webhook.Health{Window: 2})
		m.add("two", webhook.Health{Window: 1})
		req := webhook.EnqueueRequest{Tenant: "t", HandOver: &webhook.HandOver{Owner: "o", Term: time.Minute, Max: 8}}
		for i := range 3 {
			req.Events = append(req.Events, webhook.Event{ID: fmt.Sprint(i), Type: "a"})
		}
		result, err := m.Enqueue(m.Context(), req)
		require.NoError(m, err)
		require.Len(m, result.Leases, 3, "two to the first and one to the second")
		require.True(m, result.Queued)
		require.Equal(m, map[string]int{
			"tenants": 1, "endpoints": 2, "types": 1, "live": 6, "pending": 3, "queued": 3, "leases": 3, "deliveries": 6, "events": 3, "log": 6, "endpoint logs": 6, "named": 1,
			"open": 6, "weighed": 2,
		}, m.Sizes())
		require.Empty(m, m.claim(10))
		m.finish(webhook.OutcomeDelivered, result.Leases...)
		require.Len(m, m.claim(10), 2, "what is left of the window of each")
	})
}

func TestMemoryStoreHandsOverPastARetryThatIsNotDue(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		m.add("e", webhook.Health{})
		m.emit(1)
		m.finish(webhook.OutcomeRetry, m.claim(1)...)
		result, err := m.Enqueue(m.Context(), webhook.EnqueueRequest{
			Tenant: "t", Events: []webhook.Event{{ID: "new", Type: "a"}}, HandOver: &webhook.HandOver{Owner: "o", Term: time.Minute, Max: 1},
		})
		require.NoError(m, err)
		require.Len(m, result.Leases, 1)
		require.False(m, result.Queued)
	})
}

func TestMemoryStoreIsNotBlockedByWhatIsSwitchedOff(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		e := m.add("e", webhook.Health{})
		m.emit(1)
		_, err := m.JudgeEndpoint(m.Context(), "t", e.ID, func(h webhook.Health, _ time.Time) webhook.Health {
			h.State = webhook.EndpointDisabled
			return h
		})
		require.NoError(m, err)
		c, err := m.Claim(m.Context(), webhook.ClaimRequest{Owner: "o", Term: time.Minute, Max: 1, MaxSlow: 1})
		require.NoError(m, err)
		require.Equal(m, webhook.Claimed{Next: -1}, c)
	})
}

func TestMemoryStoreLetsAnOldBacklogExpireInParts(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		m.add("e", webhook.Health{})
		m.emit(2500)
		time.Sleep(time.Hour)
		m.emit(1)
		req := webhook.ClaimRequest{Owner: "o", Term: time.Minute, Max: 5, MaxAge: time.Hour}
		for _, left := range []int{1501, 501} {
			c, err := m.Claim(m.Context(), req)
			require.NoError(m, err)
			require.Equal(m, webhook.Claimed{}, c, "come back at once")
			require.Equal(m, left, m.Sizes()["pending"])
		}
		c, err := m.Claim(m.Context(), req)
		require.NoError(m, err)
		require.Len(m, c.Leases, 1)
	})
}

func TestMemoryStoreSaysWhenToComeBack(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		next := func(maxAge time.Duration, maxSlow int) time.Duration {
			c, err := m.Claim(m.Context(), webhook.ClaimRequest{Owner: "o", Term: time.Minute, Max: 10, MaxSlow: maxSlow, MaxAge: maxAge})
			require.NoError(m, err)
			return c.Next
		}
		require.Negative(m, next(time.Hour, 10), "an empty store")
		m.add("e", webhook.Health{Slow: true})
		m.emit(1)
		require.Negative(m, next(0, 0), "only a slow one is due, and there is no room for it")
		require.Equal(m, time.Hour, next(time.Hour, 0), "it expires")
		require.Equal(m, time.Minute, next(time.Hour, 1), "its lease runs out")
		time.Sleep(time.Minute)
		require.Equal(m, time.Minute, next(time.Hour, 1), "its second lease runs out")
		require.Equal(m, time.Minute, next(math.MinInt64, 0), "a negative MaxAge is none")
		m.emit(2)
		c, err := m.Claim(m.Context(), webhook.ClaimRequest{Owner: "o", Term: time.Minute, Max: 1, MaxSlow: 2})
		require.NoError(m, err)
		require.Zero(m, c.Next, "another slow one is due, and there is room for it")
	})
}

func TestMemoryStoreSurvivesHugeDurations(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		e := m.add("e", webhook.Health{})
		m.emit(2)
		time.Sleep(time.Hour)
		c, err := m.Claim(m.Context(), webhook.ClaimRequest{Owner: "o", Term: math.MaxInt64, Max: 2, MaxAge: math.MaxInt64})
		require.NoError(m, err)
		require.Len(m, c.Leases, 2)
		require.Empty(m, m.claim(1))
		for i, wait := range []time.Duration{math.MaxInt64, math.MinInt64} {
			l := c.Leases[i]
			_, err = m.Record(m.Context(), []webhook.Outcome{{Tenant: "t", DeliveryID: l.Delivery.ID, Token: l.Token, Kind: webhook.OutcomeRetry, Wait: wait}})
			require.NoError(m, err)
		}
		leases := m.claim(2)
		require.Len(m, leases, 1)
		require.Equal(m, c.Leases[1].Delivery.ID, leases[0].Delivery.ID, "a negative wait is none")
		m.finish(webhook.OutcomeReleased, leases...)
		_, err = m.JudgeEndpoint(m.Context(), "t", e.ID, func(h webhook.Health, now time.Time) webhook.Health {
			h.State, h.PausedUntil = webhook.EndpointPaused, now.AddDate(1000, 0, 0)
			return h
		})
		require.NoError(m, err)
		time.Sleep(2 * time.Hour)
		require.Empty(m, m.claim(2))
	})
}

func TestMemoryStoreRefusesOutcomesOfUnknownKind(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		m.add("e", webhook.Health{})
		m.emit(2)
		leases := m.claim(2)
		_, err := m.Record(m.Context(), []webhook.Outcome{
			{Tenant: "t", DeliveryID: leases[0].Delivery.ID, Token: leases[0].Token, Kind: webhook.OutcomeDelivered},
			{Tenant: "t", DeliveryID: leases[1].Delivery.ID, Token: leases[1].Token, Kind: "lost"},
		})
		require.ErrorContains(m, err, `"lost"`)
		m.finish(webhook.OutcomeDelivered, leases...)
	})
}

func TestMemoryStoreKnowsItsOwnCursors(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		m.add("e", webhook.Health{})
		m.emit(2)
		page, err := m.Deliveries(m.Context(), "t", webhook.DeliveryFilter{Limit: 1})
		require.NoError(m, err)
		_, err = webhook.NewMemoryStore(nil).Deliveries(m.Context(), "t", webhook.DeliveryFilter{Cursor: page.NextCursor})
		require.ErrorIs(m, err, webhook.ErrInvalidCursor)
	})
}

func TestMemoryStoreHandsOutCopies(t *testing.T) {
	inMemory(t, nil, func(m *memory) {
		e := webhook.Endpoint{
			ID: "e", Tenant: "t", Events: []string{"*"}, Secrets: []webhook.StoredSecret{{ID: "s", Sealed: []byte("sealed")}},
			Health: webhook.Health{State: webhook.EndpointActive},
		}
		created, err := m.CreateEndpoint(m.Context(), e, 1)
		require.NoError(m, err)
		m.emit(1)
		l := m.claim(1)[0]
		o := webhook.Outcome{Tenant: "t", DeliveryID: l.Delivery.ID, Token: l.Token, Kind: webhook.OutcomeDelivered}
		o.Attempt.ResponseHeader, o.Attempt.ResponseBody = http.Header{"A": {"1"}}, []byte("body")
		_, err = m.Record(m.Context(), []webhook.Outcome{o})
		require.NoError(m, err)

		for range 2 {
			read, err := m.Endpoint(m.Context(), "t", "e")
			require.NoError(m, err)
			list, err := m.Endpoints(m.Context(), "t")
			require.NoError(m, err)
			for _, got := range []webhook.Endpoint{e, created, read, list[0]} {
				got.Events[0], got.Secrets[0].Sealed[0] = "spoiled", 'X'
			}
			d, err := m.Delivery(m.Context(), "t", l.Delivery.ID)
			require.NoError(m, err)
			require.Equal(m, http.Header{"A": {"1"}}, d.Attempts[0].ResponseHeader)
			require.Equal(m, "body", string(d.Attempts[0].ResponseBody))
			d.Attempts[0].ResponseHeader["A"][0], d.Attempts[0].ResponseBody[0] = "spoiled", 'X'
		}
		read, err := m.Endpoint(m.Context(), "t", "e")
		require.NoError(m, err)
		require.Equal(m, []string{"*"}, read.Events)
		require.Equal(m, "sealed", string(read.Secrets[0].Sealed))
		require.Equal(m, []string{"*"}, l.Endpoint.Events)
	})
}

// TestMemoryStoreHandsNothingOutOfADeletedEndpoint claims while the backlog of one fails, which takes many turns.
func TestMemoryStoreHandsNothingOutOfADeletedEndpoint(t *testing.T) {
	t.Parallel()
	m := &memory{T: t, MemoryStore: webhook.NewMemoryStore(nil)}
	e, other := m.add("e", webhook.Health{Window: 1 << 30}), m.add("other", webhook.Health{Window: 1})
	m.emit(40_000)
	deleted := make(chan error)
	go func() { deleted <- m.DeleteEndpoint(context.Background(), "t", e.ID) }()
	for i := 0; ; i++ {
		_, err := m.Endpoint(t.Context(), "t", e.ID)
		gone := err != nil
		for _, l := range m.claim(1) {
			require.True(t, !gone || l.Delivery.EndpointID == other.ID, "claim %d", i)
		}
		select {
		case err := <-deleted:
			require.NoError(t, err)
			page, err := m.Deliveries(t.Context(), "t", webhook.DeliveryFilter{EndpointID: e.ID, State: webhook.DeliveryPending})
			require.NoError(t, err)
			require.Empty(t, page.Deliveries)
			return
		default:
		}
	}
}
