package pgstore_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/pgstore"
	"github.com/meshia/webhook/storetest"
)

func TestStoreKeepsTheContract(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		var configs sync.Map // of stores
		storetest.Config{
			Handle: func(t *testing.T, store webhook.Store) webhook.Store {
				cfg, ok := configs.Load(store)
				require.True(t, ok)
				return open(t, s.two, cfg.(*pgstore.Config))
			},
			Backdate: func(t *testing.T, store webhook.Store, hours int) {
				cfg, ok := configs.Load(store)
				require.True(t, ok)
				r := &rig{Store: store.(*pgstore.Store), TB: t, pool: s.one, cfg: cfg.(*pgstore.Config)}
				const away = 1_000_000 // by way of where no other row is
				r.exec(`UPDATE {hours} SET hour = hour - $1::int * interval '1 hour'`, away+hours)
				r.exec(`UPDATE {hours} SET hour = hour + $1::int * interval '1 hour'`, away)
			},
		}.Run(t, func(t *testing.T) webhook.Store {
			cfg := s.schema(t)
			store := open(t, s.one, cfg)
			configs.Store(webhook.Store(store), cfg)
			return store
		})
	})
}

// What a proxy that pools transactions makes necessary: no prepared statements, or none that are kept.
func TestEveryModeOfTheDriver(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		for _, mode := range []string{"cache_describe", "describe_exec", "exec", "simple_protocol"} {
			t.Run(mode, func(t *testing.T) {
				t.Parallel()
				cfg := s.schema(t)
				pool := connect(t, s.DSN("postgres")+" default_query_exec_mode="+mode)
				r := &rig{Store: open(t, pool, cfg), TB: t, pool: pool, cfg: cfg}
				e, err := r.CreateEndpoint(t.Context(), webhook.Endpoint{
					ID: "e", Tenant: "t", URL: "https://example.com", Events: []string{"*"}, Timeout: 1500*time.Millisecond + 1,
					StoredHeaders: []webhook.StoredHeader{{Name: "X-A", Sealed: webhook.Sealed("\x00'\"\\")}},
					Health:        webhook.Health{State: webhook.EndpointActive, Window: 100, LastFailure: time.Unix(1e9, 0).UTC()},
				}, 10)
				require.NoError(t, err)
				off := r.endpoint("off", webhook.Health{State: webhook.EndpointDisabled})
				first := event("first", "é'\"\\", webhook.WithMetadata(map[string]string{"a": "'\"\\"}))
				result, err := r.Enqueue(t.Context(), webhook.EnqueueRequest{
					Tenant: "t", Events: []webhook.Event{first}, HandOver: &webhook.HandOver{Owner: "o", Term: time.Hour, Max: 1},
				})
				require.NoError(t, err)
				require.Len(t, result.Leases, 1)
				r.record(webhook.OutcomeRetry, result.Leases...)
				r.emit(3)
				bounded := request(10)
				bounded.MaxPending, bounded.MaxTenant, bounded.Tenants = 4, 1, map[string]int{"t": 4, "u": 0}
				bounded.Skip = []webhook.EndpointRef{{Tenant: "t", ID: off.ID}}
				claimed, err := r.Claim(t.Context(), bounded)
				require.NoError(t, err)
				require.Len(t, claimed.Leases, 4)
				require.Equal(t, []webhook.EndpointRef{{Tenant: "t", ID: "e"}}, claimed.Backlogged)
				r.record(webhook.OutcomeDeferred, claimed.Leases[0])
				r.record(webhook.OutcomeDelivered, claimed.Leases[1:]...)
				r.record(webhook.OutcomeDelivered, r.claim(1)...)
				stats, err := r.Stats(t.Context(), "t", "e", time.Time{})
				require.NoError(t, err)
				sum := stats.Sum()
				require.EqualValues(t, 6, sum.Attempts())
				require.Zero(t, stats.Pending)
				_, err = r.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{event("first", 2)}})
				require.ErrorIs(t, err, webhook.ErrConflict)
				result, err = r.Enqueue(t.Context(), webhook.EnqueueRequest{
					Tenant: "t", Events: []webhook.Event{first}, Direct: &webhook.Direct{EndpointID: e.ID, Kind: webhook.KindRedelivery, Owner: "o", Term: time.Millisecond},
				})
				require.NoError(t, err)
				require.Equal(t, first.Metadata, result.Leases[0].Event.Metadata)
				require.Eventually(t, func() bool { return len(r.claim(1)) == 1 }, 20*time.Second, 2*time.Millisecond, "the lease is lost")
				e.Rate, e.Burst = 0.5, 3
				updated, err := r.UpdateEndpoint(t.Context(), e, nil)
				require.NoError(t, err)
				e.Version++
				require.Equal(t, e, updated)
				_, err = r.JudgeEndpoint(t.Context(), "t", off.ID, func(h webhook.Health, now time.Time) webhook.Health {
					h.State, h.Since = webhook.EndpointActive, now
					return h
				})
				require.NoError(t, err)
				gaps, err := r.Gaps(t.Context(), "t", off.ID)
				require.NoError(t, err)
				require.EqualValues(t, 4, gaps[0].Count)
				replay := r.replay(off, "rpl_1")
				require.Equal(t, webhook.ReplayStepped{Stepped: true, Queued: true}, r.step(10, 10))
				require.EqualValues(t, 4, r.latest(off).Queued)
				stopped, err := r.StopReplay(t.Context(), "t", replay.ID)
				require.NoError(t, err)
				require.Equal(t, webhook.ReplayDone, stopped.State)
				result, err = r.Enqueue(t.Context(), webhook.EnqueueRequest{
					Tenant: "t", Events: []webhook.Event{first}, Direct: &webhook.Direct{EndpointID: off.ID, Kind: webhook.KindRedelivery, Queued: true},
				})
				require.NoError(t, err)
				require.Equal(t, webhook.EnqueueResult{Queued: true}, result)
				page, err := r.Deliveries(t.Context(), "t", webhook.DeliveryFilter{State: webhook.DeliverySucceeded, Limit: 3})
				require.NoError(t, err)
				require.Len(t, page.Deliveries, 3)
				require.NotEmpty(t, page.Deliveries[0].Attempts)
				require.NoError(t, r.EraseDelivery(t.Context(), "t", page.Deliveries[0].ID))
				_, err = r.Prune(t.Context(), webhook.PruneRequest{Deliveries: time.Nanosecond, Bodies: time.Nanosecond, Max: 10})
				require.NoError(t, err)
				_, err = r.Tenants(t.Context(), nil, 10)
				require.NoError(t, err)
				require.NoError(t, r.DeleteEndpoint(t.Context(), "t", e.ID))
				_, err = r.EraseTenant(t.Context(), "t", 100)
				require.NoError(t, err)
			})
		}
	})
}
