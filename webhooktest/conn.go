package webhooktest

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
)

// conn is one end of a connection in memory: a net.Pipe with addresses and with the errors of TCP.
type conn struct {
	net.Conn
	local, remote net.Addr
	closed        atomic.Bool  // by this end
	abortive      atomic.Bool  // Close is to be a reset
	reset         *atomic.Bool // shared by both ends
}

// newConn returns the client's and the server's end.
func newConn(port int) (client, server *conn) {
	here := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 49152}
	there := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: port}
	a, b := net.Pipe()
	reset := new(atomic.Bool)
	return &conn{Conn: a, local: here, remote: there, reset: reset}, &conn{Conn: b, local: there, remote: here, reset: reset}
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetLinger is that of *net.TCPConn for 0: Close resets the connection.
func (c *conn) SetLinger(sec int) error {
	c.abortive.Store(sec == 0)
	return nil
}

func (c *conn) Close() error {
	if c.abortive.Load() {
		c.reset.Store(true)
	}
	c.closed.Store(true)
	return c.Conn.Close()
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, c.asTCP("read", err)
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, c.asTCP("write", err)
}

// asTCP gives a pipe's error the form that it has where the network is real, since that is what callers classify.
func (c *conn) asTCP(op string, err error) error {
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
		return err
	}
	var cause error
	switch {
	case c.closed.Load():
		cause = net.ErrClosed
	case c.reset.Load():
		cause = os.NewSyscallError(op, syscall.ECONNRESET)
	case op == "write":
		cause = os.NewSyscallError(op, syscall.EPIPE)
	default:
		return io.EOF
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: cause}
}
