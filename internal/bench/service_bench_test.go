package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// BenchmarkService runs examples/service as a process on Postgres and posts events to its HTTP API over 32 connections,
// each event for one endpoint. x-http is the rate at which they arrive at the sink, until the last one has, divided by
// the rate at which net/http posts to the sink over as many connections: an event makes two requests and is stored in
// between, on the same two ends of the machine. RSS-MiB is the most memory that the service had.
//
// The endpoints are as the service makes them, with 8 requests in flight at most; eight of them, one for each event
// type, are what keeps that from being what is measured.
func BenchmarkService(b *testing.B) {
	binary := filepath.Join(b.TempDir(), "service")
	build := exec.Command("go", "build", "-o", binary, "./service")
	build.Dir = filepath.Join("..", "..", "examples")
	out, err := build.CombinedOutput()
	require.NoError(b, err, "%s", out)
	server := startServer(b, newest(b))
	types := webhook.DefaultRegistry().Types()
	for _, endpoints := range []int{1, len(types)} {
		b.Run(fmt.Sprintf("endpoints=%d", endpoints), func(b *testing.B) {
			const connections = 32
			theirs, ours := startSink(b), startSink(b)
			raw := newPoster(b, theirs.hook(), connections)
			database := server.Database(b, "")
			s := startService(b, binary, fmt.Sprintf("postgres://postgres@/%s?host=%s&port=5432&sslmode=disable&pool_max_conns=16", database, server.Socket()))
			var requests [][]byte
			for _, kind := range types[:endpoints] {
				s.call(b, "/webhooks", http.StatusCreated, map[string]any{"url": ours.hook(), "events": []string{kind.Name()}, "secret": "generate"})
				requests = append(requests, encode(b, map[string]any{"event": kind.Name(), "session_id": "sess_abc123", "data": kind.Example()}))
			}
			requested := endpoints // the pings
			var turn atomic.Int64
			versus(b, "x-http", size(10_000), func(n int) time.Duration { return raw.round(b, n, connections) }, func(n int) time.Duration {
				start := time.Now()
				together(b, n, connections, func() error {
					return s.post("/emit", http.StatusAccepted, requests[turn.Add(1)%int64(len(requests))], nil)
				})
				requested += n
				ours.seen(b, requested)
				return time.Since(start)
			})
			marked(b, 0.16)
			b.ReportMetric(float64(s.peak(b))/(1<<20), "RSS-MiB")
			b.ReportMetric(50, "mark-RSS-MiB")
			s.stop(b)
			require.Equal(b, requested, ours.seen(b, 0))
			pool := connect(b, server.DSN(database), 1)
			defer pool.Close()
			var logged int
			require.NoError(b, pool.QueryRow(b.Context(), `SELECT count(*) FROM webhook_deliveries d JOIN webhook_attempts a ON a.tenant = d.tenant AND a.delivery_id = d.id
				WHERE d.state = 'succeeded'`).Scan(&logged))
			require.Equal(b, requested, logged)
		})
	}
}

// service is the example as a process.
type service struct {
	cmd    *exec.Cmd
	base   string
	client *http.Client
	ended  bool
}

var listening = regexp.MustCompile(`msg=listening addr=(\S+)`)

// startService starts it; its log goes to a file, as a service's does.
func startService(b *testing.B, binary, store string) *service {
	b.Helper()
	log, err := os.Create(filepath.Join(b.TempDir(), "log"))
	require.NoError(b, err)
	b.Cleanup(func() { _ = log.Close() })
	s := &service{cmd: exec.Command(binary, "-addr", "127.0.0.1:0", "-allow-insecure-targets", "-store", store)}
	s.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}
	s.cmd.Stdout, s.cmd.Stderr = log, log
	require.NoError(b, s.cmd.Start())
	b.Cleanup(func() {
		if !s.ended {
			_ = s.cmd.Process.Kill()
			_ = s.cmd.Wait()
		}
		if text, err := os.ReadFile(log.Name()); b.Failed() && err == nil {
			b.Logf("the end of the service's log:\n%s", text[max(0, len(text)-4000):])
		}
		s.client.CloseIdleConnections()
	})
	require.Eventually(b, func() bool {
		text, err := os.ReadFile(log.Name())
		found := listening.FindSubmatch(text)
		if err == nil && found != nil {
			s.base = "http://" + string(found[1])
		}
		return found != nil
	}, time.Minute, 10*time.Millisecond, "the service does not listen")
	return s
}

func encode(b *testing.B, v any) []byte {
	b.Helper()
	text, err := json.Marshal(v)
	require.NoError(b, err)
	return text
}

// call posts one request, and reads the answer.
func (s *service) call(b *testing.B, path string, status int, body any) {
	b.Helper()
	var answer struct{ State webhook.EndpointState }
	require.NoError(b, s.post(path, status, encode(b, body), &answer))
	require.Equal(b, webhook.EndpointActive, answer.State)
}

func (s *service) post(path string, status int, body []byte, answer any) error {
	res, err := s.client.Post(s.base+path, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != status {
		err = fmt.Errorf("POST %s: status %d: %s", path, res.StatusCode, text)
	}
	if err == nil && answer != nil {
		err = json.Unmarshal(text, answer)
	}
	return err
}

// peak is the most memory that the process had until now, in bytes.
func (s *service) peak(b *testing.B) int64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	require.NoError(b, err)
	_, text, found := bytes.Cut(text, []byte("VmHWM:"))
	require.True(b, found)
	var kilobytes int64
	_, err = fmt.Fscan(strings.NewReader(string(text)), &kilobytes)
	require.NoError(b, err)
	return kilobytes << 10
}

// stop asks the service to end, and waits until it has recorded what was in flight.
func (s *service) stop(b *testing.B) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = s.cmd.Process.Kill() })()
	s.client.CloseIdleConnections()
	require.NoError(b, s.cmd.Process.Signal(syscall.SIGTERM))
	s.ended = true
	require.NoError(b, s.cmd.Wait())
}
