package webhook_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
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

// TestConfigDefaults are those of the fields' comments.
func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	for _, cfg := range []*webhook.Config{nil, {}} {
		got, err := webhook.WithDefaults(cfg)
		require.NoError(t, err)
		require.NotNil(t, got.Logger)
		_, known := got.Registry.Lookup(webhook.ExperimentCompleted.Name())
		require.True(t, known)
		got.Logger, got.Registry = nil, nil
		require.Equal(t, webhook.Config{
			Retry: webhook.Backoff{}, MaxRetryAfter: day, MaxAge: 5 * day,
			Timeout: 15 * time.Second, Drain: 20 * time.Second, Poll: time.Second, Slots: 256, TenantSlots: 128, MaxInFlight: 8,
			PauseAfter: 10, PauseMin: 30 * time.Second, PauseMax: 10 * time.Minute, DisableAfter: 5 * day, MaxPending: 100_000,
			MaxEventBytes: 256 << 10, MaxResponseBytes: 16 << 10, MaxEndpoints: 50, KeepDeliveries: 30 * day, KeepBodies: 30 * day,
		}, got)
	}
	got, err := webhook.WithDefaults(&webhook.Config{PauseMin: time.Hour, NeverDisable: true, KeepDeliveries: day})
	require.NoError(t, err)
	require.Equal(t, time.Hour, got.PauseMax, "not below PauseMin")
	require.Zero(t, got.DisableAfter)
	require.Equal(t, day, got.KeepBodies)
	for slots, want := range map[int]int{1: 1, 2: 1, 3: 2, 8: 4, 9: 5} {
		got, err := webhook.WithDefaults(&webhook.Config{Slots: slots})
		require.NoError(t, err)
		require.Equal(t, want, got.TenantSlots)
	}
}

func TestConfigBounds(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	for field, bound := range map[string]struct {
		set  func(c *webhook.Config, n int64)
		most int64
	}{
		"MaxRetryAfter":    {func(c *webhook.Config, n int64) { c.MaxRetryAfter = time.Duration(n) }, int64(year)},
		"MaxAge":           {func(c *webhook.Config, n int64) { c.MaxAge = time.Duration(n) }, int64(year)},
		"Timeout":          {func(c *webhook.Config, n int64) { c.Timeout = time.Duration(n) }, int64(10 * time.Minute)},
		"Drain":            {func(c *webhook.Config, n int64) { c.Drain = time.Duration(n) }, int64(year)},
		"Poll":             {func(c *webhook.Config, n int64) { c.Poll = time.Duration(n) }, int64(time.Hour)},
		"Slots":            {func(c *webhook.Config, n int64) { c.Slots = int(n) }, 1 << 16},
		"TenantSlots":      {func(c *webhook.Config, n int64) { c.TenantSlots = int(n) }, 256},
		"MaxInFlight":      {func(c *webhook.Config, n int64) { c.MaxInFlight = int(n) }, 1 << 16},
		"PauseAfter":       {func(c *webhook.Config, n int64) { c.PauseAfter = int(n) }, 1_000_000},
		"PauseMin":         {func(c *webhook.Config, n int64) { c.PauseMin = time.Duration(n) }, int64(24 * time.Hour)},
		"PauseMax":         {func(c *webhook.Config, n int64) { c.PauseMax = time.Duration(n) }, int64(24 * time.Hour)},
		"DisableAfter":     {func(c *webhook.Config, n int64) { c.DisableAfter = time.Duration(n) }, int64(year)},
		"MaxPending":       {func(c *webhook.Config, n int64) { c.MaxPending = int(n) }, 1 << 30},
		"MaxEventBytes":    {func(c *webhook.Config, n int64) { c.MaxEventBytes = int(n) }, 64 << 20},
		"MaxResponseBytes": {func(c *webhook.Config, n int64) { c.MaxResponseBytes = int(n) }, 1 << 20},
		"MaxEndpoints":     {func(c *webhook.Config, n int64) { c.MaxEndpoints = int(n) }, 1 << 30},
		"KeepDeliveries":   {func(c *webhook.Config, n int64) { c.KeepDeliveries = time.Duration(n) }, int64(100 * year)},
		"KeepBodies":       {func(c *webhook.Config, n int64) { c.KeepBodies = time.Duration(n) }, int64(30 * 24 * time.Hour)},
	} {
		try := func(n int64) error {
			var c webhook.Config
			bound.set(&c, n)
			_, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), &c)
			return err
		}
		require.NoError(t, try(bound.most), field)
		for _, n := range []int64{-1, bound.most + 1} {
			err := try(n)
			require.ErrorIs(t, err, webhook.ErrInvalidConfig, field)
			require.ErrorContains(t, err, field+" is ")
		}
	}
}

// TestConfigRefuses names all that is wrong with one at once, and what does not go together.
func TestConfigRefuses(t *testing.T) {
	t.Parallel()
	_, err := webhook.NewDispatcher(nil, &webhook.Config{Timeout: -1, Slots: -1, Ports: []uint16{0}, Retry: webhook.Backoff{Jitter: 2}})
	require.ErrorIs(t, err, webhook.ErrInvalidConfig)
	for _, field := range []string{"store", "Timeout", "Slots", "Ports", "Jitter"} {
		require.ErrorContains(t, err, field)
	}

	open := func(c *webhook.Config) { c.UnguardedTransport = http.DefaultTransport }
	for name, change := range map[string]func(c *webhook.Config){
		"a pause that ends before it begins":       func(c *webhook.Config) { c.PauseMin, c.PauseMax = time.Minute, time.Second },
		"a time after which nothing is disabled":   func(c *webhook.Config) { c.NeverDisable, c.DisableAfter = true, time.Hour },
		"a time for what is kept for ever":         func(c *webhook.Config) { c.KeepForever, c.KeepDeliveries = true, time.Hour },
		"a time for bodies that are kept for ever": func(c *webhook.Config) { c.KeepForever, c.KeepBodies = true, time.Hour },
		"bodies that outlast their deliveries":     func(c *webhook.Config) { c.KeepDeliveries, c.KeepBodies = time.Hour, 2*time.Hour },
		"ports beside any port":                    func(c *webhook.Config) { c.AllowAnyPort, c.Ports = true, []uint16{443} },
		"addresses opened beside no guard":         func(c *webhook.Config) { open(c); c.AllowPrefixes = []netip.Prefix{} },
		"addresses closed beside no guard":         func(c *webhook.Config) { open(c); c.DenyPrefixes = []netip.Prefix{} },
		"prefixes of translation beside no guard":  func(c *webhook.Config) { open(c); c.NAT64Prefixes = []netip.Prefix{} },
		"a pool of authorities beside no guard":    func(c *webhook.Config) { open(c); c.RootCAs = x509.NewCertPool() },
		"certificates to be shown beside no guard": func(c *webhook.Config) { open(c); c.ClientCertificates = []tls.Certificate{} },
		"a proxy beside no guard":                  func(c *webhook.Config) { open(c); c.EgressProxy = &url.URL{Scheme: "http", Host: "proxy"} },
		"a proxy that is none":                     func(c *webhook.Config) { c.EgressProxy = &url.URL{Scheme: "ftp", Host: "proxy"} },
		"a prefix with bits of the host":           func(c *webhook.Config) { c.DenyPrefixes = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")} },
	} {
		var c webhook.Config
		change(&c)
		_, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), &c)
		require.ErrorIs(t, err, webhook.ErrInvalidConfig, name)
	}
	var c webhook.Config
	open(&c)
	_, err = webhook.NewDispatcher(webhook.NewMemoryStore(nil), &c)
	require.NoError(t, err)
}

// pingStored pings an endpoint that nobody checked when it was stored, over the dispatcher's own transport.
func pingStored(t *testing.T, address string, change func(c *webhook.Config)) webhook.Attempt {
	t.Helper()
	store := webhook.NewMemoryStore(nil)
	cfg := &webhook.Config{InsecureHTTP: true, Logger: quiet, Timeout: 10 * time.Second}
	change(cfg)
	d, err := webhook.NewDispatcher(store, cfg)
	require.NoError(t, err)
	_, err = store.CreateEndpoint(t.Context(), webhook.Endpoint{
		ID: "we_1", URL: address, Events: []string{webhook.AllEvents}, Health: webhook.Health{State: webhook.EndpointPending, Window: 1},
	}, 1)
	require.NoError(t, err)
	pinged, err := d.Ping(t.Context(), "we_1")
	require.NoError(t, err)
	require.Len(t, pinged.Attempts, 1)
	return pinged.Attempts[0]
}

// TestTheDispatchersOwnTransportIsGuarded whatever was stored, when the URL is read and again at the dial, and as the
// configuration says.
func TestTheDispatchersOwnTransportIsGuarded(t *testing.T) {
	t.Parallel()
	receiver := webhooktest.NewReceiver(t)
	server := httptest.NewServer(receiver)
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	var number uint16
	_, err = fmt.Sscan(port, &number)
	require.NoError(t, err)
	loopback, translated := netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("64:ff9b::/96")

	for name, c := range map[string]struct {
		host   string
		change func(c *webhook.Config)
	}{
		"by default":  {"127.0.0.1", func(c *webhook.Config) { c.AllowAnyPort = true }},
		"by its name": {"localhost", func(c *webhook.Config) { c.AllowAnyPort = true }},
		"since it is closed": {"127.0.0.1", func(c *webhook.Config) {
			c.AllowAnyPort, c.AllowPrefixes, c.DenyPrefixes = true, []netip.Prefix{loopback}, []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
		}},
		"since it is translated": {"[64:ff9b::127.0.0.1]", func(c *webhook.Config) {
			c.AllowAnyPort, c.AllowPrefixes, c.NAT64Prefixes = true, []netip.Prefix{translated}, []netip.Prefix{translated}
		}},
		"since the port is closed": {"127.0.0.1", func(c *webhook.Config) { c.AllowPrefixes, c.Ports = []netip.Prefix{loopback}, []uint16{number ^ 1} }},
	} {
		address := "http://" + c.host + ":" + port
		got := pingStored(t, address, c.change)
		require.Equal(t, webhook.ErrorInternal, got.Error, "%s: %s", name, got.Detail)

		var cfg webhook.Config
		c.change(&cfg)
		transport, err := webhook.TransportOf(&cfg) // as if the URL had passed
		require.NoError(t, err)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, nil)
		require.NoError(t, err)
		_, err = transport.RoundTrip(req)
		var blocked *netguard.BlockedError
		require.ErrorAs(t, err, &blocked, name)
		require.Empty(t, receiver.Requests(), name)
	}
	got := pingStored(t, server.URL, func(c *webhook.Config) { c.AllowPrefixes, c.Ports = []netip.Prefix{loopback}, []uint16{number} })
	require.Equal(t, webhook.AttemptDelivered, got.Result, got.Detail)
	require.Len(t, receiver.Requests(), 1)
}

func TestCertificatesThatAreShownAndTrusted(t *testing.T) {
	t.Parallel()
	certificate, pool := certified(t, func(c *x509.Certificate) {
		c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	})
	receiver := webhooktest.NewReceiver(t)
	server := httptest.NewUnstartedServer(receiver)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	server.StartTLS()
	t.Cleanup(server.Close)
	address := "https://127.0.0.1" + server.URL[strings.LastIndex(server.URL, ":"):]
	try := func(c webhook.Config) webhook.Attempt {
		return pingStored(t, address, func(to *webhook.Config) {
			to.AllowAnyPort, to.AllowPrefixes = true, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
			to.RootCAs, to.ClientCertificates = c.RootCAs, c.ClientCertificates
		})
	}
	require.Equal(t, webhook.ErrorTLS, try(webhook.Config{RootCAs: pool}).Error)
	require.Equal(t, webhook.ErrorTLS, try(webhook.Config{ClientCertificates: []tls.Certificate{certificate}}).Error)
	require.Empty(t, receiver.Requests())
	got := try(webhook.Config{RootCAs: pool, ClientCertificates: []tls.Certificate{certificate}})
	require.Equal(t, webhook.AttemptDelivered, got.Result, got.Detail)
}
