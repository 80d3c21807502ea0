package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

func TestAnEventIsSentAgainToAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t), nil).run()
		var subscribed []webhook.Endpoint
		for i := range 3 {
			subscribed = append(subscribed, r.endpoint(fmt.Sprint("hook", i)))
		}
		off := r.endpoint("off")
		r.enable(off, false)
		r.endpoint("other", webhook.ExperimentFailed.Name())
		event := r.emit()
		time.Sleep(time.Second)
		require.Len(t, r.receiver.Requests(), 3)

		queued, err := r.d.RedeliverEvent(r.ctx, event.ID, "ops@example.com")
		require.NoError(t, err)
		require.Equal(t, 3, queued)
		synctest.Wait() // Run was told
		require.Len(t, r.receiver.Requests(), 6)
		for _, e := range subscribed {
			all := r.deliveries(webhook.DeliveryFilter{EndpointID: e.ID})
			require.Len(t, all, 2)
			require.Equal(t, webhook.KindRedelivery, all[1].Kind)
			require.Equal(t, "ops@example.com", all[1].AskedBy)
			require.Equal(t, event.ID, all[1].EventID)
			require.Equal(t, webhook.DeliverySucceeded, all[1].State)
		}
		_, err = r.d.RedeliverEvent(r.ctx, "evt_unknown", "")
		require.ErrorIs(t, err, webhook.ErrNotFound)
		_, err = r.d.Tenant("other").RedeliverEvent(r.ctx, event.ID, "")
		require.ErrorIs(t, err, webhook.ErrNotFound)
		require.NoError(t, r.d.EraseDelivery(r.ctx, r.deliveries(webhook.DeliveryFilter{})[0].ID))
		_, err = r.d.RedeliverEvent(r.ctx, event.ID, "")
		require.ErrorIs(t, err, webhook.ErrBodyPruned)
		time.Sleep(tenMin)
		require.Len(t, r.receiver.Requests(), 6)
	})
}

// TestTheEventOfATestIsNotSentToAll however often it was repeated to the one endpoint.
func TestTheEventOfATestIsNotSentToAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t), nil).run()
		e := r.endpoint("hook")
		r.endpoint("other")
		ping, err := r.d.Ping(r.ctx, e.ID)
		require.NoError(t, err)
		test, err := r.d.SendTest(r.ctx, e.ID, experiment())
		require.NoError(t, err)
		for range webhook.MaxPage {
			_, err = r.d.Redeliver(r.ctx, test.ID)
			require.NoError(t, err)
		}
		for _, d := range []webhook.Delivery{ping, test} {
			queued, err := r.d.RedeliverEvent(r.ctx, d.EventID, "")
			require.ErrorIs(t, err, webhook.ErrInvalidEvent, d.Kind)
			require.Zero(t, queued)
		}
		time.Sleep(time.Minute)
		for _, req := range r.receiver.Requests() {
			require.Equal(t, "/hook", req.URL[strings.LastIndex(req.URL, "/"):])
		}
	})
}

// listless is a store that cannot list endpoints now.
type listless struct{ webhook.Store }

func (listless) Endpoints(context.Context, string) ([]webhook.Endpoint, error) { return nil, errAway }

func TestAnEventIsNotSentAgainWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	r := rigOn(t, listless{webhook.NewMemoryStore(nil)}, webhooktest.NewReceiver(t), nil)
	event := r.emit()
	queued, err := r.d.RedeliverEvent(r.ctx, event.ID, "ops")
	require.ErrorIs(t, err, errAway)
	require.Zero(t, queued)
}

// TestAnEventIsSentAgainInPart deletes one endpoint meanwhile, and then the store fails.
func TestAnEventIsSentAgainInPart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := newProbe()
		r := rigOn(t, store, webhooktest.NewReceiver(t), nil)
		event := r.emit()
		var ids []string
		for i := range 4 {
			ids = append(ids, r.endpoint(fmt.Sprint("hook", i)).ID)
		}
		away := errors.New("away")
		store.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			switch req.Direct.EndpointID {
			case ids[1]:
				require.NoError(t, store.Store.DeleteEndpoint(ctx, "", ids[1]))
			case ids[3]:
				return webhook.EnqueueResult{}, away
			}
			return store.Store.Enqueue(ctx, req)
		}
		queued, err := r.d.RedeliverEvent(r.ctx, event.ID, "ops")
		require.ErrorIs(t, err, away)
		require.Equal(t, 2, queued)
		require.ErrorContains(t, err, ids[3])
		require.Len(t, r.deliveries(webhook.DeliveryFilter{}), 2, "the first and the third have it")
	})
}

// TestAnEventIsSentAgainWithinTheBacklogsBound asks again and again while one receiver does not take anything.
func TestAnEventIsSentAgainWithinTheBacklogsBound(t *testing.T) {
	t.Parallel()
	r := rigOn(t, webhook.NewMemoryStore(nil), webhooktest.NewReceiver(t), func(cfg *webhook.Config) { cfg.MaxPending = 5 })
	stuck, also := r.endpoint("stuck"), r.endpoint("also")
	event := r.emit()
	for range 4 {
		queued, err := r.d.RedeliverEvent(r.ctx, event.ID, "ops")
		require.NoError(t, err)
		require.Equal(t, 2, queued)
	}
	fresh := r.endpoint("fresh") // has none of them
	for range 5 {
		queued, err := r.d.RedeliverEvent(r.ctx, event.ID, "ops")
		require.ErrorIs(t, err, webhook.ErrBacklogFull)
		require.ErrorContains(t, err, stuck.ID)
		require.ErrorContains(t, err, also.ID)
		require.NotContains(t, err.Error(), fresh.ID)
		require.Equal(t, 1, queued)
	}
	require.Len(t, r.deliveries(webhook.DeliveryFilter{}), 15)
}
