package webhook_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// TestATenantSeesNothingOfAnother calls every method that takes an id with another tenant's.
func TestATenantSeesNothingOfAnother(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t), nil).run()
		acme, other := r.d.Tenant("acme"), r.d.Tenant("other")
		e, _, err := acme.AddEndpoint(r.ctx, webhook.Endpoint{URL: "https://example.com/", Events: []string{"*"}, Secret: secretA})
		require.NoError(t, err)
		require.Equal(t, "acme", e.Tenant)
		require.NoError(t, acme.Emit(r.ctx, experiment(webhook.WithID("evt_1"))))
		time.Sleep(time.Second)
		page, err := acme.Deliveries(r.ctx, webhook.DeliveryFilter{})
		require.NoError(t, err)
		require.Len(t, page.Deliveries, 2)
		delivery := page.Deliveries[0]
		require.Equal(t, "acme", delivery.Tenant)
		replay, err := acme.Replay(r.ctx, webhook.Replay{EndpointID: e.ID, Failed: true})
		require.NoError(t, err)

		for name, call := range map[string]func(*webhook.Dispatcher) error{
			"Endpoint":       func(d *webhook.Dispatcher) error { _, err := d.Endpoint(r.ctx, e.ID); return err },
			"UpdateEndpoint": func(d *webhook.Dispatcher) error { _, _, err := d.UpdateEndpoint(r.ctx, e); return err },
			"SetEnabled":     func(d *webhook.Dispatcher) error { _, err := d.SetEnabled(r.ctx, e.ID, true); return err },
			"RotateSecret": func(d *webhook.Dispatcher) error {
				_, err := d.RotateSecret(r.ctx, e.ID, secretB, time.Hour)
				return err
			},
			"FinishRotation": func(d *webhook.Dispatcher) error { _, err := d.FinishRotation(r.ctx, e.ID); return err },
			"RevealSecret":   func(d *webhook.Dispatcher) error { _, err := d.RevealSecret(r.ctx, e.ID); return err },
			"Ping":           func(d *webhook.Dispatcher) error { _, err := d.Ping(r.ctx, e.ID); return err },
			"SendTest":       func(d *webhook.Dispatcher) error { _, err := d.SendTest(r.ctx, e.ID, experiment()); return err },
			"Redeliver":      func(d *webhook.Dispatcher) error { _, err := d.Redeliver(r.ctx, delivery.ID); return err },
			"RedeliverEvent": func(d *webhook.Dispatcher) error { _, err := d.RedeliverEvent(r.ctx, "evt_1", ""); return err },
			"Replay": func(d *webhook.Dispatcher) error {
				_, err := d.Replay(r.ctx, webhook.Replay{EndpointID: e.ID, Failed: true})
				return err
			},
			"StopReplay":     func(d *webhook.Dispatcher) error { _, err := d.StopReplay(r.ctx, replay.ID); return err },
			"Delivery":       func(d *webhook.Dispatcher) error { _, err := d.Delivery(r.ctx, delivery.ID); return err },
			"Event":          func(d *webhook.Dispatcher) error { _, err := d.Event(r.ctx, "evt_1"); return err },
			"DeleteEndpoint": func(d *webhook.Dispatcher) error { return d.DeleteEndpoint(r.ctx, e.ID) },
		} {
			for _, stranger := range []*webhook.Dispatcher{other, r.d} {
				require.ErrorIs(t, call(stranger), webhook.ErrNotFound, name)
			}
		}
		for _, stranger := range []*webhook.Dispatcher{other, r.d} {
			page, err := stranger.Deliveries(r.ctx, webhook.DeliveryFilter{EndpointID: e.ID})
			require.NoError(t, err)
			require.Empty(t, page.Deliveries)
			endpoints, err := stranger.Endpoints(r.ctx)
			require.NoError(t, err)
			require.Empty(t, endpoints)
			gaps, err := stranger.Gaps(r.ctx, e.ID)
			require.NoError(t, err)
			require.Empty(t, gaps)
			replays, err := stranger.Replays(r.ctx, e.ID)
			require.NoError(t, err)
			require.Empty(t, replays)
			require.NoError(t, stranger.Emit(r.ctx, experiment()))
		}
		time.Sleep(time.Minute)
		require.Len(t, r.receiver.Requests(), 2, "what strangers emit does not reach it")
		endpoints, err := acme.Endpoints(r.ctx)
		require.NoError(t, err)
		require.Len(t, endpoints, 1)
		require.NoError(t, acme.DeleteEndpoint(r.ctx, e.ID))
	})
}

// TestEveryCallWantsATenantWhereOneIsRequired makes each call without one.
func TestEveryCallWantsATenantWhereOneIsRequired(t *testing.T) {
	t.Parallel()
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), &webhook.Config{RequireTenant: true, Logger: quiet})
	require.NoError(t, err)
	ctx := t.Context()
	for name, call := range map[string]func(*webhook.Dispatcher) error{
		"Emit":           func(d *webhook.Dispatcher) error { return d.Emit(ctx, experiment()) },
		"EmitTo":         func(d *webhook.Dispatcher) error { return d.EmitTo(ctx, webhook.NewMemoryStore(nil), experiment()) },
		"AddEndpoint":    func(d *webhook.Dispatcher) error { _, _, err := d.AddEndpoint(ctx, webhook.Endpoint{}); return err },
		"UpdateEndpoint": func(d *webhook.Dispatcher) error { _, _, err := d.UpdateEndpoint(ctx, webhook.Endpoint{}); return err },
		"SetEnabled":     func(d *webhook.Dispatcher) error { _, err := d.SetEnabled(ctx, "we_1", true); return err },
		"DeleteEndpoint": func(d *webhook.Dispatcher) error { return d.DeleteEndpoint(ctx, "we_1") },
		"RotateSecret":   func(d *webhook.Dispatcher) error { _, err := d.RotateSecret(ctx, "we_1", secretA, 0); return err },
		"FinishRotation": func(d *webhook.Dispatcher) error { _, err := d.FinishRotation(ctx, "we_1"); return err },
		"RevealSecret":   func(d *webhook.Dispatcher) error { _, err := d.RevealSecret(ctx, "we_1"); return err },
		"Ping":           func(d *webhook.Dispatcher) error { _, err := d.Ping(ctx, "we_1"); return err },
		"SendTest":       func(d *webhook.Dispatcher) error { _, err := d.SendTest(ctx, "we_1", experiment()); return err },
		"Redeliver":      func(d *webhook.Dispatcher) error { _, err := d.Redeliver(ctx, "dlv_1"); return err },
		"RedeliverEvent": func(d *webhook.Dispatcher) error { _, err := d.RedeliverEvent(ctx, "evt_1", ""); return err },
		"Replay": func(d *webhook.Dispatcher) error {
			_, err := d.Replay(ctx, webhook.Replay{EndpointID: "we_1", Failed: true})
			return err
		},
		"Replays":    func(d *webhook.Dispatcher) error { _, err := d.Replays(ctx, "we_1"); return err },
		"StopReplay": func(d *webhook.Dispatcher) error { _, err := d.StopReplay(ctx, "rpl_1"); return err },
		"Endpoint":   func(d *webhook.Dispatcher) error { _, err := d.Endpoint(ctx, "we_1"); return err },
		"Endpoints":  func(d *webhook.Dispatcher) error { _, err := d.Endpoints(ctx); return err },
		"Delivery":   func(d *webhook.Dispatcher) error { _, err := d.Delivery(ctx, "dlv_1"); return err },
		"Deliveries": func(d *webhook.Dispatcher) error { _, err := d.Deliveries(ctx, webhook.DeliveryFilter{}); return err },
		"Event":      func(d *webhook.Dispatcher) error { _, err := d.Event(ctx, "evt_1"); return err },
		"Gaps":       func(d *webhook.Dispatcher) error { _, err := d.Gaps(ctx, "we_1"); return err },
	} {
		require.ErrorIs(t, call(d), webhook.ErrTenantRequired, name)
		require.ErrorIs(t, call(d.Tenant("")), webhook.ErrTenantRequired, name)
		require.ErrorIs(t, call(d.Tenant("a\xff")), webhook.ErrInvalidTenant, name)
		require.NotErrorIs(t, call(d.Tenant("acme")), webhook.ErrTenantRequired, name)
	}
}

// TestSecretsAndPathsDoNotShow prints, in every way, all that a caller is given, and all that is logged.
func TestSecretsAndPathsDoNotShow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var logged strings.Builder
		r := newRig(t, webhooktest.NewReceiver(t, failing, ok, webhooktest.Answer{Status: 410}), func(c *webhook.Config) {
			c.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
		}).run()
		e, ping, err := r.d.AddEndpoint(r.ctx, webhook.Endpoint{URL: "https://example.com/path-token?query-token", Events: []string{"*"}, Secret: secretA})
		require.NoError(t, err)
		_, err = r.d.Ping(r.ctx, e.ID)
		require.NoError(t, err)
		r.emit()
		time.Sleep(tenMin)
		r.stop()
		require.NotEmpty(t, logged.String())
		require.Contains(t, logged.String(), "endpoint changed its state")
		for _, hidden := range []string{secretA.Reveal(), "path-token", "query-token"} {
			require.NotContains(t, logged.String(), hidden)
		}
		for _, v := range []any{e, ping, r.deliveries(webhook.DeliveryFilter{})} {
			require.NotContains(t, fmt.Sprintf("%+v %#v", v, v), secretA.Reveal())
		}
	})
}
