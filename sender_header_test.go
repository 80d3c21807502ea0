package webhook_test

import (
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// lingering is a transport that is not done with a request's header when it answers, as net/http's is not where a peer
// answers before the request is written.
type lingering struct {
	begun sync.WaitGroup
	late  sync.WaitGroup
	stop  chan struct{}
}

func (l *lingering) RoundTrip(req *http.Request) (*http.Response, error) {
	l.begun.Add(1)
	l.late.Go(func() {
		req.Header.Set("X-Late", "0")
		l.begun.Done()
		for {
			select {
			case <-l.stop:
				return
			default:
				req.Header.Set("X-Late", req.Header.Get("X-Late"))
			}
		}
	})
	l.begun.Wait()
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody}, nil
}

// TestARequestsHeaderIsTheTransports shows as a race where the sender, or what it logs, shares the map with the
// transport.
func TestARequestsHeaderIsTheTransports(t *testing.T) {
	t.Parallel()
	for name, secret := range map[string]webhook.Secret{"signed": secretA, "unsigned": {}} {
		transport := &lingering{stop: make(chan struct{})}
		d, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), &webhook.Config{UnguardedTransport: transport, Logger: quiet})
		require.NoError(t, err)
		_, ping, err := d.AddEndpoint(t.Context(), webhook.Endpoint{URL: "https://example.com/", Events: []string{"*"}, Secret: secret})
		require.NoError(t, err)
		logged := ping.Attempts[0].RequestHeader
		require.Equal(t, ping.ID, logged.Get(webhook.HeaderDelivery), name)
		require.Equal(t, ping.EventID, logged.Get(webhook.HeaderID), name)
		for _, absent := range []string{webhook.HeaderSignature, webhook.HeaderStandardSignature, "X-Late"} {
			require.Empty(t, logged.Values(absent), name)
		}
		require.Equal(t, secret.IsZero(), ping.Attempts[0].SecretID == "", name)
		close(transport.stop)
		transport.late.Wait()
	}
}
