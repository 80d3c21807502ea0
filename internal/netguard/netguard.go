// Package netguard keeps requests that are sent on a stranger's behalf out of the sender's own network.
//
// It has three doors, from the friendliest to the one that decides:
//
//   - [Guard.CheckURL] and [CheckHeader] judge what a tenant types, so that a mistake is explained while
//     somebody looks at the form. They look at text only and do no DNS.
//   - [Guard.Transport] builds the HTTP transport: no proxy from the environment, no transparent
//     decompression, bounded headers and connections.
//   - [Guard.Control] judges every connection at the moment of the dial, on the numeric address that the
//     kernel is about to be given. A DNS name may change its answer between any earlier check and the dial;
//     what Control sees cannot change any more. It alone is the promise; the rest is comfort.
package netguard

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
)

// Config opens or closes more than the defaults do. A nil Config is the safe one.
//
// An address is judged in this order, and the first rule that speaks decides: a zone (refused, always),
// DenyPrefixes (refused), the cloud platforms' metadata addresses (refused unless AllowPrefixes names
// exactly that one address), NAT64Prefixes (the embedded IPv4 address is judged by this same order),
// AllowPrefixes (accepted), the built-in denials (refused). An IPv4-mapped IPv6 address (::ffff:a.b.c.d)
// is judged as the IPv4 address that it is.
type Config struct {
	// AllowPrefixes opens addresses that the built-in tables deny, for example 10.0.0.0/8 for receivers
	// inside one's own network, or 127.0.0.0/8 and ::1/128 in development. While one of them covers more
	// than loopback, CheckURL accepts internal names ("billing", "billing.internal") too, since such a name
	// may now lead somewhere that is allowed.
	//
	// A wide prefix does not open a cloud platform's metadata address within it (fd00::/8 holds those of
	// AWS and GCP, 100.64.0.0/10 that of Alibaba): name the single address, as /32 or /128, if you mean it.
	// A prefix of a translation mechanism (NAT64, 6to4) opens every IPv4 address behind it; for NAT64 use
	// NAT64Prefixes instead.
	//
	// IPv4 prefixes are written as IPv4, without host bits. Defaults to none.
	AllowPrefixes []netip.Prefix
	// DenyPrefixes closes more addresses, for example one's own public ranges. They win over everything
	// else, AllowPrefixes included, and over IPv4 addresses embedded behind a NAT64 prefix. Written like
	// AllowPrefixes. Defaults to none.
	DenyPrefixes []netip.Prefix
	// NAT64Prefixes names the translation prefixes of one's own network (RFC 6052: /32, /40, /48, /56, /64
	// or /96), needed where IPv4-only receivers are reached over IPv6. The well-known 64:ff9b::/96 is one
	// only when it is listed here. An address inside is judged by the IPv4 address that it embeds.
	// Defaults to none: NAT64 addresses inside 64:ff9b::/16 are refused, and a network-specific prefix that
	// is not listed cannot be told from any other global prefix, so a network that has one must list it.
	NAT64Prefixes []netip.Prefix
	// Ports lists the TCP ports that may be dialled. They hold for allowed prefixes too: arbitrary ports
	// would make the sender a port scanner and a speaker of other protocols. Defaults to 80, 443, 8080, 8443.
	Ports []uint16
	// AllowAnyPort accepts every port from 1 to 65535. Ports must be empty then. Defaults to false.
	AllowAnyPort bool
	// AllowHTTP lets CheckURL accept http:// beside https://. Defaults to false.
	AllowHTTP bool
}

var defaultPorts = []uint16{80, 443, 8080, 8443}

// Guard judges addresses, URLs and headers. It is immutable and safe for concurrent use. Make one with
// [New]; the zero Guard has no port to allow and so refuses everything.
type Guard struct {
	allow, deny, nat64 []netip.Prefix
	ports              []uint16
	anyPort            bool
	allowHTTP          bool
	localhost          bool // some loopback address is allowed
	privateNames       bool // something beyond loopback is allowed
}

// New makes a Guard. A nil cfg means the defaults. Every complaint about cfg is in the error, joined.
func New(cfg *Config) (*Guard, error) {
	var c Config
	if cfg != nil {
		c = *cfg
	}
	g := &Guard{
		allow:     slices.Clone(c.AllowPrefixes),
		deny:      slices.Clone(c.DenyPrefixes),
		nat64:     slices.Clone(c.NAT64Prefixes),
		ports:     slices.Clone(c.Ports),
		anyPort:   c.AllowAnyPort,
		allowHTTP: c.AllowHTTP,
	}
	var errs []error
	if runtime.GOOS == "plan9" {
		errs = append(errs, errors.New("package net does not call ControlContext on Plan 9, so no dial can be judged there"))
	}
	errs = append(errs, checkPrefixes("AllowPrefixes", g.allow), checkPrefixes("DenyPrefixes", g.deny), checkPrefixes("NAT64Prefixes", g.nat64))
	for _, p := range g.nat64 {
		if p.IsValid() && (p.Addr().Is4() || !nat64Lengths[p.Bits()]) {
			errs = append(errs, fmt.Errorf("NAT64Prefixes: %s must be an IPv6 prefix of length 32, 40, 48, 56, 64 or 96 (RFC 6052)", p))
		}
	}
	if slices.Contains(g.ports, 0) {
		errs = append(errs, errors.New("in Ports, 0 is not a port"))
	}
	if g.anyPort && len(g.ports) > 0 {
		errs = append(errs, errors.New("fields Ports and AllowAnyPort contradict each other: set one"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}

	if len(g.ports) == 0 {
		g.ports = defaultPorts
	}
	g.localhost = g.judge(loopback4.Addr().Next()) == "" || g.judge(loopback6.Addr()) == ""
	g.privateNames = slices.ContainsFunc(g.allow, func(p netip.Prefix) bool {
		// Without host bits, a prefix wider than these starts outside of them.
		return !loopback4.Contains(p.Addr()) && !loopback6.Contains(p.Addr())
	})
	return g, nil
}

var (
	loopback4 = netip.MustParsePrefix("127.0.0.0/8")
	loopback6 = netip.MustParsePrefix("::1/128")
)

// checkPrefixes refuses what would silently match nothing, or more than was meant.
func checkPrefixes(field string, prefixes []netip.Prefix) error {
	var errs []error
	for i, p := range prefixes {
		switch {
		case !p.IsValid():
			errs = append(errs, fmt.Errorf("%s[%d] is not a valid prefix", field, i))
		case p.Addr().Is4In6():
			errs = append(errs, fmt.Errorf("%s: %s is IPv4-mapped and would never match: write it as an IPv4 prefix", field, p))
		case p != p.Masked():
			errs = append(errs, fmt.Errorf("%s: %s has host bits set: write %s, or a longer prefix", field, p, p.Masked()))
		}
	}
	return errors.Join(errs...)
}

// portAllowed holds for URLs and for dials alike. Port 0 is never one.
func (g *Guard) portAllowed(port uint16) bool {
	return port != 0 && (g.anyPort || slices.Contains(g.ports, port))
}
