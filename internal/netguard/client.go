package netguard

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// TransportConfig holds what an operator may want of the transport beside the guard. A nil
// TransportConfig means the defaults.
type TransportConfig struct {
	// RootCAs verifies the receivers' certificates, for example a private CA beside the public ones.
	// Defaults to the system's pool.
	RootCAs *x509.CertPool
	// ClientCertificates are offered to the receivers that ask for one, for mutual TLS. Defaults to none.
	ClientCertificates []tls.Certificate
	// EgressProxy sends every request through this proxy: http, https, socks5 or socks5h, with userinfo if
	// it wants credentials.
	//
	// THE GUARD THEN NO LONGER SEES WHERE REQUESTS GO. All that is dialled is the proxy, and that without
	// being judged, since a proxy commonly lives on a private address and a port of its own. The proxy looks
	// the names up and connects, so the proxy has to refuse private, loopback, link-local and metadata
	// addresses; a proxy that does not makes every tenant a guest of its network. CheckURL keeps judging
	// what tenants register, which is text only. Config.DenyPrefixes, AllowPrefixes and NAT64Prefixes have
	// no say in what the proxy dials.
	//
	// Defaults to none. Proxies named by the environment (HTTP_PROXY, HTTPS_PROXY) are never used.
	EgressProxy *url.URL
	// Resolver looks up host names. Defaults to net.DefaultResolver.
	Resolver *net.Resolver
}

// Transport makes an HTTP/1.1 transport whose every connection is judged by g when it is dialled. Reusing a connection
// is as safe as dialling it was: the pool keeps connections by host and port, and each of them was judged.
//
// Limits: 5 s to connect and 5 s for the TLS handshake (TLS 1.2 at least), 64 KiB of response headers, 30 s idle, 512
// idle connections, 128 to one host. There is no limit to the connections of one host, as callers bound that better
// than a queue here would, and no limit to the exchange as a whole: give each request a context with a deadline, read
// its body under that context and up to a limit, and close it. Responses are not decompressed, so a small one stays
// small.
//
// Call RoundTrip, not a client around it: a client follows redirects, and net/http keeps every header but the
// well-known credentials when it does, so that signature and body would go to a host that nobody registered.
//
// One RoundTrip is one request only if Request.GetBody is nil. net/http re-sends a request by itself in two
// cases. (1) A reused connection broke after the request was written, and the request is deemed
// replayable, which a POST is once it has a header Idempotency-Key or X-Idempotency-Key. (2) A reused
// connection broke before anything was written. Both need GetBody to send a body again,
// and http.NewRequest fills it in for the usual readers. CheckHeader refuses the two headers.
//
// Its errors often wrap a net.OpError, whose text holds the address: do not show it.
func (g *Guard) Transport(cfg *TransportConfig) (*http.Transport, error) {
	var c TransportConfig
	if cfg != nil {
		c = *cfg
	}
	return newTransport(g.dialer(c.Resolver), c)
}

// dialer has the guard between the look-up and the connection.
func (g *Guard) dialer(r *net.Resolver) *net.Dialer {
	return &net.Dialer{
		Timeout:        5 * time.Second,
		KeepAlive:      30 * time.Second,
		Resolver:       r,
		ControlContext: g.Control,
	}
}

func newTransport(dialer *net.Dialer, c TransportConfig) (*http.Transport, error) {
	// A transport of our own rather than a clone of the default one, which obeys HTTP_PROXY: behind a proxy
	// the guard would see the proxy's address and no other.
	//
	// HTTP/1.1 only: over HTTP/2 a peer that answers before it has read leaves net/http with a goroutine and the body
	// for each request, for as long as it keeps the connection, whatever the request's deadline.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	tr := &http.Transport{
		Proxy:                  nil,
		DialContext:            dialer.DialContext,
		Protocols:              protocols,
		TLSHandshakeTimeout:    5 * time.Second,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.RootCAs, Certificates: slices.Clone(c.ClientCertificates)},
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConns:           512,
		MaxIdleConnsPerHost:    128,
		MaxConnsPerHost:        0, // tenants that share a host would starve each other
		IdleConnTimeout:        30 * time.Second,
		ExpectContinueTimeout:  0,
	}
	if c.EgressProxy != nil {
		proxy := *c.EgressProxy
		if !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, proxy.Scheme) || proxy.Hostname() == "" {
			return nil, errors.New("EgressProxy must be an absolute URL with scheme http, https, socks5 or socks5h and a host")
		}
		// ProxyURL holds for every request, so that this dialer never meets a target.
		tr.Proxy = http.ProxyURL(&proxy)
		direct := *dialer
		direct.ControlContext = nil
		tr.DialContext = direct.DialContext
	}
	return tr, nil
}
