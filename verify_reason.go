package webhook

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"
)

// single returns the value of a header that must come once.
func single(header http.Header, key string) (string, error) {
	values, ok := header[key]
	if !ok { // the names in a header that was made by hand may be written in any way
		for name, more := range header {
			if strings.EqualFold(name, key) {
				values = append(values, more...)
			}
		}
	}
	switch {
	case len(values) > 1:
		return "", fmt.Errorf("%w: %s", ErrDuplicateHeader, key)
	case len(values) == 0 || values[0] == "":
		return "", fmt.Errorf("%w: %s", ErrMissingHeader, key)
	case len(values[0]) > maxHeaderBytes:
		return "", fmt.Errorf("%w: %s is over %d bytes", ErrMalformedHeader, key, maxHeaderBytes)
	}
	return values[0], nil
}

// otherScheme turns a missing signature into an ErrOtherScheme where the request has another one.
func (v *Verifier) otherScheme(header http.Header, err error) error {
	if !errors.Is(err, ErrMissingHeader) {
		return err
	}
	for _, other := range []string{keySignature, keyStandardSignature} {
		if other == v.header {
			continue
		}
		if _, err := single(header, other); err == nil {
			return fmt.Errorf("%w: it has %s, this verifier wants %s", ErrOtherScheme, other, v.header)
		}
	}
	return err
}

// checkHexHeader is the part of the form that costs nothing to check.
func checkHexHeader(signature, name string) error {
	if len(signature) != hexBytes || !strings.HasPrefix(signature, hexPrefix) {
		return fmt.Errorf("%w: %s must be %s and %d hex digits", ErrMalformedHeader, name, hexPrefix, hexBytes-len(hexPrefix))
	}
	return nil
}

// checkHexDigits is the rest. A signature that matches has the form, so only one that does not match is looked at.
func checkHexDigits(signature, name string) error {
	if strings.Trim(signature[len(hexPrefix):], "0123456789abcdef") != "" {
		return fmt.Errorf("%w: %s must have lower-case hex digits only", ErrMalformedHeader, name)
	}
	return nil
}

// mismatch finds the likeliest reason for a signature that does not match. These are hints for whoever runs the
// receiver, and are never sent back.
func (v *Verifier) mismatch(header http.Header, body []byte) error {
	_, err := single(header, keyDelivery)
	return mismatch(body, v.meshia || err == nil, v.outerSpace)
}

func mismatch(body []byte, ours, outerSpace bool) error {
	switch {
	case len(body) == 0:
		return fmt.Errorf("%w: the body is empty; was it read before?", ErrSignatureMismatch)
	case ours && !isAsSent(body):
		return ErrBodyReencoded
	case outerSpace:
		return fmt.Errorf("%w: a secret begins or ends with white space, which is part of the key; was it read from a file?", ErrSignatureMismatch)
	}
	return ErrSignatureMismatch
}

// isAsSent reports whether a body looks as newEvent writes it, up to the data, which is the caller's own JSON.
func isAsSent(body []byte) bool {
	const timestamp = "2006-01-02T15:04:05Z"
	rest, ok := bytes.CutPrefix(body, []byte(`{"event":"`))
	name, rest, _ := bytes.Cut(rest, []byte(`","timestamp":"`)) // without one nothing is left
	if !ok || !nameForm.Match(name) || len(rest) < len(timestamp) {
		return false
	}
	rest, ok = bytes.CutPrefix(rest[len(timestamp):], []byte(`","session_id":"`))
	return ok && bytes.Contains(rest, []byte(`","data":`)) && rest[len(rest)-1] == '}'
}

// isForeignID accepts ids of other senders too. A dot would let the boundaries of the signed text be moved:
// id.timestamp.body.
func isForeignID(id string) bool {
	if len(id) == 0 || len(id) > maxForeignID {
		return false
	}
	for i := range len(id) {
		if c := id[i]; c <= ' ' || c > '~' || c == '.' {
			return false
		}
	}
	return true
}

// parseTimestamp reads ^[1-9][0-9]{0,11}$ and nothing else: only that text is what was signed.
func parseTimestamp(text string) (seconds int64, ok bool) {
	if len(text) == 0 || len(text) > 12 || text[0] == '0' {
		return 0, false
	}
	for i := range len(text) {
		digit := text[i] - '0'
		if digit > 9 {
			return 0, false
		}
		seconds = seconds*10 + int64(digit)
	}
	return seconds, true
}

// isToken reports whether a name can be a header's (RFC 9110, section 5.1).
func isToken(name string) bool {
	const special = "!#$%&'*+-.^_`|~"
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r >= utf8.RuneSelf || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(special, r)
	})
}

func outerSpace(secret string) bool { return strings.TrimSpace(secret) != secret }
