package sqlitestore_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/sqlitestore"
)

// prune calls until there is no more.
func prune(t *testing.T, s *sqlitestore.Store, req webhook.PruneRequest) (sum webhook.PruneResult) {
	t.Helper()
	for range 10_000 {
		r, err := s.Prune(t.Context(), req)
		require.NoError(t, err)
		sum.Deliveries, sum.Events, sum.Bodies = sum.Deliveries+r.Deliveries, sum.Events+r.Events, sum.Bodies+r.Bodies
		if !r.More {
			return sum
		}
	}
	t.Fatal("there is always more")
	return sum
}

func count(t *testing.T, path, table string) int {
	t.Helper()
	return query[int](t, pool(t, path), "SELECT count(*) FROM "+table)
}

func TestPruneRemovesWhatHasFinished(t *testing.T) {
	t.Parallel()
	for _, max := range []int{0, 1, 7, 10_000} {
		path := file(t)
		s := open(t, path)
		endpoint(t, s, "t", "we_1")
		off := endpoint(t, s, "t", "we_off", func(e *webhook.Endpoint) { e.Health.State = webhook.EndpointDisabled })
		emit(t, s, "t", events(20)...)
		emit(t, s, "nobody", events(5)...) // which never have a delivery
		leases := claim(t, s, 12)
		require.Len(t, leases, 12)
		for i, l := range leases[:10] {
			if i%2 == 0 {
				record(t, s, retry(l, 0))
			} else {
				record(t, s, delivered(l))
			}
		}
		_, err := s.JudgeEndpoint(t.Context(), "t", off.ID, func(h webhook.Health, _ time.Time) webhook.Health {
			h.State = webhook.EndpointActive
			return h
		})
		require.NoError(t, err)

		require.Zero(t, prune(t, s, webhook.PruneRequest{Deliveries: time.Hour, Bodies: time.Hour, Max: max}))
		require.Zero(t, prune(t, s, webhook.PruneRequest{Max: max}), "an age of 0 is no limit")
		require.Equal(t, 10, count(t, path, "webhook_attempts"))
		sum := prune(t, s, webhook.PruneRequest{Deliveries: 1, Max: max})
		require.Equal(t, webhook.PruneResult{Deliveries: 5, Events: 10}, sum, "max %d", max)
		require.Equal(t, 15, count(t, path, "webhook_deliveries"))
		require.Equal(t, 15, count(t, path, "webhook_events"))
		require.Equal(t, 5, count(t, path, "webhook_attempts"))
		require.Zero(t, count(t, path, "webhook_gaps"))

		_, err = s.Event(t.Context(), "t", leases[1].Event.ID)
		require.ErrorIs(t, err, webhook.ErrNotFound)
		emit(t, s, "t", happened.New("", "another", webhook.WithID(leases[1].Event.ID))) // its id is unknown
		// Two were leased all the time, and are as they were.
		record(t, s, delivered(leases[10]), delivered(leases[11]))
		require.Len(t, claim(t, s, 100), 8+5+2)
	}
}

func TestPruneIsBounded(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path)
	endpoint(t, s, "t", "we_1", func(e *webhook.Endpoint) { e.Health.Window = 10_000 })
	emit(t, s, "t", events(1500)...)
	var outcomes []webhook.Outcome
	for _, l := range claim(t, s, 1500) {
		outcomes = append(outcomes, delivered(l))
	}
	record(t, s, outcomes...)
	r, err := s.Prune(t.Context(), webhook.PruneRequest{Deliveries: 1, Max: 50})
	require.NoError(t, err)
	require.True(t, r.More)
	require.InDelta(t, 50, r.Deliveries+r.Events, 30)
}

func TestPruneRemovesContents(t *testing.T) {
	t.Parallel()
	for _, max := range []int{0, 1, 3} {
		path := file(t)
		s := open(t, path)
		e := endpoint(t, s, "t", "we_1")
		list := events(12)
		for i := range list {
			list[i] = happened.New("", i, webhook.WithID(fmt.Sprint("evt_", i)), webhook.WithMetadata(map[string]string{"a": "b"}))
		}
		emit(t, s, "t", list...)
		leases := claim(t, s, 9)
		for i, l := range leases[:6] {
			if i%2 == 0 {
				record(t, s, delivered(l))
			} else {
				record(t, s, retry(l, time.Hour))
			}
		}
		sum := prune(t, s, webhook.PruneRequest{Bodies: 1, Max: max})
		require.Equal(t, webhook.PruneResult{Bodies: 3}, sum, "max %d", max)
		for i := range list {
			got, err := s.Event(t.Context(), "t", list[i].ID)
			require.NoError(t, err)
			gone := i < 6 && i%2 == 0
			require.Equal(t, gone, got.Body == nil && got.Metadata == nil, "event %d", i)
			if gone {
				d := delivery(t, s, leases[i])
				require.Len(t, d.Attempts, 1)
				a := d.Attempts[0]
				require.True(t, a.RequestHeader == nil && a.ResponseHeader == nil && a.ResponseBody == nil && a.Status == 200)
			}
		}
		require.NotNil(t, delivery(t, s, leases[1]).Attempts[0].ResponseBody)

		// The digest outlives the body.
		emit(t, s, "t", list[0])
		_, err := s.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{happened.New("", "other", webhook.WithID("evt_0"))}})
		require.ErrorIs(t, err, webhook.ErrConflict)
		direct := &webhook.Direct{EndpointID: e.ID, Kind: webhook.KindRedelivery, RedeliveryOf: leases[0].Delivery.ID, Owner: "one", Term: time.Hour}
		before := count(t, path, "webhook_events")
		_, err = s.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: append(events(1), list[0]), Direct: direct})
		require.ErrorIs(t, err, webhook.ErrBodyPruned)
		require.Equal(t, before, count(t, path, "webhook_events"))

		// What was passed over has its time later.
		record(t, s, delivered(leases[6]), delivered(leases[7]), delivered(leases[8]))
		require.Equal(t, webhook.PruneResult{Bodies: 3}, prune(t, s, webhook.PruneRequest{Bodies: 1, Max: max}))
	}
}

func TestARedeliveryKeepsTheContents(t *testing.T) {
	t.Parallel()
	s := open(t, file(t))
	e := endpoint(t, s, "t", "we_1")
	first := happened.New("", 1, webhook.WithID("evt_1"), webhook.WithTime(time.Unix(1e9, 0)))
	list := []webhook.Event{happened.New("", 1, webhook.WithID("evt_1"))} // the same one, made again
	emit(t, s, "t", first)
	l := claim(t, s, 1)[0]
	record(t, s, delivered(l))
	direct := &webhook.Direct{EndpointID: e.ID, Kind: webhook.KindRedelivery, RedeliveryOf: l.Delivery.ID, Owner: "one", Term: time.Hour}
	result, err := s.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: list, Direct: direct})
	require.NoError(t, err)
	require.Equal(t, first.Body, result.Leases[0].Event.Body, "the first one's body does not stand")
	require.Zero(t, prune(t, s, webhook.PruneRequest{Bodies: 1}))
	require.Equal(t, webhook.PruneResult{Deliveries: 1}, prune(t, s, webhook.PruneRequest{Deliveries: 1, Bodies: 1}), "the event is needed")
	record(t, s, delivered(result.Leases[0]))
	require.Equal(t, webhook.PruneResult{Deliveries: 1, Events: 1}, prune(t, s, webhook.PruneRequest{Deliveries: 1}))
}

func TestAnEventOfNobodysThatIsSentByHand(t *testing.T) {
	t.Parallel()
	s := open(t, file(t))
	list := events(1)
	emit(t, s, "t", list...)
	e := endpoint(t, s, "t", "we_1")
	direct := &webhook.Direct{EndpointID: e.ID, Kind: webhook.KindTest, Owner: "one", Term: time.Hour}
	_, err := s.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: list, Direct: direct})
	require.NoError(t, err)
	require.Zero(t, prune(t, s, webhook.PruneRequest{Deliveries: 1}), "it has a delivery now")
}

func TestEraseDelivery(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path)
	for i := range 4 {
		endpoint(t, s, "t", fmt.Sprint("we_", i), func(e *webhook.Endpoint) { e.Health.Window = 1 })
	}
	gone, stays := events(1)[0], events(1)[0]
	emit(t, s, "t", gone)
	leases := claim(t, s, 3) // one delivery stays pending
	require.Len(t, leases, 3)
	record(t, s, retry(leases[0], 0))
	emit(t, s, "t", stays)
	for _, tenant := range []string{"", "u"} {
		require.ErrorIs(t, s.EraseDelivery(t.Context(), tenant, leases[0].Delivery.ID), webhook.ErrNotFound)
	}
	require.ErrorIs(t, s.EraseDelivery(t.Context(), "t", "dlv_unknown"), webhook.ErrNotFound)
	require.NoError(t, s.EraseDelivery(t.Context(), "t", leases[0].Delivery.ID))

	page, err := s.Deliveries(t.Context(), "t", webhook.DeliveryFilter{EventID: gone.ID, State: webhook.DeliveryFailed})
	require.NoError(t, err)
	require.Len(t, page.Deliveries, 2, "the pending ones")
	for _, d := range page.Deliveries {
		require.Equal(t, webhook.FailErased, d.Reason)
		require.True(t, d.NextAttemptAt.IsZero() && !d.FinishedAt.IsZero())
	}
	require.Nil(t, delivery(t, s, leases[0]).Attempts[0].ResponseBody)
	e, err := s.Event(t.Context(), "t", gone.ID)
	require.NoError(t, err)
	require.Nil(t, e.Body)

	record(t, s, retry(leases[1], 0), delivered(leases[2]))
	d := delivery(t, s, leases[1])
	require.Equal(t, [2]any{webhook.DeliveryFailed, webhook.FailErased}, [2]any{d.State, d.Reason})
	for _, l := range leases[1:] {
		a := delivery(t, s, l).Attempts[0]
		require.True(t, a.RequestHeader == nil && a.ResponseHeader == nil && a.ResponseBody == nil, "what an outcome brought was stored")
	}
	require.Equal(t, webhook.DeliverySucceeded, delivery(t, s, leases[2]).State)
	rest := claim(t, s, 100)
	require.Len(t, rest, 4)
	for _, l := range rest {
		require.Equal(t, stays.ID, l.Event.ID)
	}
	requireInvariants(t, path)
}

// TestALostLeaseOfAnErasedEvent ends with the term and not with an outcome.
func TestALostLeaseOfAnErasedEvent(t *testing.T) {
	t.Parallel()
	s := open(t, file(t))
	endpoint(t, s, "t", "we_1")
	emit(t, s, "t", events(1)...)
	c, err := s.Claim(t.Context(), webhook.ClaimRequest{Owner: "one", Term: time.Millisecond, Max: 1})
	require.NoError(t, err)
	require.NoError(t, s.EraseDelivery(t.Context(), "t", c.Leases[0].Delivery.ID))
	require.Eventually(t, func() bool {
		require.Empty(t, claim(t, s, 10))
		return delivery(t, s, c.Leases[0]).Reason == webhook.FailErased
	}, 10*time.Second, time.Millisecond)
}

func TestEraseTenant(t *testing.T) {
	t.Parallel()
	for _, max := range []int{0, 1, 5, 10_000} {
		path := file(t)
		s := open(t, path)
		for _, tenant := range []string{"t", "u"} {
			for i := range 3 {
				endpoint(t, s, tenant, fmt.Sprint("we_", i))
			}
			endpoint(t, s, tenant, "we_off", func(e *webhook.Endpoint) { e.Health.State = webhook.EndpointDisabled })
			old := endpoint(t, s, tenant, "we_old")
			emit(t, s, tenant, events(6)...)
			require.NoError(t, s.DeleteEndpoint(t.Context(), tenant, old.ID))
		}
		leases := claim(t, s, 20)
		var of []webhook.Lease
		for i, l := range leases {
			switch {
			case l.Delivery.Tenant == "t":
				of = append(of, l)
			case i%3 == 0:
				record(t, s, delivered(l))
			}
		}
		record(t, s, retry(of[0], 0))
		more, err := s.EraseTenant(t.Context(), "t", max)
		require.NoError(t, err)
		list, err := s.Endpoints(t.Context(), "t")
		require.NoError(t, err)
		require.Less(t, len(list), 4, "the endpoints do not go first")
		for _, l := range claim(t, s, 100) {
			if l.Delivery.Tenant == "t" {
				require.True(t, slices.ContainsFunc(list, func(e webhook.Endpoint) bool { return e.ID == l.Endpoint.ID }), "a deleted endpoint is served")
			}
		}
		for range 1000 {
			if !more {
				break
			}
			more, err = s.EraseTenant(t.Context(), "t", max)
			require.NoError(t, err)
			require.Zero(t, query[int](t, pool(t, path), `SELECT count(*) FROM webhook_lanes l
				WHERE pending <> (SELECT count(*) FROM webhook_deliveries WHERE endpoint = l.endpoint AND finished_at IS NULL)
				OR leases <> (SELECT count(*) FROM webhook_deliveries WHERE endpoint = l.endpoint AND state = 'leased')
				OR oldest_at IS NOT (SELECT min(created_at) FROM webhook_deliveries WHERE endpoint = l.endpoint AND state = 'pending')`), "lanes of what is half erased")
		}
		require.False(t, more)
		applied, err := s.Record(t.Context(), []webhook.Outcome{delivered(of[1]), delivered(of[2])})
		require.NoError(t, err)
		require.Equal(t, []bool{false, false}, applied)
		db := pool(t, path)
		for _, table := range []string{"webhook_endpoints", "webhook_subscriptions", "webhook_events", "webhook_deliveries"} {
			require.Zero(t, query[int](t, db, "SELECT count(*) FROM "+table+" WHERE tenant = 't'"), table)
			require.NotZero(t, query[int](t, db, "SELECT count(*) FROM "+table+" WHERE tenant = 'u'"), table)
		}
		require.Equal(t, 5, count(t, path, "webhook_lanes"))
		require.Equal(t, 1, count(t, path, "webhook_gaps"))
		require.Zero(t, query[int](t, db, "SELECT count(*) FROM webhook_attempts WHERE delivery NOT IN (SELECT key FROM webhook_deliveries)"))
		requireInvariants(t, path)
		gaps, err := s.Gaps(t.Context(), "t", "we_off")
		require.NoError(t, err)
		require.Empty(t, gaps)
		endpoint(t, s, "t", "we_0") // all is forgotten, its ids too
		emit(t, s, "t", events(1)...)
		require.NotEmpty(t, claim(t, s, 100))
	}
}

func TestTenants(t *testing.T) {
	t.Parallel()
	s := open(t, file(t))
	names := func(after *string, max int) []string {
		list, err := s.Tenants(t.Context(), after, max)
		require.NoError(t, err)
		return list
	}
	require.Empty(t, names(nil, 10))
	for _, tenant := range []string{"b", "", "a", "B", "ä", "\U0001F642", "\uffee", "a ", "aa"} {
		endpoint(t, s, tenant, "we_1")
		endpoint(t, s, tenant, "we_2")
	}
	endpoint(t, s, "gone", "we_1")
	require.NoError(t, s.DeleteEndpoint(t.Context(), "gone", "we_1"))
	emit(t, s, "events only", events(1)...)
	all := []string{"", "B", "a", "a ", "aa", "b", "ä", "\uffee", "\U0001F642"}
	require.Equal(t, all, names(nil, 100))
	require.Equal(t, all[:1], names(nil, 1))
	require.Equal(t, all[:4], names(nil, 4))
	require.Empty(t, names(nil, 0))
	for i := range all {
		require.Equal(t, all[i+1:], append([]string{}, names(&all[i], 100)...), "after %q", all[i])
	}
	between := "aZ"
	require.Equal(t, []string{"aa", "b"}, names(&between, 2))
}
