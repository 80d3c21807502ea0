package webhook_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// Faults of what is stored: it is damaged, or it changes while a request is on its way.

// flipped is what is stored with one bit changed.
func flipped(s webhook.Sealed) webhook.Sealed {
	s = slices.Clone(s)
	s[len(s)-1] ^= 1
	return s
}

// TestADamagedEndpointFailsInSight damages what is stored of an endpoint, on the queue's way and not only a ping's: its
// deliveries fail visibly and without a request, and the one beside it has a slot all the while, of the only one.
func TestADamagedEndpointFailsInSight(t *testing.T) {
	sealedAs := func(first byte) webhook.Sealed { return webhook.Sealed{first, 'x', 'y'} }
	for name, damage := range map[string]func(*webhook.Endpoint){
		"a secret, one bit of it":       func(e *webhook.Endpoint) { e.Secrets[0].Sealed = flipped(e.Secrets[0].Sealed) },
		"a secret, all of it":           func(e *webhook.Endpoint) { e.Secrets[0].Sealed = nil },
		"a secret, its kind":            func(e *webhook.Endpoint) { e.Secrets[0].Sealed = sealedAs(7) },
		"a secret, what sealed it":      func(e *webhook.Endpoint) { e.Secrets[0].Sealed = sealedAs(1) },
		"a secret, of another endpoint": nil,
		"a header, one bit of it":       func(e *webhook.Endpoint) { e.StoredHeaders[0].Sealed = flipped(e.StoredHeaders[0].Sealed) },
		"a header, all of it":           func(e *webhook.Endpoint) { e.StoredHeaders[0].Sealed = nil },
		"a header, its kind":            func(e *webhook.Endpoint) { e.StoredHeaders[0].Sealed = sealedAs(7) },
		"a header, put for the secret":  func(e *webhook.Endpoint) { e.StoredHeaders[0].Sealed = e.Secrets[0].Sealed[:1] },
		"the URL":                       func(e *webhook.Endpoint) { e.URL = "https://exa mple.com/\x00" },
		"the URL, leading inside":       func(e *webhook.Endpoint) { e.URL = "https://169.254.169.254/latest/meta-data" },
		"the URL, in plain text":        func(e *webhook.Endpoint) { e.URL = "http://example.com/bad" },
		"the URL, with a user":          func(e *webhook.Endpoint) { e.URL = "https://hunter2@example.com/bad" },
		"the URL, all of it":            func(e *webhook.Endpoint) { e.URL = "" },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var book logbook
				r := newRig(t, webhooktest.NewReceiver(t), func(c *webhook.Config) {
					c.Sealer, c.Slots, c.Logger, c.PauseAfter = sealer(t, sealingKey("k")), 1, book.logger(), 1000
				})
				bad, _, err := r.d.AddEndpoint(r.ctx, webhook.Endpoint{
					URL: "https://example.com/bad", Events: []string{"*"}, Secret: secretA,
					Headers: map[string]webhook.Secret{"Authorization": webhook.NewSecret("Bearer hunter2")},
				}, webhook.WithoutPing())
				require.NoError(t, err)
				good := r.endpoint("good")
				stored, err := r.store.Endpoint(r.ctx, "", bad.ID)
				require.NoError(t, err)
				stored.Secrets, stored.StoredHeaders = slices.Clone(stored.Secrets), slices.Clone(stored.StoredHeaders)
				if damage == nil {
					others := r.stored(good.ID)
					stored.Secrets[0].Sealed = others[0].Sealed
				} else {
					damage(&stored)
				}
				_, err = r.store.UpdateEndpoint(r.ctx, stored, nil)
				require.NoError(t, err)

				r.run()
				for range 5 {
					r.emit()
				}
				time.Sleep(time.Second)
				require.Len(t, r.deliveries(webhook.DeliveryFilter{EndpointID: good.ID, State: webhook.DeliverySucceeded}), 5)
				time.Sleep(tenMin)
				for _, d := range r.deliveries(webhook.DeliveryFilter{EndpointID: bad.ID}) {
					require.Equal(t, webhook.DeliveryFailed, d.State)
					require.Equal(t, webhook.FailExhausted, d.Reason)
					require.Len(t, d.Attempts, 4)
					for _, a := range d.Attempts {
						require.Equal(t, row{undelivered, webhook.ErrorInternal, 0, false}, rowOf(a))
						require.Contains(t, a.Detail, "cannot be used as it was saved")
						require.NotContains(t, a.Detail, "hunter2")
						require.LessOrEqual(t, len(a.Detail), 256)
					}
				}
				require.Len(t, r.receiver.Requests(), 5, "nothing was sent")
				require.Empty(t, book.lines("hunter2"))
				require.NotEmpty(t, book.lines("an endpoint cannot be used as it is stored"))
			})
		})
	}
}

// TestADamagedEventHoldsUpNobody: a store hands out an event without its body once, and something that is no event the
// other time. Those behind it, of the same endpoint and of others, are delivered.
func TestADamagedEventHoldsUpNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := newProbe()
		bodies := map[string][]byte{"gone": nil, "garbage": []byte("\x00\xff{")}
		store.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			claimed, err := store.Store.Claim(ctx, req)
			for i := range claimed.Leases {
				if body, damaged := bodies[claimed.Leases[i].Event.ID]; damaged {
					claimed.Leases[i].Event.Body = body
				}
			}
			return claimed, err
		}
		r := rigOn(t, store, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.Slots = 1 })
		r.endpoint("a")
		r.endpoint("b")
		for _, id := range []string{"gone", "whole1", "garbage", "whole2"} {
			r.emit(webhook.WithID(id))
		}
		r.run()
		time.Sleep(time.Second)
		whole := 0
		for _, d := range r.deliveries(webhook.DeliveryFilter{}) {
			require.Len(t, d.Attempts, 1, "what was made of it is in the log")
			if _, damaged := bodies[d.EventID]; !damaged {
				require.Equal(t, webhook.DeliverySucceeded, d.State)
				whole++
			}
		}
		require.Equal(t, 4, whole)
		r.stop()
	})
}

// between is a store that lets something happen once a delivery was claimed, or handed over, and before it is sent.
type between struct {
	*probe
	then func()
}

func newBetween(t *testing.T) *between {
	b := &between{probe: newProbe()}
	happen := func(leases []webhook.Lease) {
		if then := b.then; len(leases) > 0 && then != nil {
			b.then = nil
			then()
		}
	}
	b.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
		claimed, err := b.Store.Claim(ctx, req)
		happen(claimed.Leases)
		return claimed, err
	}
	b.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
		res, err := b.Store.Enqueue(ctx, req)
		if req.HandOver != nil {
			happen(res.Leases)
		}
		return res, err
	}
	return b
}

// TestAnEndpointThatChangesBetweenClaimAndSend: what is sent goes where, and is signed as, the endpoint was when it was
// claimed; the next attempt goes by what it is now. Both ways to a lease are tried: through the queue, and handed over.
func TestAnEndpointThatChangesBetweenClaimAndSend(t *testing.T) {
	type rigged struct {
		*rig
		e webhook.Endpoint
	}
	update := func(r rigged, change func(*webhook.Endpoint)) {
		e, err := r.d.Endpoint(r.ctx, r.e.ID)
		require.NoError(r.t, err)
		change(&e)
		_, _, err = r.d.UpdateEndpoint(r.ctx, e)
		require.NoError(r.t, err)
	}
	value := func(s string) map[string]webhook.Secret {
		return map[string]webhook.Secret{"Authorization": webhook.NewSecret(s)}
	}
	type sent struct{ url, authorization, secret string }
	old := sent{"https://example.com/old", "old", "A"}
	for name, c := range map[string]struct {
		then  func(r rigged)
		first webhooktest.Answer
		want  []sent
		ends  webhook.DeliveryState
		why   webhook.FailReason
		state webhook.EndpointState
	}{
		"nothing":         {func(rigged) {}, failing, []sent{old, old}, webhook.DeliverySucceeded, "", webhook.EndpointActive},
		"deleted, a 200":  {func(r rigged) { require.NoError(r.t, r.d.DeleteEndpoint(r.ctx, r.e.ID)) }, ok, []sent{old}, webhook.DeliverySucceeded, "", ""},
		"deleted, a 500":  {func(r rigged) { require.NoError(r.t, r.d.DeleteEndpoint(r.ctx, r.e.ID)) }, failing, []sent{old}, webhook.DeliveryFailed, webhook.FailEndpointDeleted, ""},
		"disabled, a 200": {func(r rigged) { _, err := r.d.SetEnabled(r.ctx, r.e.ID, false); require.NoError(r.t, err) }, ok, []sent{old}, webhook.DeliverySucceeded, "", webhook.EndpointDisabled},
		"disabled, a 500": {func(r rigged) { _, err := r.d.SetEnabled(r.ctx, r.e.ID, false); require.NoError(r.t, err) }, failing, []sent{old}, webhook.DeliveryPending, "", webhook.EndpointDisabled},
		"disabled, a 410": {func(r rigged) { _, err := r.d.SetEnabled(r.ctx, r.e.ID, false); require.NoError(r.t, err) }, webhooktest.Answer{Status: 410}, []sent{old}, webhook.DeliveryFailed, webhook.FailGone, webhook.EndpointDisabled},
		"rotated":         {func(r rigged) { _, err := r.d.RotateSecret(r.ctx, r.e.ID, secretB, 0); require.NoError(r.t, err) }, failing, []sent{old, {old.url, "old", "B"}}, webhook.DeliverySucceeded, "", webhook.EndpointActive},
		"another URL":     {func(r rigged) { update(r, func(e *webhook.Endpoint) { e.URL = "https://example.com/new" }) }, failing, []sent{old, {"https://example.com/new", "old", "A"}}, webhook.DeliverySucceeded, "", webhook.EndpointActive},
		"another header":  {func(r rigged) { update(r, func(e *webhook.Endpoint) { e.Headers = value("new") }) }, failing, []sent{old, {old.url, "new", "A"}}, webhook.DeliverySucceeded, "", webhook.EndpointActive},
		"no header":       {func(r rigged) { update(r, func(e *webhook.Endpoint) { e.Headers = map[string]webhook.Secret{} }) }, failing, []sent{old, {old.url, "", "A"}}, webhook.DeliverySucceeded, "", webhook.EndpointActive},
		"no subscriptions": {func(r rigged) {
			update(r, func(e *webhook.Endpoint) { e.Events = []string{webhook.PlanCompleted.Name()} })
		}, failing, []sent{old, old}, webhook.DeliverySucceeded, "", webhook.EndpointActive},
		"one at a time": {func(r rigged) { update(r, func(e *webhook.Endpoint) { e.MaxInFlight, e.Rate = 1, 0.01 }) }, failing, []sent{old, old}, webhook.DeliverySucceeded, "", webhook.EndpointActive},
	} {
		for _, way := range []string{"claimed", "handed over"} {
			t.Run(name+", "+way, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					store := newBetween(t)
					receiver := webhooktest.NewReceiver(t)
					receiver.Script("/old", c.first, ok)
					r := rigged{rig: rigOn(t, store, receiver, func(cfg *webhook.Config) { cfg.Retry = webhook.Schedule{time.Minute, time.Minute} })}
					var err error
					r.e, _, err = r.d.AddEndpoint(r.ctx, webhook.Endpoint{URL: old.url, Events: []string{"*"}, Secret: secretA, Headers: value("old")}, webhook.WithoutPing())
					require.NoError(t, err)
					store.then = func() { c.then(r) }
					if way == "handed over" {
						r.run()
						synctest.Wait()
					}
					event := r.emit()
					if way == "claimed" {
						r.run()
					}
					time.Sleep(tenMin)
					synctest.Wait()
					require.Nil(t, store.then, "it happened")

					var got []sent
					for _, q := range receiver.Requests() {
						if q.Header.Get(webhook.HeaderID) != event.ID {
							continue // the ping of a new URL
						}
						s := sent{url: q.URL, authorization: q.Header.Get("Authorization"), secret: "B"}
						if webhook.Verify(q.Body, q.Header.Get(webhook.HeaderSignature), secretA.Reveal()) == nil {
							s.secret = "A"
						} else {
							r.verified(q, secretB)
						}
						got = append(got, s)
					}
					require.Equal(t, c.want, got)
					d := r.deliveries(webhook.DeliveryFilter{EventID: event.ID})[0]
					require.Equal(t, c.ends, d.State)
					require.Equal(t, c.why, d.Reason)
					require.Len(t, d.Attempts, len(c.want), "every request has its row")
					e, err := r.d.Endpoint(r.ctx, r.e.ID)
					if c.state == "" {
						require.ErrorIs(t, err, webhook.ErrNotFound)
					} else {
						require.NoError(t, err)
						require.Equal(t, c.state, e.Health.State)
					}
				})
			})
		}
	}
}
