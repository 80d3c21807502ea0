package sqlitestore

import (
	"context"
	"database/sql"
	"strings"
	"time"

	sqlite3 "modernc.org/sqlite/lib"
)

// querier is a connection, a transaction or a pool.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// checkPragmas refuses a connection on which a commit would not be durable, or which would not wait for others.
func (s *Store) checkPragmas(ctx context.Context, on querier) error {
	var journal, encoding string
	var synchronous, busy int64
	err := on.QueryRowContext(ctx, `SELECT journal_mode, synchronous, timeout, encoding
		FROM pragma_journal_mode, pragma_synchronous, pragma_busy_timeout, pragma_encoding`).Scan(&journal, &synchronous, &busy, &encoding)
	if err != nil {
		return err
	}
	levels := []string{"OFF", "NORMAL", "FULL", "EXTRA"}
	switch {
	case !strings.EqualFold(journal, "wal"):
		return &PragmaError{"journal_mode", strings.ToUpper(journal), "WAL"}
	case synchronous < 2:
		return &PragmaError{"synchronous", levels[max(0, synchronous)], "FULL or EXTRA"}
	case busy < s.cfg.BusyTimeout.Milliseconds():
		return &PragmaError{"busy_timeout", (time.Duration(busy) * time.Millisecond).String(), "at least " + s.busyMillis() + " (milliseconds)"}
	case !strings.EqualFold(encoding, "UTF-8"):
		return &PragmaError{"encoding", encoding, "UTF-8"}
	}
	return nil
}

// walMode switches the file to WAL, which lasts.
func (s *Store) walMode(ctx context.Context) error {
	var mode string
	err := s.patiently(ctx, func() error { return s.writer.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode) })
	if err == nil && !strings.EqualFold(mode, "wal") {
		err = &PragmaError{"journal_mode", strings.ToUpper(mode), "WAL (does the file system support it?)"}
	}
	return err
}

// patiently calls f again while SQLite's lock is taken, for BusyTimeout. It asks more often than SQLite itself would,
// which comes to ask ten times a second: another process that writes without a pause lets go of the lock for some
// microseconds only, and who asks so seldom hardly ever meets them.
func (s *Store) patiently(ctx context.Context, f func() error) error {
	deadline := time.Now().Add(s.cfg.BusyTimeout)
	for wait := 100 * time.Microsecond; ; wait = min(2*wait, time.Millisecond) {
		err := f()
		if code(err) != sqlite3.SQLITE_BUSY || !time.Now().Before(deadline) {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ended(ctx)
		case <-timer.C:
		}
	}
}
