package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// TestEverythingAtOnce claims, records, judges, updates, deletes and emits from two processes over the same endpoints:
// nothing may be in a circle, no delivery may have two owners, and no failure may be lost.
func TestEverythingAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := alone(t, s)
		two := &rig{Store: open(t, connect(t, r.pool.Config().ConnString()), r.cfg), TB: t}
		stores := []*rig{r, two}
		const endpoints, rounds = 8, 15
		for i := range endpoints {
			r.endpoint(fmt.Sprint("e", i), webhook.Health{Window: 3})
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		var all sync.WaitGroup
		var judged, failures atomic.Int64
		work := func(n int, f func(store *rig, i int) error) {
			for w := range n {
				all.Go(func() {
					for i := range rounds {
						if err := f(stores[w%2], w*rounds+i); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
		}
		worse := func(h webhook.Health, _ time.Time) webhook.Health {
			h.Failures++
			return h
		}
		work(4, func(s *rig, i int) error {
			_, err := s.Enqueue(ctx, webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{event(fmt.Sprint("evt_", i), i), event(fmt.Sprint("evt2_", i), i)}})
			return err
		})
		var owned sync.Map
		work(6, func(s *rig, i int) error {
			c, err := s.Claim(ctx, webhook.ClaimRequest{Owner: fmt.Sprint(i), Term: time.Hour, Max: 10, MaxSlow: 10, MaxAge: time.Hour})
			if err != nil {
				return err
			}
			outcomes := make([]webhook.Outcome, len(c.Leases))
			for i, l := range c.Leases {
				if owner, twice := owned.LoadOrStore(l.Delivery.ID, i); twice {
					return fmt.Errorf("a delivery has two owners, one is %v", owner)
				}
				o := outcome(l, webhook.OutcomeRetry)
				o.Judge = worse
				outcomes[len(outcomes)-1-i] = o
			}
			for _, l := range c.Leases {
				owned.Delete(l.Delivery.ID)
			}
			applied, err := s.Record(ctx, outcomes)
			for _, ok := range applied {
				if !ok {
					return errors.New("the outcome of a present lease was not applied")
				}
			}
			failures.Add(int64(len(outcomes)))
			return err
		})
		work(2, func(s *rig, i int) error {
			judged.Add(1)
			_, err := s.JudgeEndpoint(ctx, "t", "e1", worse)
			return err
		})
		work(1, func(s *rig, i int) error {
			e, err := s.Endpoint(ctx, "t", "e2")
			if err != nil {
				return err
			}
			e.Description = fmt.Sprint(i)
			_, err = s.UpdateEndpoint(ctx, e, nil)
			return err
		})
		work(1, func(s *rig, i int) error {
			id := fmt.Sprint("short_", i)
			_, err := s.CreateEndpoint(ctx, webhook.Endpoint{ID: id, Tenant: "t", Events: []string{"*"}, Health: webhook.Health{State: webhook.EndpointDisabled}}, 100)
			if err != nil {
				return err
			}
			return s.DeleteEndpoint(ctx, "t", id)
		})
		all.Wait()
		total := int64(0)
		list, err := r.Endpoints(ctx, "t")
		require.NoError(t, err)
		require.Len(t, list, endpoints)
		for _, e := range list {
			total += int64(e.Health.Failures)
		}
		require.Equal(t, judged.Load()+failures.Load(), total, "judgements were lost")
		require.Zero(t, r.count(`SELECT deadlocks::int FROM pg_stat_database WHERE datname = current_database()`))
	})
}

// Two processes hand over and claim at once: an endpoint gets more than its window only by what was handed over in
// transactions that did not see each other.
func TestHandOversOfTwoProcesses(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		other := r.other()
		r.endpoint("e", webhook.Health{Window: 3})
		hand := func(r *rig, id string) []webhook.Lease {
			result, err := r.Enqueue(t.Context(), webhook.EnqueueRequest{
				Tenant: "t", Events: []webhook.Event{event(id, id)}, HandOver: &webhook.HandOver{Owner: id, Term: time.Hour, Max: 5},
			})
			require.NoError(t, err)
			return result.Leases
		}
		var leases []webhook.Lease
		for i := range 5 {
			leases = append(leases, hand([]*rig{r, other}[i%2], fmt.Sprint("evt_", i))...)
		}
		require.Len(t, leases, 3)
		require.Empty(t, r.claim(10))
		r.record(webhook.OutcomeDelivered, leases[0])
		require.Empty(t, hand(r, "late"), "two are due before it")
		require.Len(t, other.claim(10), 1)
	})
}
