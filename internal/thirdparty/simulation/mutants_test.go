package simulation

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// A checker that has never seen a fault may be blind. Each mutant breaks one promise on purpose, below the ledger or
// beside it, and must be seen.

func TestTheCheckerIsContent(t *testing.T) {
	t.Parallel()
	require.Empty(t, judgeScript(t, nil))
}

func TestTheCheckerSees(t *testing.T) {
	t.Parallel()
	for _, mutant := range []struct {
		name  string
		wrong string // a kind of complaint that must be among those made
		is    func(*settings)
	}{
		{"an event that is accepted and not stored", "LOST", throughBroken(func(b *broken) {
			now := once()
			b.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
				if req.Direct == nil && now() {
					return webhook.EnqueueResult{}, nil
				}
				return b.Store.Enqueue(ctx, req)
			}
		})},
		{"deliveries that are left and not told of", "WAKE", throughBroken(func(b *broken) {
			b.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
				req.HandOver = nil
				res, err := b.Store.Enqueue(ctx, req)
				res.Queued = false
				return res, err
			}
		})},
		{"an event that another tenant's endpoint gets", "GHOST", throughBroken(func(b *broken) {
			b.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
				if req.Direct == nil && req.Tenant == "" {
					twin := req
					twin.Tenant, twin.HandOver = "acme", nil
					if _, err := b.Store.Enqueue(ctx, twin); err != nil {
						return webhook.EnqueueResult{}, err
					}
				}
				return b.Store.Enqueue(ctx, req)
			}
		})},
		{"an outcome that is dropped", "STORED", throughBroken(func(b *broken) {
			now := once()
			b.record = func(ctx context.Context, o []webhook.Outcome) ([]bool, error) {
				if now() {
					return slices.Repeat([]bool{true}, len(o)), nil
				}
				return b.Store.Record(ctx, o)
			}
		})},
		{"an outcome that is stored and refused", "TOKEN", throughBroken(func(b *broken) {
			b.record = func(ctx context.Context, o []webhook.Outcome) ([]bool, error) {
				applied, err := b.Store.Record(ctx, o)
				clear(applied)
				return applied, err
			}
		})},
		{"a token that is ignored", "TOKEN", throughBroken(func(b *broken) {
			tokens := map[string]string{}
			b.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
				res, err := b.Store.Claim(ctx, req)
				for _, l := range res.Leases {
					tokens[l.Delivery.ID] = l.Token
				}
				return res, err
			}
			b.record = func(ctx context.Context, o []webhook.Outcome) ([]bool, error) {
				o = slices.Clone(o)
				for i := range o {
					if token := tokens[o[i].DeliveryID]; token != "" {
						o[i].Token = token
					}
				}
				return b.Store.Record(ctx, o)
			}
		})},
		{"a delivery that is given to two", "TWO OWNERS", throughBroken(func(b *broken) {
			now := once()
			var twin []webhook.Lease
			b.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
				res, err := b.Store.Claim(ctx, req)
				if len(twin) > 0 && len(res.Leases) < req.Max {
					res.Leases, twin = append(res.Leases, twin...), nil
				} else if len(res.Leases) > 0 && now() {
					twin = res.Leases[:1:1]
					res.Next = 0
				}
				return res, err
			}
		})},
		{"a claim before its time", "EARLY", throughBroken(func(b *broken) {
			b.record = func(ctx context.Context, o []webhook.Outcome) ([]bool, error) {
				o = slices.Clone(o)
				for i := range o {
					o[i].Wait /= 2
				}
				return b.Store.Record(ctx, o)
			}
		})},
		{"a claim that does not say when to come back", "WAKE", throughBroken(func(b *broken) {
			b.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
				res, err := b.Store.Claim(ctx, req)
				res.Next = -1
				return res, err
			}
		})},
		{"a claim that leaves what is due", "LEFT", throughBroken(func(b *broken) {
			b.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
				return webhook.Claimed{}, ctx.Err()
			}
		})},
		{"a gap that forgets an event", "GAP", throughBroken(func(b *broken) {
			b.gaps = func(ctx context.Context, tenant, id string) ([]webhook.Gap, error) {
				gaps, err := b.Store.Gaps(ctx, tenant, id)
				if len(gaps) > 0 {
					gaps[0].Count--
				}
				return gaps, err
			}
		})},
		{"a gap that is gone", "GAP", throughBroken(func(b *broken) {
			b.gaps = func(context.Context, string, string) ([]webhook.Gap, error) { return nil, nil }
		})},
		{"a final state that changes", "STORED", throughBroken(func(b *broken) {
			b.read = func(d *webhook.Delivery) {
				if d.State == webhook.DeliverySucceeded {
					d.State = webhook.DeliveryPending
				}
			}
		})},
		{"an attempt without a row", "STORED", throughBroken(func(b *broken) {
			b.read = func(d *webhook.Delivery) {
				if len(d.Attempts) > 1 {
					d.Attempts = d.Attempts[:1]
				}
			}
		})},
		{"an endpoint that is switched off by itself", "STATE", throughBroken(func(b *broken) {
			b.record = func(ctx context.Context, o []webhook.Outcome) ([]bool, error) {
				for i := range o {
					if judge := o[i].Judge; judge != nil {
						o[i].Judge = func(h webhook.Health, now time.Time) webhook.Health {
							h = judge(h, now)
							h.State, h.Reason = webhook.EndpointDisabled, webhook.ReasonGone
							return h
						}
					}
				}
				return b.Store.Record(ctx, o)
			}
		})},
		{"a secret in the log", "SECRET", throughBroken(func(b *broken) {
			text := secretText(1).Reveal()
			b.read = func(d *webhook.Delivery) {
				for i := range d.Attempts {
					d.Attempts[i].Detail = "signed with " + text
				}
			}
		})},
		{"a tenant that gets more of a claim than it may", "SHARE", func(s *settings) {
			s.Slots = 2
			throughBroken(func(b *broken) {
				b.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
					req.MaxTenant, req.Tenants = 0, nil
					return b.Store.Claim(ctx, req)
				}
			})(s)
		}},
		{"a tenant that takes every slot", "SHARE", func(s *settings) {
			s.Slots = 2
			s.breakConfig = func(c *webhook.Config) { c.TenantSlots = c.Slots }
		}},
		{"a wait that is too short", "WAIT", func(s *settings) {
			s.breakConfig = func(c *webhook.Config) { c.Retry = webhook.Schedule{time.Second, time.Second, time.Second} }
		}},
		{"a retry too many", "RETRY", func(s *settings) {
			s.Policy = webhook.Schedule{5 * time.Second}
			s.breakConfig = func(c *webhook.Config) { c.Retry = webhook.Schedule{5 * time.Second, 5 * time.Second, 5 * time.Second} }
		}},
		{"a request that is sent twice", "TWICE", throughTransport(func(to http.RoundTripper, r *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return nil, err
			}
			again := r.Clone(r.Context())
			again.Body = io.NopCloser(bytes.NewReader(body))
			if resp, err := to.RoundTrip(again); err != nil {
				return resp, err
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			return to.RoundTrip(r)
		})},
		{"a body that is changed", "UNVERIFIED", throughTransport(func(to http.RoundTripper, r *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return nil, err
			}
			r.Body = io.NopCloser(strings.NewReader(strings.Replace(string(body), "sess_1", "sess_2", 1)))
			return to.RoundTrip(r)
		})},
		{"a signature that is missing", "UNVERIFIED", throughTransport(func(to http.RoundTripper, r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			r.Header.Del("Webhook-Signature")
			return to.RoundTrip(r)
		})},
		{"a lease that is used after its end", "LATE", throughTransport(func(to http.RoundTripper, r *http.Request) (*http.Response, error) {
			time.Sleep(40 * time.Second)
			return to.RoundTrip(r)
		})},
	} {
		t.Run(mutant.name, func(t *testing.T) {
			t.Parallel()
			wrong := judgeScript(t, mutant.is)
			require.Contains(t, wrong, mutant.wrong+": ")
		})
	}
}
