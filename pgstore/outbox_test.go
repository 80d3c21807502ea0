package pgstore_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/pgstore"
)

// inCallersTx runs f with each kind of transaction that an outbox may write into. end commits it or rolls it back.
func inCallersTx(t *testing.T, f func(t *testing.T, r *rig, begin func() (box webhook.Outbox, end func(commit bool) error))) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		t.Run("pgx", func(t *testing.T) {
			t.Parallel()
			r := newRig(t, s)
			f(t, r, func() (webhook.Outbox, func(bool) error) {
				tx, err := r.pool.Begin(t.Context())
				require.NoError(t, err)
				return r.Tx(tx), func(commit bool) error {
					if commit {
						return tx.Commit(context.Background())
					}
					return tx.Rollback(context.Background())
				}
			})
		})
		// The modes of pgx's driver stand for other drivers: exec and simple_protocol know nothing of the parameters'
		// types, as lib/pq and those behind a proxy do not.
		for _, mode := range []string{"cache_statement", "exec", "simple_protocol"} {
			t.Run("sql, "+mode, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, s)
				db, err := sql.Open("pgx", s.DSN("postgres")+" default_query_exec_mode="+mode)
				require.NoError(t, err)
				t.Cleanup(func() { _ = db.Close() })
				f(t, r, func() (webhook.Outbox, func(bool) error) {
					tx, err := db.BeginTx(context.Background(), nil)
					require.NoError(t, err)
					return r.SQLTx(tx), func(commit bool) error {
						if commit {
							return tx.Commit()
						}
						return tx.Rollback()
					}
				})
			})
		}
	})
}

func TestEventsOfACallersTransaction(t *testing.T) {
	inCallersTx(t, func(t *testing.T, r *rig, begin func() (webhook.Outbox, func(bool) error)) {
		d, err := webhook.NewDispatcher(r.Store, nil)
		require.NoError(t, err)
		r.endpointOf("", "e", webhook.Health{})
		r.endpointOf("", "off", webhook.Health{State: webhook.EndpointDisabled})
		e := experiment(webhook.WithMetadata(map[string]string{`k"\`: `{v,"}\`}), webhook.WithTime(time.Date(0, 5, 6, 7, 8, 9, 0, time.UTC)))

		box, end := begin()
		require.NoError(t, d.EmitTo(t.Context(), box, e))
		_, err = d.Event(t.Context(), e.ID)
		require.ErrorIs(t, err, webhook.ErrNotFound, "seen before the commit")
		require.NoError(t, end(false))
		_, err = d.Event(t.Context(), e.ID)
		require.ErrorIs(t, err, webhook.ErrNotFound, "rolled back")
		require.Empty(t, r.claim(10))

		box, end = begin()
		require.NoError(t, d.EmitTo(t.Context(), box, e, experiment(), experiment()))
		require.NoError(t, end(true))
		require.Len(t, r.claim(10), 3)
		got, err := d.Event(t.Context(), e.ID)
		require.NoError(t, err)
		require.Equal(t, string(e.Body), string(got.Body))
		require.Equal(t, e.Metadata, got.Metadata)
		require.True(t, e.Time.Equal(got.Time), got.Time)
		gaps, err := d.Gaps(t.Context(), "off")
		require.NoError(t, err)
		require.EqualValues(t, 3, gaps[0].Count)
	})
}

func TestAConflictDoesNotEndTheCallersTransaction(t *testing.T) {
	inCallersTx(t, func(t *testing.T, r *rig, begin func() (webhook.Outbox, func(bool) error)) {
		r.endpoint("e", webhook.Health{})
		r.endpoint("off", webhook.Health{State: webhook.EndpointDisabled})
		known := r.emit(1)[0]
		enqueue := func(box webhook.Outbox, events ...webhook.Event) error {
			result, err := box.Enqueue(t.Context(), webhook.EnqueueRequest{
				Tenant: "t", Events: events, HandOver: &webhook.HandOver{Owner: "o", Term: time.Hour, Max: 10},
			})
			require.Empty(t, result.Leases, "nothing can be handed over before the commit")
			return err
		}
		box, end := begin()
		require.NoError(t, enqueue(box, event("first", 1)))
		require.NoError(t, enqueue(box, known), "the same again")
		require.NoError(t, enqueue(box, event("first", 1)), "the same again, of this transaction")
		require.ErrorIs(t, enqueue(box, event(known.ID, "other")), webhook.ErrConflict)
		require.ErrorIs(t, enqueue(box, event("a", 1), event(known.ID, "other"), event("z", 1)), webhook.ErrConflict)
		require.ErrorIs(t, enqueue(box, event("b", 1), event("b", 2)), webhook.ErrConflict)
		require.NoError(t, enqueue(box))
		_, err := box.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{event("c", 1)}, Direct: &webhook.Direct{EndpointID: "e", Kind: webhook.KindTest}})
		require.ErrorIs(t, err, pgstore.ErrDirectInTx)
		require.NoError(t, enqueue(box, event("last", 1), known, event("laster", 1)))
		require.NoError(t, end(true))

		for _, id := range []string{"a", "b", "c", "z"} {
			_, err := r.Event(t.Context(), "t", id)
			require.ErrorIs(t, err, webhook.ErrNotFound, id)
		}
		require.Len(t, r.claim(10), 4)
		gaps, err := r.Gaps(t.Context(), "t", "off")
		require.NoError(t, err)
		require.EqualValues(t, 4, gaps[0].Count, "what was in conflict is not counted")
	})
}

func TestTwoTransactionsWithOneID(t *testing.T) {
	inCallersTx(t, func(t *testing.T, r *rig, begin func() (webhook.Outbox, func(bool) error)) {
		r.endpoint("e", webhook.Health{})
		for name, c := range map[string]struct {
			data   int
			commit bool
			want   error
		}{
			"equal, committed":       {1, true, nil},
			"different, committed":   {2, true, webhook.ErrConflict},
			"different, rolled back": {2, false, nil},
		} {
			one, endOne := begin()
			two, endTwo := begin()
			enqueue := func(box webhook.Outbox, data int) error {
				_, err := box.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{event(name2id(name), data)}})
				return err
			}
			require.NoError(t, enqueue(one, 1))
			answer := make(chan error)
			go func() { answer <- enqueue(two, c.data) }()
			r.waitFor(`SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1`, "%"+r.cfg.Schema+`"%`)
			require.NoError(t, endOne(c.commit))
			require.ErrorIs(t, <-answer, c.want, name)
			require.NoError(t, endTwo(true), name)
			require.Len(t, r.claim(10), 1, name)
		}
	})
}

func name2id(name string) string {
	id := []byte(name)
	for i := range id {
		if id[i] == ' ' || id[i] == ',' {
			id[i] = '_'
		}
	}
	return string(id)
}

// waitFor waits until a count is not zero.
func (r *rig) waitFor(sql string, args ...any) {
	r.Helper()
	require.Eventually(r, func() bool { return r.count(sql, args...) > 0 }, 20*time.Second, 2*time.Millisecond, sql)
}

// A snapshot that is older than the event shows nothing to compare with: that is the database's word, not a conflict.
func TestARepeatableTransactionWithAnIDOfAnother(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		tx, err := r.pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
		require.NoError(t, err)
		defer func() { _ = tx.Rollback(context.Background()) }()
		_, err = tx.Exec(t.Context(), `SELECT 1`)
		require.NoError(t, err)
		known := r.emit(1)
		_, err = r.Tx(tx).Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: known})
		require.Error(t, err)
		require.False(t, errors.Is(err, webhook.ErrConflict))
	})
}

// Emitting waits for nothing that dispatchers and owners hold, and holds nothing that they wait for.
func TestEmittingLocksNothing(t *testing.T) {
	inCallersTx(t, func(t *testing.T, r *rig, begin func() (webhook.Outbox, func(bool) error)) {
		e := r.endpoint("e", webhook.Health{Window: 1})
		r.endpoint("off", webhook.Health{State: webhook.EndpointDisabled})
		r.emit(2)
		box, end := begin()
		_, err := box.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: r.events(3)})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		c, err := r.Claim(ctx, request(10))
		require.NoError(t, err)
		require.Len(t, c.Leases, 1)
		applied, err := r.Record(ctx, []webhook.Outcome{outcome(c.Leases[0], webhook.OutcomeDelivered)})
		require.NoError(t, err)
		require.Equal(t, []bool{true}, applied)
		e.Description = "changed"
		_, err = r.UpdateEndpoint(ctx, e, nil)
		require.NoError(t, err)
		_, err = r.JudgeEndpoint(ctx, "t", "off", func(h webhook.Health, _ time.Time) webhook.Health {
			h.State = webhook.EndpointActive
			return h
		})
		require.NoError(t, err)
		require.NoError(t, r.DeleteEndpoint(ctx, "t", "e"))
		require.NoError(t, end(true))

		// What was enqueued before the endpoint was deleted, and committed after that, fails too.
		require.Empty(t, r.claim(10))
		page, err := r.Deliveries(t.Context(), "t", webhook.DeliveryFilter{EndpointID: "e"})
		require.NoError(t, err)
		states := map[webhook.FailReason]int{}
		for _, d := range page.Deliveries {
			require.True(t, d.State.Final(), d.State)
			states[d.Reason]++
		}
		require.Equal(t, map[webhook.FailReason]int{"": 1, webhook.FailEndpointDeleted: 4}, states)
		// It was missed in the gap that was open then.
		gaps, err := r.Gaps(t.Context(), "t", "off")
		require.NoError(t, err)
		require.Len(t, gaps, 1)
		require.EqualValues(t, 2+3, gaps[0].Count)
		require.False(t, gaps[0].To.IsZero())
		require.Zero(t, r.count(`SELECT count(*) FROM {inbox}`), "the claim has taken it in")
	})
}
