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

const day = 24 * time.Hour

// replay asks for one, and fails where it is refused.
func (r *rig) replay(ask webhook.Replay) webhook.Replay {
	r.t.Helper()
	got, err := r.d.Replay(r.ctx, ask)
	require.NoError(r.t, err)
	return got
}

// replayOf reads the endpoint's last replay.
func (r *rig) replayOf(e webhook.Endpoint) webhook.Replay {
	r.t.Helper()
	list, err := r.d.Replays(r.ctx, e.ID)
	require.NoError(r.t, err)
	require.NotEmpty(r.t, list)
	return list[0]
}

func (r *rig) enable(e webhook.Endpoint, enabled bool) {
	r.t.Helper()
	_, err := r.d.SetEnabled(r.ctx, e.ID, enabled)
	require.NoError(r.t, err)
}

func (r *rig) pending(e webhook.Endpoint) int64 {
	r.t.Helper()
	stats, err := r.d.Stats(r.ctx, e.ID, time.Now())
	require.NoError(r.t, err)
	return stats.Pending
}

// miss switches the endpoint off for a while in which n events are emitted.
func (r *rig) miss(e webhook.Endpoint, n int, d time.Duration) {
	r.t.Helper()
	r.enable(e, false)
	for range n {
		time.Sleep(d / time.Duration(n))
		r.emit()
	}
	r.enable(e, true)
	time.Sleep(time.Millisecond)
}

// requests counts what the receiver got of each event.
func requests(receiver *webhooktest.Receiver) map[string]int {
	got := map[string]int{}
	for _, req := range receiver.Requests() {
		got[req.Header.Get("webhook-id")]++
	}
	return got
}

// TestAnEndpointGetsWhatItMissed switches one off for a day.
func TestAnEndpointGetsWhatItMissed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const n = 1000
		receiver := webhooktest.NewReceiver(t, webhooktest.Answer{Delay: 20 * time.Millisecond})
		r := newRig(t, receiver, nil).run()
		e := r.endpoint("hook")
		before := r.emit()
		time.Sleep(time.Second)
		r.miss(e, n, day)
		require.Len(t, receiver.Requests(), 1)

		asked := r.replay(webhook.Replay{EndpointID: e.ID, Missed: true, AskedBy: "ops@example.com"})
		require.True(t, strings.HasPrefix(asked.ID, "rpl_"), asked.ID)
		require.Equal(t, webhook.ReplayRunning, asked.State)
		require.Equal(t, time.Now().UTC(), asked.Until)
		began := time.Now()
		var most int64
		news := map[string]time.Time{} // emitted while the replay runs
		for i := 0; r.replayOf(e).State == webhook.ReplayRunning; i++ {
			if i%100 == 50 {
				news[r.emit().ID] = time.Now()
			}
			time.Sleep(10 * time.Millisecond)
			most = max(most, r.pending(e))
			require.Less(t, time.Since(began), time.Minute)
		}
		require.Greater(t, most, int64(50))
		require.LessOrEqual(t, most, int64(101), "a hundred, and what is new")
		require.Greater(t, len(news), 5)
		time.Sleep(2 * time.Second)

		got := requests(receiver)
		require.Len(t, got, 1+n+len(news))
		for id, times := range got {
			require.Equal(t, 1, times, id)
		}
		for _, req := range receiver.Requests() {
			if emitted, is := news[req.Header.Get("webhook-id")]; is {
				require.LessOrEqual(t, req.Time.Sub(emitted), time.Second, "a new event waits behind the old ones")
			}
		}
		redelivered := 0
		for _, d := range r.deliveries(webhook.DeliveryFilter{}) {
			require.Equal(t, webhook.DeliverySucceeded, d.State)
			if d.Kind == webhook.KindRedelivery {
				redelivered++
				require.Equal(t, "ops@example.com", d.AskedBy)
			}
			require.False(t, d.EventID == before.ID && d.Kind != webhook.KindEvent)
		}
		require.Equal(t, n, redelivered)
		done := r.replayOf(e)
		require.Equal(t, webhook.ReplayDone, done.State)
		require.EqualValues(t, n, done.Queued)
		require.EqualValues(t, n+1, done.Looked)
		require.False(t, done.FinishedAt.IsZero())
	})
}

func TestWhatFailedIsSentAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		receiver := webhooktest.NewReceiver(t)
		receiver.Script("/hook", failing)
		r := newRig(t, receiver, nil).run()
		e := r.endpoint("hook")
		exhausted := r.emit()
		time.Sleep(tenMin)
		old := r.only()
		require.Equal(t, webhook.FailExhausted, old.Reason)
		retried := r.emit()
		time.Sleep(time.Second) // its first attempt has failed
		retry := r.deliveries(webhook.DeliveryFilter{EventID: retried.ID})[0]
		require.Equal(t, webhook.DeliveryPending, retry.State)

		receiver.Script("/hook", ok)
		r.replay(webhook.Replay{EndpointID: e.ID, Failed: true, AskedBy: "ops"})
		time.Sleep(time.Second)
		require.Equal(t, webhook.ReplayDone, r.replayOf(e).State)
		again := r.deliveries(webhook.DeliveryFilter{EventID: exhausted.ID})
		require.Len(t, again, 2)
		require.Equal(t, webhook.DeliverySucceeded, again[1].State)
		require.Equal(t, old.ID, again[1].RedeliveryOf)
		require.Equal(t, "ops", again[1].AskedBy)
		require.Equal(t, webhook.DeliveryFailed, again[0].State)
		require.Equal(t, []webhook.Delivery{retry}, r.deliveries(webhook.DeliveryFilter{EventID: retried.ID}), "a retry under way is not disturbed")
		time.Sleep(tenMin)
		require.Equal(t, webhook.DeliverySucceeded, r.deliveries(webhook.DeliveryFilter{EventID: retried.ID})[0].State)
	})
}

func TestAReplayIsStopped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		receiver := webhooktest.NewReceiver(t, webhooktest.Answer{Delay: 100 * time.Millisecond})
		r := newRig(t, receiver, nil).run()
		e := r.endpoint("hook")
		r.miss(e, 500, time.Hour)
		asked := r.replay(webhook.Replay{EndpointID: e.ID, Missed: true})
		time.Sleep(time.Second)
		stopped, err := r.d.StopReplay(r.ctx, asked.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.ReplayStopped, stopped.State)
		time.Sleep(time.Minute)
		require.Len(t, receiver.Requests(), int(stopped.Queued), "what it has queued is sent, and nothing else")
		require.Less(t, stopped.Queued, int64(250))
		require.Equal(t, stopped, r.replayOf(e))
		again, err := r.d.StopReplay(r.ctx, asked.ID)
		require.NoError(t, err)
		require.Equal(t, stopped, again)
		_, err = r.d.StopReplay(r.ctx, "rpl_unknown")
		require.ErrorIs(t, err, webhook.ErrNotFound)

		r.replay(webhook.Replay{EndpointID: e.ID, Missed: true})
		time.Sleep(time.Minute)
		require.Len(t, receiver.Requests(), 500, "another one sends the rest")
	})
}

func TestAReplaySurvivesItsDispatcher(t *testing.T) {
	bubble(t, func(t *testing.T) {
		receiver := webhooktest.NewReceiver(t, webhooktest.Answer{Delay: 100 * time.Millisecond})
		first := newRig(t, receiver, nil).run()
		e := first.endpoint("hook")
		first.miss(e, 300, time.Hour)
		first.replay(webhook.Replay{EndpointID: e.ID, Missed: true})
		time.Sleep(2 * time.Second)
		first.stop()
		left := first.replayOf(e)
		require.Equal(t, webhook.ReplayRunning, left.State)
		require.Positive(t, left.Queued)
		time.Sleep(time.Hour)
		require.Equal(t, left, first.replayOf(e))

		second := rigOn(t, first.store, receiver, nil).run()
		time.Sleep(time.Minute)
		require.Equal(t, webhook.ReplayDone, second.replayOf(e).State)
		got := requests(receiver)
		require.Len(t, got, 300)
		require.Len(t, receiver.Requests(), 300)
	})
}

// TestAReplayIsFoundElsewhere asks a dispatcher that does not run.
func TestAReplayIsFoundElsewhere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t), nil).run()
		e := r.endpoint("hook")
		r.miss(e, 3, time.Hour)
		asking := rigOn(t, r.store, r.receiver, nil)
		asking.replay(webhook.Replay{EndpointID: e.ID, Missed: true})
		time.Sleep(10*time.Second + time.Millisecond)
		require.Len(t, r.receiver.Requests(), 3)
	})
}

func TestAReplayWaitsForItsEndpoint(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t), nil).run()
		e := r.endpoint("hook")
		r.miss(e, 3, time.Hour)
		r.enable(e, false)
		r.replay(webhook.Replay{EndpointID: e.ID, Missed: true})
		time.Sleep(time.Hour)
		require.Empty(t, r.receiver.Requests())
		require.Equal(t, webhook.ReplayRunning, r.replayOf(e).State)
		r.enable(e, true)
		time.Sleep(time.Second + time.Millisecond)
		require.Len(t, r.receiver.Requests(), 3)
		require.Equal(t, webhook.ReplayDone, r.replayOf(e).State)
	})
}

// A bound on the backlog that is lower than what a replay may queue holds all the same.
func TestAReplayOpensNoGap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		receiver := webhooktest.NewReceiver(t, webhooktest.Answer{Delay: 100 * time.Millisecond})
		r := newRig(t, receiver, func(c *webhook.Config) { c.MaxPending = 20 }).run()
		e := r.endpoint("hook")
		r.miss(e, 200, time.Hour)
		r.replay(webhook.Replay{EndpointID: e.ID, Missed: true})
		for range 100 {
			r.emit()
			time.Sleep(time.Second)
			require.Less(t, r.pending(e), int64(20))
		}
		require.Len(t, receiver.Requests(), 300)
		gaps, err := r.d.Gaps(r.ctx, e.ID)
		require.NoError(t, err)
		require.Len(t, gaps, 1)
	})
}

// stumbling is a store whose replays do not go on.
type stumbling struct {
	webhook.Store
	down  atomic.Bool
	steps atomic.Int64
}

func (s *stumbling) ContinueReplay(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
	s.steps.Add(1)
	if s.down.Load() {
		return webhook.ReplayStepped{}, errAway
	}
	return s.Store.ContinueReplay(ctx, req)
}

func TestAReplayGoesOnWhenTheStoreIsBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var book logbook
		store := &stumbling{Store: webhook.NewMemoryStore(nil)}
		store.down.Store(true)
		r := rigOn(t, store, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.Logger = book.logger() }).run()
		e := r.endpoint("hook")
		r.miss(e, 3, time.Hour)
		r.replay(webhook.Replay{EndpointID: e.ID, Missed: true})
		time.Sleep(time.Minute)
		require.NotEmpty(t, book.lines("a replay could not go on"))
		store.down.Store(false)
		time.Sleep(10*time.Second + time.Millisecond)
		require.Len(t, r.receiver.Requests(), 3)
	})
}

// silentReplays is a store that is asked for a step and does not answer.
type silentReplays struct{ webhook.Store }

func (silentReplays) ContinueReplay(ctx context.Context, _ webhook.ReplayStep) (webhook.ReplayStepped, error) {
	<-ctx.Done()
	return webhook.ReplayStepped{}, ctx.Err()
}

func TestStoppingAReplayIsNoTrouble(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var book logbook
		r := rigOn(t, silentReplays{webhook.NewMemoryStore(nil)}, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.Logger = book.logger() }).run()
		time.Sleep(10 * time.Second) // while it waits for the first answer
		r.stop()
		require.Empty(t, book.lines("replay"))
	})
}

func TestRunSeldomLooksForReplays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &stumbling{Store: webhook.NewMemoryStore(nil)}
		r := rigOn(t, store, webhooktest.NewReceiver(t), nil).run()
		time.Sleep(time.Hour)
		require.LessOrEqual(t, store.steps.Load(), int64(361))
		e := r.endpoint("hook")
		r.enable(e, false)
		before := store.steps.Load()
		r.replay(webhook.Replay{EndpointID: e.ID, Missed: true})
		synctest.Wait()
		require.Equal(t, before+1, store.steps.Load(), "it is looked for at once")
		time.Sleep(time.Hour)
		require.InDelta(t, before+3600, store.steps.Load(), 5, "one that waits is looked at each second")
	})
}

func TestReplaysThatAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t), nil)
		e := r.endpoint("hook")
		now := time.Now()
		for name, ask := range map[string]webhook.Replay{
			"nothing":          {},
			"an end before it": {Failed: true, Since: now, Until: now.Add(-time.Second)},
			"no time at all":   {Failed: true, Since: now, Until: now},
			"a long name":      {Missed: true, AskedBy: strings.Repeat("a", 256)},
			"no text":          {Missed: true, AskedBy: "a\xff"},
			"U+0000":           {Missed: true, AskedBy: "a\x00"},
		} {
			ask.EndpointID = e.ID
			_, err := r.d.Replay(r.ctx, ask)
			require.ErrorIs(t, err, webhook.ErrInvalidEndpoint, name)
			var field *webhook.FieldError
			require.ErrorAs(t, err, &field, name)
			require.Equal(t, map[bool]string{true: "replay", false: "asked_by"}[ask.AskedBy == ""], field.Field, name)
		}
		_, err := r.d.Replay(r.ctx, webhook.Replay{EndpointID: e.ID, AskedBy: "a\xff", Since: now, Until: now})
		require.ErrorContains(t, err, "must ask for")
		require.ErrorContains(t, err, "must end after")
		require.ErrorContains(t, err, "UTF-8")
		list, err := r.d.Replays(r.ctx, e.ID)
		require.NoError(t, err)
		require.Empty(t, list)
		_, err = r.d.RedeliverEvent(r.ctx, "evt_1", strings.Repeat("a", 256))
		var field *webhook.FieldError
		require.ErrorAs(t, err, &field)
		require.Equal(t, "asked_by", field.Field)
		_, err = r.d.Redeliver(r.ctx, "dlv_1", webhook.AskedBy("a\x00"))
		require.ErrorIs(t, err, webhook.ErrInvalidEndpoint)

		_, err = r.d.Replay(r.ctx, webhook.Replay{EndpointID: "we_unknown", Failed: true})
		require.ErrorIs(t, err, webhook.ErrNotFound)
		ask := webhook.Replay{EndpointID: e.ID, Failed: true, Since: now.Add(-time.Hour), Until: now, AskedBy: strings.Repeat("a", 255)}
		got := r.replay(ask)
		require.Equal(t, ask.Since.UTC(), got.Since)
		require.Equal(t, ask.Until.UTC(), got.Until)
		require.False(t, got.Missed)
		_, err = r.d.Replay(r.ctx, ask)
		require.ErrorIs(t, err, webhook.ErrReplayRunning)
		for _, stranger := range []*webhook.Dispatcher{r.d.Tenant("other")} {
			_, err = stranger.Replay(r.ctx, ask)
			require.ErrorIs(t, err, webhook.ErrNotFound)
			_, err = stranger.StopReplay(r.ctx, got.ID)
			require.ErrorIs(t, err, webhook.ErrNotFound)
			list, err := stranger.Replays(r.ctx, e.ID)
			require.NoError(t, err)
			require.Empty(t, list)
		}
	})
}
