package pgstore_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/pgstore"
)

func TestTablesAreMigratedByWhoeverComes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		pool := connect(t, s.DSN(s.Database(t, "")))
		_, err := pgstore.New(t.Context(), pool, nil)
		require.ErrorIs(t, err, pgstore.ErrSchemaMissing)
		require.ErrorContains(t, err, "webhook: pgstore: ")

		var all sync.WaitGroup
		errs := make(chan error, 8)
		for range 8 {
			all.Go(func() { errs <- pgstore.Migrate(context.Background(), pool, nil) })
		}
		all.Wait()
		for range 8 {
			require.NoError(t, <-errs)
		}
		r := &rig{Store: open(t, pool, nil), TB: t, pool: pool, cfg: &pgstore.Config{Schema: "public"}}
		r.endpoint("e", webhook.Health{})
		r.emit(1)
		require.NoError(t, pgstore.Migrate(t.Context(), pool, nil), "again")
		require.Len(t, r.claim(1), 1, "what was there stays")

		second := &pgstore.Config{TablePrefix: "other_"}
		_, err = pgstore.New(t.Context(), pool, second)
		require.ErrorIs(t, err, pgstore.ErrSchemaMissing)
		require.NoError(t, pgstore.Migrate(t.Context(), pool, second))
		list, err := open(t, pool, second).Endpoints(t.Context(), "t")
		require.NoError(t, err)
		require.Empty(t, list, "stores with different prefixes are strangers")
	})
}

func TestAStepThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		cfg := &pgstore.Config{Schema: fmt.Sprintf("half_%d", s.schemas.Add(1))}
		_, err := s.one.Exec(t.Context(), `CREATE SCHEMA `+cfg.Schema+`; CREATE TABLE `+cfg.Schema+`.webhook_gaps ()`)
		require.NoError(t, err)
		require.ErrorContains(t, pgstore.Migrate(t.Context(), s.one, cfg), "step 1")
		_, err = pgstore.New(t.Context(), s.one, cfg)
		require.ErrorIs(t, err, pgstore.ErrSchemaMissing, "the step and what came before it are one transaction")
		_, err = s.one.Exec(t.Context(), `DROP TABLE `+cfg.Schema+`.webhook_gaps`)
		require.NoError(t, err)
		require.NoError(t, pgstore.Migrate(t.Context(), s.one, cfg))
		open(t, s.one, cfg)
		require.Error(t, pgstore.Migrate(t.Context(), s.one, &pgstore.Config{Schema: "nowhere"}))
	})
}

func TestVersionsOfTheTables(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		for _, c := range []struct {
			name             string
			version, minimum int
			open, migrate    error
		}{
			{"older", 0, 0, pgstore.ErrSchemaTooOld, nil},
			{"this one", 1, 1, nil, nil},
			{"newer, and this library can use it", 2, 1, nil, nil},
			{"newer, and this library cannot use it", 3, 2, pgstore.ErrSchemaTooNew, pgstore.ErrSchemaTooNew},
		} {
			r.exec(`UPDATE {meta} SET version = $1, minimum = $2`, c.version, c.minimum)
			_, err := pgstore.New(t.Context(), r.pool, r.cfg)
			require.ErrorIs(t, err, c.open, c.name)
			if c.version == 0 {
				continue // migrating would make the tables that are there
			}
			require.ErrorIs(t, pgstore.Migrate(t.Context(), r.pool, r.cfg), c.migrate, c.name)
			require.Equal(t, c.version, r.count(`SELECT version FROM {meta}`), c.name)
		}
		r.exec(`DELETE FROM {meta}`)
		_, err := pgstore.New(t.Context(), r.pool, r.cfg)
		require.ErrorIs(t, err, pgstore.ErrSchemaMissing)
	})
}

// TestAnOlderLibraryRunsOnALaterSchema calls what a dispatcher does on tables that have got more columns since.
func TestAnOlderLibraryRunsOnALaterSchema(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		for _, table := range []string{"meta", "endpoints", "subscriptions", "lanes", "events", "deliveries", "attempts", "inbox", "gaps", "hours", "replays"} {
			r.exec(`ALTER TABLE {` + table + `} ADD COLUMN later text NOT NULL DEFAULT 'x', ADD COLUMN latest int`)
		}
		r.exec(`UPDATE {meta} SET version = version + 1`)
		r.Store = open(t, r.pool, r.cfg)
		ctx := t.Context()
		e := r.endpoint("we_1", webhook.Health{Verified: true})
		sent := r.emit(3)
		tx, err := r.pool.Begin(ctx)
		require.NoError(t, err)
		_, err = r.Tx(tx).Enqueue(ctx, webhook.EnqueueRequest{Tenant: "t", Events: r.events(1)})
		require.NoError(t, err)
		require.NoError(t, tx.Commit(ctx))

		leases := r.claim(10)
		require.Len(t, leases, 4)
		require.Equal(t, e.Health, leases[0].Endpoint.Health)
		r.record(webhook.OutcomeDelivered, leases[0])
		r.record(webhook.OutcomeFailed, leases[1])
		r.record(webhook.OutcomeRetry, leases[2:]...)
		require.Len(t, r.delivery(leases[0]).Attempts, 1)
		stats, err := r.Stats(ctx, "t", "we_1", time.Now().Add(-time.Hour).Truncate(time.Hour))
		require.NoError(t, err)
		require.EqualValues(t, 2, stats.Pending)

		for _, state := range []webhook.EndpointState{webhook.EndpointDisabled, webhook.EndpointActive} {
			_, err = r.JudgeEndpoint(ctx, "t", "we_1", func(h webhook.Health, _ time.Time) webhook.Health {
				h.State = state
				return h
			})
			require.NoError(t, err)
			r.emit(1) // the first one is missed
			r.claim(1)
		}
		gaps, err := r.Gaps(ctx, "t", "we_1")
		require.NoError(t, err)
		require.Len(t, gaps, 1)
		_, err = r.CreateReplay(ctx, webhook.Replay{ID: "rpl_1", Tenant: "t", EndpointID: "we_1", Failed: true, State: webhook.ReplayRunning})
		require.NoError(t, err)
		_, err = r.ContinueReplay(ctx, webhook.ReplayStep{Max: 100, Pending: 100})
		require.NoError(t, err)

		page, err := r.Deliveries(ctx, "t", webhook.DeliveryFilter{Limit: 50})
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(page.Deliveries), 5)
		event, err := r.Event(ctx, "t", sent[0].ID)
		require.NoError(t, err)
		require.Equal(t, sent[0].Body, event.Body)
		_, err = r.Prune(ctx, webhook.PruneRequest{Deliveries: time.Hour, Bodies: time.Hour, Max: 100})
		require.NoError(t, err)
		require.NoError(t, r.DeleteEndpoint(ctx, "t", "we_1"))
		more, err := r.EraseTenant(ctx, "t", 1000)
		require.NoError(t, err)
		require.False(t, more)
		require.Zero(t, r.count(`SELECT count(*) FROM {events}`))
	})
}

func TestConfigurationsAreRefused(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		long := make([]byte, 64)
		for i := range long {
			long[i] = 'a'
		}
		for _, cfg := range []pgstore.Config{
			{TablePrefix: "A"},
			{TablePrefix: "1a"},
			{TablePrefix: `a"b`},
			{TablePrefix: "a b"},
			{TablePrefix: string(long[:33])},
			{Schema: string(long)},
			{Schema: "a\x00"},
		} {
			_, err := pgstore.New(t.Context(), s.one, &cfg)
			require.ErrorIs(t, err, webhook.ErrInvalidConfig, "%q", cfg)
			require.ErrorIs(t, pgstore.Migrate(t.Context(), s.one, &cfg), webhook.ErrInvalidConfig)
		}
		_, err := pgstore.New(t.Context(), nil, nil)
		require.ErrorIs(t, err, webhook.ErrInvalidConfig)
		nowhere := connect(t, s.DSN("postgres")+" search_path=nowhere")
		_, err = pgstore.New(t.Context(), nowhere, nil)
		require.ErrorIs(t, err, webhook.ErrInvalidConfig)

		cfg := &pgstore.Config{Schema: fmt.Sprintf(`we"ird; -- %d`, s.schemas.Add(1)), TablePrefix: "_" + string(long[:31])}
		_, err = s.one.Exec(t.Context(), `CREATE SCHEMA `+pgx.Identifier{cfg.Schema}.Sanitize())
		require.NoError(t, err)
		require.NoError(t, pgstore.Migrate(t.Context(), s.one, cfg))
		r := &rig{Store: open(t, s.one, cfg), TB: t, pool: s.one, cfg: cfg}
		r.endpoint("e", webhook.Health{})
		r.emit(1)
		r.record(webhook.OutcomeDelivered, r.claim(1)...)
	})
}

// A service needs no more than this on the tables, and nothing on the rest of the schema.
func TestARoleThatMayNotCreateTables(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		owner := newRig(t, s)
		schema := pgx.Identifier{owner.cfg.Schema}.Sanitize()
		role := pgx.Identifier{"clerk of " + owner.cfg.Schema}.Sanitize()
		_, err := owner.pool.Exec(t.Context(), `CREATE ROLE `+role+`; GRANT USAGE ON SCHEMA `+schema+` TO `+role+`; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA `+schema+` TO `+role)
		require.NoError(t, err)
		pool := connect(t, s.DSN("postgres"), func(cfg *pgxpool.Config) {
			cfg.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
				_, err := c.Exec(ctx, `SET ROLE `+role)
				return err
			}
		})
		require.Error(t, pgstore.Migrate(t.Context(), pool, &pgstore.Config{Schema: owner.cfg.Schema, TablePrefix: "x_"}))
		r := &rig{Store: open(t, pool, owner.cfg), TB: t, pool: pool, cfg: owner.cfg}
		e := r.endpoint("e", webhook.Health{})
		r.emit(2)
		leases := r.claim(2)
		_, err = owner.pool.Exec(t.Context(), `REVOKE UPDATE, DELETE ON ALL TABLES IN SCHEMA `+schema+` FROM `+role)
		require.NoError(t, err)
		require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			_, err := r.Tx(tx).Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: r.events(2)})
			return err
		}), "a role that only emits")
		_, err = owner.pool.Exec(t.Context(), `GRANT UPDATE, DELETE ON ALL TABLES IN SCHEMA `+schema+` TO `+role)
		require.NoError(t, err)
		r.record(webhook.OutcomeDelivered, leases...)
		r.replay(e, "rpl_1")
		require.True(t, r.step(10, 10).Stepped)
		require.NoError(t, r.Wake(t.Context()))
		require.NoError(t, r.EraseDelivery(t.Context(), "t", leases[0].Delivery.ID))
		_, err = r.Prune(t.Context(), webhook.PruneRequest{Deliveries: 1, Bodies: 1, Max: 10})
		require.NoError(t, err)
		require.NoError(t, r.DeleteEndpoint(t.Context(), "t", e.ID))
		for more := true; more; {
			more, err = r.EraseTenant(t.Context(), "t", 100)
			require.NoError(t, err)
		}
	})
}

func TestEveryColumnIsDescribed(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		doc, err := os.ReadFile("SCHEMA.md")
		require.NoError(t, err)
		tables := map[string]string{}
		for _, section := range strings.Split(string(doc), "\n## ")[1:] {
			name, rest, _ := strings.Cut(section, "\n")
			tables["webhook_"+name] = rest
		}
		rows, err := r.pool.Query(t.Context(), `SELECT c.relname::text, a.attname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
			WHERE c.relnamespace = $1::text::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND c.relname <> 'webhook_meta'`, pgx.Identifier{r.cfg.Schema}.Sanitize())
		require.NoError(t, err)
		var table, column string
		n := 0
		_, err = pgx.ForEachRow(rows, []any{&table, &column}, func() error {
			n++
			require.Contains(t, tables[table], "| `"+column+"` |", table)
			return nil
		})
		require.NoError(t, err)
		require.Greater(t, n, 80)
	})
}
