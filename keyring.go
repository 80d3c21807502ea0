package webhook

import (
	"net/url"
	"sync"
	"time"

	"github.com/meshia/webhook/internal/netguard"
)

// keyring keeps, for each endpoint's version, what every attempt needs of it: the parsed URL and the keyed signers.
type keyring struct {
	mu      sync.Mutex
	entries map[endpointKey]*keys
}

type endpointKey struct{ tenant, id string }

type keys struct {
	version int64
	created time.Time // an id may be used again, with versions from 1
	url     *url.URL
	secrets []timedKey
}

type timedKey struct {
	signingKey
	stored StoredSecret
}

// keyringSize bounds the endpoints that are kept, whose number strangers decide.
const keyringSize = 10_000

// target returns where to send for e and what signs, with the secrets that are live now.
func (k *keyring) target(guard *netguard.Guard, e *Endpoint, now time.Time) (target, error) {
	key := endpointKey{e.Tenant, e.ID}
	k.mu.Lock()
	entry := k.entries[key]
	k.mu.Unlock()

	if entry == nil || entry.version != e.Version || !entry.created.Equal(e.CreatedAt) {
		made, err := newKeys(guard, e)
		if err != nil {
			return target{}, err
		}
		entry = made
		k.mu.Lock()
		if k.entries == nil {
			k.entries = make(map[endpointKey]*keys)
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

	t := target{url: entry.url, signing: make([]signingKey, 0, len(entry.secrets))}
	for _, s := range entry.secrets {
		if s.stored.signs(now) {
			t.signing = append(t.signing, s.signingKey)
		}
	}
	return t, nil
}

func newKeys(guard *netguard.Guard, e *Endpoint) (*keys, error) {
	u, err := guard.CheckURL(e.URL) // again: the rules may have become stricter since it was saved, and the guard at the dial cannot tell http from https
	if err != nil {
		return nil, field("url", err)
	}
	made := &keys{version: e.Version, created: e.CreatedAt, url: u}
	for _, stored := range e.Secrets {
		signer, err := NewSigner(unseal(stored))
		if err != nil {
			return nil, err
		}
		made.secrets = append(made.secrets, timedKey{signingKey{stored.ID, signer}, stored})
	}
	return made, nil
}

func seal(s Secret) []byte              { return []byte(s.Reveal()) }
func unseal(stored StoredSecret) Secret { return NewSecret(string(stored.Sealed)) }
