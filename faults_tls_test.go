package webhook_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// certified makes a certificate that vouches for itself, and a pool that trusts it.
func certified(t *testing.T, change func(*x509.Certificate)) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "receiver"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// wiretapped keeps what comes over a connection as it comes, before it is decrypted.
type wiretapped struct {
	net.Conn
	mu    sync.Mutex
	taken bytes.Buffer
}

func (w *wiretapped) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.taken.Write(p[:n])
	return n, err
}

// TestFaultsOfTLS looks at handshakes that come to nothing: each is an attempt that failed, made once, and nothing of
// the request is ever sent in plain text.
func TestFaultsOfTLS(t *testing.T) {
	t.Parallel()
	const failedHandshake, noTLS = "the TLS handshake failed", "the port does not speak TLS"
	with := func(change func(*tls.Config), cert tls.Certificate) func(net.Conn) {
		cfg := &tls.Config{Certificates: []tls.Certificate{cert}}
		if change != nil {
			change(cfg)
		}
		return func(c net.Conn) {
			secure := tls.Server(c, cfg)
			if secure.Handshake() == nil {
				_, _ = io.Copy(io.Discard, secure)
			}
		}
	}
	good, trusted := certified(t, nil)
	expired, trustsExpired := certified(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-24 * time.Hour) })
	early, trustsEarly := certified(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(24 * time.Hour) })
	other, trustsOther := certified(t, func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"other.example.com"} })
	client, trustsClient := certified(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	for name, c := range map[string]struct {
		serve  func(net.Conn)
		roots  *x509.CertPool
		detail string
	}{
		"expired":                   {with(nil, expired), trustsExpired, "expired"},
		"not valid yet":             {with(nil, early), trustsEarly, "not yet valid"},
		"another host's":            {with(nil, other), trustsOther, "127.0.0.1"},
		"an authority nobody knows": {with(nil, good), x509.NewCertPool(), "unknown authority"},
		"a client's certificate":    {with(nil, client), trustsClient, "usage"},
		"TLS 1.0":                   {with(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 }, good), trusted, failedHandshake},
		"TLS 1.1":                   {with(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, good), trusted, failedHandshake},
		"an alert": {func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1<<10))
			_, _ = c.Write([]byte{21, 3, 3, 0, 2, 2, 40}) // fatal, handshake_failure (RFC 8446, section 6)
		}, trusted, failedHandshake},
		"closed within the handshake": {func(c net.Conn) { _, _ = c.Read(make([]byte, 1<<10)); c.Close() }, trusted, failedHandshake},
		"reset within the handshake":  {func(c net.Conn) { _, _ = c.Read(make([]byte, 1)); cut(c.(*wiretapped).Conn.(*net.TCPConn)) }, trusted, failedHandshake},
		"plain HTTP": {func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1<<10))
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
		}, trusted, noTLS},
		"a record without end":                         {func(c net.Conn) { _, _ = c.Write(append([]byte{22, 3, 3, 255, 255}, make([]byte, 1<<16)...)) }, trusted, noTLS},
		"TLS 1.2, and a certificate of ours is wanted": {with(func(c *tls.Config) { c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12 }, good), trusted, failedHandshake},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var taps []*wiretapped
			var mu sync.Mutex
			url := evil(t, func(conn *net.TCPConn) {
				tap := &wiretapped{Conn: conn}
				mu.Lock()
				taps = append(taps, tap)
				mu.Unlock()
				c.serve(tap)
			})
			a := attemptAt(t, strings.Replace(url, "http:", "https:", 1), loopback(&webhook.Config{Timeout: soon, RootCAs: c.roots}))
			require.Equal(t, row{undelivered, webhook.ErrorTLS, 0, false}, rowOf(a), a.Detail)
			require.Contains(t, a.Detail, c.detail)
			mu.Lock()
			defer mu.Unlock()
			require.Len(t, taps, 1, "it is not tried in another way")
			taps[0].mu.Lock()
			defer taps[0].mu.Unlock()
			require.NotContains(t, taps[0].taken.String(), "POST")
		})
	}
}

// TestAHandshakeThatStalls is ended by its own limit, 5 s, or by the attempt's where that is shorter.
func TestAHandshakeThatStalls(t *testing.T) {
	t.Parallel()
	for timeout, class := range map[time.Duration]webhook.ErrorClass{patience: webhook.ErrorTimeout, soon: webhook.ErrorTLS} {
		t.Run(timeout.String(), func(t *testing.T) {
			t.Parallel()
			url := evil(t, func(*net.TCPConn) {})
			a := attemptAt(t, strings.Replace(url, "http:", "https:", 1), loopback(&webhook.Config{Timeout: timeout}))
			require.Equal(t, row{undelivered, class, 0, false}, rowOf(a), a.Detail)
			require.Less(t, a.Latency, soon)
		})
	}
}
