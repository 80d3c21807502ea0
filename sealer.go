package webhook

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Sealer encrypts the endpoints' secrets before they are stored, and decrypts them before they sign. [AESSealer] is
// the ready one; one that asks a key service is a matter of these three methods. It must be safe for concurrent use.
// What it opens is kept in memory for as long as the endpoint does not change.
type Sealer interface {
	// Seal encrypts a secret with the newest key. The result must open for this endpoint only.
	Seal(ctx context.Context, of EndpointRef, secret []byte) ([]byte, error)
	// Open decrypts what Seal returned for the same endpoint. It returns an error that is [ErrKeyMissing] where this
	// process lacks the key, and one that is [ErrInvalidSecret] where none opens it: the attempt then fails, visibly.
	// After any other error, and where the key is missing, the delivery is left to processes that can open it, or to
	// later.
	Open(ctx context.Context, of EndpointRef, sealed []byte) ([]byte, error)
	// Newest reports whether sealed was made with the key that Seal would use now. See Dispatcher.Reseal.
	Newest(sealed []byte) bool
}

// SealingKey is a key of an [AESSealer].
type SealingKey struct {
	// ID names the key in what it sealed: 1 to 64 bytes, for example when it was made. It is stored in the clear.
	ID string
	// Key is the key's 32 bytes in base64, padded or not: as `openssl rand -base64 32` prints them.
	Key Secret
}

const (
	sealingKeyBytes  = 32 // AES-256
	sealVersion      = 1
	maxSealingKeyIDs = 64
)

// AESSealer seals with AES-256 in Galois/Counter Mode (NIST SP 800-38D), with random nonces of 96 bits, and with the
// tenant, the endpoint's id and the key's id as associated data: what was sealed for one endpoint does not open for
// another. A key is good for 2^32 secrets.
type AESSealer struct {
	newest string
	keys   map[string]cipher.AEAD
}

// NewAESSealer makes a sealer. The first key seals, all of them open: to change keys, put the new one in front,
// deploy, call Dispatcher.Reseal, and take the old one away. Errors: of the family [ErrInvalidConfig].
func NewAESSealer(keys ...SealingKey) (*AESSealer, error) {
	var errs []error
	complain := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrInvalidConfig}, args...)...))
	}
	if len(keys) == 0 {
		complain("a sealer needs a key")
	}
	s := &AESSealer{keys: make(map[string]cipher.AEAD, len(keys))}
	for i, k := range keys {
		if len(k.ID) < 1 || len(k.ID) > maxSealingKeyIDs {
			complain("the id of sealing key %d is not 1 to %d bytes", i, maxSealingKeyIDs)
		}
		if _, twice := s.keys[k.ID]; twice {
			complain("two sealing keys have the id %q", k.ID)
		}
		key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(k.Key.Reveal()), "="))
		if err != nil || len(key) != sealingKeyBytes {
			complain("sealing key %q is not base64 of %d bytes", k.ID, sealingKeyBytes)
			continue
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			complain("sealing key %q: %w", k.ID, err)
			continue
		}
		if s.keys[k.ID], err = cipher.NewGCMWithRandomNonce(block); err != nil {
			complain("sealing key %q: %w", k.ID, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	s.newest = keys[0].ID
	return s, nil
}

// Seal implements [Sealer].
func (s *AESSealer) Seal(_ context.Context, of EndpointRef, secret []byte) ([]byte, error) {
	out := append([]byte{sealVersion, byte(len(s.newest))}, s.newest...)
	return s.keys[s.newest].Seal(out, nil, secret, associated(of, s.newest)), nil
}

// Open implements [Sealer].
func (s *AESSealer) Open(_ context.Context, of EndpointRef, sealed []byte) ([]byte, error) {
	id, box, ok := cutKeyID(sealed)
	if !ok {
		return nil, fmt.Errorf("%w: it was not sealed by this sealer", ErrInvalidSecret)
	}
	key := s.keys[id]
	if key == nil {
		return nil, fmt.Errorf("%w: %q", ErrKeyMissing, id)
	}
	secret, err := key.Open(nil, nil, box, associated(of, id))
	if err != nil {
		return nil, fmt.Errorf("%w: it does not open with key %q: it was changed, or sealed for another endpoint", ErrInvalidSecret, id)
	}
	return secret, nil
}

// Newest implements [Sealer].
func (s *AESSealer) Newest(sealed []byte) bool {
	id, _, ok := cutKeyID(sealed)
	return ok && id == s.newest
}

func cutKeyID(sealed []byte) (id string, box []byte, ok bool) {
	if len(sealed) < 2 || sealed[0] != sealVersion || len(sealed) < 2+int(sealed[1]) {
		return "", nil, false
	}
	return string(sealed[2 : 2+sealed[1]]), sealed[2+sealed[1]:], true
}

// associated is the data that is authenticated with a sealed secret; lengths come first, so that no two triples share
// their bytes.
func associated(of EndpointRef, keyID string) []byte {
	var b []byte
	for _, part := range []string{"webhook secret", of.Tenant, of.ID, keyID} {
		b = append(binary.BigEndian.AppendUint64(b, uint64(len(part))), part...)
	}
	return b
}
