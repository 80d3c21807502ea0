package webhook_test

import (
	"bytes"
	"context"
	"flag"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// wiretap keeps the bytes that a transport writes.
type wiretap struct {
	mu    sync.Mutex
	taken [][]byte
}

// tap returns a transport that reaches h in memory and whose every request is kept as it is written.
func (w *wiretap) tap(h http.Handler) http.RoundTripper {
	t := webhooktest.Transport(h).(*http.Transport).Clone()
	dial := t.DialTLSContext
	t.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.taken = append(w.taken, nil)
		return &tapped{Conn: c, tap: w, at: len(w.taken) - 1}, nil
	}
	return t
}

type tapped struct {
	net.Conn
	tap *wiretap
	at  int
}

func (c *tapped) Write(p []byte) (int, error) {
	c.tap.mu.Lock()
	c.tap.taken[c.at] = append(c.tap.taken[c.at], p...)
	c.tap.mu.Unlock()
	return c.Conn.Write(p)
}

// What is random: a delivery's id; a ping's own id and with it the signature over that.
var (
	deliveryID = regexp.MustCompile(`dlv_[0-9a-z]+`)
	pingID     = regexp.MustCompile(`Webhook-Id: evt_[0-9a-z]{37}\nWebhook-Signature: v1,[0-9A-Za-z+/=]{44}`)
)

// golden compares the requests with a file: whole, but for what is random, and the order of the header's fields, which
// HTTP gives no meaning.
func (w *wiretap) golden(t *testing.T, name string) {
	t.Helper()
	var all bytes.Buffer
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, raw := range w.taken {
		head, body, ok := strings.Cut(string(raw), "\r\n\r\n")
		require.True(t, ok, "not a request: %q", raw)
		lines := strings.Split(head, "\r\n")
		slices.Sort(lines[1:])
		text := deliveryID.ReplaceAllString(strings.Join(lines, "\n"), "dlv_<id>")
		text = pingID.ReplaceAllString(text, "Webhook-Id: evt_<id>\nWebhook-Signature: v1,<signature>")
		all.WriteString(text + "\n\n" + body + "\n\n")
	}
	file := filepath.Join("testdata", "wire", name+".txt")
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, all.Bytes(), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), all.String())
}

// TestRequestsOnTheWire holds whole requests against golden files. Time is the bubble's, which begins in the year
// 2000.
func TestRequestsOnTheWire(t *testing.T) {
	typed := webhook.NewSecret("a secret that somebody typed")
	generated := webhook.NewSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	for name, c := range map[string]struct {
		secret webhook.Secret
		answer []webhooktest.Answer
		more   func(*rig, webhook.Endpoint)
	}{
		"unsigned":         {},
		"typed_secret":     {secret: typed},
		"generated_secret": {secret: generated},
		"retries":          {secret: typed, answer: []webhooktest.Answer{failing, failing, ok}},
		"rotation": {secret: typed, answer: []webhooktest.Answer{failing, failing, ok}, more: func(r *rig, e webhook.Endpoint) {
			_, err := r.d.RotateSecret(r.ctx, e.ID, generated, webhook.DefaultOverlap)
			require.NoError(r.t, err)
		}},
		"redelivery": {secret: typed, more: func(r *rig, e webhook.Endpoint) {
			r.emit(webhook.WithID("evt_1"))
			time.Sleep(time.Minute)
			_, err := r.d.Redeliver(r.ctx, r.only().ID)
			require.NoError(r.t, err)
		}},
		"ping": {secret: typed, more: func(r *rig, e webhook.Endpoint) {
			_, err := r.d.Ping(r.ctx, e.ID)
			require.NoError(r.t, err)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var w wiretap
				receiver := webhooktest.NewReceiver(t, c.answer...)
				r := newRig(t, receiver, func(cfg *webhook.Config) { cfg.UnguardedTransport = w.tap(receiver) }).run()
				e, _, err := r.d.AddEndpoint(r.ctx, webhook.Endpoint{ID: "we_1", URL: "https://example.com/hook?a=1", Events: []string{"*"}, Secret: c.secret}, webhook.WithoutPing())
				require.NoError(t, err)
				if c.more != nil {
					c.more(r, e)
				}
				if name != "ping" && name != "redelivery" {
					r.emit(webhook.WithID("evt_1"), webhook.WithTime(time.Date(2026, 4, 11, 16, 32, 0, 999, time.FixedZone("CEST", 7200))))
				}
				time.Sleep(tenMin)
				w.golden(t, name)
			})
		})
	}
}
