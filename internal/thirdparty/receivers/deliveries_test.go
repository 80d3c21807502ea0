package receivers

import (
	"log/slog"
	"net/http"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// The requests of the other tests are made by hand. These are sent by the library, over sockets, with its guard opened
// for this machine.
func TestReceiversTakeDeliveries(t *testing.T) {
	t.Parallel()
	for _, p := range programs {
		for _, scheme := range []string{"meshia", "standard"} {
			t.Run(p.name+"/"+scheme, func(t *testing.T) {
				t.Parallel()
				find(t, p.required, p.probe...)
				secret, next := webhook.NewSecret(typed), webhook.GenerateSecret()
				addr := p.start(t, "WEBHOOK_SCHEME="+scheme, "WEBHOOK_SECRET="+next.Reveal(), "WEBHOOK_PREVIOUS_SECRET="+secret.Reveal())

				d, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), &webhook.Config{
					InsecureHTTP: true, AllowAnyPort: true, AllowPrefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
					Logger: slog.New(slog.DiscardHandler),
				})
				require.NoError(t, err)
				add := func(secret webhook.Secret) (webhook.Endpoint, webhook.Delivery) {
					e, ping, err := d.AddEndpoint(t.Context(), webhook.Endpoint{URL: "http://" + addr + "/hooks", Events: []string{webhook.AllEvents}, Secret: secret})
					require.NoError(t, err)
					require.Len(t, ping.Attempts, 1)
					return e, ping
				}
				requireTaken := func(e webhook.Endpoint) {
					for _, event := range events(t) {
						got, err := d.SendTest(t.Context(), e.ID, event)
						require.NoError(t, err)
						require.Equal(t, webhook.DeliverySucceeded, got.State, "%s: %+v", event.Type, got.Attempts)
						require.Equal(t, http.StatusNoContent, got.Attempts[0].Status)
					}
				}

				e, ping := add(secret)
				require.Equal(t, http.StatusNoContent, ping.Attempts[0].Status, "the ping")
				require.Equal(t, webhook.EndpointActive, e.Health.State)
				requireTaken(e)

				_, err = d.RotateSecret(t.Context(), e.ID, next, webhook.DefaultOverlap)
				require.NoError(t, err)
				requireTaken(e)
				_, err = d.FinishRotation(t.Context(), e.ID)
				require.NoError(t, err)
				requireTaken(e)

				for _, wrong := range []webhook.Secret{webhook.NewSecret(foreign), {}} {
					e, ping := add(wrong)
					require.Equal(t, http.StatusUnauthorized, ping.Attempts[0].Status)
					require.Equal(t, webhook.EndpointPending, e.Health.State)
				}
			})
		}
	}
}

// events are an event of each documented type.
func events(t *testing.T) []webhook.Event {
	t.Helper()
	var list []webhook.Event
	for _, typ := range webhook.DefaultRegistry().Types() {
		e, err := webhook.DefaultRegistry().Event(typ.Name(), "sess_abc123", typ.Example())
		require.NoError(t, err)
		list = append(list, e)
	}
	require.Len(t, list, 8)
	return list
}
