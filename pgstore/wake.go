package pgstore

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// channel is what LISTEN and NOTIFY are about: one for each schema and prefix.
func (n names) channel() string { return fmt.Sprintf("webhook_%016x", uint64(n.key())) }

// ear hears and tells other processes.
type ear struct {
	mu   sync.Mutex
	open []*pgx.Conn // connections that listen, and that no Wait is using

	telling bool          // a NOTIFY is on its way, or somebody was told to send one
	next    chan struct{} // not nil: somebody waits to send the next one; closed when it is his turn
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
	_, err := s.pool.Exec(ctx, `SELECT pg_notify($1::text, '')`, s.names.channel())
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
	conn, err := s.listen(ctx)
	if err != nil {
		return fail("wait", err)
	}
	if _, err := conn.WaitForNotification(ctx); err != nil {
		closeSoon(conn)
		return fail("wait", err)
	}
	s.ear.mu.Lock()
	s.ear.open = append(s.ear.open, conn)
	s.ear.mu.Unlock()
	// Whoever was told may not come again.
	context.AfterFunc(ctx, func() { s.deafen(conn) })
	return nil
}

// listen returns a connection that listens.
func (s *Store) listen(ctx context.Context) (*pgx.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e := &s.ear
	e.mu.Lock()
	if n := len(e.open); n > 0 {
		conn := e.open[n-1]
		e.open = e.open[:n-1]
		e.mu.Unlock()
		return conn, nil
	}
	e.mu.Unlock()
	pooled, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	conn := pooled.Hijack() // closing the pool need not wait for it
	if _, err := conn.Exec(ctx, `LISTEN `+s.names.channel()); err != nil {
		closeSoon(conn)
		return nil, err
	}
	return conn, nil
}

// deafen closes a connection that no Wait is using.
func (s *Store) deafen(conn *pgx.Conn) {
	e := &s.ear
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, idle := range e.open {
		if idle == conn {
			e.open = append(e.open[:i:i], e.open[i+1:]...)
			closeSoon(conn)
			return
		}
	}
}

func closeSoon(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}
