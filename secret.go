package webhook

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
	"unique"
)

// Secret is a signing secret. Whatever prints, logs or marshals it gets "whsec_***" instead, which is itself not a
// valid secret: what was printed can never be saved by mistake. [Secret.Reveal] is the one way to its text. The zero
// value is no secret, and prints as "". Secrets of one text are equal.
//
// The text is behind a pointer, because package fmt shows what is in an unexported field, and what a verb like %p does
// not fit, without asking its methods.
type Secret struct{ text unique.Handle[string] }

const (
	secretPrefix   = "whsec_" // base64 of the key follows (Standard Webhooks)
	redacted       = secretPrefix + "***"
	maxSecretBytes = 256
	minKeyBytes    = 24 // of a whsec_ secret, decoded (Standard Webhooks)
	maxKeyBytes    = 64
	newKeyBytes    = 32 // the length of the hash, as RFC 2104 section 3 recommends
)

// NewSecret makes a secret of its text, as its owner typed it or a configuration holds it. It does not judge it: see
// [Secret.Validate].
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{unique.Make(text)}
}

// GenerateSecret makes a secret of 32 random bytes, written whsec_<base64> as every Standard Webhooks library reads
// it.
func GenerateSecret() Secret {
	var key [newKeyBytes]byte
	rand.Read(key[:]) // never returns an error: crypto/rand ends the program instead
	return NewSecret(secretPrefix + base64.StdEncoding.EncodeToString(key[:]))
}

// Reveal returns the secret's text.
func (s Secret) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return s.text.Value()
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s == Secret{} }

// Validate returns [ErrInvalidSecret], wrapped with the reason, for a secret that must not be saved: one that is
// empty, over 256 bytes, not valid UTF-8 or has control characters in it (a newline at its end, mostly); one that
// begins with whsec_ and is not base64, padded or not, of 24 to 64 bytes after that; and an asymmetric key of Standard
// Webhooks, whpk_ or whsk_. A secret of any other form is taken as it is.
func (s Secret) Validate() error {
	text := s.Reveal()
	switch {
	case !utf8.ValidString(text):
		return fmt.Errorf("%w: it is not valid UTF-8", ErrInvalidSecret)
	case strings.ContainsFunc(text, unicode.IsControl):
		return fmt.Errorf("%w: it has control characters in it, such as a newline", ErrInvalidSecret)
	}
	return checkSecret(text)
}

// checkSecret is what holds on both sides. Receivers may have a key of any bytes.
func checkSecret(text string) error {
	switch {
	case text == "":
		return fmt.Errorf("%w: it is empty", ErrInvalidSecret)
	case len(text) > maxSecretBytes:
		return fmt.Errorf("%w: it is over %d bytes", ErrInvalidSecret, maxSecretBytes)
	case strings.HasPrefix(text, "whpk_"), strings.HasPrefix(text, "whsk_"):
		return fmt.Errorf("%w: it is an asymmetric key; signatures are made with a shared secret", ErrInvalidSecret)
	}
	if encoded, ok := strings.CutPrefix(text, secretPrefix); ok {
		if _, err := decodeKey(encoded); err != nil {
			return fmt.Errorf("%w: after %s %w", ErrInvalidSecret, secretPrefix, err)
		}
	}
	return nil
}

// decodeKey reads base64, padded or not. Spare bits in the last character are accepted: other libraries read such
// secrets, and the key is the same.
func decodeKey(encoded string) ([]byte, error) {
	encoding := base64.RawStdEncoding
	if strings.HasSuffix(encoded, "=") {
		encoding = base64.StdEncoding
	}
	key, err := encoding.DecodeString(encoded)
	switch {
	case err != nil || strings.ContainsAny(encoded, "\r\n"): // the decoder skips line breaks
		return nil, errors.New("it is not base64")
	case len(key) < minKeyBytes || len(key) > maxKeyBytes:
		return nil, fmt.Errorf("it is not base64 of %d to %d bytes", minKeyBytes, maxKeyBytes)
	}
	return key, nil
}

// String returns the redacted form.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return redacted
}

// GoString returns the redacted form.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// Format writes the redacted form for every verb: without it, %x and %d would reach the bytes.
func (s Secret) Format(f fmt.State, verb rune) {
	text := s.String()
	if verb == 'q' || verb == 'v' && f.Flag('#') {
		text = s.GoString()
	}
	_, _ = io.WriteString(f, text) // fmt.State keeps its own error
}

// LogValue returns the redacted form.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns the redacted form.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON returns the redacted form.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(s.GoString()), nil }

// UnmarshalText reads a secret from a configuration or a form. The redacted form is [ErrInvalidSecret]: it was
// marshalled, and the secret is lost.
func (s *Secret) UnmarshalText(text []byte) error {
	if string(text) == redacted {
		return fmt.Errorf("%w: it is the redacted form, not the secret", ErrInvalidSecret)
	}
	*s = NewSecret(string(text))
	return nil
}
