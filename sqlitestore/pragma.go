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

// walMode switches the file to WAL, which lasts. SQLite does not always wait for who has the file, so this does.
func (s *Store) walMode(ctx context.Context) error {
	deadline := time.Now().Add(s.cfg.BusyTimeout)
	for {
		var mode string
		err := s.writer.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode)
		switch {
		case err == nil && strings.EqualFold(mode, "wal"):
			return nil
		case err == nil:
			return &PragmaError{"journal_mode", strings.ToUpper(mode), "WAL (does the file system support it?)"}
		case code(err) != sqlite3.SQLITE_BUSY || time.Now().After(deadline):
			return err
		}
		timer := time.NewTimer(5 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ended(ctx)
		case <-timer.C:
		}
	}
}
