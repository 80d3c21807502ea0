package sqlitestore_test

import (
	"context"
	"database/sql"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/sqlitestore"
	"github.com/meshia/webhook/webhooktest"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// run is a dispatcher at work, with an endpoint at the receiver.
func run(t *testing.T, s *sqlitestore.Store, r *webhooktest.Receiver, poll time.Duration) *webhook.Dispatcher {
	t.Helper()
	d, err := webhook.NewDispatcher(s, &webhook.Config{
		Registry: webhook.NewRegistry(happened), UnguardedTransport: webhooktest.Transport(r), Poll: poll, Logger: quiet,
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	_, _, err = d.AddEndpoint(t.Context(), webhook.Endpoint{ID: "we_1", URL: "https://example.com/hook", Events: []string{webhook.AllEvents}, Secret: webhook.NewSecret("secret")}, webhook.WithoutPing())
	require.NoError(t, err)
	return d
}

func TestEmitToInTheCallersTransaction(t *testing.T) {
	t.Parallel()
	for name, connect := range map[string]func(t *testing.T) (*sqlitestore.Store, *sql.DB){
		"on New's pool": func(t *testing.T) (*sqlitestore.Store, *sql.DB) { return single(t, file(t)) },
		"on a pool of its own": func(t *testing.T) (*sqlitestore.Store, *sql.DB) {
			path := file(t)
			return open(t, path), pool(t, path, durable...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, db := connect(t)
			execute(t, db, "CREATE TABLE orders (id TEXT)")
			r := webhooktest.NewReceiver(t)
			d := run(t, s, r, time.Hour) // nothing but Wake tells it

			undone, done := events(1)[0], events(1)[0]
			for _, e := range []webhook.Event{undone, done} {
				tx, err := db.BeginTx(t.Context(), nil)
				require.NoError(t, err)
				_, err = tx.ExecContext(t.Context(), "INSERT INTO orders VALUES (?)", e.ID)
				require.NoError(t, err)
				box := s.Tx(tx)
				require.NoError(t, d.EmitTo(t.Context(), box, e))
				require.NoError(t, d.EmitTo(t.Context(), box, e), "the same event again")
				if e.ID == undone.ID {
					require.NoError(t, tx.Rollback())
					continue
				}
				require.NoError(t, tx.Commit())
			}
			d.Wake(t.Context())
			require.Eventually(t, func() bool { return len(r.Requests()) == 1 }, 10*time.Second, 2*time.Millisecond)
			require.Equal(t, done.ID, r.Requests()[0].Header.Get(webhook.HeaderID))
			_, err := d.Event(t.Context(), undone.ID)
			require.ErrorIs(t, err, webhook.ErrNotFound)
			require.Equal(t, done.ID, query[string](t, db, "SELECT group_concat(id) FROM orders"))
			require.Equal(t, 1, query[int](t, db, "SELECT count(*) FROM webhook_deliveries"))
		})
	}
}

func TestWhatFailsInATransactionLeavesItAsItWas(t *testing.T) {
	t.Parallel()
	s, db := single(t, file(t))
	endpoint(t, s, "t", "we_1")
	endpoint(t, s, "u", "we_1") // which has nothing else to send
	known := happened.New("", "first", webhook.WithID("known"))
	emit(t, s, "t", known)
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	box := s.Tx(tx)
	first, last := events(2), events(1)
	_, err = box.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: first})
	require.NoError(t, err)

	_, err = box.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: append(events(1), happened.New("", "second", webhook.WithID("known")))})
	require.ErrorIs(t, err, webhook.ErrConflict)
	_, err = box.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: last, Direct: &webhook.Direct{EndpointID: "we_1", Kind: webhook.KindTest}})
	require.ErrorIs(t, err, sqlitestore.ErrDirectInTx)
	_, err = tx.ExecContext(t.Context(), "CREATE TEMP TRIGGER poison BEFORE INSERT ON main.webhook_deliveries WHEN NEW.state = 'pending' BEGIN SELECT RAISE(ABORT, 'poisoned'); END")
	require.NoError(t, err)
	_, err = box.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: events(2)})
	require.ErrorContains(t, err, "poisoned")
	_, err = tx.ExecContext(t.Context(), "DROP TRIGGER poison")
	require.NoError(t, err)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = box.Enqueue(ended, webhook.EnqueueRequest{Tenant: "t", Events: events(1)})
	require.ErrorIs(t, err, context.Canceled)

	result, err := box.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "u", Events: last, HandOver: &webhook.HandOver{Owner: "one", Term: time.Hour, Max: 5}})
	require.NoError(t, err)
	require.Empty(t, result.Leases, "what is not committed was handed over")
	require.NoError(t, tx.Commit())
	require.Equal(t, 4, query[int](t, db, "SELECT count(*) FROM webhook_events"))
	require.Len(t, claim(t, s, 10), 4)
	_, err = box.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: events(1)})
	require.ErrorIs(t, err, sql.ErrTxDone)
}

func TestATransactionOnAConnectionThatLosesCommits(t *testing.T) {
	t.Parallel()
	path := file(t)
	s, db := open(t, path), pool(t, path, "busy_timeout(5000)", "synchronous(NORMAL)")
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = s.Tx(tx).Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: events(1)})
	require.ErrorIs(t, err, sqlitestore.ErrPragma)
	require.NoError(t, tx.Commit())
	require.Zero(t, query[int](t, db, "SELECT count(*) FROM webhook_events"))
}

// TestATransactionThatReadTooEarly was not begun IMMEDIATE, and somebody else commits between its read and its write.
func TestATransactionThatReadTooEarly(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path)
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)&_pragma=synchronous(FULL)")
	require.NoError(t, err)
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback()
	var n int
	require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT count(*) FROM webhook_events").Scan(&n))
	emit(t, s, "t", events(1)...)
	_, err = s.Tx(tx).Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: events(1)})
	require.ErrorIs(t, err, sqlitestore.ErrBusy)
}
