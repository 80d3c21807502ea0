package webhook

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/textproto"
	"slices"
	"strings"
)

const (
	maxHeaders      = 20
	maxHeadersBytes = 4 << 10 // names and values together
)

// ownHeaders may not be an endpoint's: the wire sets them itself, or they change what is sent or to whom. With an
// idempotency key net/http sends a request again by itself, which would be an attempt without a row in the log.
var ownHeaders = []string{
	"Accept-Encoding", "Connection", "Content-Encoding", "Content-Length", "Content-Type", "Expect", "Host", "Idempotency-Key", "Keep-Alive",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent", "X-Idempotency-Key",
}

// ownPrefixes begin the names of further ones: those of this library, of Standard Webhooks, of proxies, and those with
// which a request is let in to the metadata services of clouds.
var ownPrefixes = []string{"Metadata", "Proxy-", "Webhook-", "X-Aws-Ec2-Metadata-", "X-Google-Metadata-", "X-Metadata-", "X-Meshia-"}

// checkHeaders names everything that is wrong with an endpoint's headers. It quotes no value.
func checkHeaders(headers map[string]Secret) error {
	var errs []error
	if len(headers) > maxHeaders {
		errs = append(errs, fmt.Errorf("there are %d, at most %d", len(headers), maxHeaders))
	}
	size := 0
	seen := make(map[string]bool, len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		value := headers[name].Reveal()
		size += len(name) + len(value)
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		shown := clip(text(name), maxNameBytes)
		switch {
		case !isToken(name):
			errs = append(errs, fmt.Errorf("%q is not a header's name (RFC 9110, section 5.1)", shown))
		case seen[canonical]:
			errs = append(errs, fmt.Errorf("%q is named twice", canonical))
		case slices.Contains(ownHeaders, canonical) || slices.ContainsFunc(ownPrefixes, func(p string) bool { return strings.HasPrefix(canonical, p) }):
			errs = append(errs, fmt.Errorf("%q cannot be set", shown))
		case !isFieldValue(value):
			errs = append(errs, fmt.Errorf("the value of %q must be printable text without a space at either end (RFC 9110, section 5.5)", shown))
		}
		seen[canonical] = true
	}
	if size > maxHeadersBytes {
		errs = append(errs, fmt.Errorf("they have %d bytes, at most %d", size, maxHeadersBytes))
	}
	return errors.Join(errs...)
}

// isFieldValue reports whether s is a header's value (RFC 9110, section 5.5) that is not empty and ASCII.
func isFieldValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '\t' && (c < ' ' || c > '~') {
			return false
		}
	}
	return s != "" && strings.Trim(s, " \t") == s
}

// header is one of an endpoint's own, ready to be sent.
type header struct{ name, value string }

// sealHeaders makes what is stored of headers. The name is sealed with the value, so that one who can write to the
// store cannot send one header's value as another's.
func (e *engine) sealHeaders(ctx context.Context, of EndpointRef, headers map[string]Secret) ([]StoredHeader, error) {
	var stored []StoredHeader
	for name, value := range headers {
		name = textproto.CanonicalMIMEHeaderKey(name)
		sealed, err := e.seal(ctx, of, NewSecret(name+": "+value.Reveal()))
		if err != nil {
			return nil, err
		}
		stored = append(stored, StoredHeader{Name: name, Sealed: sealed})
	}
	slices.SortFunc(stored, func(a, b StoredHeader) int { return strings.Compare(a.Name, b.Name) })
	return stored, nil
}

// openHeader is the opposite of sealHeaders.
func (e *engine) openHeader(ctx context.Context, of EndpointRef, stored StoredHeader) (header, error) {
	opened, err := e.open(ctx, of, stored.Sealed)
	if err != nil {
		return header{}, err
	}
	value, found := strings.CutPrefix(opened.Reveal(), stored.Name+": ")
	if !found {
		return header{}, fmt.Errorf("%w: what is stored of header %q is damaged", ErrInvalidSecret, stored.Name)
	}
	return header{stored.Name, value}, nil
}
