package netguard

import (
	"slices"
	"strconv"
	"strings"
)

// Bounds of a static header, in bytes.
const (
	MaxHeaderName  = 128
	MaxHeaderValue = 4096
)

// HeaderError says why a header may not be set on an endpoint. It never repeats the value.
type HeaderError struct {
	// Code is the stable name of the complaint: name, name_too_long, reserved, value or value_too_long.
	Code string
	text string
}

// Error says it to the person who typed the header; the name goes before it.
func (e *HeaderError) Error() string { return e.text }

// reservedHeaders, in lower case, would change what the request is, where it goes, how often it is sent or
// who it seems to come from. Authorization and Cookie are not among them: they are what static headers are for.
var reservedHeaders = []string{
	// Framing, and what belongs to one connection (RFC 9110, section 7.6; RFC 9112). "Content-" and "Proxy-"
	// are reserved as prefixes.
	"connection", "expect", "http2-settings", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
	// Routing: another virtual host, another method or path behind a framework, a forged origin.
	"forwarded", "host", "via", "x-real-ip",
	"x-http-method", "x-http-method-override", "x-method-override", "x-original-url", "x-rewrite-url",
	// With one of these, net/http sends a POST a second time by itself (see Transport).
	"idempotency-key", "x-idempotency-key",
	// The sender's own.
	"accept-encoding", "user-agent",
}

var reservedPrefixes = []string{"content-", "proxy-", "webhook-", "x-forwarded-", "x-meshia-"}

// CheckHeader judges a static header that a tenant wants on every request to an endpoint. The name is a
// token (RFC 9110, section 5.1) of at most MaxHeaderName bytes that is not reserved; the value is 1 to
// MaxHeaderValue bytes of visible ASCII with spaces and tabs inside (section 5.5, without its obsolete
// part). Every name with "metadata" in it is reserved: cloud platforms take such a header as proof that a
// request for credentials is no forgery. Every error is a [*HeaderError].
//
// The caller bounds how many headers an endpoint has, treats their values as secrets, and sets its own
// headers last.
func CheckHeader(name, value string) error {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !isTokenChar(r) }) {
		return &HeaderError{"name", "a header's name has letters, digits and hyphens only (RFC 9110, section 5.1)"}
	}
	if len(name) > MaxHeaderName {
		return &HeaderError{"name_too_long", "a header's name has at most " + strconv.Itoa(MaxHeaderName) + " bytes"}
	}
	lower := strings.ToLower(name)
	if slices.Contains(reservedHeaders, lower) || strings.Contains(lower, "metadata") ||
		slices.ContainsFunc(reservedPrefixes, func(p string) bool { return strings.HasPrefix(lower, p) }) {
		return &HeaderError{"reserved", "cannot be set: it is reserved"}
	}
	if len(value) > MaxHeaderValue {
		return &HeaderError{"value_too_long", "its value has at most " + strconv.Itoa(MaxHeaderValue) + " bytes"}
	}
	if value == "" || strings.Trim(value, " \t") != value ||
		strings.ContainsFunc(value, func(r rune) bool { return r != '\t' && (r < ' ' || r > '~') }) {
		return &HeaderError{"value", "its value must be printable ASCII text without a space at either end (RFC 9110, section 5.5)"}
	}
	return nil
}

// isTokenChar is tchar of RFC 9110, section 5.6.2.
func isTokenChar(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}
