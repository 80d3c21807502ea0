package netguard_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/meshia/webhook/internal/netguard"
	"github.com/stretchr/testify/require"
)

// rig is the real client of a guard, with a DNS of its own and a line drawn behind Control: what passes is
// noted, and then no network is reached but, if there is one, the local server.
type rig struct {
	client    *http.Client
	transport *http.Transport
	local     string // where connections that the guard let pass end; none: nowhere

	mu     sync.Mutex
	asked  []string // every connection that the guard was asked about
	passed []string // those that it let pass
}

// patience replaces the transport's bounds on a dial and on a handshake, which a machine that is busy with other tests
// can overrun. What the bounds are is for TestTransportLimits.
const patience = time.Minute

var errPassed = errors.New("passed the guard")

func newRig(g *netguard.Guard, z *zone, c netguard.TransportConfig) *rig {
	r := &rig{}
	c.Resolver = z.resolver()
	dialer := g.Dialer(c.Resolver)
	dialer.Timeout = patience
	guard := dialer.ControlContext
	dialer.ControlContext = func(ctx context.Context, network, address string, conn syscall.RawConn) error {
		err := guard(ctx, network, address, conn)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.asked = append(r.asked, network+" "+address)
		if err != nil {
			return err
		}
		r.passed = append(r.passed, network+" "+address)
		return errPassed
	}
	tr, err := netguard.NewTransport(dialer, c)
	if err != nil {
		panic(err)
	}
	tr.TLSHandshakeTimeout = patience
	guarded := tr.DialContext
	tr.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := guarded(ctx, network, address)
		if errors.Is(err, errPassed) && r.local != "" {
			return new(net.Dialer).DialContext(ctx, "tcp", r.local)
		}
		return conn, err
	}
	r.transport = tr
	r.client = &http.Client{Transport: tr, CheckRedirect: never}
	return r
}

// seen returns what the guard was asked about and what it let pass, and forgets it.
func (r *rig) seen() (asked, passed []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked, passed = r.asked, r.passed
	r.asked, r.passed = nil, nil
	return asked, passed
}

// get makes a request of any URL text, and returns its error.
func (r *rig) get(url string) error {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := r.client.Do(req)
	if err == nil {
		err = resp.Body.Close()
	}
	return err
}

func newGuard(t testing.TB, cfg *netguard.Config) *netguard.Guard {
	t.Helper()
	g, err := netguard.New(cfg)
	require.NoError(t, err)
	return g
}

func addrs(texts ...string) []netip.Addr {
	var list []netip.Addr
	for _, s := range texts {
		list = append(list, netip.MustParseAddr(s))
	}
	return list
}

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, s := range texts {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}

// everyName answers every name with the same addresses.
func everyName(texts ...string) *zone {
	list := addrs(texts...)
	return &zone{answer: func(string, int) []netip.Addr { return list }}
}

func blocked(err error) bool {
	var b *netguard.BlockedError
	return errors.As(err, &b)
}

var certificate = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"*.attacker.test", "example.com"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   time.Unix(0, 0), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
})

// quiet keeps the handshakes that fail on purpose out of the tests' output.
var quiet = log.New(io.Discard, "", 0)

// newServer starts a TLS server that stands for the public receivers of the tests.
func newServer(t *testing.T, h http.HandlerFunc, protocols ...string) *httptest.Server {
	t.Helper()
	cert, _ := certificate()
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.EnableHTTP2 = !slices.Equal(protocols, []string{"http/1.1"})
	s.Config.ErrorLog = quiet
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}
