package storetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/meshia/webhook"
)

var upkeepFaults = []fault{
	{"skip", "Skip is not heeded", func(f *faulty) { f.claimsAs(func(req *webhook.ClaimRequest) { req.Skip = nil }) }},
	{"skip", "what is skipped is claimed and given back", givenBack},
	{"skip", "what is skipped has had its turn", func(f *faulty) {
		f.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			for range req.Skip {
				probe, err := f.Store.Claim(ctx, webhook.ClaimRequest{Term: far, Max: 1, MaxSlow: 1})
				if err != nil {
					return probe, err
				}
				if err := f.release(ctx, probe.Leases); err != nil {
					return probe, err
				}
			}
			return f.Store.Claim(ctx, req)
		}
	}},
	{"skip", "an endpoint is skipped by its id alone", func(f *faulty) {
		f.claimsAs(func(req *webhook.ClaimRequest) {
			for _, ref := range req.Skip {
				for _, tenant := range []string{"", "a", "b"} {
					req.Skip = append(req.Skip, webhook.EndpointRef{Tenant: tenant, ID: ref.ID})
				}
			}
		})
	}},
	{"skip", "what is skipped does not expire", func(f *faulty) {
		f.claimsAs(func(req *webhook.ClaimRequest) {
			if len(req.Skip) > 0 {
				req.MaxAge = 0
			}
		})
	}},
	{"direct", "a body that is gone is another one", func(f *faulty) { f.insteadOfPruned(webhook.ErrConflict) }},
	{"direct", "a body that is gone is sent", func(f *faulty) { f.insteadOfPruned(nil) }},
	{"tenants", "a delivery is erased by its id alone", func(f *faulty) {
		f.erase = func(ctx context.Context, _, id string) error {
			return f.Store.EraseDelivery(ctx, f.latest(id).Delivery.Tenant, id)
		}
	}},
	{"tenants", "a tenant is erased with all whose names are alike", func(f *faulty) {
		f.eraseAll = func(ctx context.Context, tenant string, limit int) (bool, error) {
			if strings.EqualFold(tenant, "a") {
				tenant = "a"
			}
			return f.Store.EraseTenant(ctx, tenant, limit)
		}
	}},
	{"tenants", "no name is every name", func(f *faulty) {
		f.eraseAll = func(ctx context.Context, tenant string, limit int) (bool, error) {
			if tenant == "" {
				if _, err := f.Store.EraseTenant(ctx, "b", limit); err != nil {
					return false, err
				}
			}
			return f.Store.EraseTenant(ctx, tenant, limit)
		}
	}},

	{"prune", "nothing is removed", func(f *faulty) { f.prunesAs(func(req *webhook.PruneRequest) { *req = webhook.PruneRequest{} }) }},
	{"prune", "everything is old", func(f *faulty) {
		f.prunesAs(func(req *webhook.PruneRequest) {
			if req.Deliveries > 0 {
				req.Deliveries = 1
			}
		})
	}},
	{"prune", "what counts is when it was made", func(f *faulty) {
		gone := map[string]bool{}
		f.prune = func(ctx context.Context, req webhook.PruneRequest) (webhook.PruneResult, error) {
			page, err := f.Store.Deliveries(ctx, "t", webhook.DeliveryFilter{})
			for _, d := range page.Deliveries {
				gone[d.ID] = gone[d.ID] || d.State.Final() && time.Since(d.CreatedAt) > req.Deliveries
			}
			result, pruned := f.Store.Prune(ctx, req)
			return result, errors.Join(err, pruned)
		}
		f.delivery = func(ctx context.Context, tenant, id string) (webhook.Delivery, error) {
			if gone[id] {
				return webhook.Delivery{}, webhook.ErrNotFound
			}
			return f.Store.Delivery(ctx, tenant, id)
		}
	}},
	{"prune", "0 is no time at all", func(f *faulty) {
		f.prunesAs(func(req *webhook.PruneRequest) {
			req.Deliveries, req.Bodies = max(1, req.Deliveries), max(1, req.Bodies)
		})
	}},
	{"prune", "all at once", func(f *faulty) { f.prunesAs(func(req *webhook.PruneRequest) { req.Max = 1 << 30 }) }},
	{"prune", "it says too early that all is removed", func(f *faulty) {
		f.prune = func(ctx context.Context, req webhook.PruneRequest) (webhook.PruneResult, error) {
			result, err := f.Store.Prune(ctx, req)
			result.More = false
			return result, err
		}
	}},
	{"prune", "what waits goes too", func(f *faulty) {
		f.prune = func(ctx context.Context, req webhook.PruneRequest) (webhook.PruneResult, error) {
			claimed, err := f.Store.Claim(ctx, webhook.ClaimRequest{Term: far, Max: 10, MaxSlow: 10})
			for _, l := range claimed.Leases {
				_, err = f.Store.Record(ctx, []webhook.Outcome{outcome(l, webhook.OutcomeFailed)})
			}
			if err != nil {
				return webhook.PruneResult{}, err
			}
			return f.Store.Prune(ctx, req)
		}
	}},
	{"prune", "events stay", func(f *faulty) {
		f.event = func(ctx context.Context, tenant, id string) (webhook.Event, error) {
			e, err := f.Store.Event(ctx, tenant, id)
			if errors.Is(err, webhook.ErrNotFound) && f.emitted(id) {
				return webhook.Event{ID: id}, nil
			}
			return e, err
		}
	}},
	{"prune", "an event's id stays", func(f *faulty) {
		f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			if f.emitted(req.Events[0].ID) {
				return webhook.EnqueueResult{}, webhook.ErrConflict
			}
			return f.Store.Enqueue(ctx, req)
		}
	}},
	{"prune", "gaps stay", func(f *faulty) {
		last := map[string][]webhook.Gap{}
		f.gaps = func(ctx context.Context, tenant, id string) ([]webhook.Gap, error) {
			gaps, err := f.Store.Gaps(ctx, tenant, id)
			if len(gaps) < len(last[id]) {
				gaps = last[id]
			}
			last[id] = gaps
			return gaps, err
		}
	}},
	{"prune", "a gap goes by when it was opened", func(f *faulty) {
		f.gapsBut(func(g webhook.Gap) bool { return !g.To.IsZero() && g.To.Sub(g.From) > time.Millisecond })
	}},
	{"prune", "an open gap goes too", func(f *faulty) { f.gapsBut(func(g webhook.Gap) bool { return g.To.IsZero() }) }},
	{"prune", "an event is as old as it says", func(f *faulty) {
		f.event = func(ctx context.Context, tenant, id string) (webhook.Event, error) {
			e, err := f.Store.Event(ctx, tenant, id)
			if err == nil && time.Since(e.Time) > 100*far {
				err = webhook.ErrNotFound
			}
			return e, err
		}
	}},
	{"prune bodies", "bodies stay", func(f *faulty) { f.prunesAs(func(req *webhook.PruneRequest) { req.Bodies = 0 }) }},
	{"prune bodies", "every body is old", func(f *faulty) { f.prunesAs(func(req *webhook.PruneRequest) { req.Bodies = 1 }) }},
	{"prune bodies", "metadata stays", func(f *faulty) {
		f.event = func(ctx context.Context, tenant, id string) (webhook.Event, error) {
			e, err := f.Store.Event(ctx, tenant, id)
			if len(e.Body) == 0 {
				e.Metadata = map[string]string{"contents": "x"}
			}
			return e, err
		}
	}},
	{"prune bodies", "attempts stay", func(f *faulty) { f.deliveriesAs(answered) }},
	{"prune bodies", "a body goes while it is needed", func(f *faulty) {
		var pruned atomic.Bool
		f.prune = func(ctx context.Context, req webhook.PruneRequest) (webhook.PruneResult, error) {
			pruned.Store(true)
			return f.Store.Prune(ctx, req)
		}
		f.event = func(ctx context.Context, tenant, id string) (webhook.Event, error) {
			e, err := f.Store.Event(ctx, tenant, id)
			if pruned.Load() {
				e.Body = nil
			}
			return e, err
		}
	}},
	{"prune bodies", "the rows go too", func(f *faulty) {
		f.prunesAs(func(req *webhook.PruneRequest) {
			if req.Deliveries == 0 {
				req.Deliveries = req.Bodies
			}
		})
	}},
	{"prune bodies", "the digest goes with the body", func(f *faulty) {
		f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			if e, err := f.Store.Event(ctx, req.Tenant, req.Events[0].ID); err == nil && req.Direct == nil && e.Digest() != req.Events[0].Digest() {
				return webhook.EnqueueResult{}, webhook.ErrConflict
			}
			return f.Store.Enqueue(ctx, req)
		}
	}},

	{"erase", "nothing is erased", func(f *faulty) {
		f.erase = func(ctx context.Context, tenant, id string) error {
			_, err := f.Store.Delivery(ctx, tenant, id)
			return err
		}
	}},
	{"erase", "attempts stay", func(f *faulty) { f.deliveriesAs(answered) }},
	{"erase", "it is another reason", func(f *faulty) {
		f.deliveriesAs(func(d *webhook.Delivery) {
			if d.Reason == webhook.FailErased {
				d.Reason = webhook.FailCancelled
			}
		})
	}},
	{"erase", "what is leased comes back", func(f *faulty) {
		f.deliveriesAs(func(d *webhook.Delivery) {
			if d.Reason == webhook.FailErased && len(d.Attempts) > 0 {
				d.State, d.Reason, d.FinishedAt = webhook.DeliveryPending, "", time.Time{}
			}
		})
	}},
	{"erase", "what is leased is taken away", func(f *faulty) {
		f.erase = func(ctx context.Context, tenant, id string) error {
			if l := f.latest(id); l.Token != "" {
				o := outcome(l, webhook.OutcomeFailed)
				o.Reason = webhook.FailErased
				if _, err := f.Store.Record(ctx, []webhook.Outcome{o}); err != nil {
					return err
				}
			}
			return f.Store.EraseDelivery(ctx, tenant, id)
		}
	}},
	{"erase", "what is not there is erased", func(f *faulty) {
		f.erase = func(ctx context.Context, tenant, id string) error {
			err := f.Store.EraseDelivery(ctx, tenant, id)
			if errors.Is(err, webhook.ErrNotFound) {
				err = nil
			}
			return err
		}
	}},
	{"erase a tenant", "the endpoints only", func(f *faulty) {
		f.eraseAll = func(ctx context.Context, tenant string, _ int) (bool, error) {
			list, err := f.Store.Endpoints(ctx, tenant)
			for _, e := range list {
				err = errors.Join(err, f.Store.DeleteEndpoint(ctx, tenant, e.ID))
			}
			return false, err
		}
	}},
	{"erase a tenant", "it says too early that all is removed", func(f *faulty) {
		f.eraseAll = func(ctx context.Context, tenant string, limit int) (bool, error) {
			_, err := f.Store.EraseTenant(ctx, tenant, min(limit, 5))
			return false, err
		}
	}},
	{"erase a tenant", "it never says that all is removed", func(f *faulty) {
		f.eraseAll = func(ctx context.Context, tenant string, limit int) (bool, error) {
			_, err := f.Store.EraseTenant(ctx, tenant, limit)
			return true, err
		}
	}},
	{"erase a tenant", "all at once", func(f *faulty) {
		f.eraseAll = func(ctx context.Context, tenant string, _ int) (bool, error) {
			return f.Store.EraseTenant(ctx, tenant, 1<<30)
		}
	}},
	{"erase a tenant", "the endpoints last", func(f *faulty) {
		calls := 0
		f.eraseAll = func(ctx context.Context, tenant string, limit int) (bool, error) {
			if calls++; calls == 1 {
				return true, nil
			}
			return f.Store.EraseTenant(ctx, tenant, limit)
		}
	}},
	{"erase a tenant", "every outcome is said to be applied", func(f *faulty) {
		f.record = func(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
			applied, err := f.Store.Record(ctx, outcomes)
			for i := range applied {
				applied[i] = true
			}
			return applied, err
		}
	}},
	{"erase a tenant", "ids stay taken", func(f *faulty) {
		taken := map[string]bool{}
		f.create = func(ctx context.Context, e webhook.Endpoint, limit int) (webhook.Endpoint, error) {
			if taken[e.ID] {
				return webhook.Endpoint{}, webhook.ErrConflict
			}
			taken[e.ID] = true
			return f.Store.CreateEndpoint(ctx, e, limit)
		}
	}},
	{"list tenants", "in the order of a language", func(f *faulty) {
		f.tenants = func(ctx context.Context, after *string, limit int) ([]string, error) {
			list, err := f.Store.Tenants(ctx, after, limit)
			slices.SortFunc(list, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
			return list, err
		}
	}},
	{"list tenants", "those that ever had endpoints", func(f *faulty) {
		var ever []string
		f.tenants = func(ctx context.Context, after *string, limit int) ([]string, error) {
			list, err := f.Store.Tenants(ctx, after, limit)
			ever = append(ever, list...)
			slices.Sort(ever)
			ever = slices.Compact(ever)
			return slices.Clone(ever), err
		}
	}},
	{"list tenants", "the one without a name is left out", func(f *faulty) {
		f.tenants = func(ctx context.Context, after *string, limit int) ([]string, error) {
			list, err := f.Store.Tenants(ctx, after, limit)
			return slices.DeleteFunc(list, func(name string) bool { return name == "" }), err
		}
	}},
}

// givenBack claims as if nothing were to be skipped, and releases what is.
func givenBack(f *faulty) {
	f.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
		claimed, err := f.Store.Claim(ctx, webhook.ClaimRequest{Owner: req.Owner, Term: req.Term, Max: req.Max, MaxSlow: req.MaxSlow, MaxAge: req.MaxAge})
		var kept, skipped []webhook.Lease
		for _, l := range claimed.Leases {
			if slices.Contains(req.Skip, webhook.EndpointRef{Tenant: l.Delivery.Tenant, ID: l.Delivery.EndpointID}) {
				skipped = append(skipped, l)
			} else {
				kept = append(kept, l)
			}
		}
		claimed.Leases = kept
		return claimed, errors.Join(err, f.release(ctx, skipped))
	}
}
