//go:build webhook_failpoint

package failpoint

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPassKillsAtTheChosenPassage(t *testing.T) {
	if os.Getenv("WEBHOOK_CRASH") != "" { // the child
		Pass(K1)
		Pass(K7)
		_, _ = os.Stdout.WriteString("once\n")
		Pass(K7)
		_, _ = os.Stdout.WriteString("twice\n")
		return
	}
	t.Parallel()
	for choice, want := range map[string]string{"K7": "", "K7:1": "", "K7:2": "once\n", "K7:3": "once\ntwice\nPASS\n"} {
		child := exec.Command(os.Args[0], "-test.run=^TestPassKillsAtTheChosenPassage$")
		child.Env = append(os.Environ(), "WEBHOOK_CRASH="+choice)
		out, err := child.Output()
		require.Equal(t, want, string(out), choice)
		if want == "once\ntwice\nPASS\n" {
			require.NoError(t, err)
			continue
		}
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal(), choice)
	}
}
