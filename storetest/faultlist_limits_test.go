package storetest

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/meshia/webhook"
)

// limitFaults are about rates, backlogs, deferred attempts and what endpoints and deliveries have for them.
var limitFaults = []fault{
	{"context", "Stats ignores it", func(f *faulty) {
		f.stats = func(ctx context.Context, tenant, id string, since time.Time) (webhook.Stats, error) {
			return f.Store.Stats(context.WithoutCancel(ctx), tenant, id, since)
		}
	}},
	{"tenants", "statistics are found by the id alone", func(f *faulty) {
		f.stats = func(ctx context.Context, tenant, id string, since time.Time) (webhook.Stats, error) {
			stats, err := f.Store.Stats(ctx, tenant, id, since)
			if errors.Is(err, webhook.ErrNotFound) {
				return f.Store.Stats(ctx, "a", id, since)
			}
			return stats, err
		}
	}},
	{"values", "a rate is a whole number", func(f *faulty) { f.keptAs(func(e *webhook.Endpoint) { e.Rate = math.Trunc(e.Rate) }) }},
	{"values", "stored headers are kept by their names", func(f *faulty) {
		f.keptAs(func(e *webhook.Endpoint) { e.StoredHeaders = e.StoredHeaders[:min(1, len(e.StoredHeaders))] })
	}},
	{"values", "LastFailure is not kept", func(f *faulty) { f.keptAs(func(e *webhook.Endpoint) { e.Health.LastFailure = time.Time{} }) }},
	{"values", "nobody knows who asked", func(f *faulty) { f.deliveriesAs(func(d *webhook.Delivery) { d.AskedBy = "" }) }},
	{"direct", "nobody knows who asked", func(f *faulty) { f.deliveriesAs(func(d *webhook.Delivery) { d.AskedBy = "" }) }},
	{"window", "an endpoint's own bound is not heeded", func(f *faulty) { f.keptAs(func(e *webhook.Endpoint) { e.MaxInFlight = 0 }) }},
	{"hand-over", "a rate does not keep it back", func(f *faulty) { f.keptAs(func(e *webhook.Endpoint) { e.Rate = 0 }) }},
	{"endpoints", "headers are kept", func(f *faulty) {
		f.update = func(ctx context.Context, e webhook.Endpoint, judge webhook.Judge) (webhook.Endpoint, error) {
			got, err := f.Store.UpdateEndpoint(ctx, e, judge)
			got.Headers = e.Headers
			return got, err
		}
	}},
	{"endpoints", "an update forgets what is new", func(f *faulty) {
		f.updatesAs(func(e *webhook.Endpoint, stored webhook.Endpoint) {
			e.Timeout, e.MaxInFlight = stored.Timeout, stored.MaxInFlight
		})
	}},
	{"endpoints", "an update takes nothing away", func(f *faulty) {
		f.updatesAs(func(e *webhook.Endpoint, stored webhook.Endpoint) { e.Rate = cmp.Or(e.Rate, stored.Rate) })
	}},

	{"deferred", "it is a retry", func(f *faulty) { f.deferredAs(webhook.OutcomeRetry) }},
	{"deferred", "it is an interruption", func(f *faulty) { f.deferredAs(webhook.OutcomeInterrupted) }},
	{"deferred", "it is the end", func(f *faulty) { f.deferredAs(webhook.OutcomeFailed) }},
	{"deferred", "it is pending whatever happened meanwhile", func(f *faulty) {
		f.deliveriesAs(func(d *webhook.Delivery) {
			if d.Deferred > 0 && d.State == webhook.DeliveryFailed {
				d.State, d.Reason = webhook.DeliveryPending, ""
			}
		})
	}},

	{"rate", "there is none", func(f *faulty) { f.keptAs(func(e *webhook.Endpoint) { e.Rate = 0 }) }},
	{"rate", "a burst is one more", func(f *faulty) { f.keptAs(func(e *webhook.Endpoint) { e.Burst++ }) }},
	{"rate", "a burst of 0 is one of 1", func(f *faulty) { f.keptAs(func(e *webhook.Endpoint) { e.Burst = max(e.Burst, 1) }) }},
	{"rate", "a change brings a fresh burst", func(f *faulty) {
		f.updatesAs(func(e *webhook.Endpoint, _ webhook.Endpoint) { e.Burst *= 2 })
	}},
	{"rate", "a change waits for the old rate", func(f *faulty) {
		f.updatesAs(func(e *webhook.Endpoint, stored webhook.Endpoint) { e.Rate = cmp.Or(stored.Rate, e.Rate) })
	}},
	{"rate", "a change of the burst is not heeded", func(f *faulty) {
		f.updatesAs(func(e *webhook.Endpoint, stored webhook.Endpoint) { e.Burst = cmp.Or(stored.Burst, e.Burst) })
	}},
	{"rate", "direct leases count", func(f *faulty) {
		f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			result, err := f.Store.Enqueue(ctx, req)
			if req.Direct != nil {
				another := req
				another.Direct, another.Events = nil, []webhook.Event{newEvent(happened, req.Events[0].ID+"_2", nil)}
				_, queued := f.Store.Enqueue(ctx, another)
				claimed, claims := f.Store.Claim(ctx, claimRequest(1))
				err = errors.Join(err, queued, claims, f.release(ctx, claimed.Leases))
			}
			return result, err
		}
	}},
	{"rate", "direct leases wait", func(f *faulty) {
		f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			result, err := f.Store.Enqueue(ctx, req)
			if req.Direct != nil {
				err = errors.Join(err, f.release(ctx, result.Leases))
				result = webhook.EnqueueResult{Queued: true}
			}
			return result, err
		}
	}},
	{"rate", "what is given back was not used", func(f *faulty) {
		f.record = func(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
			applied, err := f.Store.Record(ctx, outcomes)
			for _, o := range outcomes {
				if o.Kind == webhook.OutcomeReleased {
					err = errors.Join(err, f.raise(ctx, o.Tenant, o.EndpointID))
				}
			}
			return applied, err
		}
	}},
	{"rate", "what has failed was not used", func(f *faulty) {
		f.record = func(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
			applied, err := f.Store.Record(ctx, outcomes)
			for _, o := range outcomes {
				if o.Kind == webhook.OutcomeFailed {
					err = errors.Join(err, f.raise(ctx, o.Tenant, o.EndpointID))
				}
			}
			return applied, err
		}
	}},
	{"rate", "who waits for it keeps others waiting", func(f *faulty) {
		f.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			claimed, err := f.Store.Claim(ctx, req)
			list, _ := f.Store.Endpoints(ctx, "many")
			for _, e := range list {
				if stats, _ := f.Store.Stats(ctx, "many", e.ID, time.Time{}); !stats.NextAttempt.IsZero() && len(claimed.Leases) == 1 {
					return webhook.Claimed{}, errors.Join(err, f.release(ctx, claimed.Leases))
				}
			}
			return claimed, err
		}
	}},
	{"rate", "who waits for it waits for a turn too", func(f *faulty) {
		f.hoard(func(a, b webhook.Lease) int { return cmp.Compare(b.Endpoint.Rate, a.Endpoint.Rate) }, slices.SortStableFunc[[]webhook.Lease])
	}},
	{"rate", "nobody is told when to come back", func(f *faulty) {
		f.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			claimed, err := f.Store.Claim(ctx, req)
			claimed.Next = -1
			return claimed, err
		}
	}},

	{"backlog", "there is no bound", func(f *faulty) { f.boundsAs(func(int) int { return 0 }) }},
	{"backlog", "no bound is the least", func(f *faulty) { f.boundsAs(func(bound int) int { return max(bound, 1) }) }},
	{"backlog", "one more may be pending", func(f *faulty) { f.boundsAs(func(bound int) int { return bound + min(bound, 1) }) }},
	{"backlog", "a gap closes with one less", func(f *faulty) {
		f.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			_, err := f.Store.Claim(ctx, webhook.ClaimRequest{MaxPending: (req.MaxPending*10 + 8) / 9})
			claimed, claims := f.Store.Claim(ctx, req)
			return claimed, errors.Join(err, claims)
		}
	}},
	{"backlog", "a gap stays until nothing is left", func(f *faulty) {
		f.gapsAs(func(gaps []webhook.Gap, pending int64) {
			if len(gaps) > 0 && gaps[0].Reason == webhook.GapBacklog && pending > 0 {
				gaps[0].To = time.Time{}
			}
		})
	}},
	{"backlog", "a gap keeps nothing back", func(f *faulty) {
		f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			_, err := f.Store.Claim(ctx, webhook.ClaimRequest{})
			req.MaxPending = 0
			result, queued := f.Store.Enqueue(ctx, req)
			return result, errors.Join(err, queued)
		}
	}},
	{"backlog", "only some of what is missed is counted", func(f *faulty) {
		f.gapsAs(func(gaps []webhook.Gap, _ int64) {
			for i := range gaps {
				gaps[i].Count = min(gaps[i].Count, 1)
			}
		})
	}},
	{"backlog", "it is the reason of every gap", func(f *faulty) {
		f.gapsAs(func(gaps []webhook.Gap, _ int64) {
			for i := range gaps {
				gaps[i].Reason = webhook.GapBacklog
			}
		})
	}},
	{"backlog", "a gap in which nothing was missed is kept", func(f *faulty) {
		last := map[string]webhook.Gap{}
		f.gaps = func(ctx context.Context, tenant, id string) ([]webhook.Gap, error) {
			gaps, err := f.Store.Gaps(ctx, tenant, id)
			if g, known := last[id]; len(gaps) == 0 && known {
				gaps = []webhook.Gap{g}
			} else if len(gaps) > 0 {
				last[id] = gaps[0]
			}
			return gaps, err
		}
	}},
	{"backlog", "nobody is named", func(f *faulty) {
		f.namesAs(func([]webhook.EndpointRef) []webhook.EndpointRef { return nil })
	}},
	{"backlog", "who is named is named twice", func(f *faulty) {
		f.namesAs(func(refs []webhook.EndpointRef) []webhook.EndpointRef {
			return append(refs[:len(refs):len(refs)], refs...)
		})
	}},
	{"backlog", "who is named is another tenant's", func(f *faulty) {
		f.namesAs(func(refs []webhook.EndpointRef) []webhook.EndpointRef {
			for i := range refs {
				refs[i].Tenant = "u"
			}
			return refs
		})
	}},
}

func (f *faulty) deferredAs(kind webhook.OutcomeKind) {
	f.outcomesAs(func(o *webhook.Outcome) {
		if o.Kind == webhook.OutcomeDeferred {
			o.Kind = kind
		}
	})
}
