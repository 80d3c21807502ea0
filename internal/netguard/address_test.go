package netguard_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshia/webhook/internal/netguard"
	"github.com/stretchr/testify/require"
)

// dial asks Control about port 443 of an address, as the dialer would.
func dial(g *netguard.Guard, addr netip.Addr) error {
	network := "tcp6"
	if addr.Unmap().Is4() {
		network = "tcp4"
	}
	return g.Control(context.Background(), network, netip.AddrPortFrom(addr.Unmap(), 443).String(), nil)
}

// The ranges that are no destinations, and whether their neighbours are: IANA IPv4 and IPv6 Special-Purpose
// Address Registries, IPv4 Address Space Registry (multicast, reserved), IPv6 Address Space Registry
// (everything outside of 2000::/3). The table is written out a second time on purpose.
func TestEveryDeniedRangeEndsWhereItShould(t *testing.T) {
	t.Parallel()
	const yes, no = true, false
	for _, r := range []struct {
		first, last   string
		before, after bool // the neighbour is a destination
	}{
		{"0.0.0.0", "0.255.255.255", no, yes},
		{"10.0.0.0", "10.255.255.255", yes, yes},
		{"100.64.0.0", "100.127.255.255", yes, yes},
		{"127.0.0.0", "127.255.255.255", yes, yes},
		{"168.63.129.16", "168.63.129.16", yes, yes},
		{"169.254.0.0", "169.254.255.255", yes, yes},
		{"172.16.0.0", "172.31.255.255", yes, yes},
		{"192.0.0.0", "192.0.0.255", yes, yes},
		{"192.0.2.0", "192.0.2.255", yes, yes},
		{"192.31.196.0", "192.31.196.255", yes, yes},
		{"192.52.193.0", "192.52.193.255", yes, yes},
		{"192.88.99.0", "192.88.99.255", yes, yes},
		{"192.168.0.0", "192.168.255.255", yes, yes},
		{"192.175.48.0", "192.175.48.255", yes, yes},
		{"198.18.0.0", "198.19.255.255", yes, yes},
		{"198.51.100.0", "198.51.100.255", yes, yes},
		{"203.0.113.0", "203.0.113.255", yes, yes},
		{"224.0.0.0", "239.255.255.255", yes, no},
		{"240.0.0.0", "255.255.255.255", no, no},
		{"::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", no, yes},
		{"2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", yes, yes},
		{"2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", yes, yes},
		{"2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", yes, yes},
		{"2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff", yes, yes},
		{"3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", yes, yes},
		{"4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", yes, no},
	} {
		t.Run(r.first, func(t *testing.T) {
			t.Parallel()
			g := newGuard(t, nil)
			first, last := netip.MustParseAddr(r.first), netip.MustParseAddr(r.last)
			require.True(t, blocked(dial(g, first)), "first")
			require.True(t, blocked(dial(g, last)), "last")
			if first.Is4() { // the same, as it comes in an AAAA answer
				require.True(t, blocked(dial(g, netip.AddrFrom16(first.As16()))))
			}
			if before := first.Prev(); before.IsValid() {
				require.Equal(t, r.before, dial(g, before) == nil, before)
			}
			if after := last.Next(); after.IsValid() {
				require.Equal(t, r.after, dial(g, after) == nil, after)
			}
		})
	}
}

func TestAWideAllowanceLeavesMetadataClosed(t *testing.T) {
	t.Parallel()
	wide := newGuard(t, &netguard.Config{AllowPrefixes: prefixes("0.0.0.0/0", "::/0")})
	for _, text := range []string{
		"169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.42.42", "168.63.129.16",
		"100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:42::42",
		"fe80::a9fe:a9fe", "fd00:c1::a9fe:a9fe",
	} {
		addr := netip.MustParseAddr(text)
		require.True(t, blocked(dial(wide, addr)), text)
		exact := newGuard(t, &netguard.Config{AllowPrefixes: []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}})
		require.NoError(t, dial(exact, addr), text)
	}
	for _, text := range []string{"10.0.0.1", "127.0.0.1", "::1", "fd00::1", "169.254.169.253"} {
		require.NoError(t, dial(wide, netip.MustParseAddr(text)), text)
	}
	require.True(t, blocked(wide.Control(t.Context(), "tcp6", "[fe80::1%eth0]:443", nil)), "a zone is refused even where its address is allowed")
	require.True(t, blocked(wide.Control(t.Context(), "tcp4", "127.0.0.1%lo:443", nil)))
}

func TestOperatorPrefixesTakePrecedence(t *testing.T) {
	t.Parallel()
	g := newGuard(t, &netguard.Config{
		AllowPrefixes: prefixes("10.0.0.0/8", "2002:a00::/24"),
		DenyPrefixes:  prefixes("10.1.0.0/16", "93.184.215.0/24", "2606:4700::/32", "169.254.169.254/32"),
	})
	for text, ok := range map[string]bool{
		"10.0.0.1": true, "10.255.255.255": true, "11.0.0.1": true,
		"10.1.0.1": false, // denied within allowed
		"10.2.0.1": true, "10.0.255.255": true,
		"93.184.215.14": false, "93.184.216.14": true, "2606:4700::1": false, "2606:4701::1": true,
		"::ffff:10.0.0.1": true, "::ffff:10.1.0.1": false, "::ffff:93.184.215.14": false,
		"192.168.0.1": false, "127.0.0.1": false, "2002:a00:1::1": true, "2002:b00:1::1": false,
		"2400:cb00::5efe:a00:1": true, "2400:cb00::5efe:a01:1": false, "2400:cb00::200:5efe:7f00:1": false,
		"2400:cb00::201:5efe:7f00:1": true, "2400:cb00::400:5efe:7f00:1": true, "2400:cb00::5eff:7f00:1": true, // no ISATAP
		"2400:cb00::5dfe:7f00:1": true,
	} {
		require.Equal(t, ok, dial(g, netip.MustParseAddr(text)) == nil, text)
	}
	both := newGuard(t, &netguard.Config{AllowPrefixes: prefixes("169.254.169.254/32"), DenyPrefixes: prefixes("169.254.0.0/16")})
	require.True(t, blocked(dial(both, netip.MustParseAddr("169.254.169.254"))))
}

// The addresses are those of RFC 6052, section 2.4, table 2, with other IPv4 addresses behind them.
func TestNAT64IsJudgedByTheEmbeddedAddress(t *testing.T) {
	t.Parallel()
	for prefix, tail := range map[string]struct{ public, private string }{
		"2a0e:db8::/32":              {"2a0e:db8:808:808::", "2a0e:db8:a00:1::"},
		"2a0e:db8:100::/40":          {"2a0e:db8:108:808:8::", "2a0e:db8:10a:0:1::"},
		"2a0e:db8:122::/48":          {"2a0e:db8:122:808:8:800::", "2a0e:db8:122:a00:0:100::"},
		"2a0e:db8:122:300::/56":      {"2a0e:db8:122:308:8:808::", "2a0e:db8:122:30a:0:1::"},
		"2a0e:db8:122:344::/64":      {"2a0e:db8:122:344:8:808:800:0", "2a0e:db8:122:344:a:0:100:0"},
		"2a0e:db8:122:344::/96":      {"2a0e:db8:122:344::808:808", "2a0e:db8:122:344::a00:1"},
		"64:ff9b::/96":               {"64:ff9b::808:808", "64:ff9b::a00:1"},
		"64:ff9b:1:fffe:0:0::/96":    {"64:ff9b:1:fffe::808:808", "64:ff9b:1:fffe::a00:1"},
		"2a0e:db8:122:344:8000::/96": {"2a0e:db8:122:344:8000::808:808", "2a0e:db8:122:344:8000::a00:1"},
	} {
		t.Run(prefix, func(t *testing.T) {
			t.Parallel()
			g := newGuard(t, &netguard.Config{NAT64Prefixes: prefixes(prefix)})
			public, private := netip.MustParseAddr(tail.public), netip.MustParseAddr(tail.private)
			require.NoError(t, dial(g, public))
			require.True(t, blocked(dial(g, private)))

			open := newGuard(t, &netguard.Config{NAT64Prefixes: prefixes(prefix), AllowPrefixes: prefixes("10.0.0.1/32")})
			require.NoError(t, dial(open, private), "an embedded address may be allowed like any other")
			shut := newGuard(t, &netguard.Config{NAT64Prefixes: prefixes(prefix), DenyPrefixes: prefixes("8.8.8.8/32")})
			require.True(t, blocked(dial(shut, public)), "and denied")
			wide := newGuard(t, &netguard.Config{NAT64Prefixes: prefixes(prefix), AllowPrefixes: prefixes("::/0")})
			require.True(t, blocked(dial(wide, private)), "allowing the outside does not allow the inside")
		})
	}

	apart := newGuard(t, &netguard.Config{NAT64Prefixes: prefixes("2a0e:db8::/32", "64:ff9b::/96")})
	require.NoError(t, dial(apart, netip.MustParseAddr("64:ff9b::808:808")), "a prefix that does not hold the address reads nothing in it")

	overlap := newGuard(t, &netguard.Config{NAT64Prefixes: prefixes("2a0e:db8::/32", "2a0e:db8:808:808::/96")})
	require.True(t, blocked(dial(overlap, netip.MustParseAddr("2a0e:db8:808:808::a00:1"))), "each reading must be allowed")
	require.NoError(t, dial(overlap, netip.MustParseAddr("2a0e:db8:808:808::808:808")))
}

func TestControlTakesOnlyTCPToAnAllowedPort(t *testing.T) {
	t.Parallel()
	g := newGuard(t, nil)
	for _, port := range []string{"80", "443", "8080", "8443"} {
		require.NoError(t, g.Control(t.Context(), "tcp4", "93.184.215.14:"+port, nil))
		require.NoError(t, g.Control(t.Context(), "tcp6", "[2606:4700::1111]:"+port, nil))
	}
	for _, bad := range []string{
		"tcp4 93.184.215.14:0", "tcp4 93.184.215.14:22", "tcp4 93.184.215.14:65535", "tcp4 93.184.215.14", "tcp4 ",
		"tcp4 example.com:443", "tcp4 :443", "tcp4 93.184.215.14:https", "tcp4 93.184.215.14:-1",
		"tcp 93.184.215.14:443", "udp4 93.184.215.14:443", "udp6 [2606:4700::1111]:443", "ip4 93.184.215.14:443",
		"unix /run/docker.sock", " 93.184.215.14:443", "tcp4 127.0.0.1%lo:443", "tcp6 [2606:4700::1111%eth0]:443",
		"tcp6 [::ffff:93.184.215.14%eth0]:443",
	} {
		network, address, _ := strings.Cut(bad, " ")
		require.True(t, blocked(g.Control(t.Context(), network, address, nil)), bad)
	}

	anyPort := newGuard(t, &netguard.Config{AllowAnyPort: true})
	require.NoError(t, anyPort.Control(t.Context(), "tcp4", "93.184.215.14:1", nil))
	require.NoError(t, anyPort.Control(t.Context(), "tcp4", "93.184.215.14:65535", nil))
	require.True(t, blocked(anyPort.Control(t.Context(), "tcp4", "93.184.215.14:0", nil)))
	require.True(t, blocked(anyPort.Control(t.Context(), "tcp4", "10.0.0.1:443", nil)))

	own := newGuard(t, &netguard.Config{Ports: []uint16{9443}, AllowPrefixes: prefixes("10.0.0.0/8")})
	require.NoError(t, own.Control(t.Context(), "tcp4", "93.184.215.14:9443", nil))
	require.True(t, blocked(own.Control(t.Context(), "tcp4", "93.184.215.14:443", nil)))
	require.True(t, blocked(own.Control(t.Context(), "tcp4", "10.0.0.1:22", nil)), "ports hold for allowed addresses too")

	require.True(t, blocked(new(netguard.Guard).Control(t.Context(), "tcp4", "93.184.215.14:443", nil)), "the zero Guard refuses everything")
}

func TestBlockedErrorTellsTheOperatorAloneWhatItWas(t *testing.T) {
	t.Parallel()
	g := newGuard(t, &netguard.Config{DenyPrefixes: prefixes("93.184.215.0/24")})
	for address, rule := range map[string]string{
		"10.0.0.1:443": "10.0.0.0/8 private use (RFC 1918)", "169.254.169.254:443": "cloud platform metadata",
		"93.184.215.14:443": "in DenyPrefixes", "8.8.8.8:22": "port is not allowed",
		"example.com:443": "address cannot be read",
	} {
		err := g.Control(t.Context(), "tcp4", address, nil)
		require.EqualError(t, err, "destination address is not allowed", "one text for all of them")
		var b *netguard.BlockedError
		require.ErrorAs(t, err, &b)
		require.Equal(t, netguard.BlockedError{Address: "tcp4 " + address, Rule: rule}, *b)
		require.Equal(t, "tcp4 "+address+": "+rule, b.Detail())
	}
}

func TestNewNamesEveryMistake(t *testing.T) {
	t.Parallel()
	_, err := netguard.New(&netguard.Config{
		AllowPrefixes: append(prefixes("10.1.2.3/8", "::ffff:10.0.0.0/104"), netip.Prefix{}),
		DenyPrefixes:  prefixes("192.168.1.0/16"),
		NAT64Prefixes: append(prefixes("10.0.0.0/32", "64:ff9b::/95"), netip.Prefix{}),
		Ports:         []uint16{443, 0},
		AllowAnyPort:  true,
	})
	for _, complaint := range []string{
		"AllowPrefixes: 10.1.2.3/8 has host bits set: write 10.0.0.0/8", "AllowPrefixes: ::ffff:10.0.0.0/104 is IPv4-mapped",
		"AllowPrefixes[2] is not a valid prefix", "DenyPrefixes: 192.168.1.0/16 has host bits set",
		"NAT64Prefixes: 10.0.0.0/32 must be an IPv6 prefix", "NAT64Prefixes: 64:ff9b::/95 must be",
		"NAT64Prefixes[2] is not a valid prefix",
		"0 is not a port", "Ports and AllowAnyPort contradict",
	} {
		require.ErrorContains(t, err, complaint)
	}
	require.Equal(t, 8, strings.Count(err.Error(), "\n"), "nine complaints")
}

func TestNewCopiesItsConfig(t *testing.T) {
	t.Parallel()
	cfg := &netguard.Config{AllowPrefixes: prefixes("10.0.0.0/8"), DenyPrefixes: prefixes("8.0.0.0/8"), NAT64Prefixes: prefixes("64:ff9b::/96"), Ports: []uint16{443}}
	g := newGuard(t, cfg)
	cfg.AllowPrefixes[0], cfg.DenyPrefixes[0], cfg.NAT64Prefixes[0] = prefixes("127.0.0.0/8")[0], prefixes("9.0.0.0/8")[0], prefixes("::/96")[0]
	cfg.Ports[0] = 22
	for text, ok := range map[string]bool{"10.0.0.1": true, "127.0.0.1": false, "8.8.8.8": false, "9.9.9.9": true, "64:ff9b::101:101": true, "::101:101": false} {
		require.Equal(t, ok, dial(g, netip.MustParseAddr(text)) == nil, text)
	}
}
