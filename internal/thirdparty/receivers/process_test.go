package receivers

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A program is a receiver in some language.
type program struct {
	name     string
	probe    []string // succeeds where the language is at hand
	command  func(t *testing.T) []string
	required bool // in CI
}

func script(command ...string) func(*testing.T) []string {
	return func(*testing.T) []string { return command }
}

var programs = []program{
	{"receiver.go", []string{"go", "version"}, build, true},
	{"receiver.py", []string{"python3", "--version"}, script("python3", "receiver.py"), true},
	{"receiver.mjs", []string{"node", "--version"}, script("node", "receiver.mjs"), true},
	{"receiver.rb", []string{"ruby", "-rwebrick", "-e", ""}, script("ruby", "receiver.rb"), false},
	{"receiver.php", []string{"php", "--version"}, script("php", "-S", "127.0.0.1:0", "receiver.php"), false},
}

// build compiles the receiver that uses the library.
func build(t *testing.T) []string {
	t.Helper()
	exe, err := goReceiver()
	require.NoError(t, err)
	return []string{exe}
}

var goReceiver = sync.OnceValues(func() (string, error) {
	exe := filepath.Join(binaries, "receiver")
	cmd := exec.Command("go", "build", "-o", exe, ".")
	cmd.Dir = filepath.Join(docs, "receivers")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return filepath.Abs(exe)
})

// binaries is a folder that outlives single tests.
var binaries string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "receivers")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		binaries = dir
		return m.Run()
	}())
}

// find skips the test where the program cannot run, or fails it where it must.
func find(t *testing.T, required bool, probe ...string) {
	t.Helper()
	if err := exec.Command(probe[0], probe[1:]...).Run(); err != nil {
		if required && os.Getenv("WEBHOOK_REQUIRE_ALL") != "" {
			t.Fatalf("%s is required here: %v", probe[0], err)
		}
		t.Skipf("%s is not at hand: %v", probe[0], err)
	}
}

var listening = regexp.MustCompile(`127\.0\.0\.1:[1-9][0-9]*`)

// start runs the program with a port of its own choice until the test ends and returns its address.
func (p program) start(t *testing.T, env ...string) string {
	t.Helper()
	args := p.command(t)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = filepath.Join(docs, "receivers")
	cmd.Env = append(append(os.Environ(), "PORT=0"), env...)
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	require.NoError(t, cmd.Start())
	exited := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		exited <- err
		w.CloseWithError(errors.Join(errors.New("the program ended"), err))
	}()
	t.Cleanup(func() {
		cmd.Process.Kill() // it may have ended by itself
		<-exited
	})

	out := bufio.NewReader(r)
	for {
		line, err := out.ReadString('\n')
		if addr := listening.FindString(line); addr != "" {
			go io.Copy(io.Discard, out)
			return addr
		}
		require.NoError(t, err, "before it was listening: %s", line)
	}
}
