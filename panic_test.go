package webhook_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// explosive is a sealer that panics with what it was to open.
type explosive struct{ webhook.Sealer }

func (explosive) Open(_ context.Context, _ webhook.EndpointRef, sealed []byte) ([]byte, error) {
	panic("hunter2: " + string(sealed))
}

// A sealer that panics does not open: its endpoints are left alone, and others go on.
func TestASealerThatPanicsEndsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var book logbook
		r := newRig(t, webhooktest.NewReceiver(t), func(c *webhook.Config) {
			c.Sealer, c.Slots, c.Logger = explosive{sealer(t, sealingKey("k"))}, 1, book.logger()
		}).run()
		bad := r.endpoint("bad")
		good, _, err := r.d.AddEndpoint(r.ctx, webhook.Endpoint{URL: "https://example.com/good", Events: []string{webhook.AllEvents}}, webhook.WithoutPing())
		require.NoError(t, err)
		for range 5 {
			r.emit()
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Second) // what is tried each minute was tried
		require.Len(t, r.deliveries(webhook.DeliveryFilter{EndpointID: good.ID, State: webhook.DeliverySucceeded}), 5)
		for _, d := range r.deliveries(webhook.DeliveryFilter{EndpointID: bad.ID}) {
			require.Equal(t, webhook.DeliveryPending, d.State)
			require.Zero(t, d.AttemptCount)
		}
		_, err = r.d.RevealSecret(r.ctx, bad.ID)
		require.ErrorContains(t, err, "the sealer panicked")
		require.NotEmpty(t, book.lines("the sealer panicked"))
		require.Empty(t, book.lines("hunter2"))
	})
}

// burning is a log handler that panics, when it is asked or when it is to write.
type burning struct {
	slog.Handler
	asked bool
}

func (b burning) Enabled(context.Context, slog.Level) bool {
	if b.asked {
		panic("no level")
	}
	return true
}

func (burning) Handle(context.Context, slog.Record) error { panic("no disk") }

// A log handler that panics costs its lines and nothing else.
func TestALogHandlerThatPanicsEndsNothing(t *testing.T) {
	for name, asked := range map[string]bool{"asked": true, "writing": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				receiver := webhooktest.NewReceiver(t)
				receiver.Script("/bad", failing)
				r := newRig(t, receiver, func(c *webhook.Config) {
					c.Logger, c.Slots = slog.New(burning{slog.DiscardHandler, asked}), 1
				}).run()
				bad, good := r.endpoint("bad"), r.endpoint("good")
				for range 20 {
					r.emit()
				}
				time.Sleep(tenMin)
				require.Len(t, r.deliveries(webhook.DeliveryFilter{EndpointID: good.ID, State: webhook.DeliverySucceeded}), 20)
				e, err := r.d.Endpoint(r.ctx, bad.ID)
				require.NoError(t, err)
				require.Equal(t, webhook.EndpointPaused, e.Health.State, "what was tried was recorded")
			})
		})
	}
}
