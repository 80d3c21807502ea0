package sqlitestore_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// TestManyEventsOfOneMoment has steps, and what is read at once, end between events that nothing but their keys tells
// apart.
func TestManyEventsOfOneMoment(t *testing.T) {
	t.Parallel()
	for _, most := range []int{0, 60, 99, 100, 101, 250, 1000} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			t.Parallel()
			path := file(t)
			s := open(t, path)
			e := endpoint(t, s, "t", "we_1")
			turn(t, s, e, webhook.EndpointDisabled)
			n := 250
			if most == 0 { // which is one
				n = 3
			}
			list := events(n)
			emit(t, s, "t", list...)
			emit(t, s, "u", list...)
			turn(t, s, e, webhook.EndpointActive)
			r := replay(t, s, e, "rpl_1")
			for i := 1; r.State == webhook.ReplayRunning; i++ {
				require.Equal(t, webhook.ReplayStepped{Stepped: true, Queued: true}, step(t, s, most, 1000))
				before := r
				r = latest(t, s, e)
				require.EqualValues(t, min(n, i*max(1, most)), r.Looked, "after %d steps", i)
				require.False(t, r.Reached.Before(before.Reached) || r.Reached.After(r.Until))
				requireInvariants(t, path)
			}
			require.Equal(t, r.Until, r.Reached)
			var want []string
			for _, e := range list {
				want = append(want, e.ID)
			}
			require.Equal(t, want, replayed(t, path))
			require.Equal(t, webhook.ReplayStepped{}, step(t, s, 10, 1000))
		})
	}
}

// TestAStepThatCannotBeStored fails at its last statement, in a transaction that it shares.
func TestAStepThatCannotBeStored(t *testing.T) {
	t.Parallel()
	path := file(t)
	s, db := open(t, path), pool(t, path, "busy_timeout(5000)")
	e := endpoint(t, s, "t", "we_1")
	miss(t, s, e, 5)
	r := replay(t, s, e, "rpl_1")
	execute(t, db, "CREATE TRIGGER poison BEFORE UPDATE ON webhook_replays BEGIN SELECT RAISE(ABORT, 'poisoned'); END")
	errs := crowd(t, s, db,
		func() error {
			_, err := s.ContinueReplay(t.Context(), webhook.ReplayStep{Max: 10, Pending: 100})
			return err
		},
		func() error {
			_, err := s.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: events(2)})
			return err
		})
	require.ErrorContains(t, errs[0], "poisoned")
	require.NoError(t, errs[1])
	require.Empty(t, replayed(t, path))
	require.Equal(t, r, latest(t, s, e))
	requireInvariants(t, path)

	execute(t, db, "DROP TRIGGER poison")
	require.True(t, step(t, s, 10, 100).Queued)
	require.Len(t, replayed(t, path), 5)
	requireInvariants(t, path)
}

// TestStepsInOneTransaction makes room, uses it up, and finds none, before any of it is committed.
func TestStepsInOneTransaction(t *testing.T) {
	t.Parallel()
	path := file(t)
	s, db := open(t, path), pool(t, path, "busy_timeout(5000)")
	e := endpoint(t, s, "t", "we_1")
	miss(t, s, e, 5)
	emit(t, s, "t", events(3)...)
	leases := claim(t, s, 3)
	replay(t, s, e, "rpl_1")
	require.Equal(t, webhook.ReplayStepped{Waiting: true}, step(t, s, 10, 3))
	var stepped [3]webhook.ReplayStepped
	next := func(i int) func() error {
		return func() (err error) {
			stepped[i], err = s.ContinueReplay(t.Context(), webhook.ReplayStep{Max: 10, Pending: 3})
			return err
		}
	}
	for _, err := range crowd(t, s, db,
		func() error {
			_, err := s.Record(t.Context(), []webhook.Outcome{delivered(leases[0]), delivered(leases[1])})
			return err
		},
		next(0), next(1),
		func() error {
			_, err := s.JudgeEndpoint(t.Context(), "t", "we_1", func(h webhook.Health, _ time.Time) webhook.Health {
				h.State = webhook.EndpointDisabled
				return h
			})
			return err
		},
		func() error {
			_, err := s.Record(t.Context(), []webhook.Outcome{delivered(leases[2])})
			return err
		},
		next(2),
	) {
		require.NoError(t, err)
	}
	require.Equal(t, [3]webhook.ReplayStepped{{Stepped: true, Queued: true}, {Waiting: true}, {Waiting: true}}, stepped)
	require.Len(t, replayed(t, path), 2)
	r := latest(t, s, e)
	require.EqualValues(t, 2, r.Looked, "what there was no room for was passed over")
	require.EqualValues(t, 2, r.Queued)
	require.EqualValues(t, 2, stats(t, s, "we_1").Pending)
	requireInvariants(t, path)
}

// TestAStepGoesOnPastWhatNeedsNoRoom ends a replay whose rest is nothing to be queued.
func TestAStepGoesOnPastWhatNeedsNoRoom(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path)
	e := endpoint(t, s, "t", "we_1")
	miss(t, s, e, 1)
	emit(t, s, "t", events(150)...)
	for _, l := range claim(t, s, 150) {
		record(t, s, delivered(l))
	}
	replay(t, s, e, "rpl_1")
	require.Equal(t, webhook.ReplayStepped{Stepped: true, Queued: true}, step(t, s, 1000, 1))
	r := latest(t, s, e)
	require.Equal(t, [3]any{webhook.ReplayDone, int64(151), int64(1)}, [3]any{r.State, r.Looked, r.Queued})
	require.Equal(t, webhook.ReplayStepped{}, step(t, s, 10, 1000))
}

// TestWaitingReplaysHoldUpNobody has hundreds of replays wait, in both ways, before one that can go on.
func TestWaitingReplaysHoldUpNobody(t *testing.T) {
	t.Parallel()
	const n = 400
	path := file(t)
	s := open(t, path)
	inParallel(t, 50, n, func(i int) error {
		e := webhook.Endpoint{ID: fmt.Sprint("we_", i), Tenant: fmt.Sprint("t", i%7), Events: []string{webhook.AllEvents}, Health: webhook.Health{State: webhook.EndpointDisabled}}
		if i%2 == 0 {
			e.Health.State = webhook.EndpointActive
		}
		if _, err := s.CreateEndpoint(t.Context(), e, n); err != nil {
			return err
		}
		_, err := s.CreateReplay(t.Context(), webhook.Replay{ID: fmt.Sprint("rpl_", i), Tenant: e.Tenant, EndpointID: e.ID, Missed: true})
		return err
	})
	for i := range 7 {
		emit(t, s, fmt.Sprint("t", i), events(1)...) // each active one has 1 pending
	}
	require.Equal(t, webhook.ReplayStepped{Waiting: true}, step(t, s, 10, 1))
	e := endpoint(t, s, "u", "we_1")
	miss(t, s, e, 3)
	replay(t, s, e, "rpl_u")
	require.Equal(t, webhook.ReplayStepped{Stepped: true, Queued: true}, step(t, s, 10, 1))
	require.EqualValues(t, 1, latest(t, s, e).Queued)
	require.Equal(t, webhook.ReplayStepped{Waiting: true}, step(t, s, 10, 1))
	requireInvariants(t, path)
	for range n / 2 { // with more room the active ones go on, and end
		require.True(t, step(t, s, 10, 2).Stepped)
	}
	require.Equal(t, n/2, query[int](t, pool(t, path), "SELECT count(*) FROM webhook_replays WHERE state = 'running' AND tenant <> 'u'")+
		query[int](t, pool(t, path), "SELECT count(*) FROM webhook_replays WHERE state = 'running' AND tenant = 'u'")-1)
}

// TestTurnsAfterTheClockWasSetBack has a replay whose last step is in the future.
func TestTurnsAfterTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	path := file(t)
	s, db := open(t, path), pool(t, path, "busy_timeout(5000)")
	var replays []webhook.Endpoint
	for i := range 3 {
		e := endpoint(t, s, fmt.Sprint("t", i), "we_1")
		miss(t, s, e, 20)
		replays = append(replays, e)
		if i < 2 {
			replay(t, s, e, "rpl_1")
		}
	}
	execute(t, db, "UPDATE webhook_replays SET stepped_at = stepped_at + 3600000000 WHERE tenant = 't0'")
	replay(t, s, replays[2], "rpl_1")
	for _, i := range []int{1, 0, 2, 1, 0, 2, 1} {
		before := latest(t, s, replays[i]).Looked
		require.True(t, step(t, s, 1, 100).Stepped)
		require.Equal(t, before+1, latest(t, s, replays[i]).Looked, "it was the turn of replay %d", i)
	}
	requireInvariants(t, path)
}

// TestAReplayThatFailsGoesBehindTheOthers has one whose deliveries cannot be stored. Its turn comes first.
func TestAReplayThatFailsGoesBehindTheOthers(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path)
	bad, good := endpoint(t, s, "t", "we_bad"), endpoint(t, s, "t", "we_good")
	for _, e := range []webhook.Endpoint{bad, good} {
		turn(t, s, e, webhook.EndpointDisabled)
	}
	emit(t, s, "t", events(3)...)
	for _, e := range []webhook.Endpoint{bad, good} {
		turn(t, s, e, webhook.EndpointActive)
		replay(t, s, e, "rpl_"+e.ID)
	}
	execute(t, pool(t, path), `CREATE TRIGGER refuse BEFORE INSERT ON webhook_deliveries
		WHEN NEW.endpoint = (SELECT key FROM webhook_endpoints WHERE id = 'we_bad') BEGIN SELECT RAISE(ABORT, 'refused'); END`)
	for i := range 3 {
		before := latest(t, s, bad)
		_, err := s.ContinueReplay(t.Context(), webhook.ReplayStep{Max: 1, Pending: 10})
		require.ErrorContains(t, err, "refused")
		require.Equal(t, before, latest(t, s, bad), "it goes on where it was")
		require.True(t, step(t, s, 1, 10).Queued)
		require.EqualValues(t, i+1, latest(t, s, good).Queued)
		requireInvariants(t, path)
	}
	require.Equal(t, webhook.ReplayDone, latest(t, s, good).State)
	execute(t, pool(t, path), `DROP TRIGGER refuse`)
	require.True(t, step(t, s, 10, 10).Queued)
	require.Equal(t, webhook.ReplayDone, latest(t, s, bad).State)
}
