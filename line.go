package webhook

import (
	"context"
	"net/http/httptrace"
	"time"
)

// line is one worker's line out: the context, the deadline and the trace of its request. They serve the next request too, unless something of the last one may
// still use them: making them anew costs as much as signing.
type line struct {
	parent  context.Context
	timeout time.Duration // of a whole exchange

	ctx      context.Context // with the trace in it; nil: to be made
	cut      context.CancelCauseFunc
	deadline *time.Timer
	exchange *exchange
}

// open readies the line for one request.
func (l *line) open(now time.Time) {
	if l.ctx != nil && l.ctx.Err() == nil && l.exchange.begin(now) {
		l.deadline.Reset(l.timeout)
		return
	}
	l.drop()
	ctx, cut := context.WithCancelCause(l.parent)
	l.exchange = &exchange{started: now}
	l.ctx = httptrace.WithClientTrace(ctx, l.exchange.trace())
	l.cut = cut
	l.deadline = time.AfterFunc(l.timeout, func() { cut(errTimedOut) })
}

// close ends the request, whose response was read.
func (l *line) close() {
	if !l.deadline.Stop() { // it fired, if only now
		l.drop()
	}
}

// drop leaves nothing behind.
func (l *line) drop() {
	if l.ctx == nil {
		return
	}
	l.deadline.Stop()
	l.cut(context.Canceled)
	l.ctx = nil
}

// begin readies the exchange for another request, unless a dial for the last one may be under way still: its hooks would speak into the new one.
func (x *exchange) begin(now time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.kept {
		return false
	}
	x.started, x.kept, x.answered = now, false, false
	x.phases = Phases{}
	return true
}

// connected notes the connection that the request goes over.
func (x *exchange) connected(info httptrace.GotConnInfo, now time.Time) {
	x.gotConn = now
	x.phases.Reused = info.Reused
	if info.Reused { // a dial that this request started and did not wait for is another's
		x.phases.DNS, x.phases.Connect, x.phases.TLS = 0, 0, 0
	}
	// One that was idle before the request began was taken without a dial.
	x.kept = info.WasIdle && info.IdleTime >= now.Sub(x.started)
	if info.Conn == nil {
		return
	}
	if addr := info.Conn.RemoteAddr(); addr != x.addr { // the text is kept with it: it takes longer to make than to send
		x.addr, x.remote = addr, addr.String()
	}
}
