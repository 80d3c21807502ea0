//go:build linux

package crashtest

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// A checker that has never seen a fault may be blind. Each mutant here breaks one promise on purpose, in the store
// below the ledgers or in the evidence itself, and must be seen.

// broken is a store that does something wrong.
type broken struct {
	webhook.Store
	enqueue func(context.Context, webhook.EnqueueRequest) (webhook.EnqueueResult, error)
	claim   func(context.Context, webhook.ClaimRequest) (webhook.Claimed, error)
	record  func(context.Context, []webhook.Outcome) ([]bool, error)
	gaps    func(context.Context, string, string) ([]webhook.Gap, error)
	read    func([]webhook.Delivery) []webhook.Delivery
}

func (b *broken) Enqueue(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
	if b.enqueue != nil {
		return b.enqueue(ctx, req)
	}
	return b.Store.Enqueue(ctx, req)
}

func (b *broken) Claim(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
	if b.claim != nil {
		return b.claim(ctx, req)
	}
	return b.Store.Claim(ctx, req)
}

func (b *broken) Record(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
	if b.record != nil {
		return b.record(ctx, outcomes)
	}
	return b.Store.Record(ctx, outcomes)
}

func (b *broken) Gaps(ctx context.Context, tenant, id string) ([]webhook.Gap, error) {
	if b.gaps != nil {
		return b.gaps(ctx, tenant, id)
	}
	return b.Store.Gaps(ctx, tenant, id)
}

func (b *broken) Deliveries(ctx context.Context, tenant string, f webhook.DeliveryFilter) (webhook.DeliveryPage, error) {
	page, err := b.Store.Deliveries(ctx, tenant, f)
	if b.read != nil && f.Limit == webhook.MaxPage { // as the checker reads
		page.Deliveries = b.read(page.Deliveries)
	}
	return page, err
}

// played is what is left of a walk that was played in this process.
type played struct {
	store    webhook.Store
	receiver *receiver
	lines    []Line
	before   []webhook.Delivery
}

const playedAttempts = 4

// playWalk lets one worker walk and another one finish, in this process and on a store in memory.
func playWalk(t *testing.T, breakStore func(*broken)) *played {
	t.Helper()
	r := newReceiver(t)
	r.decide(func(got request, _ <-chan struct{}) int { // none, some and all attempts fail, in every walk
		n, err := strconv.Atoi(got.Event[strings.LastIndexByte(got.Event, '_')+1:])
		if err == nil && got.Attempt <= n%6 {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	b := &broken{Store: webhook.NewMemoryStore(nil)}
	if breakStore != nil {
		breakStore(b)
	}
	p := &played{store: b, receiver: r}
	dir := t.TempDir()
	for _, role := range []Role{Walk, Drain} {
		c := &Config{
			Name: string(role), Role: role, Ledger: filepath.Join(dir, string(role)), Secret: r.secret,
			Endpoints: []Target{{"main", r.url("/")}}, Side: &Target{"side", r.url("/")},
			Timeout: 2 * time.Second, DrainTime: 2 * time.Second, Poll: 20 * time.Millisecond, Slots: 16, MaxInFlight: 4,
			Retries: []time.Duration{time.Millisecond, time.Millisecond, time.Millisecond}, PauseAfter: 1000, logger: slog.New(slog.DiscardHandler),
		}
		ledger, err := OpenLedger(c.Ledger)
		require.NoError(t, err)
		w, err := newWorker(c, &opened{
			Store:  b,
			emitTo: func(_ context.Context, emit func(webhook.Outbox) error) error { return emit(b) },
		}, ledger)
		require.NoError(t, err)
		limit := drainLimit
		if role == Drain && breakStore != nil { // it may never be quiet
			limit = 1500 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		if err := w.play(ctx); ctx.Err() == nil || breakStore == nil {
			require.NoError(t, err)
		}
		cancel()
		lines, err := ReadLedger(c.Ledger, c.Name)
		require.NoError(t, err)
		p.lines = append(p.lines, lines...)
		if role == Walk {
			p.before = snapshot(t, b)
		}
	}
	return p
}

func (p *played) evidence(t *testing.T) *evidence {
	t.Helper()
	return collect(t, p.store, p.lines, p.receiver.seen(), map[try]time.Time{}, playedAttempts, p.before)
}

func TestTheCheckerIsContent(t *testing.T) {
	t.Parallel()
	r := playWalk(t, nil).evidence(t).check()
	require.Empty(t, r.wrong)
	require.Equal(t, 12, r.accepted)
	require.Greater(t, r.delivered, 12)
	require.Positive(t, r.failed, "some fail visibly")
	require.Greater(t, r.requests, r.delivered, "some are repeated")
}

func TestTheCheckerSeesWhatAStoreDoesWrong(t *testing.T) {
	t.Parallel()
	for _, mutant := range []struct {
		name, wrong string
		is          func(*broken)
	}{
		{"an event that is accepted and not stored", lost, func(b *broken) {
			var n atomic.Int64
			b.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
				if req.Direct == nil && n.Add(1) == 5 {
					return webhook.EnqueueResult{}, nil
				}
				return b.Store.Enqueue(ctx, req)
			}
		}},
		{"an event that is stored without its deliveries", lost, func(b *broken) {
			b.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
				if req.Direct == nil {
					other := slices.Clone(req.Events)
					req.Tenant, req.Events = "elsewhere", other
				}
				return b.Store.Enqueue(ctx, req)
			}
		}},
		{"an event that is stored and refused", ghost, func(b *broken) {
			var n atomic.Int64
			b.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
				fail := req.Direct == nil && n.Add(1) == 5
				if fail {
					req.HandOver = nil
				}
				res, err := b.Store.Enqueue(ctx, req)
				if fail {
					return webhook.EnqueueResult{}, webhook.ErrStoreFull
				}
				return res, err
			}
		}},
		{"an event that nobody emitted", ghost, func(b *broken) {
			var n atomic.Int64
			b.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
				if req.Direct == nil && n.Add(1) == 5 {
					more := NoteWritten.New("", Note{ID: "nobody_1"}, webhook.WithID("nobody_1"))
					req.Events = append(slices.Clone(req.Events), more)
				}
				return b.Store.Enqueue(ctx, req)
			}
		}},
		{"an outcome that is dropped", lost, func(b *broken) {
			var dropped atomic.Bool
			b.record = func(ctx context.Context, o []webhook.Outcome) ([]bool, error) {
				// What waits for an endpoint that was switched off is not lost, so that it is to be one that stays.
				stays := slices.ContainsFunc(o, func(o webhook.Outcome) bool {
					return o.EndpointID == "main" && o.Attempt.Result == webhook.AttemptDelivered
				})
				if stays && dropped.CompareAndSwap(false, true) {
					return slices.Repeat([]bool{true}, len(o)), nil
				}
				return b.Store.Record(ctx, o)
			}
		}},
		{"a delivery that is given to two", twoOwners, func(b *broken) {
			var n atomic.Int64
			b.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
				res, err := b.Store.Claim(ctx, req)
				if len(res.Leases) > 0 && len(res.Leases) < req.Max && n.Add(1) == 1 {
					twin := res.Leases[0]
					twin.Token = "another"
					res.Leases = append(res.Leases, twin)
				}
				return res, err
			}
		}},
		{"attempts without a row", unlogged, func(b *broken) {
			b.read = func(page []webhook.Delivery) []webhook.Delivery {
				for i := range page {
					if len(page[i].Attempts) > 1 {
						page[i].Attempts = page[i].Attempts[:1]
					}
				}
				return page
			}
		}},
		{"deliveries without a row", unlogged, func(b *broken) {
			b.read = func(page []webhook.Delivery) []webhook.Delivery {
				return slices.DeleteFunc(page, func(d webhook.Delivery) bool { return d.Kind == webhook.KindRedelivery })
			}
		}},
		{"a body that is changed", body, func(b *broken) {
			change := func(leases []webhook.Lease) {
				for i := range leases {
					if e := &leases[i].Event; e.Type == NoteWritten.Name() {
						e.Body = bytes.Replace(e.Body, []byte("sess_"), []byte("sass_"), 1)
					}
				}
			}
			b.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
				res, err := b.Store.Enqueue(ctx, req)
				change(res.Leases)
				return res, err
			}
		}},
		{"a secret that is lost", unverified, func(b *broken) {
			b.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
				res, err := b.Store.Claim(ctx, req)
				for i := range res.Leases {
					e := *res.Leases[i].Endpoint
					e.Secrets, e.Version = nil, e.Version+1
					res.Leases[i].Endpoint = &e
				}
				return res, err
			}
		}},
		{"a gap that forgets an event", gap, func(b *broken) {
			b.gaps = func(ctx context.Context, tenant, id string) ([]webhook.Gap, error) {
				gaps, err := b.Store.Gaps(ctx, tenant, id)
				if len(gaps) > 0 {
					gaps[0].Count--
				}
				return gaps, err
			}
		}},
		{"a retry too few", retries, func(b *broken) {
			b.record = func(ctx context.Context, o []webhook.Outcome) ([]bool, error) {
				o = slices.Clone(o)
				for i := range o {
					if o[i].Kind == webhook.OutcomeRetry && o[i].Attempt.Number == 2 {
						o[i].Kind, o[i].Reason = webhook.OutcomeFailed, webhook.FailExhausted
					}
				}
				return b.Store.Record(ctx, o)
			}
		}},
		{"an answer that nobody gave", invented, func(b *broken) {
			b.record = func(ctx context.Context, o []webhook.Outcome) ([]bool, error) {
				o = slices.Clone(o)
				for i := range o {
					if o[i].Attempt.Status == 500 {
						o[i].Attempt.Status = 503
					}
				}
				return b.Store.Record(ctx, o)
			}
		}},
		{"a success that nobody saw", lost, func(b *broken) {
			b.record = func(ctx context.Context, o []webhook.Outcome) ([]bool, error) {
				o = slices.Clone(o)
				for i := range o {
					if o[i].Kind == webhook.OutcomeRetry {
						o[i].Kind = webhook.OutcomeDelivered
						o[i].Attempt.Result = webhook.AttemptDelivered
					}
				}
				return b.Store.Record(ctx, o)
			}
		}},
		{"something final that changes", changed, func(b *broken) {
			var mu sync.Mutex
			reads := map[string]int{}
			b.read = func(page []webhook.Delivery) []webhook.Delivery {
				mu.Lock()
				defer mu.Unlock()
				for i := range page {
					if d := &page[i]; d.State == webhook.DeliverySucceeded {
						reads[d.ID]++
						d.FinishedAt = d.FinishedAt.Add(time.Duration(reads[d.ID]) * time.Second)
					}
				}
				return page
			}
		}},
	} {
		t.Run(mutant.name, func(t *testing.T) {
			t.Parallel()
			requireKind(t, mutant.wrong, playWalk(t, mutant.is).evidence(t).check())
		})
	}
}

func requireKind(t *testing.T, kind string, r *report) {
	t.Helper()
	require.Positive(t, r.count(kind), "%s was not seen, but:\n%s", kind, strings.Join(r.wrong, "\n"))
}
