package webhook_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// TestSwitchingOffIsTheOwnersWord also where the endpoint is disabled already, for a reason that a new URL would lift.
func TestSwitchingOffIsTheOwnersWord(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, webhooktest.Answer{Status: 410}), nil)
		e := r.endpoint("hook")
		_, err := r.d.Ping(r.ctx, e.ID)
		require.NoError(t, err)
		gone, err := r.d.Endpoint(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.ReasonGone, gone.Health.Reason)

		time.Sleep(time.Hour)
		off, err := r.d.SetEnabled(r.ctx, e.ID, false)
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointDisabled, off.Health.State)
		require.Equal(t, webhook.ReasonByUser, off.Health.Reason)
		require.Equal(t, time.Hour, off.Health.Since.Sub(gone.Health.Since))

		time.Sleep(time.Hour)
		again, err := r.d.SetEnabled(r.ctx, e.ID, false)
		require.NoError(t, err)
		require.Equal(t, off.Health, again.Health, "nothing new")
	})
}
