package pgstore_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/pgtest"
	"github.com/meshia/webhook/pgstore"
)

// servers are the clusters that the tests share, one for each version of Postgres.
var servers struct {
	sync.Mutex
	byMajor map[int]*server
}

// server has one database in which each store has a schema of its own: that is ten times quicker than a database each.
type server struct {
	*pgtest.Cluster
	one, two *pgxpool.Pool // as two processes have them
	schemas  atomic.Int64
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, s := range servers.byMajor {
		s.one.Close()
		s.two.Close()
		if err := s.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// each runs f on each version of Postgres.
func each(t *testing.T, f func(t *testing.T, s *server)) {
	t.Helper()
	pgtest.Each(t, func(t *testing.T, i pgtest.Installation) {
		t.Parallel()
		f(t, running(t, i))
	})
}

func running(t testing.TB, i pgtest.Installation) *server {
	t.Helper()
	servers.Lock()
	defer servers.Unlock()
	if s := servers.byMajor[i.Major]; s != nil {
		return s
	}
	c, err := i.Open(&pgtest.Options{Settings: []string{"max_connections=400"}})
	require.NoError(t, err)
	if servers.byMajor == nil {
		servers.byMajor = map[int]*server{}
	}
	s := &server{Cluster: c, one: dial(t, c.DSN("postgres")), two: dial(t, c.DSN("postgres"))}
	servers.byMajor[i.Major] = s
	return s
}

// schema makes a schema with the tables in it.
func (s *server) schema(t testing.TB) *pgstore.Config {
	t.Helper()
	cfg := &pgstore.Config{Schema: fmt.Sprintf("Schema %d", s.schemas.Add(1))}
	_, err := s.one.Exec(context.Background(), `CREATE SCHEMA "`+cfg.Schema+`"`)
	require.NoError(t, err)
	require.NoError(t, pgstore.Migrate(context.Background(), s.one, cfg))
	return cfg
}

// dial opens a pool, and leaves closing it to the caller.
func dial(t testing.TB, dsn string, changes ...func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(dsn)
	require.NoError(t, err)
	cfg.MaxConns = 16
	for _, change := range changes {
		change(cfg)
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	require.NoError(t, err)
	return pool
}

// connect opens a pool for this test.
func connect(t testing.TB, dsn string, changes ...func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	pool := dial(t, dsn, changes...)
	t.Cleanup(pool.Close)
	return pool
}

func open(t testing.TB, pool *pgxpool.Pool, cfg *pgstore.Config) *pgstore.Store {
	t.Helper()
	s, err := pgstore.New(context.Background(), pool, cfg)
	require.NoError(t, err)
	return s
}

// rig is a store with tables of its own, and shorthands.
type rig struct {
	*pgstore.Store
	testing.TB
	server *server
	pool   *pgxpool.Pool
	cfg    *pgstore.Config
	n      int
}

func newRig(t testing.TB, s *server) *rig {
	t.Helper()
	cfg := s.schema(t)
	return &rig{Store: open(t, s.one, cfg), TB: t, server: s, pool: s.one, cfg: cfg}
}

// other is another process on the same tables.
func (r *rig) other() *rig {
	r.Helper()
	return &rig{Store: open(r, r.server.two, r.cfg), TB: r.TB, server: r.server, pool: r.server.two, cfg: r.cfg}
}

// sql puts the names of the tables into a statement: {deliveries}.
func (r *rig) sql(text string) string {
	for _, name := range []string{"meta", "endpoints", "subscriptions", "lanes", "events", "deliveries", "attempts", "inbox", "gaps", "hours", "replays"} {
		text = strings.ReplaceAll(text, "{"+name+"}", pgx.Identifier{r.cfg.Schema, "webhook_" + name}.Sanitize())
	}
	return text
}

func (r *rig) endpoint(id string, h webhook.Health, events ...string) webhook.Endpoint {
	r.Helper()
	return r.endpointOf("t", id, h, events...)
}

func (r *rig) endpointOf(tenant, id string, h webhook.Health, events ...string) webhook.Endpoint {
	r.Helper()
	if h.State == "" {
		h.State = webhook.EndpointActive
	}
	if h.Window == 0 {
		h.Window = 100
	}
	if events == nil {
		events = []string{"*"}
	}
	e, err := r.CreateEndpoint(r.Context(), webhook.Endpoint{ID: id, Tenant: tenant, URL: "https://example.com/" + id, Events: events, Health: h}, 1<<30)
	require.NoError(r, err)
	return e
}

func event(id string, data any, opts ...webhook.EventOption) webhook.Event {
	return webhook.NewEventType[any]("happened", "", nil).New("sess", data, append([]webhook.EventOption{webhook.WithID(id)}, opts...)...)
}

func (r *rig) events(n int) []webhook.Event {
	events := make([]webhook.Event, n)
	for i := range events {
		r.n++
		events[i] = event(fmt.Sprintf("evt_%d", r.n), r.n)
	}
	return events
}

func (r *rig) emit(n int) []webhook.Event {
	r.Helper()
	events := r.events(n)
	_, err := r.Enqueue(r.Context(), webhook.EnqueueRequest{Tenant: "t", Events: events})
	require.NoError(r, err)
	return events
}

func request(n int) webhook.ClaimRequest {
	return webhook.ClaimRequest{Owner: "o", Term: time.Hour, Max: n, MaxSlow: n}
}

func (r *rig) claim(n int) []webhook.Lease {
	r.Helper()
	c, err := r.Claim(r.Context(), request(n))
	require.NoError(r, err)
	return c.Leases
}

func outcome(l webhook.Lease, kind webhook.OutcomeKind) webhook.Outcome {
	o := webhook.Outcome{Tenant: l.Delivery.Tenant, DeliveryID: l.Delivery.ID, EndpointID: l.Delivery.EndpointID, Token: l.Token, Kind: kind}
	o.Attempt = webhook.Attempt{
		Number: l.Delivery.AttemptCount, StartedAt: l.StartedAt, Result: webhook.AttemptDelivered, Status: 200,
		RequestHeader: map[string][]string{"A": {"1"}}, ResponseHeader: map[string][]string{"B": {"2"}}, ResponseBody: []byte("ok"),
	}
	if kind == webhook.OutcomeFailed {
		o.Reason = webhook.FailExhausted
	}
	return o
}

func (r *rig) record(kind webhook.OutcomeKind, leases ...webhook.Lease) {
	r.Helper()
	outcomes := make([]webhook.Outcome, len(leases))
	for i, l := range leases {
		outcomes[i] = outcome(l, kind)
	}
	applied, err := r.Record(r.Context(), outcomes)
	require.NoError(r, err)
	require.NotContains(r, applied, false)
}

func (r *rig) delivery(l webhook.Lease) webhook.Delivery {
	r.Helper()
	d, err := r.Delivery(r.Context(), l.Delivery.Tenant, l.Delivery.ID)
	require.NoError(r, err)
	return d
}

func (r *rig) count(sql string, args ...any) int {
	r.Helper()
	var n int
	require.NoError(r, r.pool.QueryRow(r.Context(), r.sql(sql), args...).Scan(&n))
	return n
}

func (r *rig) exec(sql string, args ...any) {
	r.Helper()
	_, err := r.pool.Exec(r.Context(), r.sql(sql), args...)
	require.NoError(r, err)
}

// trips counts the batches that a pool has sent: each is a round trip.
type trips struct{ atomic.Int64 }

func (*trips) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}
func (*trips) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (n *trips) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	n.Add(1)
	return ctx
}
func (*trips) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (*trips) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// commits is how many transactions the database has committed.
func commits(r *rig) int {
	time.Sleep(1100 * time.Millisecond) // connections report what they did once a second
	return r.count(`SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()`)
}
