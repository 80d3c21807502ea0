package webhook_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/netguard"
	"github.com/meshia/webhook/webhooktest"
)

// TestAnIDThatIsUsedAgainIsAnotherEndpoint: its versions begin at 1 again, as those of the deleted one did. A new
// store behind the same dispatcher stands for one that has forgotten the deleted one.
func TestAnIDThatIsUsedAgainIsAnotherEndpoint(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &struct{ webhook.Store }{}
		r := rigOn(t, store, webhooktest.NewReceiver(t), nil)
		for _, e := range []webhook.Endpoint{
			{ID: "we_1", URL: "https://example.com/first", Events: []string{"*"}, Secret: secretA},
			{ID: "we_1", URL: "https://example.com/second", Events: []string{"*"}, Secret: secretB},
		} {
			store.Store = webhook.NewMemoryStore(nil)
			time.Sleep(time.Second)
			stored, ping, err := r.d.AddEndpoint(r.ctx, e)
			require.NoError(t, err)
			require.EqualValues(t, 1, stored.Version)
			require.Equal(t, stored.Secrets[0].ID, ping.Attempts[0].SecretID)
			got := r.receiver.Requests()
			q := got[len(got)-1]
			require.Equal(t, e.URL, q.URL)
			require.NoError(t, webhook.Verify(q.Body, q.Header.Get(webhook.HeaderSignature), e.Secret.Reveal()))
		}
	})
}

func TestTheKeysOfSoManyEndpointsAreKept(t *testing.T) {
	t.Parallel()
	guard, err := netguard.New(nil)
	require.NoError(t, err)
	var k webhook.Keyring
	hold := func(i, version int) int {
		n, err := k.Hold(guard, &webhook.Endpoint{ID: "we_" + strconv.Itoa(i), URL: "https://example.com/", Version: int64(version)})
		require.NoError(t, err)
		return n
	}
	for i := range webhook.KeyringSize {
		require.Equal(t, i+1, hold(i, 1))
	}
	for i := range 5 {
		require.Equal(t, webhook.KeyringSize, hold(i, 2), "one that is there takes no other's place")
	}
	require.Equal(t, webhook.KeyringSize, hold(webhook.KeyringSize, 1))
}

func TestASecretThatIsStoredBrokenIsNotGuessedAt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t), nil)
		e, err := r.store.CreateEndpoint(r.ctx, webhook.Endpoint{
			ID: "we_1", URL: "https://example.com/", Events: []string{"*"}, Health: webhook.Health{State: webhook.EndpointActive},
			Secrets: []webhook.StoredSecret{{ID: "sec_1", Sealed: []byte("\x00whsec_hunter2!")}},
		}, 1)
		require.NoError(t, err)
		d, err := r.d.Ping(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.ErrorInternal, d.Attempts[0].Error)
		require.Contains(t, d.Attempts[0].Detail, "the endpoint cannot be used as it was saved")
		require.NotContains(t, d.Attempts[0].Detail, "hunter2")
		require.Empty(t, r.receiver.Requests())
	})
}
