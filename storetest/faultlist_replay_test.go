package storetest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/meshia/webhook"
)

// replayFaults are about replays, wherever cases look at them.
var replayFaults = []fault{
	{"context", "a step ignores it", func(f *faulty) {
		f.step = func(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
			step, err := f.Store.ContinueReplay(context.WithoutCancel(ctx), req)
			return step, errors.Join(err, ctx.Err())
		}
	}},
	{"context", "a replay is stopped all the same", func(f *faulty) {
		f.stop = func(ctx context.Context, tenant, id string) (webhook.Replay, error) {
			r, err := f.Store.StopReplay(context.WithoutCancel(ctx), tenant, id)
			return r, errors.Join(err, ctx.Err())
		}
	}},
	{"tenants", "a replay is stopped by its id alone", func(f *faulty) {
		f.stop = func(ctx context.Context, tenant, id string) (webhook.Replay, error) {
			r, err := f.Store.StopReplay(ctx, tenant, id)
			if errors.Is(err, webhook.ErrNotFound) {
				return f.Store.StopReplay(ctx, "a", id)
			}
			return r, err
		}
	}},
	{"tenants", "a replay's id is taken for all", func(f *faulty) {
		taken := map[string]bool{}
		f.replay = func(ctx context.Context, r webhook.Replay) (webhook.Replay, error) {
			if taken[r.ID] {
				return webhook.Replay{}, webhook.ErrConflict
			}
			taken[r.ID] = true
			return f.Store.CreateReplay(ctx, r)
		}
	}},
	{"tenants", "replays are found by the endpoint's id alone", func(f *faulty) {
		f.replays = func(ctx context.Context, tenant, endpointID string) ([]webhook.Replay, error) {
			list, err := f.Store.Replays(ctx, tenant, endpointID)
			if len(list) == 0 {
				return f.Store.Replays(ctx, "a", endpointID)
			}
			return list, err
		}
	}},
	{"values", "the times of a replay are cut to seconds", func(f *faulty) {
		f.replaysAs(func(r *webhook.Replay) { r.Since = r.Since.Truncate(time.Second) })
	}},
	{"values", "a replay is of all that there can be", func(f *faulty) { f.asksAs(func(r *webhook.Replay) { r.Failed, r.Missed = true, true }) }},
	{"values", "nobody knows who asked for a replay", func(f *faulty) { f.replaysAs(func(r *webhook.Replay) { r.AskedBy = "" }) }},
	{"direct", "nothing is left to Claim", func(f *faulty) { f.directAs(func(d *webhook.Direct) { d.Queued, d.Term = false, far }) }},
	{"direct", "what is left to Claim waits", func(f *faulty) {
		f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			if req.Direct == nil || !req.Direct.Queued {
				return f.Store.Enqueue(ctx, req)
			}
			direct := *req.Direct
			direct.Queued, direct.Term = false, far
			req.Direct = &direct
			result, err := f.Store.Enqueue(ctx, req)
			for _, l := range result.Leases {
				_, recorded := f.Store.Record(ctx, []webhook.Outcome{retry(l, time.Second)})
				err = errors.Join(err, recorded)
			}
			return webhook.EnqueueResult{Queued: true}, err
		}
	}},
	{"direct", "nobody is told what was left to Claim", func(f *faulty) {
		f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			result, err := f.Store.Enqueue(ctx, req)
			result.Queued = result.Queued && req.Direct == nil
			return result, err
		}
	}},
	{"direct", "a bound keeps it back", func(f *faulty) {
		f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			if req.Direct != nil && req.Direct.Queued {
				if stats, err := f.Store.Stats(ctx, req.Tenant, req.Direct.EndpointID, time.Time{}); err == nil && req.MaxPending > 0 && stats.Pending >= int64(req.MaxPending) {
					return webhook.EnqueueResult{}, nil
				}
			}
			return f.Store.Enqueue(ctx, req)
		}
	}},
	{"prune", "a replay goes by when it was asked for", func(f *faulty) {
		f.replaysGo(func(r webhook.Replay, age time.Duration) bool {
			return r.State != webhook.ReplayRunning && time.Since(r.CreatedAt) > age
		})
	}},
	{"prune", "a replay goes while it runs", func(f *faulty) {
		f.replaysGo(func(r webhook.Replay, age time.Duration) bool { return time.Since(r.CreatedAt) > age })
	}},
	{"prune", "replays stay", func(f *faulty) {
		last := map[string][]webhook.Replay{}
		f.replays = func(ctx context.Context, tenant, endpointID string) ([]webhook.Replay, error) {
			list, err := f.Store.Replays(ctx, tenant, endpointID)
			if len(list) < len(last[endpointID]) {
				list = last[endpointID]
			}
			last[endpointID] = list
			return list, err
		}
	}},
	{"erase a tenant", "replays stay", func(f *faulty) {
		f.stop = func(ctx context.Context, tenant, id string) (webhook.Replay, error) {
			r, err := f.Store.StopReplay(ctx, tenant, id)
			if errors.Is(err, webhook.ErrNotFound) {
				err = nil
			}
			return r, err
		}
	}},
	{"erase a tenant", "replays go on for endpoints that are no more", func(f *faulty) {
		f.step = func(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
			step, err := f.Store.ContinueReplay(ctx, req)
			step.Queued = step.Queued || !step.Stepped
			return step, err
		}
	}},

	{"replay", "a new one is of long ago", func(f *faulty) {
		f.replay = func(ctx context.Context, r webhook.Replay) (webhook.Replay, error) {
			got, err := f.Store.CreateReplay(ctx, r)
			got.CreatedAt = r.CreatedAt
			return got, err
		}
	}},
	{"replay", "no end is no end", func(f *faulty) {
		f.replaysAs(func(r *webhook.Replay) {
			if r.Until.Equal(r.CreatedAt) {
				r.Until = time.Time{}
			}
		})
	}},
	{"replay", "the end is always now", func(f *faulty) { f.asksAs(func(r *webhook.Replay) { r.Until = time.Time{} }) }},
	{"replay", "an end in the future is believed", func(f *faulty) {
		f.replay = func(ctx context.Context, r webhook.Replay) (webhook.Replay, error) {
			got, err := f.Store.CreateReplay(ctx, r)
			if r.Until.After(got.Until) {
				got.Until = r.Until
			}
			return got, err
		}
	}},
	{"replay", "an endpoint need not be there", func(f *faulty) {
		f.replay = func(ctx context.Context, r webhook.Replay) (webhook.Replay, error) {
			got, err := f.Store.CreateReplay(ctx, r)
			if errors.Is(err, webhook.ErrNotFound) {
				return r, nil
			}
			return got, err
		}
	}},
	{"replay", "a new one takes the place of the old one", func(f *faulty) {
		f.replay = func(ctx context.Context, r webhook.Replay) (webhook.Replay, error) {
			if list, _ := f.Store.Replays(ctx, r.Tenant, r.EndpointID); len(list) > 0 {
				if _, err := f.Store.StopReplay(ctx, r.Tenant, list[0].ID); err != nil {
					return webhook.Replay{}, err
				}
			}
			return f.Store.CreateReplay(ctx, r)
		}
	}},
	{"replay", "one that runs is looked for in a step of its own", func(f *faulty) {
		f.replay = func(ctx context.Context, r webhook.Replay) (webhook.Replay, error) {
			list, _ := f.Store.Replays(ctx, r.Tenant, r.EndpointID)
			time.Sleep(time.Millisecond)
			got, err := f.Store.CreateReplay(ctx, r)
			if errors.Is(err, webhook.ErrReplayRunning) && len(list) == 0 {
				err = nil
			}
			return got, err
		}
	}},
	{"replay", "there is one for each tenant", func(f *faulty) {
		f.replay = func(ctx context.Context, r webhook.Replay) (webhook.Replay, error) {
			all, _ := f.Store.Endpoints(ctx, r.Tenant)
			for _, e := range all {
				if list, _ := f.Store.Replays(ctx, r.Tenant, e.ID); len(list) > 0 && list[0].State == webhook.ReplayRunning {
					return webhook.Replay{}, webhook.ErrReplayRunning
				}
			}
			return f.Store.CreateReplay(ctx, r)
		}
	}},
	{"replay", "the oldest one is listed first", func(f *faulty) {
		f.replays = func(ctx context.Context, tenant, endpointID string) ([]webhook.Replay, error) {
			list, err := f.Store.Replays(ctx, tenant, endpointID)
			slices.Reverse(list)
			return list, err
		}
	}},
	{"replay", "all are listed", func(f *faulty) {
		var all []webhook.Replay
		f.replays = func(ctx context.Context, tenant, endpointID string) ([]webhook.Replay, error) {
			list, err := f.Store.Replays(ctx, tenant, endpointID)
			f.mu.Lock()
			defer f.mu.Unlock()
			return append(list, all[:max(0, len(all)-101)]...), err
		}
		f.replay = func(ctx context.Context, r webhook.Replay) (webhook.Replay, error) {
			got, err := f.Store.CreateReplay(ctx, r)
			f.mu.Lock()
			defer f.mu.Unlock()
			all = append(all, got)
			return got, err
		}
	}},
	{"replay", "one that is stopped goes on", func(f *faulty) {
		f.stop = func(ctx context.Context, tenant, id string) (webhook.Replay, error) {
			r, err := f.Store.StopReplay(ctx, tenant, id)
			if err == nil && r.Queued > 0 {
				_, err = f.Store.CreateReplay(ctx, webhook.Replay{ID: id + "_2", Tenant: tenant, EndpointID: r.EndpointID, Failed: r.Failed, Missed: r.Missed})
			}
			return r, err
		}
	}},
	{"replay", "what is stopped takes back what it queued", func(f *faulty) {
		f.stop = func(ctx context.Context, tenant, id string) (webhook.Replay, error) {
			r, err := f.Store.StopReplay(ctx, tenant, id)
			claimed, claims := f.Store.Claim(ctx, claimRequest(10))
			for _, l := range claimed.Leases {
				_, recorded := f.Store.Record(ctx, []webhook.Outcome{outcome(l, webhook.OutcomeFailed)})
				err = errors.Join(err, recorded)
			}
			return r, errors.Join(err, claims)
		}
	}},
	{"replay", "one that has ended is stopped again", func(f *faulty) {
		f.stop = func(ctx context.Context, tenant, id string) (webhook.Replay, error) {
			r, err := f.Store.StopReplay(ctx, tenant, id)
			r.State = webhook.ReplayStopped
			return r, err
		}
	}},
	{"replay", "what is not there is stopped", func(f *faulty) {
		f.stop = func(ctx context.Context, tenant, id string) (webhook.Replay, error) {
			r, err := f.Store.StopReplay(ctx, tenant, id)
			if errors.Is(err, webhook.ErrNotFound) {
				err = nil
			}
			return r, err
		}
	}},
}

// asksAs lets a fault change each replay before it is stored.
func (f *faulty) asksAs(change func(r *webhook.Replay)) {
	f.replay = func(ctx context.Context, r webhook.Replay) (webhook.Replay, error) {
		change(&r)
		return f.Store.CreateReplay(ctx, r)
	}
}

// directAs lets a fault change each direct request before it is answered.
func (f *faulty) directAs(change func(d *webhook.Direct)) {
	f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
		if req.Direct != nil {
			direct := *req.Direct
			change(&direct)
			req.Direct = &direct
		}
		return f.Store.Enqueue(ctx, req)
	}
}

// replaysGo lets replays go with a call of Prune.
func (f *faulty) replaysGo(goes func(r webhook.Replay, age time.Duration) bool) {
	var age time.Duration
	f.prune = func(ctx context.Context, req webhook.PruneRequest) (webhook.PruneResult, error) {
		age = max(age, req.Deliveries)
		return f.Store.Prune(ctx, req)
	}
	f.replays = func(ctx context.Context, tenant, endpointID string) ([]webhook.Replay, error) {
		list, err := f.Store.Replays(ctx, tenant, endpointID)
		return slices.DeleteFunc(list, func(r webhook.Replay) bool { return age > 0 && age < far && goes(r, age) }), err
	}
}
