package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// poster posts what a delivery posts, byte for byte, with net/http alone, set for many requests to one host: nothing
// that is built on net/http can be quicker.
type poster struct {
	url    string
	header http.Header
	body   []byte
	client *http.Client
}

func newPoster(tb testing.TB, url string, connections int) *poster {
	tb.Helper()
	p := &poster{url: url, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, DisableCompression: true}}}
	tb.Cleanup(p.client.CloseIdleConnections)
	received := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		p.header = r.Header.Clone()
		p.body, _ = io.ReadAll(r.Body)
		received <- struct{}{}
	}))
	defer server.Close()
	w := newWalk(tb, webhook.NewMemoryStore(nil), server.URL, 1)
	w.round(tb, 1)
	<-received
	w.stop()
	p.header.Del("Content-Length") // net/http writes it, and wants it to be no other
	require.Len(tb, p.body, len(experiment().Body))
	return p
}

// post makes one request.
func (p *poster) post(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header = p.header.Clone() // the signature of each is another one
	res, err := p.client.Do(req)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	return nil
}

// round makes n requests, as many at a time as there are connections, and returns how long that took.
func (p *poster) round(tb testing.TB, n, connections int) time.Duration {
	tb.Helper()
	return together(tb, n, connections, func() error { return p.post(context.Background(), p.body) })
}

// together calls f n times from so many goroutines, and returns how long that took.
func together(tb testing.TB, n, goroutines int, f func() error) time.Duration {
	tb.Helper()
	var left atomic.Int64
	left.Store(int64(n))
	var all sync.WaitGroup
	var failed error
	var once sync.Once
	start := time.Now()
	for range goroutines {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if err := f(); err != nil {
					once.Do(func() { failed = err })
					return
				}
			}
		})
	}
	all.Wait()
	took := time.Since(start)
	require.NoError(tb, failed)
	return took
}

func TestPosterPostsWhatADeliveryPosts(t *testing.T) {
	t.Parallel()
	var headers []http.Header
	var bodies []string
	var mu sync.Mutex
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		headers, bodies = append(headers, r.Header), append(bodies, string(body))
	}))
	defer receiver.Close()
	newPoster(t, receiver.URL, 1).round(t, 1, 1)
	w := newWalk(t, webhook.NewMemoryStore(nil), receiver.URL, 1)
	w.round(t, 1)
	w.stop()
	require.Len(t, bodies, 2)
	require.Len(t, bodies[0], len(bodies[1]))
	for name, values := range headers[1] {
		require.Len(t, headers[0].Get(name), len(values[0]), name)
	}
	require.Len(t, headers[0], len(headers[1]))

	refusing := httptest.NewServer(http.NotFoundHandler())
	defer refusing.Close()
	p := newPoster(t, refusing.URL, 1)
	require.ErrorContains(t, p.post(t.Context(), p.body), "404")
}
