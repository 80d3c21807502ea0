package simulation

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// leasing changes the endpoints that leases carry.
func leasing(b *broken, change func(*webhook.Endpoint)) {
	all := func(leases []webhook.Lease) {
		for i := range leases {
			as := *leases[i].Endpoint
			change(&as)
			leases[i].Endpoint = &as
		}
	}
	b.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
		res, err := b.Store.Claim(ctx, req)
		all(res.Leases)
		return res, err
	}
	b.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
		res, err := b.Store.Enqueue(ctx, req)
		all(res.Leases)
		return res, err
	}
}

// withoutThe strips an endpoint that is created of something that everybody goes on to believe in.
func withoutThe(what func(e *webhook.Endpoint)) func(*settings) {
	return throughBroken(func(b *broken) {
		believed := map[string]webhook.Endpoint{}
		restore := func(e *webhook.Endpoint) {
			as := believed[e.ID]
			e.Rate, e.Burst, e.MaxInFlight = as.Rate, as.Burst, as.MaxInFlight
		}
		leasing(b, restore)
		b.create = func(ctx context.Context, e webhook.Endpoint, most int) (webhook.Endpoint, error) {
			believed[e.ID] = e
			what(&e)
			stored, err := b.Store.CreateEndpoint(ctx, e, most)
			restore(&stored)
			return stored, err
		}
	})
}

// unbounded makes everybody forget how many requests an endpoint allows.
func unbounded(s *settings) {
	withoutThe(func(e *webhook.Endpoint) { e.MaxInFlight = 0 })(s)
	aboveLedger(func(b *broken) { leasing(b, func(e *webhook.Endpoint) { e.MaxInFlight = 0 }) })(s)
}

// unpaused makes Claim take paused endpoints for active ones.
func unpaused(when func(webhook.Health) bool) func(*settings) {
	return throughBroken(func(b *broken) {
		b.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			e, err := b.Endpoint(ctx, "", "we_1")
			if err != nil || !paused(&e.Health) || !when(e.Health) {
				return b.Store.Claim(ctx, req)
			}
			become := func(h webhook.Health) error {
				_, err := b.JudgeEndpoint(ctx, "", "we_1", func(webhook.Health, time.Time) webhook.Health { return h })
				return err
			}
			active := e.Health
			active.State, active.Reason, active.Window = webhook.EndpointActive, "", 8
			if err := become(active); err != nil {
				return webhook.Claimed{}, err
			}
			res, err := b.Store.Claim(ctx, req)
			for i := range res.Leases {
				if res.Leases[i].Endpoint.ID == "we_1" {
					as := *res.Leases[i].Endpoint
					as.Health = e.Health
					res.Leases[i].Endpoint = &as
				}
			}
			if err := become(e.Health); err != nil {
				return webhook.Claimed{}, err
			}
			return res, err
		}
	})
}

// outcomes changes what processes record.
func outcomes(change func(*webhook.Outcome)) func(*settings) {
	return aboveLedger(func(b *broken) {
		b.record = func(ctx context.Context, all []webhook.Outcome) ([]bool, error) {
			all = slices.Clone(all)
			for i := range all {
				change(&all[i])
			}
			return b.Store.Record(ctx, all)
		}
	})
}

// backlogs changes what the store is told of backlogs, and what it tells.
func backlogs(bound func(int) int, told func([]webhook.EndpointRef) []webhook.EndpointRef) func(*settings) {
	return throughBroken(func(b *broken) {
		b.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			req.MaxPending = bound(req.MaxPending)
			res, err := b.Store.Enqueue(ctx, req)
			res.Backlogged = told(res.Backlogged)
			return res, err
		}
		b.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			req.MaxPending = bound(req.MaxPending)
			res, err := b.Store.Claim(ctx, req)
			res.Backlogged = told(res.Backlogged)
			return res, err
		}
	})
}

func statistics(change func(*webhook.HourStats)) func(*settings) {
	return throughBroken(func(b *broken) {
		b.stats = func(ctx context.Context, tenant, id string, since time.Time) (webhook.Stats, error) {
			stats, err := b.Store.Stats(ctx, tenant, id, since)
			if len(stats.Hours) > 0 {
				change(&stats.Hours[0])
			}
			return stats, err
		}
	})
}

func TestTheCheckerSeesHowEndpointsAreServed(t *testing.T) {
	t.Parallel()
	same := func(n int) int { return n }
	all := func(refs []webhook.EndpointRef) []webhook.EndpointRef { return refs }
	for _, mutant := range []struct {
		name  string
		wrong string
		is    func(*settings)
	}{
		{"a rate that is not kept", "PACE", withoutThe(func(e *webhook.Endpoint) { e.Rate, e.Burst = 0, 0 })},
		{"a burst that is too large", "PACE", withoutThe(func(e *webhook.Endpoint) { e.Burst *= 3 })},
		{"a rate that is too low", "WAKE", withoutThe(func(e *webhook.Endpoint) { e.Rate /= 2 })},
		{"a hand-over past the rate", "HAND-OVER", withoutThe(func(e *webhook.Endpoint) { e.Rate, e.Burst = 0, 0 })},
		{"requests that are held up and come together", "RATE", throughTransport(func(to http.RoundTripper, r *http.Request) (*http.Response, error) {
			if time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) > pacedFrom+20*time.Second && r.URL.Path == "/we_3" {
				time.Sleep(time.Until(time.Now().Truncate(15 * time.Second).Add(15*time.Second + time.Millisecond)))
			}
			return to.RoundTrip(r)
		})},
		{"more under way than an endpoint allows", "FLIGHT", unbounded},
		{"leases beyond what an endpoint allows", "WINDOW", unbounded},
		{"a timeout that is not kept", "TIMEOUT", aboveLedger(func(b *broken) {
			leasing(b, func(e *webhook.Endpoint) { e.Timeout = 0 })
		})},
		{"a header that is left out", "HEADER", throughTransport(func(to http.RoundTripper, r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			r.Header.Del("Authorization")
			return to.RoundTrip(r)
		})},
		{"a header that others get too", "HEADER", throughTransport(func(to http.RoundTripper, r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			r.Header.Set("Authorization", "a value that is nobody's business")
			return to.RoundTrip(r)
		})},
		{"a header that is logged with its value", "HEADER", outcomes(func(o *webhook.Outcome) {
			if o.Attempt.RequestHeader.Get("Authorization") != "" {
				o.Attempt.RequestHeader = maps.Clone(o.Attempt.RequestHeader)
				o.Attempt.RequestHeader["Authorization"] = []string{"a value that is nobody's business"}
			}
		})},
		{"a probe before its time", "PROBE", unpaused(func(webhook.Health) bool { return true })},
		{"two probes at once", "PROBE", unpaused(func(h webhook.Health) bool { return !time.Now().Before(h.PausedUntil) })},
		{"a probe that uses up a retry", "DEFERRED", outcomes(func(o *webhook.Outcome) {
			if o.Kind == webhook.OutcomeDeferred {
				o.Kind = webhook.OutcomeRetry
			}
		})},
		{"a retry that passes for a probe", "DEFERRED", outcomes(func(o *webhook.Outcome) {
			if o.Kind == webhook.OutcomeRetry {
				o.Kind = webhook.OutcomeDeferred
			}
		})},
		{"failed probes that are not counted", "STORED", throughBroken(func(b *broken) {
			b.read = func(d *webhook.Delivery) { d.Deferred = 0 }
		})},
		{"failed probes that a lease does not tell of", "NUMBER", throughBroken(func(b *broken) {
			b.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
				res, err := b.Store.Claim(ctx, req)
				for i := range res.Leases {
					res.Leases[i].Delivery.Deferred = 0
				}
				return res, err
			}
		})},
		{"a breaker that is slow", "STATE", throughConfig(func(c *webhook.Config) { c.PauseAfter = 4 })},
		{"pauses that do not grow", "STATE", throughConfig(func(c *webhook.Config) { c.PauseMax = c.PauseMin })},
		{"pauses that grow for ever", "STATE", throughConfig(func(c *webhook.Config) { c.PauseMax = time.Hour })},
		{"an endpoint that is disabled too early", "STATE", throughConfig(func(c *webhook.Config) { c.DisableAfter /= 2 })},
		{"an endpoint that is never disabled", "STATE", throughConfig(func(c *webhook.Config) { c.DisableAfter, c.NeverDisable = 0, true })},
		{"a judgement that counts twice", "STATE", throughBroken(func(b *broken) {
			b.record = func(ctx context.Context, all []webhook.Outcome) ([]bool, error) {
				all = slices.Clone(all)
				for i := range all {
					if judge := all[i].Judge; judge != nil {
						all[i].Judge = func(h webhook.Health, now time.Time) webhook.Health { return judge(judge(h, now), now) }
					}
				}
				return b.Store.Record(ctx, all)
			}
		})},
		{"a backlog without a bound", "GAP", backlogs(func(int) int { return 0 }, all)},
		{"a backlog that may be larger by one", "GAP", backlogs(func(n int) int { return n + 1 }, all)},
		{"a full backlog that nobody is told of", "GAP", backlogs(same, func([]webhook.EndpointRef) []webhook.EndpointRef { return nil })},
		{"an attempt that is counted twice", "STATS", statistics(func(h *webhook.HourStats) { h.Failed++ })},
		{"a latency that is not counted", "STATS", statistics(func(h *webhook.HourStats) { h.Latency = webhook.Histogram{} })},
		{"an hour that is another", "STATS", statistics(func(h *webhook.HourStats) { h.Start = h.Start.Add(time.Hour) })},
		{"hours that stay", "PRUNE", throughBroken(func(b *broken) {
			kept := map[string][]webhook.HourStats{}
			b.stats = func(ctx context.Context, tenant, id string, since time.Time) (webhook.Stats, error) {
				stats, err := b.Store.Stats(ctx, tenant, id, since)
				if since.IsZero() && len(stats.Hours) < len(kept[id]) {
					stats.Hours = kept[id]
				}
				if since.IsZero() {
					kept[id] = stats.Hours
				}
				return stats, err
			}
			b.prune = func(ctx context.Context, req webhook.PruneRequest) (webhook.PruneResult, error) {
				if _, err := b.Stats(ctx, "", "we_1", time.Time{}); err != nil { // what there was before
					return webhook.PruneResult{}, err
				}
				return b.Store.Prune(ctx, req)
			}
		})},
	} {
		t.Run(mutant.name, func(t *testing.T) {
			t.Parallel()
			wrong := judge(t, func(s *settings) {
				soon(s)
				mutant.is(s)
			}, (*world).servedScript)
			require.Contains(t, wrong, mutant.wrong+": ")
		})
	}
}
