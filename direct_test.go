package webhook_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// late holds requests for direct deliveries up.
func late(store *probe, by time.Duration) {
	store.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
		got, err := store.Store.Enqueue(ctx, req)
		if req.Direct != nil {
			time.Sleep(by)
		}
		return got, err
	}
}

func TestAPingWhoseLeaseWasLongOnItsWayIsNotSent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := newProbe()
		r := rigOn(t, store, webhooktest.NewReceiver(t), nil)
		e := r.endpoint("hook")
		late(store, 7500*time.Millisecond)
		d, err := r.d.Ping(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.DeliverySucceeded, d.State, "just in time")
		late(store, 7500*time.Millisecond+1)
		d, err = r.d.Ping(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.FailCancelled, d.Reason)
		require.Len(t, r.receiver.Requests(), 1)
	})
}

// TestRunHearsOfWhatADirectDeliveryLeft though its next poll is far.
func TestRunHearsOfWhatADirectDeliveryLeft(t *testing.T) {
	for name, c := range map[string]struct {
		first webhooktest.Answer
		late  time.Duration // the lease is on its way
		gives time.Duration // the caller gives up after
		sent  time.Duration // by Run, after the call began
		count int
	}{
		"a retry":                  {failing, 0, time.Hour, 10 * time.Second, 2},
		"one whose caller gave up": {hanging, 0, 3 * time.Second, 3 * time.Second, 2},
		"one that was not sent":    {ok, 8 * time.Second, time.Hour, 8 * time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				store := newProbe()
				r := rigOn(t, store, webhooktest.NewReceiver(t), pollHourly).run()
				r.endpoint("hook")
				synctest.Wait()
				r.emit()
				time.Sleep(time.Minute)
				old := r.only()

				r.receiver.Script("", c.first, ok)
				late(store, c.late)
				ctx, cancel := context.WithTimeout(r.ctx, c.gives)
				defer cancel()
				start := time.Now()
				_, err := r.d.Redeliver(ctx, old.ID)
				require.NoError(t, err)
				got := r.receiver.WaitFor(t.Context(), 1+c.count)
				require.Equal(t, c.sent, got[c.count].Time.Sub(start))
			})
		})
	}
}

func TestRunHearsOfAnEndpointThatIsActiveAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, failing), pollHourly).run()
		r.receiver.Script("/new", failing, ok)
		e := r.endpoint("old")
		r.emit()
		synctest.Wait()
		e.URL = "https://example.com/new"
		e, _, err := r.d.UpdateEndpoint(r.ctx, e)
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointPending, e.Health.State)
		time.Sleep(time.Minute)
		require.Len(t, r.receiver.Requests(), 2, "the retry is due and waits")
		_, err = r.d.Ping(r.ctx, e.ID)
		require.NoError(t, err)
		start := time.Now()
		require.Equal(t, start, r.receiver.WaitFor(t.Context(), 4)[3].Time)
	})
}

func TestAPingWithoutAnAnswerIsNotRepeatedWithTheOtherSecret(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, webhooktest.Answer{Fault: webhooktest.Close}), nil)
		e := r.endpoint("hook")
		_, err := r.d.RotateSecret(r.ctx, e.ID, secretB, time.Hour)
		require.NoError(t, err)
		_, err = r.d.Ping(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.ErrorReset, r.only().Attempts[0].Error)

		r.receiver.Script("", webhooktest.Answer{Status: http.StatusUnauthorized})
		_, err = r.d.Ping(r.ctx, e.ID)
		require.NoError(t, err)
		require.Len(t, r.deliveries(webhook.DeliveryFilter{}), 3, "one that is answered is")
	})
}

func TestANewURLLiftsWhatTheOldOneDid(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, webhooktest.Answer{Status: http.StatusGone}), nil)
		r.receiver.Script("/new", ok)
		e := r.endpoint("old")
		_, err := r.d.Ping(r.ctx, e.ID)
		require.NoError(t, err)
		e, err = r.d.Endpoint(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.ReasonGone, e.Health.Reason)
		e.URL = "https://example.com/new"
		e, _, err = r.d.UpdateEndpoint(r.ctx, e)
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointActive, e.Health.State)
		require.Empty(t, e.Health.Reason)
	})
}

// A caller who leaves while the ping is being stored sees in the log that it was not sent, and why.
func TestAPingWhoseCallerLeftWhileItWasStored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := newProbe()
		ctx, cancel := context.WithCancel(t.Context())
		store.enqueue = func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
			res, err := store.Store.Enqueue(ctx, req)
			cancel()
			return res, err
		}
		r := rigOn(t, store, webhooktest.NewReceiver(t), nil)
		e := r.endpoint("hook")
		d, err := r.d.Ping(ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.FailCancelled, d.Reason)
		require.Len(t, d.Attempts, 1)
		require.Equal(t, webhook.ErrorCancelled, d.Attempts[0].Error)
		require.Empty(t, r.receiver.Requests())
	})
}
