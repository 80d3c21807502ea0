package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meshia/webhook/internal/id"
)

// DefaultOverlap is the overlap of a rotation where there is no reason for another.
const DefaultOverlap = 24 * time.Hour

const maxOverlap = 7 * 24 * time.Hour

// RotateSecret gives an endpoint a new secret, or its first one. The old one stays live for the time of overlap, at
// most 7 days, so that the receiver may swap its own at any moment of it:
//
//   - webhook-signature carries a signature of each.
//   - X-Meshia-Signature, which has room for one, carries that of the secret which the endpoint last accepted; on the
//     retry of a delivery that failed, that of the other one.
//
// An overlap of 0 ends the old secret at once: for one that leaked. A rotation during an overlap ends the older
// secret, so that at most two are live. Errors: [ErrInvalidEndpoint] with [ErrInvalidSecret], [ErrNotFound],
// [ErrVersionConflict] if the endpoint is changed at the same time.
func (d *Dispatcher) RotateSecret(ctx context.Context, endpointID string, secret Secret, overlap time.Duration) (Endpoint, error) {
	errs := []error{field("secret", secret.Validate())}
	if overlap < 0 || overlap > maxOverlap {
		errs = append(errs, field("overlap", fmt.Errorf("must be between 0 and %v", maxOverlap)))
	}
	if err := errors.Join(errs...); err != nil {
		return Endpoint{}, fmt.Errorf("webhook: rotate secret: %w", err)
	}
	return d.changeSecrets(ctx, "rotate secret", endpointID, func(live []StoredSecret, now time.Time) ([]StoredSecret, error) {
		fresh, err := d.newStoredSecret(ctx, EndpointRef{d.tenant, endpointID}, secret)
		if err != nil {
			return nil, err
		}
		var kept []StoredSecret
		if n := len(live); n > 0 && overlap > 0 {
			old := live[n-1]
			old.ExpiresAt = now.Add(overlap)
			kept = append(kept, old)
		}
		return append(kept, fresh), nil
	})
}

// FinishRotation ends an overlap now: only the newest secret signs from here on. Without an overlap it does nothing.
// Errors: as RotateSecret.
func (d *Dispatcher) FinishRotation(ctx context.Context, endpointID string) (Endpoint, error) {
	return d.changeSecrets(ctx, "finish rotation", endpointID, func(live []StoredSecret, _ time.Time) ([]StoredSecret, error) {
		return live[max(len(live)-1, 0):], nil
	})
}

// RevealSecret returns the endpoint's newest secret, in the clear. It is empty if requests are not signed. Errors:
// [ErrNotFound], [ErrKeyMissing].
func (d *Dispatcher) RevealSecret(ctx context.Context, endpointID string) (Secret, error) {
	return read(d, "reveal secret", func() (Secret, error) {
		e, err := d.store.Endpoint(ctx, d.tenant, endpointID)
		if err != nil || len(e.Secrets) == 0 {
			return Secret{}, err
		}
		return d.open(ctx, e.ref(), e.Secrets[len(e.Secrets)-1].Sealed)
	})
}

func (d *Dispatcher) changeSecrets(
	ctx context.Context, what, endpointID string, change func(live []StoredSecret, now time.Time) ([]StoredSecret, error),
) (Endpoint, error) {
	return read(d, what, func() (Endpoint, error) {
		e, err := d.store.Endpoint(ctx, d.tenant, endpointID)
		if err != nil {
			return Endpoint{}, err
		}
		now := time.Now()
		if e.Secrets, err = change(live(e.Secrets, now), now); err != nil {
			return Endpoint{}, err
		}
		e, err = d.store.UpdateEndpoint(ctx, e, nil)
		return shown(e), err
	})
}

// live are the secrets that sign at this time.
func live(secrets []StoredSecret, now time.Time) []StoredSecret {
	return slices.DeleteFunc(slices.Clone(secrets), func(s StoredSecret) bool { return !s.signs(now) })
}

func (s StoredSecret) signs(now time.Time) bool {
	return s.ExpiresAt.IsZero() || now.Before(s.ExpiresAt)
}

func (e *engine) newStoredSecret(ctx context.Context, of EndpointRef, s Secret) (StoredSecret, error) {
	sealed, err := e.seal(ctx, of, s)
	if err != nil {
		return StoredSecret{}, err
	}
	return StoredSecret{ID: id.New("sec_"), Sealed: sealed, CreatedAt: time.Now().UTC()}, nil
}
