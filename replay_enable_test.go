package webhook_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// TestSwitchingOnReplays misses events twice, and asks for those of the second time.
func TestSwitchingOnReplays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		receiver := webhooktest.NewReceiver(t)
		r := newRig(t, receiver, nil).run()
		e, other := r.endpoint("hook"), r.endpoint("other", webhook.PlanCompleted.Name())
		r.miss(e, 5, day)
		r.enable(e, false)
		off, err := r.d.Endpoint(r.ctx, e.ID)
		require.NoError(t, err)
		missed := map[string]int{}
		for range 5 {
			time.Sleep(time.Hour)
			missed[r.emit().ID] = 1
		}
		time.Sleep(time.Millisecond) // a replay looks at what was stored before it

		option := webhook.WithReplay(webhook.Replay{Missed: true, Since: off.Health.Since, AskedBy: "ada"})
		on, err := r.d.SetEnabled(r.ctx, e.ID, true, option)
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointActive, on.Health.State)
		time.Sleep(time.Minute)
		require.Equal(t, missed, requests(receiver))
		replay := r.replayOf(e)
		require.Equal(t, webhook.ReplayDone, replay.State)
		require.Equal(t, "ada", replay.AskedBy)
		require.EqualValues(t, 5, replay.Queued)

		_, err = r.d.SetEnabled(r.ctx, other.ID, true, option)
		require.NoError(t, err, "the option is for whichever endpoint it is given to")
		require.Equal(t, other.ID, r.replayOf(other).EndpointID)
	})
}

func TestSwitchingOnWithAReplayThatIsNone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t), nil)
		e := r.endpoint("hook")
		r.enable(e, false)
		for name, ask := range map[string]webhook.Replay{
			"asks for nothing": {},
			"ends before":      {Missed: true, Since: time.Now(), Until: time.Now().Add(-time.Hour)},
			"asked by no text": {Missed: true, AskedBy: "\xff"},
			"asked by U+0000":  {Missed: true, AskedBy: "a\x00"},
		} {
			_, err := r.d.SetEnabled(r.ctx, e.ID, true, webhook.WithReplay(ask))
			require.ErrorIs(t, err, webhook.ErrInvalidEndpoint, name)
		}
		off, err := r.d.Endpoint(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointDisabled, off.Health.State, "refused before anything is changed")

		r.enable(e, true)
		_, err = r.d.SetEnabled(r.ctx, e.ID, false, webhook.WithReplay(webhook.Replay{Missed: true}))
		require.ErrorIs(t, err, webhook.ErrInvalidEndpoint)
		on, err := r.d.Endpoint(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointActive, on.Health.State)
	})
}

// TestSwitchingOnWhileAReplayRuns switches on all the same, and says so.
func TestSwitchingOnWhileAReplayRuns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t), nil) // nobody takes its steps
		e := r.endpoint("hook")
		r.replay(webhook.Replay{EndpointID: e.ID, Missed: true})
		r.enable(e, false)
		on, err := r.d.SetEnabled(r.ctx, e.ID, true, webhook.WithReplay(webhook.Replay{Missed: true}))
		require.ErrorIs(t, err, webhook.ErrReplayRunning)
		require.Equal(t, webhook.EndpointActive, on.Health.State)
	})
}
