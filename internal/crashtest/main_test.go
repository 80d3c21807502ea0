//go:build linux

package crashtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// workerPath is the command worker, built once for all tests with its failpoints.
var workerPath string

// soak says that there is time.
var soak = os.Getenv("SOAK") != ""

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "crashtest")
	if err == nil {
		defer func() {
			if err := os.RemoveAll(dir); err != nil {
				fmt.Fprintln(os.Stderr, "crashtest:", err)
				code = 1
			}
		}()
		shared.dir = dir
		workerPath = filepath.Join(dir, "worker")
		var out []byte
		if out, err = exec.Command("go", "build", "-tags", "webhook_failpoint", "-o", workerPath, "./worker").CombinedOutput(); err != nil {
			err = fmt.Errorf("building the worker: %w\n%s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "crashtest:", err)
		return 1
	}
	code = m.Run()
	if err := shared.close(); err != nil {
		fmt.Fprintln(os.Stderr, "crashtest:", err)
		code = 1
	}
	return code
}

// eventually waits for a condition that has to come true.
func eventually(t testing.TB, limit time.Duration, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", limit, what)
		}
	}
}

// publish logs what the tests have found out, and adds it to the file that WEBHOOK_CRASH_REPORT names: go test shows no
// log of tests that pass.
func publish(t testing.TB, text string) {
	t.Helper()
	t.Log("\n" + text)
	path := os.Getenv("WEBHOOK_CRASH_REPORT")
	if path == "" {
		return
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintln(file, text)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		t.Error(err)
	}
}
