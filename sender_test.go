package webhook_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/netguard"
	"github.com/meshia/webhook/webhooktest"
)

// attemptAt pings an endpoint with this URL once and returns the attempt as it was logged.
func attemptAt(t *testing.T, url string, cfg *webhook.Config) webhook.Attempt {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = quiet
	}
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), cfg)
	require.NoError(t, err)
	e, _, err := d.AddEndpoint(t.Context(), webhook.Endpoint{URL: url, Events: []string{"*"}, Secret: secretA}, webhook.WithoutPing())
	require.NoError(t, err)
	got, err := d.Ping(t.Context(), e.ID)
	require.NoError(t, err)
	require.Len(t, got.Attempts, 1)
	return got.Attempts[0]
}

// TestWhatAReceiverCanDo goes through all that an endpoint can answer, in simulated time.
func TestWhatAReceiverCanDo(t *testing.T) {
	const limit = 16 << 10
	delivered, failed := webhook.AttemptDelivered, webhook.AttemptFailed
	for name, c := range map[string]struct {
		answer  webhooktest.Answer
		result  webhook.AttemptResult
		class   webhook.ErrorClass
		status  int
		latency time.Duration
	}{
		"200":                             {webhooktest.Answer{}, delivered, "", 200, 0},
		"204":                             {webhooktest.Answer{Status: 204}, delivered, "", 204, 0},
		"299":                             {webhooktest.Answer{Status: 299}, delivered, "", 299, 0},
		"300":                             {webhooktest.Answer{Status: 300}, failed, webhook.ErrorRedirect, 300, 0},
		"301":                             {redirect(301), failed, webhook.ErrorRedirect, 301, 0},
		"302":                             {redirect(302), failed, webhook.ErrorRedirect, 302, 0},
		"303":                             {redirect(303), failed, webhook.ErrorRedirect, 303, 0},
		"304":                             {webhooktest.Answer{Status: 304}, failed, webhook.ErrorRedirect, 304, 0},
		"307":                             {redirect(307), failed, webhook.ErrorRedirect, 307, 0},
		"308":                             {redirect(308), failed, webhook.ErrorRedirect, 308, 0},
		"302 without a Location":          {webhooktest.Answer{Status: 302}, failed, webhook.ErrorRedirect, 302, 0},
		"a Location that is none":         {webhooktest.Answer{Status: 302, Header: http.Header{"Location": {"http://[::1"}}}, failed, webhook.ErrorRedirect, 302, 0},
		"399":                             {webhooktest.Answer{Status: 399}, failed, webhook.ErrorRedirect, 399, 0},
		"another protocol from here on":   {webhooktest.Answer{Raw: "HTTP/1.1 101 Switching Protocols\r\n\r\n"}, failed, webhook.ErrorStatus, 101, 0},
		"400":                             {webhooktest.Answer{Status: 400}, failed, webhook.ErrorStatus, 400, 0},
		"401":                             {webhooktest.Answer{Status: 401}, failed, webhook.ErrorStatus, 401, 0},
		"404":                             {webhooktest.Answer{Status: 404}, failed, webhook.ErrorStatus, 404, 0},
		"410":                             {webhooktest.Answer{Status: 410}, failed, webhook.ErrorStatus, 410, 0},
		"429":                             {webhooktest.Answer{Status: 429}, failed, webhook.ErrorStatus, 429, 0},
		"500":                             {webhooktest.Answer{Status: 500}, failed, webhook.ErrorStatus, 500, 0},
		"599":                             {webhooktest.Answer{Status: 599}, failed, webhook.ErrorStatus, 599, 0},
		"999":                             {webhooktest.Answer{Status: 999}, failed, webhook.ErrorStatus, 999, 0},
		"an answer just in time":          {webhooktest.Answer{Delay: 14 * time.Second}, delivered, "", 200, 14 * time.Second},
		"nothing at all":                  {hanging, failed, webhook.ErrorTimeout, 0, 15 * time.Second},
		"a header byte by byte":           {webhooktest.Answer{HeaderPace: time.Second}, failed, webhook.ErrorTimeout, 0, 15 * time.Second},
		"informational answers for ever":  {webhooktest.Answer{Fault: webhooktest.EndlessInformational, HeaderPace: time.Second}, failed, webhook.ErrorTimeout, 0, 15 * time.Second},
		"a body byte by byte after a 200": {webhooktest.Answer{Body: strings.Repeat("x", 99), BodyPace: time.Second}, delivered, "", 200, 15 * time.Second},
		"a body byte by byte after a 500": {webhooktest.Answer{Status: 500, Body: strings.Repeat("x", 99), BodyPace: time.Second}, failed, webhook.ErrorStatus, 500, 15 * time.Second},
		"a body without end":              {webhooktest.Answer{Fault: webhooktest.EndlessBody}, delivered, "", 200, 0},
		"a body that is cut off":          {webhooktest.Answer{Body: "half", Fault: webhooktest.CutBody}, delivered, "", 200, 0},
		"a body that is reset":            {webhooktest.Answer{Body: "half", Fault: webhooktest.ResetBody}, delivered, "", 200, 0},
		"no answer, connection closed":    {webhooktest.Answer{Fault: webhooktest.Close}, failed, webhook.ErrorReset, 0, 0},
		"no answer, connection reset":     {webhooktest.Answer{Fault: webhooktest.Reset}, failed, webhook.ErrorReset, 0, 0},
		"a header without end":            {webhooktest.Answer{Fault: webhooktest.EndlessHeader}, failed, webhook.ErrorProtocol, 0, 0},
		"another protocol":                {webhooktest.Answer{Raw: "220 mail.example.com ESMTP\r\n"}, failed, webhook.ErrorProtocol, 0, 0},
		"an invalid status line":          {webhooktest.Answer{Raw: "HTTP/1.1 abc OK\r\n\r\n"}, failed, webhook.ErrorProtocol, 0, 0},
		"HTTP/0.9":                        {webhooktest.Answer{Raw: "<html>hello</html>\n"}, failed, webhook.ErrorProtocol, 0, 0},
		"two lengths":                     {webhooktest.Answer{Raw: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"}, failed, webhook.ErrorProtocol, 0, 0},
		"a broken chunk":                  {webhooktest.Answer{Raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab"}, delivered, "", 200, 0},
		"a compressed bomb is not opened": {webhooktest.Answer{Header: http.Header{"Content-Encoding": {"gzip"}}, Body: "\x1f\x8b not opened"}, delivered, "", 200, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				receiver := webhooktest.NewReceiver(t, c.answer)
				transport := webhooktest.Transport(receiver).(*http.Transport).Clone()
				transport.MaxResponseHeaderBytes = 64 << 10 // as the guarded transport has it
				a := attemptAt(t, "https://example.com/hook", &webhook.Config{UnguardedTransport: transport})
				require.Equal(t, c.result, a.Result, a.Detail)
				require.Equal(t, c.class, a.Error, a.Detail)
				require.Equal(t, c.status, a.Status)
				require.Equal(t, c.latency, a.Latency)
				require.LessOrEqual(t, len(a.ResponseBody), limit)
				require.Len(t, receiver.Requests(), 1, "one attempt is one request")
				if c.class != "" {
					require.NotEmpty(t, a.Detail)
					require.NotContains(t, a.Detail, "192.0.2.1")
				} else {
					require.Empty(t, a.Detail)
				}
			})
		})
	}
}

func redirect(status int) webhooktest.Answer {
	return webhooktest.Answer{Status: status, Header: http.Header{"Location": {"https://user:pw@other.test/collect"}}}
}

func TestHowMuchOfAResponseIsKept(t *testing.T) {
	euro := strings.Repeat("€", 100) // three bytes each
	for name, c := range map[string]struct {
		body      string
		limit     int
		want      string
		truncated bool
	}{
		"all of it":                           {"thanks", 10, "thanks", false},
		"just all of it":                      {"0123456789", 10, "0123456789", false},
		"cut":                                 {"0123456789x", 10, "0123456789", true},
		"cut between runes":                   {euro, 10, euro[:9], true},
		"what is not text is cut where it is": {strings.Repeat("\xff", 20), 10, strings.Repeat("\xff", 10), true},
		"nothing":                             {"", 10, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				receiver := webhooktest.NewReceiver(t, webhooktest.Answer{Body: c.body})
				a := attemptAt(t, "https://example.com/", &webhook.Config{UnguardedTransport: webhooktest.Transport(receiver), MaxResponseBytes: c.limit})
				require.Equal(t, c.want, string(a.ResponseBody))
				require.Equal(t, c.truncated, a.Truncated)
			})
		})
	}
	t.Run("what is missing is said", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			receiver := webhooktest.NewReceiver(t, webhooktest.Answer{Body: "half", Fault: webhooktest.CutBody})
			a := attemptAt(t, "https://example.com/", &webhook.Config{UnguardedTransport: webhooktest.Transport(receiver)})
			require.Equal(t, "half", string(a.ResponseBody))
			require.True(t, a.Truncated)
		})
	})
}

// The tests below use real sockets: what they are about cannot happen in memory.

func loopback(c *webhook.Config) *webhook.Config {
	c.AllowPrefixes = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	c.AllowAnyPort = true
	return c
}

func TestDeliveryOverTLS(t *testing.T) {
	t.Parallel()
	receiver := webhooktest.NewReceiver(t)
	url, roots := receiver.Listen()
	a := attemptAt(t, url+"/hook", loopback(&webhook.Config{RootCAs: roots}))
	require.Equal(t, webhook.AttemptDelivered, a.Result, a.Detail)
	require.NotZero(t, a.Phases.Connect)
	require.NotZero(t, a.Phases.TLS)
	require.NotZero(t, a.Phases.FirstByte)
	require.Zero(t, a.Phases.DNS, "an address is not looked up")
	require.False(t, a.Phases.Reused)
	require.LessOrEqual(t, a.Phases.Connect+a.Phases.TLS+a.Phases.FirstByte, a.Latency)
	require.Equal(t, strings.TrimPrefix(url, "https://"), a.RemoteAddr)
}

func TestAConnectionIsKeptForTheNextAttempt(t *testing.T) {
	t.Parallel()
	receiver := webhooktest.NewReceiver(t)
	url, roots := receiver.Listen()
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), loopback(&webhook.Config{RootCAs: roots, Logger: quiet}))
	require.NoError(t, err)
	e, first, err := d.AddEndpoint(t.Context(), webhook.Endpoint{URL: url, Events: []string{"*"}})
	require.NoError(t, err)
	require.False(t, first.Attempts[0].Phases.Reused)
	second, err := d.Ping(t.Context(), e.ID)
	require.NoError(t, err)
	require.True(t, second.Attempts[0].Phases.Reused)
	require.Zero(t, second.Attempts[0].Phases.TLS)
	require.Equal(t, first.Attempts[0].RemoteAddr, second.Attempts[0].RemoteAddr)
}

// TestAnAttemptIsSentOnce breaks a kept connection after the request was read: net/http would send some requests again
// by itself, and the log would have one row for two.
func TestAnAttemptIsSentOnce(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"http/1.1", "h2"} { // of which the second is offered in vain
		receiver := webhooktest.NewReceiver(t, ok, webhooktest.Answer{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })}, ok)
		server := httptest.NewUnstartedServer(receiver)
		server.EnableHTTP2 = protocol == "h2"
		server.StartTLS()
		t.Cleanup(server.Close)
		roots := x509.NewCertPool()
		roots.AddCert(server.Certificate())
		d, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), loopback(&webhook.Config{RootCAs: roots, Logger: quiet}))
		require.NoError(t, err)
		e, first, err := d.AddEndpoint(t.Context(), webhook.Endpoint{URL: server.URL, Events: []string{"*"}})
		require.NoError(t, err)
		require.Equal(t, webhook.AttemptDelivered, first.Attempts[0].Result, first.Attempts[0].Detail)
		broken, err := d.Ping(t.Context(), e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.AttemptFailed, broken.Attempts[0].Result)
		require.True(t, broken.Attempts[0].Phases.Reused)
		require.Len(t, receiver.Requests(), 2, protocol)
	}
	a := attemptAt(t, "https://example.com/", &webhook.Config{UnguardedTransport: roundTripper(func(req *http.Request) (*http.Response, error) {
		require.Nil(t, req.GetBody, "with it net/http could send the body again")
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	})})
	require.Equal(t, webhook.AttemptDelivered, a.Result)
}

func TestTLSFailuresAreNamed(t *testing.T) {
	t.Parallel()
	receiver := webhooktest.NewReceiver(t)
	url, roots := receiver.Listen()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(url, "https://"))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		url    string
		roots  *x509.CertPool
		detail string
	}{
		"unknown authority": {url, x509.NewCertPool(), "unknown authority"},
		"wrong host":        {"https://localhost:" + port, roots, "localhost"},
	} {
		a := attemptAt(t, c.url, loopback(&webhook.Config{RootCAs: c.roots}))
		require.Equal(t, webhook.ErrorTLS, a.Error, name)
		require.Contains(t, a.Detail, c.detail, name)
		require.Empty(t, receiver.Requests(), name)
	}

	plain := httptest.NewServer(receiver)
	t.Cleanup(plain.Close)
	a := attemptAt(t, "https://"+plain.Listener.Addr().String(), loopback(&webhook.Config{}))
	require.Equal(t, webhook.ErrorTLS, a.Error)
	require.Empty(t, receiver.Requests(), "never in plain text")

	mail, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { mail.Close() })
	go func() {
		for {
			c, err := mail.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "220 mail.example.com ESMTP\r\n") // the attempt is what is looked at
			t.Cleanup(func() { c.Close() })
		}
	}()
	a = attemptAt(t, "https://"+mail.Addr().String(), loopback(&webhook.Config{}))
	require.Equal(t, webhook.ErrorTLS, a.Error)
	require.Equal(t, "the port does not speak TLS", a.Detail)

	old := httptest.NewUnstartedServer(receiver)
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	old.Config.ErrorLog = noLog
	old.StartTLS()
	t.Cleanup(old.Close)
	a = attemptAt(t, old.URL, loopback(&webhook.Config{RootCAs: roots}))
	require.Equal(t, webhook.ErrorTLS, a.Error)
}

func TestARefusedConnectionIsNamed(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	a := attemptAt(t, "https://"+addr, loopback(&webhook.Config{}))
	require.Equal(t, webhook.ErrorRefused, a.Error)
	require.NotContains(t, a.Detail, "127.0.0.1")
}

// TestAnAddressThatIsNotAllowedIsNamed dials a name that leads inside: the URL's rules cannot see that, the guard at
// the dial does.
func TestAnAddressThatIsNotAllowedIsNamed(t *testing.T) {
	t.Parallel()
	receiver := webhooktest.NewReceiver(t)
	url, _ := receiver.Listen()
	guard, err := netguard.New(&netguard.Config{AllowAnyPort: true})
	require.NoError(t, err)
	dialer := &net.Dialer{ControlContext: guard.Control}
	var log logbook
	a := attemptAt(t, "https://example.com/", &webhook.Config{Logger: log.logger(), UnguardedTransport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, strings.TrimPrefix(url, "https://"))
		},
	}})
	require.Equal(t, webhook.ErrorBlocked, a.Error)
	require.Equal(t, "destination address is not allowed", a.Detail)
	require.Empty(t, a.RemoteAddr)
	require.Empty(t, receiver.Requests())
	told := log.lines("the guard refused an address")
	require.Len(t, told, 1)
	require.Contains(t, told[0], "127.0.0.1:")
	require.Contains(t, told[0], "loopback")
}

// TestNothingIsToldOfAProxy sends through a proxy that answers every CONNECT and is then not what was asked for.
func TestNothingIsToldOfAProxy(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		far, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		near, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			far.Close()
			return
		}
		_, _ = near.Write([]byte("HTTP/1.1 200 OK\r\n\r\n"))
		go func() { defer far.Close(); _, _ = io.Copy(far, buffered) }()
		_, _ = io.Copy(near, far)
		near.Close()
	}))
	t.Cleanup(proxy.Close)
	address, err := url.Parse(proxy.URL)
	require.NoError(t, err)

	a := attemptAt(t, "https://example.com/", &webhook.Config{EgressProxy: address})
	require.Equal(t, webhook.ErrorTLS, a.Error)
	require.Equal(t, "the TLS handshake failed", a.Detail)
	require.Empty(t, a.RemoteAddr)

	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	a = attemptAt(t, "https://example.com/", &webhook.Config{EgressProxy: address, RootCAs: pool})
	require.Equal(t, 404, a.Status, "the test's certificate is one for example.com: %s", a.Detail)
	require.Empty(t, a.RemoteAddr)
}

func TestLookUpFailuresAreNamed(t *testing.T) {
	t.Parallel()
	for err, detail := range map[*net.DNSError]string{
		{Err: "no such host", Name: "example.com", Server: "10.0.0.53:53", IsNotFound: true}: "the host has no address",
		{Err: "server misbehaving", Name: "example.com", Server: "10.0.0.53:53"}:             "looking up the host failed",
		{Err: "i/o timeout", Name: "example.com", Server: "10.0.0.53:53", IsTimeout: true}:   "looking up the host failed",
	} {
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
		}}
		a := attemptAt(t, "https://example.com/", &webhook.Config{UnguardedTransport: transport})
		require.Equal(t, webhook.ErrorDNS, a.Error)
		require.Equal(t, detail, a.Detail)
	}
}
