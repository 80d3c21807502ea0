package webhooktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Answer is what a [Receiver] does with a request. The zero value answers 200 with no body.
type Answer struct {
	// Status is the response's status, from 200 to 999. Defaults to 200.
	Status int
	// Header is the response's: Retry-After, Location and so on.
	Header http.Header
	// Body is the response's.
	Body string

	// Delay is how long after the request has arrived the answer begins.
	Delay time.Duration
	// HeaderPace sends the status line and the header byte by byte, so far apart. Defaults to all at once.
	HeaderPace time.Duration
	// BodyPace sends the body byte by byte, so far apart. Defaults to all at once.
	BodyPace time.Duration

	// Fault is what goes wrong with the answer. Defaults to nothing.
	Fault Fault
	// Raw is sent in place of a response, as it is, whatever it is; then the connection is closed. HeaderPace paces
	// it.
	// Status, Header, Body and Fault, except Hang, must not be set.
	Raw string
	// Handler answers whatever it likes. No other field but Delay and a Fault of Hang may be set. It finds the
	// request's body unread, and must return when the request's context ends.
	Handler http.Handler
}

// Fault is something that goes wrong with an [Answer]. All of them but Hang need HTTP/1.1.
type Fault string

const (
	// Hang sends nothing until Release is called, and then the rest of the answer. A client that goes away, and the
	// test's end, end it too.
	Hang Fault = "hang"
	// Close closes the connection without a response.
	Close Fault = "close"
	// Reset resets the connection without a response.
	Reset Fault = "reset"
	// CutBody promises one byte more than Body has, in Content-Length, sends Body and closes the connection.
	CutBody Fault = "cut body"
	// ResetBody does the same and resets the connection. Over a socket the reset may overtake the response.
	ResetBody Fault = "reset body"
	// EndlessBody sends Body, or some filling, over and over until the client goes away.
	EndlessBody Fault = "endless body"
	// EndlessHeader sends header fields until the client goes away.
	EndlessHeader Fault = "endless header"
	// EndlessInformational sends 103 Early Hints until the client goes away. HeaderPace defaults to 10 ms here:
	// clients bound the bytes that they read ahead of a response, and this is for the time.
	EndlessInformational Fault = "endless informational"
)

// check returns what makes the answer one that cannot be given.
func (a *Answer) check() error {
	var errs []error
	complain := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if a.Status != 0 && (a.Status < 200 || a.Status > 999) {
		complain("status %d is not in 200..999", a.Status)
	}
	if a.bodiless() && (a.Body != "" || a.Fault == CutBody || a.Fault == ResetBody || a.Fault == EndlessBody) {
		complain("a response with status %d has no body (RFC 9110, section 6.4.1)", a.Status)
	}
	if a.Delay < 0 || a.HeaderPace < 0 || a.BodyPace < 0 {
		complain("Delay, HeaderPace and BodyPace must not be negative")
	}
	response := a.Status != 0 || a.Header != nil || a.Body != "" || a.BodyPace != 0
	fault := a.Fault != "" && a.Fault != Hang
	if a.Raw != "" && (response || fault) {
		complain("Raw excludes Status, Header, Body, BodyPace and every Fault but Hang")
	}
	if a.Handler != nil && (response || fault || a.Raw != "" || a.HeaderPace != 0) {
		complain("Handler excludes every field but Delay and a Fault of Hang")
	}
	switch a.Fault {
	case "", Hang, Close, Reset, CutBody, ResetBody, EndlessBody, EndlessHeader, EndlessInformational:
	default:
		complain("fault %q does not exist", a.Fault)
	}
	return errors.Join(errs...)
}

// give answers a request. When ctx ends, so does the answer.
func (a *Answer) give(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	faultless := a.Fault == "" || a.Fault == Hang
	switch {
	case a.Handler != nil:
		a.Handler.ServeHTTP(w, r)
	case faultless && a.Raw == "" && a.HeaderPace == 0 && a.BodyPace == 0:
		for name, values := range a.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(a.status())
		_, _ = io.WriteString(w, a.Body) // a client that has gone is not the receiver's affair
	default:
		a.giveRaw(ctx, w)
	}
}

func (a *Answer) status() int {
	if a.Status == 0 {
		return http.StatusOK
	}
	return a.Status
}

func (a *Answer) bodiless() bool {
	return a.Status == http.StatusNoContent || a.Status == http.StatusNotModified
}

// giveRaw takes the connection out of the server's hands, which would see to it that a response is a good one.
func (a *Answer) giveRaw(ctx context.Context, w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(fmt.Sprintf("webhooktest: this answer needs the connection, which only HTTP/1.1 gives: %v", err))
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { c.Close() }) // a write that nobody reads ends as well
	go func() {
		_, _ = io.Copy(io.Discard, c) // until the client has gone, which a pause must not outlast, or the connection is closed below
		cancel()
	}()
	defer func() {
		stop()
		cancel()
		c.Close()
	}()

	var head, body io.Reader = strings.NewReader(a.Raw), strings.NewReader("")
	headPace := a.HeaderPace
	if a.Raw == "" {
		head, body = bytes.NewReader(a.head()), strings.NewReader(a.Body)
	}
	switch a.Fault {
	case Close:
		return
	case Reset:
		reset(c)
		return
	case EndlessBody:
		unit := a.Body
		if unit == "" {
			unit = strings.Repeat("x", 1<<10)
		}
		body = &endless{unit: unit}
	case EndlessHeader:
		field := "X-Filling: " + strings.Repeat("x", 1<<10) + "\r\n"
		head = io.MultiReader(strings.NewReader(a.statusLine()), &endless{unit: field})
	case EndlessInformational:
		head = &endless{unit: "HTTP/1.1 103 Early Hints\r\n\r\n"}
		if headPace == 0 {
			headPace = 10 * time.Millisecond
		}
	}
	if !send(ctx, c, head, headPace) || !send(ctx, c, body, a.BodyPace) {
		return
	}
	if a.Fault == ResetBody {
		reset(c)
	}
}

func (a *Answer) statusLine() string {
	return fmt.Sprintf("HTTP/1.1 %d %s\r\n", a.status(), http.StatusText(a.status()))
}

func (a *Answer) head() []byte {
	header := a.Header.Clone()
	if header == nil {
		header = make(http.Header)
	}
	header.Set("Connection", "close")
	switch a.Fault {
	case EndlessBody: // until the connection is closed (RFC 9112, section 6.3)
	case CutBody, ResetBody:
		header.Set("Content-Length", strconv.Itoa(len(a.Body)+1))
	default:
		if !a.bodiless() && header.Get("Content-Length") == "" {
			header.Set("Content-Length", strconv.Itoa(len(a.Body)))
		}
	}
	var b bytes.Buffer
	b.WriteString(a.statusLine())
	_ = header.Write(&b) // a Buffer takes everything
	b.WriteString("\r\n")
	return b.Bytes()
}

// send copies src to the connection, one byte per pace if there is a pace. It reports whether all of it was taken.
func send(ctx context.Context, c net.Conn, src io.Reader, pace time.Duration) bool {
	buf := make([]byte, 16<<10)
	if pace > 0 {
		buf = buf[:1]
	}
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if _, err := c.Write(buf[:n]); err != nil {
				return false
			}
			if pace > 0 && !pause(ctx, pace) {
				return false
			}
		}
		if err != nil {
			return err == io.EOF
		}
	}
}

// pause sleeps for d and reports whether ctx lasted.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// reset closes the connection with a reset (TCP RST) and not with a goodbye: with a linger time of 0 the kernel sends
// one.
func reset(c net.Conn) {
	if secure, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = secure.NetConn() // closing the TLS layer would say goodbye
	}
	if tcp, ok := c.(interface{ SetLinger(sec int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

// endless reads unit over and over.
type endless struct {
	unit string
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m := copy(p[n:], e.unit[e.at:])
		n += m
		e.at = (e.at + m) % len(e.unit)
	}
	return n, nil
}
