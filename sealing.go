package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
)

// Sealed is a secret as stores keep it, byte for byte. It prints and marshals as redacted, since without a
// [Config.Sealer] the bytes are the secret's own.
type Sealed []byte

const redactedSealed = "sealed:***"

// String returns the redacted form.
func (Sealed) String() string { return redactedSealed }

// Format writes the redacted form for every verb.
func (Sealed) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redactedSealed) }

// LogValue returns the redacted form.
func (Sealed) LogValue() slog.Value { return slog.StringValue(redactedSealed) }

// MarshalText returns the redacted form, for JSON too. Stores write the bytes.
func (Sealed) MarshalText() ([]byte, error) { return []byte(redactedSealed), nil }

// UnmarshalText refuses: what was marshalled is lost.
func (*Sealed) UnmarshalText([]byte) error {
	return fmt.Errorf("%w: it is the redacted form, not what was sealed", ErrInvalidSecret)
}

// What the first byte of a Sealed says of the others.
const (
	sealedPlain = 0 // the secret's text: there was no sealer
	sealedBox   = 1 // what Sealer.Seal returned
)

// seal makes what is stored of a secret.
func (e *engine) seal(ctx context.Context, of EndpointRef, s Secret) (Sealed, error) {
	if e.cfg.Sealer == nil {
		e.unsealed.Do(func() {
			if _, ok := e.store.(*MemoryStore); !ok { // it keeps nothing beyond the process
				e.log.WarnContext(ctx, "webhook: secrets are stored as they are, not encrypted: Config.Sealer is not set")
			}
		})
		return slices.Concat(Sealed{sealedPlain}, Sealed(s.Reveal())), nil
	}
	box, err := e.cfg.Sealer.Seal(ctx, of, []byte(s.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("sealing a secret: %w", err)
	}
	return slices.Concat(Sealed{sealedBox}, box), nil
}

// careful is a sealer that may panic, which is an error like any other: it runs on slots, where nobody else would
// recover.
type careful struct{ Sealer }

var errSealerPanicked = errors.New("the sealer panicked")

// Seal implements [Sealer].
func (c careful) Seal(ctx context.Context, of EndpointRef, secret []byte) (sealed []byte, err error) {
	defer asError(&err)
	return c.Sealer.Seal(ctx, of, secret)
}

// Open implements [Sealer].
func (c careful) Open(ctx context.Context, of EndpointRef, sealed []byte) (secret []byte, err error) {
	defer asError(&err)
	return c.Sealer.Open(ctx, of, sealed)
}

// asError makes a panic an error. What was thrown is left out: it may hold the secret.
func asError(err *error) {
	if recover() != nil {
		*err = errSealerPanicked
	}
}

// open is the opposite of seal. What was stored without a sealer stays readable with one.
func (e *engine) open(ctx context.Context, of EndpointRef, stored Sealed) (Secret, error) {
	switch {
	case len(stored) > 0 && stored[0] == sealedPlain:
		return NewSecret(string(stored[1:])), nil
	case len(stored) > 0 && stored[0] == sealedBox && e.cfg.Sealer == nil:
		return Secret{}, fmt.Errorf("%w: Config.Sealer is not set", ErrKeyMissing)
	case len(stored) > 0 && stored[0] == sealedBox:
		text, err := e.cfg.Sealer.Open(ctx, of, stored[1:])
		if err != nil {
			return Secret{}, err
		}
		return NewSecret(string(text)), nil
	default:
		return Secret{}, fmt.Errorf("%w: what is stored of it is damaged", ErrInvalidSecret)
	}
}

// aged reports whether sealing the secret again would seal it better. It takes a sealer.
func (e *engine) aged(stored Sealed) bool {
	return len(stored) == 0 || stored[0] != sealedBox || !e.cfg.Sealer.Newest(stored[1:])
}

// Reseal seals anew, with the newest key of [Config.Sealer], every secret and header that is stored in the clear or
// under an older key, and returns how many those were. Called on a view of [Dispatcher.Tenant] it covers that tenant,
// otherwise all of them. It may be repeated; an endpoint that is changed at the same time is read again. Errors:
// [ErrInvalidConfig] without a sealer, those of the sealer, and the store's own; what was done until then stays done.
func (d *Dispatcher) Reseal(ctx context.Context) (resealed int, err error) {
	fail := func(err error) (int, error) { return resealed, fmt.Errorf("webhook: reseal: %w", err) }
	if d.cfg.Sealer == nil {
		return fail(fmt.Errorf("%w: Config.Sealer is not set", ErrInvalidConfig))
	}
	if d.view {
		if err := d.allowed(); err != nil {
			return fail(err)
		}
		if resealed, err = d.resealTenant(ctx, d.tenant); err != nil {
			return fail(err)
		}
		return resealed, nil
	}
	const page = 100
	var after *string
	for {
		tenants, err := d.store.Tenants(ctx, after, page)
		if err != nil {
			return fail(err)
		}
		for i := range tenants {
			n, err := d.resealTenant(ctx, tenants[i])
			resealed += n
			if err != nil {
				return fail(err)
			}
			after = &tenants[i]
		}
		if len(tenants) < page {
			return resealed, nil
		}
	}
}

func (e *engine) resealTenant(ctx context.Context, tenant string) (resealed int, err error) {
	endpoints, err := e.store.Endpoints(ctx, tenant)
	if err != nil {
		return 0, err
	}
	for _, endpoint := range endpoints {
		n, err := e.resealEndpoint(ctx, endpoint)
		for errors.Is(err, ErrVersionConflict) {
			if endpoint, err = e.store.Endpoint(ctx, tenant, endpoint.ID); err == nil {
				n, err = e.resealEndpoint(ctx, endpoint)
			}
		}
		if err != nil && !errors.Is(err, ErrNotFound) { // deleted meanwhile
			return resealed, fmt.Errorf("endpoint %s: %w", endpoint.ID, err)
		}
		resealed += n
	}
	return resealed, nil
}

func (e *engine) resealEndpoint(ctx context.Context, endpoint Endpoint) (resealed int, err error) {
	of := endpoint.ref()
	endpoint.Secrets, endpoint.StoredHeaders = slices.Clone(endpoint.Secrets), slices.Clone(endpoint.StoredHeaders)
	var all []*Sealed
	for i := range endpoint.Secrets {
		all = append(all, &endpoint.Secrets[i].Sealed)
	}
	for i := range endpoint.StoredHeaders {
		all = append(all, &endpoint.StoredHeaders[i].Sealed)
	}
	for _, sealed := range all {
		if !e.aged(*sealed) {
			continue
		}
		secret, err := e.open(ctx, of, *sealed)
		if err != nil {
			return 0, err
		}
		if *sealed, err = e.seal(ctx, of, secret); err != nil {
			return 0, err
		}
		resealed++
	}
	if resealed == 0 {
		return 0, nil
	}
	if _, err := e.store.UpdateEndpoint(ctx, endpoint, nil); err != nil {
		return 0, err
	}
	return resealed, nil
}
