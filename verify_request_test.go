package webhook_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
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

func TestMiddleware(t *testing.T) {
	t.Parallel()
	sent := sampleEvent()
	v := mustVerifier(t, &webhook.VerifierConfig{Logger: slog.New(slog.DiscardHandler)}, whsecSecret)
	calls := 0
	h := v.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		e, ok := webhook.EventFromContext(r.Context())
		require.True(t, ok)
		require.Equal(t, sent.ID, e.ID)
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Equal(t, sent.Body, body)
		w.WriteHeader(http.StatusTeapot)
	}))
	_, ok := webhook.EventFromContext(t.Context())
	require.False(t, ok)

	w := httptest.NewRecorder()
	h.ServeHTTP(w, request(signedHeader(t, whsecSecret, sent.ID, sent.Body), sent.Body))
	require.Equal(t, http.StatusTeapot, w.Code)
	require.Equal(t, 1, calls)

	for _, c := range refusals(t, whsecSecret) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, c.request)
		require.Equal(t, c.status, w.Code, c.name)
	}
	require.Equal(t, 1, calls)
}

type refusal struct {
	name    string
	request *http.Request
	status  int
	reason  error
}

// refusals are requests that a verifier of X-Meshia-Signature, with a limit of 1 MiB, must not let through.
func refusals(t testing.TB, secret string) []refusal {
	sent := sampleEvent()
	signed := func(body []byte) *http.Request { return request(signedHeader(t, secret, sent.ID, body), body) }
	with := func(change func(*http.Request)) *http.Request {
		r := signed(sent.Body)
		change(r)
		return r
	}
	set := func(name, value string) *http.Request {
		return with(func(r *http.Request) { r.Header.Set(name, value) })
	}
	return []refusal{
		{"no signature", with(func(r *http.Request) { r.Header.Del(webhook.HeaderSignature) }), 401, webhook.ErrOtherScheme},
		{"unsigned", request(http.Header{"Content-Type": {"application/json"}}, sent.Body), 401, webhook.ErrMissingHeader},
		{"malformed", set(webhook.HeaderSignature, "sha256=x"), 401, webhook.ErrMalformedHeader},
		{"twice", with(func(r *http.Request) { r.Header.Add(webhook.HeaderSignature, "x") }), 401, webhook.ErrDuplicateHeader},
		{"another secret", request(signedHeader(t, "another", sent.ID, sent.Body), sent.Body), 401, webhook.ErrSignatureMismatch},
		{"encoded anew", request(signedHeader(t, secret, sent.ID, sent.Body), append(bytes.Clone(sent.Body), '\n')), 401, webhook.ErrBodyReencoded},
		{"no event", signed([]byte(`{"no":"event"}`)), 400, webhook.ErrNotAnEvent},
		{"GET", with(func(r *http.Request) { r.Method = http.MethodGet }), 405, nil},
		{"PUT", with(func(r *http.Request) { r.Method = http.MethodPut }), 405, nil},
		{"OPTIONS", with(func(r *http.Request) { r.Method = http.MethodOptions }), 405, nil},
		{"too large", signed(make([]byte, 1<<20+1)), 413, webhook.ErrBodyTooLarge},
		{"form", set("Content-Type", "application/x-www-form-urlencoded"), 415, webhook.ErrUnsupportedMedia},
		{"gzip", set("Content-Encoding", "gzip"), 415, webhook.ErrUnsupportedMedia},
		{"consumed", with(func(r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }), 500, webhook.ErrBodyConsumed},
		{"hung up", with(func(r *http.Request) { r.Body = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF)) }), 400, io.ErrUnexpectedEOF},
	}
}

// logRecorder keeps what is logged.
type logRecorder struct {
	bytes.Buffer
	errors []error
	levels []slog.Level
}

func (l *logRecorder) Enabled(context.Context, slog.Level) bool { return true }
func (l *logRecorder) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logRecorder) WithGroup(string) slog.Handler            { return l }
func (l *logRecorder) Handle(ctx context.Context, r slog.Record) error {
	l.levels = append(l.levels, r.Level)
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			l.errors = append(l.errors, err)
		}
		return true
	})
	return slog.NewTextHandler(&l.Buffer, nil).Handle(ctx, r)
}

func TestRefusalsTellTheCallerNothingAndTheLogTheReason(t *testing.T) {
	t.Parallel()
	bodies := map[int]map[string]bool{}
	for _, c := range refusals(t, typedSecret) {
		var log logRecorder
		v := mustVerifier(t, nil, typedSecret)
		receiver := webhook.NewReceiver(v, &webhook.ReceiverConfig{Logger: slog.New(&log)})
		w := httptest.NewRecorder()
		receiver.ServeHTTP(w, c.request)

		require.Equal(t, c.status, w.Code, c.name)
		require.Equal(t, http.StatusText(c.status)+"\n", w.Body.String(), c.name)
		if bodies[c.status] == nil {
			bodies[c.status] = map[string]bool{}
		}
		w.Body.WriteString(headerText(w.Header()))
		bodies[c.status][w.Body.String()] = true

		require.Len(t, log.errors, 1, c.name)
		if c.reason != nil {
			require.ErrorIs(t, log.errors[0], c.reason, c.name)
		}
		level := slog.LevelWarn
		if c.status == 500 {
			level = slog.LevelError
		}
		require.Equal(t, []slog.Level{level}, log.levels, c.name)
		for _, private := range []string{typedSecret, "in-the-url", "sess_abc123", "exp_def456"} {
			require.NotContains(t, log.String(), private, c.name)
		}
		if c.status == http.StatusMethodNotAllowed {
			require.Equal(t, http.MethodPost, w.Header().Get("Allow"))
		}
	}
	for status, answers := range bodies {
		require.Len(t, answers, 1, status) // whatever the reason, the same answer
	}
}

func headerText(h http.Header) string {
	var b bytes.Buffer
	_ = h.Write(&b)
	return b.String()
}

// It replaces the process's logger, so nothing may run beside it.
func TestRefusalsGoToTheDefaultLoggerOfTheMoment(t *testing.T) {
	v := mustVerifier(t, nil, typedSecret)
	h := v.Middleware(http.NotFoundHandler())
	var log logRecorder
	before := slog.Default()
	slog.SetDefault(slog.New(&log))
	defer slog.SetDefault(before)
	h.ServeHTTP(httptest.NewRecorder(), request(http.Header{"Content-Type": {"application/json"}}, []byte("{}")))
	require.Len(t, log.errors, 1)
	require.ErrorIs(t, log.errors[0], webhook.ErrMissingHeader)
}

// Over a socket, because a server's own body and connection take part.
func TestReceiverBehindARealServer(t *testing.T) {
	t.Parallel()
	sent := sampleEvent()
	v := mustVerifier(t, &webhook.VerifierConfig{MaxBodyBytes: 64 << 10}, typedSecret)
	receiver := webhook.NewReceiver(v, &webhook.ReceiverConfig{Logger: slog.New(slog.DiscardHandler)})
	mux := http.NewServeMux()
	mux.Handle("/hook", receiver)
	mux.HandleFunc("/consumed", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		receiver.ServeHTTP(w, r)
	})
	mux.HandleFunc("/closed", func(w http.ResponseWriter, r *http.Request) {
		_ = r.Body.Close()
		receiver.ServeHTTP(w, r)
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	post := func(path string, body io.Reader, signed []byte) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, body)
		require.NoError(t, err)
		r.Header = signedHeader(t, typedSecret, sent.ID, signed)
		response, err := server.Client().Do(r)
		require.NoError(t, err)
		_ = response.Body.Close()
		return response
	}
	require.Equal(t, 204, post("/hook", bytes.NewReader(sent.Body), sent.Body).StatusCode)
	require.Equal(t, 500, post("/consumed", bytes.NewReader(sent.Body), sent.Body).StatusCode)
	require.Equal(t, 500, post("/closed", bytes.NewReader(sent.Body), sent.Body).StatusCode)

	chunked := struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 64<<10+1))}
	response := post("/hook", chunked, nil)
	require.Equal(t, 413, response.StatusCode)
	require.True(t, response.Close) // what it would still send is not read

	err := errors.New("not reached")
	w := httptest.NewRecorder()
	v.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err = v.VerifyRequest(r)
	})).ServeHTTP(w, request(signedHeader(t, typedSecret, sent.ID, sent.Body), sent.Body))
	require.NoError(t, err) // a verifier behind a verifier
}
