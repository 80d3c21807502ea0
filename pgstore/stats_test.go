package pgstore_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

func (r *rig) stats(since time.Time) webhook.Stats {
	r.Helper()
	stats, err := r.Stats(r.Context(), "t", "e", since)
	require.NoError(r, err)
	return stats
}

// Many record at once what falls into one hour, in classes that are not the same.
func TestHoursAddUp(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		r.endpoint("e", webhook.Health{})
		const writers, each = 6, 5
		r.emit(writers * each)
		leases := r.claim(writers * each)
		var want webhook.Histogram
		var all sync.WaitGroup
		for w := range writers {
			var outcomes []webhook.Outcome
			for i, l := range leases[w*each : (w+1)*each] {
				o := outcome(l, webhook.OutcomeDelivered)
				o.Attempt.Latency = time.Duration(1+i*w*w*w) * 50 * time.Millisecond
				if i == 0 {
					o.Kind, o.Attempt.Result, o.Reason = webhook.OutcomeFailed, webhook.AttemptFailed, webhook.FailGone
				}
				want.Add(o.Attempt.Latency)
				outcomes = append(outcomes, o)
			}
			all.Go(func() {
				_, err := r.Record(t.Context(), outcomes)
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		stats := r.stats(time.Time{})
		sum := stats.Sum() // of two hours where one has just begun
		require.EqualValues(t, writers, sum.Failed)
		require.EqualValues(t, writers*(each-1), sum.Delivered)
		require.Equal(t, want, sum.Latency)
		require.Zero(t, r.count(`SELECT count(*) FROM {hours} WHERE latency[cardinality(latency)] = 0`), "zeros are kept at the end")
	})
}

// Hours begin where those of UTC do, wherever the session is, and a moment within one leaves it out.
func TestHoursOfAnOddZone(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		cfg := s.schema(t)
		pool := connect(t, s.DSN("postgres")+" timezone=Asia/Kolkata")
		r := &rig{Store: open(t, pool, cfg), TB: t, pool: pool, cfg: cfg}
		r.endpoint("e", webhook.Health{})
		r.emit(1)
		before := time.Now().Truncate(time.Hour).Add(-time.Hour)
		r.record(webhook.OutcomeDelivered, r.claim(1)...)
		hours := r.stats(before).Hours
		require.Len(t, hours, 1)
		start := hours[0].Start
		require.Equal(t, start.Truncate(time.Hour), start)
		require.Equal(t, time.UTC, start.Location())
		require.Len(t, r.stats(start).Hours, 1)
		require.Empty(t, r.stats(start.Add(1)).Hours)
	})
}

func TestPruneRemovesHours(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		r.endpoint("e", webhook.Health{})
		r.exec(`INSERT INTO {hours} SELECT 't', 'e', date_trunc('hour', now()) - i * interval '1 hour', 1, 0, '{1}' FROM generate_series(0, 29) i`)
		req := webhook.PruneRequest{Deliveries: 4*time.Hour + 30*time.Minute, Max: 10}
		for _, left := range []int{20, 10} {
			require.Equal(t, webhook.PruneResult{More: true}, r.prune(req))
			require.Equal(t, left, r.count(`SELECT count(*) FROM {hours}`))
		}
		require.Equal(t, webhook.PruneResult{}, r.prune(req))
		// The present one, the four that ended within as many hours, and the fifth until half past.
		require.Equal(t, 0, r.count(`SELECT count(*) FROM {hours} WHERE hour + interval '1 hour' < now() - interval '4 hours 30 minutes'`))
		require.Contains(t, []int{5, 6}, r.count(`SELECT count(*) FROM {hours}`))
		require.Equal(t, webhook.PruneResult{}, r.prune(webhook.PruneRequest{Bodies: time.Minute, Max: 10}))
		require.Contains(t, []int{5, 6}, r.count(`SELECT count(*) FROM {hours}`))
	})
}

// The values of headers go with the endpoint, as its secrets do.
func TestADeletedEndpointHasNoHeaders(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		e := webhook.Endpoint{
			ID: "e", Tenant: "t", Events: []string{"*"}, Headers: map[string]webhook.Secret{"X-Key": webhook.NewSecret("open")},
			StoredHeaders: []webhook.StoredHeader{{Name: "X-Key", Sealed: webhook.Sealed("sealed")}}, Health: webhook.Health{State: webhook.EndpointActive},
		}
		_, err := r.CreateEndpoint(t.Context(), e, 1)
		require.NoError(t, err)
		const with = `SELECT count(*) FROM {endpoints} WHERE headers::text LIKE '%X-Key%'`
		require.Equal(t, 1, r.count(with))
		require.NoError(t, r.DeleteEndpoint(t.Context(), "t", "e"))
		require.Zero(t, r.count(with))
		require.Equal(t, 1, r.count(`SELECT count(*) FROM {endpoints}`))
	})
}

// TestStatsDoNotGrow counts the blocks that Stats touches in a small and in a large store.
func TestStatsDoNotGrow(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		cost := map[int]int{}
		for _, n := range []int{1_000, 30_000} {
			cfg := s.schema(t)
			pool := connect(t, s.DSN("postgres"), func(cfg *pgxpool.Config) { cfg.MaxConns = 1 })
			r := &rig{Store: open(t, pool, cfg), TB: t, pool: pool, cfg: cfg}
			r.endpoint("e", webhook.Health{}, "none")
			r.stats(time.Time{}) // plans made now are of empty tables
			r.fill(20, n, n)
			r.exec(`INSERT INTO {hours} SELECT 't', 'e' || e, date_trunc('hour', now()) - h * interval '1 hour', 1, 0, '{1}'
				FROM generate_series(0, 19) e, generate_series(0, $1::int / 100) h`, n)
			r.claim(1) // takes the inbox in
			for _, id := range []string{"e0", "e7", "e"} {
				const times = 4
				before := r.blocks()
				for range times {
					stats, err := r.Stats(t.Context(), "t", id, time.Now().Add(-5*time.Hour))
					require.NoError(t, err)
					if id == "e0" {
						require.Greater(t, stats.Pending, int64(n/2-1))
						require.NotZero(t, stats.OldestPending)
						require.NotZero(t, stats.NextAttempt)
						require.Len(t, stats.Hours, 5)
					}
				}
				cost[n] = max(cost[n], (r.blocks()-before)/times)
			}
		}
		t.Logf("blocks by rows: %v", cost)
		require.Less(t, cost[30_000], cost[1_000]+30)
		require.Less(t, cost[30_000], 100)
	})
}

// A rate is kept to in whole microseconds, however it is written, and survives being taken away.
func TestTheMomentOfARate(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		e := r.endpoint("e", webhook.Health{})
		set := func(rate float64, burst int) {
			t.Helper()
			e.Rate, e.Burst = rate, burst
			var err error
			e, err = r.UpdateEndpoint(t.Context(), e, nil)
			require.NoError(t, err)
		}
		ahead := func() (leases float64) {
			t.Helper()
			err := r.pool.QueryRow(t.Context(), r.sql(`SELECT coalesce(extract(epoch FROM paced_at - clock_timestamp()) * 1e6 / pace_interval, 0)::float8 FROM {lanes}`)).Scan(&leases)
			if err != pgx.ErrNoRows {
				require.NoError(t, err)
			}
			return leases
		}
		r.emit(40)
		require.Len(t, r.claim(3), 3)
		set(0.001, 10)
		require.Zero(t, r.count(`SELECT count(paced_at) FROM {lanes}`), "what was leased without a rate does not count")
		require.Len(t, r.claim(40), 10)
		for i, step := range []struct {
			rate  float64
			burst int
			want  float64
		}{{0.002, 10, 10}, {0.001, 20, 10}, {0, 0, 10}, {0.001, 7, 7}, {0.003, 20, 7}} {
			set(step.rate, step.burst)
			require.InDelta(t, step.want, ahead(), 0.2, fmt.Sprint("step ", i))
		}
		require.Len(t, r.claim(40), 13)
		require.Empty(t, r.claim(40))
		require.InDelta(t, 20, ahead(), 0.2)
	})
}
