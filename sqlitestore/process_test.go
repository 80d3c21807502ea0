package sqlitestore_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// TestTwoProcesses has one process emit what another one's dispatcher sends, and take over what a killed one had
// leased.
func TestTwoProcesses(t *testing.T) {
	if path := os.Getenv("SQLITESTORE_TEST_FILE"); path != "" { // the second process
		s := open(t, path)
		d, err := webhook.NewDispatcher(s, &webhook.Config{Registry: webhook.NewRegistry(happened)})
		require.NoError(t, err)
		require.NoError(t, d.Emit(t.Context(), events(20)...))
		endpoint(t, s, "", "we_2")
		direct := &webhook.Direct{EndpointID: "we_2", Kind: webhook.KindRedelivery, Owner: "child", Term: 300 * time.Millisecond}
		c, err := s.Enqueue(t.Context(), webhook.EnqueueRequest{Events: events(1), Direct: direct})
		require.NoError(t, err)
		require.Len(t, c.Leases, 1)
		fmt.Println("leased", c.Leases[0].Delivery.ID)
		self, err := os.FindProcess(os.Getpid())
		require.NoError(t, err)
		require.NoError(t, self.Kill())
		select {} // it is about to end
	}

	t.Parallel()
	path := file(t)
	s := open(t, path)
	r := webhooktest.NewReceiver(t)
	d := run(t, s, r, 20*time.Millisecond)

	child := exec.Command(os.Args[0], "-test.run=^TestTwoProcesses$")
	child.Env = append(os.Environ(), "SQLITESTORE_TEST_FILE="+path)
	out, err := child.CombinedOutput()
	require.Error(t, err, "the child was not killed")
	_, id, leased := strings.Cut(string(out), "leased ")
	require.True(t, leased, "%s", out)
	id, _, _ = strings.Cut(id, "\n")

	require.Eventually(t, func() bool { return len(r.Requests()) == 21 }, 20*time.Second, 5*time.Millisecond, "20 events, and one that the child had leased")
	require.Eventually(t, func() bool {
		got, err := d.Delivery(t.Context(), id)
		require.NoError(t, err)
		return got.State == webhook.DeliverySucceeded
	}, 10*time.Second, 5*time.Millisecond)
	got, err := d.Delivery(t.Context(), id)
	require.NoError(t, err)
	require.Len(t, got.Attempts, 2)
	require.Equal(t, webhook.ErrorOwnerLost, got.Attempts[0].Error)
	requireInvariants(t, path)
}
