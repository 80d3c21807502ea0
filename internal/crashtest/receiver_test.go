//go:build linux

package crashtest

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// request is what a receiver saw of one request.
type request struct {
	Event, Delivery string
	Attempt         int
	Start, End      time.Time // from the first byte until it was answered or cut off; End is zero while neither has come
	Complete        bool      // all of the body came
	Sum             string    // SHA-256 of the body, if it is complete
	Wrong           string    // why it does not verify, if it is complete
	Ping            bool
	Status          int // of the answer; 0: there was none
}

// receiver is an HTTP server on a bare listener, so that it sees what a server of net/http keeps to itself: requests
// that are cut off.
type receiver struct {
	secret   string
	listener net.Listener
	standard *webhook.Verifier

	mu       sync.Mutex
	gate     gate // nil: the path says what to answer
	requests []*request
	open     map[net.Conn]bool
	closed   bool
	handlers sync.WaitGroup
}

// gate says what to answer, as receiver.answer does. It may block until the other side hangs up.
type gate func(r request, cut <-chan struct{}) int

func (r *receiver) decide(g gate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gate = g
}

// until waits for either; it reports whether it was the first.
func until(open, cut <-chan struct{}) bool {
	select {
	case <-open:
		return true
	case <-cut:
		return false
	}
}

func newReceiver(t testing.TB) *receiver {
	t.Helper()
	r := &receiver{secret: webhook.GenerateSecret().Reveal(), open: map[net.Conn]bool{}}
	var err error
	r.standard, err = webhook.NewVerifier([]string{r.secret}, &webhook.VerifierConfig{Scheme: webhook.Standard})
	require.NoError(t, err)
	r.listener, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r.handlers.Go(r.accept)
	t.Cleanup(r.close)
	return r
}

func (r *receiver) url(path string) string { return "http://" + r.listener.Addr().String() + path }

func (r *receiver) close() {
	_ = r.listener.Close()
	r.mu.Lock()
	r.closed = true
	for conn := range r.open {
		_ = conn.Close()
	}
	r.mu.Unlock()
	r.handlers.Wait()
}

func (r *receiver) accept() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		if r.closed {
			_ = conn.Close()
		}
		r.open[conn] = true
		r.mu.Unlock()
		r.handlers.Go(func() {
			for in := bufio.NewReader(conn); r.serve(conn, in); {
			}
			_ = conn.Close()
			r.mu.Lock()
			delete(r.open, conn)
			r.mu.Unlock()
		})
	}
}

// serve takes one request and reports whether there may be another one.
func (r *receiver) serve(conn net.Conn, in *bufio.Reader) bool {
	if _, err := in.Peek(1); err != nil {
		return false
	}
	began := time.Now()
	req, err := http.ReadRequest(in)
	if err != nil {
		return false // not even the header came: nothing says what it was
	}
	attempt, _ := strconv.Atoi(req.Header.Get(webhook.HeaderAttempt))
	got := &request{Event: req.Header.Get("Webhook-Id"), Delivery: req.Header.Get(webhook.HeaderDelivery), Attempt: attempt, Start: began}
	r.mu.Lock()
	r.requests = append(r.requests, got)
	r.mu.Unlock()

	body, err := io.ReadAll(req.Body)
	r.mu.Lock()
	if err == nil && int64(len(body)) == req.ContentLength {
		got.Complete, got.Wrong = true, r.verify(req, body)
		got.Ping = strings.HasPrefix(string(body), `{"event":"ping",`)
		sum := sha256.Sum256(body)
		got.Sum = hex.EncodeToString(sum[:])
	} else {
		got.End = time.Now()
	}
	seen := *got
	r.mu.Unlock()
	if !seen.Complete {
		return false
	}

	cut := make(chan struct{})
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		if _, err := in.Peek(1); err != nil {
			close(cut)
		}
	}()
	status := r.answer(seen, req.URL.Path, cut)
	r.mu.Lock()
	got.Status = status
	if status == 0 {
		got.End = time.Now()
	}
	r.mu.Unlock()
	if status == 0 {
		_ = conn.Close()
		<-watching
		return false
	}
	// The end is noted before the answer: who is answered may be quicker with what follows than this is with the note.
	r.mu.Lock()
	got.End = time.Now()
	r.mu.Unlock()
	_, err = fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nContent-Length: 2\r\n\r\nok", status, http.StatusText(status))
	<-watching // by the next request, or by the end of the connection
	return err == nil
}

// verify says what is wrong with a request.
func (r *receiver) verify(req *http.Request, body []byte) string {
	if err := webhook.Verify(body, req.Header.Get(webhook.HeaderSignature), r.secret); err != nil {
		return err.Error()
	}
	if err := r.standard.Verify(req.Header, body); err != nil {
		return err.Error()
	}
	return ""
}

// Paths of endpoints that misbehave.
const (
	failing = "/failing" // answers 500 to the first attempts at a delivery, at some to all
	hanging = "/hanging" // does not answer the first attempt at one in four
)

// answer is the status to answer with; 0: none was given until the other side hung up.
func (r *receiver) answer(got request, path string, cut <-chan struct{}) int {
	r.mu.Lock()
	decide := r.gate
	r.mu.Unlock()
	if decide != nil {
		return decide(got, cut)
	}
	h := fnv.New32a()
	_, _ = io.WriteString(h, got.Delivery)
	luck := int(h.Sum32()>>8) % 6
	switch {
	case got.Ping:
		return http.StatusOK
	case path == failing && got.Attempt <= luck:
		return http.StatusInternalServerError
	case path == hanging && luck == 0 && got.Attempt == 1:
		<-cut
		return 0
	default:
		return http.StatusOK
	}
}

// seen is what came until now.
func (r *receiver) seen() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]request, len(r.requests))
	for i, req := range r.requests {
		list[i] = *req
	}
	return list
}
