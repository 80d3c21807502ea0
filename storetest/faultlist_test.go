package storetest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/meshia/webhook"
)

// fault is what is wrong with a store, and the group of cases that has to notice.
type fault struct {
	group, name string
	in          func(f *faulty)
}

var faults = []fault{
	{"concurrency", "a delivery is given out twice", givenTwice},
	{"concurrency", "a goroutine is left", func(f *faulty) {
		f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			go func() { <-ctx.Done() }()
			return f.Store.Enqueue(ctx, req)
		}
	}},
	{"context", "the context is ignored", func(f *faulty) {
		f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			return f.Store.Enqueue(context.WithoutCancel(ctx), req)
		}
	}},
	{"context", "an error after the deed", func(f *faulty) {
		f.remove = func(ctx context.Context, tenant, id string) error {
			return errors.Join(ctx.Err(), f.Store.DeleteEndpoint(context.WithoutCancel(ctx), tenant, id))
		}
	}},
	{"clock", "the caller's time is believed", func(f *faulty) {
		f.create = func(ctx context.Context, e webhook.Endpoint, limit int) (webhook.Endpoint, error) {
			got, err := f.Store.CreateEndpoint(ctx, e, limit)
			got.CreatedAt = e.CreatedAt
			return got, err
		}
	}},
	{"clock", "a wait is taken for twice as long", func(f *faulty) { f.outcomesAs(func(o *webhook.Outcome) { o.Wait *= 2 }) }},
	{"tenants", "a delivery is found by its id alone", func(f *faulty) {
		f.delivery = func(ctx context.Context, tenant, id string) (webhook.Delivery, error) {
			return f.Store.Delivery(ctx, f.latest(id).Delivery.Tenant, id)
		}
	}},
	{"tenants", "an outcome is recorded whosoever it is", func(f *faulty) {
		f.outcomesAs(func(o *webhook.Outcome) { o.Tenant = f.latest(o.DeliveryID).Delivery.Tenant })
	}},
	{"tenants", "the list is everybody's", func(f *faulty) {
		f.deliveries = func(ctx context.Context, _ string, filter webhook.DeliveryFilter) (webhook.DeliveryPage, error) {
			return f.Store.Deliveries(ctx, "a", filter)
		}
	}},
	{"values", "bodies are kept as JSON", func(f *faulty) {
		f.event = func(ctx context.Context, tenant, id string) (webhook.Event, error) {
			e, err := f.Store.Event(ctx, tenant, id)
			var compact bytes.Buffer
			if json.Compact(&compact, e.Body) == nil {
				e.Body = compact.Bytes()
			}
			return e, err
		}
	}},
	{"values", "times are cut to seconds", func(f *faulty) {
		f.endpoints = func(ctx context.Context, tenant string) ([]webhook.Endpoint, error) {
			list, err := f.Store.Endpoints(ctx, tenant)
			for i := range list {
				list[i].Health.PausedUntil = list[i].Health.PausedUntil.Truncate(time.Second)
			}
			return list, err
		}
	}},
	{"values", "health is kept in part", func(f *faulty) {
		f.endpoints = func(ctx context.Context, tenant string) ([]webhook.Endpoint, error) {
			list, err := f.Store.Endpoints(ctx, tenant)
			for i := range list {
				list[i].Health.Verified, list[i].Health.Generation = false, 0
			}
			return list, err
		}
	}},
	{"values", "leases share an endpoint that changes", sharedEndpoint},
	{"enqueue", "events are stored one by one", func(f *faulty) {
		f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			var all webhook.EnqueueResult
			for _, e := range req.Events {
				one := req
				one.Events = []webhook.Event{e}
				result, err := f.Store.Enqueue(ctx, one)
				if err != nil {
					return all, err
				}
				all.Leases = append(all.Leases, result.Leases...)
				all.Queued = all.Queued || result.Queued
			}
			return all, nil
		}
	}},
	{"enqueue", "a known id is enough", func(f *faulty) {
		f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			result, err := f.Store.Enqueue(ctx, req)
			if errors.Is(err, webhook.ErrConflict) {
				err = nil
			}
			return result, err
		}
	}},
	{"enqueue", "an event without a delivery is not stored", func(f *faulty) {
		f.event = func(ctx context.Context, tenant, id string) (webhook.Event, error) {
			page, err := f.Store.Deliveries(ctx, tenant, webhook.DeliveryFilter{EventID: id, Limit: 1})
			if err == nil && len(page.Deliveries) == 0 {
				err = webhook.ErrNotFound
			}
			if err != nil {
				return webhook.Event{}, err
			}
			return f.Store.Event(ctx, tenant, id)
		}
	}},
	{"enqueue", "missed events are not counted", func(f *faulty) {
		f.gaps = func(ctx context.Context, tenant, id string) ([]webhook.Gap, error) {
			gaps, err := f.Store.Gaps(ctx, tenant, id)
			for i := range gaps {
				gaps[i].Count = 0
			}
			return gaps, err
		}
	}},
	{"enqueue", "a full store says something else", func(f *faulty) {
		f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			result, err := f.Store.Enqueue(ctx, req)
			if errors.Is(err, webhook.ErrStoreFull) {
				err = errors.New("full")
			}
			return result, err
		}
	}},
	{"direct", "a direct delivery waits its turn", func(f *faulty) {
		f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			result, err := f.Store.Enqueue(ctx, req)
			for _, l := range result.Leases {
				if _, err := f.Store.Record(ctx, []webhook.Outcome{outcome(l, webhook.OutcomeReleased)}); err != nil {
					return result, err
				}
			}
			return webhook.EnqueueResult{Queued: true}, err
		}
	}},
	{"direct", "a disabled endpoint gets nothing", func(f *faulty) {
		f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			if req.Direct != nil {
				if e, err := f.Store.Endpoint(ctx, req.Tenant, req.Direct.EndpointID); err == nil && !e.Health.State.Queues() {
					return webhook.EnqueueResult{}, webhook.ErrNotFound
				}
			}
			return f.Store.Enqueue(ctx, req)
		}
	}},
	{"hand-over", "what waits is passed or handed over too", func(f *faulty) {
		f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			result, err := f.Store.Enqueue(ctx, req)
			if req.HandOver != nil && len(result.Leases) < req.HandOver.Max {
				claimed, _ := f.Store.Claim(ctx, webhook.ClaimRequest{Term: req.HandOver.Term, Max: 1, MaxSlow: 1})
				result.Leases = append(result.Leases, claimed.Leases...)
			}
			return result, err
		}
	}},
	{"hand-over", "Max is not heeded", func(f *faulty) {
		f.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			if req.HandOver != nil {
				more := *req.HandOver
				more.Max++
				req.HandOver = &more
			}
			return f.Store.Enqueue(ctx, req)
		}
	}},
	{"claim", "a delivery is given out twice", givenTwice},
	{"claim", "Max is not heeded", func(f *faulty) { f.claimsAs(func(req *webhook.ClaimRequest) { req.Max++ }) }},
	{"claim", "MaxSlow is not heeded", func(f *faulty) { f.claimsAs(func(req *webhook.ClaimRequest) { req.MaxSlow = req.Max }) }},
	{"claim", "there is never a time to come back", func(f *faulty) {
		f.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			claimed, err := f.Store.Claim(ctx, req)
			claimed.Next = -1
			return claimed, err
		}
	}},
	{"claim", "a wait is forgotten", func(f *faulty) { f.outcomesAs(func(o *webhook.Outcome) { o.Wait = 0 }) }},
	{"claim", "the token is the attempt's number", func(f *faulty) {
		real := map[string]string{}
		f.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			claimed, err := f.Store.Claim(ctx, req)
			for i := range claimed.Leases {
				l := &claimed.Leases[i]
				real[l.Delivery.ID], l.Token = l.Token, strconv.Itoa(l.Delivery.AttemptCount)
			}
			return claimed, err
		}
		f.outcomesAs(func(o *webhook.Outcome) { o.Token = real[o.DeliveryID] })
	}},
	{"window", "the window is not heeded", func(f *faulty) {
		f.create = func(ctx context.Context, e webhook.Endpoint, limit int) (webhook.Endpoint, error) {
			e.Health.Window = 1000
			return f.Store.CreateEndpoint(ctx, e, limit)
		}
	}},
	{"window", "a lost lease keeps its place for ever", func(f *faulty) { f.claimsAs(func(req *webhook.ClaimRequest) { req.Term = 1000 * far }) }},
	{"order", "a backlog comes first", func(f *faulty) {
		f.hoard(func(a, b webhook.Lease) int { return cmp.Compare(a.Delivery.EndpointID, b.Delivery.EndpointID) }, slices.SortStableFunc[[]webhook.Lease])
	}},
	{"order", "retries come first", func(f *faulty) {
		f.hoard(func(a, b webhook.Lease) int { return cmp.Compare(b.Delivery.AttemptCount, a.Delivery.AttemptCount) }, slices.SortStableFunc[[]webhook.Lease])
	}},
	{"order", "the last comes first", func(f *faulty) {
		f.hoard(func(a, b webhook.Lease) int { return cmp.Compare(b.Delivery.ID, a.Delivery.ID) }, slices.SortStableFunc[[]webhook.Lease])
	}},
	{"lost leases", "leases never end", func(f *faulty) { f.claimsAs(func(req *webhook.ClaimRequest) { req.Term = far }) }},
	{"lost leases", "a lost attempt is not logged", func(f *faulty) {
		f.delivery = func(ctx context.Context, tenant, id string) (webhook.Delivery, error) {
			d, err := f.Store.Delivery(ctx, tenant, id)
			d.Attempts = slices.DeleteFunc(d.Attempts, func(a webhook.Attempt) bool { return a.Error == webhook.ErrorOwnerLost })
			return d, err
		}
	}},
	{"lost leases", "tokens are not compared", tokensIgnored},
	{"age", "deliveries never expire", func(f *faulty) { f.claimsAs(func(req *webhook.ClaimRequest) { req.MaxAge = 0 }) }},
	{"age", "everything expires", func(f *faulty) { f.claimsAs(func(req *webhook.ClaimRequest) { req.MaxAge = 1 }) }},
	{"record", "tokens are not compared", tokensIgnored},
	{"record", "a stale outcome fails its neighbours", func(f *faulty) {
		f.record = func(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
			for _, o := range outcomes {
				if f.latest(o.DeliveryID).Token != o.Token {
					return make([]bool, len(outcomes)), nil
				}
			}
			return f.Store.Record(ctx, outcomes)
		}
	}},
	{"record", "a released attempt counts", func(f *faulty) {
		f.outcomesAs(func(o *webhook.Outcome) {
			if o.Kind == webhook.OutcomeReleased {
				o.Kind = webhook.OutcomeRetry
			}
		})
	}},
	{"record", "an interruption does not count", func(f *faulty) {
		f.outcomesAs(func(o *webhook.Outcome) {
			if o.Kind == webhook.OutcomeInterrupted {
				o.Kind = webhook.OutcomeRetry
			}
		})
	}},
	{"record", "attempts are written in a second step", func(f *faulty) {
		f.deliveries = func(ctx context.Context, tenant string, filter webhook.DeliveryFilter) (webhook.DeliveryPage, error) {
			page, err := f.Store.Deliveries(ctx, tenant, filter)
			for i, d := range page.Deliveries {
				if time.Since(d.FinishedAt) < time.Millisecond {
					page.Deliveries[i].Attempts = nil
				}
			}
			return page, err
		}
	}},
	{"judge", "a Judge is called twice", func(f *faulty) {
		f.outcomesAs(func(o *webhook.Outcome) {
			if judge := o.Judge; judge != nil {
				o.Judge = func(h webhook.Health, now time.Time) webhook.Health {
					judge(h, now)
					return judge(h, now)
				}
			}
		})
	}},
	{"judge", "a Judge sees the lease's health", func(f *faulty) {
		f.outcomesAs(func(o *webhook.Outcome) {
			if judge, old := o.Judge, f.latest(o.DeliveryID).Endpoint.Health; judge != nil {
				o.Judge = func(_ webhook.Health, now time.Time) webhook.Health { return judge(old, now) }
			}
		})
	}},
	{"judge", "a Judge is not called", func(f *faulty) { f.outcomesAs(func(o *webhook.Outcome) { o.Judge = nil }) }},
	{"endpoints", "the last writer wins", func(f *faulty) {
		f.update = func(ctx context.Context, e webhook.Endpoint, judge webhook.Judge) (webhook.Endpoint, error) {
			now, err := f.Store.Endpoint(ctx, e.Tenant, e.ID)
			if err != nil {
				return now, err
			}
			e.Version = now.Version
			return f.Store.UpdateEndpoint(ctx, e, judge)
		}
	}},
	{"endpoints", "an update brings the caller's health", func(f *faulty) {
		f.update = func(ctx context.Context, e webhook.Endpoint, _ webhook.Judge) (webhook.Endpoint, error) {
			return f.Store.UpdateEndpoint(ctx, e, func(webhook.Health, time.Time) webhook.Health { return e.Health })
		}
	}},
	{"endpoints", "the list is sorted by id", func(f *faulty) {
		f.endpoints = func(ctx context.Context, tenant string) ([]webhook.Endpoint, error) {
			list, err := f.Store.Endpoints(ctx, tenant)
			slices.SortFunc(list, func(a, b webhook.Endpoint) int { return cmp.Compare(a.ID, b.ID) })
			return list, err
		}
	}},
	{"endpoints", "the secret is kept", func(f *faulty) {
		f.create = func(ctx context.Context, e webhook.Endpoint, limit int) (webhook.Endpoint, error) {
			got, err := f.Store.CreateEndpoint(ctx, e, limit)
			got.Secret = e.Secret
			return got, err
		}
	}},
	{"endpoints", "a deleted endpoint's deliveries wait for ever", func(f *faulty) {
		f.remove = func(ctx context.Context, tenant, id string) error {
			_, err := f.Store.JudgeEndpoint(ctx, tenant, id, func(h webhook.Health, _ time.Time) webhook.Health {
				h.State = webhook.EndpointDisabled
				return h
			})
			return err
		}
	}},
	{"history", "the oldest comes first", func(f *faulty) {
		f.deliveries = func(ctx context.Context, tenant string, filter webhook.DeliveryFilter) (webhook.DeliveryPage, error) {
			page, err := f.Store.Deliveries(ctx, tenant, filter)
			slices.Reverse(page.Deliveries)
			return page, err
		}
	}},
	{"history", "a cursor is an offset", offsetCursor},
	{"history", "a filter is forgotten", func(f *faulty) {
		f.deliveries = func(ctx context.Context, tenant string, filter webhook.DeliveryFilter) (webhook.DeliveryPage, error) {
			filter.EventType = ""
			return f.Store.Deliveries(ctx, tenant, filter)
		}
	}},
	{"history", "any cursor will do", func(f *faulty) {
		f.deliveries = func(ctx context.Context, tenant string, filter webhook.DeliveryFilter) (webhook.DeliveryPage, error) {
			page, err := f.Store.Deliveries(ctx, tenant, filter)
			if errors.Is(err, webhook.ErrInvalidCursor) {
				filter.Cursor = ""
				return f.Store.Deliveries(ctx, tenant, filter)
			}
			return page, err
		}
	}},
	{"gaps", "the oldest comes first", func(f *faulty) {
		f.gaps = func(ctx context.Context, tenant, id string) ([]webhook.Gap, error) {
			gaps, err := f.Store.Gaps(ctx, tenant, id)
			slices.Reverse(gaps)
			return gaps, err
		}
	}},
	{"gaps", "a deleted endpoint's gap stays open", func(f *faulty) {
		f.gaps = func(ctx context.Context, tenant, id string) ([]webhook.Gap, error) {
			gaps, err := f.Store.Gaps(ctx, tenant, id)
			if _, missing := f.Store.Endpoint(ctx, tenant, id); missing != nil && len(gaps) > 0 {
				gaps[0].To = time.Time{}
			}
			return gaps, err
		}
	}},
	{"gaps", "every gap is of one kind", func(f *faulty) {
		f.gaps = func(ctx context.Context, tenant, id string) ([]webhook.Gap, error) {
			gaps, err := f.Store.Gaps(ctx, tenant, id)
			for i := range gaps {
				gaps[i].Reason = webhook.GapDisabled
			}
			return gaps, err
		}
	}},
}

// givenTwice hands the last leases out again when there is nothing else.
func givenTwice(f *faulty) {
	var last []webhook.Lease
	f.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
		claimed, err := f.Store.Claim(ctx, req)
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(claimed.Leases) == 0 && len(last) <= req.Max {
			claimed.Leases, last = last, nil
		} else {
			last = claimed.Leases
		}
		return claimed, err
	}
}

func tokensIgnored(f *faulty) {
	f.outcomesAs(func(o *webhook.Outcome) { o.Token = f.latest(o.DeliveryID).Token })
}

// sharedEndpoint gives every lease the same copy of an endpoint and writes updates into it.
func sharedEndpoint(f *faulty) {
	shared := map[string]*webhook.Endpoint{}
	f.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
		claimed, err := f.Store.Claim(ctx, req)
		for i, l := range claimed.Leases {
			if shared[l.Endpoint.ID] == nil {
				own := *l.Endpoint
				shared[l.Endpoint.ID] = &own
			}
			claimed.Leases[i].Endpoint = shared[l.Endpoint.ID]
		}
		return claimed, err
	}
	f.update = func(ctx context.Context, e webhook.Endpoint, judge webhook.Judge) (webhook.Endpoint, error) {
		e, err := f.Store.UpdateEndpoint(ctx, e, judge)
		if own := shared[e.ID]; own != nil && err == nil {
			*own = e
		}
		return e, err
	}
}

// offsetCursor counts rows from the newest, which is another one when the next page is asked for.
func offsetCursor(f *faulty) {
	f.deliveries = func(ctx context.Context, tenant string, filter webhook.DeliveryFilter) (webhook.DeliveryPage, error) {
		skip, _ := strconv.Atoi(filter.Cursor)
		limit := filter.Limit
		filter.Cursor, filter.Limit = "", webhook.MaxPage
		page, err := f.Store.Deliveries(ctx, tenant, filter)
		all := page.Deliveries[min(skip, len(page.Deliveries)):]
		page = webhook.DeliveryPage{Deliveries: all}
		if len(all) > limit {
			page = webhook.DeliveryPage{Deliveries: all[:limit], NextCursor: strconv.Itoa(skip + limit)}
		}
		return page, err
	}
}
