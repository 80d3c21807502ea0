package webhook_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// roomy is a memory store whose own limits are out of the way.
func roomy() webhook.Store {
	return webhook.NewMemoryStore(&webhook.MemoryConfig{FinishedAge: 1000 * time.Hour})
}

func TestRunRemovesWhatIsOverItsAge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := rigOn(t, roomy(), webhooktest.NewReceiver(t), func(c *webhook.Config) {
			c.KeepBodies, c.KeepDeliveries = time.Hour, 2*time.Hour
		}).run()
		r.endpoint("hook")
		e := r.emit()
		time.Sleep(59 * time.Minute)
		d := r.only()
		require.NotEmpty(t, d.Attempts[0].RequestHeader)
		time.Sleep(3 * time.Minute)

		d = r.only()
		require.Equal(t, webhook.DeliverySucceeded, d.State, "the row stays")
		require.Equal(t, 200, d.Attempts[0].Status)
		require.Empty(t, d.Attempts[0].RequestHeader)
		got, err := r.d.Event(r.ctx, e.ID)
		require.NoError(t, err)
		require.Empty(t, got.Body)
		_, err = r.d.Redeliver(r.ctx, d.ID)
		require.ErrorIs(t, err, webhook.ErrBodyPruned)
		require.NoError(t, r.d.Emit(r.ctx, e), "its id and digest are known")
		require.ErrorIs(t, r.d.Emit(r.ctx, webhook.PlanCompleted.New("", webhook.PlanCompletedData{}, webhook.WithID(e.ID))), webhook.ErrConflict)
		require.Len(t, r.receiver.Requests(), 1)

		time.Sleep(time.Hour)
		require.Empty(t, r.deliveries(webhook.DeliveryFilter{}))
		_, err = r.d.Event(r.ctx, e.ID)
		require.ErrorIs(t, err, webhook.ErrNotFound)
	})
}

func TestWhatIsKeptForEverIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := rigOn(t, roomy(), webhooktest.NewReceiver(t), func(c *webhook.Config) { c.KeepForever, c.Poll = true, time.Hour }).run()
		r.endpoint("hook")
		r.emit()
		time.Sleep(900 * time.Hour)
		removed, err := r.d.Prune(r.ctx)
		require.NoError(t, err)
		require.Zero(t, removed)
		require.NotEmpty(t, r.only().Attempts[0].RequestHeader)
	})
}

func TestTheDefaultAgeIsThirtyDays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := rigOn(t, roomy(), webhooktest.NewReceiver(t), func(c *webhook.Config) { c.Poll = time.Hour }).run()
		r.endpoint("hook")
		r.emit()
		time.Sleep(30*24*time.Hour - time.Second)
		require.NotEmpty(t, r.only().Attempts[0].RequestHeader)
		time.Sleep(2 * time.Minute)
		require.Empty(t, r.deliveries(webhook.DeliveryFilter{}))
	})
}

// parts is a store that removes a little at a time, and is away at first.
type parts struct {
	webhook.Store
	away  atomic.Int64
	calls atomic.Int64
}

func (p *parts) Prune(ctx context.Context, req webhook.PruneRequest) (webhook.PruneResult, error) {
	if p.away.Add(-1) >= 0 {
		return webhook.PruneResult{}, errAway
	}
	p.calls.Add(1)
	req.Max = 2
	return p.Store.Prune(ctx, req)
}

func (p *parts) EraseTenant(ctx context.Context, tenant string, _ int) (bool, error) {
	if p.away.Add(-1) >= 0 {
		return true, errAway
	}
	p.calls.Add(1)
	return p.Store.EraseTenant(ctx, tenant, 2)
}

func TestPruningGoesOnUntilNothingIsLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &parts{Store: roomy()}
		r := rigOn(t, store, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.KeepDeliveries = time.Hour }).run()
		r.endpoint("hook")
		for range 20 {
			r.emit()
		}
		time.Sleep(time.Minute + time.Second)
		store.away.Store(3)
		time.Sleep(61 * time.Minute)
		require.Empty(t, r.deliveries(webhook.DeliveryFilter{}), "a store that was away is asked again")

		for range 5 {
			r.emit()
		}
		synctest.Wait()
		time.Sleep(time.Second)
		r.stop()
		time.Sleep(2 * time.Hour)
		store.calls.Store(0)
		removed, err := r.d.Prune(r.ctx)
		require.NoError(t, err)
		require.Equal(t, 5, removed.Deliveries)
		require.Equal(t, 5, removed.Events)
		require.Greater(t, store.calls.Load(), int64(1))
		store.away.Store(1)
		_, err = r.d.Prune(r.ctx)
		require.ErrorIs(t, err, errAway)
	})
}

func TestErasingADeliveryErasesWhatWasSaid(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, webhooktest.Answer{Body: "thanks"}), nil).run()
		r.receiver.Script("/fails", failing)
		r.endpoint("hook")
		r.endpoint("fails")
		e := r.emit()
		time.Sleep(time.Second)
		d := r.deliveries(webhook.DeliveryFilter{})[0]
		require.Equal(t, "thanks", string(d.Attempts[0].ResponseBody))
		require.ErrorIs(t, r.d.Tenant("other").EraseDelivery(r.ctx, d.ID), webhook.ErrNotFound)
		require.NoError(t, r.d.EraseDelivery(r.ctx, d.ID))
		time.Sleep(time.Hour)

		requests := len(r.receiver.Requests())
		require.Equal(t, 2, requests, "what was waiting is not sent")
		got, err := r.d.Event(r.ctx, e.ID)
		require.NoError(t, err)
		require.Empty(t, got.Body)
		for _, d := range r.deliveries(webhook.DeliveryFilter{}) {
			require.Len(t, d.Attempts, 1)
			require.Empty(t, d.Attempts[0].ResponseBody)
			if d.State == webhook.DeliveryFailed {
				require.Equal(t, webhook.FailErased, d.Reason)
			}
			_, err = r.d.Redeliver(r.ctx, d.ID)
			require.ErrorIs(t, err, webhook.ErrBodyPruned)
		}
	})
}

func TestErasingATenantLeavesNothingOfIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &parts{Store: webhook.NewMemoryStore(nil)}
		r := rigOn(t, store, webhooktest.NewReceiver(t, failing), nil).run()
		kept := r.endpoint("hook")
		r.emit()
		acme := r.d.Tenant("acme")
		e, _, err := acme.AddEndpoint(r.ctx, webhook.Endpoint{URL: "https://example.com/acme", Events: []string{"*"}}, webhook.WithoutPing())
		require.NoError(t, err)
		event := experiment()
		require.NoError(t, acme.Emit(r.ctx, event, experiment(), experiment()))
		time.Sleep(time.Second)
		store.away.Store(1)
		require.ErrorIs(t, acme.EraseTenant(r.ctx), errAway)
		require.NoError(t, acme.EraseTenant(r.ctx))
		require.Greater(t, store.calls.Load(), int64(1), "in parts")

		_, err = acme.Endpoint(r.ctx, e.ID)
		require.ErrorIs(t, err, webhook.ErrNotFound)
		_, err = acme.Event(r.ctx, event.ID)
		require.ErrorIs(t, err, webhook.ErrNotFound)
		page, err := acme.Deliveries(r.ctx, webhook.DeliveryFilter{})
		require.NoError(t, err)
		require.Empty(t, page.Deliveries)
		time.Sleep(time.Hour)
		_, err = r.d.Endpoint(r.ctx, kept.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.FailExhausted, r.only().Reason, "others keep what they have")
	})
}
