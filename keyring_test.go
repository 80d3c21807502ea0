package webhook_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// TestAnIDThatIsUsedAgainIsAnotherEndpoint: its versions begin at 1 again, as those of the deleted one did. A new store
// behind the same dispatcher stands for one that has forgotten the deleted one.
func TestAnIDThatIsUsedAgainIsAnotherEndpoint(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &struct{ webhook.Store }{}
		store.Store = webhook.NewMemoryStore(nil)
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
