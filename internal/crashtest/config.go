//go:build linux

package crashtest

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/pgstore"
	"github.com/meshia/webhook/sqlitestore"
)

// Role is what a worker does.
type Role string

const (
	Walk  Role = "walk"  // pass every failpoint, then end
	Load  Role = "load"  // emit and deliver until SIGTERM
	Emit  Role = "emit"  // emit and deliver nothing, then end
	Drain Role = "drain" // switch endpoints on, emit Again, deliver until nothing is left, then end
)

// Variable is the environment variable that carries a worker's configuration, as JSON.
const Variable = "WEBHOOK_CRASHTEST"

// Config is what a worker is told.
type Config struct {
	Name   string // of the process: it begins the ids of its events
	Ledger string // a file
	Role   Role

	Store       string // "sqlite" or "postgres"
	DSN         string // a path or a connection string
	BusyTimeout time.Duration
	MaxPages    int // at most so many pages may the SQLite file have; 0: any number

	Secret    string
	Endpoints []Target
	Side      *Target // the endpoint that a walk adds, switches off and on, and deletes

	Events    int           // how many to emit; in a Load 0 is no bound, and less is none
	Pause     time.Duration // between two of them
	Large     int           // bytes of padding in every other event
	EmitAgain bool          // an event whose fate is unknown is emitted again until it is accepted
	Again     []string      // ids of events to emit again

	Timeout, DrainTime time.Duration
	Poll               time.Duration
	Slots, MaxInFlight int
	Retries            []time.Duration
	PauseAfter         int // failures in a row; 0: 5

	logger *slog.Logger // nil: to stderr
}

// Target is an endpoint.
type Target struct{ ID, URL string }

// Note is the data of the events that workers emit. It follows from the id alone, so that an event can be emitted
// again.
type Note struct {
	ID      string `json:"id"`
	Padding string `json:"padding"`
}

// NoteWritten is the events' type.
var NoteWritten = webhook.NewEventType("note.written", "A worker wrote a note.", Note{ID: "p1_1"})

// ReadConfig reads the worker's configuration from the environment.
func ReadConfig() (*Config, error) {
	text, set := os.LookupEnv(Variable)
	if !set {
		return nil, fmt.Errorf("%s is not set: the tests of internal/crashtest start this command", Variable)
	}
	var c Config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return nil, fmt.Errorf("%s: %w", Variable, err)
	}
	return &c, nil
}

// Dispatcher is the configuration of the worker's dispatcher.
func (c *Config) Dispatcher() *webhook.Config {
	logger := c.logger
	if logger == nil {
		logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	return &webhook.Config{
		Registry: webhook.NewRegistry(NoteWritten), Retry: webhook.Schedule(c.Retries),
		Timeout: c.Timeout, Drain: c.DrainTime, Poll: c.Poll, Slots: c.Slots, MaxInFlight: c.MaxInFlight,
		PauseAfter: cmp.Or(c.PauseAfter, 5), PauseMin: 50 * time.Millisecond, PauseMax: 100 * time.Millisecond,
		KeepDeliveries: KeepDeliveries, KeepBodies: KeepBodies,
		InsecureHTTP: true, AllowAnyPort: true, AllowPrefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Logger: logger,
	}
}

// How long a worker keeps what is finished. No test runs for as long: only what was made old on purpose is removed.
const (
	KeepDeliveries = 48 * time.Hour
	KeepBodies     = 24 * time.Hour
)

// opened is a store, and how to emit within a transaction beside it.
type opened struct {
	webhook.Store
	emitTo func(ctx context.Context, emit func(webhook.Outbox) error) error // returns nil when it is committed
	close  func() error
}

func (c *Config) open(ctx context.Context) (*opened, error) {
	switch c.Store {
	case "sqlite":
		return c.openSQLite(ctx)
	case "postgres":
		return c.openPostgres(ctx)
	default:
		return nil, fmt.Errorf("there is no store %q", c.Store)
	}
}

func (c *Config) openSQLite(ctx context.Context) (*opened, error) {
	cfg := &sqlitestore.Config{BusyTimeout: c.BusyTimeout}
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {
		"busy_timeout(" + strconv.FormatInt(max(c.BusyTimeout.Milliseconds(), 5000), 10) + ")", "journal_mode(WAL)", "synchronous(FULL)",
	}}
	if c.MaxPages > 0 { // the bound is a connection's own, so the store writes on ours
		q["_pragma"] = append(q["_pragma"], "max_page_count("+strconv.Itoa(c.MaxPages)+")")
		q["_pragma"][0] = "busy_timeout(5000)"
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: c.DSN}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(4)
	var store *sqlitestore.Store
	if c.MaxPages > 0 {
		store, err = sqlitestore.New(ctx, db, cfg)
	} else {
		store, err = sqlitestore.Open(ctx, c.DSN, cfg)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &opened{
		Store: store,
		emitTo: func(ctx context.Context, emit func(webhook.Outbox) error) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback() // after a commit it does nothing
			if err := emit(store.Tx(tx)); err != nil {
				return err
			}
			return tx.Commit()
		},
		close: func() error { return errors.Join(store.Close(), db.Close()) },
	}, nil
}

func (c *Config) openPostgres(ctx context.Context) (*opened, error) {
	cfg, err := pgxpool.ParseConfig(c.DSN)
	if err != nil {
		return nil, err
	}
	cfg.ConnConfig.RuntimeParams["application_name"] = c.Name // so that the test sees when the server has done with it
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := pgstore.Migrate(ctx, pool, nil); err != nil {
		pool.Close()
		return nil, err
	}
	store, err := pgstore.New(ctx, pool, nil)
	if err != nil {
		pool.Close()
		return nil, err
	}
	return &opened{
		Store: store,
		emitTo: func(ctx context.Context, emit func(webhook.Outbox) error) error {
			tx, err := pool.Begin(ctx)
			if err != nil {
				return err
			}
			defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // after a commit it does nothing
			if err := emit(store.Tx(tx)); err != nil {
				return err
			}
			return tx.Commit(ctx)
		},
		close: func() error { pool.Close(); return nil },
	}, nil
}
