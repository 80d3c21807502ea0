package webhook_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// TestSwitchingOnProbesNoMoreThanNowAndThen does not let impatience fill the log.
func TestSwitchingOnProbesNoMoreThanNowAndThen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, failing), func(c *webhook.Config) { c.PauseAfter, c.PauseMin = 1, time.Hour }).run()
		e := r.endpoint("hook")
		r.emit()
		time.Sleep(time.Minute)
		require.Len(t, r.receiver.Requests(), 1)
		start := time.Now()
		r.enable(e, true)
		synctest.Wait()
		require.Len(t, r.receiver.Requests(), 2, "at once")
		for range 100 {
			r.enable(e, true)
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		var at []time.Duration
		for _, req := range r.receiver.Requests()[1:] {
			at = append(at, req.Time.Sub(start))
		}
		require.Equal(t, []time.Duration{0, 5 * time.Second, 10 * time.Second}, at)
	})
}

// TestLittleIsKeptOfTheManyAttemptsOfADelivery, as one has that is the probe of an endpoint for days.
func TestLittleIsKeptOfTheManyAttemptsOfADelivery(t *testing.T) {
	bubble(t, func(t *testing.T) {
		answer := webhooktest.Answer{Status: 500, Body: strings.Repeat("a", 20<<10), Header: map[string][]string{"X-Long": {strings.Repeat("b", 2<<10)}}}
		r := newRig(t, webhooktest.NewReceiver(t, answer), func(c *webhook.Config) {
			c.PauseAfter, c.Retry = 1000, make(webhook.Schedule, 60)
		}).run()
		r.endpoint("hook")
		r.emit()
		time.Sleep(time.Minute)
		attempts := r.only().Attempts
		require.Len(t, attempts, 61)
		for _, a := range attempts {
			most, long := 16<<10, 1
			if a.Number > 50 {
				most, long = 512, 0
			}
			require.Len(t, a.ResponseBody, most, a.Number)
			require.True(t, a.Truncated)
			require.Len(t, a.ResponseHeader["X-Long"], long, a.Number)
		}
	})
}

// TestHeadersDoNotFollowAnEndpointToAnotherHost unless whoever moves it knows them.
func TestHeadersDoNotFollowAnEndpointToAnotherHost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t), nil)
		e, _, err := r.d.AddEndpoint(r.ctx, webhook.Endpoint{
			URL: "https://example.com/hook", Events: []string{webhook.AllEvents}, Headers: headers("Authorization", "Bearer token"),
		}, webhook.WithoutPing())
		require.NoError(t, err)
		for _, address := range []string{"https://example.org/hook", "https://example.com:8443/hook", "https://a.example.com/hook"} {
			moved := e
			moved.URL = address
			_, _, err = r.d.UpdateEndpoint(r.ctx, moved)
			require.ErrorIs(t, err, webhook.ErrInvalidEndpoint, address)
			require.ErrorContains(t, err, "headers")
		}
		require.Empty(t, r.receiver.Requests())

		e.URL = "https://example.com/another?path"
		e, _, err = r.d.UpdateEndpoint(r.ctx, e)
		require.NoError(t, err)
		require.Equal(t, "Bearer token", r.receiver.Requests()[0].Header.Get("Authorization"), "the host is the same")

		e.URL, e.Headers = "https://example.org/hook", headers("Authorization", "Bearer another")
		e, _, err = r.d.UpdateEndpoint(r.ctx, e)
		require.NoError(t, err)
		require.Equal(t, "Bearer another", r.receiver.Requests()[1].Header.Get("Authorization"))

		e.URL, e.Headers = "https://example.net/hook", headers()
		e, _, err = r.d.UpdateEndpoint(r.ctx, e)
		require.NoError(t, err)
		require.Empty(t, r.receiver.Requests()[2].Header.Get("Authorization"))

		e.URL = "https://example.com/hook"
		_, _, err = r.d.UpdateEndpoint(r.ctx, e)
		require.NoError(t, err, "it has none")
	})
}

// TestAnOutcomeThatBlocksTheStoreHoldsUpNoOther of its batch.
func TestAnOutcomeThatBlocksTheStoreHoldsUpNoOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := newProbe()
		var stuck atomic.Value
		stuck.Store("")
		store.record = func(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
			for _, o := range outcomes {
				if o.EndpointID == stuck.Load() { // as behind a lock
					<-ctx.Done()
					return nil, ctx.Err()
				}
			}
			time.Sleep(time.Millisecond) // others come meanwhile
			return store.Store.Record(ctx, outcomes)
		}
		r := rigOn(t, store, webhooktest.NewReceiver(t), pollHourly).run()
		var ids []string
		for _, path := range []string{"first", "stuck", "second", "third"} {
			ids = append(ids, r.endpoint(path).ID)
			if path != "first" {
				r.receiver.Script("/"+path, webhooktest.Answer{Delay: time.Millisecond / 2}) // while the first is recorded
			}
		}
		stuck.Store(ids[1])
		synctest.Wait()
		r.emit()
		time.Sleep(16 * time.Second) // the batch as a whole is given up after 15
		states := map[string]webhook.DeliveryState{}
		for _, d := range r.deliveries(webhook.DeliveryFilter{}) {
			states[d.EndpointID] = d.State
		}
		require.Equal(t, map[string]webhook.DeliveryState{
			ids[0]: webhook.DeliverySucceeded, ids[1]: webhook.DeliveryLeased, ids[2]: webhook.DeliverySucceeded, ids[3]: webhook.DeliverySucceeded,
		}, states)
		stuck.Store("")
		time.Sleep(20 * time.Second)
	})
}

// TestAHookThatIsToldOfAGapHoldsUpNobody where it is the claim loop that hears of the gap.
func TestAHookThatIsToldOfAGapHoldsUpNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := newProbe()
		full := make(chan []webhook.EndpointRef, 1)
		store.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			c, err := store.Store.Claim(ctx, req)
			select {
			case c.Backlogged = <-full:
			default:
			}
			return c, err
		}
		told, goOn := make(chan webhook.EndpointRef, 1), make(chan struct{})
		r := rigOn(t, store, webhooktest.NewReceiver(t), func(c *webhook.Config) {
			c.Hooks = &webhook.Hooks{GapOpened: func(_ context.Context, of webhook.EndpointRef, _ webhook.GapReason) {
				told <- of
				<-goOn
			}}
		}).run()
		e := r.endpoint("hook")
		full <- []webhook.EndpointRef{{ID: e.ID}}
		r.d.Wake(r.ctx)
		require.Equal(t, webhook.EndpointRef{ID: e.ID}, <-told)
		require.NoError(t, r.d.EmitTo(r.ctx, store.Store, experiment())) // which hands nothing over
		r.d.Wake(r.ctx)
		synctest.Wait()
		require.Len(t, r.receiver.Requests(), 1)
		close(goOn)
	})
}
