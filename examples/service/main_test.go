package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
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

func TestCommandLine(t *testing.T) {
	t.Parallel()
	cfg, err := parse(nil, io.Discard)
	require.NoError(t, err)
	require.Equal(t, config{addr: "127.0.0.1:8080", store: "memory", workers: true, retryInitial: 10 * time.Second}, cfg)
	cfg, err = parse([]string{"-addr", ":1", "-store", "sqlite:x.db", "-workers=false", "-allow-insecure-targets", "-retry-initial", "250ms"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, config{addr: ":1", store: "sqlite:x.db", insecureTargets: true, retryInitial: 250 * time.Millisecond}, cfg)

	for want, args := range map[string][]string{
		`unexpected argument "extra"`:                   {"extra"},
		"flag provided but not defined: -adr":           {"-adr", ":1"},
		`-store "floppy" is none of memory`:             {"-store", "floppy"},
		`-store "sqlite" is none of memory`:             {"-store", "sqlite:"},
		`-store "postgres" is none of memory`:           {"-store", "postgres"},
		"-retry-initial 0s must be positive":            {"-retry-initial", "0"},
		"-retry-initial -1s must be positive":           {"-retry-initial", "-1s"},
		"Backoff.Initial is negative or over Max":       {"-retry-initial", "25h"},
		"listen tcp: address 1:2:3: too many colons in": {"-addr", "1:2:3"},
	} {
		require.ErrorContains(t, run(t.Context(), args, io.Discard, io.Discard), want)
	}
	var help bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-help"}, &help, io.Discard))
	require.Contains(t, help.String(), "-allow-insecure-targets")
}

// -allow-insecure-targets opens what its text says, and nothing else.
func TestTargets(t *testing.T) {
	t.Parallel()
	accepts := func(flags ...string) func(url string) bool {
		cfg, err := parse(flags, io.Discard)
		require.NoError(t, err)
		d, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), cfg.dispatcher(quiet))
		require.NoError(t, err)
		return func(url string) bool {
			_, _, err := d.AddEndpoint(t.Context(), webhook.Endpoint{URL: url, Events: []string{"*"}}, webhook.WithoutPing())
			return err == nil
		}
	}
	strict, insecure := accepts(), accepts("-allow-insecure-targets")
	for url, want := range map[string]struct{ strict, insecure bool }{
		"https://example.com/hook":      {true, true},
		"http://example.com/hook":       {false, true},
		"https://example.com:9999/hook": {false, true},
		"http://127.0.0.1:9000/hook":    {false, true},
		"http://127.8.7.6:9000/hook":    {false, true},
		"http://[::1]:9000/hook":        {false, true},
		"http://localhost:9000/hook":    {false, true},
		"http://10.0.0.1/hook":          {false, false},
		"http://192.168.1.1/hook":       {false, false},
		"http://169.254.169.254/":       {false, false},
		"http://[fd00::1]/hook":         {false, false},
		"http://0.0.0.0:9000/hook":      {false, false},
		"http://billing.internal/hook":  {false, false},
		"ftp://example.com/hook":        {false, false},
	} {
		require.Equal(t, want.strict, strict(url), url)
		require.Equal(t, want.insecure, insecure(url), url)
	}
}

func TestOtherPathsAndMethods(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, nil)
	status, answer := r.do(http.MethodGet, "/healthz", "")
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"status":"ok"}`, string(answer))

	require.Equal(t, "no such path", r.refused(http.StatusNotFound, http.MethodGet, "/", ""))
	r.refused(http.StatusNotFound, http.MethodPost, "/emit/", "")
	for path, allowed := range map[string]string{"/webhooks": "POST", "/emit": "POST", "/deliveries": "GET", "/healthz": "GET"} {
		require.Equal(t, "use "+allowed, r.refused(http.StatusMethodNotAllowed, http.MethodDelete, path, ""))
		w := httptest.NewRecorder()
		r.api.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPut, path, nil))
		require.Equal(t, allowed, w.Header().Get("Allow"))
	}

	fromPage := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/emit", strings.NewReader(stoppedEvent("evt_1")))
	fromPage.Header.Set("Origin", "https://attacker.example")
	w := httptest.NewRecorder()
	r.api.ServeHTTP(w, fromPage)
	require.Equal(t, http.StatusForbidden, w.Code)
	require.JSONEq(t, `{"error":"the request comes from a page of another origin"}`, w.Body.String())

	loopback := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}
	public := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 8080}
	for host, want := range map[string]int{
		"127.0.0.1:8080": 200, "[::1]:8080": 200, "localhost:8080": 200, "localhost": 200, "::1": 200, "127.0.0.1": 200,
		"rebound.example:8080": 421, "rebound.example": 421, "localhost.example": 421, "": 421,
	} {
		for address, want := range map[net.Addr]int{loopback: want, public: 200} {
			req := httptest.NewRequest(http.MethodGet, "/healthz", nil)
			req = req.WithContext(context.WithValue(req.Context(), http.LocalAddrContextKey, address))
			req.Host = host
			w := httptest.NewRecorder()
			r.api.ServeHTTP(w, req)
			require.Equal(t, want, w.Code, "%s at %s", host, address)
		}
	}
	_, err := r.d.Event(t.Context(), "evt_1")
	require.ErrorIs(t, err, webhook.ErrNotFound)
}

// brokenStore is a store whose database is away.
type brokenStore struct{ webhook.Store }

var errAway = errors.New("dial tcp 10.1.2.3:5432: connection refused")

func (brokenStore) Deliveries(context.Context, string, webhook.DeliveryFilter) (webhook.DeliveryPage, error) {
	return webhook.DeliveryPage{}, errAway
}

// What went wrong inside is for the log.
func TestInternalError(t *testing.T) {
	t.Parallel()
	d, err := webhook.NewDispatcher(brokenStore{webhook.NewMemoryStore(nil)}, &webhook.Config{Logger: quiet})
	require.NoError(t, err)
	var logs bytes.Buffer
	r := &rig{t: t, d: d, api: newAPI(d, webhook.DefaultRegistry(), newLog(&logs))}
	require.Equal(t, "internal error", r.refused(http.StatusInternalServerError, http.MethodGet, "/deliveries", ""))
	require.Contains(t, logs.String(), "level=ERROR")
	require.Contains(t, logs.String(), errAway.Error())

	logs.Reset()
	ctx, hangUp := context.WithCancel(t.Context())
	hangUp()
	r.api.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/deliveries", nil))
	require.Contains(t, logs.String(), `level=INFO msg="request abandoned" method=GET path=/deliveries`)
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

func (p pipe) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	p <- far
	return near, nil
}

// Told to stop, serve lets what is in flight end: a delivery, a request that waits for a ping, and one that is still
// coming in, whose event is delivered too.
func TestServeDrains(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, nil)
		listener := make(pipe)
		client := &http.Client{Transport: &http.Transport{DialContext: listener.dial}}
		send := func(path string, body io.Reader) int {
			resp, err := client.Post("http://service.example"+path, "application/json", body)
			require.NoError(t, err)
			defer resp.Body.Close()
			_, err = io.Copy(io.Discard, resp.Body)
			require.NoError(t, err)
			return resp.StatusCode
		}
		post := func(path, body string) int { return send(path, strings.NewReader(body)) }
		ctx, stop := context.WithCancel(context.Background())
		var logs bytes.Buffer
		served := make(chan error, 1)
		go func() { served <- serve(ctx, listener, r.d, true, newLog(&logs)) }()

		require.Equal(t, http.StatusCreated, post("/webhooks", `{"url":"https://example.com/hook","events":["*"]}`))
		r.receiver.Script("", webhooktest.Answer{Delay: 12 * time.Second})
		require.Equal(t, http.StatusAccepted, post("/emit", stoppedEvent("evt_1")))
		pinged := make(chan int, 1)
		go func() { pinged <- post("/webhooks", `{"url":"https://example.com/slow","events":["*"]}`) }()
		late, rest := io.Pipe()
		emitted := make(chan int, 1)
		go func() { emitted <- send("/emit", late) }()
		_, err := io.WriteString(rest, stoppedEvent("evt_2")[:20])
		require.NoError(t, err)
		synctest.Wait()
		require.Len(t, r.receiver.Requests(), 3)

		begin := time.Now()
		stop()
		time.Sleep(time.Second)
		_, err = io.WriteString(rest, stoppedEvent("evt_2")[20:])
		require.NoError(t, err)
		require.NoError(t, rest.Close())
		require.Equal(t, http.StatusAccepted, <-emitted)
		require.NoError(t, <-served)
		require.Equal(t, 13*time.Second, time.Since(begin))
		require.Equal(t, http.StatusCreated, <-pinged) // though its ping was cut short
		ping := r.log("state=failed").Deliveries[0]
		require.Equal(t, "cancelled", *ping.Reason)
		require.Equal(t, 5_000, ping.Attempts[0].LatencyMS)
		delivered := r.log("event=session.stopped&state=succeeded")
		require.Equal(t, []string{"evt_2", "evt_1"}, delivered.eventIDs())
		require.Contains(t, logs.String(), "deliveries_waiting=false")
		require.NotContains(t, logs.String(), "cut off")
	})
}

// What waits for a retry does not keep the service from stopping, and the log says that it is there.
func TestServeStopsWithDeliveriesWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, nil, webhooktest.Answer{}, webhooktest.Answer{Status: 500})
		r.addAll()
		ctx, stop := context.WithCancel(context.Background())
		var logs bytes.Buffer
		served := make(chan error, 1)
		go func() { served <- serve(ctx, make(pipe), r.d, true, newLog(&logs)) }()
		synctest.Wait()
		r.emit(stoppedEvent("evt_1"))
		synctest.Wait()
		stop()
		require.NoError(t, <-served)
		require.Contains(t, logs.String(), "deliveries_waiting=true")
	})
}

// broken is a listener that accepts nothing.
type broken struct{ pipe }

func (broken) Accept() (net.Conn, error) { return nil, net.ErrClosed }

func TestServeFailsWithItsListener(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		require.ErrorIs(t, serve(context.Background(), broken{make(pipe)}, newRig(t, nil, nil).d, true, quiet), net.ErrClosed)
	})
}

// The program itself: it is built, takes an event, and is told to stop while that is being delivered.
func TestProgram(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "service")
	built, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, string(built))

	receiver := webhooktest.NewReceiver(t, webhooktest.Answer{}, webhooktest.Answer{Status: http.StatusServiceUnavailable}, webhooktest.Answer{Fault: webhooktest.Hang})
	target := httptest.NewServer(receiver)
	t.Cleanup(target.Close)

	cmd := exec.CommandContext(t.Context(), binary, "-addr", "127.0.0.1:0", "-allow-insecure-targets", "-retry-initial", "10ms")
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(stderr)
	until := func(pattern string) []string {
		for lines.Scan() {
			if found := regexp.MustCompile(pattern).FindStringSubmatch(lines.Text()); found != nil {
				return found
			}
		}
		require.FailNow(t, "no such line: "+pattern)
		return nil
	}
	base := "http://" + until(`msg=listening addr=(\S+) store=memory workers=true insecure_targets=true retry_initial=10ms`)[1]
	post := func(path, body string) (int, string) {
		resp, err := http.Post(base+path, "application/json", strings.NewReader(body))
		require.NoError(t, err)
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(answer)
	}

	status, answer := post("/webhooks", `{"url":"`+target.URL+`/hook?token=t0ken","events":["*"],"secret":"generate"}`)
	require.Equal(t, http.StatusCreated, status, answer)
	var hook added
	require.NoError(t, json.Unmarshal([]byte(answer), &hook))
	require.Equal(t, "active", hook.State)
	require.NotContains(t, strings.Join(until(`msg="webhook added" .*`), ""), "t0ken")
	status, answer = post("/emit", stoppedEvent("evt_1"))
	require.Equal(t, http.StatusAccepted, status, answer)

	got := receiver.WaitFor(t.Context(), 3) // ping, first attempt, and a retry that hangs
	require.Equal(t, "2", got[2].Header.Get(webhook.HeaderAttempt))
	require.NoError(t, webhook.Verify(got[2].Body, got[2].Header.Get(webhook.HeaderSignature), *hook.Secret))
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	until(`msg="stopping: waiting for deliveries in flight"`)
	_, err = http.Get(base + "/healthz")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	receiver.Release()
	until(`msg=stopped deliveries_waiting=false`) // true, had it been cut off
	require.False(t, lines.Scan())
	require.NoError(t, cmd.Wait())

	out, err := exec.CommandContext(t.Context(), binary, "-store", "floppy").CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 1, exit.ExitCode())
	require.Equal(t, "service: -store \"floppy\" is none of memory, sqlite:FILE and postgres:URL\n", string(out))
}
