package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Headers of a webhook request. Field names are case-insensitive: use [net/http.Header.Get] and Set.
const (
	// HeaderSignature carries sha256=<lower-case hex HMAC-SHA256 of the body>.
	HeaderSignature = "X-Meshia-Signature"
	// HeaderID carries the event's id, the same on every attempt: the receiver's idempotency key.
	HeaderID = "webhook-id"
	// HeaderTimestamp carries the Unix time of the attempt, in seconds.
	HeaderTimestamp = "webhook-timestamp"
	// HeaderStandardSignature carries the Standard Webhooks signatures of the request, separated by spaces: v1,<base64
	// HMAC-SHA256 of id.timestamp.body>.
	HeaderStandardSignature = "webhook-signature"
	// HeaderDelivery carries the delivery's id. It is not signed: for support and logs.
	HeaderDelivery = "X-Meshia-Delivery"
	// HeaderAttempt carries the attempt's number, from 1. It is not signed.
	HeaderAttempt = "X-Meshia-Attempt"
)

const (
	hexPrefix      = "sha256="
	hexBytes       = len(hexPrefix) + 2*sha256.Size
	standardPrefix = "v1,"
	standardBytes  = len(standardPrefix) + (sha256.Size+2)/3*4
)

// Sign returns the X-Meshia-Signature of a body: "sha256=" and 64 lower-case hex digits. The key is the secret's
// bytes, also where it has the form whsec_. With an empty secret it returns "", which verifies nowhere. Senders of
// many requests use a [Signer].
func Sign(body []byte, secret string) string {
	if secret == "" {
		return ""
	}
	signature := signOnce(body, secret)
	return string(signature[:])
}

// Signer signs requests with one secret. It is safe for concurrent use, and faster than [Sign] from the second request
// on.
type Signer struct {
	plain    *hmacKey // the secret's bytes
	standard *hmacKey // what a whsec_ secret encodes; otherwise the same key
}

// NewSigner makes a signer. It returns [ErrInvalidSecret] for a secret that [Secret.Validate] refuses.
func NewSigner(secret Secret) (*Signer, error) {
	if err := secret.Validate(); err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	s := &Signer{plain: newHMACKey([]byte(secret.Reveal()))}
	s.standard = s.plain
	if encoded, ok := strings.CutPrefix(secret.Reveal(), secretPrefix); ok {
		key, err := decodeKey(encoded)
		if err != nil {
			return nil, err
		}
		s.standard = newHMACKey(key)
	}
	return s, nil
}

// Signature returns the value of X-Meshia-Signature for a body.
func (s *Signer) Signature(body []byte) string {
	signature := s.plain.sign(body)
	return string(signature[:])
}

// StandardSignature returns "v1,<base64>" for one attempt at sending a body: the Standard Webhooks signature over the
// event's id, the Unix time of the attempt and the body. The key is what a whsec_ secret encodes, or the bytes of a
// secret of another form. The id must not contain a dot.
func (s *Signer) StandardSignature(id string, at time.Time, body []byte) string {
	var digits [20]byte
	signature := s.standard.signStandard(id, string(strconv.AppendInt(digits[:0], at.Unix(), 10)), body)
	return string(signature[:])
}

// hmacKey signs under one key. It keeps keyed hashes in a pool: keying one costs more than signing a short body with
// it.
type hmacKey struct{ pool sync.Pool }

// keyedHash is an HMAC and room for what would escape to the heap with each use.
type keyedHash struct {
	hash hash.Hash
	head []byte // "id.timestamp."
	sum  [sha256.Size]byte
}

func newHMACKey(key []byte) *hmacKey {
	return &hmacKey{sync.Pool{New: func() any { return &keyedHash{hash: hmac.New(sha256.New, key)} }}}
}

func (k *hmacKey) sign(body []byte) (signature [hexBytes]byte) {
	h := k.pool.Get().(*keyedHash)
	h.hash.Reset()
	h.hash.Write(body)
	copy(signature[:], hexPrefix)
	hex.Encode(signature[len(hexPrefix):], h.hash.Sum(h.sum[:0]))
	k.pool.Put(h)
	return signature
}

func (k *hmacKey) signStandard(id, timestamp string, body []byte) (signature [standardBytes]byte) {
	h := k.pool.Get().(*keyedHash)
	h.head = append(h.head[:0], id...)
	h.head = append(h.head, '.')
	h.head = append(h.head, timestamp...)
	h.head = append(h.head, '.')
	h.hash.Reset()
	h.hash.Write(h.head)
	h.hash.Write(body)
	copy(signature[:], standardPrefix)
	base64.StdEncoding.Encode(signature[len(standardPrefix):], h.hash.Sum(h.sum[:0]))
	k.pool.Put(h)
	return signature
}

// blankHash is a hash without a key, and room for the padded key while one is signed with.
type blankHash struct {
	hash hash.Hash
	pad  [sha256.BlockSize]byte
	sum  [sha256.Size]byte
}

var blankHashes = sync.Pool{New: func() any { return &blankHash{hash: sha256.New()} }}

// signOnce is HMAC (RFC 2104) for a key that is used once. Making an hmac.New for it takes twice the time of a short
// body's signature, in allocations mostly; a pooled SHA-256 needs none. Nothing of the key stays in the pool.
func signOnce(body []byte, secret string) (signature [hexBytes]byte) {
	h := blankHashes.Get().(*blankHash)
	if len(secret) > sha256.BlockSize {
		key := sha256.Sum256([]byte(secret))
		copy(h.pad[:], key[:])
	} else {
		copy(h.pad[:], secret)
	}
	for i := range h.pad {
		h.pad[i] ^= 0x36
	}
	h.hash.Write(h.pad[:])
	h.hash.Write(body)
	inner := h.hash.Sum(h.sum[:0])

	for i := range h.pad {
		h.pad[i] ^= 0x36 ^ 0x5c
	}
	h.hash.Reset()
	h.hash.Write(h.pad[:])
	h.hash.Write(inner)
	copy(signature[:], hexPrefix)
	hex.Encode(signature[len(hexPrefix):], h.hash.Sum(h.sum[:0]))

	h.hash.Reset()
	clear(h.pad[:])
	blankHashes.Put(h)
	return signature
}
