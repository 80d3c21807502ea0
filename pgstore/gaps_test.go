package pgstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

func (r *rig) through(id string, states ...webhook.EndpointState) {
	r.Helper()
	for _, state := range states {
		_, err := r.JudgeEndpoint(r.Context(), "t", id, func(h webhook.Health, _ time.Time) webhook.Health {
			h.State = state
			return h
		})
		require.NoError(r, err)
	}
}

func (r *rig) gaps(id string) []webhook.Gap {
	r.Helper()
	gaps, err := r.Gaps(r.Context(), "t", id)
	require.NoError(r, err)
	return gaps
}

func TestGapsHasAnEnd(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		r.endpoint("e", webhook.Health{})
		r.exec(`INSERT INTO {gaps} (tenant, endpoint_id, number, reason, from_at, to_at, count)
			SELECT 't', 'e', n, 'disabled', now(), now(), CASE WHEN n % 2 = 0 THEN n ELSE 0 END FROM generate_series(1, 2010) n`)
		all := r.gaps("e")
		require.Len(t, all, 1000)
		require.EqualValues(t, 2010, all[0].Count)
		require.EqualValues(t, 12, all[999].Count)
	})
}

// TestEmptyGapsAreSwept switches an endpoint off and on, as somebody may for ever.
func TestEmptyGapsAreSwept(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		for _, id := range []string{"e", "other"} {
			r.endpoint(id, webhook.Health{})
			r.through(id, webhook.EndpointDisabled, webhook.EndpointActive)
		}
		r.through("e", webhook.EndpointDisabled)
		r.emit(1)
		r.through("e", webhook.EndpointActive)
		r.claim(0) // counts what was missed
		for range 20 {
			r.through("e", webhook.EndpointDisabled, webhook.EndpointActive)
		}
		require.Equal(t, 22, r.count(`SELECT count(*) FROM {gaps} WHERE endpoint_id = 'e'`), "an event may be on its way to any of them")
		r.age(time.Minute)
		// Other transactions of the server may keep the numbers from moving on for a moment.
		require.Eventually(t, func() bool {
			r.through("e", webhook.EndpointDisabled, webhook.EndpointActive)
			return r.count(`SELECT count(*) FROM {gaps} WHERE endpoint_id = 'e' AND to_at < now() - interval '30 seconds'`) == 1
		}, 20*time.Second, 10*time.Millisecond)
		require.Len(t, r.gaps("e"), 1, "the one that is not empty")
		require.Equal(t, 1, r.count(`SELECT count(*) FROM {gaps} WHERE endpoint_id = 'other'`))
	})
}

// TestAGapWaitsForWhoMayCountInIt has an event missed in a transaction that stays open for long.
func TestAGapWaitsForWhoMayCountInIt(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		r.endpoint("e", webhook.Health{State: webhook.EndpointDisabled})
		tx, err := r.pool.Begin(t.Context())
		require.NoError(t, err)
		defer func() { _ = tx.Rollback(context.Background()) }()
		_, err = r.Tx(tx).Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: r.events(1)})
		require.NoError(t, err)
		r.through("e", webhook.EndpointActive)
		r.age(time.Minute)
		for range 3 {
			r.through("e", webhook.EndpointDisabled, webhook.EndpointActive)
		}
		require.Empty(t, r.gaps("e"))
		require.NoError(t, tx.Commit(t.Context()))
		r.through("e", webhook.EndpointDisabled, webhook.EndpointActive) // which sees that it was missed
		require.Len(t, r.gaps("e"), 1)
		r.claim(0)
		for range 3 {
			r.through("e", webhook.EndpointDisabled, webhook.EndpointActive)
		}
		require.Len(t, r.gaps("e"), 1)
		require.EqualValues(t, 1, r.gaps("e")[0].Count)
	})
}
