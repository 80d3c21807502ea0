package webhooktest

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strconv"
)

// Transport returns a RoundTripper that carries every request, whatever its host, to h, in memory. It is net/http's
// own client and server with a connection in memory between them: what h sees and what the client gets, informational
// responses, trailers, limits and errors included, is what they would be over HTTP/1.1, and so are the hooks of
// net/http/httptrace.
//
// It works in a [testing/synctest] bubble. Each request has a connection of its own; nothing of it is left when the
// response's body is closed or the request's context ends, and h has returned. As on any server, h learns that the
// client has gone only once it has read the request's body.
//
// No name is looked up and no handshake made: the address that answers is always 192.0.2.1 (RFC 5737) with the URL's
// port. For a URL with https the handler finds Request.TLS set, without certificates.
func Transport(h http.Handler) http.RoundTripper {
	return &http.Transport{
		DialContext: func(_ context.Context, _, addr string) (net.Conn, error) {
			return serve(h, addr)
		},
		DialTLSContext: func(_ context.Context, _, addr string) (net.Conn, error) {
			host, _, _ := net.SplitHostPort(addr)
			state := &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, ServerName: host}
			return serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.TLS = state
				h.ServeHTTP(w, r)
			}), addr)
		},
		DisableCompression:  true,
		MaxIdleConnsPerHost: -1, // keeps no connection, and unlike DisableKeepAlives adds no header to the request
	}
}

// serve returns the client's end of a new connection to h. Its server is one of its own: a shared one could not be
// used from two bubbles.
func serve(h http.Handler, addr string) (net.Conn, error) {
	_, text, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, err
	}
	near, far := newConn(int(port))
	far.served.Store(true)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	server := &http.Server{
		Handler:   h,
		Protocols: protocols,
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateHijacked {
				far.served.Store(false)
			}
		},
	}
	go server.Serve(&onceListener{conn: far}) // returns when the listener has nothing more; the connection's goroutine ends with the connection
	return near, nil
}

// onceListener accepts one connection.
type onceListener struct {
	conn net.Conn
	done bool
}

func (l *onceListener) Accept() (net.Conn, error) {
	if l.done {
		return nil, net.ErrClosed
	}
	l.done = true
	return l.conn, nil
}

func (l *onceListener) Close() error   { return nil }
func (l *onceListener) Addr() net.Addr { return l.conn.LocalAddr() }
