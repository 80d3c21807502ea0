package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"
)

// keyring keeps, for each endpoint's version, what every attempt needs of it: the parsed URL and the keyed signers.
type keyring struct {
	forge   func(context.Context, *Endpoint) (*keys, error)
	mu      sync.Mutex
	entries map[EndpointRef]*keys
}

type keys struct {
	version int64
	created time.Time // an id may be used again, with versions from 1
	url     *url.URL
	secrets []timedKey
	headers []header
}

type timedKey struct {
	signingKey
	stored StoredSecret
}

// keyringSize bounds the endpoints that are kept, whose number strangers decide.
const keyringSize = 10_000

// target returns where to send for e and what signs, with the secrets that are live now.
func (k *keyring) target(ctx context.Context, e *Endpoint, now time.Time) (target, error) {
	key := e.ref()
	k.mu.Lock()
	entry := k.entries[key]
	k.mu.Unlock()

	if entry == nil || entry.version != e.Version || !entry.created.Equal(e.CreatedAt) {
		made, err := k.forge(ctx, e)
		if err != nil {
			return target{}, err
		}
		entry = made
		k.mu.Lock()
		if k.entries == nil {
			k.entries = make(map[EndpointRef]*keys)
		}
		if _, there := k.entries[key]; !there && len(k.entries) >= keyringSize {
			for old := range k.entries { // any will do: it is made again when it is needed
				delete(k.entries, old)
				break
			}
		}
		k.entries[key] = entry
		k.mu.Unlock()
	}

	t := target{url: entry.url, headers: entry.headers, signing: make([]signingKey, 0, len(entry.secrets))}
	for _, s := range entry.secrets {
		if s.stored.signs(now) {
			t.signing = append(t.signing, s.signingKey)
		}
	}
	return t, nil
}

// newKeys is what keyring.forge is.
func (e *engine) newKeys(ctx context.Context, endpoint *Endpoint) (*keys, error) {
	// Again: the rules may have become stricter since it was saved, and the guard at the dial cannot tell http from
	// https.
	u, err := e.guard.CheckURL(endpoint.URL)
	if err != nil {
		return nil, field("url", err)
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	made := &keys{version: endpoint.Version, created: endpoint.CreatedAt, url: u}
	for _, stored := range endpoint.Secrets {
		if !stored.signs(time.Now()) {
			continue
		}
		secret, err := e.open(ctx, endpoint.ref(), stored.Sealed)
		if err != nil {
			return nil, notOpened(err)
		}
		signer, err := NewSigner(secret)
		if err != nil {
			return nil, err
		}
		made.secrets = append(made.secrets, timedKey{signingKey{stored.ID, signer}, stored})
	}
	for _, stored := range endpoint.StoredHeaders {
		h, err := e.openHeader(ctx, endpoint.ref(), stored)
		if err != nil {
			return nil, notOpened(err)
		}
		made.headers = append(made.headers, h)
	}
	return made, nil
}

// notOpened tells what may open elsewhere, or later, from what never will.
func notOpened(err error) error {
	if errors.Is(err, ErrInvalidSecret) {
		return err
	}
	return fmt.Errorf("%w: %w", errNotOpened, err)
}

// openTimeout bounds the opening of an endpoint's secrets, so that the lease that it is done in lasts for the attempt.
const openTimeout = leaseMargin / 3

// errNotOpened says that a secret could not be opened here and now.
var errNotOpened = errors.New("a secret could not be opened")
