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
	"github.com/meshia/webhook/sqlitestore"
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

// TestTwoProcessesKeepToARate has two others claim beside this one, and all of them record.
func TestTwoProcessesKeepToARate(t *testing.T) {
	const burst = 9
	work := func(s *sqlitestore.Store) (n int) { // leases that it got
		for range 20 {
			leases := claim(t, s, 2)
			for _, l := range leases {
				record(t, s, delivered(l))
			}
			n += len(leases)
		}
		return n
	}
	if path := os.Getenv("SQLITESTORE_TEST_RATE"); path != "" { // another process
		fmt.Printf("got %d leases\n", work(open(t, path)))
		return
	}

	t.Parallel()
	path := file(t)
	s := open(t, path)
	endpoint(t, s, "t", "we_1", rate(slowly, burst))
	_, err := s.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: events(40), MaxPending: 30})
	require.NoError(t, err)
	total := 0
	var others [2]*exec.Cmd
	var out [2]strings.Builder
	for i := range others {
		others[i] = exec.Command(os.Args[0], "-test.run=^TestTwoProcessesKeepToARate$")
		others[i].Env = append(os.Environ(), "SQLITESTORE_TEST_RATE="+path)
		others[i].Stdout = &out[i]
		require.NoError(t, others[i].Start())
	}
	total += work(s)
	for i := range others {
		require.NoError(t, others[i].Wait(), "%s", out[i].String())
		var n int
		_, after, _ := strings.Cut(out[i].String(), "got ")
		_, err := fmt.Sscanf(after, "%d leases", &n)
		require.NoError(t, err, "%s", out[i].String())
		total += n
	}
	require.Equal(t, burst, total)
	got := stats(t, s, "we_1")
	require.EqualValues(t, burst, got.Sum().Delivered)
	require.EqualValues(t, 30-burst, got.Pending)
	list, err := s.Gaps(t.Context(), "t", "we_1")
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.EqualValues(t, 10, list[0].Count)
	require.False(t, list[0].To.IsZero(), "another process's outcomes did not end the backlog")
	requireInvariants(t, path)
}
