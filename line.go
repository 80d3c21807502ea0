package webhook

import (
	"context"
	"net/http/httptrace"
	"time"
)

// bounded is a context with a deadline that serves one call after the other: making one anew for each costs as much as
// signing.
type bounded struct {
	parent context.Context
	limit  time.Duration // of one call

	ctx   context.Context // nil: to be made
	cut   context.CancelCauseFunc
	timer *time.Timer
}

// open begins a call; the answer says whether the context is the one of the call before.
func (b *bounded) open() (again bool) {
	if b.ctx != nil && b.ctx.Err() == nil {
		b.timer.Reset(b.limit)
		return true
	}
	b.drop()
	ctx, cut := context.WithCancelCause(b.parent)
	b.ctx, b.cut = ctx, cut
	b.timer = time.AfterFunc(b.limit, func() { cut(errTimedOut) })
	return false
}

// close ends the call.
func (b *bounded) close() {
	if !b.timer.Stop() { // it fired, if only now
		b.drop()
	}
}

// drop leaves nothing behind.
func (b *bounded) drop() {
	if b.ctx == nil {
		return
	}
	b.timer.Stop()
	b.cut(context.Canceled)
	b.ctx = nil
}

// line is one worker's line out: the context and the trace of its request, which serve the next one too unless
// something of the last may still use them.
type line struct {
	bounded
	exchange *exchange
	traced   context.Context // bounded.ctx with the exchange's trace in it
}

// open readies the line for one request.
func (l *line) open(now time.Time) {
	if l.exchange != nil && !l.exchange.begin(now) {
		l.drop()
	}
	if l.bounded.open() {
		return
	}
	l.exchange = &exchange{started: now}
	l.traced = httptrace.WithClientTrace(l.ctx, l.exchange.trace())
}

func newLine(parent context.Context, timeout time.Duration) *line {
	return &line{bounded: bounded{parent: parent, limit: timeout}}
}
