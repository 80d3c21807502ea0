// Transactional emits in the transaction that writes the business's own rows: an experiment that is marked as
// completed and its event are stored together, or neither is. One is committed here and one rolled back.
//
//	go run ./examples/transactional
//	go run ./examples/transactional -store postgres://localhost/app
//
// It prints what is in the business's table, and what the receiver got.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/meshia/webhook"
)

func main() {
	where := flag.String("store", "sqlite:transactional.db", "the database: sqlite:FILE or postgres://...")
	flag.Parse()
	if err := run(context.Background(), *where, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "transactional:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, where string, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	db, err := open(ctx, where)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	if _, err := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS experiments (id TEXT PRIMARY KEY, state TEXT NOT NULL)`); err != nil {
		return err
	}

	got := make(received, 10)
	receiver := httptest.NewServer(got)
	defer receiver.Close()
	d, err := webhook.NewDispatcher(db.store, &webhook.Config{
		Logger: slog.New(slog.DiscardHandler), InsecureHTTP: true, AllowAnyPort: true,
		AllowPrefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, // the receiver is on this machine
	})
	if err != nil {
		return err
	}
	// A tenant of this run's own, since the database is there from run to run.
	session := fmt.Sprintf("sess_%d", time.Now().UnixNano())
	d = d.Tenant(session)
	if _, _, err := d.AddEndpoint(ctx, webhook.Endpoint{URL: receiver.URL, Events: []string{webhook.AllEvents}}, webhook.WithoutPing()); err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	var workers sync.WaitGroup
	workers.Go(func() { err = errors.Join(err, d.Run(running)) })
	defer workers.Wait()
	defer stop()

	kept, dropped := "exp_1_of_"+session, "exp_2_of_"+session
	if err := complete(ctx, db, d, session, kept, nil); err != nil {
		return err
	}
	changedMind := errors.New("the caller changed its mind")
	if err := complete(ctx, db, d, session, dropped, changedMind); !errors.Is(err, changedMind) {
		return fmt.Errorf("it was to be rolled back: %w", err)
	}
	return report(ctx, db, d, got, out, kept, dropped)
}

// complete marks an experiment as completed and emits the event for it, in one transaction, which is rolled back if
// refuse is not nil.
func complete(ctx context.Context, db *database, d *webhook.Dispatcher, session, experiment string, refuse error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if _, err := tx.ExecContext(ctx, `INSERT INTO experiments (id, state) VALUES ($1, 'completed')`, experiment); err != nil {
		return err
	}
	e := webhook.ExperimentCompleted.New(session, webhook.ExperimentCompletedData{ExperimentID: experiment, DurationSeconds: 1847})
	if err := d.EmitTo(ctx, db.outbox(tx), e); err != nil { // stored, and not sent before the commit
		return err
	}
	if refuse != nil {
		return refuse
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	d.Wake(ctx) // or it goes out at the next poll, a second later at most
	return nil
}

// report waits for the one event and prints what there is of each experiment.
func report(ctx context.Context, db *database, d *webhook.Dispatcher, got received, out io.Writer, experiments ...string) error {
	var first string
	select {
	case first = <-got:
	case <-ctx.Done():
		return ctx.Err()
	}
	page, err := d.Deliveries(ctx, webhook.DeliveryFilter{})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%-10s  %-9s  %s\n", "EXPERIMENT", "ROW", "EVENT")
	for i, id := range experiments {
		var rows int
		if err := db.QueryRowContext(ctx, `SELECT count(*) FROM experiments WHERE id = $1`, id).Scan(&rows); err != nil {
			return err
		}
		row, event := "none", "none"
		if rows > 0 {
			row = "completed"
		}
		if id == first {
			event = "received"
		}
		fmt.Fprintf(out, "%-10d  %-9s  %s\n", i+1, row, event)
	}
	fmt.Fprintf(out, "\n%d delivery in the log.\n", len(page.Deliveries))
	return nil
}

// received is a receiver that tells which experiments it heard of.
type received chan string

func (c received) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		return
	}
	e, err := webhook.ParseEvent(r.Header.Get(webhook.HeaderID), body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	data, err := webhook.ExperimentCompleted.Decode(e)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c <- data.ExperimentID
}

// database is the business's database, which the webhooks' tables are in too.
type database struct {
	*sql.DB
	store  webhook.Store
	outbox func(*sql.Tx) webhook.Outbox
	close  func() error
}
