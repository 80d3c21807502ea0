package webhook_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/netguard"
)

// TestEveryErrorHasItsClass asks for the errors that no test reaches with a socket, or not on every system.
func TestEveryErrorHasItsClass(t *testing.T) {
	t.Parallel()
	guard, err := netguard.New(nil)
	require.NoError(t, err)
	blocked := guard.Control(t.Context(), "tcp4", "127.0.0.1:443", nil)
	expired := &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}
	other := errors.New("x: 10.0.0.1")
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for name, c := range map[string]struct {
		err, tlsErr error
		answered    bool
		class       webhook.ErrorClass
		detail      string
	}{
		"an address that is not allowed": {dial(blocked), nil, false, webhook.ErrorBlocked, "destination address is not allowed"},
		"no such host":                   {dial(&net.DNSError{IsNotFound: true}), nil, false, webhook.ErrorDNS, "the host has no address"},
		"a name server that is away":     {dial(&net.DNSError{IsTimeout: true}), nil, false, webhook.ErrorDNS, "looking up the host failed"},
		"no TLS":                         {tls.RecordHeaderError{}, tls.RecordHeaderError{}, false, webhook.ErrorTLS, "the port does not speak TLS"},
		"an expired certificate":         {expired, expired, false, webhook.ErrorTLS, "x509: certificate has expired or is not yet valid: "},
		"another name's certificate":     {other, x509.HostnameError{Host: "example.com", Certificate: &x509.Certificate{}}, false, webhook.ErrorTLS, "x509: certificate is not valid for any names, but wanted to match example.com"},
		"a handshake that fails":         {other, other, false, webhook.ErrorTLS, "the TLS handshake failed"},
		"another dial's handshake that is not needed any more": {io.EOF, fmt.Errorf("handshake: %w", context.Canceled), false, webhook.ErrorReset, "the connection was cut before a response came"},
		"a dial that takes too long":                           {dial(os.ErrDeadlineExceeded), nil, false, webhook.ErrorTimeout, "no connection within the time allowed"},
		"a refused connection":                                 {dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), nil, false, webhook.ErrorRefused, "the connection was refused"},
		"a reset":                                              {os.NewSyscallError("read", syscall.ECONNRESET), nil, false, webhook.ErrorReset, "the connection was cut before a response came"},
		"a broken pipe":                                        {os.NewSyscallError("write", syscall.EPIPE), nil, false, webhook.ErrorReset, "the connection was cut before a response came"},
		"an end":                                               {io.EOF, nil, false, webhook.ErrorReset, "the connection was cut before a response came"},
		"an end in the middle":                                 {io.ErrUnexpectedEOF, nil, true, webhook.ErrorReset, "the connection was cut before a response came"},
		"a header that is none":                                {textproto.ProtocolError("malformed"), nil, false, webhook.ErrorProtocol, "what came back is not an HTTP response, or its header is too large"},
		"whatever came after a first byte":                     {other, nil, true, webhook.ErrorProtocol, "what came back is not an HTTP response, or its header is too large"},
		"no route":                                             {dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), nil, false, webhook.ErrorNetwork, "the host could not be reached"},
	} {
		result, class, detail := webhook.Classify(t.Context(), c.err, c.tlsErr, c.answered)
		require.Equal(t, webhook.AttemptFailed, result, name)
		require.Equal(t, c.class, class, name)
		require.Equal(t, c.detail, detail, name)
	}
}

// TestWhoEndedTheContextDecidesFirst: the round trip's error then says only that somebody did.
func TestWhoEndedTheContextDecidesFirst(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cause  error
		result webhook.AttemptResult
		class  webhook.ErrorClass
	}{
		{webhook.ErrStopped, webhook.AttemptInterrupted, webhook.ErrorStopped},
		{webhook.ErrTimedOut, webhook.AttemptFailed, webhook.ErrorTimeout},
		{context.Canceled, webhook.AttemptInterrupted, webhook.ErrorCancelled},
		{context.DeadlineExceeded, webhook.AttemptInterrupted, webhook.ErrorCancelled},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(c.cause)
		result, class, detail := webhook.Classify(ctx, io.EOF, errors.New("no handshake either"), true)
		require.Equal(t, c.result, result)
		require.Equal(t, c.class, class)
		require.NotEmpty(t, detail)
	}
}

func TestWhichSecretSignsWhereOneCan(t *testing.T) {
	t.Parallel()
	one, two := []string{"a"}, []string{"a", "b"}
	for _, c := range []struct {
		live           []string
		accepted, last string
		want           int
	}{
		{one, "", "", 0},
		{one, "gone", "", 0},
		{one, "", "a", 0}, // there is no other
		{two, "", "", 0},  // at first the oldest
		{two, "a", "", 0},
		{two, "b", "", 1},
		{two, "gone", "gone", 0},
		{two, "", "a", 1}, // what failed with one is tried with the other,
		{two, "", "b", 0},
		{two, "a", "a", 1}, // whatever another delivery was accepted with
		{two, "b", "b", 0},
		{two, "b", "a", 1},
	} {
		require.Equal(t, c.want, webhook.Choose(c.live, c.accepted, c.last), "%+v", c)
	}
}
