package sqlitestore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/sqlitestore"
)

// replay starts a replay of all that the endpoint did not get.
func replay(t testing.TB, s *sqlitestore.Store, e webhook.Endpoint, id string) webhook.Replay {
	t.Helper()
	r, err := s.CreateReplay(t.Context(), webhook.Replay{ID: id, Tenant: e.Tenant, EndpointID: e.ID, Failed: true, Missed: true, AskedBy: "ops"})
	require.NoError(t, err)
	return r
}

func step(t testing.TB, s *sqlitestore.Store, most, pending int) webhook.ReplayStepped {
	t.Helper()
	stepped, err := s.ContinueReplay(t.Context(), webhook.ReplayStep{Max: most, Pending: pending})
	require.NoError(t, err)
	return stepped
}

// latest is the endpoint's newest replay.
func latest(t testing.TB, s *sqlitestore.Store, e webhook.Endpoint) webhook.Replay {
	t.Helper()
	list, err := s.Replays(t.Context(), e.Tenant, e.ID)
	require.NoError(t, err)
	require.NotEmpty(t, list)
	return list[0]
}

// turn brings the endpoint into a state.
func turn(t testing.TB, s *sqlitestore.Store, e webhook.Endpoint, state webhook.EndpointState) {
	t.Helper()
	_, err := s.JudgeEndpoint(t.Context(), e.Tenant, e.ID, func(h webhook.Health, _ time.Time) webhook.Health {
		h.State = state
		return h
	})
	require.NoError(t, err)
}

// miss lets the endpoint miss events, which are stored at the same moment.
func miss(t testing.TB, s *sqlitestore.Store, e webhook.Endpoint, n int) {
	t.Helper()
	turn(t, s, e, webhook.EndpointDisabled)
	emit(t, s, e.Tenant, events(n)...)
	turn(t, s, e, webhook.EndpointActive)
}

// replayed are the ids of the events that were queued again, as they were queued.
func replayed(t testing.TB, path string) (ids []string) {
	t.Helper()
	rows, err := pool(t, path).QueryContext(t.Context(), `SELECT e.id FROM webhook_deliveries d JOIN webhook_events e ON e.key = d.event WHERE kind = 'redelivery' ORDER BY d.created_at`)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var id string
		require.NoError(t, rows.Scan(&id))
		ids = append(ids, id)
	}
	require.NoError(t, rows.Err())
	return ids
}

// TestWhatIsMissedAsAGapOpensAndCloses looks for events that were stored in the very moment.
func TestWhatIsMissedAsAGapOpensAndCloses(t *testing.T) {
	t.Parallel()
	path := file(t)
	s, db := open(t, path), pool(t, path, "busy_timeout(5000)")
	e := endpoint(t, s, "t", "we_1")
	list := events(15)
	enqueue := func(list []webhook.Event) func() error {
		return func() error {
			_, err := s.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: list, MaxPending: 10})
			return err
		}
	}
	require.NoError(t, enqueue(list[:12])()) // the last 2 open the gap
	leases, _ := bounded(t, s, 10, 10)
	require.Len(t, leases, 10)
	for _, err := range crowd(t, s, db,
		enqueue(list[12:13]),
		func() error {
			_, err := s.Record(t.Context(), []webhook.Outcome{delivered(leases[0]), delivered(leases[1])})
			return err
		},
		enqueue(list[13:14]), // which is queued
	) {
		require.NoError(t, err)
	}
	for _, l := range leases[2:] {
		record(t, s, delivered(l))
	}
	require.NoError(t, enqueue(list[14:])())
	gap := gaps(t, s, e)
	require.Len(t, gap, 1)
	require.EqualValues(t, 3, gap[0].Count)
	require.Equal(t, gap[0].To.UnixMicro(), query[int64](t, db, "SELECT stored_at FROM webhook_events WHERE id = ?", list[12].ID), "they did not share a transaction")
	replay(t, s, e, "rpl_1")
	for range list { // so that each is looked for among the gaps by itself
		require.True(t, step(t, s, 1, 100).Stepped)
	}
	require.Equal(t, []string{list[10].ID, list[11].ID, list[12].ID}, replayed(t, path))
	requireInvariants(t, path)
}

// TestAReplayOutlivesItsProcess goes on in another one, and in two at once.
func TestAReplayOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	path := file(t)
	first, err := sqlitestore.Open(t.Context(), path, nil)
	require.NoError(t, err)
	e := endpoint(t, first, "t", "we_1")
	miss(t, first, e, 30)
	want := replay(t, first, e, "rpl_1")
	step(t, first, 7, 100)
	require.NoError(t, first.Close())

	second, third := open(t, path), open(t, path)
	inParallel(t, 2, 2, func(i int) error {
		for range 100 {
			stepped, err := []*sqlitestore.Store{second, third}[i].ContinueReplay(t.Context(), webhook.ReplayStep{Max: 1, Pending: 100})
			if err != nil || !stepped.Stepped {
				return err
			}
		}
		return errors.New("there is a step to take again and again")
	})
	r := latest(t, third, e)
	want.State, want.FinishedAt, want.Reached, want.Looked, want.Queued = webhook.ReplayDone, r.FinishedAt, want.Until, 30, 30
	require.Equal(t, want, r)
	require.Len(t, replayed(t, path), 30)
	requireInvariants(t, path)
}

func TestReplaysGoWithTheirTime(t *testing.T) {
	t.Parallel()
	path := file(t)
	s, db := open(t, path), pool(t, path, "busy_timeout(5000)")
	e, off := endpoint(t, s, "t", "we_1"), endpoint(t, s, "t", "we_off", func(e *webhook.Endpoint) { e.Health.State = webhook.EndpointDisabled })
	for i := range 4 {
		replay(t, s, e, fmt.Sprint("rpl_", i))
		if i%2 == 0 {
			require.True(t, step(t, s, 1, 1).Stepped)
		} else if i == 1 {
			_, err := s.StopReplay(t.Context(), "t", "rpl_1")
			require.NoError(t, err)
		}
	}
	replay(t, s, off, "rpl_off")
	execute(t, db, "UPDATE webhook_replays SET created_at = created_at - 7200000000, until = until - 7200000000, reached_at = reached_at - 7200000000")
	execute(t, db, "UPDATE webhook_replays SET finished_at = finished_at - 3600000000 WHERE id <> 'rpl_2'")
	prune(t, s, webhook.PruneRequest{Bodies: 1, Deliveries: 2 * time.Hour})
	require.Equal(t, 5, count(t, path, "webhook_replays"))
	r, err := s.Prune(t.Context(), webhook.PruneRequest{Deliveries: time.Hour, Max: 1})
	require.NoError(t, err)
	require.True(t, r.More)
	require.Equal(t, 4, count(t, path, "webhook_replays"))
	prune(t, s, webhook.PruneRequest{Deliveries: time.Hour})
	require.Equal(t, "rpl_2 rpl_3 rpl_off", query[string](t, db, "SELECT group_concat(id, ' ' ORDER BY id) FROM webhook_replays"), "those that ended an hour ago are gone, and no other")

	require.NoError(t, s.DeleteEndpoint(t.Context(), "t", "we_off"))
	stopped := latest(t, s, off)
	require.Equal(t, webhook.ReplayStopped, stopped.State)
	require.False(t, stopped.FinishedAt.IsZero())
	require.Equal(t, webhook.ReplayRunning, latest(t, s, e).State)
	requireInvariants(t, path)
}

func TestEraseTenantErasesItsReplays(t *testing.T) {
	t.Parallel()
	for _, most := range []int{0, 1} {
		path := file(t)
		s := open(t, path)
		for _, tenant := range []string{"t", "u"} {
			for i := range 3 {
				e := endpoint(t, s, tenant, fmt.Sprint("we_", i))
				replay(t, s, e, fmt.Sprint("rpl_", i))
				_, err := s.StopReplay(t.Context(), tenant, fmt.Sprint("rpl_", i))
				require.NoError(t, err)
				replay(t, s, e, fmt.Sprint("rpl_again_", i))
			}
		}
		for more := true; more; {
			var err error
			more, err = s.EraseTenant(t.Context(), "t", most)
			require.NoError(t, err)
			requireInvariants(t, path)
		}
		db := pool(t, path)
		require.Zero(t, query[int](t, db, "SELECT count(*) FROM webhook_replays WHERE tenant = 't'"))
		require.Equal(t, 6, query[int](t, db, "SELECT count(*) FROM webhook_replays WHERE tenant = 'u'"))
		_, err := s.StopReplay(t.Context(), "t", "rpl_again_0")
		require.ErrorIs(t, err, webhook.ErrNotFound)
	}
}

// TestWhatIsQueuedDirectly waits with all else, and is no lease.
func TestWhatIsQueuedDirectly(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path)
	off := func(e *webhook.Endpoint) { e.Health.State = webhook.EndpointDisabled }
	e := endpoint(t, s, "t", "we_1", off)
	list := events(2)
	emit(t, s, "t", list[0]) // which nobody gets
	for range 2 {
		result, err := s.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: list, Direct: &webhook.Direct{
			EndpointID: "we_1", Kind: webhook.KindRedelivery, AskedBy: "ops", Queued: true, Owner: "one", Term: time.Nanosecond,
		}})
		require.NoError(t, err)
		require.Equal(t, webhook.EnqueueResult{Queued: true}, result)
		requireInvariants(t, path)
	}
	require.Empty(t, claim(t, s, 10))
	turn(t, s, e, webhook.EndpointActive)
	leases := claim(t, s, 10)
	require.Len(t, leases, 4)
	for i, l := range leases {
		require.Equal(t, list[i%2].ID, l.Event.ID)
		require.Equal(t, [3]any{webhook.KindRedelivery, "ops", 1}, [3]any{l.Delivery.Kind, l.Delivery.AskedBy, l.Delivery.AttemptCount})
	}
}

// TestAnEventForOneIsMissedByNoOther has an endpoint miss events while others are sent pings and tests.
func TestAnEventForOneIsMissedByNoOther(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path)
	e := endpoint(t, s, "t", "we_1", func(e *webhook.Endpoint) { e.Health.State = webhook.EndpointDisabled })
	other := endpoint(t, s, "t", "we_2", func(e *webhook.Endpoint) { e.Events = []string{"test.other"} })
	list := events(4)
	direct := func(e webhook.Endpoint, i int, queued bool) {
		result, err := s.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: list[i : i+1], Direct: &webhook.Direct{
			EndpointID: e.ID, Kind: webhook.KindTest, Owner: "one", Term: time.Hour, Queued: queued,
		}})
		require.NoError(t, err)
		for _, l := range result.Leases {
			record(t, s, delivered(l))
		}
	}
	direct(other, 0, false)
	direct(e, 1, true)
	emit(t, s, "t", list[2:]...)
	direct(other, 2, false) // an event that was missed stays so
	direct(e, 3, false)
	turn(t, s, e, webhook.EndpointActive)
	replay(t, s, e, "rpl_1")
	step(t, s, 100, 100)
	require.Equal(t, []string{list[2].ID, list[3].ID}, replayed(t, path))
	requireInvariants(t, path)
}

// asked is a context that says when somebody first asks it whether it has ended.
type asked struct {
	context.Context
	once func()
}

func (c asked) Err() error {
	c.once()
	return c.Context.Err()
}

// TestWhatWaitedForTheLockIsStoredAsOfThen begins a transaction that is not IMMEDIATE while another one is under way:
// what it writes comes after all that the other one wrote, for a replay that has come that far as well.
func TestWhatWaitedForTheLockIsStoredAsOfThen(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path)
	locks := pool(t, path, durable...)
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(20000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })

	other, err := locks.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	under := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		_, err := s.Tx(tx).Enqueue(asked{t.Context(), sync.OnceFunc(func() { close(under) })}, webhook.EnqueueRequest{Tenant: "t", Events: events(1)})
		done <- errors.Join(err, tx.Commit())
	}()
	<-under
	time.Sleep(20 * time.Millisecond) // nothing shows that it waits for the lock; if it does not yet, the test sees less
	released := time.Now()
	require.NoError(t, other.Rollback())
	require.NoError(t, <-done)
	require.GreaterOrEqual(t, query[int64](t, locks, "SELECT stored_at FROM webhook_events"), released.UnixMicro())
}

// TestWhatIsNotAskedForIsLeftAlone has both kinds of events, and stretches of time that end at the microsecond.
func TestWhatIsNotAskedForIsLeftAlone(t *testing.T) {
	t.Parallel()
	path := file(t)
	s, db := open(t, path), pool(t, path)
	e := endpoint(t, s, "t", "we_1")
	emit(t, s, "t", events(1)...)
	l := claim(t, s, 1)[0]
	o := retry(l, 0)
	o.Kind, o.Reason = webhook.OutcomeFailed, webhook.FailExhausted
	record(t, s, o)
	miss(t, s, e, 1)
	missed := query[string](t, db, "SELECT id FROM webhook_events WHERE id <> ?", l.Event.ID)
	at := func(id string) time.Time {
		return time.UnixMicro(query[int64](t, db, "SELECT stored_at FROM webhook_events WHERE id = ?", id))
	}
	for i, r := range []webhook.Replay{
		{}, // which the dispatcher refuses
		{Failed: true, Missed: true, Since: at(l.Event.ID).Add(1), Until: at(missed)}, // not one, and not yet the other
		{Failed: true, Since: at(l.Event.ID).Add(1)},
		{Missed: true, Until: at(missed)},
		{Missed: true, Since: at(missed), Until: at(missed).Add(1)},
		{Failed: true, Until: at(l.Event.ID).Add(1)},
	} {
		r.ID, r.Tenant, r.EndpointID = fmt.Sprint("rpl_", i), "t", "we_1"
		_, err := s.CreateReplay(t.Context(), r)
		require.NoError(t, err)
		before := len(replayed(t, path))
		require.Equal(t, webhook.ReplayStepped{Stepped: true, Queued: i >= 4}, step(t, s, 10, 10), "replay %d", i)
		list := replayed(t, path)
		require.Len(t, list, before+min(1, i/4), "replay %d", i)
		if i >= 4 {
			require.Equal(t, []string{missed, l.Event.ID}[i-4], list[before])
		}
	}
	requireInvariants(t, path)
}
