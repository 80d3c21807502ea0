package simulation

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// reads changes what the store says of replays.
func reads(b *broken, change func(*webhook.Replay)) {
	one := func(r webhook.Replay, err error) (webhook.Replay, error) {
		if err == nil {
			change(&r)
		}
		return r, err
	}
	b.createReplay = func(ctx context.Context, r webhook.Replay) (webhook.Replay, error) {
		return one(b.Store.CreateReplay(ctx, r))
	}
	b.stopReplay = func(ctx context.Context, tenant, id string) (webhook.Replay, error) {
		return one(b.Store.StopReplay(ctx, tenant, id))
	}
	b.replays = func(ctx context.Context, tenant, id string) ([]webhook.Replay, error) {
		all, err := b.Store.Replays(ctx, tenant, id)
		for i := range all {
			change(&all[i])
		}
		return all, err
	}
}

// alsoQueues makes a step of a replay queue one more delivery to we_1: of the newest that is as which asks for.
func alsoQueues(b *broken, which func(*webhook.Delivery) bool) {
	now := once()
	b.continueReplay = func(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
		res, err := b.Store.ContinueReplay(ctx, req)
		if err != nil || !res.Queued {
			return res, err
		}
		page, err := b.Store.Deliveries(ctx, "", webhook.DeliveryFilter{EndpointID: "we_1"})
		if err != nil {
			return res, err
		}
		i := slices.IndexFunc(page.Deliveries, func(d webhook.Delivery) bool { return which(&d) })
		if i < 0 || !now() {
			return res, nil
		}
		e, err := b.Store.Event(ctx, "", page.Deliveries[i].EventID)
		if err != nil {
			return res, err
		}
		_, err = b.Store.Enqueue(ctx, webhook.EnqueueRequest{Events: []webhook.Event{e}, Direct: &webhook.Direct{EndpointID: "we_1", Kind: webhook.KindRedelivery, Queued: true}})
		return res, err
	}
}

// regardless makes replays go on though their endpoint is off.
func regardless(b *broken) {
	b.continueReplay = func(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
		e, err := b.Store.Endpoint(ctx, "acme", "we_2")
		if err != nil || e.Health.State != webhook.EndpointDisabled {
			return b.Store.ContinueReplay(ctx, req)
		}
		become := func(s webhook.EndpointState) {
			_, err = b.Store.JudgeEndpoint(ctx, "acme", "we_2", func(h webhook.Health, _ time.Time) webhook.Health {
				h.State = s
				return h
			})
		}
		if become(webhook.EndpointActive); err != nil {
			return webhook.ReplayStepped{}, err
		}
		res, failed := b.Store.ContinueReplay(ctx, req)
		become(webhook.EndpointDisabled)
		return res, errors.Join(failed, err)
	}
}

func TestTheCheckerSeesReplays(t *testing.T) {
	t.Parallel()
	for _, mutant := range []struct {
		name  string
		wrong string
		is    func(*settings)
	}{
		{"an event that is queued twice", "REPLAY", throughBroken(func(b *broken) {
			alsoQueues(b, func(d *webhook.Delivery) bool { return d.State == webhook.DeliveryPending })
		})},
		{"an event that arrived and is queued again", "REPLAY", throughBroken(func(b *broken) {
			alsoQueues(b, func(d *webhook.Delivery) bool { return d.State == webhook.DeliverySucceeded })
		})},
		{"a step that queues more than may wait", "REPLAY", throughBroken(func(b *broken) {
			b.continueReplay = func(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
				req.Pending = 100
				return b.Store.ContinueReplay(ctx, req)
			}
		})},
		{"a step that looks at more than asked", "REPLAY", throughBroken(func(b *broken) {
			b.continueReplay = func(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
				req.Max = 100
				return b.Store.ContinueReplay(ctx, req)
			}
		})},
		{"a step that does not tell what it queued", "WAKE", throughBroken(func(b *broken) {
			b.continueReplay = func(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
				res, err := b.Store.ContinueReplay(ctx, req)
				res.Queued = false
				return res, err
			}
		})},
		{"steps that are not taken", "REPLAY", throughBroken(func(b *broken) {
			b.continueReplay = func(ctx context.Context, _ webhook.ReplayStep) (webhook.ReplayStepped, error) {
				return webhook.ReplayStepped{Waiting: true}, ctx.Err()
			}
		})},
		{"replays that wait and are not told of", "REPLAY", throughBroken(func(b *broken) {
			b.continueReplay = func(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
				res, err := b.Store.ContinueReplay(ctx, req)
				res.Waiting = false
				return res, err
			}
		})},
		{"a replay of an endpoint that is off", "REPLAY", throughBroken(regardless)},
		{"an answer that was lost and replays again", "REPLAY", throughBroken(func(b *broken) {
			// A step that came to its end is taken once more, by a replay of the same name.
			now := once()
			twin := map[string]webhook.Replay{}
			b.createReplay = func(ctx context.Context, r webhook.Replay) (webhook.Replay, error) {
				stored, err := b.Store.CreateReplay(ctx, r)
				twin[r.EndpointID] = stored
				return stored, err
			}
			b.continueReplay = func(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
				res, err := b.Store.ContinueReplay(ctx, req)
				if r := twin["we_1"]; err == nil && res.Queued && r.ID != "" && now() {
					_, err = b.Store.StopReplay(ctx, "", r.ID)
					r.ID += "_again"
					_, failed := b.Store.CreateReplay(ctx, r)
					err = errors.Join(err, failed)
				}
				return res, err
			}
			rename := func(r *webhook.Replay) {
				if original := twin["we_1"]; r.ID == original.ID+"_again" {
					r.ID = original.ID
				}
			}
			b.replays = func(ctx context.Context, tenant, id string) ([]webhook.Replay, error) {
				all, err := b.Store.Replays(ctx, tenant, id)
				for i := range all {
					rename(&all[i])
				}
				return all, err
			}
		})},
		{"a replay that is never stopped", "REPLAY", throughBroken(func(b *broken) {
			b.stopReplay = func(ctx context.Context, tenant, id string) (webhook.Replay, error) {
				for _, e := range []string{"we_1", "we_2", "we_3"} {
					all, err := b.Store.Replays(ctx, tenant, e)
					for _, r := range all {
						if err == nil && r.ID == id {
							r.State, r.FinishedAt = webhook.ReplayStopped, time.Now()
							return r, nil
						}
					}
				}
				return webhook.Replay{}, webhook.ErrNotFound
			}
		})},
		{"replays that run side by side", "REPLAY", throughBroken(func(b *broken) {
			b.createReplay = func(ctx context.Context, r webhook.Replay) (webhook.Replay, error) {
				stored, err := b.Store.CreateReplay(ctx, r)
				if errors.Is(err, webhook.ErrReplayRunning) {
					return r, nil
				}
				return stored, err
			}
		})},
		{"a replay that is refused for no reason", "REFUSED", throughBroken(func(b *broken) {
			b.createReplay = func(context.Context, webhook.Replay) (webhook.Replay, error) {
				return webhook.Replay{}, webhook.ErrReplayRunning
			}
		})},
		{"what is skipped and not counted", "REPLAY", throughBroken(func(b *broken) { reads(b, func(r *webhook.Replay) { r.Skipped = 0 }) })},
		{"what is queued and not counted", "REPLAY", throughBroken(func(b *broken) { reads(b, func(r *webhook.Replay) { r.Queued = 0 }) })},
		{"what is looked at and not counted", "REPLAY", throughBroken(func(b *broken) { reads(b, func(r *webhook.Replay) { r.Looked = r.Queued }) })},
		{"a replay that has reached its end and goes on", "REPLAY", throughBroken(func(b *broken) { reads(b, func(r *webhook.Replay) { r.Reached = r.Until }) })},
		{"a replay that never leaves where it began", "REPLAY", throughBroken(func(b *broken) { reads(b, func(r *webhook.Replay) { r.Reached = r.Since }) })},
		{"a replay without an end in time", "REPLAY", throughBroken(func(b *broken) { reads(b, func(r *webhook.Replay) { r.Until = time.Time{} }) })},
		{"a replay that is done and says that it runs", "REPLAY", throughBroken(func(b *broken) {
			reads(b, func(r *webhook.Replay) {
				if r.State == webhook.ReplayDone {
					r.State, r.FinishedAt = webhook.ReplayRunning, time.Time{}
				}
			})
		})},
		{"a replay of what was not asked for", "REPLAY", throughBroken(func(b *broken) {
			b.createReplay = func(ctx context.Context, r webhook.Replay) (webhook.Replay, error) {
				asked := r
				r.Failed, r.Missed = true, true
				stored, err := b.Store.CreateReplay(ctx, r)
				stored.Failed, stored.Missed = asked.Failed, asked.Missed
				return stored, err
			}
			b.replays = func(ctx context.Context, tenant, id string) ([]webhook.Replay, error) {
				all, err := b.Store.Replays(ctx, tenant, id)
				for i := range all {
					all[i].Missed = false // as the first one is asked for
				}
				return all, err
			}
		})},
		{"a replay that is gone", "LOST", throughBroken(func(b *broken) {
			b.replays = func(context.Context, string, string) ([]webhook.Replay, error) { return nil, nil }
		})},
		{"a replay that nobody prunes", "PRUNE", throughBroken(func(b *broken) {
			kept := map[string][]webhook.Replay{}
			b.replays = func(ctx context.Context, tenant, id string) ([]webhook.Replay, error) {
				all, err := b.Store.Replays(ctx, tenant, id)
				if len(all) < len(kept[id]) {
					all = kept[id]
				}
				kept[id] = all
				return all, err
			}
		})},
		{"a replay of an erased tenant", "ERASE", throughBroken(func(b *broken) {
			var last []webhook.Replay
			b.replays = func(ctx context.Context, tenant, id string) ([]webhook.Replay, error) {
				all, err := b.Store.Replays(ctx, tenant, id)
				if id == "we_3" && len(all) > 0 {
					last = all
				}
				if _, gone := b.Store.Endpoint(ctx, tenant, id); id == "we_3" && gone != nil {
					all = last
				}
				return all, err
			}
		})},
		{"a repetition that does not say of what", "STORED", throughBroken(func(b *broken) {
			b.read = func(d *webhook.Delivery) { d.RedeliveryOf = "" }
		})},
		{"a repetition that does not say for whom", "STORED", throughBroken(func(b *broken) {
			b.read = func(d *webhook.Delivery) { d.AskedBy = "" }
		})},
		{"a process that takes no steps", "STALL", aboveLedger(func(b *broken) {
			b.continueReplay = func(ctx context.Context, _ webhook.ReplayStep) (webhook.ReplayStepped, error) {
				return webhook.ReplayStepped{}, ctx.Err()
			}
		})},
		{"a process that only looks when it is told to", "STALL", aboveLedger(func(b *broken) {
			b.continueReplay = func(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
				replays, err := b.Store.Replays(ctx, "", "we_1")
				if err == nil && len(replays) > 0 && replays[0].AskedBy == "" {
					return webhook.ReplayStepped{}, nil
				}
				return b.Store.ContinueReplay(ctx, req)
			}
		})},
		{"an event that is queued again for some only", "REDELIVER", aboveLedger(func(b *broken) {
			b.endpoints = func(ctx context.Context, tenant string) ([]webhook.Endpoint, error) {
				all, err := b.Store.Endpoints(ctx, tenant)
				return all[:len(all)/2], err
			}
		})},
		{"an event that is queued again twice", "REDELIVER", aboveLedger(func(b *broken) {
			b.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
				if req.Direct != nil && req.Direct.Queued {
					if res, err := b.Store.Enqueue(ctx, req); err != nil {
						return res, err
					}
				}
				return b.Store.Enqueue(ctx, req)
			}
		})},
		{"an event that the store queues twice", "REDELIVER", throughBroken(func(b *broken) {
			b.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
				if req.Direct != nil && req.Direct.Queued {
					if res, err := b.Store.Enqueue(ctx, req); err != nil {
						return res, err
					}
				}
				return b.Store.Enqueue(ctx, req)
			}
		})},
		{"an event that is queued and nobody is told", "WAKE", throughBroken(func(b *broken) {
			b.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
				res, err := b.Store.Enqueue(ctx, req)
				if req.Direct != nil {
					res.Queued = false
				}
				return res, err
			}
		})},
		{"an event that is leased where it is to be queued", "HAND-OVER", throughBroken(func(b *broken) {
			b.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
				if req.Direct != nil && req.Direct.Queued {
					now := *req.Direct
					now.Queued, now.Owner, now.Term = false, "somebody", time.Minute
					req.Direct = &now
				}
				return b.Store.Enqueue(ctx, req)
			}
		})},
	} {
		t.Run(mutant.name, func(t *testing.T) {
			t.Parallel()
			wrong := judge(t, func(s *settings) {
				few(s)
				mutant.is(s)
			}, (*world).replayScript)
			require.Contains(t, wrong, mutant.wrong+": ")
		})
	}
}
