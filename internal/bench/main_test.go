package bench

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// roleVariable makes this test binary, started anew, a helper: what it costs is then not in the figures of who started
// it.
const roleVariable = "WEBHOOK_BENCH_ROLE"

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleVariable); role {
	case "":
		os.Exit(m.Run())
	case "sink":
		runSink()
	case "worker":
		runWorker()
	default:
		fmt.Fprintf(os.Stderr, "%s=%q is unknown\n", roleVariable, role)
		os.Exit(2)
	}
}

// child is a helper. It ends when its input does, however its parent ended.
type child struct {
	in  io.WriteCloser
	out *bufio.Reader
}

func startChild(tb testing.TB, role string, env ...string) *child {
	tb.Helper()
	self, err := os.Executable()
	require.NoError(tb, err)
	cmd := exec.Command(self)
	cmd.Env = append(append(os.Environ(), roleVariable+"="+role), env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(tb, err)
	out, err := cmd.StdoutPipe()
	require.NoError(tb, err)
	require.NoError(tb, cmd.Start())
	tb.Cleanup(func() {
		_ = in.Close()
		_, _ = io.Copy(io.Discard, out)
		require.NoError(tb, cmd.Wait())
	})
	return &child{in, bufio.NewReader(out)}
}

// say writes a line to the child.
func (c *child) say(tb testing.TB, line string) {
	tb.Helper()
	_, err := fmt.Fprintln(c.in, line)
	require.NoError(tb, err)
}

// hear reads a line of the child's.
func (c *child) hear(tb testing.TB) string {
	tb.Helper()
	line, err := c.out.ReadString('\n')
	require.NoError(tb, err)
	return strings.TrimSpace(line)
}
