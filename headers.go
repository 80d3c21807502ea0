package webhook

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/textproto"
	"slices"
	"strings"

	"github.com/meshia/webhook/internal/netguard"
)

const (
	maxHeaders      = 20
	maxHeadersBytes = 4 << 10 // names and values together
)

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
		if err := netguard.CheckHeader(name, value); err != nil {
			errs = append(errs, fmt.Errorf("%q: %w", clip(text(name), maxNameBytes), err))
		} else if seen[canonical] {
			errs = append(errs, fmt.Errorf("%q: is named twice", canonical))
		}
		seen[canonical] = true
	}
	if size > maxHeadersBytes {
		errs = append(errs, fmt.Errorf("they have %d bytes, at most %d", size, maxHeadersBytes))
	}
	return errors.Join(errs...)
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
