package sqlitestore_test

import (
	"database/sql"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/sqlitestore"
)

// file is the path of a file that is not there yet.
func file(t testing.TB) string { return filepath.Join(t.TempDir(), "webhooks.db") }

// open opens the file at path and closes it with the test.
func open(t testing.TB, path string) *sqlitestore.Store {
	t.Helper()
	s, err := sqlitestore.Open(t.Context(), path, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// pool opens the file at path as a user does, with pragmas in the form name(value).
func pool(t testing.TB, path string, pragmas ...string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?"+url.Values{"_pragma": pragmas, "_txlock": {"immediate"}}.Encode())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// durable are the pragmas that New asks for.
var durable = []string{"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)"}

// single is the store on a pool of one connection.
func single(t testing.TB, path string) (*sqlitestore.Store, *sql.DB) {
	t.Helper()
	db := pool(t, path, durable...)
	db.SetMaxOpenConns(1)
	s, err := sqlitestore.New(t.Context(), db, nil)
	require.NoError(t, err)
	return s, db
}

// query reads one value.
func query[T any](t testing.TB, db *sql.DB, text string, args ...any) (v T) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), text, args...).Scan(&v))
	return v
}

func execute(t testing.TB, db *sql.DB, text string, args ...any) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), text, args...)
	require.NoError(t, err)
}

var happened = webhook.NewEventType[any]("test.happened", "", nil)

// endpoint creates an active endpoint with room for 1000 leases, but for what the changes say.
func endpoint(t testing.TB, s *sqlitestore.Store, tenant, id string, changes ...func(*webhook.Endpoint)) webhook.Endpoint {
	t.Helper()
	e := webhook.Endpoint{
		ID: id, Tenant: tenant, URL: "https://example.com/" + id, Events: []string{webhook.AllEvents},
		Secrets: []webhook.StoredSecret{{ID: "s1", Sealed: []byte("\x000123456789abcdef0123456789abcdef")}},
		Health:  webhook.Health{State: webhook.EndpointActive, Window: 1000},
	}
	for _, change := range changes {
		change(&e)
	}
	e, err := s.CreateEndpoint(t.Context(), e, 1_000_000)
	require.NoError(t, err)
	return e
}

func events(n int) []webhook.Event {
	list := make([]webhook.Event, n)
	for i := range list {
		list[i] = happened.New("sess_1", map[string]any{"n": i, "text": "some hundred bytes of data, as an event usually has: a name, an id, a few figures and so on"})
	}
	return list
}

func delivered(l webhook.Lease) webhook.Outcome {
	return webhook.Outcome{
		Tenant: l.Delivery.Tenant, DeliveryID: l.Delivery.ID, EndpointID: l.Delivery.EndpointID, Token: l.Token, Kind: webhook.OutcomeDelivered,
		Attempt: webhook.Attempt{
			Number: l.Delivery.AttemptCount, StartedAt: l.StartedAt, Result: webhook.AttemptDelivered, Status: 200, Latency: time.Millisecond,
			RequestHeader: map[string][]string{"Content-Type": {"application/json"}, "User-Agent": {"Meshia-Webhook/0.1.0"}}, ResponseHeader: map[string][]string{"Date": {"Tue"}},
			ResponseBody: []byte("ok"), SecretID: "s1",
		},
		Judge: func(h webhook.Health, now time.Time) webhook.Health {
			h.LastSuccess = now
			return h
		},
	}
}

// inParallel calls f for 0 to n-1 from so many goroutines.
func inParallel(t testing.TB, goroutines, n int, f func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, goroutines)
	for g := range goroutines {
		wg.Go(func() {
			for i := g; i < n && errs[g] == nil; i += goroutines {
				errs[g] = f(i)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
}

func emit(t testing.TB, s *sqlitestore.Store, tenant string, list ...webhook.Event) {
	t.Helper()
	_, err := s.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: tenant, Events: list})
	require.NoError(t, err)
}

func claim(t testing.TB, s *sqlitestore.Store, n int) []webhook.Lease {
	t.Helper()
	c, err := s.Claim(t.Context(), webhook.ClaimRequest{Owner: "one", Term: time.Hour, Max: n, MaxSlow: n})
	require.NoError(t, err)
	return c.Leases
}

// record expects every outcome to be applied.
func record(t testing.TB, s *sqlitestore.Store, outcomes ...webhook.Outcome) {
	t.Helper()
	applied, err := s.Record(t.Context(), outcomes)
	require.NoError(t, err)
	require.NotContains(t, applied, false)
}

func retry(l webhook.Lease, wait time.Duration) webhook.Outcome {
	o := delivered(l)
	o.Kind, o.Wait, o.Attempt.Result, o.Attempt.Status = webhook.OutcomeRetry, wait, webhook.AttemptFailed, 500
	return o
}

func delivery(t testing.TB, s *sqlitestore.Store, l webhook.Lease) webhook.Delivery {
	t.Helper()
	d, err := s.Delivery(t.Context(), l.Delivery.Tenant, l.Delivery.ID)
	require.NoError(t, err)
	return d
}
