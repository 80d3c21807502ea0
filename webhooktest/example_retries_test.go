package webhooktest_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// Three days of retries in no time: in a bubble the dispatcher's clock, the store's and the receiver's all move on as
// soon as there is nothing else to do.
func Example_retries() {
	inTest(func(t *testing.T, out io.Writer) { // func TestRetries(t *testing.T)
		synctest.Test(t, func(t *testing.T) {
			receiver := webhooktest.NewReceiver(t,
				webhooktest.Answer{Status: 503},
				webhooktest.Answer{Fault: webhooktest.Hang},
				webhooktest.Answer{Fault: webhooktest.Reset},
				webhooktest.Answer{Status: 204},
			)
			d, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), &webhook.Config{
				Retry:              webhook.Backoff{Retries: 3, Initial: 2 * time.Hour, Multiplier: 6, Max: 72 * time.Hour, Jitter: -1},
				Poll:               time.Hour, // a bubble's time stops at each poll; those of three days, second by second, would take seconds
				UnguardedTransport: webhooktest.Transport(receiver),
				Logger:             slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			stopped := make(chan error)
			go func() { stopped <- d.Run(ctx) }()

			_, _, err = d.AddEndpoint(ctx, webhook.Endpoint{
				URL: "https://example.com/hook", Events: []string{webhook.AllEvents}, Secret: webhook.GenerateSecret(),
			}, webhook.WithoutPing())
			if err != nil {
				t.Fatal(err)
			}
			err = d.Emit(ctx, webhook.SessionStopped.New("sess_abc123", webhook.SessionStoppedData{StoppedBy: webhook.StoppedByUser}))
			if err != nil {
				t.Fatal(err)
			}

			receiver.WaitFor(ctx, 4)
			stop() // Run returns when the last answer is in the log
			if err := <-stopped; err != nil {
				t.Fatal(err)
			}
			page, err := d.Deliveries(t.Context(), webhook.DeliveryFilter{})
			if err != nil {
				t.Fatal(err)
			}
			delivery := page.Deliveries[0]
			for _, a := range delivery.Attempts {
				fmt.Fprintf(out, "attempt %d after %v: %s, status %d, error %q\n", a.Number, a.StartedAt.Sub(delivery.CreatedAt), a.Result, a.Status, a.Error)
			}
			fmt.Fprintln(out, delivery.State)
		})
	})
	// Output:
	// attempt 1 after 0s: failed, status 503, error "status"
	// attempt 2 after 2h0m0s: failed, status 0, error "timeout"
	// attempt 3 after 14h0m15s: failed, status 0, error "reset"
	// attempt 4 after 86h0m15s: delivered, status 204, error ""
	// succeeded
}
