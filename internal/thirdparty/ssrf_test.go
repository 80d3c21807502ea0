package thirdparty

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"
	"time"

	"code.dny.dev/ssrf"
	"github.com/meshia/webhook/internal/netguard"
	"github.com/stretchr/testify/require"
)

// The three ways in which netguard and code.dny.dev/ssrf are known to differ, and who refuses.
const (
	azure  = "168.63.129.16, public but answered by the platform: netguard refuses"
	mapped = "IPv4-mapped form of a public address: netguard judges the IPv4 address, ssrf refuses"
	isatap = "ISATAP identifier with a special IPv4 address: netguard refuses"
)

// comparison asks both guards about addresses and files what they disagree about.
type comparison struct {
	t      *testing.T
	ours   *netguard.Guard
	theirs *ssrf.Guardian
	asked  int
	known  map[string]int
}

func (c *comparison) ask(addr netip.Addr) {
	network := "tcp6"
	if addr.Is4() {
		network = "tcp4"
	}
	ap := netip.AddrPortFrom(addr, 443)
	allowed := c.ours.Control(c.t.Context(), network, ap.String(), nil) == nil
	theirs := c.theirs.SafeAddrPort(ap) == nil
	c.asked++
	if allowed == theirs {
		return
	}
	class := ""
	switch {
	case addr == netip.MustParseAddr("168.63.129.16"):
		class = azure
	case addr.Is4In6() && allowed:
		class = mapped
	case addr.Is6() && !allowed && isISATAP(addr):
		class = isatap
	}
	require.NotEmpty(c.t, class, "%s: netguard allows it: %v, ssrf allows it: %v", addr, allowed, theirs)
	c.known[class]++
}

func isISATAP(addr netip.Addr) bool {
	b := addr.As16()
	id := binary.BigEndian.Uint32(b[8:])
	return id == 0x00005efe || id == 0x02005efe
}

// By default up to 4 million addresses, as many as 4 seconds are enough for. NETGUARD_DIFFERENTIAL=full asks
// about three hosts of every IPv4 /24 and 40 million structured addresses, in a few minutes.
func TestNetguardAgreesWithSSRF(t *testing.T) {
	t.Parallel()
	ours, err := netguard.New(nil)
	require.NoError(t, err)
	c := &comparison{t: t, ours: ours, theirs: ssrf.New(), known: map[string]int{}}
	step, count, limit := uint64(997<<8), 4_000_000, 4*time.Second // an odd number of /24s: each /8 is met elsewhere
	if os.Getenv("NETGUARD_DIFFERENTIAL") == "full" {
		step, count, limit = 1<<8, 40_000_000, time.Hour
	}

	for block := uint64(0); block < 1<<32; block += step {
		for _, host := range []uint32{0, 1, 255} {
			c.ask(v4(uint32(block) + host))
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	start := time.Now()
	for n := 0; n < count && (n < 50_000 || n%1024 != 0 || time.Since(start) < limit); n++ {
		if n%4 == 0 {
			c.ask(special4(r))
		} else {
			c.ask(structured6(r))
		}
	}
	t.Logf("%d addresses, differences: %v", c.asked, c.known)
	for _, class := range []string{azure, mapped, isatap} {
		require.Positive(t, c.known[class], "no difference of the class %q was met: is it still one?", class)
	}
}

func v4(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// edges4 are addresses about which something special begins or ends.
var edges4 = []string{
	"0.0.0.0", "1.0.0.0", "10.0.0.0", "11.0.0.0", "100.64.0.0", "100.128.0.0", "127.0.0.0", "128.0.0.0", "168.63.129.16",
	"169.254.0.0", "169.254.169.254", "169.255.0.0", "172.16.0.0", "172.32.0.0", "192.0.0.0", "192.0.1.0", "192.0.2.0", "192.0.3.0",
	"192.31.196.0", "192.31.197.0", "192.52.193.0", "192.52.194.0", "192.88.99.0", "192.88.100.0", "192.168.0.0", "192.169.0.0",
	"192.175.48.0", "192.175.49.0", "198.18.0.0", "198.20.0.0", "198.51.100.0", "198.51.101.0", "203.0.113.0", "203.0.114.0",
	"224.0.0.0", "240.0.0.0", "255.255.255.255",
}

// special4 is an address close to an edge, or any.
func special4(r *rand.Rand) netip.Addr {
	if r.IntN(4) == 0 {
		return v4(r.Uint32())
	}
	edge := netip.MustParseAddr(edges4[r.IntN(len(edges4))]).As4()
	distance := uint32(r.IntN(1 << r.IntN(18)))
	if r.IntN(2) == 0 {
		distance = -distance
	}
	return v4(binary.BigEndian.Uint32(edge[:]) + distance)
}

// edges6 are prefixes that mean something, or did.
var edges6 = []string{
	"::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::", "100::", "100:0:0:1::", "200::", "1fff:ffff:ffff:ffff::", "2000::",
	"2001::", "2001:1::", "2001:2::", "2001:3::", "2001:4:112::", "2001:10::", "2001:20::", "2001:30::", "2001:1ff:ffff:ffff::", "2001:200::",
	"2001:db7:ffff:ffff::", "2001:db8::", "2001:db9::", "2002::", "2003::", "2400:cb00::", "2606:4700::", "2620:4f:7fff::", "2620:4f:8000::",
	"2620:4f:8001::", "2a00:1450::", "3ffe::", "3fff::", "3fff:fff:ffff:ffff::", "3fff:1000::", "4000::", "5f00::", "8000::", "fc00::",
	"fd00:ec2::", "fe00::", "fe80::", "fec0::", "ff00::", "ff0e::", "ffff::",
}

// structured6 starts with a known prefix or a random one, and ends in zeros, random bits, an embedded IPv4
// address at one of the places where such addresses are put, or an ISATAP identifier.
func structured6(r *rand.Rand) netip.Addr {
	b := netip.MustParseAddr(edges6[r.IntN(len(edges6))]).As16()
	if r.IntN(8) == 0 {
		binary.BigEndian.PutUint64(b[:8], r.Uint64())
	}
	ip := special4(r).As4()
	switch r.IntN(6) {
	case 0: // as it is
	case 1:
		b[15] = byte(r.UintN(256))
	case 2:
		binary.BigEndian.PutUint64(b[8:], r.Uint64())
		binary.BigEndian.PutUint16(b[6:], uint16(r.UintN(1<<16)))
	case 3: // NAT64, IPv4-mapped, IPv4-compatible
		copy(b[12:], ip[:])
	case 4: // 6to4, Teredo's server
		copy(b[2+2*r.IntN(2):], ip[:])
	case 5:
		binary.BigEndian.PutUint32(b[8:], 0x5efe|uint32(r.IntN(4))<<24)
		copy(b[12:], ip[:])
	}
	return netip.AddrFrom16(b)
}
