package netguard_test

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/meshia/webhook/internal/netguard"
	"github.com/stretchr/testify/require"
)

// developer is the configuration with which receivers of the tests on this machine may be reached.
func developer(t *testing.T) *netguard.Guard {
	return newGuard(t, &netguard.Config{AllowPrefixes: prefixes("127.0.0.0/8"), AllowAnyPort: true})
}

func newClient(t *testing.T, g *netguard.Guard, c *netguard.TransportConfig) *http.Client {
	t.Helper()
	tr, err := g.Transport(c)
	require.NoError(t, err)
	tr.TLSHandshakeTimeout = patience
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: never}
}

// never follows no redirect.
func never(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// post sends a request that has no GetBody, as the doc of Transport asks.
func post(c *http.Client, url string, header ...string) (*http.Response, error) {
	return send(c, url, true, header...)
}

func send(c *http.Client, url string, once bool, header ...string) (*http.Response, error) {
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(`{"event":"ping"}`))
	if err != nil {
		return nil, err
	}
	if once {
		req.GetBody = nil
	}
	for _, name := range header {
		req.Header.Set(name, "1")
	}
	resp, err := c.Do(req)
	if err == nil {
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
	}
	return resp, err
}

func TestTransportJudgesEveryDial(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	closed := newClient(t, newGuard(t, &netguard.Config{AllowAnyPort: true}), &netguard.TransportConfig{Resolver: everyName("127.0.0.1").resolver()})
	open := newClient(t, developer(t), &netguard.TransportConfig{Resolver: everyName("127.0.0.1").resolver()})
	for _, host := range []string{"127.0.0.1", "hook.attacker.test", "localhost"} {
		_, err = post(closed, "http://"+host+":"+port)
		require.True(t, blocked(err), host)
	}
	require.Zero(t, requests.Load())
	resp, err := post(open, "http://hook.attacker.test:"+port)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, int64(1), requests.Load())

	port443 := newClient(t, newGuard(t, &netguard.Config{AllowPrefixes: prefixes("127.0.0.0/8")}), nil)
	_, err = post(port443, server.URL)
	require.True(t, blocked(err), "the port is judged as well")
}

func TestARefusedAddressAmongOthersIsSkipped(t *testing.T) {
	t.Parallel()
	r := newRig(newGuard(t, nil), everyName("10.0.0.1", "93.184.215.14", "fd00::1", "::ffff:192.168.0.1"), netguard.TransportConfig{})
	require.Error(t, r.get("https://multi.attacker.test/"))
	_, passed := r.seen()
	require.Equal(t, []string{"tcp4 93.184.215.14:443"}, passed)
}

func TestARequestWithoutGetBodyIsSentOnce(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if requests.Add(1) == 2 {
			panic(http.ErrAbortHandler) // the reused connection breaks after the request was read
		}
	}))
	defer server.Close()
	for _, key := range []string{"Idempotency-Key", "X-Idempotency-Key", "X-Other"} {
		requests.Store(0)
		client := newClient(t, developer(t), nil)
		_, err := post(client, server.URL, key)
		require.NoError(t, err)
		_, err = post(client, server.URL, key)
		require.Error(t, err, key)
		require.Equal(t, int64(2), requests.Load(), key)
	}

	requests.Store(0)
	tr, err := developer(t).Transport(nil)
	require.NoError(t, err)
	defer tr.CloseIdleConnections()
	for range 2 {
		_, err = send(&http.Client{Transport: tr}, server.URL, false, "Idempotency-Key")
		require.NoError(t, err)
	}
	require.Equal(t, int64(3), requests.Load(), "this is what net/http does by itself")
}

func TestTransportBoundsTheResponse(t *testing.T) {
	t.Parallel()
	var zipped bytes.Buffer
	zip := gzip.NewWriter(&zipped)
	_, err := zip.Write(make([]byte, 1<<20))
	require.NoError(t, err)
	require.NoError(t, zip.Close())
	for _, protocol := range []string{"http/1.1", "h2"} { // what the receiver offers
		server := newServer(t, func(w http.ResponseWriter, r *http.Request) {
			if size := r.URL.Query().Get("header"); size != "" {
				w.Header().Set("X-Big", strings.Repeat("a", map[string]int{"small": 32 << 10, "big": 80 << 10}[size]))
				return
			}
			if r.Header.Get("Accept-Encoding") != "" {
				w.WriteHeader(http.StatusTeapot)
			}
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(zipped.Bytes()) // the client's read fails if this does
		}, protocol)
		_, pool := certificate()
		client := newClient(t, developer(t), &netguard.TransportConfig{RootCAs: pool})

		resp, err := client.Post(server.URL, "application/json", strings.NewReader("{}"))
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode, "no compression is asked for")
		require.Equal(t, zipped.Bytes(), body, "and none is undone")
		require.Equal(t, 1, resp.ProtoMajor)

		_, err = post(client, server.URL+"?header=small")
		require.NoError(t, err)
		_, err = post(client, server.URL+"?header=big")
		require.Error(t, err)
	}
}

func TestTransportVerifiesReceivers(t *testing.T) {
	t.Parallel()
	cert, pool := certificate()
	server := newServer(t, func(http.ResponseWriter, *http.Request) {})
	_, err := post(newClient(t, developer(t), nil), server.URL)
	var unknown x509.UnknownAuthorityError
	require.ErrorAs(t, err, &unknown)
	_, err = post(newClient(t, developer(t), &netguard.TransportConfig{RootCAs: pool}), server.URL)
	require.NoError(t, err)

	r := newRig(newGuard(t, nil), everyName("93.184.215.14"), netguard.TransportConfig{RootCAs: pool})
	r.local = server.Listener.Addr().String()
	var mismatch x509.HostnameError
	require.ErrorAs(t, r.get("https://other.test/"), &mismatch, "the name is verified as well")

	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	old.Config.ErrorLog = quiet
	old.StartTLS()
	defer old.Close()
	_, err = post(newClient(t, developer(t), &netguard.TransportConfig{RootCAs: pool}), old.URL)
	require.ErrorContains(t, err, "protocol version")

	mutual := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	mutual.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	mutual.Config.ErrorLog = quiet
	mutual.StartTLS()
	defer mutual.Close()
	_, err = post(newClient(t, developer(t), &netguard.TransportConfig{RootCAs: pool}), mutual.URL)
	require.Error(t, err)
	_, err = post(newClient(t, developer(t), &netguard.TransportConfig{RootCAs: pool, ClientCertificates: []tls.Certificate{cert}}), mutual.URL)
	require.NoError(t, err)
}

// TestTransportSpeaksHTTP1Only asks a server that prefers HTTP/2, as it proves with another client.
func TestTransportSpeaksHTTP1Only(t *testing.T) {
	t.Parallel()
	offered, spoken := make(chan []string, 2), make(chan string, 2)
	cert, pool := certificate()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { spoken <- r.Proto }))
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		offered <- hello.SupportedProtos
		return nil, nil
	}}
	server.StartTLS()
	t.Cleanup(server.Close)

	other := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	t.Cleanup(other.CloseIdleConnections)
	resp, err := post(&http.Client{Transport: other}, server.URL)
	require.NoError(t, err)
	require.Equal(t, "HTTP/2.0", resp.Proto)
	require.Contains(t, <-offered, "h2")
	require.Equal(t, "HTTP/2.0", <-spoken)

	resp, err = post(newClient(t, developer(t), &netguard.TransportConfig{RootCAs: pool}), server.URL)
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1", resp.Proto)
	require.NotContains(t, <-offered, "h2")
	require.Equal(t, "HTTP/1.1", <-spoken)
}

func TestEgressProxyIsAllThatIsDialled(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 10)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Method + " " + r.Host + " " + r.Header.Get("Proxy-Authorization")
		w.WriteHeader(http.StatusForbidden) // the proxy judges
	}))
	defer proxy.Close()
	address, err := url.Parse(proxy.URL)
	require.NoError(t, err)
	address.User = url.UserPassword("u", "hunter2")
	client := newClient(t, newGuard(t, nil), &netguard.TransportConfig{EgressProxy: address})
	address.Host = "127.0.0.1:1" // the transport has a copy

	resp, err := post(client, "http://169.254.169.254/")
	require.NoError(t, err)
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	_, err = post(client, "https://hook.attacker.test/")
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
	require.Equal(t, "POST 169.254.169.254 Basic dTpodW50ZXIy", <-seen)
	require.Equal(t, "CONNECT hook.attacker.test:443 Basic dTpodW50ZXIy", <-seen)
	require.Empty(t, seen)

	for _, bad := range []string{"", "proxy.test:3128", "//proxy.test", "http://", "ftp://hunter2@proxy.test", "http://:3128"} {
		u, err := url.Parse(bad)
		require.NoError(t, err)
		_, err = newGuard(t, nil).Transport(&netguard.TransportConfig{EgressProxy: u})
		require.ErrorContains(t, err, "EgressProxy", bad)
		require.NotContains(t, err.Error(), "hunter2")
	}
	for _, good := range []string{"http://proxy.test", "https://proxy.test", "socks5://proxy.test", "socks5h://proxy.test"} {
		u, err := url.Parse(good)
		require.NoError(t, err)
		_, err = newGuard(t, nil).Transport(&netguard.TransportConfig{EgressProxy: u})
		require.NoError(t, err)
	}
}

// The figures are what the documentation of Transport says.
func TestTransportLimits(t *testing.T) {
	t.Parallel()
	g := newGuard(t, nil)
	tr, err := g.Transport(nil)
	require.NoError(t, err)
	require.Nil(t, tr.Proxy)
	require.False(t, tr.Protocols.HTTP2(), "a peer could leave a goroutine behind for each request")
	require.Equal(t, "5s 30s 0s", tr.TLSHandshakeTimeout.String()+" "+tr.IdleConnTimeout.String()+" "+tr.ExpectContinueTimeout.String())
	require.Equal(t, []int{512, 128, 0}, []int{tr.MaxIdleConns, tr.MaxIdleConnsPerHost, tr.MaxConnsPerHost})
	require.Equal(t, int64(65536), tr.MaxResponseHeaderBytes)
	require.Equal(t, uint16(tls.VersionTLS12), tr.TLSClientConfig.MinVersion)
	require.False(t, tr.TLSClientConfig.InsecureSkipVerify)
	dialer := g.Dialer(nil)
	require.Equal(t, "5s 30s", dialer.Timeout.String()+" "+dialer.KeepAlive.String())
	require.Nil(t, dialer.Resolver)
}

func TestErrorsOfUnknownNamesAreNotBlockedErrors(t *testing.T) {
	t.Parallel()
	unknown := &zone{answer: func(string, int) []netip.Addr { return nil }}
	err := newRig(newGuard(t, nil), unknown, netguard.TransportConfig{}).get("https://nx.attacker.test/")
	var dns *net.DNSError
	require.ErrorAs(t, err, &dns)
	require.False(t, blocked(err))
	require.False(t, errors.Is(err, errPassed))
}
