package sqlitestore_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/sqlitestore"
)

// accept is a network in which every endpoint answers 204.
type accept chan *http.Request

func (a accept) RoundTrip(r *http.Request) (*http.Response, error) {
	a <- r
	return &http.Response{StatusCode: http.StatusNoContent, Body: http.NoBody, Request: r}, nil
}

func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	ctx, stop := context.WithCancel(context.Background())
	store, err := sqlitestore.Open(ctx, filepath.Join(dir, "webhooks.db"), nil)
	if err != nil {
		panic(err)
	}
	sent := make(accept, 1)
	d, err := webhook.NewDispatcher(store, &webhook.Config{UnguardedTransport: sent}) // for the example's sake
	if err != nil {
		panic(err)
	}
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()

	if _, _, err = d.AddEndpoint(ctx, webhook.Endpoint{
		URL: "https://example.com/hook", Events: []string{webhook.AllEvents}, Secret: webhook.GenerateSecret(),
	}, webhook.WithoutPing()); err != nil {
		panic(err)
	}
	// When Emit returns, the event is on the disk.
	if err := d.Emit(ctx, webhook.SessionStopped.New("sess_abc123", webhook.SessionStoppedData{StoppedBy: webhook.StoppedByUser})); err != nil {
		panic(err)
	}
	fmt.Println("sent to", (<-sent).URL.Host)

	stop()
	fmt.Println(<-done, store.Close())
	// Output:
	// sent to example.com
	// <nil> <nil>
}

func ExampleStore_Tx() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	ctx := context.Background()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "app.db")+
		"?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		panic(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "CREATE TABLE sessions (id TEXT, state TEXT)"); err != nil {
		panic(err)
	}
	store, err := sqlitestore.New(ctx, db, nil)
	if err != nil {
		panic(err)
	}
	defer store.Close()
	d, err := webhook.NewDispatcher(store, nil)
	if err != nil {
		panic(err)
	}

	// The session is stopped and the event is emitted, or neither.
	stop := func(session string) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback() // after the commit it does nothing
		if _, err := tx.ExecContext(ctx, "INSERT INTO sessions VALUES (?, 'stopped')", session); err != nil {
			return err
		}
		event := webhook.SessionStopped.New(session, webhook.SessionStoppedData{StoppedBy: webhook.StoppedByUser}, webhook.WithID("stopped-"+session))
		if err := d.EmitTo(ctx, store.Tx(tx), event); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		d.Wake(ctx)
		return nil
	}
	fmt.Println(stop("sess_abc123"))
	event, err := d.Event(ctx, "stopped-sess_abc123")
	fmt.Println(event.Type, err)
	// Output:
	// <nil>
	// session.stopped <nil>
}
