package webhook_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/meshia/webhook"
)

func ExampleReceiver() {
	v, err := webhook.NewVerifier([]string{"my-secret"}, nil)
	if err != nil {
		panic(err)
	}
	r := webhook.NewReceiver(v, nil)
	webhook.Handle(r, webhook.ExperimentCompleted, func(ctx context.Context, e webhook.Event, data webhook.ExperimentCompletedData) error {
		fmt.Println(data.ExperimentID, "has loss", data.Metrics["loss"])
		return nil // an error, or a panic, makes the sender try again
	})
	mux := http.NewServeMux()
	mux.Handle("/webhooks/meshia", r)

	for range 2 { // the second one is a duplicate
		req := httptest.NewRequest(http.MethodPost, "/webhooks/meshia", strings.NewReader(exampleBody))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set(webhook.HeaderID, "evt_1")
		req.Header.Set(webhook.HeaderSignature, webhook.Sign([]byte(exampleBody), "my-secret"))
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, req)
		fmt.Println(w.Code)
	}
	// Output:
	// exp_def456 has loss 0.0342
	// 204
	// 204
}

func ExampleHandle() {
	type Invoice struct {
		Number string `json:"number"`
		Cents  int64  `json:"cents"`
	}
	// Declared once, and shared with whoever emits it.
	invoicePaid := webhook.NewEventType("invoice.paid", "An invoice is paid.", Invoice{Number: "INV-1", Cents: 1200})

	v, err := webhook.NewVerifier([]string{"my-secret"}, nil)
	if err != nil {
		panic(err)
	}
	r := webhook.NewReceiver(v, &webhook.ReceiverConfig{
		Unhandled: func(ctx context.Context, e webhook.Event) error {
			fmt.Println("nobody handles", e.Type)
			return nil
		},
	})
	webhook.Handle(r, invoicePaid, func(ctx context.Context, e webhook.Event, invoice Invoice) error {
		fmt.Println(invoice.Number, invoice.Cents)
		return nil
	})

	for _, e := range []webhook.Event{
		invoicePaid.New("", Invoice{Number: "INV-7", Cents: 4200}),
		webhook.PlanCompleted.New("sess_abc123", webhook.PlanCompletedData{PlanID: "plan_ghi789"}),
	} {
		req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(string(e.Body)))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set(webhook.HeaderID, e.ID)
		req.Header.Set(webhook.HeaderSignature, webhook.Sign(e.Body, "my-secret"))
		r.ServeHTTP(httptest.NewRecorder(), req)
	}
	// Output:
	// INV-7 4200
	// nobody handles plan.completed
}
