package webhook_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

func unixText(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

func request(header http.Header, body []byte) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/hook?token=in-the-url", bytes.NewReader(body))
	r.Header = header.Clone()
	return r
}

func TestVerifyRequest(t *testing.T) {
	t.Parallel()
	sent := sampleEvent()
	header := signedHeader(t, whsecSecret, sent.ID, sent.Body)
	for _, scheme := range []webhook.Scheme{webhook.Meshia, webhook.Standard} {
		v := mustVerifier(t, &webhook.VerifierConfig{Scheme: scheme}, whsecSecret)
		r := request(header, sent.Body)
		for range 2 { // the body can be read again, also by another verifier
			e, err := v.VerifyRequest(r)
			require.NoError(t, err)
			require.Equal(t, sent.ID, e.ID)
			require.Equal(t, sent.Type, e.Type)
			require.Equal(t, sent.SessionID, e.SessionID)
			require.Equal(t, sent.Time, e.Time)
			require.Equal(t, sent.Body, e.Body)
		}
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Equal(t, sent.Body, body)

		r = request(signedHeader(t, typedSecret, sent.ID, sent.Body), sent.Body)
		e, err := v.VerifyRequest(r)
		require.ErrorIs(t, err, webhook.ErrSignatureMismatch)
		require.Zero(t, e)
		body, err = io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Equal(t, sent.Body, body)
	}
}

func TestUnsignedIDIsDroppedUnlessWellFormed(t *testing.T) {
	t.Parallel()
	v := mustVerifier(t, nil, whsecSecret)
	sent := sampleEvent()
	header := signedHeader(t, whsecSecret, sent.ID, sent.Body)
	for _, ids := range [][]string{nil, {""}, {"a.b"}, {"a\nb"}, {"a", "b"}, {strings.Repeat("x", 129)}} {
		header["Webhook-Id"] = ids
		e, err := v.VerifyRequest(request(header, sent.Body))
		require.NoError(t, err)
		require.Empty(t, e.ID)
	}
}

func TestVerifyRequestMedia(t *testing.T) {
	t.Parallel()
	v := mustVerifier(t, nil, whsecSecret)
	sent := sampleEvent()
	for contentType, want := range map[string]error{
		"application/json":                         nil,
		"application/json; charset=utf-8":          nil,
		"APPLICATION/JSON":                         nil,
		"application/json; charset":                nil, // a parameter that is malformed says nothing of the type
		"application/cloudevents+json;version=1.0": nil,
		"application/vnd.example+JSON":             nil,
		"":                                         webhook.ErrUnsupportedMedia,
		"text/plain":                               webhook.ErrUnsupportedMedia,
		"application/x-www-form-urlencoded":        webhook.ErrUnsupportedMedia,
		"application/jsonp":                        webhook.ErrUnsupportedMedia,
		"json":                                     webhook.ErrUnsupportedMedia,
		"text/plain; a=application/json":           webhook.ErrUnsupportedMedia,
	} {
		header := signedHeader(t, whsecSecret, sent.ID, sent.Body)
		header.Set("Content-Type", contentType)
		_, err := v.VerifyRequest(request(header, sent.Body))
		require.ErrorIs(t, err, want, contentType)
	}
	header := signedHeader(t, whsecSecret, sent.ID, sent.Body)
	header.Del("Content-Type")
	_, err := v.VerifyRequest(request(header, sent.Body))
	require.ErrorIs(t, err, webhook.ErrUnsupportedMedia)
	header["Content-Type"] = []string{"application/json", "application/json"}
	_, err = v.VerifyRequest(request(header, sent.Body))
	require.ErrorIs(t, err, webhook.ErrUnsupportedMedia)

	for _, encodings := range [][]string{{"gzip"}, {"identity"}, {"", "gzip"}, {"br, gzip"}} {
		header := signedHeader(t, whsecSecret, sent.ID, sent.Body)
		header["Content-Encoding"] = encodings
		_, err := v.VerifyRequest(request(header, sent.Body))
		require.ErrorIs(t, err, webhook.ErrUnsupportedMedia, encodings)
	}
}

// countingReader counts what is read of it.
type countingReader struct {
	io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

func TestVerifyRequestLimitsTheBody(t *testing.T) {
	t.Parallel()
	sent := sampleEvent()
	header := signedHeader(t, whsecSecret, sent.ID, sent.Body)
	size := int64(len(sent.Body))
	for _, announced := range []bool{true, false} {
		for limit, want := range map[int64]error{size + 1: nil, size: nil, size - 1: webhook.ErrBodyTooLarge, 1: webhook.ErrBodyTooLarge} {
			v := mustVerifier(t, &webhook.VerifierConfig{MaxBodyBytes: limit}, whsecSecret)
			r := request(header, sent.Body)
			if !announced {
				r.ContentLength = -1
			}
			_, err := v.VerifyRequest(r)
			require.ErrorIs(t, err, want)
		}
	}

	v := mustVerifier(t, nil, whsecSecret)
	endless := &countingReader{Reader: neverEnding{}}
	r := request(header, nil)
	r.Body, r.ContentLength = io.NopCloser(endless), -1
	_, err := v.VerifyRequest(r)
	require.ErrorIs(t, err, webhook.ErrBodyTooLarge)
	require.ErrorContains(t, err, "1048576")
	require.LessOrEqual(t, endless.n, 1<<20+1)

	announced := &countingReader{Reader: neverEnding{}}
	r.Body, r.ContentLength = io.NopCloser(announced), 1<<20+1
	_, err = v.VerifyRequest(r)
	require.ErrorIs(t, err, webhook.ErrBodyTooLarge)
	require.Zero(t, announced.n)

	r = request(header, sent.Body) // somebody else's limit, before
	r.Body = http.MaxBytesReader(nil, r.Body, 1)
	_, err = v.VerifyRequest(r)
	require.ErrorIs(t, err, webhook.ErrBodyTooLarge)
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestVerifyRequestTellsWhoReadTheBody(t *testing.T) {
	t.Parallel()
	v := mustVerifier(t, nil, whsecSecret)
	sent := sampleEvent()
	header := signedHeader(t, whsecSecret, sent.ID, sent.Body)

	for name, consume := range map[string]func(r *http.Request){
		"all":     func(r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) },
		"a part":  func(r *http.Request) { _, _ = r.Body.Read(make([]byte, 1)) },
		"no body": func(r *http.Request) { r.Body = http.NoBody },
		"nil":     func(r *http.Request) { r.Body = nil },
		"closed":  func(r *http.Request) { r.Body = io.NopCloser(iotest.ErrReader(http.ErrBodyReadAfterClose)) },
	} {
		r := request(header, sent.Body)
		consume(r)
		_, err := v.VerifyRequest(r)
		require.ErrorIs(t, err, webhook.ErrBodyConsumed, name)
		require.NotErrorIs(t, err, webhook.ErrNotVerified, name)
	}

	// A caller can send an empty body of unknown length: that is no fault of the receiver's.
	r := request(header, nil)
	r.ContentLength = -1
	_, err := v.VerifyRequest(r)
	require.ErrorIs(t, err, webhook.ErrSignatureMismatch)

	r = request(header, sent.Body)
	r.Body = io.NopCloser(iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(sent.Body))))
	_, err = v.VerifyRequest(r)
	require.ErrorIs(t, err, iotest.ErrTimeout)
}

func TestVerifiedBodyThatIsNoEvent(t *testing.T) {
	t.Parallel()
	for _, scheme := range []webhook.Scheme{webhook.Meshia, webhook.Standard} {
		v := mustVerifier(t, &webhook.VerifierConfig{Scheme: scheme}, whsecSecret)
		for _, body := range []string{``, `x`, `{}`, `[]`, `null`, `{"event":"x"}`, `{"event":"X Y","timestamp":"2026-04-11T14:32:00Z"}`, `{"event":1,"timestamp":"2026-04-11T14:32:00Z"}`} {
			_, err := v.VerifyRequest(request(signedHeader(t, whsecSecret, "evt_1", []byte(body)), []byte(body)))
			require.ErrorIs(t, err, webhook.ErrNotAnEvent, body)
		}
	}
}
