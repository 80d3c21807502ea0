//go:build linux

package crashtest

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/jackc/pgx/v5"
)

// bridge carries TCP connections to a cluster, which listens on a Unix socket only.
type bridge struct {
	listener net.Listener
	socket   string
	mu       sync.Mutex
	open     map[net.Conn]*link
	closed   bool
	links    sync.WaitGroup
}

// link is a connection and its other half.
type link struct {
	mu     sync.Mutex
	frozen chan struct{} // nil: data flow
}

func newBridge(t testing.TB, db *database) *bridge {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b := &bridge{listener: listener, socket: filepath.Join(db.cluster.Socket(), ".s.PGSQL.5432"), open: map[net.Conn]*link{}}
	b.links.Go(b.accept)
	t.Cleanup(b.close)
	return b
}

// dsn is how to reach the database through an address.
func through(t testing.TB, db *database, address string) string {
	t.Helper()
	cfg, err := pgx.ParseConfig(db.dsn)
	require.NoError(t, err)
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	return fmt.Sprintf("host=%s port=%s user=postgres dbname=%s sslmode=disable", host, port, cfg.Database)
}

func (b *bridge) accept() {
	for {
		client, err := b.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", b.socket)
		if err != nil { // it is down
			_ = client.Close()
			continue
		}
		l := &link{}
		b.mu.Lock()
		if b.closed {
			_, _ = client.Close(), server.Close()
		}
		b.open[client], b.open[server] = l, l
		b.mu.Unlock()
		b.links.Go(func() { b.carry(client, server, l) })
		b.links.Go(func() { b.carry(server, client, l) })
	}
}

// carry copies until one side ends, and then ends the other one.
func (b *bridge) carry(from, to net.Conn, l *link) {
	_, _ = io.Copy(to, reader{from, l})
	l.flow()
	_, _ = from.Close(), to.Close()
	b.mu.Lock()
	delete(b.open, from)
	b.mu.Unlock()
}

// reader reads what flows.
type reader struct {
	net.Conn
	*link
}

func (r reader) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.flow()
	return n, err
}

// flow waits while the link is frozen.
func (l *link) flow() {
	l.mu.Lock()
	frozen := l.frozen
	l.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
}

// freeze makes the connections that are open silent: nothing comes through, and neither side is told. New ones are not
// concerned.
func (b *bridge) freeze() (thaw func()) {
	frozen := make(chan struct{})
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.open {
		l.mu.Lock()
		l.frozen = frozen
		l.mu.Unlock()
	}
	return func() { close(frozen) }
}

func (b *bridge) close() {
	_ = b.listener.Close()
	b.mu.Lock()
	b.closed = true
	for conn := range b.open {
		_ = conn.Close()
	}
	b.mu.Unlock()
	b.links.Wait()
}

// toxic is a proxy between the workers and the cluster that can be told to misbehave.
type toxic struct{ *toxiproxy.Proxy }

func newToxic(t testing.TB, db *database) toxic {
	t.Helper()
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxics log past the logger that they are given
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := toxic{toxiproxy.NewProxy(server, "postgres", "127.0.0.1:0", newBridge(t, db).listener.Addr().String())}
	require.NoError(t, p.Start())
	t.Cleanup(p.Stop)
	return p
}

// add adds a toxic to one direction, "upstream" or "downstream".
func (p toxic) add(t testing.TB, kind, stream string, attributes string) {
	t.Helper()
	_, err := p.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(`{"name": "%s", "type": "%s", "stream": "%s", "attributes": {%s}}`, kind+stream, kind, stream, attributes)))
	require.NoError(t, err)
}

// reset takes all toxics away.
func (p toxic) reset() { p.Toxics.ResetToxics(context.Background()) }
