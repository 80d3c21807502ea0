package sqlitestore

import (
	"context"
	"errors"
	"fmt"

	"github.com/meshia/webhook"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

var (
	// ErrBusy says that another connection or process held SQLite's write lock for longer than Config.BusyTimeout, or,
	// with New, that no connection of the pool got free in that time. Nothing was changed; try again.
	ErrBusy = errors.New("the database is locked by another writer")
	// ErrPragma says that a connection does not have a setting that the store's guarantees need. See [PragmaError].
	ErrPragma = errors.New("a connection's setting is not what the store needs")
	// ErrSchema says that the file's schema is of a later version of the library, which does not let this one use it
	// any more.
	ErrSchema = errors.New("the database's schema is too new for this version of the library")
	// ErrPath says that Open cannot use the path: it names no file of its own.
	ErrPath = errors.New("not the path of a file")
	// ErrDirectInTx says that a delivery to one endpoint cannot be made in a transaction of the caller's: it is leased,
	// and sent, at once.
	ErrDirectInTx = errors.New("a ping, test or redelivery cannot be part of a transaction")
)

// PragmaError is an [ErrPragma] that says which setting is wrong.
type PragmaError struct {
	Name string // of the PRAGMA
	Got  string
	Want string
}

func (e *PragmaError) Error() string {
	return fmt.Sprintf("%v: PRAGMA %s is %s, and must be %s", ErrPragma, e.Name, e.Got, e.Want)
}

// Unwrap returns [ErrPragma].
func (e *PragmaError) Unwrap() error { return ErrPragma }

// clear makes a SQLite error one that can be told from others.
func clear(err error) error {
	if err == nil || errors.Is(err, ErrBusy) {
		return err
	}
	switch code(err) {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return fmt.Errorf("%w: %w", ErrBusy, err)
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: the disk is, or max_page_count is reached: %w", webhook.ErrStoreFull, err)
	default:
		return err
	}
}

// code is the primary result code of a SQLite error, or 0.
func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// wrap says in an error whose it is, and what was asked.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("webhook: sqlite store: %s: %w", what, err)
}

// refusal is an error for which an operation changed nothing, so that what else is in its transaction stands.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

func refuse(format string, args ...any) error { return refusal{fmt.Errorf(format, args...)} }

// ended is the error of a call whose context has ended.
func ended(ctx context.Context) error { return ctx.Err() }
