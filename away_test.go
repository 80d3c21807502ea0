package webhook_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// failingAt is a store in which one method fails, from its nth call on.
type failingAt struct {
	webhook.Store
	method string
	calls  int
	from   int
}

func (f *failingAt) err(method string) error {
	if method != f.method {
		return nil
	}
	if f.calls++; f.calls < f.from {
		return nil
	}
	return errAway
}

func (f *failingAt) Endpoint(ctx context.Context, tenant, id string) (webhook.Endpoint, error) {
	if err := f.err("Endpoint"); err != nil {
		return webhook.Endpoint{}, err
	}
	return f.Store.Endpoint(ctx, tenant, id)
}

func (f *failingAt) Delivery(ctx context.Context, tenant, id string) (webhook.Delivery, error) {
	if err := f.err("Delivery"); err != nil {
		return webhook.Delivery{}, err
	}
	return f.Store.Delivery(ctx, tenant, id)
}

func (f *failingAt) Enqueue(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
	if err := f.err("Enqueue"); err != nil {
		return webhook.EnqueueResult{}, err
	}
	return f.Store.Enqueue(ctx, req)
}

// TestTheStoresErrorIsTheCallers asks each call for the store's own error, and not for another that follows from it.
func TestTheStoresErrorIsTheCallers(t *testing.T) {
	added := webhook.Endpoint{URL: "https://example.com/", Events: []string{"*"}}
	for name, c := range map[string]struct {
		method   string
		from     int
		call     func(*rig, webhook.Endpoint) error
		requests int // that were sent all the same
	}{
		"Ping, before it": {"Endpoint", 1, func(r *rig, e webhook.Endpoint) error { _, err := r.d.Ping(r.ctx, e.ID); return err }, 0},
		"Ping, at it":     {"Enqueue", 1, func(r *rig, e webhook.Endpoint) error { _, err := r.d.Ping(r.ctx, e.ID); return err }, 0},
		"Ping, after it":  {"Delivery", 1, func(r *rig, e webhook.Endpoint) error { _, err := r.d.Ping(r.ctx, e.ID); return err }, 1},
		"Redeliver":       {"Delivery", 1, func(r *rig, _ webhook.Endpoint) error { _, err := r.d.Redeliver(r.ctx, "dlv_1"); return err }, 0},
		"Emit":            {"Enqueue", 1, func(r *rig, _ webhook.Endpoint) error { return r.d.Emit(r.ctx, experiment()) }, 0},
		"EmitTo":          {"Enqueue", 1, func(r *rig, _ webhook.Endpoint) error { return r.d.EmitTo(r.ctx, r.store, experiment()) }, 0},
		"UpdateEndpoint":  {"Endpoint", 1, func(r *rig, e webhook.Endpoint) error { _, _, err := r.d.UpdateEndpoint(r.ctx, e); return err }, 0},
		"RotateSecret": {"Endpoint", 1, func(r *rig, e webhook.Endpoint) error {
			_, err := r.d.RotateSecret(r.ctx, e.ID, secretB, 0)
			return err
		}, 0},
		"RevealSecret":                {"Endpoint", 1, func(r *rig, e webhook.Endpoint) error { _, err := r.d.RevealSecret(r.ctx, e.ID); return err }, 0},
		"AddEndpoint, at its ping":    {"Enqueue", 1, func(r *rig, _ webhook.Endpoint) error { _, _, err := r.d.AddEndpoint(r.ctx, added); return err }, 0},
		"AddEndpoint, after its ping": {"Endpoint", 2, func(r *rig, _ webhook.Endpoint) error { _, _, err := r.d.AddEndpoint(r.ctx, added); return err }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				store := &failingAt{Store: webhook.NewMemoryStore(nil)}
				r := rigOn(t, store, webhooktest.NewReceiver(t), nil)
				e := r.endpoint("hook")
				store.method, store.from = c.method, c.from
				require.ErrorIs(t, c.call(r, e), errAway)
				require.Len(t, r.receiver.Requests(), c.requests)
			})
		})
	}
}

func TestAStoreThatLeasesNothingIsAnError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := newProbe()
		r := rigOn(t, store, webhooktest.NewReceiver(t), nil)
		e := r.endpoint("hook")
		store.enqueue = func(context.Context, webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			return webhook.EnqueueResult{}, nil
		}
		_, err := r.d.Ping(r.ctx, e.ID)
		require.ErrorContains(t, err, "the store did not lease the delivery")
	})
}

// TestWhatEmitAsksOfTheStore: nothing for no event, and no lease where nobody would send.
func TestWhatEmitAsksOfTheStore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := newProbe()
		r := rigOn(t, store, webhooktest.NewReceiver(t), nil)
		var asked []webhook.EnqueueRequest
		store.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			asked = append(asked, req)
			return store.Store.Enqueue(ctx, req)
		}
		require.NoError(t, r.d.Emit(r.ctx))
		require.NoError(t, r.d.EmitTo(r.ctx, store))
		require.Empty(t, asked)
		r.emit()
		require.Len(t, asked, 1)
		require.Nil(t, asked[0].HandOver)
	})
}

func TestEmitsBounds(t *testing.T) {
	t.Parallel()
	e := experiment()
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), &webhook.Config{MaxEventBytes: len(e.Body), Logger: quiet})
	require.NoError(t, err)
	require.NoError(t, d.Emit(t.Context(), e), "a body of just the limit")
	require.NoError(t, d.Tenant(strings.Repeat("t", 255)).Emit(t.Context(), e), "a tenant's id of just the limit")

	bad := experiment(webhook.WithID(""))
	require.NotContains(t, d.Emit(t.Context(), bad).Error(), "event 0")
	require.ErrorContains(t, d.Emit(t.Context(), e, bad), "webhook: emit: event 1: ")
	e.Body = nil
	require.ErrorContains(t, d.Emit(t.Context(), e), "its body is not an event")
}

func TestNotReachingOthersIsLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var book logbook
		store := &bell{Store: webhook.NewMemoryStore(nil), ring: make(chan struct{}, 1)}
		r := rigOn(t, store, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.Logger = book.logger() })
		r.d.Wake(r.ctx)
		require.Empty(t, book.lines("could not be told"))
		store.fail.Store(1)
		r.d.Wake(r.ctx)
		require.Len(t, book.lines("other dispatchers could not be told"), 1)
		time.Sleep(time.Second)
	})
}
