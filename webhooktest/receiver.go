package webhooktest

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Receiver is an endpoint that records the requests it gets and answers them as it was told. It is an http.Handler:
// reach it in memory through [Transport], over a socket through Listen, or serve it in any other way.
//
// In a [testing/synctest] bubble, make it with the bubble's t and use Transport. Its methods are safe for concurrent
// use; those that may fail the test must be called from the test's goroutine.
type Receiver struct {
	t      testing.TB
	ctx    context.Context // ends with the test
	cancel context.CancelFunc

	mu       sync.Mutex // never held while anything waits
	scripts  map[string]*script
	requests []Request
	arrived  chan struct{} // closed and replaced when a request is added
	released chan struct{} // closed and replaced by Release
	over     bool
	running  sync.WaitGroup
	server   *httptest.Server
}

// Request is a request as a [Receiver] got it.
type Request struct {
	Method string
	URL    string // in full, such as https://example.com/hook
	Header http.Header
	Body   []byte
	Time   time.Time // when the whole of it had arrived
}

// script is what remains to be answered on a path.
type script struct{ answers []Answer }

func (s *script) next() Answer {
	switch len(s.answers) {
	case 0:
		return Answer{}
	case 1:
		return s.answers[0] // the last one, for ever
	}
	a := s.answers[0]
	s.answers = s.answers[1:]
	return a
}

// NewReceiver returns a receiver that gives these answers, in order, and the last one for ever; without any it answers
// 200. When the test ends, so do the answers under way.
// An answer that cannot be given fails the test.
func NewReceiver(t testing.TB, answers ...Answer) *Receiver {
	t.Helper()
	r := &Receiver{
		t:        t,
		scripts:  make(map[string]*script),
		arrived:  make(chan struct{}),
		released: make(chan struct{}),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.Script("", answers...)
	t.Cleanup(r.close)
	return r
}

// Script replaces what requests to this URL path get from now on; they are then counted apart from the others. The
// empty path stands for all that have no script of their own.
func (r *Receiver) Script(path string, answers ...Answer) {
	r.t.Helper()
	for i := range answers {
		if err := answers[i].check(); err != nil {
			r.t.Fatalf("webhooktest: answer %d: %v", i+1, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.scripts[path] = &script{slices.Clone(answers)}
}

// Requests returns the requests that have arrived, in that order. One that the client broke off is not among them.
func (r *Receiver) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

// WaitFor returns the requests as soon as n of them have arrived. It fails the test if ctx ends first. In a bubble it
// lets time pass.
func (r *Receiver) WaitFor(ctx context.Context, n int) []Request {
	r.t.Helper()
	for {
		r.mu.Lock()
		requests, arrived := slices.Clone(r.requests), r.arrived
		r.mu.Unlock()
		if len(requests) >= n {
			return requests
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			r.t.Fatalf("webhooktest: waited for %d requests and got %d: %v%s", n, len(requests), ctx.Err(), list(requests))
		}
	}
}

func list(requests []Request) string {
	var b strings.Builder
	for _, r := range requests {
		fmt.Fprintf(&b, "\n\t%s %s %s", r.Time.Format(time.RFC3339Nano), r.Method, r.URL)
	}
	return b.String()
}

// Release lets the requests that [Hang] now go on. Those that come later hang until the next Release.
func (r *Receiver) Release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.released)
	r.released = make(chan struct{})
}

// Listen serves the receiver with TLS on a loopback port, until the test ends, and returns the URL and the pool with
// the certificate to trust. All calls return the same. It is not for bubbles: waiting for a socket does not let their
// time pass.
func (r *Receiver) Listen() (url string, roots *x509.CertPool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.server == nil {
		r.server = httptest.NewTLSServer(r)
	}
	roots = x509.NewCertPool()
	roots.AddCert(r.server.Certificate())
	return r.server.URL, roots
}

// ServeHTTP records the request and answers it.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if !r.enter() {
		panic(http.ErrAbortHandler) // closes the connection, without a word in the log
	}
	defer r.running.Done()
	body, err := io.ReadAll(req.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	answer, released := r.record(Request{
		Method: req.Method,
		URL:    fullURL(req),
		Header: req.Header.Clone(),
		Body:   body,
		Time:   time.Now(),
	}, req.URL.Path)
	req.Body = io.NopCloser(bytes.NewReader(body))

	// The request's context ends when the client goes away, the receiver's when the test ends.
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	if answer.Delay > 0 && !pause(ctx, answer.Delay) {
		panic(http.ErrAbortHandler)
	}
	if answer.Fault == Hang {
		select {
		case <-released:
		case <-ctx.Done():
			panic(http.ErrAbortHandler)
		}
	}
	answer.give(ctx, w, req.WithContext(ctx))
}

// enter counts a request in, unless the test is over.
func (r *Receiver) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return false
	}
	r.running.Add(1)
	return true
}

// record keeps the request and takes its answer in one step, so that their orders agree.
func (r *Receiver) record(req Request, path string) (Answer, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, req)
	close(r.arrived)
	r.arrived = make(chan struct{})
	s, ok := r.scripts[path]
	if !ok {
		s = r.scripts[""]
	}
	return s.next(), r.released
}

func (r *Receiver) close() {
	r.mu.Lock()
	r.over = true
	server := r.server
	r.mu.Unlock()
	r.cancel()
	if server != nil {
		server.CloseClientConnections() // first: Close waits for answers that nobody reads
		server.Close()
	}
	r.running.Wait()
}

func fullURL(r *http.Request) string {
	u := *r.URL
	u.Host = r.Host
	u.Scheme = "http"
	if r.TLS != nil {
		u.Scheme = "https"
	}
	return u.String()
}
