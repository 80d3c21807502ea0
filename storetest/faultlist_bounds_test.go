package storetest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/meshia/webhook"
)

// boundFaults are about what has a bound of its own: what a call does, and what piles up.
var boundFaults = []fault{
	{"endpoints", "what a deletion leaves is left", func(f *faulty) {
		f.deliveriesAs(func(d *webhook.Delivery) {
			if d.Reason == webhook.FailEndpointDeleted && d.AttemptCount == 0 {
				d.State, d.Reason = webhook.DeliveryPending, ""
			}
		})
	}},
	{"endpoints", "what a deletion leaves is handed out", func(f *faulty) {
		var kept []webhook.Lease
		f.remove = func(ctx context.Context, tenant, id string) error {
			claimed, err := f.Store.Claim(ctx, claimRequest(1))
			if err != nil {
				return err
			}
			kept = claimed.Leases
			return f.Store.DeleteEndpoint(ctx, tenant, id)
		}
		f.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			claimed, err := f.Store.Claim(ctx, req)
			if len(claimed.Leases) == 0 {
				claimed.Leases, kept = kept, nil
			}
			return claimed, err
		}
	}},

	{"direct", "what is queued has no bound", func(f *faulty) {
		f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			req.MaxPending = 0
			return f.Store.Enqueue(ctx, req)
		}
	}},
	{"direct", "what is queued has a bound of one more", func(f *faulty) { f.boundsAs(func(bound int) int { return bound + min(bound, 1) }) }},
	{"direct", "no bound is the least", func(f *faulty) { f.boundsAs(func(bound int) int { return max(bound, 1) }) }},
	{"direct", "what is too much is queued in part", func(f *faulty) {
		f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			result, err := f.Store.Enqueue(ctx, req)
			if errors.Is(err, webhook.ErrBacklogFull) {
				req.Events = req.Events[:1]
				_, _ = f.Store.Enqueue(ctx, req)
			}
			return result, err
		}
	}},
	{"direct", "what is leased has a bound too", func(f *faulty) {
		f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			if req.Direct != nil && req.MaxPending > 0 {
				stats, err := f.Store.Stats(ctx, req.Tenant, req.Direct.EndpointID, time.Time{})
				if err == nil && stats.Pending >= int64(req.MaxPending) {
					return webhook.EnqueueResult{}, webhook.ErrBacklogFull
				}
			}
			return f.Store.Enqueue(ctx, req)
		}
	}},

	{"prune", "a deleted endpoint's id stays taken", func(f *faulty) {
		deleted := map[string]bool{}
		f.remove = func(ctx context.Context, tenant, id string) error {
			deleted[id] = true
			return f.Store.DeleteEndpoint(ctx, tenant, id)
		}
		f.create = func(ctx context.Context, e webhook.Endpoint, most int) (webhook.Endpoint, error) {
			if deleted[e.ID] {
				return e, webhook.ErrConflict
			}
			return f.Store.CreateEndpoint(ctx, e, most)
		}
	}},
	{"prune", "a deleted endpoint's id is free at once", func(f *faulty) {
		f.create = func(ctx context.Context, e webhook.Endpoint, most int) (webhook.Endpoint, error) {
			created, err := f.Store.CreateEndpoint(ctx, e, most)
			if _, missing := f.Store.Endpoint(ctx, e.Tenant, e.ID); errors.Is(err, webhook.ErrConflict) && missing != nil {
				return e, nil
			}
			return created, err
		}
	}},
	{"prune", "a deleted endpoint leaves its gaps", func(f *faulty) {
		last := map[string][]webhook.Gap{}
		f.gaps = func(ctx context.Context, tenant, id string) ([]webhook.Gap, error) {
			gaps, err := f.Store.Gaps(ctx, tenant, id)
			if len(gaps) == 0 {
				return last[id], err
			}
			last[id] = gaps
			return gaps, err
		}
	}},

	{"replay", "those that have ended pile up", func(f *faulty) {
		ended := map[string]bool{}
		f.stop = func(ctx context.Context, tenant, id string) (webhook.Replay, error) {
			r, err := f.Store.StopReplay(ctx, tenant, id)
			if errors.Is(err, webhook.ErrNotFound) && ended[id] {
				err = nil
			}
			if err == nil {
				ended[id] = true
			}
			return r, err
		}
	}},
	{"replay", "those that have ended are soon forgotten", func(f *faulty) {
		f.stop = func(ctx context.Context, tenant, id string) (webhook.Replay, error) {
			r, err := f.Store.StopReplay(ctx, tenant, id)
			list, _ := f.Store.Replays(ctx, tenant, r.EndpointID)
			if !slices.ContainsFunc(list, func(listed webhook.Replay) bool { return listed.ID == id }) {
				err = webhook.ErrNotFound // though it is the hundredth that has ended, beside one that runs
			}
			return r, err
		}
	}},

	{"claim", "no room is some", func(f *faulty) { f.claimsAs(func(req *webhook.ClaimRequest) { req.Max = max(req.Max, 1) }) }},
	{"claim", "nothing is settled where there is no room", func(f *faulty) {
		f.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			if req.Max <= 0 {
				return webhook.Claimed{Next: -1}, nil
			}
			return f.Store.Claim(ctx, req)
		}
	}},
	{"prune", "below one is many", func(f *faulty) {
		f.prunesAs(func(req *webhook.PruneRequest) { req.Max = many(req.Max) })
	}},
	{"prune", "below one is none", func(f *faulty) {
		f.prune = func(ctx context.Context, req webhook.PruneRequest) (webhook.PruneResult, error) {
			if req.Max < 1 {
				return webhook.PruneResult{More: true}, nil
			}
			return f.Store.Prune(ctx, req)
		}
	}},
	{"erase a tenant", "below one is many", func(f *faulty) {
		f.eraseAll = func(ctx context.Context, tenant string, most int) (bool, error) {
			return f.Store.EraseTenant(ctx, tenant, many(most))
		}
	}},
	{"erase a tenant", "below one is none", func(f *faulty) {
		f.eraseAll = func(ctx context.Context, tenant string, most int) (bool, error) {
			if most < 1 {
				return true, nil
			}
			return f.Store.EraseTenant(ctx, tenant, most)
		}
	}},
	{"replay", "below one is many", func(f *faulty) {
		f.step = func(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
			req.Max = many(req.Max)
			return f.Store.ContinueReplay(ctx, req)
		}
	}},
	{"replay", "below one is none", func(f *faulty) {
		f.step = func(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
			if req.Max < 1 {
				return webhook.ReplayStepped{Stepped: true}, nil
			}
			return f.Store.ContinueReplay(ctx, req)
		}
	}},
}

// many stands for what a store may take no bound for.
func many(most int) int {
	if most < 1 {
		return 1000
	}
	return most
}
