package webhook_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

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
		switch c.status {
		case http.StatusInternalServerError:
			level = slog.LevelError
		case http.StatusMethodNotAllowed:
			level = slog.LevelInfo
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
