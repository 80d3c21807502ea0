package sqlitestore_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/sqlitestore"
)

func gaps(t *testing.T, s *sqlitestore.Store, e webhook.Endpoint) []webhook.Gap {
	t.Helper()
	list, err := s.Gaps(t.Context(), e.Tenant, e.ID)
	require.NoError(t, err)
	return list
}

// bounded claims with a bound, and returns which endpoints were named.
func bounded(t *testing.T, s *sqlitestore.Store, bound, n int) ([]webhook.Lease, []webhook.EndpointRef) {
	t.Helper()
	c, err := s.Claim(t.Context(), webhook.ClaimRequest{Owner: "one", Term: time.Hour, Max: n, MaxSlow: n, MaxPending: bound})
	require.NoError(t, err)
	return c.Leases, c.Backlogged
}

// TestABacklogIsBoundedToTheEvent has no claim come to Enqueue's help, within a request and over several.
func TestABacklogIsBoundedToTheEvent(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path)
	e := endpoint(t, s, "t", "we_1")
	twin := endpoint(t, s, "t", "we_2")
	for _, step := range []struct{ events, missed int }{{6, 0}, {10, 6}, {1, 7}} {
		list := events(step.events)
		for range 2 { // the same events again change nothing
			result, err := s.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: list, MaxPending: 10})
			require.NoError(t, err)
			if step.missed == 6 && len(result.Backlogged) > 0 {
				require.ElementsMatch(t, []webhook.EndpointRef{{Tenant: "t", ID: "we_1"}, {Tenant: "t", ID: "we_2"}}, result.Backlogged)
			} else {
				require.Empty(t, result.Backlogged)
			}
		}
		for _, e := range []webhook.Endpoint{e, twin} {
			list := gaps(t, s, e)
			if step.missed == 0 {
				require.Empty(t, list)
				continue
			}
			require.Len(t, list, 1)
			require.Equal(t, webhook.GapBacklog, list[0].Reason)
			require.EqualValues(t, step.missed, list[0].Count)
		}
	}
	require.Equal(t, 20, count(t, path, "webhook_deliveries"))
	requireInvariants(t, path) // events that nobody gets are idle
	require.Equal(t, 7, prune(t, s, webhook.PruneRequest{Deliveries: 1}).Events)
}

// TestABacklogEndsWithoutAClaim looks at the gap right after what made room.
func TestABacklogEndsWithoutAClaim(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, s *sqlitestore.Store, l webhook.Lease){
		"an outcome": func(t *testing.T, s *sqlitestore.Store, l webhook.Lease) { record(t, s, delivered(l)) },
		"erasing": func(t *testing.T, s *sqlitestore.Store, l webhook.Lease) {
			record(t, s, retry(l, 0))
			require.NoError(t, s.EraseDelivery(t.Context(), "t", l.Delivery.ID))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := file(t)
			s := open(t, path)
			e := endpoint(t, s, "t", "we_1")
			_, err := s.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: events(12), MaxPending: 11})
			require.NoError(t, err)
			leases, _ := bounded(t, s, 11, 2)
			end(t, s, leases[0])
			require.True(t, gaps(t, s, e)[0].To.IsZero(), "it ended with 10 of 11 left")
			end(t, s, leases[1])
			require.False(t, gaps(t, s, e)[0].To.IsZero(), "it is open with 9 of 11 left")
			result, err := s.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: events(1), MaxPending: 11})
			require.NoError(t, err)
			require.True(t, result.Queued)
			requireInvariants(t, path)
		})
	}
}

// TestWhatMakesRoomAndWhatTakesItInOneTransaction has an outcome, an event and a claim share one.
func TestWhatMakesRoomAndWhatTakesItInOneTransaction(t *testing.T) {
	t.Parallel()
	path := file(t)
	s, db := open(t, path), pool(t, path, "busy_timeout(5000)")
	s.SetMaxTime(time.Hour)
	e := endpoint(t, s, "t", "we_1")
	req := webhook.EnqueueRequest{Tenant: "t", Events: events(11), MaxPending: 10}
	_, err := s.Enqueue(t.Context(), req)
	require.NoError(t, err)
	leases, _ := bounded(t, s, 10, 1)
	var named [2][]webhook.EndpointRef
	calls := []func() error{func() error {
		_, err := s.Record(t.Context(), []webhook.Outcome{delivered(leases[0])})
		return err
	}}
	for i := range named {
		calls = append(calls, func() error {
			result, err := s.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: events(1 + i), MaxPending: 10})
			named[i] = result.Backlogged
			return err
		})
	}
	for _, err := range crowd(t, s, db, calls...) {
		require.NoError(t, err)
	}
	require.Empty(t, named[0], "the outcome made no room for an event in the same transaction")
	require.Equal(t, []webhook.EndpointRef{{Tenant: "t", ID: "we_1"}}, named[1])
	list := gaps(t, s, e)
	require.Len(t, list, 2)
	require.EqualValues(t, 2, list[0].Count)
	require.True(t, list[0].To.IsZero())
	require.EqualValues(t, 1, list[1].Count)
	require.Equal(t, list[0].From, list[1].To, "they did not share a transaction")
	requireInvariants(t, path)
}

// TestABoundThatChanges has dispatchers claim with other bounds than the one that a gap was opened for.
func TestABoundThatChanges(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path)
	e := endpoint(t, s, "t", "we_1", func(e *webhook.Endpoint) { e.Health.Window = 1 })
	other := endpoint(t, s, "u", "we_1")
	emit(t, s, "t", events(12)...)
	emit(t, s, "u", events(9)...)
	ref := []webhook.EndpointRef{{Tenant: "t", ID: "we_1"}}
	for _, step := range []struct {
		bound  int
		opened bool
		open   bool
	}{{13, false, false}, {12, true, true}, {5, false, true}, {13, false, true}, {14, false, false}, {10, true, true}, {0, false, false}} {
		req := webhook.ClaimRequest{Owner: "one", Term: time.Hour, MaxPending: step.bound, Skip: append(ref, webhook.EndpointRef{Tenant: "u", ID: "we_1"})}
		if step.bound == 5 {
			req.Skip = ref
		}
		c, err := s.Claim(t.Context(), req)
		require.NoError(t, err)
		if step.bound == 5 {
			require.Equal(t, []webhook.EndpointRef{{Tenant: "u", ID: "we_1"}}, c.Backlogged, "the bound of 5 is for all")
		} else {
			require.Equal(t, step.opened, len(c.Backlogged) == 1, "bound %d", step.bound)
		}
		list := gaps(t, s, e)
		require.Equal(t, step.open, len(list) == 1 && list[0].To.IsZero(), "bound %d", step.bound)
		requireInvariants(t, path)
	}
	require.Empty(t, gaps(t, s, other), "nothing was missed")

	// Without a bound a gap that is open counts all the same.
	bounded(t, s, 12, 0)
	emit(t, s, "t", events(1)...)
	require.EqualValues(t, 1, gaps(t, s, e)[0].Count)
}

func TestADeletedEndpointHasNoBacklog(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path)
	e := endpoint(t, s, "t", "we_1")
	emit(t, s, "t", events(4)...)
	leases, named := bounded(t, s, 4, 3)
	require.Len(t, named, 1)
	require.NoError(t, s.DeleteEndpoint(t.Context(), "t", "we_1"))
	_, named = bounded(t, s, 3, 3)
	require.Empty(t, named, "3 deliveries of it are leased still")
	require.Empty(t, gaps(t, s, e))
	requireInvariants(t, path)
	record(t, s, retry(leases[0], 0), retry(leases[1], 0), delivered(leases[2]))
	requireInvariants(t, path)
}

// TestABacklogInTheCallersTransaction is bounded by the next claim, which tells of it: the transaction may be rolled
// back. Once its gap is open it counts what the caller's transactions bring.
func TestABacklogInTheCallersTransaction(t *testing.T) {
	t.Parallel()
	path := file(t)
	s, db := single(t, path)
	e := endpoint(t, s, "t", "we_1")
	emitted := func(n int, end func(*sql.Tx) error) {
		tx, err := db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		result, err := s.Tx(tx).Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: events(n), MaxPending: 4})
		require.NoError(t, err)
		require.Empty(t, result.Backlogged)
		require.NoError(t, end(tx))
	}
	emitted(5, (*sql.Tx).Rollback)
	_, told := bounded(t, s, 4, 0)
	require.Empty(t, told)
	emitted(5, (*sql.Tx).Commit)
	require.Empty(t, gaps(t, s, e))
	_, told = bounded(t, s, 4, 0)
	require.Equal(t, []webhook.EndpointRef{{Tenant: "t", ID: "we_1"}}, told)
	emitted(2, (*sql.Tx).Rollback)
	emitted(3, (*sql.Tx).Commit)
	require.EqualValues(t, 3, gaps(t, s, e)[0].Count)
	require.Len(t, claim(t, s, 10), 5)
	requireInvariants(t, path)
}

// TestAGapThatClosesInTheTransactionThatMissesAnEvent counts the event first, for a backlog and for a state.
func TestAGapThatClosesInTheTransactionThatMissesAnEvent(t *testing.T) {
	t.Parallel()
	path := file(t)
	s, db := open(t, path), pool(t, path, "busy_timeout(5000)")
	s.SetMaxTime(time.Hour)
	full := endpoint(t, s, "t", "we_1")
	off := endpoint(t, s, "t", "we_2", func(e *webhook.Endpoint) { e.Health.State = webhook.EndpointDisabled })
	req := webhook.EnqueueRequest{Tenant: "t", Events: events(10), MaxPending: 10}
	_, err := s.Enqueue(t.Context(), req)
	require.NoError(t, err)
	leases, _ := bounded(t, s, 10, 1)
	for _, err := range crowd(t, s, db, func() error {
		_, err := s.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: events(2), MaxPending: 10})
		return err
	}, func() error {
		_, err := s.Record(t.Context(), []webhook.Outcome{delivered(leases[0])})
		return err
	}, func() error {
		_, err := s.JudgeEndpoint(t.Context(), "t", "we_2", func(h webhook.Health, _ time.Time) webhook.Health {
			h.State = webhook.EndpointActive
			return h
		})
		return err
	}) {
		require.NoError(t, err)
	}
	for e, missed := range map[string]int64{full.ID: 2, off.ID: 12} {
		list := gaps(t, s, webhook.Endpoint{Tenant: "t", ID: e})
		require.Len(t, list, 1, e)
		require.Equal(t, missed, list[0].Count, e)
		require.False(t, list[0].To.IsZero(), e)
	}
	requireInvariants(t, path)
}

func TestGapsHasAnEnd(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path)
	e := endpoint(t, s, "t", "we_1")
	execute(t, pool(t, path), `WITH RECURSIVE i (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < 1005)
		INSERT INTO webhook_gaps (endpoint, reason, opened_at, closed_at, missed) SELECT key, 'disabled', n, n + 1, n FROM i, webhook_endpoints`)
	all := gaps(t, s, e)
	require.Len(t, all, 1000)
	require.EqualValues(t, 1005, all[0].Count)
	require.EqualValues(t, 6, all[999].Count)
}
