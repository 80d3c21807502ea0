package webhook_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"time"

	"github.com/meshia/webhook"
)

// local are the settings with which examples send to a server of their own. A service needs none of them.
func local() *webhook.Config {
	return &webhook.Config{
		InsecureHTTP: true, AllowAnyPort: true, AllowPrefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Logger: slog.New(slog.DiscardHandler),
	}
}

func ExampleDispatcher() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	const secret = "a secret that both sides know"
	arrived := make(chan string)
	verifier, err := webhook.NewVerifier([]string{secret}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	receiver := webhook.NewReceiver(verifier, nil)
	webhook.Handle(receiver, webhook.ExperimentCompleted, func(_ context.Context, e webhook.Event, data webhook.ExperimentCompletedData) error {
		arrived <- fmt.Sprintf("%s of %s: loss %v", e.Type, e.SessionID, data.Metrics["loss"])
		return nil
	})
	server := httptest.NewServer(receiver)
	defer server.Close()

	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), local())
	if err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()
	endpoint, ping, err := d.AddEndpoint(ctx, webhook.Endpoint{URL: server.URL, Events: []string{"experiment.completed"}, Secret: webhook.NewSecret(secret)})
	fmt.Println(endpoint.Health.State, ping.Attempts[0].Status, err)
	err = d.Emit(ctx, webhook.ExperimentCompleted.New("sess_abc123", webhook.ExperimentCompletedData{
		ExperimentID: "exp_def456", Metrics: webhook.Metrics{"loss": 0.0342}, DurationSeconds: 1847,
	}))
	fmt.Println(err)
	fmt.Println(<-arrived)
	cancel()
	fmt.Println(<-done)
	// Output:
	// active 204 <nil>
	// <nil>
	// experiment.completed of sess_abc123: loss 0.0342
	// <nil>
}

func ExampleWithReplay() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	arrived := make(chan string)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { arrived <- r.Header.Get(webhook.HeaderID) }))
	defer server.Close()
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), local())
	if err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()

	endpoint, _, err := d.AddEndpoint(ctx, webhook.Endpoint{URL: server.URL, Events: []string{webhook.AllEvents}}, webhook.WithoutPing())
	fmt.Println(err)
	_, err = d.SetEnabled(ctx, endpoint.ID, false)
	fmt.Println(err)
	err = d.Emit(ctx, webhook.PlanCompleted.New("sess_abc123", webhook.PlanCompletedData{}, webhook.WithID("evt_missed")))
	fmt.Println(err)
	_, err = d.SetEnabled(ctx, endpoint.ID, true, webhook.WithReplay(webhook.Replay{Missed: true, AskedBy: "ops@example.com"}))
	fmt.Println(err)
	fmt.Println(<-arrived)
	cancel()
	fmt.Println(<-done)
	// Output:
	// <nil>
	// <nil>
	// <nil>
	// <nil>
	// evt_missed
	// <nil>
}

func ExampleStandardSchedule() {
	cfg := &webhook.Config{Retry: webhook.StandardSchedule()}
	var all time.Duration
	for n := 1; ; n++ {
		wait, again := cfg.Retry.Next(n, webhook.Attempt{})
		if !again {
			break
		}
		all += wait
	}
	fmt.Println(all.Round(time.Hour))
	// Output: 76h0m0s
}

func ExampleHooks() {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	cfg := local()
	cfg.Hooks = &webhook.Hooks{
		AttemptEnded: func(_ context.Context, a webhook.AttemptInfo) {
			fmt.Println(a.Event.Type, a.Attempt.Error, a.Attempt.Status)
		},
		GivenUp: func(_ context.Context, a webhook.AttemptInfo) {
			fmt.Println("given up:", a.Delivery.Reason)
		},
	}
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	endpoint, _, err := d.AddEndpoint(context.Background(), webhook.Endpoint{URL: server.URL, Events: []string{webhook.AllEvents}})
	fmt.Println(endpoint.Health.State, err)
	// Output:
	// ping status 404
	// given up: exhausted
	// pending <nil>
}
