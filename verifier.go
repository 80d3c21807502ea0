package webhook

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// Verify checks the X-Meshia-Signature of a body: the raw bytes of the request, before anything decoded them. It
// returns nil or an [ErrNotVerified] that says why; [ErrInvalidSecret] for an empty secret, which would verify what
// anybody can sign.
//
// The signature covers the body alone: whoever captured a request can send it again. See [Standard] for a scheme
// without that weakness.
// Receivers of many requests use a [Verifier].
func Verify(body []byte, signature, secret string) error {
	if secret == "" {
		return fmt.Errorf("webhook: %w: it is empty", ErrInvalidSecret)
	}
	if signature == "" {
		return fmt.Errorf("%w: %s", ErrMissingHeader, HeaderSignature)
	}
	if err := checkHexHeader(signature, HeaderSignature); err != nil {
		return err
	}
	want := signOnce(body, secret)
	if subtle.ConstantTimeCompare(want[:], []byte(signature)) != 1 {
		if err := checkHexDigits(signature, HeaderSignature); err != nil {
			return err
		}
		return mismatch(body, true, outerSpace(secret))
	}
	return nil
}

// Scheme says which header carries a request's signature, and what it covers. A verifier accepts one scheme and never
// another one instead.
type Scheme string

const (
	// Meshia is X-Meshia-Signature: sha256=<hex HMAC-SHA256 of the body>, with the secret's bytes as the key. It
	// covers neither the id nor the time of the request: one that was captured verifies for ever.
	Meshia Scheme = ""
	// Standard is Standard Webhooks, version v1: webhook-signature covers webhook-id, webhook-timestamp and the body.
	// The timestamp must be within the tolerance.
	Standard Scheme = "standard"
)

const bodyHMACPrefix = "body-hmac:"

// BodyHMAC is the scheme [Meshia] under another header's name, such as X-Hub-Signature-256.
func BodyHMAC(header string) Scheme { return Scheme(bodyHMACPrefix + header) }

// VerifierConfig configures [NewVerifier].
type VerifierConfig struct {
	// Scheme is how requests are signed. Defaults to [Meshia].
	Scheme Scheme
	// Tolerance is how far webhook-timestamp may be from now, back and ahead, in whole seconds; a request at just this
	// distance is accepted. For Standard only.
	// Defaults to 5 minutes.
	Tolerance time.Duration
	// MaxBodyBytes is how long a request's body may be. Defaults to 1 MiB.
	MaxBodyBytes int64
	// RawSecret takes the bytes of secrets that do not begin with whsec_ as keys, as this library's sender does with a
	// typed secret. Without it they must be base64, as in other libraries. For Standard only.
	RawSecret bool
	// MaxAge limits the age of an event, by the timestamp in its body. It bounds replay where the scheme signs the
	// body alone, and must be longer than the sender's retries take. Defaults to no limit.
	MaxAge time.Duration
	// Logger gets the reasons for which Middleware refuses requests. Defaults to slog.Default().
	Logger *slog.Logger
}

const (
	maxSecrets       = 8
	maxHeaderBytes   = 4 << 10
	maxTokens        = 16 // signatures in one webhook-signature
	maxForeignID     = 128
	defaultTolerance = 5 * time.Minute
	defaultMaxBody   = 1 << 20
)

// Canonical names of the headers, as they are in an http.Header.
const (
	keySignature         = HeaderSignature
	keyDelivery          = HeaderDelivery
	keyID                = "Webhook-Id"
	keyTimestamp         = "Webhook-Timestamp"
	keyStandardSignature = "Webhook-Signature"
)

// Verifier verifies requests. It is safe for concurrent use.
type Verifier struct {
	standard   bool
	meshia     bool
	header     string // canonical name of the header with the signature
	keys       []*hmacKey
	outerSpace bool  // a secret begins or ends with white space
	tolerance  int64 // seconds
	maxBody    int64
	maxAge     time.Duration
	logger     *slog.Logger
}

// NewVerifier makes a verifier that accepts what was signed with any of the secrets: one of 1 to 8, so that a secret
// can be changed without a gap. There is no way to make one that accepts unsigned requests. A nil config is all
// defaults. Every complaint is joined in one [ErrInvalidConfig]; those about secrets are [ErrInvalidSecret] too, and
// name a secret by its position only.
func NewVerifier(secrets []string, cfg *VerifierConfig) (*Verifier, error) {
	if cfg == nil {
		cfg = &VerifierConfig{}
	}
	v := &Verifier{
		standard: cfg.Scheme == Standard, meshia: cfg.Scheme == Meshia,
		maxBody: cfg.MaxBodyBytes, maxAge: cfg.MaxAge, logger: cfg.Logger,
	}
	var errs []error
	complain := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	name, isBodyHMAC := strings.CutPrefix(string(cfg.Scheme), bodyHMACPrefix)
	switch {
	case v.standard:
		v.header = keyStandardSignature
	case v.meshia:
		v.header = keySignature
	case isBodyHMAC && isToken(name):
		v.header = http.CanonicalHeaderKey(name)
	case isBodyHMAC:
		complain("BodyHMAC: %q is not the name of a header", name)
	default:
		complain("there is no scheme %q", string(cfg.Scheme))
	}

	switch {
	case cfg.Tolerance != 0 && !v.standard:
		complain("Tolerance: the scheme has no timestamp; see MaxAge")
	case cfg.Tolerance < 0, cfg.Tolerance > 0 && cfg.Tolerance < time.Second:
		complain("Tolerance must be at least a second")
	case cfg.Tolerance == 0:
		v.tolerance = int64(defaultTolerance / time.Second)
	default:
		v.tolerance = int64(cfg.Tolerance / time.Second)
	}
	if v.maxBody == 0 {
		v.maxBody = defaultMaxBody
	}
	if v.maxBody < 0 {
		complain("MaxBodyBytes must not be negative")
	}
	if v.maxAge < 0 || v.maxAge > 0 && v.maxAge < time.Second {
		complain("MaxAge must be at least a second")
	}
	if cfg.RawSecret && !v.standard {
		complain("RawSecret: the scheme takes every secret's bytes")
	}

	if len(secrets) == 0 || len(secrets) > maxSecrets {
		complain("%w: there must be 1 to %d of them, not %d", ErrInvalidSecret, maxSecrets, len(secrets))
	}
	for i, secret := range secrets {
		key, err := verifierKey(secret, cfg.Scheme, cfg.RawSecret)
		if err != nil {
			complain("secret %d: %w", i+1, err)
			continue
		}
		v.keys = append(v.keys, newHMACKey(key))
		v.outerSpace = v.outerSpace || outerSpace(secret)
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("%w: %w", ErrInvalidConfig, errors.Join(errs...))
	}
	return v, nil
}

func verifierKey(secret string, scheme Scheme, raw bool) ([]byte, error) {
	if err := checkSecret(secret); err != nil {
		return nil, err
	}
	encoded, prefixed := strings.CutPrefix(secret, secretPrefix)
	if scheme != Standard || raw && !prefixed {
		return []byte(secret), nil
	}
	key, err := decodeKey(encoded)
	if err != nil {
		return nil, fmt.Errorf("%w: %w; with RawSecret its bytes are the key", ErrInvalidSecret, err)
	}
	return key, nil
}

// Verify checks a request by its header and the raw bytes of its body, where there is no [http.Request]: in a
// serverless function, or behind a queue. It returns nil, an [ErrNotVerified] that says why, or, with MaxAge,
// [ErrNotAnEvent]. It does not limit the body. Without MaxAge a valid request costs no allocation.
func (v *Verifier) Verify(header http.Header, body []byte) error {
	if err := v.verify(header, body); err != nil {
		return err
	}
	if v.maxAge == 0 {
		return nil
	}
	e, err := ParseEvent("", body)
	if err != nil {
		return err
	}
	return v.checkAge(e)
}

func (v *Verifier) verify(header http.Header, body []byte) error {
	signature, err := single(header, v.header)
	if err != nil {
		return v.otherScheme(header, err)
	}
	if v.standard {
		return v.verifyStandard(header, signature, body)
	}
	if err := checkHexHeader(signature, v.header); err != nil {
		return err
	}
	matched := 0
	for _, key := range v.keys { // all of them: the time taken must not tell which one matched
		want := key.sign(body)
		matched |= subtle.ConstantTimeCompare(want[:], []byte(signature))
	}
	if matched != 1 {
		if err := checkHexDigits(signature, v.header); err != nil {
			return err
		}
		return v.mismatch(header, body)
	}
	return nil
}

func (v *Verifier) verifyStandard(header http.Header, signatures string, body []byte) error {
	id, err := single(header, keyID)
	if err != nil {
		return err
	}
	if !isForeignID(id) {
		return fmt.Errorf("%w: %s must be 1 to %d visible ASCII characters without a dot", ErrMalformedHeader, keyID, maxForeignID)
	}
	timestamp, err := single(header, keyTimestamp)
	if err != nil {
		return err
	}
	at, ok := parseTimestamp(timestamp)
	if !ok {
		return fmt.Errorf("%w: %s must be a Unix time in seconds", ErrMalformedHeader, keyTimestamp)
	}
	var tokens [maxTokens]string
	n, err := splitSignatures(signatures, &tokens)
	if err != nil {
		return err
	}

	switch behind := time.Now().Unix() - at; {
	case behind > v.tolerance:
		return fmt.Errorf("%w: %d s behind this clock, %d s are tolerated", ErrTimestampTooOld, behind, v.tolerance)
	case -behind > v.tolerance:
		return fmt.Errorf("%w: %d s ahead of this clock, %d s are tolerated", ErrTimestampTooNew, -behind, v.tolerance)
	}

	matched := 0
	for _, key := range v.keys {
		want := key.signStandard(id, timestamp, body)
		for _, token := range tokens[:n] {
			matched |= subtle.ConstantTimeCompare(want[:], []byte(token))
		}
	}
	if matched != 1 {
		for _, token := range tokens[:n] {
			if _, err := base64.StdEncoding.Strict().DecodeString(token[len(standardPrefix):]); err == nil {
				return v.mismatch(header, body)
			}
		}
		return errNoStandardSignature()
	}
	return nil
}

// splitSignatures collects the tokens that have the form of a v1 signature. Those of other versions and forms are
// skipped, as the specification asks.
func splitSignatures(signatures string, tokens *[maxTokens]string) (n int, err error) {
	seen := 0
	for rest := signatures; rest != ""; {
		var token string
		token, rest, _ = strings.Cut(rest, " ")
		if token == "" {
			continue
		}
		if seen++; seen > maxTokens {
			return 0, fmt.Errorf("%w: %s has more than %d signatures", ErrMalformedHeader, keyStandardSignature, maxTokens)
		}
		if len(token) == standardBytes && strings.HasPrefix(token, standardPrefix) {
			tokens[n] = token
			n++
		}
	}
	if n == 0 {
		return 0, errNoStandardSignature()
	}
	return n, nil
}

func errNoStandardSignature() error {
	return fmt.Errorf("%w: %s has no signature of the form v1,<base64 of 32 bytes>", ErrMalformedHeader, keyStandardSignature)
}

// checkAge applies MaxAge, in whole seconds as the timestamp is written.
func (v *Verifier) checkAge(e Event) error {
	if age := time.Now().Unix() - e.Time.Unix(); v.maxAge > 0 && age > int64(v.maxAge/time.Second) {
		return fmt.Errorf("%w: the event is %d s old, %d s are accepted", ErrTimestampTooOld, age, int64(v.maxAge/time.Second))
	}
	return nil
}
