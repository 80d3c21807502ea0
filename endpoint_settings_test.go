package webhook_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// add adds an active endpoint as it is.
func (r *rig) add(e webhook.Endpoint) webhook.Endpoint {
	r.t.Helper()
	e.URL, e.Events = "https://example.com/hook", []string{webhook.AllEvents}
	e, _, err := r.d.AddEndpoint(r.ctx, e, webhook.WithoutPing())
	require.NoError(r.t, err)
	return e
}

// perSecond counts the requests of each second since start.
func perSecond(receiver *webhooktest.Receiver, start time.Time) map[int]int {
	n := map[int]int{}
	for _, req := range receiver.Requests() {
		n[int(req.Time.Sub(start)/time.Second)]++
	}
	return n
}

func TestARateIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		receiver := webhooktest.NewReceiver(t)
		r := newRig(t, receiver, nil).run()
		e := r.add(webhook.Endpoint{Rate: 5, Burst: 20})
		other := r.endpoint("other", webhook.ExperimentFailed.Name())
		start := time.Now()
		for range 100 {
			r.emit()
		}
		time.Sleep(30 * time.Second)
		seen := perSecond(receiver, start)
		require.InDelta(t, 24, seen[0], 1, "the burst, and what the first second brings")
		for s := 1; s <= 15; s++ {
			require.InDelta(t, 5, seen[s], 1, "second %d", s)
		}
		require.Len(t, receiver.Requests(), 100)

		// A higher rate holds at once, and for another endpoint there never was one.
		e.Rate, e.Burst = 50, 1
		_, _, err := r.d.UpdateEndpoint(r.ctx, e)
		require.NoError(t, err)
		for range 100 {
			r.emit()
		}
		require.NoError(t, r.d.Emit(r.ctx, webhook.ExperimentFailed.New("", webhook.ExperimentFailedData{})))
		time.Sleep(10 * time.Millisecond)
		page, err := r.d.Deliveries(r.ctx, webhook.DeliveryFilter{EndpointID: other.ID})
		require.NoError(t, err)
		require.Equal(t, webhook.DeliverySucceeded, page.Deliveries[0].State)
		time.Sleep(5 * time.Second)
		require.Len(t, receiver.Requests(), 202)
	})
}

func TestAnEndpointsOwnBoundOfRequests(t *testing.T) {
	bubble(t, func(t *testing.T) {
		receiver := webhooktest.NewReceiver(t)
		r := newRig(t, receiver, nil).run()
		e := r.add(webhook.Endpoint{MaxInFlight: 3})
		for range 20 {
			r.emit()
		}
		time.Sleep(time.Second)
		got, err := r.d.Endpoint(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, 3, got.Health.Window)
		got.MaxInFlight = 2
		got, _, err = r.d.UpdateEndpoint(r.ctx, got)
		require.NoError(t, err)
		require.Equal(t, 2, got.Health.Window)

		receiver.Script("/hook", hanging)
		for range 20 {
			r.emit()
		}
		time.Sleep(time.Second)
		leased := 0
		for _, d := range r.deliveries(webhook.DeliveryFilter{State: webhook.DeliveryLeased}) {
			require.Equal(t, e.ID, d.EndpointID)
			leased++
		}
		require.Equal(t, 2, leased)
	})
}

func TestAnEndpointsOwnTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		receiver := webhooktest.NewReceiver(t)
		receiver.Script("/hook", hanging)
		receiver.Script("/other", hanging)
		r := newRig(t, receiver, nil).run()
		e := r.add(webhook.Endpoint{Timeout: 2 * time.Second})
		r.endpoint("other")
		r.emit()
		time.Sleep(20 * time.Second)
		for _, d := range r.deliveries(webhook.DeliveryFilter{}) {
			require.Equal(t, webhook.ErrorTimeout, d.Attempts[0].Error)
			if d.EndpointID == e.ID {
				require.Equal(t, 2*time.Second, d.Attempts[0].Latency)
			} else {
				require.Equal(t, 15*time.Second, d.Attempts[0].Latency)
			}
		}
		d, err := r.d.Ping(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, 2*time.Second, d.Attempts[0].Latency)
	})
}

func TestSettingsThatAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.MaxInFlight, c.Timeout = 4, 5*time.Second })
	for name, c := range map[string]struct {
		field string
		e     webhook.Endpoint
	}{
		"a negative rate":            {"rate", webhook.Endpoint{Rate: -1}},
		"a rate that is no number":   {"rate", webhook.Endpoint{Rate: math.NaN()}},
		"an infinite rate":           {"rate", webhook.Endpoint{Rate: math.Inf(1)}},
		"a rate that is too low":     {"rate", webhook.Endpoint{Rate: 0.0009}},
		"a rate that is too high":    {"rate", webhook.Endpoint{Rate: 10_001}},
		"a negative burst":           {"burst", webhook.Endpoint{Rate: 1, Burst: -1}},
		"a burst that is too large":  {"burst", webhook.Endpoint{Rate: 1, Burst: 10_001}},
		"a burst without a rate":     {"burst", webhook.Endpoint{Burst: 1}},
		"a negative number at once":  {"max_in_flight", webhook.Endpoint{MaxInFlight: -1}},
		"more at once than it may":   {"max_in_flight", webhook.Endpoint{MaxInFlight: 5}},
		"a negative timeout":         {"timeout", webhook.Endpoint{Timeout: -1}},
		"a timeout that is too low":  {"timeout", webhook.Endpoint{Timeout: time.Second - 1}},
		"a timeout that is too long": {"timeout", webhook.Endpoint{Timeout: 5*time.Second + 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.e.URL, c.e.Events = "https://example.com/hook", []string{webhook.AllEvents}
			_, _, err := r.d.AddEndpoint(r.ctx, c.e, webhook.WithoutPing())
			require.ErrorIs(t, err, webhook.ErrInvalidEndpoint)
			var field *webhook.FieldError
			require.True(t, errors.As(err, &field))
			require.Equal(t, c.field, field.Field)
		})
	}
	r.add(webhook.Endpoint{Rate: 10_000, Burst: 10_000, MaxInFlight: 4, Timeout: 5 * time.Second})
	r.add(webhook.Endpoint{Rate: 0.001, Burst: 1, MaxInFlight: 1, Timeout: time.Second})
}

func TestABacklogIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		receiver := webhooktest.NewReceiver(t)
		receiver.Script("/hook", hanging)
		r := newRig(t, receiver, func(c *webhook.Config) { c.MaxPending = 20 }).run()
		e := r.endpoint("hook")
		r.endpoint("other")
		for range 30 {
			r.emit()
		}
		require.Len(t, r.deliveries(webhook.DeliveryFilter{EndpointID: e.ID}), 20)
		gaps, err := r.d.Gaps(r.ctx, e.ID)
		require.NoError(t, err)
		require.Len(t, gaps, 1)
		require.Equal(t, webhook.GapBacklog, gaps[0].Reason)
		require.EqualValues(t, 10, gaps[0].Count)
		require.Zero(t, gaps[0].To)
		got, err := r.d.Endpoint(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointActive, got.Health.State)

		receiver.Script("/hook", ok)
		receiver.Release()
		time.Sleep(time.Hour)
		require.Len(t, r.deliveries(webhook.DeliveryFilter{EndpointID: e.ID, State: webhook.DeliverySucceeded}), 20)
		r.emit()
		gaps, err = r.d.Gaps(r.ctx, e.ID)
		require.NoError(t, err)
		require.Len(t, gaps, 1)
		require.NotZero(t, gaps[0].To)
		time.Sleep(time.Second)
		require.Len(t, r.deliveries(webhook.DeliveryFilter{EndpointID: e.ID, State: webhook.DeliverySucceeded}), 21)
	})
}
