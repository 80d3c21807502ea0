package pgstore

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/meshia/webhook"
)

// Store is a [webhook.Store] in a Postgres database, shared by as many processes as there are. It is safe for
// concurrent use. It starts no goroutine and has nothing to close but the pool, which stays the caller's.
type Store struct {
	pool  *pgxpool.Pool
	names names
	texts sync.Map // SQL with the names of the tables in it, by SQL without

	emits group
	ear   ear
}

var (
	_ webhook.Store = (*Store)(nil)
	_ webhook.Waker = (*Store)(nil)
)

// New returns the store whose tables are where cfg says; nil stands for the defaults. It looks at their version and
// changes nothing: see [Migrate].
//
// Errors: those of the family [webhook.ErrInvalidConfig], [ErrSchemaMissing], [ErrSchemaTooOld], [ErrSchemaTooNew],
// and those of the database.
func New(ctx context.Context, pool *pgxpool.Pool, cfg *Config) (*Store, error) {
	n, err := locate(ctx, pool, cfg)
	if err != nil {
		return nil, err
	}
	if err := n.check(ctx, pool); err != nil {
		return nil, fail("new", err)
	}
	return &Store{pool: pool, names: n}, nil
}

// failure is an error of the store: it says whose it is and what was being done.
type failure struct {
	what string
	err  error
}

func (f *failure) Error() string { return "webhook: pgstore: " + f.what + ": " + f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// fail makes a failure of an error that is none yet.
func fail(what string, err error) error {
	var already *failure
	if err == nil || errors.As(err, &already) {
		return err
	}
	return &failure{what, err}
}

// sql puts the names of the tables into a statement.
func (s *Store) sql(text string) string {
	if done, ok := s.texts.Load(text); ok {
		return done.(string)
	}
	done := s.names.tables.Replace(text)
	s.texts.Store(text, done)
	return done
}

// sqlPlans makes the plans of a transaction those that the statements are written for: along indexes, row by row,
// planned once for all parameters. What the planner knows of a queue is old by nature; with a plan that it made while
// the tables were small, each call would read all of them when they are large. A scan of bitmaps would not let the
// server drop the entries of finished deliveries from the indexes as it comes upon them.
const (
	sqlPlans = `SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), set_config('jit', 'off', true),
	set_config('plan_cache_mode', 'force_generic_plan', true)`
	sqlNested = sqlPlans + `, set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)`
)

// tx is a transaction whose BEGIN and COMMIT travel with its statements, so that they cost no round trips of their
// own.
type tx struct {
	*Store
	conn  *pgxpool.Conn
	batch pgx.Batch
	plans string // sqlNested, unless the statements join what they bring along themselves
	open  bool   // BEGIN was sent
}

// queue adds a statement to what is sent next.
func (t *tx) queue(text string, args ...any) *pgx.QueuedQuery {
	return t.batch.Queue(t.sql(text), args...)
}

// send sends what was queued and reads the answers.
func (t *tx) send(ctx context.Context) error { return t.post(ctx).Close() }

// post sends what was queued; the answers are read when the result is closed.
func (t *tx) post(ctx context.Context) pgx.BatchResults {
	batch := t.batch
	t.batch = pgx.Batch{}
	if !t.open {
		t.open = true
		first := batch.QueuedQueries
		batch.QueuedQueries = nil
		batch.Queue(`begin isolation level read committed read write`)
		batch.Queue(t.plans)
		batch.QueuedQueries = append(batch.QueuedQueries, first...)
	}
	return t.conn.SendBatch(ctx, &batch)
}

// commit sends what was queued, and COMMIT with it.
func (t *tx) commit(ctx context.Context) error { return t.finish(ctx, func() {}) }

// finish is commit; sent is called when COMMIT is on its way and not acknowledged.
func (t *tx) finish(ctx context.Context, sent func()) error {
	t.batch.Queue(`commit`)
	results := t.post(ctx)
	sent()
	err := results.Close()
	t.open = err != nil
	return err
}

// repeats bounds how often a transaction is repeated that others kept from being done.
const repeats = 10

// inTx runs f in a transaction that f commits, and rolls it back where f did not. If others were in its way it
// begins anew.
func (s *Store) inTx(ctx context.Context, what string, f func(t *tx) error) error {
	var err error
	for range repeats {
		if err = s.once(ctx, f); !inTheWay(err) || ctx.Err() != nil {
			break
		}
	}
	return fail(what, err)
}

// inTheWay reports whether a transaction failed since others ran beside it: serialization_failure, deadlock_detected.
func inTheWay(err error) bool { return is(err, "40001", "40P01") }

// rollbackLimit bounds the wait for a ROLLBACK; a connection that does not answer is closed.
const rollbackLimit = 5 * time.Second

func (s *Store) once(ctx context.Context, f func(t *tx) error) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release() // which closes a connection that is still in a transaction
	t := &tx{Store: s, conn: conn, plans: sqlNested}
	err = f(t)
	if t.open && !conn.Conn().IsClosed() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackLimit)
		defer cancel()
		_, rollbackErr := conn.Exec(ctx, `rollback`)
		if err == nil {
			err = rollbackErr
		}
	}
	return err
}

// longest is the longest duration that is told to the database: timestamptz ends in the year 294276, but callers think
// of "for ever" as less.
const longest = 200 * 365 * 24 * time.Hour

// micros is a duration as statements take it. Negative ones are none.
func micros(d time.Duration) int64 { return min(max(d, 0), longest).Microseconds() }

// moment is a time as it is stored: NULL where it is zero.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// at is a stored time as callers get it.
func at(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// small bounds a number to what an integer column holds.
func small(n int) int32 { return int32(min(max(n, math.MinInt32), math.MaxInt32)) }
