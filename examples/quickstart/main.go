// Quickstart is webhooks from end to end in one process: a receiver, an endpoint, the eight events, one failure with
// its retry, and the log of it all, which stays in a SQLite file.
//
//	go run ./examples/quickstart
package main

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/sqlitestore"
)

func main() {
	file := flag.String("db", "quickstart.db", "the SQLite file that the log is kept in; it grows with each run")
	flag.Parse()
	if err := run(context.Background(), *file, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, file string, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	secret := webhook.GenerateSecret() // the two sides share it
	events := story()

	// The receiving side, with TLS on a port of this machine.
	receiver, err := newReceiver(secret, out)
	if err != nil {
		return err
	}
	server := httptest.NewTLSServer(downOnce(events[1].ID, receiver))
	defer server.Close()

	store, err := sqlitestore.Open(ctx, file, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	// The emitting side. The retries are quick here: by default they come after about 10 s, 1 min and 6 min.
	retries := webhook.Schedule{500 * time.Millisecond, time.Second, 2 * time.Second}
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	d, err := webhook.NewDispatcher(store, &webhook.Config{
		Retry:  retries,
		Logger: slog.New(slog.DiscardHandler), // the table says it all
		// Only since the receiver is on this machine: such addresses, ports and certificates are refused otherwise.
		AllowPrefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AllowAnyPort: true, RootCAs: roots,
	})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	stopped := make(chan error, 1)
	go func() { stopped <- d.Run(running) }() // sends, retries and logs

	err = emit(ctx, out, d, webhook.Endpoint{URL: server.URL + "/webhooks", Events: []string{webhook.AllEvents}, Secret: secret}, events, retries)
	stop()
	if err = errors.Join(err, <-stopped); err == nil {
		fmt.Fprintf(out, "The log stays in %s.\n", file)
	}
	return err
}

// emit adds the endpoint, emits the events, and prints the log once all of them are settled.
func emit(ctx context.Context, out io.Writer, d *webhook.Dispatcher, endpoint webhook.Endpoint, events []webhook.Event, retries webhook.Schedule) error {
	before, err := d.Endpoints(ctx) // of an earlier run, whose receiver ended with it
	if err != nil {
		return err
	}
	for _, e := range before {
		if err := d.DeleteEndpoint(ctx, e.ID); err != nil {
			return err
		}
	}
	endpoint, ping, err := d.AddEndpoint(ctx, endpoint) // saves and pings
	if err != nil {
		return err
	}
	printSetup(out, endpoint, ping, retries)

	if err := d.Emit(ctx, events...); err != nil { // nil: stored, all of them
		return err
	}
	deliveries, err := settled(ctx, d, endpoint.ID)
	if err != nil {
		return err
	}
	return printLog(out, deliveries)
}

// settled waits until nothing is left to send, and returns the endpoint's log, the oldest delivery first.
func settled(ctx context.Context, d *webhook.Dispatcher, endpointID string) ([]webhook.Delivery, error) {
	for {
		page, err := d.Deliveries(ctx, webhook.DeliveryFilter{EndpointID: endpointID})
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(page.Deliveries, func(d webhook.Delivery) bool { return !d.State.Final() }) {
			slices.Reverse(page.Deliveries)
			return page.Deliveries, nil
		}
		time.Sleep(20 * time.Millisecond) // Deliveries fails when ctx has ended
	}
}

// newReceiver is all that a receiver needs: it verifies, drops duplicates, answers pings and hands typed data to its
// handlers.
func newReceiver(secret webhook.Secret, out io.Writer) (http.Handler, error) {
	verifier, err := webhook.NewVerifier([]string{secret.Reveal()}, nil)
	if err != nil {
		return nil, err
	}
	received := log.New(out, "  received   ", 0)
	r := webhook.NewReceiver(verifier, nil)
	webhook.Handle(r, webhook.ExperimentCompleted, func(_ context.Context, e webhook.Event, data webhook.ExperimentCompletedData) error {
		received.Printf("%s: %s reached an accuracy of %v", e.Type, data.ExperimentID, data.Metrics["accuracy"])
		return nil
	})
	webhook.Handle(r, webhook.PlanNeedsInput, func(_ context.Context, e webhook.Event, data webhook.PlanNeedsInputData) error {
		received.Printf("%s: %s", e.Type, data.Question)
		return nil
	})
	return r, nil
}

// downOnce answers 503 to the first attempt at one event, as a receiver does that is being deployed.
func downOnce(eventID string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(webhook.HeaderID) == eventID && r.Header.Get(webhook.HeaderAttempt) == "1" {
			http.Error(w, "restarting", http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// story is a day in the life of a session, and one event of each type.
func story() []webhook.Event {
	const session = "sess_abc123"
	return []webhook.Event{
		webhook.SessionStarted.New(session, webhook.SessionStartedData{Pod: "pod_7f3a", GPU: "H100", GPUCount: 2, Region: "us-east-1", ProvisioningSeconds: 94}),
		webhook.ExperimentCompleted.New(session, webhook.ExperimentCompletedData{ExperimentID: "exp_def456", Metrics: webhook.Metrics{"loss": 0.0342, "accuracy": 0.921}, DurationSeconds: 1847}),
		webhook.ExperimentFailed.New(session, webhook.ExperimentFailedData{ExperimentID: "exp_def457", Error: "loss diverged at step 1200", ExitCode: 1, Metrics: webhook.Metrics{"loss": math.NaN()}, DurationSeconds: 213}),
		webhook.PlanNeedsInput.New(session, webhook.PlanNeedsInputData{
			PlanID: "plan_ghi789", ExperimentID: "exp_def457", Question: "The loss diverged at 3e-4. Try 1e-4, or drop this branch?",
			Options: []webhook.PlanOption{{ID: "lower_lr", Label: "Try 1e-4"}, {ID: "drop", Label: "Drop this branch"}},
		}),
		webhook.PlanCompleted.New(session, webhook.PlanCompletedData{PlanID: "plan_ghi789", ExperimentsCompleted: 11, ExperimentsFailed: 1, BestExperimentID: "exp_def456", DurationSeconds: 41260}),
		webhook.WorkflowCompleted.New(session, webhook.WorkflowCompletedData{WorkflowID: "wf_jkl012", RunID: "run_42", Name: "nightly-eval", StepsCompleted: 5, DurationSeconds: 902}),
		webhook.WorkflowFailed.New(session, webhook.WorkflowFailedData{WorkflowID: "wf_jkl012", RunID: "run_43", Name: "nightly-eval", FailedStep: "train", Error: "step exited with code 137", StepsCompleted: 2, DurationSeconds: 388}),
		webhook.SessionStopped.New(session, webhook.SessionStoppedData{StoppedBy: webhook.StoppedByAutoIdle, Reason: "no activity for 30 minutes", DurationSeconds: 43950}),
	}
}
