package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/sqlitestore"
)

// table is what one run prints as its log: each row split where at least two spaces are.
func table(t *testing.T, output string) (header string, rows [][]string) {
	t.Helper()
	_, log, found := strings.Cut(output, "The delivery log, the oldest first:\n\n")
	require.True(t, found, output)
	log, _, found = strings.Cut(log, "\n\n")
	require.True(t, found, output)
	lines := strings.Split(log, "\n")
	for _, line := range lines[1:] {
		rows = append(rows, regexp.MustCompile(`\s{2,}`).Split(strings.TrimSpace(line), -1))
		for _, column := range []string{"ATTEMPT", "STATUS", "LATENCY"} { // these end where their title does
			end := strings.Index(lines[0], column) + len(column)
			require.NotEqual(t, byte(' '), line[end-1], line)
			require.Equal(t, byte(' '), line[end], line)
		}
		for _, column := range []string{"EVENT", "RESULT", "NEXT TRY"} { // these begin where it does
			begin := strings.Index(lines[0], column)
			require.Equal(t, byte(' '), line[begin-1], line)
			require.NotEqual(t, byte(' '), line[begin], line)
		}
	}
	return lines[0], rows
}

func requireStory(t *testing.T, output string) {
	t.Helper()
	header, rows := table(t, output)
	require.Equal(t, []string{"EVENT", "ATTEMPT", "STATUS", "LATENCY", "RESULT", "NEXT", "TRY"}, strings.Fields(header))

	var got []string
	for _, r := range rows {
		require.Regexp(t, `^\d+\.\d ms$`, r[3])
		got = append(got, strings.Join(slices.Delete(slices.Clone(r), 3, 4), " | "))
	}
	var wait float64
	_, err := fmt.Sscanf(rows[2][5], "in %f s", &wait)
	require.NoError(t, err, rows[2][5])
	require.GreaterOrEqual(t, wait, 0.5) // the schedule's first wait; a busy machine is late
	got[2] = strings.TrimSuffix(got[2], rows[2][5])
	require.Equal(t, []string{
		"ping | 1 | 204 | delivered | -",
		"session.started | 1 | 204 | delivered | -",
		"experiment.completed | 1 | 503 | failed: answered 503 | ",
		"experiment.completed | 2 | 204 | delivered | -",
		"experiment.failed | 1 | 204 | delivered | -",
		"plan.needs_input | 1 | 204 | delivered | -",
		"plan.completed | 1 | 204 | delivered | -",
		"workflow.completed | 1 | 204 | delivered | -",
		"workflow.failed | 1 | 204 | delivered | -",
		"session.stopped | 1 | 204 | delivered | -",
	}, got)
	for _, line := range []string{
		"retries    after 500ms, 1s, 2s\n",
		"the endpoint is active\n",
		"received   experiment.completed: exp_def456 reached an accuracy of 0.921\n",
		"received   plan.needs_input: The loss diverged at 3e-4. Try 1e-4, or drop this branch?\n",
		"9 deliveries, the ping included, 10 attempts, 0 undelivered.\n",
	} {
		require.Contains(t, output, line)
	}
}

func TestQuickstart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "log.db")
	for range 2 { // the second run finds what the first one left
		var out bytes.Buffer
		require.NoError(t, run(t.Context(), file, &out))
		requireStory(t, out.String())
		require.Contains(t, out.String(), "The log stays in "+file+".\n")
	}
	store, err := sqlitestore.Open(t.Context(), file, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	page, err := store.Deliveries(t.Context(), "", webhook.DeliveryFilter{})
	require.NoError(t, err)
	require.Len(t, page.Deliveries, 18)
}

func TestAFileThatIsNoLogFails(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, run(t.Context(), t.TempDir(), &bytes.Buffer{}), "sqlite")
}

func TestStoryHasEachDocumentedType(t *testing.T) {
	t.Parallel()
	var want, got []string
	for _, et := range webhook.DefaultRegistry().Types() {
		want = append(want, et.Name())
	}
	for _, e := range story() {
		got = append(got, e.Type)
	}
	require.ElementsMatch(t, want, got)
}

func TestInterruptedRunFails(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, run(ctx, filepath.Join(t.TempDir(), "log.db"), &bytes.Buffer{}), context.Canceled)
}

func TestUndeliveredIsAnError(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	err := printLog(&out, []webhook.Delivery{{
		EventType: "plan.completed", State: webhook.DeliveryFailed,
		Attempts: []webhook.Attempt{{Number: 1, Result: webhook.AttemptFailed, Detail: "the connection was refused", Latency: time.Millisecond}},
	}})
	require.EqualError(t, err, "1 of 1 deliveries failed")
	_, rows := table(t, out.String())
	require.Equal(t, [][]string{{"plan.completed", "1", "-", "1.0 ms", "failed: the connection was refused", "-"}}, rows)
}

// As it is run for the first time: from the root of the repository.
func TestGoRun(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "go", "run", "./examples/quickstart", "-db", filepath.Join(t.TempDir(), "log.db"))
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	require.Empty(t, stderr.String())
	requireStory(t, string(out))
}
