package netguard

import (
	"context"
	"net/netip"
	"slices"
	"syscall"
)

// A denial is a range of addresses and the reason why it is no destination, for the operator's log.
type denial struct {
	prefix netip.Prefix
	why    string
}

func deny(prefix, why string) denial {
	return denial{netip.MustParsePrefix(prefix), prefix + " " + why}
}

// denied4 lists the IPv4 ranges that are not the public Internet: the entries of the IANA IPv4
// Special-Purpose Address Registry (https://www.iana.org/assignments/iana-ipv4-special-registry), globally
// reachable or not, and multicast and reserved space from the IANA IPv4 Address Space Registry.
var denied4 = []denial{
	deny("0.0.0.0/8", `"this network" (RFC 791)`), // 0.0.0.0 reaches the local host on Linux
	deny("10.0.0.0/8", "private use (RFC 1918)"),
	deny("100.64.0.0/10", "shared address space (RFC 6598)"),
	deny("127.0.0.0/8", "loopback (RFC 1122)"),
	deny("169.254.0.0/16", "link local (RFC 3927)"),
	deny("172.16.0.0/12", "private use (RFC 1918)"),
	deny("192.0.0.0/24", "IETF protocol assignments (RFC 6890)"),
	deny("192.0.2.0/24", "documentation (RFC 5737)"),
	deny("192.31.196.0/24", "AS112 (RFC 7535)"),
	deny("192.52.193.0/24", "automatic multicast tunneling (RFC 7450)"),
	deny("192.88.99.0/24", "6to4 relay anycast (RFC 7526)"),
	deny("192.168.0.0/16", "private use (RFC 1918)"),
	deny("192.175.48.0/24", "AS112 (RFC 7534)"),
	deny("198.18.0.0/15", "benchmarking (RFC 2544)"),
	deny("198.51.100.0/24", "documentation (RFC 5737)"),
	deny("203.0.113.0/24", "documentation (RFC 5737)"),
	deny("224.0.0.0/4", "multicast (RFC 5771)"),
	deny("240.0.0.0/4", "reserved, with limited broadcast (RFC 1112, RFC 919)"),
}

// global6 is the only IPv6 space that IANA hands out for global unicast
// (https://www.iana.org/assignments/ipv6-address-space). IPv6 is judged by what is allowed, not by what is
// denied: loopback, unique local, link local, site local, multicast, NAT64, IPv4-compatible and
// IPv4-translated addresses, and whatever is defined next, all lie outside of it.
var global6 = netip.MustParsePrefix("2000::/3")

// denied6 lists the ranges inside global6 that are no destinations: IANA IPv6 Special-Purpose Address
// Registry (https://www.iana.org/assignments/iana-ipv6-special-registry).
var denied6 = []denial{
	deny("2001::/23", "IETF protocol assignments, with Teredo and ORCHID (RFC 2928)"),
	deny("2001:db8::/32", "documentation (RFC 3849)"),
	deny("2002::/16", "6to4 (RFC 3056)"),
	deny("2620:4f:8000::/48", "AS112 (RFC 7534)"),
	deny("3fff::/20", "documentation (RFC 9637)"),
}

// metadata lists the addresses at which cloud platforms hand out credentials and machine configuration.
// All but that of Azure are in special ranges anyway; they stand here because a wide AllowPrefixes must not
// open them.
var metadata = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"),    // AWS, GCP, Azure, OCI, DigitalOcean, OpenStack and more
	netip.MustParseAddr("169.254.170.2"),      // AWS ECS task credentials
	netip.MustParseAddr("169.254.170.23"),     // AWS EKS Pod Identity
	netip.MustParseAddr("169.254.42.42"),      // Scaleway
	netip.MustParseAddr("168.63.129.16"),      // Azure WireServer: a public address that the host answers
	netip.MustParseAddr("100.100.100.200"),    // Alibaba Cloud
	netip.MustParseAddr("192.0.0.192"),        // Oracle Cloud, classic
	netip.MustParseAddr("fd00:ec2::254"),      // AWS
	netip.MustParseAddr("fd00:ec2::23"),       // AWS EKS Pod Identity
	netip.MustParseAddr("fd20:ce::254"),       // GCP
	netip.MustParseAddr("fd00:42::42"),        // Scaleway
	netip.MustParseAddr("fe80::a9fe:a9fe"),    // OpenStack
	netip.MustParseAddr("fd00:c1::a9fe:a9fe"), // OCI
}

// BlockedError says that a connection was refused before it was made. Its text is the same for every
// address and rule, so a tenant learns nothing about the network behind it. What was refused, and why, is
// in Address and Rule: for the operator's log only.
//
// net and net/http wrap it in errors whose texts do name the address (net.OpError) and the whole URL
// (url.Error). Take it out with errors.As and show nothing else.
type BlockedError struct {
	Address string // the network and address as the dialer gave them: "tcp4 10.0.0.1:443"
	Rule    string // the rule that refused it: "10.0.0.0/8 private use (RFC 1918)"
}

// Error is fixed and safe to show to a tenant.
func (*BlockedError) Error() string { return "destination address is not allowed" }

// Detail names the address and the rule, for the operator's log. Never show it to a tenant.
func (e *BlockedError) Detail() string { return e.Address + ": " + e.Rule }

// Control judges one connection about to be made; it has the form of net.Dialer.ControlContext. It accepts
// nothing but TCP to an allowed address and port, and returns a [*BlockedError] for everything else. Where a
// name has several addresses, the dialer asks for each: those that are refused are skipped.
func (g *Guard) Control(_ context.Context, network, address string, _ syscall.RawConn) error {
	blocked := func(rule string) error {
		return &BlockedError{Address: network + " " + address, Rule: rule}
	}
	if network != "tcp4" && network != "tcp6" {
		return blocked("network is not TCP")
	}
	// A zoned IPv4-mapped literal arrives as "127.0.0.1%lo:80", which nothing can parse and the kernel dials.
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return blocked("address cannot be read")
	}
	if rule := g.judge(ap.Addr()); rule != "" {
		return blocked(rule)
	}
	if !g.portAllowed(ap.Port()) {
		return blocked("port is not allowed")
	}
	return nil
}

// judge names the rule that refuses addr, or returns "". See Config for the order.
func (g *Guard) judge(addr netip.Addr) string {
	// First of all: no prefix contains a zoned address, so no denial would hold, and Unmap drops the zone.
	if addr.Zone() != "" {
		return "address has a zone"
	}
	addr = addr.Unmap()
	if !addr.IsValid() {
		return "no address"
	}
	if contains(g.deny, addr) {
		return "in DenyPrefixes"
	}
	if slices.Contains(metadata, addr) {
		if slices.Contains(g.allow, netip.PrefixFrom(addr, addr.BitLen())) {
			return ""
		}
		return "cloud platform metadata"
	}
	if contains(g.nat64, addr) {
		return g.judgeNAT64(addr)
	}
	if contains(g.allow, addr) {
		return ""
	}
	if addr.Is4() {
		return lookup(denied4, addr)
	}
	if !global6.Contains(addr) {
		return "outside of 2000::/3 global unicast"
	}
	if rule := lookup(denied6, addr); rule != "" {
		return rule
	}
	if v4, ok := isatap(addr); ok {
		if rule := g.judge(v4); rule != "" {
			return "ISATAP: " + rule
		}
	}
	return ""
}

// judgeNAT64 judges what addr embeds under each configured prefix that holds it. Where prefixes of several
// lengths overlap they read different IPv4 addresses, so all of them have to be allowed.
func (g *Guard) judgeNAT64(addr netip.Addr) string {
	for _, p := range g.nat64 {
		if !p.Contains(addr) {
			continue
		}
		if rule := g.judge(embedded4(addr, p.Bits())); rule != "" {
			return "NAT64: " + rule
		}
	}
	return ""
}

// nat64Lengths are the lengths of RFC 6052, section 2.2.
var nat64Lengths = map[int]bool{32: true, 40: true, 48: true, 56: true, 64: true, 96: true}

// embedded4 reads the IPv4 address behind a NAT64 prefix: it follows the prefix, and leaves out bits 64 to
// 71, which RFC 6052, section 2.2, reserves.
func embedded4(addr netip.Addr, bits int) netip.Addr {
	b := addr.As16()
	var v4 [4]byte
	at := bits / 8
	for i := range v4 {
		if at == 8 {
			at++
		}
		v4[i] = b[at]
		at++
	}
	return netip.AddrFrom4(v4)
}

// isatap reads the IPv4 address of an ISATAP interface identifier, [02]00:5efe:a.b.c.d (RFC 5214, section
// 6.1): a router of that site sends the packet on to the IPv4 address.
func isatap(addr netip.Addr) (netip.Addr, bool) {
	b := addr.As16()
	if b[8]&^0x02 != 0 || b[9] != 0 || b[10] != 0x5e || b[11] != 0xfe {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(b[12:])), true
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}

func lookup(table []denial, addr netip.Addr) string {
	for _, d := range table {
		if d.prefix.Contains(addr) {
			return d.why
		}
	}
	return ""
}
