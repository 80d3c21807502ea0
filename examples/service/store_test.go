package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook/internal/pgtest"
	"github.com/meshia/webhook/webhooktest"
)

// build builds the program, once for all tests.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "service")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "service")
	out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return binary, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if binary, err := build(); err == nil {
		os.RemoveAll(filepath.Dir(binary))
	}
	os.Exit(code)
}

// onDurableStores runs f with the -store of a SQLite file, and of each Postgres that there is.
func onDurableStores(t *testing.T, f func(t *testing.T, store string)) {
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		f(t, "sqlite:"+filepath.Join(t.TempDir(), "webhooks.db"))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		pgtest.Each(t, func(t *testing.T, i pgtest.Installation) {
			c := i.Start(t, &pgtest.Options{Durable: true})
			f(t, "postgres://postgres@/"+c.Database(t, "")+"?host="+c.Socket())
		})
	})
}

// program is the service as a process.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	base string
}

func start(t *testing.T, store string, flags ...string) *program {
	t.Helper()
	binary, err := build()
	require.NoError(t, err)
	cmd := exec.Command(binary, append([]string{"-addr", "127.0.0.1:0", "-allow-insecure-targets", "-retry-initial", "10ms", "-store", store}, flags...)...)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // where the test ended early
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if found := regexp.MustCompile(`msg=listening addr=(\S+)`).FindStringSubmatch(lines.Text()); found != nil {
			go func() { _, _ = io.Copy(io.Discard, stderr) }()
			return &program{t, cmd, "http://" + found[1]}
		}
	}
	require.FailNow(t, "the service did not start")
	return nil
}

// kill ends it as a power cut ends a process.
func (p *program) kill() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Kill())
	_ = p.cmd.Wait() // says that it was killed
}

func (p *program) post(path, body string) (int, []byte, error) {
	resp, err := http.Post(p.base+path, "application/json", strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

func (p *program) hook(url string) added {
	p.t.Helper()
	status, answer, err := p.post("/webhooks", `{"url":"`+url+`","events":["*"],"secret":"generate"}`)
	require.NoError(p.t, err)
	require.Equal(p.t, http.StatusCreated, status, string(answer))
	var hook added
	require.NoError(p.t, json.Unmarshal(answer, &hook))
	return hook
}

// ids are the events that the receiver got, and how often.
func ids(receiver *webhooktest.Receiver) map[string]int {
	got := map[string]int{}
	for _, q := range receiver.Requests() {
		got[q.Header.Get("Webhook-Id")]++
	}
	return got
}

func TestOneEmitsAndAnotherSends(t *testing.T) {
	t.Setenv(sealingKeys, "k:"+base64.StdEncoding.EncodeToString(make([]byte, 32))) // of both processes
	for _, kind := range []string{"sqlite", "postgres"} {
		t.Run(kind, func(t *testing.T) {
			store := "sqlite:" + filepath.Join(t.TempDir(), "webhooks.db")
			if kind == "postgres" {
				c := pgtest.Required(t)[0].Start(t, nil)
				store = "postgres://postgres@/" + c.Database(t, "") + "?host=" + c.Socket()
			}
			receiver := webhooktest.NewReceiver(t)
			target := httptest.NewServer(receiver)
			t.Cleanup(target.Close)
			emitter := start(t, store, "-workers=false")
			emitter.hook(target.URL)
			status, answer, err := emitter.post("/emit", stoppedEvent("evt_1"))
			require.NoError(t, err)
			require.Equal(t, http.StatusAccepted, status, string(answer))
			require.Empty(t, ids(receiver)["evt_1"], "nobody sends yet")
			start(t, store)
			receiver.WaitFor(t.Context(), 2)
			require.Equal(t, 1, ids(receiver)["evt_1"])
		})
	}
}

// TestKillingItLosesNothing emits, kills the process with SIGKILL in the middle of it, and starts it again, over and
// over: what was answered with 202 is delivered. WEBHOOK_KILLS sets how often.
func TestKillingItLosesNothing(t *testing.T) {
	t.Parallel()
	kills := 1
	if text := os.Getenv("WEBHOOK_KILLS"); text != "" {
		_, err := fmt.Sscan(text, &kills)
		require.NoError(t, err)
	}
	onDurableStores(t, func(t *testing.T, store string) {
		receiver := webhooktest.NewReceiver(t)
		target := httptest.NewServer(receiver)
		t.Cleanup(target.Close)
		p := start(t, store)
		p.hook(target.URL)

		var mu sync.Mutex
		accepted, asked := map[string]bool{}, map[string]bool{}
		var number atomic.Int64
		for range kills {
			ctx, stop := context.WithCancel(t.Context())
			var emitters sync.WaitGroup
			for range 4 {
				emitters.Go(func() {
					for ctx.Err() == nil {
						id := fmt.Sprint("evt_", number.Add(1))
						mu.Lock()
						asked[id] = true
						mu.Unlock()
						status, _, err := p.post("/emit", stoppedEvent(id))
						if err == nil && status == http.StatusAccepted {
							mu.Lock()
							accepted[id] = true
							mu.Unlock()
						}
					}
				})
			}
			before := len(receiver.Requests())
			receiver.WaitFor(t.Context(), before+100) // under load
			p.kill()
			stop()
			emitters.Wait()
			p = start(t, store)
		}
		// What the killed process was about is sent again once its lease has run out.
		require.Eventually(t, func() bool {
			got := ids(receiver)
			for id := range accepted {
				if got[id] == 0 {
					return false
				}
			}
			return true
		}, time.Minute, 100*time.Millisecond)

		got := ids(receiver)
		again := 0
		for id, n := range got {
			if strings.HasPrefix(id, "evt_") && asked[id] {
				again += n - 1
			}
		}
		unknown := slices.DeleteFunc(slices.Collect(maps.Keys(got)), func(id string) bool { return asked[id] || len(id) > 20 /* the ping */ })
		require.Empty(t, unknown, "nothing comes that was not emitted")
		kind, _, _ := strings.Cut(store, ":")
		t.Logf("%s: killed %d times with SIGKILL; accepted %d, lost 0, sent twice %d", kind, kills, len(accepted), again)
	})
}
