package netguard_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/meshia/webhook/internal/netguard"
	"github.com/stretchr/testify/require"
)

// vector is one case of testdata/ssrf.json. Tier core holds in every configuration without an explicit
// allow, default with the defaults; advisory is a choice, and ours are in advisoryChoices.
type vector struct {
	ID              string
	Kind            string // ip or url
	IP, URL         string
	Expect          string // block or allow
	Tier            string
	Group           string
	DNS             [][]string        // look-up n is answered with DNS[min(n, len-1)]
	NeverDial       []string          `json:"never_dial"`
	Redirect        *redirect         // what the receiver answers
	ResponseHeaders map[string]string `json:"response_headers"`
	Env             map[string]string // of the process
	CustomHeaders   map[string]string `json:"custom_headers"`
}

type redirect struct {
	Status   int
	Location string
}

func loadVectors(t *testing.T) []vector {
	t.Helper()
	text, err := os.ReadFile("testdata/ssrf.json")
	require.NoError(t, err)
	var list []vector
	require.NoError(t, json.Unmarshal(text, &list))
	return list
}

// zone answers host with the vector's answers, and knows no other name.
func (v vector) zone(host string) *zone {
	return &zone{
		answer: func(name string, n int) []netip.Addr {
			if name != host || len(v.DNS) == 0 {
				return nil
			}
			return addrs(v.DNS[min(n, len(v.DNS)-1)]...)
		},
		cname: map[string]string{"cname.attacker.test": "metadata.google.internal"},
	}
}

// The vectors are counted by the check that judged them: one that is skipped, or finds no check, is a failure.
var scoredByCheck = map[string]int64{"address": 136, "text": 132, "dns": 24, "receiver": 12, "environment": 4, "header": 9}

func TestVectorsComeOutAsTheySay(t *testing.T) {
	t.Parallel()
	checks := map[string]func(*testing.T, vector){
		"address": checkAddress, "text": checkText, "dns": checkDNS,
		"receiver": checkReceiver, "environment": checkEnvironment, "header": checkHeaders,
	}
	var mu sync.Mutex
	counts := map[string]int64{}
	var advisory atomic.Int64
	t.Run("each", func(t *testing.T) {
		for _, v := range loadVectors(t) {
			t.Run(v.ID, func(t *testing.T) {
				t.Parallel()
				if v.Tier == "advisory" {
					expect, ok := advisoryChoices[v.ID]
					require.True(t, ok, "an advisory vector needs a decision")
					t.Logf("advisory: %s, decided: %s", v.Expect, expect)
					v.Expect = expect
				}
				name := v.check()
				checks[name](t, v)
				if t.Failed() {
					return
				}
				if v.Tier == "advisory" {
					advisory.Add(1)
					return
				}
				mu.Lock()
				counts[name]++
				mu.Unlock()
			})
		}
	})
	require.Equal(t, scoredByCheck, counts, "vectors scored, 317 in all")
	require.Equal(t, int64(len(advisoryChoices)), advisory.Load(), "advisory vectors decided")
}

// advisoryChoices are the decisions where a vector leaves one.
var advisoryChoices = map[string]string{
	"ssrf-063": "block", // 192.31.196.0/24 and
	"ssrf-064": "block", // 192.52.193.0/24 serve a mechanism; no receiver lives there
	"ssrf-170": "block", // ISATAP is judged by its IPv4 address
	"ssrf-171": "block",
	"ssrf-291": "allow", // of a mixed answer the private address is never dialled, and
	"ssrf-292": "allow", // the public one is: a split-horizon name is no attack by itself
	"ssrf-421": "allow", // an underscore resolves, so it may be used
}

func (v vector) check() string {
	switch {
	case v.Kind == "ip":
		return "address"
	case v.Redirect != nil || v.ResponseHeaders != nil:
		return "receiver"
	case v.Env != nil:
		return "environment"
	case v.CustomHeaders != nil:
		return "header"
	case v.DNS != nil && v.Group != "port":
		return "dns"
	}
	return "text"
}

// checkAddress asks Control in the words of the Go dialer, and then lets the dialer ask it.
func checkAddress(t *testing.T, v vector) {
	addr := netip.MustParseAddr(v.IP)
	tcp := &net.TCPAddr{IP: addr.Unmap().AsSlice(), Port: 443, Zone: addr.Zone()}
	if addr.Is4In6() {
		tcp.IP = net.IP(addr.WithZone("").Unmap().AsSlice())
	}
	network := "tcp6"
	if tcp.IP.To4() != nil {
		network = "tcp4"
	}
	g := newGuard(t, nil)
	err := g.Control(t.Context(), network, tcp.String(), nil)
	require.Equal(t, v.Expect == "block", err != nil)
	require.Equal(t, v.Expect == "block", blocked(err))

	host := strings.ReplaceAll(v.IP, "%", "%25")
	if strings.Contains(v.IP, ":") {
		host = "[" + host + "]"
	}
	r := newRig(g, v.zone(""), netguard.TransportConfig{})
	err = r.get("https://" + host + "/")
	asked, passed := r.seen()
	if len(asked) == 0 && network == "tcp6" {
		t.Log("this machine has no IPv6 sockets; judged by Control alone")
		return
	}
	require.Equal(t, network+" "+tcp.String(), asked[0])
	if addr != netip.IPv6Unspecified() { // for which the dialer tries 0.0.0.0 too
		require.Len(t, asked, 1)
	}
	if v.Expect == "block" {
		require.True(t, blocked(err), err)
		require.Empty(t, passed)
	} else {
		require.ErrorIs(t, err, errPassed)
		require.Equal(t, asked, passed)
	}

	_, err = g.CheckURL("https://" + host + "/")
	require.Equal(t, v.Expect == "block", err != nil, err)
}

// checkText judges what the text alone decides, and then behaves as if nobody had.
func checkText(t *testing.T, v vector) {
	for _, cfg := range []*netguard.Config{nil, {AllowHTTP: true}} {
		g := newGuard(t, cfg)
		u, err := g.CheckURL(v.URL)
		if v.Expect == "allow" {
			require.NoError(t, err)
			r := newRig(g, v.zone(u.Hostname()), netguard.TransportConfig{})
			require.ErrorIs(t, r.get(u.String()), errPassed)
			_, passed := r.seen()
			require.Equal(t, []string{"tcp4 " + u.Hostname() + ":443"}, passed)
			continue
		}
		var bad *netguard.URLError
		require.ErrorAs(t, err, &bad)
		require.NotEmpty(t, bad.Code)
		require.NotEmpty(t, bad.Field)

		// A name without an answer of its own gets the worst one.
		z := everyName("127.0.0.1", "::1")
		if v.DNS != nil {
			z = v.zone("example.com")
		}
		r := newRig(g, z, netguard.TransportConfig{})
		require.Error(t, r.get(v.URL))
		_, passed := r.seen()
		require.Empty(t, passed)
	}
}

// checkDNS registers the URL and attempts it once for each answer, and once more.
func checkDNS(t *testing.T, v vector) {
	g := newGuard(t, &netguard.Config{AllowHTTP: strings.HasPrefix(v.URL, "http://")})
	u, err := g.CheckURL(v.URL)
	require.NoError(t, err)
	r := newRig(g, v.zone(u.Hostname()), netguard.TransportConfig{})
	var refused, unknown int
	for range len(v.DNS) + 1 {
		err := r.get(u.String())
		require.Error(t, err, "no connection ever succeeds here")
		var dns *net.DNSError
		if blocked(err) {
			refused++
		}
		if errors.As(err, &dns) && dns.IsNotFound {
			unknown++
		}
	}
	_, passed := r.seen()
	for _, p := range passed {
		ap := netip.MustParseAddrPort(strings.Fields(p)[1])
		for _, never := range v.NeverDial {
			require.NotEqual(t, netip.MustParseAddr(never).Unmap(), ap.Addr().Unmap())
		}
	}
	switch {
	case v.Expect == "allow":
		require.Len(t, passed, len(v.DNS)+1, "every attempt reaches the public address")
		require.Contains(t, passed[0], "93.184.215.14:")
	case len(v.DNS[0]) == 0:
		require.Equal(t, len(v.DNS)+1, unknown, "an unknown name is an error of its own")
		require.Empty(t, passed)
	default:
		require.Positive(t, refused)
	}
}

// checkReceiver lets a receiver at a public address answer, and counts what it and the guard see.
func checkReceiver(t *testing.T, v vector) {
	for _, protocol := range []string{"http/1.1", "h2"} {
		var requests atomic.Int64
		server := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
			requests.Add(1)
			for name, value := range v.ResponseHeaders {
				w.Header().Set(name, value)
			}
			if v.Redirect != nil {
				w.Header().Set("Location", v.Redirect.Location)
				w.WriteHeader(v.Redirect.Status)
			}
		}, protocol)
		_, pool := certificate()
		g := newGuard(t, nil)
		u, err := g.CheckURL(v.URL)
		require.NoError(t, err)
		r := newRig(g, v.zone(u.Hostname()), netguard.TransportConfig{RootCAs: pool})
		r.local = server.Listener.Addr().String()

		for n := range int64(2) {
			req, err := http.NewRequest(http.MethodPost, u.String(), strings.NewReader("{}"))
			require.NoError(t, err)
			req.Header.Set("X-Meshia-Signature", "sha256=00")
			resp, err := r.client.Do(req)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			want := http.StatusOK
			if v.Redirect != nil {
				want = v.Redirect.Status
			}
			require.Equal(t, want, resp.StatusCode)
			require.Equal(t, v.Expect == "allow", resp.StatusCode/100 == 2)
			require.Equal(t, n+1, requests.Load(), "one Do is one request")
		}
		asked, passed := r.seen()
		require.NotEmpty(t, passed)
		for _, address := range append(asked, passed...) {
			require.Equal(t, "tcp4 93.184.215.14:443", address, "nothing but the receiver is ever dialled")
		}
		r.client.CloseIdleConnections()
	}
}

func checkHeaders(t *testing.T, v vector) {
	_, err := newGuard(t, nil).CheckURL(v.URL)
	require.NoError(t, err, "the URL is not at fault")
	for name, value := range v.CustomHeaders {
		var bad *netguard.HeaderError
		require.ErrorAs(t, netguard.CheckHeader(name, value), &bad)
		require.NoError(t, netguard.CheckHeader("Authorization", "Bearer "+fmt.Sprint(len(value))))
	}
}
