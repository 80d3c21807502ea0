package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/meshia/webhook"
)

// Config is what may be changed about a store.
type Config struct {
	// BusyTimeout is how long a call waits for SQLite's write lock while another connection or process has it; then it
	// fails with [ErrBusy]. It counts in whole milliseconds. Defaults to 5 s. 1 ms to 1 h.
	BusyTimeout time.Duration
	// Readers is how many connections Open keeps for reading; readers and the writer do not wait for each other. New
	// uses the pool that it is given. Defaults to 4. At most 1000.
	Readers int
}

func (c *Config) complete() error {
	var errs []error
	if c.BusyTimeout < 0 || c.BusyTimeout > 0 && c.BusyTimeout < time.Millisecond || c.BusyTimeout > time.Hour {
		errs = append(errs, fmt.Errorf("%w: BusyTimeout must be between 1 ms and 1 h", webhook.ErrInvalidConfig))
	}
	if c.Readers < 0 || c.Readers > 1000 {
		errs = append(errs, fmt.Errorf("%w: Readers must be between 1 and 1000", webhook.ErrInvalidConfig))
	}
	if c.BusyTimeout == 0 {
		c.BusyTimeout = 5 * time.Second
	}
	if c.Readers == 0 {
		c.Readers = 4
	}
	return errors.Join(errs...)
}

// Store is a [webhook.Store] in a SQLite file. It is safe for concurrent use.
type Store struct {
	cfg    Config
	writer *sql.DB // of one connection, unless it is the user's
	reader *sql.DB
	own    bool // opened here
	writes writes
	// What is prepared on the writer's connections, and on the reader's.
	prepared, reads []*sql.Stmt
	bodies          walk
}

var _ webhook.Store = (*Store)(nil)

// Open opens the file at path, which it creates if there is none, and brings its schema up to date. path is a plain
// file name on a local disk: for a URI, or a database in memory, see [New]. nil stands for the default configuration.
//
// Errors: [ErrPath], [ErrSchema], [ErrBusy], [webhook.ErrInvalidConfig], and SQLite's own.
func Open(ctx context.Context, path string, cfg *Config) (*Store, error) {
	s, err := open(ctx, path, cfg)
	return s, wrap("open", err)
}

func open(ctx context.Context, path string, cfg *Config) (*Store, error) {
	s := &Store{own: true}
	if cfg != nil {
		s.cfg = *cfg
	}
	if err := s.cfg.complete(); err != nil {
		return nil, err
	}
	dsn, err := s.dsn(path)
	if err != nil {
		return nil, err
	}
	// The writer alone may change anything, and has a cache for the pages that every transaction touches. It has no
	// busy_timeout: see patiently.
	if s.writer, err = sql.Open("sqlite", dsn+"&_txlock=immediate&_pragma=cache_size(-16000)"); err != nil {
		return nil, err
	}
	s.writer.SetMaxOpenConns(1)
	if s.reader, err = sql.Open("sqlite", dsn+"&_pragma=query_only(1)&_pragma=busy_timeout("+s.busyMillis()+")"); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.reader.SetMaxOpenConns(s.cfg.Readers)
	s.reader.SetMaxIdleConns(s.cfg.Readers)
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(clear(err), s.Close())
	}
	return s, nil
}

// dsn is how the driver is told of the file and of what every connection to it has set.
func (s *Store) dsn(path string) (string, error) {
	switch {
	case path == "":
		return "", fmt.Errorf("%w: an empty one stands for a temporary database, which is lost", ErrPath)
	case strings.HasPrefix(path, ":memory:"):
		return "", fmt.Errorf("%w: a database in memory is another one on each connection, and is lost", ErrPath)
	case strings.HasPrefix(strings.ToLower(path), "file:"):
		return "", fmt.Errorf("%w: a URI is not taken; open it with database/sql and give it to New", ErrPath)
	case strings.IndexByte(path, 0) >= 0:
		return "", fmt.Errorf("%w: it has U+0000 in it", ErrPath)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	abs = filepath.ToSlash(abs)
	if !strings.HasPrefix(abs, "/") { // C:/
		abs = "/" + abs
	}
	q := url.Values{"_pragma": {
		"synchronous(FULL)",
		"fullfsync(1)", // on macOS nothing else reaches the disk
	}}
	return "file:" + (&url.URL{Path: abs}).EscapedPath() + "?" + q.Encode(), nil
}

func (s *Store) busyMillis() string {
	return strconv.FormatInt(s.cfg.BusyTimeout.Milliseconds(), 10)
}

// New is Open on a database of the caller's, opened with the driver "sqlite" of modernc.org/sqlite: so that events can
// be emitted in its own transactions (see [Store.Tx]), and for what needs a URI. Close leaves db open.
//
// What the store writes is only as durable as db's connections make it, so each of them is looked at before it is
// written with, and one that is not set as follows is refused with a [PragmaError]: journal_mode(WAL),
// synchronous(FULL) or EXTRA, and busy_timeout of at least Config.BusyTimeout; encoding must be UTF-8. For example:
//
//	sql.Open("sqlite", "file:app.db?_txlock=immediate&"+
//		"_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
//
// If db is limited to one connection, no method of the store may be called by who has a transaction of db open, but for
// those of [Store.Tx]: it would wait for itself.
//
// Errors: as Open, and [ErrPragma].
func New(ctx context.Context, db *sql.DB, cfg *Config) (*Store, error) {
	if db == nil {
		return nil, wrap("new", fmt.Errorf("%w: there is no database", webhook.ErrInvalidConfig))
	}
	s := &Store{writer: db, reader: db}
	if cfg != nil {
		s.cfg = *cfg
	}
	err := s.cfg.complete()
	if err == nil {
		err = clear(s.start(ctx))
	}
	if err != nil {
		return nil, wrap("new", err)
	}
	return s, nil
}

// start makes the database ready and prepares what will be asked of it.
func (s *Store) start(ctx context.Context) error {
	s.writes.turn, s.writes.limit = make(chan struct{}, 1), maxTime
	if s.own {
		if err := s.walMode(ctx); err != nil {
			return err
		}
	} else if err := s.patiently(ctx, func() error { return s.checkPragmas(ctx, s.writer) }); err != nil { // one connection, and so early: each is looked at before it is written with
		return err
	}
	if err := s.migrate(ctx, migrations); err != nil {
		return err
	}
	// Here and not when they are first needed: in a transaction, the pool may have no other connection to prepare them
	// on.
	if err := s.patiently(ctx, func() (err error) {
		s.prepared, err = prepareAll(ctx, s.writer, statements)
		return err
	}); err != nil {
		return err
	}
	var err error
	s.reads, err = prepareAll(ctx, s.reader, readStatements)
	return err
}

func prepareAll(ctx context.Context, db *sql.DB, queries []string) ([]*sql.Stmt, error) {
	list := make([]*sql.Stmt, 0, len(queries))
	for _, q := range queries {
		stmt, err := db.PrepareContext(ctx, q)
		if err != nil {
			for _, stmt := range list {
				_ = stmt.Close()
			}
			return nil, fmt.Errorf("preparing %q: %w", q, err)
		}
		list = append(list, stmt)
	}
	return list, nil
}

// Close closes what Open opened; calls that are under way fail. On a store made by New it gives back what was prepared
// and leaves the database open.
func (s *Store) Close() error {
	var errs []error
	for _, stmt := range append(s.prepared, s.reads...) {
		errs = append(errs, stmt.Close())
	}
	if s.own {
		if s.reader != nil {
			errs = append(errs, s.reader.Close())
		}
		errs = append(errs, s.writer.Close()) // last, so that it checkpoints the WAL
	}
	return wrap("close", errors.Join(errs...))
}
