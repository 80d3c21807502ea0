package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

func noEnv(string) string { return "" }

func stopped() webhook.Event {
	return webhook.SessionStopped.New("sess_abc123", webhook.SessionStoppedData{StoppedBy: webhook.StoppedByUser, DurationSeconds: 5412}, webhook.WithID("evt_1"))
}

// send gives a handler the request that a dispatcher would send, once change has changed it.
func send(t *testing.T, cfg config, secret string, change func(*http.Request)) (answer *httptest.ResponseRecorder, printed, logged string) {
	t.Helper()
	var out, logs bytes.Buffer
	h, err := newHandler(cfg, &out, slog.New(slog.NewTextHandler(&logs, nil)))
	require.NoError(t, err)
	r := webhooktest.SignedRequest(t, "http://127.0.0.1:9000/hook", secret, stopped())
	if change != nil {
		change(r)
	}
	answer = httptest.NewRecorder()
	h.ServeHTTP(answer, r)
	return answer, out.String(), logs.String()
}

func TestPrintsWhatIsVerified(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"meshia", "standard"} {
		for _, secret := range []string{"somebody typed this", webhook.GenerateSecret().Reveal()} {
			t.Run(scheme, func(t *testing.T) {
				t.Parallel()
				answer, printed, logged := send(t, config{scheme: scheme, secret: secret}, secret, func(r *http.Request) {
					r.Header.Set("X-Meshia-Delivery", "dlv_1\x1b[31m")
					r.Header.Set("X-Meshia-Attempt", "2")
				})
				require.Equal(t, http.StatusNoContent, answer.Code, logged)
				require.Empty(t, logged)
				require.Equal(t, `── session.stopped  id evt_1  delivery dlv_1[31m  attempt 2
{
  "event": "session.stopped",
  "timestamp": "TIME",
  "session_id": "sess_abc123",
  "data": {
    "stopped_by": "user",
    "duration_seconds": 5412
  }
}

`, regexp.MustCompile(`"20\d\d-.*Z"`).ReplaceAllString(printed, `"TIME"`))
			})
		}
	}
}

func TestSaysWhyARequestIsRefused(t *testing.T) {
	t.Parallel()
	const secret = "my-secret"
	for name, c := range map[string]struct {
		scheme string
		secret string // the sender's
		change func(*http.Request)
		status int
		reason string
	}{
		"other secret":   {"meshia", "another", nil, http.StatusUnauthorized, "signature does not match"},
		"no signature":   {"meshia", "", nil, http.StatusUnauthorized, "header missing: X-Meshia-Signature"},
		"other scheme":   {"standard", secret, func(r *http.Request) { r.Header.Del("webhook-signature") }, http.StatusUnauthorized, "signed with another scheme"},
		"old":            {"standard", secret, func(r *http.Request) { r.Header.Set("webhook-timestamp", "1700000000") }, http.StatusUnauthorized, "timestamp too old"},
		"not JSON":       {"meshia", secret, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, http.StatusUnsupportedMediaType, "Content-Type must be application/json"},
		"not a POST":     {"meshia", secret, func(r *http.Request) { r.Method = http.MethodGet }, http.StatusMethodNotAllowed, "method is not POST"},
		"changed in two": {"meshia", secret, func(r *http.Request) { r.Header.Add("X-Meshia-Signature", "sha256=") }, http.StatusUnauthorized, "header came more than once"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer, printed, logged := send(t, config{scheme: c.scheme, secret: secret}, c.secret, c.change)
			require.Equal(t, c.status, answer.Code)
			require.Empty(t, printed)
			require.Contains(t, logged, c.reason)
			require.NotContains(t, logged, secret)
			require.Equal(t, http.StatusText(c.status)+"\n", answer.Body.String())
		})
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("the pipe is closed") }

func TestWhatCannotBePrintedIsNotAccepted(t *testing.T) {
	t.Parallel()
	h, err := newHandler(config{scheme: "meshia", secret: "my-secret"}, broken{}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, webhooktest.SignedRequest(t, "http://127.0.0.1:9000/", "my-secret", stopped()))
	require.Equal(t, http.StatusInternalServerError, answer.Code)
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	cfg, err := parse(nil, func(name string) string { return map[string]string{"WEBHOOK_SECRET": "from the environment"}[name] }, io.Discard)
	require.NoError(t, err)
	require.Equal(t, config{addr: "127.0.0.1:9000", secret: "from the environment", scheme: "meshia"}, cfg)

	cfg, err = parse([]string{"-addr", ":1", "-secret", "s", "-scheme", "standard"}, func(string) string { return "another" }, io.Discard)
	require.NoError(t, err)
	require.Equal(t, config{addr: ":1", secret: "s", scheme: "standard"}, cfg)

	for want, args := range map[string][]string{
		"no secret: set -secret or WEBHOOK_SECRET":         {},
		"unexpected argument \"extra\"":                    {"-secret", "s", "extra"},
		"flag provided but not defined: -sekret":           {"-sekret", "s"},
		"-scheme \"any\" is neither meshia nor standard":   {"-secret", "s", "-scheme", "any"},
		"listen tcp: address 1:2:3: too many colons":       {"-secret", "s", "-addr", "1:2:3"},
		"invalid secret: after whsec_ it is not base64 of": {"-secret", "whsec_AAAA"},
	} {
		require.ErrorContains(t, run(t.Context(), args, noEnv, io.Discard, io.Discard), want)
	}

	var help bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-h"}, noEnv, &help, io.Discard))
	require.Contains(t, help.String(), "WEBHOOK_SECRET")
}

// pipe is a listener in memory, so that a server can run in a bubble.
type pipe chan net.Conn

func (p pipe) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipe) Close() error   { close(p); return nil }
func (p pipe) Addr() net.Addr { return &net.TCPAddr{} }

// Told to stop, serve finishes the request that it has begun.
func TestServeFinishes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		listener := make(pipe)
		client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			listener <- far
			return near, nil
		}}}
		slow := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(3 * time.Second)
			w.WriteHeader(http.StatusNoContent)
		})
		ctx, stop := context.WithCancel(context.Background())
		served := make(chan error, 1)
		go func() { served <- serve(ctx, listener, slow, slog.New(slog.DiscardHandler)) }()
		answered := make(chan int, 1)
		go func() {
			resp, err := client.Get("http://receiver.example/")
			if err != nil {
				answered <- 0
				return
			}
			_ = resp.Body.Close()
			answered <- resp.StatusCode
		}()
		synctest.Wait()
		begin := time.Now()
		stop()
		require.NoError(t, <-served)
		require.GreaterOrEqual(t, time.Since(begin), 3*time.Second)
		require.Equal(t, http.StatusNoContent, <-answered)
	})
}

// The program itself: it is built, gets a request, and is told to stop.
func TestProgram(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "receiver")
	built, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, string(built))

	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), binary, "-addr", "127.0.0.1:0")
			cmd.Env = append(cmd.Environ(), "WEBHOOK_SECRET=my-secret")
			var out bytes.Buffer
			cmd.Stdout = &out
			stderr, err := cmd.StderrPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			lines := bufio.NewScanner(stderr)
			require.True(t, lines.Scan())
			found := regexp.MustCompile(`msg=listening addr=(\S+) scheme=meshia`).FindStringSubmatch(lines.Text())
			require.NotNil(t, found, lines.Text())

			resp, err := http.DefaultClient.Do(webhooktest.SignedRequest(t, "http://"+found[1]+"/hook", "my-secret", stopped()))
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, http.StatusNoContent, resp.StatusCode)

			require.NoError(t, cmd.Process.Signal(sig))
			require.True(t, lines.Scan())
			require.Contains(t, lines.Text(), "msg=stopping")
			require.False(t, lines.Scan())
			require.NoError(t, cmd.Wait())
			require.True(t, strings.HasPrefix(out.String(), "── session.stopped  id evt_1  delivery dlv_"), out.String())
		})
	}

	out, err := exec.CommandContext(t.Context(), binary, "-secret", "s", "-scheme", "any").CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 1, exit.ExitCode())
	require.Equal(t, "receiver: -scheme \"any\" is neither meshia nor standard\n", string(out))
}
