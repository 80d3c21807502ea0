package pgstore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// channel is what LISTEN and NOTIFY are about: one for each schema and prefix.
func (n names) channel() string { return fmt.Sprintf("webhook_%016x", uint64(n.key())) }

// ear hears and tells other processes.
type ear struct {
	mu   sync.Mutex
	open []*listener // that no Wait is using

	telling bool          // a NOTIFY is on its way, or somebody was told to send one
	next    chan struct{} // not nil: somebody waits to send the next one; closed when it is his turn
}

// listener is a connection that listens.
type listener struct {
	*pgx.Conn
	forget func() bool // takes back that it is closed when the context of the last Wait ends
}

// Wake implements [webhook.Waker]. A NOTIFY that is asked for while one is on its way is sent after it, once for all
// who ask: the one on its way may have come too early for them.
//
// It is never sent within the transaction that stores the events: commits that notify are queued up by the server one
// behind the other.
func (s *Store) Wake(ctx context.Context) error {
	e := &s.ear
	e.mu.Lock()
	switch {
	case e.telling && e.next != nil:
		e.mu.Unlock()
		return nil // somebody else will
	case e.telling:
		turn := make(chan struct{})
		e.next = turn
		e.mu.Unlock()
		<-turn // notifyLimit at most; others rely on this call, so that it does not end with ctx
	default:
		e.telling = true
		e.mu.Unlock()
	}

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), notifyLimit)
	defer cancel()
	// Nothing that must last is in this transaction, so that it need not wait for the disk.
	_, err := s.pool.Exec(ctx, `SELECT set_config('synchronous_commit', 'off', true), pg_notify($1::text, '')`, s.names.channel())
	e.mu.Lock()
	defer e.mu.Unlock()
	e.telling = e.next != nil
	if e.telling {
		close(e.next)
		e.next = nil
	}
	return fail("wake", err)
}

// notifyLimit bounds a NOTIFY: what is not told is found by polling.
const notifyLimit = 5 * time.Second

// Wait implements [webhook.Waker]. It listens on a connection that it takes from the pool and keeps, beside the pool's
// number, until ctx ends. When the connection breaks Wait returns an error, and the next call takes another one.
func (s *Store) Wait(ctx context.Context) error {
	l, err := s.listen(ctx)
	if err != nil {
		return fail("wait", err)
	}
	if _, err := l.WaitForNotification(ctx); err != nil {
		l.hangUp()
		return fail("wait", err)
	}
	s.ear.mu.Lock()
	defer s.ear.mu.Unlock()
	s.ear.open = append(s.ear.open, l)
	l.forget = context.AfterFunc(ctx, func() { s.deafen(l) }) // whoever was told may not come again
	return nil
}

// listen returns a listener that nobody else is using.
func (s *Store) listen(ctx context.Context) (*listener, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if l := s.ear.idle(); l != nil {
		return l, nil
	}
	pooled, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	l := &listener{Conn: pooled.Hijack()} // closing the pool need not wait for it
	if _, err := l.Exec(ctx, `LISTEN `+s.names.channel()); err != nil {
		l.hangUp()
		return nil, err
	}
	return l, nil
}

// idle takes a listener that is kept, if there is one.
func (e *ear) idle() *listener {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(e.open)
	if n == 0 {
		return nil
	}
	l := e.open[n-1]
	e.open = e.open[:n-1]
	l.forget()
	return l
}

// deafen closes a listener that no Wait is using.
func (s *Store) deafen(l *listener) {
	e := &s.ear
	e.mu.Lock()
	i := slices.Index(e.open, l)
	if i >= 0 {
		e.open = slices.Delete(e.open, i, i+1)
	}
	e.mu.Unlock()
	if i >= 0 {
		l.hangUp()
	}
}

func (l *listener) hangUp() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = l.Close(ctx)
}
