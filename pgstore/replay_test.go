package pgstore_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

func (r *rig) replay(e webhook.Endpoint, id string) webhook.Replay {
	r.Helper()
	replay, err := r.CreateReplay(r.Context(), webhook.Replay{ID: id, Tenant: e.Tenant, EndpointID: e.ID, Failed: true, Missed: true, AskedBy: "ops"})
	require.NoError(r, err)
	return replay
}

func (r *rig) step(most, pending int) webhook.ReplayStepped {
	r.Helper()
	stepped, err := r.ContinueReplay(r.Context(), webhook.ReplayStep{Max: most, Pending: pending})
	require.NoError(r, err)
	return stepped
}

// latest is the endpoint's newest replay.
func (r *rig) latest(e webhook.Endpoint) webhook.Replay {
	r.Helper()
	list, err := r.Replays(r.Context(), e.Tenant, e.ID)
	require.NoError(r, err)
	require.NotEmpty(r, list)
	return list[0]
}

func (r *rig) turn(e webhook.Endpoint, state webhook.EndpointState) {
	r.Helper()
	_, err := r.JudgeEndpoint(r.Context(), e.Tenant, e.ID, func(h webhook.Health, now time.Time) webhook.Health {
		h.State, h.Since = state, now
		return h
	})
	require.NoError(r, err)
}

// miss lets a disabled endpoint miss events, and makes it active.
func (r *rig) miss(n int) (webhook.Endpoint, []webhook.Event) {
	r.Helper()
	e := r.endpoint("e", webhook.Health{State: webhook.EndpointDisabled})
	events := r.emit(n)
	r.turn(e, webhook.EndpointActive)
	return e, events
}

// begin opens a transaction that emits, and leaves it open.
func (r *rig) begin(opts pgx.TxOptions) pgx.Tx {
	r.Helper()
	tx, err := r.pool.BeginTx(r.Context(), opts)
	require.NoError(r, err)
	r.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

func (r *rig) emitTo(tx pgx.Tx, n int) {
	r.Helper()
	_, err := r.Tx(tx).Enqueue(r.Context(), webhook.EnqueueRequest{Tenant: "t", Events: r.events(n)})
	require.NoError(r, err)
}

// requireReplayed checks that n events were queued again, each once, and that the lanes know.
func (r *rig) requireReplayed(n int) {
	r.Helper()
	require.Equal(r, n, r.count(`SELECT count(*) FROM {deliveries} WHERE kind = 'redelivery'`))
	require.Equal(r, n, r.count(`SELECT count(DISTINCT event_id) FROM {deliveries} WHERE kind = 'redelivery'`))
	require.Equal(r, r.count(`SELECT count(*) FROM {deliveries} WHERE turn IS NOT NULL`),
		r.count(`SELECT (SELECT sum(pending) FROM {lanes}) + (SELECT coalesce(sum(events), 0) FROM {inbox} WHERE gap IS NULL)`))
}

// TestReplaysBesideSlowTransactions replays in two processes what was emitted in transactions that are committed after
// the replay was asked for, in another order than they began.
func TestReplaysBesideSlowTransactions(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		two, stranger := r.other(), newRig(t, s)
		stranger.emitTo(stranger.begin(pgx.TxOptions{}), 1) // in other tables: nobody waits for it
		e := r.endpoint("e", webhook.Health{State: webhook.EndpointDisabled})
		var slow []pgx.Tx
		for range 6 {
			tx := r.begin(pgx.TxOptions{})
			r.emitTo(tx, 3)
			slow = append(slow, tx)
			r.emit(2)
		}
		r.turn(e, webhook.EndpointActive)
		r.replay(e, "rpl_1")
		later := r.begin(pgx.TxOptions{})
		r.emitTo(later, 1) // not in its time: it need not wait for that
		require.Equal(t, webhook.ReplayStepped{Waiting: true}, r.step(100, 1000))
		require.Zero(t, r.latest(e).Looked)

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var all sync.WaitGroup
		for _, process := range []*rig{r, two} {
			all.Go(func() {
				for ctx.Err() == nil {
					stepped, err := process.ContinueReplay(ctx, webhook.ReplayStep{Max: 2, Pending: 1000})
					if err != nil {
						t.Error(err)
						return
					}
					if stepped == (webhook.ReplayStepped{}) {
						return // it has ended
					}
				}
			})
		}
		for _, i := range []int{3, 5, 0, 1, 4} {
			require.Zero(t, r.latest(e).Looked)
			require.NoError(t, slow[i].Commit(t.Context()))
		}
		require.NoError(t, slow[2].Rollback(t.Context()))
		all.Wait()
		require.NoError(t, ctx.Err(), "the replay does not end")
		got := r.latest(e)
		require.Equal(t, webhook.ReplayDone, got.State)
		require.EqualValues(t, 5*3+6*2, got.Looked)
		require.EqualValues(t, 5*3+6*2, got.Queued)
		r.requireReplayed(5*3 + 6*2)
		require.NoError(t, later.Commit(t.Context()))
		require.Len(t, r.claim(100), 5*3+6*2+1)
	})
}

// TestWhatIsStoredAfterItsGapWasClosed emits in a transaction that sees the gap open for longer than it is.
func TestWhatIsStoredAfterItsGapWasClosed(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		e := r.endpoint("e", webhook.Health{State: webhook.EndpointDisabled})
		tx := r.begin(pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
		_, err := tx.Exec(t.Context(), `SELECT`)
		require.NoError(t, err)
		r.turn(e, webhook.EndpointActive)
		r.emitTo(tx, 1)
		require.NoError(t, tx.Commit(t.Context()))
		require.Empty(t, r.claim(1), "it was missed")
		r.exec(`UPDATE {gaps} SET to_at = (SELECT stored_at FROM {events}) - interval '6 seconds', from_at = to_at - interval '1 hour'`)
		r.replay(e, "rpl_1")
		require.Equal(t, webhook.ReplayStepped{Stepped: true}, r.step(10, 10))
		r.exec(`UPDATE {gaps} SET to_at = (SELECT stored_at FROM {events}) - interval '4 seconds'`)
		r.replay(e, "rpl_2")
		require.Equal(t, webhook.ReplayStepped{Stepped: true, Queued: true}, r.step(10, 10))
		r.requireReplayed(1)
	})
}

// TestContentsThatAreErasedMeanwhile lets a step come upon an event that somebody is about to erase.
func TestContentsThatAreErasedMeanwhile(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		e, events := r.miss(3)
		r.replay(e, "rpl_1")
		tx := r.begin(pgx.TxOptions{})
		_, err := tx.Exec(t.Context(), r.sql(`UPDATE {events} SET body = NULL, pruned = true WHERE id = $1`), events[1].ID)
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), r.sql(`DELETE FROM {events} WHERE id = $1`), events[2].ID)
		require.NoError(t, err)
		done := make(chan error)
		go func() {
			_, err := r.ContinueReplay(t.Context(), webhook.ReplayStep{Max: 10, Pending: 10})
			done <- err
		}()
		r.waitFor(`SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1`, "%"+r.cfg.Schema+`"%`)
		require.NoError(t, tx.Commit(t.Context()))
		require.NoError(t, <-done)
		got := r.latest(e)
		require.Equal(t, [3]int64{3, 1, 1}, [3]int64{got.Looked, got.Queued, got.Skipped})
		r.requireReplayed(1)
	})
}

// TestDeletingAnEndpointWhoseReplayWaitsForItsLane has both in each other's way.
func TestDeletingAnEndpointWhoseReplayWaitsForItsLane(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		e, _ := r.miss(1)
		r.replay(e, "rpl_1")
		waits := `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1`
		tx := r.begin(pgx.TxOptions{})
		_, err := tx.Exec(t.Context(), r.sql(`SELECT FROM {lanes} FOR UPDATE`))
		require.NoError(t, err)
		deleted, stepped := make(chan error), make(chan error)
		go func() { deleted <- r.DeleteEndpoint(t.Context(), "t", "e") }()
		r.waitFor(waits, "%"+r.cfg.Schema+`"%FOR UPDATE%`)
		go func() {
			_, err := r.ContinueReplay(t.Context(), webhook.ReplayStep{Max: 10, Pending: 10})
			stepped <- err
		}()
		r.waitFor(waits, "%"+r.cfg.Schema+`"%SKIP LOCKED%`)
		require.NoError(t, tx.Commit(t.Context()))
		require.NoError(t, <-deleted)
		require.NoError(t, <-stepped)
		require.Equal(t, webhook.ReplayStopped, r.latest(e).State)
		r.requireReplayed(0)
		require.Equal(t, webhook.ReplayStepped{}, r.step(10, 10))
	})
}

// TestAnEventThatIsTestedStaysMissed sends one endpoint a test of what another one missed.
func TestAnEventThatIsTestedStaysMissed(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		other := r.endpoint("other", webhook.Health{}, "none")
		e := r.endpoint("e", webhook.Health{State: webhook.EndpointDisabled})
		events := append(r.emit(1), r.events(1)...) // the second is stored for the test alone
		for _, queued := range []bool{false, true} {
			_, err := r.Enqueue(t.Context(), webhook.EnqueueRequest{
				Tenant: "t", Events: events, Direct: &webhook.Direct{EndpointID: other.ID, Kind: webhook.KindTest, Owner: "o", Term: time.Hour, Queued: queued},
			})
			require.NoError(t, err)
		}
		r.turn(e, webhook.EndpointActive)
		r.replay(e, "rpl_1")
		r.step(10, 10)
		require.Equal(t, 2, int(r.latest(e).Looked))
		require.Equal(t, 1, r.count(`SELECT count(*) FROM {deliveries} WHERE kind = 'redelivery' AND event_id = $1`, events[0].ID))
		r.requireReplayed(1)
	})
}

// TestAStepGrowsWithWhatItLooksAt counts the blocks that steps touch in a small and in a large store, whose plans were
// made while it was empty.
func TestAStepGrowsWithWhatItLooksAt(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		cost := map[int]int{}
		for _, n := range []int{1_000, 20_000} {
			r := alone(t, s)
			e := r.endpoint("e", webhook.Health{})
			r.endpoint("other", webhook.Health{})
			r.replay(e, "rpl_0")
			require.True(t, r.step(10, 1000).Stepped)
			r.exec(`INSERT INTO {events} (tenant, id, type, session_id, time, body, digest, stored_at)
				SELECT 't', 'evt_' || md5(i::text), 'happened', '', now(), 'body', '\x00', now() - interval '1 day' + i * interval '1 second' FROM generate_series(1, $1::int) i`, n)
			r.exec(`INSERT INTO {gaps} (tenant, endpoint_id, number, reason, from_at, to_at, count)
				SELECT 't', 'e', i, 'disabled', now() - interval '1 day' + i * interval '10 second', now() - interval '1 day' + i * interval '10 second' + interval '1 second', 1
				FROM generate_series(0, $1::int / 10) i`, n)
			r.exec(`INSERT INTO {deliveries} (tenant, id, event_id, event_type, endpoint_id, kind, state, created_at, finished_at)
				SELECT tenant, 'dlv_' || md5(id), id, type, CASE WHEN n % 2 = 0 THEN 'e' ELSE 'other' END, 'event', 'succeeded', stored_at, stored_at
				FROM (SELECT *, row_number() OVER (ORDER BY stored_at) AS n FROM {events}) v`)
			r.replay(e, "rpl_1")
			r.step(100, 1000)
			before := r.blocks()
			const times = 3
			for range times {
				require.True(t, r.step(100, 1000).Queued)
			}
			cost[n] = (r.blocks() - before) / times
			require.EqualValues(t, 100*(times+1), r.latest(e).Looked)
		}
		t.Logf("blocks by events: %v", cost)
		require.Less(t, cost[20_000], 2*cost[1_000])
		require.Less(t, cost[20_000], 5000)
	})
}

func TestReplaysThatWaitAreNotPruned(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		e, off := r.endpoint("e", webhook.Health{}), r.endpoint("off", webhook.Health{State: webhook.EndpointDisabled})
		for i := range 5 {
			r.replay(e, fmt.Sprint("rpl_", i))
			require.True(t, r.step(1, 1).Stepped)
		}
		r.replay(off, "rpl_off")
		r.exec(`UPDATE {replays} SET created_at = created_at - interval '3 hours', finished_at = CASE WHEN id <> 'rpl_4' THEN finished_at - interval '2 hours' END,
			state = CASE WHEN id = 'rpl_4' THEN 'running' ELSE state END`)
		require.False(t, r.prune(webhook.PruneRequest{Deliveries: 3 * time.Hour, Bodies: time.Hour, Max: 100}).More)
		require.Equal(t, 6, r.count(`SELECT count(*) FROM {replays}`))
		require.True(t, r.prune(webhook.PruneRequest{Deliveries: time.Hour, Max: 3}).More)
		require.Equal(t, 3, r.count(`SELECT count(*) FROM {replays}`))
		for r.prune(webhook.PruneRequest{Deliveries: time.Hour, Max: 3}).More {
		}
		require.Equal(t, 2, r.count(`SELECT count(*) FROM {replays} WHERE id IN ('rpl_4', 'rpl_off')`))
		require.Equal(t, 2, r.count(`SELECT count(*) FROM {replays}`))
		for more := true; more; {
			var err error
			more, err = r.EraseTenant(t.Context(), "t", 1)
			require.NoError(t, err)
		}
		require.Zero(t, r.count(`SELECT count(*) FROM {replays}`))
		require.Equal(t, webhook.ReplayStepped{}, r.step(1, 1))
	})
}

// TestAReplayThatFailsGoesBehindTheOthers has one whose deliveries cannot be stored, or not in time. Its turn comes
// first.
func TestAReplayThatFailsGoesBehindTheOthers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		for what, does := range map[string]string{"refused": `RAISE EXCEPTION 'refused'`, "late": `PERFORM pg_sleep(60)`} {
			t.Run(what, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, s)
				ids := []string{"bad", "good"}
				for _, id := range ids {
					r.endpoint(id, webhook.Health{State: webhook.EndpointDisabled})
				}
				r.emit(3)
				var both []webhook.Endpoint
				for _, id := range ids {
					e := webhook.Endpoint{Tenant: "t", ID: id}
					r.turn(e, webhook.EndpointActive)
					r.replay(e, "rpl_"+id)
					both = append(both, e)
				}
				bad, good := both[0], both[1]
				function := pgx.Identifier{r.cfg.Schema, "refuse"}.Sanitize()
				r.exec(`CREATE FUNCTION ` + function + `() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ` + does + `; RETURN NEW; END $$`)
				r.exec(`CREATE TRIGGER refuse BEFORE INSERT ON {deliveries} FOR EACH ROW WHEN (NEW.endpoint_id = 'bad') EXECUTE FUNCTION ` + function + `()`)
				for i := range 3 {
					before := r.latest(bad)
					ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
					_, err := r.ContinueReplay(ctx, webhook.ReplayStep{Max: 1, Pending: 10})
					cancel()
					require.Error(t, err)
					require.Equal(t, before, r.latest(bad), "it goes on where it was")
					require.True(t, r.step(1, 10).Queued)
					require.EqualValues(t, i+1, r.latest(good).Queued)
				}
				require.Equal(t, webhook.ReplayDone, r.latest(good).State)
				r.exec(`DROP TRIGGER refuse ON {deliveries}`)
				require.True(t, r.step(10, 10).Queued)
				require.Equal(t, webhook.ReplayDone, r.latest(bad).State)
			})
		}
	})
}
