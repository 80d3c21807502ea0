package simulation

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/meshia/webhook"
)

// mode is how a receiver treats requests.
type mode struct {
	name       string
	status     int
	retryAfter int           // seconds; 0: no such header
	latency    time.Duration // until the answer
	refuse     bool          // nothing arrives
	reset      bool          // it arrives, and the connection is cut
	hang       bool          // it arrives, and nothing is answered
	stuck      bool          // the status arrives, the body never ends
}

var modes = []mode{
	{name: "ok", status: 200},
	{name: "no content", status: 204},
	{name: "failing", status: 500},
	{name: "busy", status: 503, retryAfter: 90},
	{name: "busy for long", status: 429, retryAfter: 3 * 3600},
	{name: "gone", status: 410},
	{name: "moved", status: 307},
	{name: "refusing", refuse: true},
	{name: "resetting", reset: true},
	{name: "hanging", hang: true},
	{name: "slow", status: 200, latency: 9 * time.Second},
	{name: "too slow", status: 200, latency: 16 * time.Second},
	{name: "stuck", status: 200, stuck: true},
}

// receiver is an endpoint's other side. It knows one secret, or none and takes everything.
type receiver struct {
	mode  mode
	known string
	seen  int
}

// request is one request, from both of its ends.
type request struct {
	node     *node
	lease    *lease
	started  time.Time
	arrived  bool
	status   int  // what the receiver answered; 0: nothing
	answered bool // the sender got it
	ended    time.Time

	mismatch bool // the receiver refused the signature
	innocent bool // the secret that it knew was live
}

// RoundTrip implements http.RoundTripper: a process's way to the receivers.
func (n *node) RoundTrip(req *http.Request) (*http.Response, error) {
	if n.dead() {
		return nil, n.hold()
	}
	defer req.Body.Close()
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	l, ctx := n.w.ledger, req.Context()
	r, to := l.requestStarted(n, req)
	if r == nil {
		return nil, syscall.EHOSTUNREACH
	}
	defer l.requestEnded(r)

	number := n.w.chance(r.lease.delivery.name, uint64(r.lease.number))
	if !n.sleep(ctx, time.Duration(1_000_000+number%20_000_000)) && number%2 == 0 {
		return nil, n.cut(ctx) // lost on the way; of the others the receiver hears although nobody waits any more
	}
	m := l.requestArrived(r, to, req, body)
	if m.refuse {
		return nil, syscall.ECONNREFUSED
	}
	patience := m.latency + time.Duration(1_000_000+number%7_000_000)
	if m.hang {
		patience = 365 * 24 * time.Hour
	}
	if !n.sleep(ctx, patience) {
		return nil, n.cut(ctx)
	}
	if m.reset {
		return nil, syscall.ECONNRESET
	}
	resp := &http.Response{
		Status: http.StatusText(m.status), StatusCode: m.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"text/plain"}}, ContentLength: -1, Body: io.NopCloser(strings.NewReader("thank you")), Request: req,
	}
	if m.retryAfter > 0 {
		resp.Header.Set("Retry-After", strconv.Itoa(m.retryAfter))
	}
	if m.stuck {
		resp.Body = io.NopCloser(stuckBody{n, ctx})
	}
	l.requestAnswered(r)
	return resp, nil
}

// cut is how a request ends that its sender no longer waits for.
func (n *node) cut(ctx context.Context) error {
	if n.dead() {
		return n.hold()
	}
	return ctx.Err()
}

type stuckBody struct {
	n   *node
	ctx context.Context
}

func (s stuckBody) Read([]byte) (int, error) {
	select {
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	case <-s.n.death:
		return 0, s.n.hold()
	}
}

// requestStarted notes that a process sends, which it may only while it has the lease for this very attempt.
func (l *ledger) requestStarted(n *node, req *http.Request) (*request, *receiver) {
	l.mu.Lock()
	defer l.mu.Unlock()
	number, _ := strconv.Atoi(req.Header.Get(webhook.HeaderAttempt))
	key := attemptKey{req.Header.Get(webhook.HeaderDelivery), number}
	given := l.leases[key]
	if given == nil {
		l.complain("GHOST: %s sends attempt %d of a delivery that nobody leased", n.name, number)
		return nil, nil
	}
	now := time.Now()
	if given.node != n {
		l.complain("TWO OWNERS: %s sends %s, which %s has", n.name, given, given.node.name)
	}
	if !now.Before(given.ends) {
		l.complain("LATE: %s sends %s %v after its lease has ended", n.name, given, now.Sub(given.ends))
	}
	if earlier := l.requests[key]; earlier != nil {
		l.complain("TWICE: %s is sent by %s and was sent by %s", given, n.name, earlier.node.name)
	}
	r := &request{node: n, lease: given, started: now}
	l.checkFlight(r)
	l.requests[key] = r
	l.sent++
	if !given.direct {
		n.flying++
		of := given.delivery.tenant
		if n.serving[of]++; of != "" && n.serving[of] > (n.w.Slots+1)/2 {
			l.complain("SHARE: %s sends %s, beside %d others of the tenant", n.name, given, n.serving[of]-1)
		}
	}
	ep := l.endpoints[endpointKey{given.delivery.tenant, given.delivery.endpoint}]
	if got := req.URL.Host; got != "example.com" {
		l.complain("GHOST: %s goes to %s", given, got)
	}
	if want := given.endpoint.URL; req.URL.String() != want {
		l.complain("GHOST: %s does not go to the URL that was leased", given)
	}
	return r, &ep.receiver
}

func (l *ledger) requestEnded(r *request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.ended = time.Now()
	if !r.lease.direct {
		r.node.flying--
		r.node.serving[r.lease.delivery.tenant]--
		delete(r.lease.delivery.at.flying, r)
	}
	if took, most := r.ended.Sub(r.started), l.w.timeout(&r.lease.endpoint); took > most && !r.node.dead() {
		l.complain("TIMEOUT: %s took %v, and may take %v", r.lease, took, most)
	}
	if !r.node.dead() && r.ended.After(r.lease.ends) {
		l.complain("LATE: %s goes on sending %s %v after its lease has ended", r.node.name, r.lease, r.ended.Sub(r.lease.ends))
	}
}

// checkRow compares what a process logs with what happened to its request.
func (l *ledger) checkRow(held *lease, r *request, row *webhook.Attempt) {
	switch {
	case row.Number != held.number:
		l.complain("NUMBER: %s is logged as %d", held, row.Number)
	case r == nil:
		l.complain("UNLOGGED: %s is logged as %s, and nothing was sent", held, row.Result)
	case !row.StartedAt.Equal(r.started):
		l.complain("CHANGED: %s is logged as started %v after it was", held, row.StartedAt.Sub(r.started))
	case r.answered && row.Status != r.status:
		l.complain("CHANGED: %s is logged with status %d, and was answered with %d", held, row.Status, r.status)
	}
	if row.RequestHeader.Get(webhook.HeaderSignature) != "" || row.RequestHeader.Get("Webhook-Signature") != "" {
		l.complain("SECRET: %s is logged with its signature", held)
	}
	for name := range held.headers {
		if r != nil && row.RequestHeader.Get(name) != "***" {
			l.complain("HEADER: %s is logged with a header that says %q, or without it", held, name)
		}
	}
	if most := l.w.timeout(&held.endpoint); row.Latency > most {
		l.complain("TIMEOUT: %s is logged with %v, and may take %v", held, row.Latency, most)
	}
}

func (l *ledger) requestAnswered(r *request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.answered = true
}

// requestArrived is the receiver's side: it checks what came, and says what it does.
func (l *ledger) requestArrived(r *request, to *receiver, req *http.Request, body []byte) mode {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := to.mode
	l.meter(r)
	if m.refuse {
		return m
	}
	to.seen++
	r.arrived = true
	d := r.lease.delivery
	if !bytes.Equal(body, d.of.body) {
		l.complain("CHANGED: the body of %s is not the event's", r.lease)
	}
	if got := req.Header.Get("Webhook-Id"); got != d.event {
		l.complain("CHANGED: webhook-id of %s is not the event's", r.lease)
	}
	if got := req.Header.Get("Webhook-Timestamp"); got != strconv.FormatInt(r.started.Unix(), 10) {
		l.complain("CHANGED: webhook-timestamp of %s is %s", r.lease, got)
	}
	l.checkHeaders(r.lease, req.Header)
	live := r.lease.live(r.started)
	l.checkSignatures(r.lease, live, req.Header, body)

	if to.known != "" {
		for _, s := range live {
			r.innocent = r.innocent || s == to.known
		}
		if l.verifier(to.known, webhook.Meshia).Verify(req.Header, body) != nil {
			r.mismatch = true
			m = mode{name: "not verified", status: 401}
			if r.innocent && len(live) == 1 {
				l.complain("UNVERIFIED: %s does not verify with the only secret there is", r.lease)
			}
		}
		if r.innocent && l.verifier(to.known, webhook.Standard).Verify(req.Header, body) != nil {
			l.complain("UNVERIFIED: webhook-signature of %s does not verify with a live secret", r.lease)
		}
	}
	if !m.reset && !m.hang {
		r.status = m.status
	}
	return m
}

// checkSignatures demands what the secrets that are live are to make of a request's headers: one X-Meshia-Signature by
// one of them, and a webhook-signature of each.
func (l *ledger) checkSignatures(at *lease, live []string, h http.Header, body []byte) {
	standard := strings.Fields(h.Get("Webhook-Signature"))
	if len(standard) != len(live) {
		l.complain("UNVERIFIED: %s has %d signatures where %d secrets are live", at, len(standard), len(live))
	}
	values := h[webhook.HeaderSignature]
	if len(values) != min(1, len(live)) {
		l.complain("UNVERIFIED: %s has %d values of %s", at, len(values), webhook.HeaderSignature)
	}
	signers := 0
	for _, s := range live {
		if webhook.Verify(body, h.Get(webhook.HeaderSignature), s) == nil {
			signers++
		}
		if l.verifier(s, webhook.Standard).Verify(h, body) != nil {
			l.complain("UNVERIFIED: %s has no signature of one of its live secrets", at)
		}
	}
	if len(live) > 0 && signers != 1 {
		l.complain("UNVERIFIED: %s of %s is by %d of the live secrets", webhook.HeaderSignature, at, signers)
	}
}

func (l *ledger) verifier(secret string, scheme webhook.Scheme) *webhook.Verifier {
	key := [2]string{secret, string(scheme)}
	if v := l.verifiers[key]; v != nil {
		return v
	}
	v, err := webhook.NewVerifier([]string{secret}, &webhook.VerifierConfig{Scheme: scheme, RawSecret: scheme == webhook.Standard})
	if err != nil {
		panic(err)
	}
	l.verifiers[key] = v
	return v
}
