package webhook

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"
)

// Attempt is one request to an endpoint, as it is logged.
type Attempt struct {
	Number    int       // 1, 2, 3 ... within the delivery, without gaps
	StartedAt time.Time // when it was sent; for an interrupted one whose process died, when it was claimed
	Result    AttemptResult
	Error     ErrorClass // empty if delivered
	Detail    string     // the error in words that its endpoint's owner may read; at most 256 bytes
	Status    int        // the response's status; 0 if there was none

	Latency time.Duration // from the start until the response was read, or the attempt failed
	Phases  Phases
	// RemoteAddr is the address that answered, as ip:port. Empty if no connection was made.
	RemoteAddr string

	RequestHeader  http.Header // as sent, without the signatures; the body is the event's
	ResponseHeader http.Header
	ResponseBody   []byte // at most Config.MaxResponseBytes, cut between runes; from the 51st attempt on at most 512 bytes, as of the header
	Truncated      bool   // the response's body was longer than what is kept

	// SecretID names the secret that signed X-Meshia-Signature. Empty if the request was not signed.
	SecretID string
}

// Phases says where an attempt's time went (see net/http/httptrace). A phase that did not happen is 0; on a kept
// connection only FirstByte happens.
type Phases struct {
	DNS       time.Duration // looking up the host
	Connect   time.Duration // the TCP handshake
	TLS       time.Duration // the TLS handshake
	FirstByte time.Duration // from having the connection to the first byte of the response
	Reused    bool          // the connection was kept from an earlier attempt
}

// AttemptResult is what came of an attempt.
type AttemptResult string

const (
	AttemptDelivered   AttemptResult = "delivered"   // 2xx
	AttemptFailed      AttemptResult = "failed"      // anything else that the endpoint or the network did
	AttemptInterrupted AttemptResult = "interrupted" // cut off by this side: its process died or was stopped. It may have arrived
)

// ErrorClass says in one word what went wrong. The set is closed; new classes come with a new minor version.
type ErrorClass string

const (
	ErrorStatus    ErrorClass = "status"    // a response that is neither 2xx nor a redirect
	ErrorRedirect  ErrorClass = "redirect"  // a 3xx; redirects are never followed
	ErrorTimeout   ErrorClass = "timeout"   // no response began within Config.Timeout
	ErrorDNS       ErrorClass = "dns"       // the host has no address, or the look-up failed
	ErrorBlocked   ErrorClass = "blocked"   // the address is not one that requests may go to
	ErrorRefused   ErrorClass = "refused"   // the host refused the connection
	ErrorTLS       ErrorClass = "tls"       // the handshake failed: certificate, name, version
	ErrorReset     ErrorClass = "reset"     // the connection was cut before a response came
	ErrorProtocol  ErrorClass = "protocol"  // what came back is not an HTTP response, or its header is too large
	ErrorNetwork   ErrorClass = "network"   // any other failure of the network: no route, no free port
	ErrorInternal  ErrorClass = "internal"  // nothing was sent: the endpoint as stored cannot be used, or the transport panicked
	ErrorStopped   ErrorClass = "stopped"   // interrupted: the dispatcher was stopped and the drain time was over
	ErrorOwnerLost ErrorClass = "lost"      // interrupted: the process that made the attempt died or did not report back
	ErrorCancelled ErrorClass = "cancelled" // interrupted: the caller of a ping or test gave up
)

// attempt sends and settles, in whichever goroutine owns the lease.
func (e *engine) attempt(out *line, l *Lease) settled {
	to, err := e.keys.target(out.parent, l.Endpoint, time.Now())
	out.limit = e.timeout(l.Endpoint)
	switch {
	case errors.Is(err, errNotOpened) && out.parent.Err() != nil: // which says nothing of the key
		return settled{Outcome: release(l), lease: l}
	case errors.Is(err, errNotOpened):
		return settled{Outcome: e.leave(out.parent, l, err), lease: l}
	}
	return settled{Outcome: e.settle(l, e.send(out, l, to, err)), lease: l}
}

// timeout bounds one attempt at the endpoint.
func (e *engine) timeout(to *Endpoint) time.Duration {
	if to.Timeout > 0 {
		return min(to.Timeout, e.cfg.Timeout) // which may have been lowered since the endpoint was saved
	}
	return e.cfg.Timeout
}

// send is sender.send where the endpoint can be used and the transport, which may be the user's, does not panic.
func (e *engine) send(out *line, l *Lease, to target, unusable error) (a Attempt) {
	ctx, started := out.parent, time.Now()
	broken := func(detail string) Attempt {
		a := Attempt{Number: l.Delivery.AttemptCount, StartedAt: started.UTC(), Latency: time.Since(started)}
		a.fail(AttemptFailed, ErrorInternal, detail)
		return a
	}
	defer func() {
		if p := recover(); p != nil {
			e.log.LogAttrs(ctx, slog.LevelError, "webhook: sending panicked", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			a = broken("the request could not be made")
		}
	}()
	if unusable != nil {
		e.log.LogAttrs(ctx, slog.LevelError, "webhook: an endpoint cannot be used as it is stored",
			slog.String("endpoint", l.Endpoint.ID), slog.Any("error", unusable))
		return broken("the endpoint cannot be used as it was saved: " + unusable.Error())
	}
	if len(l.Event.Body) == 0 { // every event has one: a signed request without it would say what nobody emitted
		e.log.LogAttrs(ctx, slog.LevelError, "webhook: an event cannot be sent as it is stored", slog.String("event", l.Event.ID))
		return broken("the event's contents are gone")
	}
	return e.sender.send(out, l, to)
}

// settle is rules.settle where the policy, which may be the user's, does not panic; if it does, the default one
// decides.
func (e *engine) settle(l *Lease, a Attempt) (o Outcome) {
	defer func() {
		if p := recover(); p != nil {
			e.log.LogAttrs(context.Background(), slog.LevelError, "webhook: the retry policy panicked", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			standard := e.rules
			standard.policy = Backoff{}
			o = standard.settle(l, a)
		}
	}()
	return e.rules.settle(l, a)
}
