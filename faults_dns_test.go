package webhook_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/netguard"
)

// What a name server says of a question (RFC 1035, section 4.1.1).
const (
	noError  = 0
	servFail = 2
	nxDomain = 3
)

// nameServer is the name server of a resolver. answer says what it answers to the nth look-up, from 0; nil: it never
// answers.
func nameServer(t *testing.T, answer func(n int) (rcode byte, addrs []netip.Addr)) *net.Resolver {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	var lookups atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			go func() {
				for answer != nil {
					var size uint16
					if binary.Read(c, binary.BigEndian, &size) != nil {
						return
					}
					query := make([]byte, size)
					if _, err := io.ReadFull(c, query); err != nil {
						return
					}
					reply := dnsReply(query, func(counts int64) (byte, []netip.Addr) { return answer(int(max(0, lookups.Add(counts)-1))) })
					if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
						return
					}
				}
			}()
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	}}
}

// dnsReply answers the one question of query: with what answer says about IPv4 addresses, of others there are none.
// Only what is asked about those counts.
func dnsReply(query []byte, answer func(counts int64) (byte, []netip.Addr)) []byte {
	end := 12
	for query[end] != 0 {
		end += 1 + int(query[end])
	}
	question := query[12 : end+5]
	var rcode byte
	var addrs []netip.Addr
	if kind := binary.BigEndian.Uint16(query[end+1:]); kind == 1 {
		rcode, addrs = answer(1)
	} else { // the same code, or which of the two look-ups the resolver tells of is left to chance
		rcode, _ = answer(0)
	}
	reply := append([]byte{query[0], query[1], 0x81, 0x80 | rcode, 0, 1}, byte(len(addrs)>>8), byte(len(addrs)), 0, 0, 0, 0)
	reply = append(reply, question...)
	for _, a := range addrs {
		reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4) // the question's name, type A, class IN, TTL 0
		reply = append(reply, a.AsSlice()...)
	}
	return reply
}

// resolving is a configuration whose transport looks names up with r, and is guarded as any other.
func resolving(t *testing.T, r *net.Resolver, open ...string) *webhook.Config {
	t.Helper()
	cfg := &netguard.Config{AllowHTTP: true, AllowAnyPort: true}
	for _, prefix := range open {
		cfg.AllowPrefixes = append(cfg.AllowPrefixes, netip.MustParsePrefix(prefix))
	}
	guard, err := netguard.New(cfg)
	require.NoError(t, err)
	transport, err := guard.Transport(&netguard.TransportConfig{Resolver: r})
	require.NoError(t, err)
	t.Cleanup(transport.CloseIdleConnections)
	return &webhook.Config{InsecureHTTP: true, AllowAnyPort: true, Timeout: soon, UnguardedTransport: transport}
}

func always(rcode byte, addrs ...netip.Addr) func(int) (byte, []netip.Addr) {
	return func(int) (byte, []netip.Addr) { return rcode, addrs }
}

// many are so many addresses, counted up from first.
func many(first string, n int) []netip.Addr {
	all := []netip.Addr{netip.MustParseAddr(first)}
	for len(all) < n {
		all = append(all, all[len(all)-1].Next())
	}
	return all
}

func TestFaultsOfDNS(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer func(int) (byte, []netip.Addr)
		class  webhook.ErrorClass
		detail string
	}{
		"no such name":                               {always(nxDomain), webhook.ErrorDNS, "the host has no address"},
		"a name without an address":                  {always(noError), webhook.ErrorDNS, "the host has no address"},
		"a server that fails":                        {always(servFail), webhook.ErrorDNS, "looking up the host failed"},
		"a server that refuses":                      {always(5), webhook.ErrorDNS, "looking up the host failed"},
		"a server that never answers":                {nil, webhook.ErrorDNS, "looking up the host failed"}, // the limit of a dial, 5 s, ends it
		"a thousand addresses, none of them allowed": {always(noError, many("10.0.0.0", 1000)...), webhook.ErrorBlocked, "destination address is not allowed"},
		"this machine":                               {always(noError, netip.MustParseAddr("127.0.0.1")), webhook.ErrorBlocked, "destination address is not allowed"},
		"this network":                               {always(noError, netip.IPv4Unspecified()), webhook.ErrorBlocked, "destination address is not allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
			defer server.Close()
			_, port, err := net.SplitHostPort(strings.TrimPrefix(server.URL, "http://"))
			require.NoError(t, err)
			a := attemptAt(t, "http://hook.example.com:"+port+"/", resolving(t, nameServer(t, c.answer)))
			require.Equal(t, row{undelivered, c.class, 0, false}, rowOf(a), a.Detail)
			require.Equal(t, c.detail, a.Detail, "no address and no server's name is in it")
			require.Empty(t, a.RemoteAddr)
			require.Less(t, a.Latency, soon)
			require.Zero(t, requests.Load())
		})
	}
}

// TestAThousandAddressesOfWhichOneAnswers dials them in turn; nobody listens at the others.
func TestAThousandAddressesOfWhichOneAnswers(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	addrs := append(many("127.9.0.1", 999), netip.MustParseAddr("127.0.0.1"))
	_, port, err := net.SplitHostPort(strings.TrimPrefix(server.URL, "http://"))
	require.NoError(t, err)
	a := attemptAt(t, "http://hook.example.com:"+port+"/", resolving(t, nameServer(t, always(noError, addrs...)), "127.0.0.0/8"))
	require.Equal(t, row{delivered, "", 200, false}, rowOf(a), a.Detail)
	require.Equal(t, "127.0.0.1:"+port, a.RemoteAddr)
}

// TestANameThatFlipsInside leads to an address that may be reached at first, and to another one the next time. Its
// records may not be kept for any time.
func TestANameThatFlipsInside(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		w.Header().Set("Connection", "close")
	}))
	l, err := net.Listen("tcp4", "0.0.0.0:0") // who flips inside finds somebody there
	require.NoError(t, err)
	server.Listener.Close()
	server.Listener = l
	server.Start()
	defer server.Close()
	outside, inside := netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.1")
	resolver := nameServer(t, func(n int) (byte, []netip.Addr) {
		return noError, []netip.Addr{[]netip.Addr{outside, inside}[min(n, 1)]}
	})
	cfg := resolving(t, resolver, "127.0.0.2/32")
	cfg.Logger = quiet
	r := realRig(t, cfg)
	e := r.at(fmt.Sprint("http://hook.example.com:", l.Addr().(*net.TCPAddr).Port), webhook.AllEvents)
	for _, want := range []row{whole, {undelivered, webhook.ErrorBlocked, 0, false}, {undelivered, webhook.ErrorBlocked, 0, false}} {
		d, err := r.d.Ping(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, want, rowOf(d.Attempts[0]), d.Attempts[0].Detail)
	}
	require.EqualValues(t, 1, requests.Load())
}
