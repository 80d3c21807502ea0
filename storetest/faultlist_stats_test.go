package storetest

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/meshia/webhook"
)

// statsFaults are about statistics.
var statsFaults = []fault{
	{"stats", "nothing is counted", func(f *faulty) { f.statsAs(func(s *webhook.Stats) { s.Hours = nil }) }},
	{"stats", "latencies are not counted", func(f *faulty) {
		f.statsAs(func(s *webhook.Stats) {
			for i := range s.Hours {
				s.Hours[i].Latency = webhook.Histogram{}
			}
		})
	}},
	{"stats", "pings and tests count", func(f *faulty) {
		f.alsoCounts(func(l webhook.Lease, _ webhook.Outcome) bool { return l.Delivery.Kind.Once() })
	}},
	{"stats", "interrupted attempts count", func(f *faulty) {
		f.alsoCounts(func(_ webhook.Lease, o webhook.Outcome) bool { return o.Kind == webhook.OutcomeInterrupted })
	}},
	{"stats", "stale outcomes count", func(f *faulty) {
		f.alsoCounts(func(l webhook.Lease, o webhook.Outcome) bool { return o.Token != l.Token })
	}},
	{"stats", "an outcome counts as often as it comes", func(f *faulty) {
		seen := map[string]bool{}
		f.alsoCounts(func(_ webhook.Lease, o webhook.Outcome) bool {
			before := seen[o.Token]
			seen[o.Token] = true
			return before
		})
	}},
	{"stats", "a lost attempt counts", func(f *faulty) {
		lost := false
		f.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			claimed, err := f.Store.Claim(ctx, req)
			lost = lost || len(claimed.Leases) > 0 && claimed.Leases[0].Delivery.Interrupted > 0
			return claimed, err
		}
		f.statsAs(func(s *webhook.Stats) {
			if lost {
				s.Hours = append(s.Hours, webhook.HourStats{Failed: 1})
			}
		})
	}},
	{"stats", "an hour is that of the attempt", func(f *faulty) {
		f.statsAs(func(s *webhook.Stats) {
			for i := range s.Hours {
				s.Hours[i].Start = someTime.Truncate(time.Hour)
			}
		})
	}},
	{"stats", "an hour begins with its first attempt", func(f *faulty) {
		f.statsAs(func(s *webhook.Stats) {
			for i := range s.Hours {
				s.Hours[i].Start = s.Hours[i].Start.Add(time.Second)
			}
		})
	}},
	{"stats", "since is not heeded", func(f *faulty) {
		f.stats = func(ctx context.Context, tenant, id string, _ time.Time) (webhook.Stats, error) {
			return f.Store.Stats(ctx, tenant, id, time.Time{})
		}
	}},
	{"stats", "an hour that began before since is counted in", func(f *faulty) {
		f.stats = func(ctx context.Context, tenant, id string, since time.Time) (webhook.Stats, error) {
			return f.Store.Stats(ctx, tenant, id, since.Truncate(time.Hour))
		}
	}},
	{"stats", "the newest hour comes first", func(f *faulty) { f.statsAs(func(s *webhook.Stats) { slices.Reverse(s.Hours) }) }},
	{"stats", "what is leased is not pending", func(f *faulty) {
		f.stats = func(ctx context.Context, tenant, id string, since time.Time) (webhook.Stats, error) {
			stats, err := f.Store.Stats(ctx, tenant, id, since)
			page, list := f.Store.Deliveries(ctx, tenant, webhook.DeliveryFilter{EndpointID: id, State: webhook.DeliveryLeased})
			stats.Pending -= int64(len(page.Deliveries))
			return stats, errors.Join(err, list)
		}
	}},
	{"stats", "a deleted endpoint has some", func(f *faulty) {
		f.stats = func(ctx context.Context, tenant, id string, since time.Time) (webhook.Stats, error) {
			stats, err := f.Store.Stats(ctx, tenant, id, since)
			if gaps, _ := f.Store.Deliveries(ctx, tenant, webhook.DeliveryFilter{EndpointID: id}); gaps.Deliveries == nil {
				err = nil
			}
			return stats, err
		}
	}},
	{"stats", "they go with the deliveries", func(f *faulty) {
		f.stats = func(ctx context.Context, tenant, id string, since time.Time) (webhook.Stats, error) {
			stats, err := f.Store.Stats(ctx, tenant, id, since)
			page, list := f.Store.Deliveries(ctx, tenant, webhook.DeliveryFilter{EndpointID: id, Limit: 1})
			if len(page.Deliveries) == 0 {
				stats.Hours = nil
			}
			return stats, errors.Join(err, list)
		}
	}},
	{"stats", "every delivery is looked at", func(f *faulty) {
		f.statsAs(func(s *webhook.Stats) { time.Sleep(time.Duration(s.Pending) * 100 * time.Microsecond) })
	}},
	{"prune", "hours stay", func(f *faulty) {
		last := map[string][]webhook.HourStats{}
		f.stats = func(ctx context.Context, tenant, id string, since time.Time) (webhook.Stats, error) {
			stats, err := f.Store.Stats(ctx, tenant, id, since)
			if len(stats.Hours) < len(last[id]) {
				stats.Hours = last[id]
			}
			last[id] = stats.Hours
			return stats, err
		}
	}},
	{"prune", "the hour that it is goes too", func(f *faulty) {
		var pruned atomic.Bool
		f.prune = func(ctx context.Context, req webhook.PruneRequest) (webhook.PruneResult, error) {
			pruned.Store(true)
			return f.Store.Prune(ctx, req)
		}
		f.statsAs(func(s *webhook.Stats) {
			if pruned.Load() {
				s.Hours = s.Hours[:max(0, len(s.Hours)-1)]
			}
		})
	}},
	{"erase a tenant", "statistics stay", func(f *faulty) {
		last := map[string][]webhook.HourStats{}
		f.stats = func(ctx context.Context, tenant, id string, since time.Time) (webhook.Stats, error) {
			stats, err := f.Store.Stats(ctx, tenant, id, since)
			stats.Hours = append(stats.Hours, last[id]...)
			return stats, err
		}
		f.eraseAll = func(ctx context.Context, tenant string, limit int) (bool, error) {
			list, err := f.Store.Endpoints(ctx, tenant)
			for _, e := range list {
				stats, _ := f.Store.Stats(ctx, tenant, e.ID, time.Time{})
				last[e.ID] = append(last[e.ID], stats.Hours...)
			}
			more, erased := f.Store.EraseTenant(ctx, tenant, limit)
			return more, errors.Join(err, erased)
		}
	}},
}
