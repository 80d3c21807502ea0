package webhook_test

import (
	"context"
	"io"
	"log"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

var secretA, secretB = webhook.NewSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), webhook.NewSecret("a secret that somebody typed")

var (
	ok       = webhooktest.Answer{}
	failing  = webhooktest.Answer{Status: 500, Body: "no"}
	hanging  = webhooktest.Answer{Fault: webhooktest.Hang}
	quiet    = slog.New(slog.DiscardHandler)
	tenMin   = 10 * time.Minute
	schedule = webhook.Schedule{10 * time.Second, time.Minute, 6 * time.Minute}
)

// rig is a dispatcher over a memory store, with a scripted receiver behind an in-memory transport. Most tests run it
// in a synctest bubble.
type rig struct {
	t        *testing.T
	ctx      context.Context
	store    webhook.Store
	d        *webhook.Dispatcher
	receiver *webhooktest.Receiver
	stop     func() // ends Run and waits for it
}

// newRig makes a dispatcher that does not run yet. change may be nil.
func newRig(t *testing.T, receiver *webhooktest.Receiver, change func(*webhook.Config)) *rig {
	t.Helper()
	return rigOn(t, webhook.NewMemoryStore(nil), receiver, change)
}

func rigOn(t *testing.T, store webhook.Store, receiver *webhooktest.Receiver, change func(*webhook.Config)) *rig {
	t.Helper()
	cfg := &webhook.Config{Retry: schedule, UnguardedTransport: webhooktest.Transport(receiver), Logger: quiet}
	if change != nil {
		change(cfg)
	}
	d, err := webhook.NewDispatcher(store, cfg)
	require.NoError(t, err)
	return &rig{t: t, ctx: context.Background(), store: store, d: d, receiver: receiver}
}

// run starts Run. It is stopped when the test ends, if not before.
func (r *rig) run() *rig {
	ctx, cancel := context.WithCancel(r.ctx)
	done := make(chan error, 1)
	go func() { done <- r.d.Run(ctx) }()
	stopped := false
	r.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(r.t, <-done)
		}
	}
	r.t.Cleanup(r.stop)
	return r
}

// endpoint adds an active endpoint without a ping.
func (r *rig) endpoint(path string, events ...string) webhook.Endpoint {
	r.t.Helper()
	if len(events) == 0 {
		events = []string{webhook.AllEvents}
	}
	e, _, err := r.d.AddEndpoint(r.ctx, webhook.Endpoint{URL: "https://example.com/" + path, Events: events, Secret: secretA}, webhook.WithoutPing())
	require.NoError(r.t, err)
	return e
}

func (r *rig) emit(opts ...webhook.EventOption) webhook.Event {
	r.t.Helper()
	e := experiment(opts...)
	require.NoError(r.t, r.d.Emit(r.ctx, e))
	return e
}

func experiment(opts ...webhook.EventOption) webhook.Event {
	return webhook.ExperimentCompleted.New("sess_abc123", webhook.ExperimentCompletedData{
		ExperimentID: "exp_def456", Metrics: webhook.Metrics{"loss": 0.0342, "accuracy": 0.921}, DurationSeconds: 1847,
	}, opts...)
}

// deliveries returns the log, the oldest first.
func (r *rig) deliveries(f webhook.DeliveryFilter) []webhook.Delivery {
	r.t.Helper()
	var all []webhook.Delivery
	for {
		page, err := r.d.Deliveries(r.ctx, f)
		require.NoError(r.t, err)
		all = append(all, page.Deliveries...)
		if page.NextCursor == "" {
			slices.Reverse(all)
			return all
		}
		f.Cursor = page.NextCursor
	}
}

// only returns the one delivery that there is.
func (r *rig) only() webhook.Delivery {
	r.t.Helper()
	all := r.deliveries(webhook.DeliveryFilter{})
	require.Len(r.t, all, 1)
	return all[0]
}

// results are the results of a delivery's attempts.
func results(d webhook.Delivery) []webhook.AttemptResult {
	var rs []webhook.AttemptResult
	for _, a := range d.Attempts {
		rs = append(rs, a.Result)
	}
	return rs
}

// bubble runs f in a synctest bubble, where time is simulated.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// noLog swallows what a server that is meant to fail would log.
var noLog = log.New(io.Discard, "", 0)
