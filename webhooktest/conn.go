package webhooktest

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

// conn is one end of a connection in memory: a net.Pipe with the addresses, the errors, the half-close and the reset
// of TCP.
type conn struct {
	net.Conn
	peer          *conn
	local, remote net.Addr

	closed   atomic.Bool // by this end
	abortive atomic.Bool // Close is to be a reset
	reset    atomic.Bool // by the peer
	finished atomic.Bool // the peer writes no more
	served   atomic.Bool // this end is an http.Server's
}

// newConn returns the client's and the server's end.
func newConn(port int) (client, server *conn) {
	here := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 49152}
	there := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: port}
	a, b := net.Pipe()
	client = &conn{Conn: a, local: here, remote: there}
	server = &conn{Conn: b, local: there, remote: here, peer: client}
	client.peer = server
	return client, server
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
		c.peer.reset.Store(true)
	}
	c.closed.Store(true)
	return c.Conn.Close()
}

// CloseWrite is that of *net.TCPConn: the peer reads to the end of what was written and can still write.
//
// An http.Server calls it before it closes a connection that has something unread, and then sleeps for half a second
// so that no reset overtakes the response. Here it is enough that the client reads and closes; and a bubble must not
// be left with somebody asleep, so the server's goroutine ends in this call.
func (c *conn) CloseWrite() error {
	c.peer.finished.Store(true)
	err := c.peer.SetReadDeadline(time.Unix(1, 0)) // in the past: wakes its Read
	if c.served.Load() {
		_, _ = io.Copy(io.Discard, c.Conn)
		runtime.Goexit() // runs the server's deferred calls, which close the connection
	}
	return err
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
	ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe)
	finished := op == "read" && c.finished.Load() && errors.Is(err, os.ErrDeadlineExceeded)
	var cause error
	switch {
	case !ended && !finished:
		return err
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
