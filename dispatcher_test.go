package webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

func TestAnEventIsDeliveredSignedAndLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, webhooktest.Answer{Status: 202, Body: "thanks", Header: http.Header{"X-Trace": {"t1"}}, Delay: 30 * time.Millisecond}), nil).run()
		endpoint := r.endpoint("hook?token=1")
		start := time.Now()
		e := r.emit()

		got := r.receiver.WaitFor(t.Context(), 1)[0]
		synctest.Wait()
		time.Sleep(time.Second)
		require.Equal(t, http.MethodPost, got.Method)
		require.Equal(t, "https://example.com/hook?token=1", got.URL)
		require.Equal(t, string(e.Body), string(got.Body))
		require.Equal(t, e.ID, got.Header.Get(webhook.HeaderID))
		require.NoError(t, webhook.Verify(got.Body, got.Header.Get(webhook.HeaderSignature), secretA.Reveal()))

		d := r.only()
		require.Equal(t, webhook.DeliverySucceeded, d.State)
		require.Equal(t, d.ID, got.Header.Get(webhook.HeaderDelivery))
		require.Equal(t, endpoint.ID, d.EndpointID)
		require.Equal(t, e.ID, d.EventID)
		require.Equal(t, "experiment.completed", d.EventType)
		require.Equal(t, webhook.KindEvent, d.Kind)
		require.True(t, d.CreatedAt.Equal(start))
		require.True(t, d.FinishedAt.Equal(start.Add(30*time.Millisecond)))
		require.Zero(t, d.NextAttemptAt)

		require.Len(t, d.Attempts, 1)
		a := d.Attempts[0]
		require.Equal(t, 1, a.Number)
		require.True(t, a.StartedAt.Equal(start))
		require.Equal(t, webhook.AttemptDelivered, a.Result)
		require.Equal(t, 202, a.Status)
		require.Empty(t, a.Error)
		require.Equal(t, 30*time.Millisecond, a.Latency)
		require.Equal(t, 30*time.Millisecond, a.Phases.FirstByte)
		require.Equal(t, "192.0.2.1:443", a.RemoteAddr)
		require.Equal(t, "thanks", string(a.ResponseBody))
		require.False(t, a.Truncated)
		require.Equal(t, "t1", a.ResponseHeader.Get("X-Trace"))
		require.Equal(t, endpoint.Secrets[0].ID, a.SecretID)
		require.Equal(t, e.ID, a.RequestHeader.Get(webhook.HeaderID))
		require.Equal(t, "application/json", a.RequestHeader.Get("Content-Type"))
		require.Empty(t, a.RequestHeader.Get(webhook.HeaderSignature), "a stored signature could be replayed")
		require.Empty(t, a.RequestHeader.Get(webhook.HeaderStandardSignature), "a stored signature could be replayed")
	})
}

func TestFailedAttemptsAreRepeatedBySchedule(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, failing, failing, failing, ok), nil).run()
		r.endpoint("hook")
		start := time.Now()
		e := r.emit()
		time.Sleep(tenMin)

		var after []time.Duration
		for _, q := range r.receiver.Requests() {
			after = append(after, q.Time.Sub(start))
			require.Equal(t, e.ID, q.Header.Get(webhook.HeaderID), "the id is the receiver's idempotency key")
			require.Equal(t, string(e.Body), string(q.Body))
			require.Equal(t, q.Time.Unix(), mustInt(t, q.Header.Get(webhook.HeaderTimestamp)), "each attempt is signed anew")
		}
		require.Equal(t, []time.Duration{0, 10 * time.Second, 70 * time.Second, 430 * time.Second}, after)
		d := r.only()
		require.Equal(t, webhook.DeliverySucceeded, d.State)
		require.Equal(t, []webhook.AttemptResult{webhook.AttemptFailed, webhook.AttemptFailed, webhook.AttemptFailed, webhook.AttemptDelivered}, results(d))
		require.Equal(t, "no", string(d.Attempts[0].ResponseBody))
	})
}

func TestADeliveryThatKeepsFailingIsGivenUpInSight(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, failing), nil).run()
		r.endpoint("hook")
		r.emit()
		time.Sleep(24 * time.Hour)

		d := r.only()
		require.Equal(t, webhook.DeliveryFailed, d.State)
		require.Equal(t, webhook.FailExhausted, d.Reason)
		require.Len(t, d.Attempts, 4)
		require.Len(t, r.receiver.Requests(), 4)
	})
}

func TestTheDefaultPolicyEndToEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, failing), func(c *webhook.Config) { c.Retry = nil }).run()
		r.endpoint("hook")
		r.emit()
		time.Sleep(24 * time.Hour)

		at := r.receiver.Requests()
		require.Len(t, at, 4)
		for i, middle := range []time.Duration{10 * time.Second, time.Minute, 6 * time.Minute} {
			require.InDelta(t, middle, at[i+1].Time.Sub(at[i].Time), float64(middle)/5+1)
		}
	})
}

func TestRetryAfterIsHeard(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, webhooktest.Answer{Status: 503, Header: http.Header{"Retry-After": {"90"}}}, ok), nil).run()
		r.endpoint("hook")
		r.emit()
		time.Sleep(tenMin)
		at := r.receiver.Requests()
		require.Len(t, at, 2)
		require.Equal(t, 90*time.Second, at[1].Time.Sub(at[0].Time))
	})
}

func TestGoneDisablesTheEndpoint(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, webhooktest.Answer{Status: 410}), nil).run()
		endpoint := r.endpoint("hook")
		r.emit()
		time.Sleep(tenMin)
		require.Equal(t, webhook.FailGone, r.only().Reason)

		r.emit()
		time.Sleep(tenMin)
		require.Len(t, r.receiver.Requests(), 1)
		after, err := r.d.Endpoint(r.ctx, endpoint.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointDisabled, after.Health.State)
		require.Equal(t, webhook.ReasonGone, after.Health.Reason)
		gaps, err := r.d.Gaps(r.ctx, endpoint.ID)
		require.NoError(t, err)
		require.Len(t, gaps, 1)
		require.EqualValues(t, 1, gaps[0].Count)
	})
}

func TestOnlySubscribersGetAnEvent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t), nil).run()
		r.endpoint("all")
		r.endpoint("one", "experiment.completed", "plan.completed")
		r.endpoint("other", "experiment.failed")
		r.emit()
		time.Sleep(time.Second)

		urls := map[string]int{}
		for _, q := range r.receiver.Requests() {
			urls[q.URL]++
		}
		require.Equal(t, map[string]int{"https://example.com/all": 1, "https://example.com/one": 1}, urls)
	})
}

func TestWhatEmitRefusesIsNotStored(t *testing.T) {
	t.Parallel()
	metrics := webhook.NewEventType("raw.metrics", "For a test.", map[string]float64{})
	store := webhook.NewMemoryStore(nil)
	d, err := webhook.NewDispatcher(store, &webhook.Config{
		Registry: webhook.NewRegistry(append(webhook.DefaultRegistry().Types(), metrics)...), MaxEventBytes: 1000, RequireTenant: true, Logger: quiet,
	})
	require.NoError(t, err)
	acme := d.Tenant("acme")
	_, _, err = acme.AddEndpoint(t.Context(), webhook.Endpoint{URL: "https://example.com/", Events: []string{webhook.AllEvents}}, webhook.WithoutPing())
	require.NoError(t, err)

	good := experiment()
	twisted := good
	twisted.Type = "experiment.failed"
	forged := webhook.Event{ID: "evt_1", Type: good.Type, SessionID: good.SessionID, Time: good.Time, Body: []byte(`{"event":"experiment.completed","timestamp":"2026-04-11T14:32:00Z"}`)}
	for name, c := range map[string]struct {
		d     *webhook.Dispatcher
		event webhook.Event
		want  error
	}{
		"an unknown type":            {acme, webhook.NewEventType("never.heard", "", struct{}{}).New("", struct{}{}), webhook.ErrUnknownEventType},
		"a ping":                     {acme, webhook.Ping().New("", webhook.PingData{}), webhook.ErrUnknownEventType},
		"data that does not marshal": {acme, metrics.New("", map[string]float64{"loss": math.NaN()}), webhook.ErrInvalidData},
		"an id with a dot":           {acme, experiment(webhook.WithID("evt.1")), webhook.ErrInvalidID},
		"an id that is too long":     {acme, experiment(webhook.WithID(strings.Repeat("a", 65))), webhook.ErrInvalidID},
		"an empty id":                {acme, experiment(webhook.WithID("")), webhook.ErrInvalidID},
		"an id with a newline":       {acme, experiment(webhook.WithID("evt_1\n")), webhook.ErrInvalidID},
		"a body over the limit":      {acme, webhook.ExperimentFailed.New("", webhook.ExperimentFailedData{Error: strings.Repeat("e", 1000)}), webhook.ErrEventTooLarge},
		"a session id not UTF-8":     {acme, webhook.ExperimentFailed.New("\xff", webhook.ExperimentFailedData{}), webhook.ErrInvalidEvent},
		"a session id too long":      {acme, webhook.ExperimentFailed.New(strings.Repeat("s", 256), webhook.ExperimentFailedData{}), webhook.ErrInvalidEvent},
		"a year that RFC 3339 lacks": {acme, experiment(webhook.WithTime(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))), webhook.ErrInvalidEvent},
		"too much metadata":          {acme, experiment(webhook.WithMetadata(map[string]string{"k": strings.Repeat("v", 4096)})), webhook.ErrInvalidEvent},
		"no event":                   {acme, webhook.Event{}, webhook.ErrUnknownEventType},
		"another type than its body": {acme, twisted, webhook.ErrInvalidEvent},
		"an event without its data":  {acme, forged, webhook.ErrInvalidEvent},
		"no tenant":                  {d, good, webhook.ErrTenantRequired},
		"a tenant not UTF-8":         {d.Tenant("\xff"), good, webhook.ErrInvalidTenant},
		"a tenant's id too long":     {d.Tenant(strings.Repeat("t", 256)), good, webhook.ErrInvalidTenant},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, c.d.Emit(t.Context(), c.event), c.want)
			require.ErrorIs(t, c.d.Emit(t.Context(), experiment(), c.event), c.want, "beside a good one")
		})
	}
	page, err := acme.Deliveries(t.Context(), webhook.DeliveryFilter{})
	require.NoError(t, err)
	require.Empty(t, page.Deliveries)
	require.NoError(t, acme.Emit(t.Context()), "nothing to emit is nothing to do")
	require.NoError(t, acme.Emit(t.Context(), good))
}

func TestEmittingTwiceIsEmittingOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t), nil).run()
		r.endpoint("hook")
		first := r.emit(webhook.WithID("order-1"))
		time.Sleep(time.Minute)
		again := r.emit(webhook.WithID("order-1"))
		require.NotEqual(t, string(first.Body), string(again.Body), "made at another time")
		time.Sleep(time.Minute)
		require.Len(t, r.receiver.Requests(), 1)
		stored, err := r.d.Event(r.ctx, "order-1")
		require.NoError(t, err)
		require.Equal(t, string(first.Body), string(stored.Body), "the first one stands")

		other := webhook.ExperimentCompleted.New("sess_abc123", webhook.ExperimentCompletedData{ExperimentID: "another"}, webhook.WithID("order-1"))
		require.ErrorIs(t, r.d.Emit(r.ctx, other), webhook.ErrConflict)
		require.ErrorIs(t, r.d.Emit(r.ctx, experiment(webhook.WithID("order-2")), other), webhook.ErrConflict)
		_, err = r.d.Event(r.ctx, "order-2")
		require.ErrorIs(t, err, webhook.ErrNotFound, "all or nothing")
		require.NoError(t, r.d.Tenant("acme").Emit(r.ctx, other), "another tenant's ids are its own")
	})
}

func TestEmitIntoATransaction(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.Poll = time.Hour }).run()
		r.endpoint("hook")
		synctest.Wait()
		start := time.Now()
		require.ErrorIs(t, r.d.EmitTo(r.ctx, r.store, webhook.Event{}), webhook.ErrInvalidEvent)
		require.NoError(t, r.d.EmitTo(r.ctx, r.store, experiment()))
		synctest.Wait()
		require.Empty(t, r.receiver.Requests(), "nothing is sent before the commit")
		r.d.Wake(r.ctx)
		require.Equal(t, start, r.receiver.WaitFor(r.ctx, 1)[0].Time)
	})
}

func TestEmitWakesTheLoopAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.Poll = time.Hour }).run()
		for range 10 {
			r.endpoint("hook")
		}
		synctest.Wait()
		start := time.Now()
		r.emit()
		for _, q := range r.receiver.WaitFor(r.ctx, 10) {
			require.Equal(t, start, q.Time)
		}
	})
}

func TestADispatcherThatDoesNotRunEmitsForThoseThatDo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t), nil)
		r.endpoint("hook")
		r.emit()
		time.Sleep(time.Minute)
		require.Empty(t, r.receiver.Requests())

		other := rigOn(t, r.store, r.receiver, nil).run()
		require.Len(t, r.receiver.WaitFor(t.Context(), 1), 1)
		time.Sleep(time.Second)
		require.Equal(t, webhook.DeliverySucceeded, other.only().State)
	})
}

func TestWhatWaitsForAnInactiveEndpointGoesOutWhenItIsActiveAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, failing, ok), func(c *webhook.Config) { c.Poll = time.Hour }).run()
		endpoint := r.endpoint("hook")
		queued := r.emit() // fails once and waits
		time.Sleep(time.Second)
		off, err := r.d.SetEnabled(r.ctx, endpoint.ID, false)
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointDisabled, off.Health.State)
		require.Equal(t, webhook.ReasonByUser, off.Health.Reason)
		r.emit() // missed
		r.emit() // missed
		time.Sleep(time.Hour)
		require.Len(t, r.receiver.Requests(), 1)
		require.Equal(t, webhook.DeliveryPending, r.only().State)

		start := time.Now()
		on, err := r.d.SetEnabled(r.ctx, endpoint.ID, true)
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointActive, on.Health.State)
		got := r.receiver.WaitFor(t.Context(), 2)[1]
		require.Equal(t, queued.ID, got.Header.Get(webhook.HeaderID))
		require.Equal(t, start, got.Time)
		gaps, err := r.d.Gaps(r.ctx, endpoint.ID)
		require.NoError(t, err)
		require.Len(t, gaps, 1)
		require.EqualValues(t, 2, gaps[0].Count)
		require.Equal(t, webhook.GapDisabled, gaps[0].Reason)
		require.True(t, gaps[0].To.Equal(start))
	})
}

func TestADeliveryThatWaitsTooLongExpires(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, failing), func(c *webhook.Config) { c.MaxAge = time.Hour }).run()
		endpoint := r.endpoint("hook")
		r.emit()
		time.Sleep(time.Second)
		_, err := r.d.SetEnabled(r.ctx, endpoint.ID, false)
		require.NoError(t, err)
		time.Sleep(2 * time.Hour)
		d := r.only()
		require.Equal(t, webhook.DeliveryFailed, d.State)
		require.Equal(t, webhook.FailExpired, d.Reason)
		require.Len(t, r.receiver.Requests(), 1)
	})
}

func TestADeletedEndpointFailsWhatWaitsForIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, failing, hanging), nil).run()
		endpoint := r.endpoint("hook")
		r.emit()
		time.Sleep(time.Second)
		r.emit() // under way while the endpoint is deleted
		r.receiver.WaitFor(t.Context(), 2)
		require.NoError(t, r.d.DeleteEndpoint(r.ctx, endpoint.ID))
		time.Sleep(tenMin)

		for i, d := range r.deliveries(webhook.DeliveryFilter{EndpointID: endpoint.ID}) {
			require.Equal(t, webhook.DeliveryFailed, d.State)
			require.Equal(t, webhook.FailEndpointDeleted, d.Reason)
			require.Len(t, d.Attempts, 1, "delivery %d", i)
		}
		require.Len(t, r.receiver.Requests(), 2)
		_, err := r.d.Endpoint(r.ctx, endpoint.ID)
		require.ErrorIs(t, err, webhook.ErrNotFound)
		require.ErrorIs(t, r.d.DeleteEndpoint(r.ctx, endpoint.ID), webhook.ErrNotFound)
	})
}

func TestASecondRunIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t), nil).run()
		synctest.Wait()
		require.ErrorIs(t, r.d.Run(r.ctx), webhook.ErrRunning)
		require.ErrorIs(t, r.d.Tenant("acme").Run(r.ctx), webhook.ErrRunning)
		r.stop()
		gone, cancel := context.WithCancel(r.ctx)
		cancel()
		require.NoError(t, r.d.Run(gone), "after the first has ended")
	})
}

// sabotaged is a store in which single calls fail.
type sabotaged struct {
	webhook.Store
	claim, record atomic.Int64 // how many of the next calls fail
	after         bool         // whether Record has its effect all the same
}

var errAway = errors.New("the database is away")

func (s *sabotaged) Claim(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
	if s.claim.Add(-1) >= 0 {
		return webhook.Claimed{}, errAway
	}
	return s.Store.Claim(ctx, req)
}

func (s *sabotaged) Record(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
	if s.record.Add(-1) < 0 {
		return s.Store.Record(ctx, outcomes)
	}
	if s.after {
		_, _ = s.Store.Record(ctx, outcomes)
	}
	return nil, errAway
}

func TestAStoreThatIsAwayLosesNothing(t *testing.T) {
	for name, after := range map[string]bool{"before its effect": false, "after its effect": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				store := &sabotaged{Store: webhook.NewMemoryStore(nil), after: after}
				r := rigOn(t, store, webhooktest.NewReceiver(t), nil).run()
				r.endpoint("hook")
				synctest.Wait()
				store.claim.Store(3)
				store.record.Store(4)
				r.emit()
				r.emit()
				time.Sleep(tenMin)
				for _, d := range r.deliveries(webhook.DeliveryFilter{}) {
					require.Equal(t, webhook.DeliverySucceeded, d.State)
					require.Len(t, d.Attempts, 1)
				}
				require.Len(t, r.receiver.Requests(), 2)
			})
		})
	}
}

func TestAnOutcomeThatCannotBeRecordedIsSentAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &sabotaged{Store: webhook.NewMemoryStore(nil)}
		r := rigOn(t, store, webhooktest.NewReceiver(t), nil).run()
		r.endpoint("hook")
		store.record.Store(math.MaxInt64)
		r.emit()
		time.Sleep(20 * time.Second)
		store.record.Store(0)
		time.Sleep(tenMin)
		d := r.only()
		require.Equal(t, webhook.DeliverySucceeded, d.State)
		require.Equal(t, []webhook.AttemptResult{webhook.AttemptInterrupted, webhook.AttemptDelivered}, results(d))
		require.Equal(t, webhook.ErrorOwnerLost, d.Attempts[0].Error)
		require.Len(t, r.receiver.Requests(), 2)
	})
}

// picky is a store that cannot keep one event's outcomes.
type picky struct {
	webhook.Store
	event string
}

func (p *picky) Record(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
	for _, o := range outcomes {
		d, err := p.Delivery(ctx, o.Tenant, o.DeliveryID)
		if err != nil || d.EventID == p.event {
			return nil, errAway
		}
	}
	return p.Store.Record(ctx, outcomes)
}

func TestAnOutcomeThatCannotBeRecordedKeepsNoOtherFromIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &picky{Store: webhook.NewMemoryStore(nil), event: "poison"}
		r := rigOn(t, store, webhooktest.NewReceiver(t, webhooktest.Answer{Delay: time.Second}), nil).run()
		for i := range 10 {
			r.endpoint(fmt.Sprint("hook", i), "experiment.completed")
		}
		e := r.endpoint("poisoned", "plan.completed")
		require.NoError(t, r.d.Emit(r.ctx, webhook.PlanCompleted.New("", webhook.PlanCompletedData{}, webhook.WithID("poison"))))
		r.emit() // their outcomes come together
		time.Sleep(5 * time.Second)
		for _, d := range r.deliveries(webhook.DeliveryFilter{EventType: "experiment.completed"}) {
			require.Equal(t, webhook.DeliverySucceeded, d.State)
		}
		require.Equal(t, webhook.DeliveryLeased, r.deliveries(webhook.DeliveryFilter{EndpointID: e.ID})[0].State)
	})
}

func TestEmitTakesSoManyEventsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, webhooktest.NewReceiver(t), nil)
	many := make([]webhook.Event, webhook.MaxEventsPerEmit+1)
	for i := range many {
		many[i] = experiment()
	}
	err := r.d.Emit(r.ctx, many...)
	require.ErrorIs(t, err, webhook.ErrTooManyEvents)
	require.ErrorIs(t, err, webhook.ErrInvalidEvent)
	require.ErrorIs(t, r.d.EmitTo(r.ctx, r.store, many...), webhook.ErrTooManyEvents)
	_, err = r.d.Event(r.ctx, many[0].ID)
	require.ErrorIs(t, err, webhook.ErrNotFound)
	require.NoError(t, r.d.Emit(r.ctx, many[1:]...))
}

// lazy is a store whose Enqueue takes its time.
type lazy struct {
	webhook.Store
	delay atomic.Int64
}

func (l *lazy) Enqueue(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
	time.Sleep(time.Duration(l.delay.Load()))
	return l.Store.Enqueue(ctx, req)
}

func TestSlotsThatEmitDidNotNeedAreUsedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &lazy{Store: webhook.NewMemoryStore(nil)}
		r := rigOn(t, store, webhooktest.NewReceiver(t, failing, ok), func(c *webhook.Config) { c.Slots, c.Poll = 4, time.Hour }).run()
		r.endpoint("hook", "experiment.completed")
		r.emit()
		start := time.Now()
		time.Sleep(9 * time.Second)
		store.delay.Store(int64(2 * time.Second)) // over the moment at which the retry falls due
		require.NoError(t, r.d.Emit(r.ctx, webhook.PlanCompleted.New("", webhook.PlanCompletedData{})))
		require.Equal(t, 11*time.Second, r.receiver.WaitFor(t.Context(), 2)[1].Time.Sub(start))
	})
}

func mustInt(t *testing.T, s string) int64 {
	t.Helper()
	var n json.Number = json.Number(s)
	v, err := n.Int64()
	require.NoError(t, err)
	return v
}
