package storetest

import (
	"context"
	"sync"
	"time"

	"github.com/meshia/webhook"
)

// keptAs lets a fault change each endpoint before it is stored.
func (f *faulty) keptAs(change func(e *webhook.Endpoint)) {
	f.create = func(ctx context.Context, e webhook.Endpoint, limit int) (webhook.Endpoint, error) {
		change(&e)
		return f.Store.CreateEndpoint(ctx, e, limit)
	}
	f.update = func(ctx context.Context, e webhook.Endpoint, judge webhook.Judge) (webhook.Endpoint, error) {
		change(&e)
		return f.Store.UpdateEndpoint(ctx, e, judge)
	}
}

// updatesAs lets a fault change each endpoint before it is updated, in view of what is stored.
func (f *faulty) updatesAs(change func(e *webhook.Endpoint, stored webhook.Endpoint)) {
	f.update = func(ctx context.Context, e webhook.Endpoint, judge webhook.Judge) (webhook.Endpoint, error) {
		stored, err := f.Store.Endpoint(ctx, e.Tenant, e.ID)
		if err != nil {
			return stored, err
		}
		change(&e, stored)
		return f.Store.UpdateEndpoint(ctx, e, judge)
	}
}

// raise gives an endpoint a larger burst.
func (f *faulty) raise(ctx context.Context, tenant, id string) error {
	e, err := f.Store.Endpoint(ctx, tenant, id)
	if err != nil {
		return err
	}
	e.Burst++
	_, err = f.Store.UpdateEndpoint(ctx, e, nil)
	return err
}

// boundsAs lets a fault change the bound of each request.
func (f *faulty) boundsAs(change func(bound int) int) {
	f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
		req.MaxPending = change(req.MaxPending)
		return f.Store.Enqueue(ctx, req)
	}
	f.claimsAs(func(req *webhook.ClaimRequest) { req.MaxPending = change(req.MaxPending) })
}

// namesAs lets a fault change who is named in Backlogged.
func (f *faulty) namesAs(change func(refs []webhook.EndpointRef) []webhook.EndpointRef) {
	f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
		result, err := f.Store.Enqueue(ctx, req)
		result.Backlogged = change(result.Backlogged)
		return result, err
	}
	f.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
		claimed, err := f.Store.Claim(ctx, req)
		claimed.Backlogged = change(claimed.Backlogged)
		return claimed, err
	}
}

// gapsAs lets a fault change the gaps of an endpoint that are read, in view of how many of its deliveries are pending.
func (f *faulty) gapsAs(change func(gaps []webhook.Gap, pending int64)) {
	f.gaps = func(ctx context.Context, tenant, id string) ([]webhook.Gap, error) {
		gaps, err := f.Store.Gaps(ctx, tenant, id)
		stats, _ := f.Store.Stats(ctx, tenant, id, time.Time{}) // a deleted endpoint has none
		change(gaps, stats.Pending)
		return gaps, err
	}
}

// statsAs lets a fault change the statistics that are read.
func (f *faulty) statsAs(change func(s *webhook.Stats)) {
	f.stats = func(ctx context.Context, tenant, id string, since time.Time) (webhook.Stats, error) {
		stats, err := f.Store.Stats(ctx, tenant, id, since)
		change(&stats)
		return stats, err
	}
}

// alsoCounts counts some outcomes besides, whether they are applied or not.
func (f *faulty) alsoCounts(counts func(l webhook.Lease, o webhook.Outcome) bool) {
	var mu sync.Mutex
	more := map[string]int64{}
	f.record = func(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
		mu.Lock()
		defer mu.Unlock()
		for _, o := range outcomes {
			if counts(f.latest(o.DeliveryID), o) {
				more[o.EndpointID]++
			}
		}
		return f.Store.Record(ctx, outcomes)
	}
	f.stats = func(ctx context.Context, tenant, id string, since time.Time) (webhook.Stats, error) {
		stats, err := f.Store.Stats(ctx, tenant, id, since)
		mu.Lock()
		defer mu.Unlock()
		if more[id] > 0 {
			stats.Hours = append(stats.Hours, webhook.HourStats{Start: time.Now().Truncate(time.Hour), Failed: more[id]})
		}
		return stats, err
	}
}
