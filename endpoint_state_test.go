package webhook_test

import (
	"strings"
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

func TestSwitchingOnWhatIsOnChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, ok, ok, failing), nil)
		e := r.endpoint("hook")
		for range 3 {
			_, err := r.d.Ping(r.ctx, e.ID)
			require.NoError(t, err)
		}
		before, err := r.d.Endpoint(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, 1, before.Health.Failures)
		require.Equal(t, 4, before.Health.Window)
		time.Sleep(time.Hour)
		after, err := r.d.SetEnabled(r.ctx, e.ID, true)
		require.NoError(t, err)
		require.Equal(t, before.Health, after.Health)

		_, err = r.d.SetEnabled(r.ctx, e.ID, false)
		require.NoError(t, err)
		after, err = r.d.SetEnabled(r.ctx, e.ID, true)
		require.NoError(t, err)
		require.Zero(t, after.Health.Failures, "what was off begins anew")
		require.Equal(t, 1, after.Health.Window)
	})
}

func TestARotationWithoutOverlapKeepsNothingOfTheOldSecret(t *testing.T) {
	t.Parallel()
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), &webhook.Config{Logger: quiet})
	require.NoError(t, err)
	e, _, err := d.AddEndpoint(t.Context(), webhook.Endpoint{URL: "https://example.com/", Events: []string{"*"}, Secret: secretA}, webhook.WithoutPing())
	require.NoError(t, err)
	after, err := d.RotateSecret(t.Context(), e.ID, secretB, 0)
	require.NoError(t, err)
	require.Len(t, after.Secrets, 1)
	require.NotEqual(t, e.Secrets[0].ID, after.Secrets[0].ID)
}

func TestWhatADescriptionAndSubscriptionsMayBe(t *testing.T) {
	t.Parallel()
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), &webhook.Config{Logger: quiet})
	require.NoError(t, err)
	for _, c := range []struct {
		description string
		events      []string
		want        string
	}{
		{strings.Repeat("d", 1024), []string{"*"}, ""},
		{strings.Repeat("d", 1025), []string{"*"}, "description: must be valid UTF-8"},
		{"\xff", []string{"*"}, "description: must be valid UTF-8"},
		{"a\x00b", []string{"*"}, "without U+0000"},
		{"", []string{"plan.completed", "*"}, `"*" must stand alone`},
		{"", []string{"plan.complete"}, `there is no event type "plan.complete"`},
		{"", []string{"plan.completed", "plan.completed"}, `"plan.completed" is named twice`},
	} {
		_, _, err := d.AddEndpoint(t.Context(), webhook.Endpoint{URL: "https://example.com/", Events: c.events, Description: c.description}, webhook.WithoutPing())
		if c.want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, webhook.ErrInvalidEndpoint)
		require.ErrorContains(t, err, c.want)
	}
}
