package sqlitestore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"modernc.org/sqlite"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/sqlitestore"
)

// commits counts the commits of a pool with one connection.
func commits(t *testing.T, db *sql.DB) *atomic.Int64 {
	t.Helper()
	var n atomic.Int64
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	require.NoError(t, conn.Raw(func(c any) error {
		c.(sqlite.HookRegisterer).RegisterCommitHook(func() int32 { n.Add(1); return 0 })
		return nil
	}))
	require.NoError(t, conn.Close())
	return &n
}

func TestConcurrentCallsShareCommits(t *testing.T) {
	t.Parallel()
	s, db := single(t, file(t))
	endpoint(t, s, "t", "we_1")
	const callers, n = 64, 640
	count := commits(t, db)
	list := events(n)
	d, err := webhook.NewDispatcher(s, &webhook.Config{Registry: webhook.NewRegistry(happened)})
	require.NoError(t, err)
	inParallel(t, callers, n, func(i int) error { return d.Tenant("t").Emit(t.Context(), list[i]) })
	t.Logf("%d commits for %d events of %d callers", count.Load(), n, callers)
	require.LessOrEqual(t, count.Load(), int64(n/8))

	leases := claim(t, s, n)
	require.Len(t, leases, n)
	count.Store(0)
	inParallel(t, callers, n, func(i int) error {
		applied, err := s.Record(t.Context(), []webhook.Outcome{delivered(leases[i])})
		if err == nil && !applied[0] {
			err = errors.New("not applied")
		}
		return err
	})
	t.Logf("%d commits for %d outcomes", count.Load(), n)
	require.LessOrEqual(t, count.Load(), int64(n/8))
	require.Equal(t, n, query[int](t, db, "SELECT count(*) FROM webhook_deliveries WHERE state = 'succeeded'"))
}

// crowd makes calls that share transactions: while another connection has the write lock they line up, in their order.
func crowd(t *testing.T, s *sqlitestore.Store, db *sql.DB, calls ...func() error) []error {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	errs := make([]error, len(calls))
	var wg sync.WaitGroup
	for i, call := range calls {
		wg.Go(func() { errs[i] = call() })
		for s.Waiting() <= i {
			runtime.Gosched()
		}
	}
	require.NoError(t, tx.Rollback())
	wg.Wait()
	return errs
}

func TestOneThatCannotBeStoredFailsNobodyElse(t *testing.T) {
	t.Parallel()
	path := file(t)
	s, db := open(t, path), pool(t, path, "busy_timeout(5000)")
	endpoint(t, s, "t", "we_1")
	execute(t, db, "CREATE TRIGGER poison BEFORE INSERT ON webhook_events WHEN NEW.id = 'poison' BEGIN SELECT RAISE(ABORT, 'poisoned'); END")
	known := happened.New("", "first", webhook.WithID("known"))
	emit(t, s, "t", known)

	var calls []func() error
	store := func(list ...webhook.Event) {
		calls = append(calls, func() error {
			_, err := s.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: list})
			return err
		})
	}
	for range 10 {
		store(events(2)...)
	}
	store(append(events(1), happened.New("", 1, webhook.WithID("poison")))...)
	store(happened.New("", "second", webhook.WithID("known")))
	panicked := make(chan any, 1)
	calls = append(calls, func() error {
		defer func() { panicked <- recover() }()
		_, err := s.JudgeEndpoint(t.Context(), "t", "we_1", func(webhook.Health, time.Time) webhook.Health { panic("judged") })
		return err
	})
	for range 10 {
		store(events(2)...)
	}
	for i, err := range crowd(t, s, db, calls...) {
		switch i {
		case 10:
			require.ErrorContains(t, err, "poisoned")
		case 11:
			require.ErrorIs(t, err, webhook.ErrConflict)
		default:
			require.NoError(t, err, "call %d", i)
		}
	}
	require.Equal(t, "judged", <-panicked, "a Judge's panic did not reach its caller")
	require.Equal(t, 41, query[int](t, db, "SELECT count(*) FROM webhook_deliveries"))
	require.Equal(t, 41, query[int](t, db, "SELECT count(*) FROM webhook_events"))
	emit(t, s, "t", events(1)...)
}

func TestACallerWhoLeavesFailsNobodyElse(t *testing.T) {
	t.Parallel()
	path := file(t)
	s, db := open(t, path), pool(t, path, "busy_timeout(5000)")
	endpoint(t, s, "t", "we_1")
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)

	// The first one leads, and leaves; another one leads then.
	errs := make([]error, 8)
	var wg sync.WaitGroup
	list := events(len(errs))
	leave := make([]context.CancelFunc, len(errs))
	for i := range errs {
		var ctx context.Context
		ctx, leave[i] = context.WithCancel(t.Context())
		defer leave[i]()
		wg.Go(func() {
			_, errs[i] = s.Enqueue(ctx, webhook.EnqueueRequest{Tenant: "t", Events: list[i : i+1]})
		})
		require.Eventually(t, func() bool { return s.Waiting() == i+1 }, 4*time.Second, time.Millisecond)
	}
	for gone, i := range []int{0, 3} {
		leave[i]()
		require.Eventually(t, func() bool { return s.Waiting() == len(errs)-1-gone }, 4*time.Second, time.Millisecond)
	}
	require.NoError(t, tx.Rollback())
	wg.Wait()
	for i, err := range errs {
		if i == 0 || i == 3 {
			require.ErrorIs(t, err, context.Canceled, "call %d", i)
			_, err := s.Event(t.Context(), "t", list[i].ID)
			require.ErrorIs(t, err, webhook.ErrNotFound, "call %d", i)
			continue
		}
		require.NoError(t, err, "call %d", i)
	}
	require.Equal(t, 6, query[int](t, db, "SELECT count(*) FROM webhook_events"))
}

func TestALockThatIsHeldTooLong(t *testing.T) {
	t.Parallel()
	path := file(t)
	const timeout = 200 * time.Millisecond
	s, err := sqlitestore.Open(t.Context(), path, &sqlitestore.Config{BusyTimeout: timeout})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	endpoint(t, s, "t", "we_1")
	tx, err := pool(t, path).BeginTx(t.Context(), nil)
	require.NoError(t, err)

	// All who came together fail together, and not one after the other.
	began := time.Now()
	list := events(16)
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i := range list {
		wg.Go(func() {
			_, errs[i] = s.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: list[i : i+1]})
		})
	}
	wg.Wait()
	took := time.Since(began)
	for _, err := range errs {
		require.ErrorIs(t, err, sqlitestore.ErrBusy)
	}
	require.GreaterOrEqual(t, took, timeout/2)
	require.Less(t, took, 8*timeout, "16 callers waited one after the other")
	_, err = s.Endpoint(t.Context(), "t", "we_1") // reading goes on
	require.NoError(t, err)

	require.NoError(t, tx.Rollback())
	require.Empty(t, claim(t, s, 10))
	emit(t, s, "t", list...)
	require.Len(t, claim(t, s, 100), len(list))
}

func TestAPoolWithoutAFreeConnection(t *testing.T) {
	t.Parallel()
	db := pool(t, file(t), durable...)
	db.SetMaxOpenConns(1)
	s, err := sqlitestore.New(t.Context(), db, &sqlitestore.Config{BusyTimeout: time.Millisecond})
	require.NoError(t, err)
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	_, err = s.Claim(t.Context(), webhook.ClaimRequest{Max: 1})
	require.ErrorIs(t, err, sqlitestore.ErrBusy)
	require.NoError(t, conn.Close())
	require.Empty(t, claim(t, s, 1))
}

func TestAFullDisk(t *testing.T) {
	t.Parallel()
	s, db := single(t, file(t))
	endpoint(t, s, "t", "we_1")
	emit(t, s, "t", events(5)...)
	pages := query[int](t, db, "PRAGMA page_count")
	execute(t, db, fmt.Sprintf("PRAGMA max_page_count = %d", pages+10))
	big := make([]webhook.Event, 5)
	for i := range big {
		big[i] = happened.New("", string(make([]byte, 100_000)))
	}
	stored := func() [2]int {
		return [2]int{query[int](t, db, "SELECT count(*) FROM webhook_events"), query[int](t, db, "SELECT count(*) FROM webhook_deliveries")}
	}
	before := stored()
	for range 3 {
		_, err := s.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: big})
		require.ErrorIs(t, err, webhook.ErrStoreFull)
		require.Equal(t, before, stored(), "a part was stored")
	}
	// Also for those who share a transaction.
	errs := make([]error, 8)
	inParallel(t, len(errs), len(errs), func(i int) error {
		_, errs[i] = s.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: big[i%len(big) : i%len(big)+1]})
		return nil
	})
	for _, err := range errs {
		require.ErrorIs(t, err, webhook.ErrStoreFull)
	}

	execute(t, db, "PRAGMA max_page_count = 1000000")
	emit(t, s, "t", big...)
	require.Equal(t, [2]int{before[0] + 5, before[1] + 5}, stored())
	require.Len(t, claim(t, s, 100), 10)
}

func TestASharedTransactionIsBounded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit        time.Duration
		events, want int
	}{
		{time.Hour, 1, 1},
		{time.Hour, 700, 3}, // two calls, and two, and one
		{time.Hour, 2500, 5},
		{time.Nanosecond, 1, 5},
	} {
		path := file(t)
		s, db := single(t, path)
		s.SetMaxTime(c.limit)
		count := commits(t, db)
		var calls []func() error
		for range 5 {
			list := events(c.events)
			calls = append(calls, func() error {
				_, err := s.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: list})
				return err
			})
		}
		for _, err := range crowd(t, s, pool(t, path), calls...) {
			require.NoError(t, err)
		}
		require.Equal(t, int64(c.want), count.Load(), "%+v", c)
	}
}

// TestCallsOfOneTransactionSeeEachOther lines up calls of which each depends on the one before.
func TestCallsOfOneTransactionSeeEachOther(t *testing.T) {
	t.Parallel()
	path := file(t)
	s, db := open(t, path), pool(t, path)
	s.SetMaxTime(time.Hour)
	endpoint(t, s, "t", "we_1", func(e *webhook.Endpoint) { e.Health.State = webhook.EndpointDisabled })
	endpoint(t, s, "t", "we_2", func(e *webhook.Endpoint) { e.Health.State = webhook.EndpointPaused })
	var results [5]webhook.EnqueueResult
	list := events(len(results))
	enqueue := func(i int) func() error {
		return func() (err error) {
			results[i], err = s.Enqueue(t.Context(), webhook.EnqueueRequest{
				Tenant: "t", Events: list[i : i+1], HandOver: &webhook.HandOver{Owner: "one", Term: time.Hour, Max: 1},
			})
			return err
		}
	}
	judge := func(f func(h *webhook.Health)) func() error {
		return func() error {
			_, err := s.JudgeEndpoint(t.Context(), "t", "we_1", func(h webhook.Health, _ time.Time) webhook.Health {
				f(&h)
				return h
			})
			return err
		}
	}
	update := func() error {
		e, err := s.Endpoint(t.Context(), "t", "we_1")
		if err != nil {
			return err
		}
		e.Events = []string{"test.other"}
		_, err = s.UpdateEndpoint(t.Context(), e, nil)
		return err
	}
	for _, err := range crowd(t, s, db,
		enqueue(0), // is missed
		judge(func(h *webhook.Health) { h.State = webhook.EndpointActive }),
		enqueue(1),
		judge(func(h *webhook.Health) { h.Failures = 7 }),
		enqueue(2),
		update,
		enqueue(3), // we_1 does not subscribe to it any more
		func() error { return s.DeleteEndpoint(t.Context(), "t", "we_2") },
		enqueue(4),
	) {
		require.NoError(t, err)
	}
	gaps, err := s.Gaps(t.Context(), "t", "we_1")
	require.NoError(t, err)
	require.Len(t, gaps, 1)
	require.Equal(t, int64(1), gaps[0].Count)
	require.Empty(t, results[0].Leases)
	require.Len(t, results[1].Leases, 1)
	require.Zero(t, results[1].Leases[0].Endpoint.Health.Failures)
	require.Len(t, results[2].Leases, 1)
	require.Equal(t, 7, results[2].Leases[0].Endpoint.Health.Failures)
	require.True(t, results[3].Queued && len(results[3].Leases) == 0)
	require.Zero(t, results[4])
	require.Equal(t, 1, query[int](t, db, "SELECT count(DISTINCT stored_at) FROM webhook_events"), "they did not share a transaction")
	requireInvariants(t, path)
}
