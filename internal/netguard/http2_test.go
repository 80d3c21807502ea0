package netguard_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshia/webhook/internal/netguard"
	"github.com/stretchr/testify/require"
)

// peer speaks just enough HTTP/2 (RFC 9113, section 4.1) to misbehave.
type peer struct {
	requests atomic.Int64
	window   atomic.Int64                             // what may be sent on a stream before the client reads
	total    atomic.Int64                             // and on the connection beyond the protocol's 65535
	answer   func(n int64, conn, stream byte) []frame // to the nth request of all
	conns    atomic.Int64
}

type frame struct {
	kind, flags byte
	payload     []byte
}

var (
	refused = frame{kind: 0x3, payload: []byte{0, 0, 0, 0x7}}           // RST_STREAM, REFUSED_STREAM
	ok200   = frame{kind: 0x1, flags: 0x1 | 0x4, payload: []byte{0x88}} // HEADERS, the last of the stream: status 200
)

func (p *peer) serve(conn net.Conn) {
	defer conn.Close()
	number := byte(p.conns.Add(1))
	r := bufio.NewReader(conn)
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	const data, headers, settings, windowUpdate, ack, endStream = 0x0, 0x1, 0x4, 0x8, 0x1, 0x1
	if _, err := r.Discard(len(preface)); err != nil {
		return
	}
	// Reading never waits for writing, or both sides of a net.Pipe could wait for each other.
	out := make(chan []byte, 100)
	defer close(out)
	go func() {
		for b := range out {
			_, _ = conn.Write(b) // a broken connection shows in the next read
		}
	}()
	write := func(f frame, stream []byte) {
		head := append([]byte{0, 0, byte(len(f.payload)), f.kind, f.flags}, stream...)
		out <- append(head, f.payload...)
	}
	write(frame{kind: settings}, make([]byte, 4))
	for {
		head := make([]byte, 9)
		if _, err := io.ReadFull(r, head); err != nil {
			return
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(r, payload); err != nil {
			return
		}
		switch {
		case head[3] == settings && head[4]&ack == 0:
			for ; len(payload) >= 6; payload = payload[6:] {
				if binary.BigEndian.Uint16(payload) == 4 { // SETTINGS_INITIAL_WINDOW_SIZE
					p.window.Store(int64(binary.BigEndian.Uint32(payload[2:])))
				}
			}
			write(frame{kind: settings, flags: ack}, make([]byte, 4))
		case head[3] == windowUpdate && head[8] == 0:
			p.total.CompareAndSwap(0, int64(binary.BigEndian.Uint32(payload)))
		case (head[3] == data || head[3] == headers) && head[4]&endStream != 0:
			for _, f := range p.answer(p.requests.Add(1), number, head[8]) {
				write(f, head[5:9])
			}
		}
	}
}

// A receiver that reads every request and then claims to have refused it.
func TestClientDoesNotRepeatARefusedStream(t *testing.T) {
	t.Parallel()
	cert, pool := certificate()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}})
	require.NoError(t, err)
	defer listener.Close()
	p := &peer{answer: func(n int64, _, _ byte) []frame {
		if n == 1 {
			return []frame{refused}
		}
		return []frame{ok200}
	}}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(conn)
		}
	}()
	target := "https://" + listener.Addr().String()

	_, err = post(newClient(t, developer(t), &netguard.TransportConfig{RootCAs: pool}), target)
	require.Error(t, err)
	require.Equal(t, int64(1), p.requests.Load())
	require.Equal(t, int64(64<<10), p.window.Load(), "a receiver may push no more before somebody reads")
	require.Equal(t, int64(1<<20), p.total.Load())

	tr, err := developer(t).Transport(&netguard.TransportConfig{RootCAs: pool})
	require.NoError(t, err)
	defer tr.CloseIdleConnections()
	p.requests.Store(0)
	_, err = send(&http.Client{Transport: tr}, target, false)
	require.NoError(t, err)
	require.Equal(t, int64(2), p.requests.Load(), "this is what net/http does by itself")
}

// A peer that vanishes behind a connection in use costs the requests that are on it, not those that follow.
func TestADeadHTTP2ConnectionIsGivenUp(t *testing.T) {
	t.Parallel()
	cert, pool := certificate()
	synctest.Test(t, func(t *testing.T) {
		p := &peer{answer: func(n int64, conn, _ byte) []frame {
			if conn == 1 && n > 1 {
				return nil // the first connection goes silent after one answer
			}
			return []frame{ok200}
		}}
		g, err := netguard.New(nil)
		require.NoError(t, err)
		tr, err := netguard.NewTransport(g.Dialer(nil), netguard.TransportConfig{RootCAs: pool})
		require.NoError(t, err)
		tr.DialContext = func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go p.serve(tls.Server(server, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}, SessionTicketsDisabled: true}))
			return client, nil
		}
		client := &http.Client{Transport: tr}
		attempt := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://example.com/", http.NoBody)
			require.NoError(t, err)
			resp, err := client.Do(req)
			if err == nil {
				err = resp.Body.Close()
			}
			return err
		}
		require.NoError(t, attempt())
		require.Error(t, attempt())
		require.NoError(t, attempt(), "the next one gets a connection that works")
		require.Equal(t, int64(2), p.conns.Load())
		tr.CloseIdleConnections()
		synctest.Wait()
	})
}
