package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"syscall"
	"time"

	"github.com/meshia/webhook/internal/failpoint"
	"github.com/meshia/webhook/internal/netguard"
)

// exchange watches one request through net/http/httptrace: where its time goes, and how far it came, which tells
// errors apart that read alike.
type exchange struct {
	started time.Time

	mu       sync.Mutex // the transport goes on dialling, and calling, after the request it dialled for is over
	phases   Phases
	addr     net.Addr // the other end of the connection, and its text
	remote   string
	kept     bool // no dial was made for this request
	dns      time.Time
	connect  time.Time
	tls      time.Time
	gotConn  time.Time
	answered bool // the first byte of a response came
	tlsErr   error
}

func (x *exchange) trace() *httptrace.ClientTrace {
	trace := &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) { x.note(func(now time.Time) { x.dns = now }) },
		DNSDone:  func(httptrace.DNSDoneInfo) { x.note(func(now time.Time) { x.phases.DNS = now.Sub(x.dns) }) },
		ConnectStart: func(string, string) {
			x.note(func(now time.Time) {
				if x.connect.IsZero() { // further ones are for the host's other addresses
					x.connect = now
				}
			})
		},
		ConnectDone: func(_, _ string, err error) {
			if err == nil {
				x.note(func(now time.Time) { x.phases.Connect = now.Sub(x.connect) })
				failpoint.Pass(failpoint.K8)
			}
		},
		TLSHandshakeStart: func() { x.note(func(now time.Time) { x.tls = now }) },
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			x.note(func(now time.Time) { x.phases.TLS, x.tlsErr = now.Sub(x.tls), err })
		},
		GotConn: func(info httptrace.GotConnInfo) {
			x.note(func(now time.Time) { x.connected(info, now) })
		},
		GotFirstResponseByte: func() {
			failpoint.Pass(failpoint.K11)
			x.note(func(now time.Time) { x.phases.FirstByte, x.answered = now.Sub(x.gotConn), true })
		},
	}
	if failpoint.Enabled {
		trace.WroteHeaders = func() { failpoint.Pass(failpoint.K9) }
	}
	return trace
}

// begin readies the exchange for another request, unless a dial for the last one may be under way still: its hooks
// would speak into the new one.
func (x *exchange) begin(now time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.kept {
		return false
	}
	x.started, x.kept, x.answered = now, false, false
	x.phases, x.gotConn = Phases{}, time.Time{}
	return true
}

// connected notes the connection that the request goes over.
func (x *exchange) connected(info httptrace.GotConnInfo, now time.Time) {
	x.gotConn = now
	x.phases.Reused = info.Reused
	if info.Reused { // a dial that this request started and did not wait for is another's
		x.phases.DNS, x.phases.Connect, x.phases.TLS = 0, 0, 0
	}
	// One that was idle before the request began was taken without a dial.
	x.kept = info.WasIdle && info.IdleTime >= now.Sub(x.started)
	if info.Conn == nil {
		return
	}
	if addr := info.Conn.RemoteAddr(); addr != x.addr { // the text is kept with it: it takes longer to make than to send
		x.addr, x.remote = addr, addr.String()
	}
}

func (x *exchange) note(f func(now time.Time)) {
	now := time.Now()
	x.mu.Lock()
	defer x.mu.Unlock()
	f(now)
}

func (x *exchange) result() (Phases, string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.phases, x.remote
}

// classify puts the error of a round trip into its class, with words that the endpoint's owner may read: they name no
// address that this side looked up.
func (x *exchange) classify(ctx context.Context, err error) (AttemptResult, ErrorClass, string) {
	switch cause := context.Cause(ctx); {
	case cause == errStopped:
		return AttemptInterrupted, ErrorStopped, "cut off when the sender was stopped"
	case cause == errTimedOut:
		return AttemptFailed, ErrorTimeout, "no response within the time allowed"
	case cause != nil:
		return AttemptInterrupted, ErrorCancelled, "cancelled by whoever asked for it"
	}
	x.mu.Lock()
	tlsErr, answered, connected := x.tlsErr, x.answered, !x.gotConn.IsZero()
	x.mu.Unlock()

	var (
		dns      *net.DNSError
		blocked  *netguard.BlockedError
		timeout  net.Error
		record   tls.RecordHeaderError
		protocol textproto.ProtocolError
		op       *net.OpError
	)
	switch {
	case errors.As(err, &blocked):
		return AttemptFailed, ErrorBlocked, blocked.Error()
	case errors.As(err, &dns) && dns.IsNotFound:
		return AttemptFailed, ErrorDNS, "the host has no address"
	case errors.As(err, &dns):
		return AttemptFailed, ErrorDNS, "looking up the host failed"
	case errors.As(err, &record):
		return AttemptFailed, ErrorTLS, "the port does not speak TLS"
	case tlsErr != nil && !errors.Is(tlsErr, context.Canceled):
		return AttemptFailed, ErrorTLS, tlsDetail(tlsErr)
	case errors.As(err, &op) && op.Op == "remote error": // an alert: with TLS 1.3 a client's certificate is refused after the handshake
		return AttemptFailed, ErrorTLS, failedHandshake
	case errors.As(err, &timeout) && timeout.Timeout():
		return AttemptFailed, ErrorTimeout, "no connection within the time allowed"
	case errors.Is(err, syscall.ECONNREFUSED):
		return AttemptFailed, ErrorRefused, "the connection was refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return AttemptFailed, ErrorReset, "the connection was cut before a response came"
	case answered, errors.As(err, &protocol):
		return AttemptFailed, ErrorProtocol, "what came back is not an HTTP response, or its header is too large"
	case connected: // the transport has several words of its own for it, without a cause, while it still writes
		return AttemptFailed, ErrorReset, "the connection was cut before a response came"
	default:
		return AttemptFailed, ErrorNetwork, "the host could not be reached"
	}
}

const failedHandshake = "the TLS handshake failed"

// tlsDetail tells the owner of a certificate what is wrong with it, in the words of crypto/x509, which name nothing
// but the certificate.
func tlsDetail(err error) string {
	var (
		invalid x509.CertificateInvalidError
		host    x509.HostnameError
		unknown x509.UnknownAuthorityError
	)
	switch {
	case errors.As(err, &invalid):
		return invalid.Error()
	case errors.As(err, &host):
		return host.Error()
	case errors.As(err, &unknown):
		return unknown.Error()
	default:
		return failedHandshake
	}
}
