package uses

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

const secret = "my-secret"

// newReceiver is what every receiver begins with. It refuses requests that are not signed with the secret, and drops
// duplicates.
func newReceiver() *webhook.Receiver {
	v, err := webhook.NewVerifier([]string{secret}, nil)
	if err != nil {
		panic(err)
	}
	return webhook.NewReceiver(v, nil)
}

// send delivers events to a receiver as the emitting side does, but in memory, and prints what it answers.
func send(receiver http.Handler, events ...webhook.Event) {
	ctx := context.Background()
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), &webhook.Config{
		UnguardedTransport: webhooktest.Transport(receiver), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	endpoint, _, err := d.AddEndpoint(ctx, webhook.Endpoint{
		URL: "https://receiver.example/webhooks", Events: []string{webhook.AllEvents}, Secret: webhook.NewSecret(secret),
	})
	if err != nil {
		panic(err)
	}
	for _, e := range events {
		delivery, err := d.SendTest(ctx, endpoint.ID, e)
		if err != nil {
			panic(err)
		}
		fmt.Println(e.Type, "answered", delivery.Attempts[0].Status)
	}
}
