package webhook_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// soon is how long what needs no time may take before a test gives up on it: no load makes it that slow.
const soon = time.Minute

// evil is a receiver on a raw socket: serve does with each connection what no server would. Connections that it leaves
// open stay open until the test ends, so that nobody is helped by their end.
func evil(t *testing.T, serve func(c *net.TCPConn)) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		open []net.Conn
		over bool
	)
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			if over {
				c.Close()
			}
			mu.Unlock()
			all.Go(func() { serve(c.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		over = true
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return "http://" + l.Addr().String()
}

// heard reads a request to its end.
func heard(c net.Conn) {
	if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
		_, _ = io.Copy(io.Discard, req.Body) // a sender that goes away is not the receiver's affair
	}
}

// says hears a request out, writes these texts and leaves the connection open.
func says(texts ...string) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		heard(c)
		for _, text := range texts {
			_, _ = io.WriteString(c, text)
		}
	}
}

// cut resets the connection (TCP RST).
func cut(c *net.TCPConn) {
	_ = c.SetLinger(0)
	c.Close()
}

// drip writes a text byte by byte, over and over, until nobody takes it any more.
func drip(c *net.TCPConn, text string, pace time.Duration) {
	for i := 0; ; i = (i + 1) % len(text) {
		if _, err := io.WriteString(c, text[i:i+1]); err != nil {
			return
		}
		time.Sleep(pace)
	}
}

// pour writes a text over and over until it has written n bytes or nobody takes them any more, and returns how many it
// got rid of.
func pour(c *net.TCPConn, text string, n int) (written int) {
	chunk := strings.Repeat(text, 1+(16<<10)/len(text))
	for written < n {
		m, err := io.WriteString(c, chunk[:min(len(chunk), n-written)])
		written += m
		if err != nil {
			break
		}
	}
	return written
}

// inPlainText accepts the endpoints of evil receivers.
func inPlainText(c *webhook.Config) *webhook.Config {
	c.InsecureHTTP, c.Logger, c.Retry = true, quiet, webhook.Schedule{}
	return loopback(c)
}

// realRig is a rig on real sockets: cfg has no transport of its own.
func realRig(t *testing.T, cfg *webhook.Config) *rig {
	t.Helper()
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), cfg)
	require.NoError(t, err)
	return &rig{t: t, ctx: context.Background(), d: d}
}

// at adds an endpoint with this URL, active and without a ping.
func (r *rig) at(url string, events ...string) webhook.Endpoint {
	r.t.Helper()
	e, _, err := r.d.AddEndpoint(r.ctx, webhook.Endpoint{URL: url, Events: events, Secret: secretA}, webhook.WithoutPing())
	require.NoError(r.t, err)
	return e
}

// settled waits until the endpoint has so many deliveries, all of them in a final state.
func (r *rig) settled(of webhook.Endpoint, n int) []webhook.Delivery {
	r.t.Helper()
	var all []webhook.Delivery
	require.Eventually(r.t, func() bool {
		all = r.deliveries(webhook.DeliveryFilter{EndpointID: of.ID})
		for _, d := range all {
			if d.State != webhook.DeliverySucceeded && d.State != webhook.DeliveryFailed {
				return false
			}
		}
		return len(all) == n
	}, soon, 5*time.Millisecond)
	return all
}

// row is what a test looks at of an attempt's row.
type row struct {
	result    webhook.AttemptResult
	class     webhook.ErrorClass
	status    int
	truncated bool
}

func rowOf(a webhook.Attempt) row { return row{a.Result, a.Error, a.Status, a.Truncated} }

// senders counts the goroutines that are at work for a dispatcher or for its connections. Tests that look at it are not
// parallel: it counts those of the whole process.
func senders() int {
	stacks := make([]byte, 8<<20)
	n := 0
	for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		for _, of := range []string{"net/http.(*persistConn)", "net/http.(*Transport)", "webhook.(*run)", "webhook.(*engine)", "webhook.(*Dispatcher)"} {
			if strings.Contains(stack, of) {
				n++
				break
			}
		}
	}
	return n
}

// nobodyLeft waits until nothing is at work any more.
func nobodyLeft(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return senders() == 0 }, soon, 5*time.Millisecond, "goroutines that Run left behind")
}

// bombProof is how much the heap may grow while bombs go off.
const bombProof = 64 << 20

// heapWatch looks at the heap of the whole process, garbage included, so that tests which use it are not parallel. It
// looks from outside of bubbles, whose time it would hold up.
type heapWatch struct{ base, most atomic.Int64 }

func watchHeap(t *testing.T) *heapWatch {
	t.Helper()
	w := &heapWatch{}
	w.begin()
	over := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			w.look()
			select {
			case <-tick.C:
			case <-over:
				return
			}
		}
	})
	t.Cleanup(func() { close(over); watching.Wait() })
	return w
}

func (w *heapWatch) look() int64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	now := int64(sample[0].Value.Uint64())
	for most := w.most.Load(); now > most && !w.most.CompareAndSwap(most, now); most = w.most.Load() {
	}
	return now
}

// begin makes what there is now the base.
func (w *heapWatch) begin() {
	runtime.GC()
	w.most.Store(0)
	w.base.Store(w.look())
}

// growth is by how many bytes the heap has grown at most since then.
func (w *heapWatch) growth() int64 { return w.most.Load() - w.base.Load() }

// live is by how many bytes it has grown when the garbage is gone.
func (w *heapWatch) live() int64 {
	runtime.GC()
	return w.look() - w.base.Load()
}
