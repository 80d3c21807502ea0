package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/meshia/webhook/internal/failpoint"
)

// writes lines up all that changes the database. SQLite has one writer and a commit costs a write to the disk that
// waits for it, so those who come while one commits share the next transaction: one of them leads, writes for all and
// tells them. There is no goroutine for it.
type writes struct {
	turn  chan struct{} // held by who leads
	limit time.Duration // maxTime, but in tests
	mu    sync.Mutex
	queue []*write

	// Of who leads.
	streak time.Time // since when transactions followed each other without a gap
	last   time.Time // when the last one ended
}

// Other processes meet the lock free in the gaps between transactions only, and where many calls come there are none.
// So after a while of that there is one, long enough for who asks every millisecond.
const (
	longestStreak = 100 * time.Millisecond
	gap           = 3 * time.Millisecond
)

// write is one call's part of a transaction.
type write struct {
	do     func(*txn) error
	weight int             // about how many rows
	commit failpoint.Point // passed once the commit was done and nobody was told
	queued time.Time

	done     chan struct{}
	err      error
	panicked any
}

// maxWeight and maxTime bound a shared transaction, so that who comes after it does not wait for long.
const (
	maxWeight = 2000
	maxTime   = 25 * time.Millisecond
)

// write makes do a part of the next transaction and returns when that is committed. do may be called again, on another
// transaction, if the first one failed. A refusal of do's stands alone: what others do in the transaction is kept, so
// it must have changed nothing.
func (s *Store) write(ctx context.Context, w *write) error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	w.queued, w.done = time.Now(), make(chan struct{})
	s.writes.mu.Lock()
	s.writes.queue = append(s.writes.queue, w)
	s.writes.mu.Unlock()

	for done := false; !done; {
		select {
		case <-w.done:
			done = true
		case s.writes.turn <- struct{}{}:
			s.lead(ctx, w) // which may come to others only, if it is too much for one transaction
		case <-ctx.Done():
			if s.writes.leave(w) {
				return ended(ctx)
			}
			<-w.done // it is being written, which does not take long
			done = true
		}
	}
	if w.panicked != nil {
		panic(w.panicked)
	}
	var r refusal
	if errors.As(w.err, &r) {
		return r.error
	}
	return clear(w.err)
}

// lead writes for all who wait, the caller among them, unless somebody did so meanwhile.
func (s *Store) lead(ctx context.Context, own *write) {
	defer func() { <-s.writes.turn }()
	select {
	case <-own.done:
		return
	default:
	}
	s.writes.breathe()
	defer func() { s.writes.last = time.Now() }()
	began := time.Now()
	tx, release, err := s.begin(ctx)
	if err != nil {
		// Who waited for the lock as long as the leader does not wait for it again. If it was the leader who gave up,
		// another one leads.
		gaveUp := ctx.Err() != nil
		if gaveUp {
			err = ended(ctx)
		}
		s.writes.fail(err, func(w *write) bool { return w == own || !gaveUp && !w.queued.After(began) })
		return
	}
	weight, since := 0, time.Now()
	batch, ok := s.run(tx, func() *write { return s.writes.take(since, &weight) })
	release()
	if ok {
		finish(batch)
		return
	}
	// One of them cannot be stored, or none can: each for itself then, so that nobody fails for what others asked.
	for _, w := range batch {
		s.alone(w)
	}
	finish(batch)
}

// breathe leaves a gap if it is time for one.
func (q *writes) breathe() {
	now := time.Now()
	switch {
	case now.Sub(q.last) > gap:
		q.streak = now
	case now.Sub(q.streak) > longestStreak:
		time.Sleep(gap)
		q.streak = time.Now()
	}
}

func (s *Store) alone(w *write) {
	tx, release, err := s.begin(context.Background())
	if err != nil {
		w.err = err
		return
	}
	defer release()
	s.run(tx, func() *write {
		next := w
		w = nil
		return next
	})
}

// run does in one transaction what next returns, until that is nil. It reports whether it was committed; if not, and it
// was one part only, the part's error says why.
func (s *Store) run(tx *sql.Tx, next func() *write) (batch []*write, ok bool) {
	t := newTxn(tx, s.prepared)
	for w := next(); w != nil; w = next() {
		batch = append(batch, w)
		if w.panicked, w.err = t.part(w.do); w.panicked != nil || w.err != nil && !errors.As(w.err, new(refusal)) {
			_ = tx.Rollback() // SQLite may have done so already
			return batch, false
		}
	}
	err := t.flush()
	if err == nil {
		err = tx.Commit()
	} else {
		_ = tx.Rollback()
	}
	if err != nil {
		for _, w := range batch {
			w.err = err
		}
		return batch, false
	}
	for _, w := range batch {
		if w.commit != "" {
			failpoint.Pass(w.commit)
		}
	}
	return batch, true
}

// part does one part. What it panics with, a Judge for example, is its caller's business and not the leader's.
func (t *txn) part(do func(*txn) error) (panicked any, err error) {
	defer func() { panicked = recover() }()
	return nil, do(t)
}

// take removes from the queue what is next in a transaction that began at since: those who came before, as long as it
// is not too much for one, and the first in any case.
func (q *writes) take(since time.Time, weight *int) *write {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == 0 {
		return nil
	}
	w := q.queue[0]
	if *weight > 0 && (*weight+w.weight > maxWeight || w.queued.After(since) || time.Since(since) > q.limit) {
		return nil
	}
	*weight += max(1, w.weight)
	q.queue = slices.Delete(q.queue, 0, 1)
	return w
}

// leave takes w out of the queue; it reports false where w was taken already.
func (q *writes) leave(w *write) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.queue, w)
	if i < 0 {
		return false
	}
	q.queue = slices.Delete(q.queue, i, i+1)
	return true
}

// fail answers those in the queue that are chosen.
func (q *writes) fail(err error, chosen func(*write) bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queue = slices.DeleteFunc(q.queue, func(w *write) bool {
		if !chosen(w) {
			return false
		}
		w.err = err
		close(w.done)
		return true
	})
}

func finish(batch []*write) {
	for _, w := range batch {
		close(w.done)
	}
}

// begin begins a transaction that may write. ctx counts until it has begun, and not after: what it is shared with must
// not fail for it. release ends what goes with the transaction, which must be over by then.
func (s *Store) begin(ctx context.Context) (tx *sql.Tx, release func(), err error) {
	detached, cancel := context.WithCancel(context.WithoutCancel(ctx))
	timer := time.AfterFunc(s.cfg.BusyTimeout+time.Second, cancel) // the wait for the lock has an end of its own; this is for the pool
	stop := context.AfterFunc(ctx, cancel)
	release = cancel
	if s.own {
		err = s.patiently(detached, func() (err error) {
			tx, err = s.writer.BeginTx(detached, nil)
			return err
		})
	} else {
		tx, release, err = s.beginOnPool(detached, cancel)
	}
	inTime, wanted := timer.Stop(), stop()
	switch {
	case err == nil && inTime && wanted:
		return tx, release, nil
	case err == nil:
		_ = tx.Rollback()
		err = detached.Err()
	}
	release()
	switch {
	case ctx.Err() != nil:
		err = ended(ctx)
	case !inTime:
		err = fmt.Errorf("%w, or no connection got free", ErrBusy)
	}
	return nil, func() {}, err
}

// beginOnPool looks at the connection that the pool gives out before it begins. The pool's connections begin as their
// owner wants, so the transaction is begun again, as one that writes.
func (s *Store) beginOnPool(ctx context.Context, cancel func()) (*sql.Tx, func(), error) {
	conn, err := s.writer.Conn(ctx)
	if err != nil {
		return nil, cancel, err
	}
	release := func() {
		_ = conn.Close() // back to the pool
		cancel()
	}
	if err := s.checkPragmas(ctx, conn); err != nil {
		return nil, release, err
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return nil, release, err
	}
	if _, err := tx.ExecContext(ctx, `ROLLBACK; BEGIN IMMEDIATE`); err != nil {
		_ = tx.Rollback()
		return nil, release, err
	}
	return tx, release, nil
}
