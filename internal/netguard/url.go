package netguard

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxURLLength is the longest URL that CheckURL accepts, in bytes, before and after it is made canonical.
const MaxURLLength = 2048

// URLError says what is wrong with a URL and what to do about it. It never repeats the URL's path, query or
// userinfo, since those carry tokens.
type URLError struct {
	// Field is the part of the URL at fault: url, scheme, userinfo, host, port or fragment.
	Field string
	// Code is the stable name of the complaint: empty, too_long, character, malformed, scheme, userinfo,
	// fragment, host, host_encoding, numeric_host, private_host, address, port or port_not_allowed.
	Code string
	text string
}

// Error is a sentence for the person who typed the URL.
func (e *URLError) Error() string { return e.text }

func badURL(field, code, text string) error { return &URLError{Field: field, Code: code, text: text} }

// CheckURL reads the URL of an endpoint as it is typed or imported, and returns it in canonical form: scheme
// and host in lower case, the host of an internationalised name in its ASCII form (what net/http would dial,
// RFC 5891), an IP literal in its shortest form. Store and dial what it returns, not what was typed.
//
// It demands an absolute https URL (http too where Config.AllowHTTP says so) of at most MaxURLLength bytes
// with a host and an allowed port; without userinfo, fragment, spaces, control characters or backslashes,
// and outside of the host without anything but ASCII. An IP literal must be allowed. A name must be a
// fully qualified one outside of the zones that only resolve inside a network: localhost where a loopback
// address is allowed, and the other internal names where Config.AllowPrefixes opens more than loopback.
//
// It does no DNS: what a name leads to is judged when it is dialled. Every error is a [*URLError].
func (g *Guard) CheckURL(raw string) (*url.URL, error) {
	if err := checkCharacters(raw); err != nil {
		return nil, err
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	switch scheme = strings.ToLower(scheme); {
	case ok && (scheme == "https" || scheme == "http" && g.allowHTTP):
	case g.allowHTTP:
		return nil, badURL("scheme", "scheme", "URL must start with https:// or http://")
	default:
		return nil, badURL("scheme", "scheme", "URL must start with https://")
	}

	// The authority is judged as it was typed, and url.Parse sees only what comes of that: it decodes what two parsers
	// may read differently, and what it makes of brackets and colons depends on the version of Go.
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	switch {
	case strings.Contains(authority, "@"):
		return nil, badURL("userinfo", "userinfo", "URL must not contain a user name or password: use a custom header for credentials")
	case strings.Contains(tail, "#"):
		return nil, badURL("fragment", "fragment", "URL must not contain a fragment: remove everything from # on")
	case !isASCII(tail):
		return nil, badURL("url", "character", "URL path and query must be ASCII: percent-encode other characters")
	case strings.Contains(authority, "%"):
		return nil, badURL("host", "host_encoding", "host must be written plainly, without percent-encoding or zone")
	}
	authority, err := g.checkAuthority(scheme, authority)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(scheme + "://" + authority + tail)
	if err != nil {
		// The parser's own text repeats the URL.
		return nil, badURL("url", "malformed", "URL is malformed: check its percent-encoding")
	}
	if len(u.String()) > MaxURLLength {
		return nil, tooLong
	}
	return u, nil
}

var tooLong = badURL("url", "too_long", "URL must not be longer than "+strconv.Itoa(MaxURLLength)+" bytes")

func checkCharacters(raw string) error {
	if strings.TrimSpace(raw) == "" {
		return badURL("url", "empty", "URL is missing: enter the URL that receives the events")
	}
	if len(raw) > MaxURLLength {
		return tooLong
	}
	if !utf8.ValidString(raw) || strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }) {
		return badURL("url", "character", "URL must not contain spaces, control characters or backslashes")
	}
	return nil
}

// checkAuthority returns a host, and its port if it has one, in the form in which they are dialled.
func (g *Guard) checkAuthority(scheme, authority string) (string, error) {
	var host, port string // the port with its colon
	var err error
	if literal, ok := strings.CutPrefix(authority, "["); ok {
		literal, port, ok = strings.Cut(literal, "]")
		addr, notAddr := netip.ParseAddr(literal)
		if !ok || notAddr != nil || addr.Is4() || port != "" && port[0] != ':' {
			return "", badURL("host", "host", "host in brackets must be an IPv6 address")
		}
		host, err = g.checkLiteral(addr)
	} else {
		host = authority
		if i := strings.IndexByte(authority, ':'); i >= 0 {
			host, port = authority[:i], authority[i:]
		}
		host, err = g.checkHost(host)
	}
	if err != nil {
		return "", err
	}
	return g.checkPort(scheme, host, port)
}

// checkHost judges what is not in brackets.
func (g *Guard) checkHost(host string) (string, error) {
	if host == "" {
		return "", badURL("host", "host", "host is missing: write the URL as https://host/path")
	}
	if !isASCII(host) {
		host = asciiHost(host)
	}
	host = strings.ToLower(host)
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is4() {
		return g.checkLiteral(addr)
	}
	return host, g.checkName(host)
}

func (g *Guard) checkLiteral(addr netip.Addr) (string, error) {
	if g.judge(addr) != "" {
		return "", badURL("host", "address", "IP address is not allowed: use a public host name")
	}
	return addr.Unmap().String(), nil
}

// asciiHost asks net/http which host it would dial for an internationalised one, by letting it try: the only
// way to apply exactly its mapping (UTS #46), which turns "①②⑦.⓪.⓪.①" into 127.0.0.1. A host that has no
// ASCII form comes back as it was.
func asciiHost(host string) string {
	ask := &http.Transport{DialContext: func(_ context.Context, _, addr string) (net.Conn, error) {
		return nil, dialled(addr)
	}}
	resp, err := ask.RoundTrip(&http.Request{
		Method: http.MethodHead, URL: &url.URL{Scheme: "http", Host: host}, Header: http.Header{},
	})
	if err == nil { // cannot be: the dial never succeeds
		resp.Body.Close()
	}
	var addr dialled
	if !errors.As(err, &addr) {
		return host
	}
	ascii, _, err := net.SplitHostPort(string(addr))
	if err != nil {
		return host
	}
	return ascii
}

// dialled is the address that a dial was asked for.
type dialled string

func (dialled) Error() string { return "not dialled" }

// checkName judges a host name in lower case by its text (RFC 1035, section 2.3.4, and RFC 1123, section
// 2.1, with the underscore, which resolves and is in use).
func (g *Guard) checkName(host string) error {
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if !validLabel(label) {
			return badURL("host", "host", "host must be a domain name, with labels of 1 to 63 letters, digits and hyphens")
		}
	}
	if len(host) > 253 {
		return badURL("host", "host", "host must not be longer than 253 characters")
	}
	// No top-level domain starts with a digit, but "127.1", "0x7f000001" and "2130706433" do: other parsers
	// and the C library's resolver read them as addresses.
	last := labels[len(labels)-1]
	if last[0] >= '0' && last[0] <= '9' {
		return badURL("host", "numeric_host", "host must be a domain name, or an IP address in its usual form")
	}
	switch {
	case last == "localhost":
		if !g.localhost {
			return badURL("host", "private_host", "host must be reachable from the Internet: localhost is not")
		}
	case (len(labels) == 1 || hasInternalSuffix(host)) && !g.privateNames:
		return badURL("host", "private_host", "host must be a full domain name that is reachable from the Internet")
	}
	return nil
}

func validLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(label, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// internalSuffixes are zones that no public DNS serves, so a name in one can only lead inside.
var internalSuffixes = []string{
	"local",                                  // multicast DNS (RFC 6762), cluster.local
	"internal", "intranet", "private", "lan", // RFC 6762, appendix G; internal: reserved by ICANN in 2024, used by clouds
	"corp", "home", "mail", // ICANN: never to be delegated, in wide private use
	"home.arpa",          // home networks (RFC 8375)
	"localdomain", "svc", // hosts files; Kubernetes services
	"invalid", "onion", "alt", // never in DNS (RFC 6761, RFC 7686, RFC 9476)
}

func hasInternalSuffix(host string) bool {
	return slices.ContainsFunc(internalSuffixes, func(s string) bool { return strings.HasSuffix(host, "."+s) })
}

// checkPort returns host with its port, if it has one, in the form of a URL's host.
func (g *Guard) checkPort(scheme, host, port string) (string, error) {
	switch port {
	case "":
		standard := uint16(443)
		if scheme == "http" {
			standard = 80
		}
		if !g.portAllowed(standard) {
			return "", g.portError()
		}
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return host, nil
	case ":":
		return "", badURL("port", "port", "port is missing after the colon")
	}
	text := port[1:]
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil || text[0] == '0' {
		return "", badURL("port", "port", "port must be a number from 1 to 65535")
	}
	if !g.portAllowed(uint16(number)) {
		return "", g.portError()
	}
	return net.JoinHostPort(host, text), nil
}

func (g *Guard) portError() error {
	var list []string
	for _, p := range g.ports {
		list = append(list, strconv.Itoa(int(p)))
	}
	return badURL("port", "port_not_allowed", "port is not allowed: use one of "+strings.Join(list, ", "))
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}
