package netguard

import (
	"net"
	"net/http"
)

// Dialer is the dialer that Transport uses, so that a test can listen behind its Control.
func (g *Guard) Dialer(r *net.Resolver) *net.Dialer { return g.dialer(r) }

// NewTransport is Transport over a given dialer.
func NewTransport(d *net.Dialer, c TransportConfig) (*http.Transport, error) {
	return newTransport(d, c)
}
