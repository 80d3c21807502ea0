package storetest

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/meshia/webhook"
)

// stepFaults are about what replays queue, and when.
var stepFaults = []fault{
	{"replay", "the newest first", replaysBy(func(p *replayer) {
		p.order = func(_ *replaying, left []sight) []sight {
			slices.Reverse(left)
			return left
		}
	})},
	{"replay", "Since is not heeded", replaysBy(func(p *replayer) {
		p.within = func(r webhook.Replay, at time.Time) bool { return at.Before(r.Until) }
	})},
	{"replay", "Until is not heeded", replaysBy(func(p *replayer) {
		p.within = func(r webhook.Replay, at time.Time) bool { return !at.Before(r.Since) && at.Before(r.CreatedAt) }
	})},
	{"replay", "what comes while it runs is in it", replaysBy(func(p *replayer) {
		p.within = func(r webhook.Replay, at time.Time) bool {
			return !at.Before(r.Since) && (at.Before(r.Until) || r.Until.Equal(r.CreatedAt))
		}
	})},
	{"replay", "events are looked for among all tenants'", func(f *faulty) {
		replaysBy(func(*replayer) {})(f)
		sound := f.step
		f.step = func(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
			step, err := sound(ctx, req)
			all, _ := f.Store.Deliveries(ctx, "u", webhook.DeliveryFilter{})
			if list, _ := f.Store.Endpoints(ctx, "t"); len(list) > 0 && len(all.Deliveries) > 0 && step.Queued {
				_, queued := f.Store.Enqueue(ctx, webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{newEvent(happened, all.Deliveries[0].EventID, 0)}, Direct: &webhook.Direct{
					EndpointID: list[0].ID, Kind: webhook.KindRedelivery, Queued: true,
				}})
				err = errors.Join(err, queued)
			}
			return step, err
		}
	}},
	{"replay", "what was missed is always in it", func(f *faulty) { f.asksAs(func(r *webhook.Replay) { r.Missed = true }) }},
	{"replay", "what failed is always in it", func(f *faulty) { f.asksAs(func(r *webhook.Replay) { r.Failed = true }) }},
	{"replay", "what failed is never in it", func(f *faulty) { f.asksAs(func(r *webhook.Replay) { r.Failed = false }) }},
	{"replay", "it does not matter whether anything was missed", replaysBy(func(p *replayer) {
		p.missed = func(time.Time, []webhook.Gap) bool { return true }
	})},
	{"replay", "the last gap only", replaysBy(func(p *replayer) {
		missed := p.missed
		p.missed = func(at time.Time, gaps []webhook.Gap) bool { return missed(at, gaps[:min(1, len(gaps))]) }
	})},
	{"replay", "gaps that are closed", replaysBy(func(p *replayer) {
		missed := p.missed
		p.missed = func(at time.Time, gaps []webhook.Gap) bool {
			return missed(at, slices.DeleteFunc(slices.Clone(gaps), func(g webhook.Gap) bool { return g.To.IsZero() }))
		}
	})},
	{"replay", "gaps of endpoints that were switched off", replaysBy(func(p *replayer) {
		missed := p.missed
		p.missed = func(at time.Time, gaps []webhook.Gap) bool {
			return missed(at, slices.DeleteFunc(slices.Clone(gaps), func(g webhook.Gap) bool { return g.Reason != webhook.GapDisabled }))
		}
	})},
	{"replay", "subscriptions are not heeded", replaysBy(func(p *replayer) {
		p.subscribes = func(webhook.Endpoint, string) bool { return true }
	})},
	{"replay", "what was delivered since is sent again", replaysBy(func(p *replayer) {
		p.got = func(d webhook.Delivery) bool { return !d.State.Final() }
	})},
	{"replay", "what is pending is sent again", replaysBy(func(p *replayer) {
		p.got = func(d webhook.Delivery) bool {
			return d.State != webhook.DeliveryFailed && d.State != webhook.DeliveryPending
		}
	})},
	{"replay", "what is leased is sent again", replaysBy(func(p *replayer) {
		p.got = func(d webhook.Delivery) bool {
			return d.State != webhook.DeliveryFailed && d.State != webhook.DeliveryLeased
		}
	})},
	{"replay", "redeliveries do not count", replaysBy(func(p *replayer) {
		counts := p.counts
		p.counts = func(d webhook.Delivery, e webhook.Endpoint) bool { return counts(d, e) && d.Kind == webhook.KindEvent }
	})},
	{"replay", "every endpoint's deliveries count", replaysBy(func(p *replayer) {
		p.counts = func(d webhook.Delivery, _ webhook.Endpoint) bool { return !d.Kind.Once() }
	})},
	{"replay", "a test counts", replaysBy(func(p *replayer) {
		p.counts = func(d webhook.Delivery, e webhook.Endpoint) bool { return d.EndpointID == e.ID }
	})},
	{"replay", "pings and tests of others are missed", replaysBy(func(p *replayer) { p.private = func(sight, []webhook.Delivery) bool { return false } })},
	{"replay", "what was stored for a test is missed when the test is gone", replaysBy(func(p *replayer) {
		p.private = func(_ sight, ds []webhook.Delivery) bool {
			return slices.ContainsFunc(ds, func(d webhook.Delivery) bool { return d.Kind.Once() })
		}
	})},
	{"replay", "the end is not reached", func(f *faulty) { f.replaysAs(func(r *webhook.Replay) { r.Reached = r.Since }) }},
	{"replay", "it is queued once for each time that it failed", func(f *faulty) {
		f.step = func(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
			step, err := f.Store.ContinueReplay(ctx, req)
			if step.Queued {
				page, _ := f.Store.Deliveries(ctx, "t", webhook.DeliveryFilter{State: webhook.DeliveryFailed})
				for _, d := range page.Deliveries[min(1, len(page.Deliveries)):] {
					e, _ := f.Store.Event(ctx, "t", d.EventID)
					_, queued := f.Store.Enqueue(ctx, webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{e}, Direct: &webhook.Direct{
						EndpointID: d.EndpointID, Kind: webhook.KindRedelivery, RedeliveryOf: d.ID, Queued: true,
					}})
					err = errors.Join(err, queued)
				}
			}
			return step, err
		}
	}},
	{"replay", "it repeats nothing", func(f *faulty) { f.claimedAs(func(d *webhook.Delivery) { d.RedeliveryOf = "" }) }},
	{"replay", "it is an event's own delivery", func(f *faulty) { f.deliveriesAs(func(d *webhook.Delivery) { d.Kind = webhook.KindEvent }) }},
	{"replay", "nobody knows who asked", func(f *faulty) { f.deliveriesAs(func(d *webhook.Delivery) { d.AskedBy = "" }) }},
	{"replay", "it repeats the first", func(f *faulty) {
		first := map[string]string{}
		f.claimedAs(func(d *webhook.Delivery) {
			if first[d.EventID] == "" {
				first[d.EventID] = d.ID
			}
			if d.RedeliveryOf != "" {
				d.RedeliveryOf = first[d.EventID]
			}
		})
	}},
	{"replay", "what has no contents is queued", replaysBy(func(p *replayer) { p.skips = func(r *webhook.Replay) { r.Queued++ } })},
	{"replay", "what has no contents is forgotten", replaysBy(func(p *replayer) { p.skips = func(*webhook.Replay) {} })},
	{"replay", "what was looked at is not counted", func(f *faulty) { f.replaysAs(func(r *webhook.Replay) { r.Looked = r.Queued }) }},

	{"replay", "all at once", func(f *faulty) { f.stepsAs(func(req *webhook.ReplayStep) { req.Max = 100 }) }},
	{"replay", "nothing is said of what was queued", func(f *faulty) {
		f.step = func(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
			step, err := f.Store.ContinueReplay(ctx, req)
			step.Queued = false
			return step, err
		}
	}},
	{"replay", "a step begins with the last event of the one before", replaysBy(func(p *replayer) {
		again := map[string]bool{}
		p.got = func(webhook.Delivery) bool { return false }
		p.seen = func(r *replaying, s sight) {
			r.looked[s.event.ID] = again[s.event.ID]
			again[s.event.ID] = true
		}
	})},
	{"replay", "events of one moment are one", replaysBy(func(p *replayer) {
		p.seen = func(r *replaying, s sight) {
			for _, other := range p.saw {
				if other.at.Equal(s.at) {
					r.looked[other.event.ID] = true
				}
			}
		}
	})},
	{"replay", "its place is a number of events", replaysBy(func(p *replayer) {
		p.seen = func(*replaying, sight) {}
		p.order = func(r *replaying, left []sight) []sight { return left[min(int(r.Looked), len(left)):] }
	})},
	{"replay", "a step that fails was taken in part", replaysBy(func(p *replayer) {
		p.amid = func(ctx context.Context) error {
			time.Sleep(time.Millisecond)
			return ctx.Err()
		}
	})},
	{"replay", "two steps at once are the same", func(f *faulty) {
		var at atomic.Int64
		f.step = func(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
			same := at.Add(1) > 1
			defer at.Add(-1)
			step, err := f.Store.ContinueReplay(ctx, req)
			if page, _ := f.Store.Deliveries(ctx, "t", webhook.DeliveryFilter{Limit: 1}); same && step.Queued && len(page.Deliveries) > 0 {
				e, _ := f.Store.Event(ctx, "t", page.Deliveries[0].EventID)
				_, queued := f.Store.Enqueue(ctx, webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{e}, Direct: &webhook.Direct{
					EndpointID: page.Deliveries[0].EndpointID, Kind: webhook.KindRedelivery, Queued: true,
				}})
				err = errors.Join(err, queued)
			}
			time.Sleep(time.Millisecond)
			return step, err
		}
	}},
	{"replay", "the first one until it is done", replaysBy(func(p *replayer) { p.turns = func([]*replaying) {} })},
	{"replay", "the last one until it is done", replaysBy(func(p *replayer) { p.turns = slices.Reverse[[]*replaying] })},
	{"replay", "each that runs takes a step", func(f *faulty) {
		f.step = func(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
			_, err := f.Store.ContinueReplay(ctx, req)
			step, second := f.Store.ContinueReplay(ctx, req)
			return step, errors.Join(err, second)
		}
	}},
	{"replay", "who waits holds up all", replaysBy(func(p *replayer) { p.passed = func() bool { return false } })},
	{"replay", "nobody waits for a state", replaysBy(func(p *replayer) { p.queues = func(webhook.EndpointState) bool { return true } })},
	{"replay", "who is paused waits", replaysBy(func(p *replayer) {
		p.queues = func(s webhook.EndpointState) bool { return s == webhook.EndpointActive }
	})},
	{"replay", "nobody is told that replays wait", func(f *faulty) {
		f.step = func(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
			step, err := f.Store.ContinueReplay(ctx, req)
			step.Waiting = false
			return step, err
		}
	}},
	{"replay", "any number may be pending", replaysBy(func(p *replayer) { p.room = func(int64, int) bool { return true } })},
	{"replay", "one more may be pending", func(f *faulty) { f.stepsAs(func(req *webhook.ReplayStep) { req.Pending++ }) }},
	{"replay", "a step does not count what it queues", replaysBy(func(p *replayer) {
		var had int64
		p.turns = func([]*replaying) { had = -1 }
		p.room = func(pending int64, bound int) bool {
			if had < 0 {
				had = pending
			}
			return had < int64(bound)
		}
	})},
	{"replay", "it ends with the step after the last", replaysBy(func(p *replayer) {
		looked := -1
		p.last = func(left int) bool {
			done := left == 0 && looked == 0
			looked = left
			return done
		}
	})},
	{"replay", "it never ends", replaysBy(func(p *replayer) { p.last = func(int) bool { return false } })},
	{"replay", "it ends too early", replaysBy(func(p *replayer) { p.last = func(left int) bool { return left <= 1 } })},
	{"replay", "a deleted endpoint's is done", replaysBy(func(p *replayer) {
		p.orphaned = func(r *replaying) { r.State, r.FinishedAt = webhook.ReplayDone, time.Now() }
	})},
	{"replay", "a deleted endpoint's is stopped without a time", replaysBy(func(p *replayer) {
		p.orphaned = func(r *replaying) { r.State = webhook.ReplayStopped }
	})},
}

// stepsAs lets a fault change each request for a step.
func (f *faulty) stepsAs(change func(req *webhook.ReplayStep)) {
	f.step = func(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
		change(&req)
		return f.Store.ContinueReplay(ctx, req)
	}
}

// claimedAs lets a fault change each delivery that is handed out.
func (f *faulty) claimedAs(change func(d *webhook.Delivery)) {
	f.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
		claimed, err := f.Store.Claim(ctx, req)
		for i := range claimed.Leases {
			change(&claimed.Leases[i].Delivery)
		}
		return claimed, err
	}
}
