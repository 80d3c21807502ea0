package simulation

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// TestRunLeavesNothingOpen runs a dispatcher over real sockets with endpoints of every bad kind, and counts what is
// left when Run has returned. It is not parallel: it counts the goroutines and the open files of the whole process.
func TestRunLeavesNothingOpen(t *testing.T) {
	before := openFiles(t)
	goroutines := goleak.IgnoreCurrent()
	t.Run("run", runOverSockets) // a test of its own, so that its receiver is closed before the count
	goleak.VerifyNone(t, goroutines)
	require.Eventually(t, func() bool { return len(openFiles(t)) <= len(before) }, 5*time.Second, 10*time.Millisecond, "open before: %v", before)
}

func runOverSockets(t *testing.T) {
	receiver := webhooktest.NewReceiver(t)
	paths := map[string]webhooktest.Answer{
		"ok":      {},
		"failing": {Status: 500, Body: "no"},
		"hanging": {Fault: webhooktest.Hang},
		"reset":   {Fault: webhooktest.Reset},
		"closed":  {Fault: webhooktest.Close},
		"cut":     {Fault: webhooktest.CutBody, Body: "half"},
		"endless": {Fault: webhooktest.EndlessBody},
		"header":  {Fault: webhooktest.EndlessHeader},
		"slow":    {Body: "slowly", BodyPace: time.Hour},
	}
	url, roots := receiver.Listen()
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), &webhook.Config{
		Retry: webhook.Schedule{10 * time.Millisecond, time.Hour}, Drain: 50 * time.Millisecond, RootCAs: roots, AllowAnyPort: true,
		AllowPrefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
		Logger:        slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	for path, answer := range paths {
		receiver.Script("/"+path, answer)
		_, _, err := d.AddEndpoint(t.Context(), webhook.Endpoint{ID: path, URL: url + "/" + path, Events: []string{webhook.AllEvents}, Secret: webhook.GenerateSecret()}, webhook.WithoutPing())
		require.NoError(t, err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	const events = 3
	for i := range events {
		require.NoError(t, d.Emit(t.Context(), webhook.ExperimentCompleted.New(fmt.Sprint("sess_", i), webhook.ExperimentCompletedData{ExperimentID: "exp"})))
	}
	arrived, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	receiver.WaitFor(arrived, len(paths)+2*events) // one at least for each, and the good one's all
	cancel()
	require.NoError(t, <-done)
	// The receiver is still there: whatever ended only because it went away would be seen here.
	require.Eventually(t, func() bool { return senders() == 0 }, 5*time.Second, 10*time.Millisecond, "connections that Run left open")

	page, err := d.Deliveries(t.Context(), webhook.DeliveryFilter{Limit: webhook.MaxPage})
	require.NoError(t, err)
	require.Len(t, page.Deliveries, events*len(paths))
	interrupted := 0
	for _, delivery := range page.Deliveries {
		require.NotEqual(t, webhook.DeliveryLeased, delivery.State, "nothing is left under way: %s", delivery.EndpointID)
		for _, a := range delivery.Attempts {
			if a.Error == webhook.ErrorStopped {
				interrupted++
			}
		}
	}
	require.Positive(t, interrupted, "the hanging ones were cut off")
	seen := map[string]int{}
	for _, r := range receiver.Requests() {
		seen[r.Header.Get(webhook.HeaderDelivery)+"/"+r.Header.Get(webhook.HeaderAttempt)]++
	}
	for _, delivery := range page.Deliveries {
		for _, a := range delivery.Attempts {
			delete(seen, fmt.Sprint(delivery.ID, "/", a.Number))
		}
	}
	require.Empty(t, seen, "every request has its row")
}

// senders counts the goroutines of the sending side's connections.
func senders() int {
	stacks := make([]byte, 1<<20)
	n := 0
	for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(stack, "net/http.(*persistConn)") || strings.Contains(stack, "net/http.(*Transport)") {
			n++
		}
	}
	return n
}

// openFiles names the process's open files. Where there is no /proc the test has nothing to count.
func openFiles(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if os.IsNotExist(err) {
		t.Skip("no /proc/self/fd")
	}
	require.NoError(t, err)
	var out []string
	for _, e := range entries {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil {
			out = append(out, to)
		}
	}
	return out
}
