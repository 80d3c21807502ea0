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

// otherClock is a store whose clock, as far as its callers can see it, differs from this process's by so much: all
// times that go in and out of it are shifted. A change of the difference is a jump of either clock.
type otherClock struct {
	webhook.Store
	ahead atomic.Int64
}

func shiftedTime(t *time.Time, d time.Duration) {
	if !t.IsZero() {
		*t = t.Add(d)
	}
}

func shiftedHealth(h webhook.Health, d time.Duration) webhook.Health {
	for _, t := range []*time.Time{&h.Since, &h.PausedUntil, &h.FailingSince, &h.LastFailure, &h.LastSuccess} {
		shiftedTime(t, d)
	}
	return h
}

func (o *otherClock) leases(leases []webhook.Lease) {
	d := time.Duration(o.ahead.Load())
	for i := range leases {
		l := &leases[i]
		shiftedTime(&l.StartedAt, d)
		shiftedTime(&l.Delivery.CreatedAt, d)
		e := *l.Endpoint
		e.Health = shiftedHealth(e.Health, d)
		shiftedTime(&e.CreatedAt, d)
		l.Endpoint = &e
	}
}

func (o *otherClock) judge(j webhook.Judge) webhook.Judge {
	if j == nil {
		return nil
	}
	return func(h webhook.Health, now time.Time) webhook.Health {
		d := time.Duration(o.ahead.Load())
		return shiftedHealth(j(shiftedHealth(h, d), now.Add(d)), -d)
	}
}

func (o *otherClock) Enqueue(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
	res, err := o.Store.Enqueue(ctx, req)
	o.leases(res.Leases)
	return res, err
}

func (o *otherClock) Claim(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
	claimed, err := o.Store.Claim(ctx, req)
	o.leases(claimed.Leases)
	return claimed, err
}

func (o *otherClock) Record(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
	for i := range outcomes {
		outcomes[i].Judge = o.judge(outcomes[i].Judge)
	}
	return o.Store.Record(ctx, outcomes)
}

func (o *otherClock) JudgeEndpoint(ctx context.Context, tenant, id string, judge webhook.Judge) (webhook.Endpoint, error) {
	return o.Store.JudgeEndpoint(ctx, tenant, id, o.judge(judge))
}

// TestClocksThatJump lets the difference between the store's clock and the process's jump while a request is under way
// and another waits: what goes out, when, and what becomes of it, is what it is without the jump. Clocks are set, put
// forward in spring and back in autumn, and given a leap second.
func TestClocksThatJump(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	type what struct {
		after   time.Duration
		attempt string
		url     string
	}
	run := func(t *testing.T, jump time.Duration) (sent []what, states []webhook.DeliveryState, health []webhook.Health) {
		store := &otherClock{Store: webhook.NewMemoryStore(nil)}
		receiver := webhooktest.NewReceiver(t, hanging, ok)
		receiver.Script("/failing", failing)
		receiver.Script("/paced", webhooktest.Answer{Delay: 4 * time.Second})
		receiver.Script("/mending", failing, failing, failing, ok)
		r := rigOn(t, store, receiver, func(c *webhook.Config) { c.PauseAfter, c.Poll = 3, time.Hour }).run()
		paced := webhook.Endpoint{URL: "https://example.com/paced", Events: []string{"*"}, Rate: 0.5, Burst: 1}
		_, _, err := r.d.AddEndpoint(r.ctx, paced, webhook.WithoutPing())
		require.NoError(t, err)
		var all []webhook.Endpoint
		for _, path := range []string{"hanging", "failing", "mending"} {
			all = append(all, r.endpoint(path))
		}
		start := time.Now()
		for range 5 {
			r.emit()
		}
		time.Sleep(5 * time.Second) // one lease is half over, another one just given, retries wait
		store.ahead.Add(int64(jump))
		time.Sleep(2 * time.Minute) // pauses have begun
		store.ahead.Add(int64(-jump))
		r.emit()
		time.Sleep(3 * time.Hour)
		r.stop()
		for _, q := range receiver.Requests() {
			sent = append(sent, what{q.Time.Sub(start), q.Header.Get(webhook.HeaderAttempt), q.URL})
		}
		for _, d := range r.deliveries(webhook.DeliveryFilter{}) {
			states = append(states, d.State)
			for i, a := range d.Attempts {
				require.Equal(t, i+1, a.Number)
				require.Less(t, a.StartedAt.Sub(start), 4*time.Hour, "attempts are logged by the process's own clock")
				require.GreaterOrEqual(t, a.Latency, time.Duration(0))
			}
		}
		for _, e := range all {
			got, err := r.d.Endpoint(r.ctx, e.ID)
			require.NoError(t, err)
			health = append(health, webhook.Health{State: got.Health.State, Reason: got.Health.Reason, Failures: got.Health.Failures, Window: got.Health.Window})
		}
		return sent, states, health
	}
	var sent []what
	var states []webhook.DeliveryState
	var health []webhook.Health
	t.Run("none", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { sent, states, health = run(t, 0) })
	})
	require.Greater(t, len(sent), 20)
	for _, jump := range []time.Duration{time.Second, -time.Second, time.Hour, -time.Hour, day, -day} {
		t.Run(jump.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, st, h := run(t, jump)
				require.ElementsMatch(t, sent, s)
				require.ElementsMatch(t, states, st)
				require.Equal(t, health, h)
			})
		})
	}
}
