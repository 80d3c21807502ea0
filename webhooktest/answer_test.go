package webhooktest_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook/webhooktest"
)

// outcome is what a client sees of an answer.
type outcome struct {
	status  int
	header  http.Header
	body    string
	err     error // no response
	bodyErr error // the body broke off
	took    time.Duration
}

// send makes a request and reads at most 1 MiB of the response.
func send(t *testing.T, rt http.RoundTripper, url string, timeout time.Duration) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	start := time.Now()
	resp, err := rt.RoundTrip(post(t, ctx, url, strings.NewReader(`{"event":"ping"}`)))
	if err != nil {
		return outcome{err: err, took: time.Since(start)}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	o := outcome{status: resp.StatusCode, header: resp.Header, body: string(body), bodyErr: err, took: time.Since(start)}
	require.NoError(t, resp.Body.Close())
	return o
}

// Each answer must look the same in memory and over a socket. Those that never end by themselves are cut by the clock,
// so they are for the bubble alone;
// see TestAnswersEndWithTheirClient for sockets.
func TestAnswers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer  webhooktest.Answer
		endless bool
		check   func(t *testing.T, o outcome)
	}{
		"zero value": {check: func(t *testing.T, o outcome) {
			require.NoError(t, o.err)
			require.Equal(t, http.StatusOK, o.status)
			require.Empty(t, o.body)
		}},
		"status, header and body": {
			answer: webhooktest.Answer{Status: 429, Header: http.Header{"Retry-After": {"120"}}, Body: "slow down"},
			check: func(t *testing.T, o outcome) {
				require.NoError(t, o.err)
				require.Equal(t, 429, o.status)
				require.Equal(t, "120", o.header.Get("Retry-After"))
				require.Equal(t, "slow down", o.body)
				require.NoError(t, o.bodyErr)
			},
		},
		"a status that does not exist": {
			answer: webhooktest.Answer{Status: 999},
			check:  func(t *testing.T, o outcome) { require.Equal(t, 999, o.status) },
		},
		"no content": {
			answer: webhooktest.Answer{Status: 204},
			check:  func(t *testing.T, o outcome) { require.Equal(t, 204, o.status) },
		},
		"no content, slowly": {
			answer: webhooktest.Answer{Status: 204, HeaderPace: time.Microsecond},
			check: func(t *testing.T, o outcome) {
				require.Equal(t, 204, o.status)
				require.NotContains(t, o.header, "Content-Length", "RFC 9110, section 8.6")
			},
		},
		"a redirect is not followed": {
			answer: webhooktest.Answer{Status: 302, Header: http.Header{"Location": {"https://elsewhere.example/"}}},
			check: func(t *testing.T, o outcome) {
				require.Equal(t, 302, o.status)
				require.Equal(t, "https://elsewhere.example/", o.header.Get("Location"))
			},
		},
		"a length of its own": {
			answer: webhooktest.Answer{Header: http.Header{"Content-Length": {"10"}}, Body: "half", BodyPace: time.Microsecond},
			check: func(t *testing.T, o outcome) {
				require.Equal(t, "10", o.header.Get("Content-Length"))
				require.Equal(t, "half", o.body)
				require.ErrorIs(t, o.bodyErr, io.ErrUnexpectedEOF)
			},
		},
		"handler": {
			answer: webhooktest.Answer{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusCreated)
				_, _ = io.Copy(w, r.Body)
			})},
			check: func(t *testing.T, o outcome) {
				require.Equal(t, http.StatusCreated, o.status)
				require.Equal(t, `{"event":"ping"}`, o.body, "the handler must find the body unread")
			},
		},
		"raw": {
			answer: webhooktest.Answer{Raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"},
			check: func(t *testing.T, o outcome) {
				require.NoError(t, o.err)
				require.ErrorContains(t, o.bodyErr, "invalid byte in chunk length")
			},
		},
		"not HTTP": {
			answer: webhooktest.Answer{Raw: "220 mail.example ESMTP\r\n"},
			check:  func(t *testing.T, o outcome) { require.ErrorContains(t, o.err, "malformed HTTP") },
		},
		"close": {
			answer: webhooktest.Answer{Fault: webhooktest.Close},
			check:  func(t *testing.T, o outcome) { require.ErrorIs(t, o.err, io.EOF) },
		},
		"reset": {
			answer: webhooktest.Answer{Fault: webhooktest.Reset},
			check: func(t *testing.T, o outcome) {
				require.Error(t, o.err)
				require.NotErrorIs(t, o.err, io.EOF)
				requireReset(t, o.err)
			},
		},
		"cut body": {
			answer: webhooktest.Answer{Body: "half", Fault: webhooktest.CutBody},
			check: func(t *testing.T, o outcome) {
				require.NoError(t, o.err)
				require.Equal(t, 200, o.status)
				require.Equal(t, "5", o.header.Get("Content-Length"))
				require.Equal(t, "half", o.body)
				require.ErrorIs(t, o.bodyErr, io.ErrUnexpectedEOF)
			},
		},
		"endless body": {
			answer: webhooktest.Answer{Body: "abc", Fault: webhooktest.EndlessBody},
			check: func(t *testing.T, o outcome) {
				require.NoError(t, o.bodyErr)
				require.Len(t, o.body, 1<<20)
				require.True(t, strings.HasPrefix(o.body, "abcabcabc"))
			},
		},
		"endless filling": {
			answer: webhooktest.Answer{Fault: webhooktest.EndlessBody},
			check:  func(t *testing.T, o outcome) { require.Len(t, o.body, 1<<20) },
		},
		"endless header": {
			answer: webhooktest.Answer{Fault: webhooktest.EndlessHeader},
			check:  func(t *testing.T, o outcome) { require.ErrorContains(t, o.err, "response headers exceeded") },
		},
		"endless informational": {
			answer:  webhooktest.Answer{Fault: webhooktest.EndlessInformational},
			endless: true,
			check:   func(t *testing.T, o outcome) { require.ErrorIs(t, o.err, context.DeadlineExceeded) },
		},
		"hang": {
			answer:  webhooktest.Answer{Fault: webhooktest.Hang},
			endless: true,
			check:   func(t *testing.T, o outcome) { require.ErrorIs(t, o.err, context.DeadlineExceeded) },
		},
		"slow header": {
			answer:  webhooktest.Answer{HeaderPace: time.Hour},
			endless: true,
			check:   func(t *testing.T, o outcome) { require.ErrorIs(t, o.err, context.DeadlineExceeded) },
		},
		"slow body": {
			answer:  webhooktest.Answer{Body: "slow", BodyPace: time.Hour},
			endless: true,
			check: func(t *testing.T, o outcome) {
				require.NoError(t, o.err)
				require.Equal(t, "s", o.body)
				require.ErrorIs(t, o.bodyErr, context.DeadlineExceeded)
			},
		},
	} {
		t.Run(name+", in memory", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := webhooktest.NewReceiver(t, test.answer)
				test.check(t, send(t, webhooktest.Transport(r), "https://example.com/hook", 15*time.Second))
				require.Len(t, r.Requests(), 1)
			})
		})
		if test.endless {
			continue
		}
		t.Run(name+", over a socket", func(t *testing.T) {
			t.Parallel()
			r := webhooktest.NewReceiver(t, test.answer)
			url, roots := r.Listen()
			test.check(t, send(t, tlsTransport(t, roots), url+"/hook", time.Minute))
			require.Len(t, r.Requests(), 1)
		})
	}
}

// requireReset leaves Windows out, whose sockets have error numbers of their own.
func requireReset(t *testing.T, err error) {
	t.Helper()
	if runtime.GOOS != "windows" {
		require.ErrorIs(t, err, syscall.ECONNRESET)
	}
}

// Over a socket the reset may overtake the response.
func TestAnswerResetsWithinTheBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := webhooktest.NewReceiver(t, webhooktest.Answer{Status: 202, Body: "half", Fault: webhooktest.ResetBody})
		o := send(t, webhooktest.Transport(r), "https://example.com/", time.Minute)
		require.NoError(t, o.err)
		require.Equal(t, 202, o.status)
		require.Equal(t, "half", o.body)
		require.ErrorIs(t, o.bodyErr, syscall.ECONNRESET)
	})
}

func TestAnswersTakeTheTimeTheyAreTold(t *testing.T) {
	t.Parallel()
	head := len("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\n")
	for name, test := range map[string]struct {
		answer webhooktest.Answer
		took   time.Duration
	}{
		"none":   {webhooktest.Answer{Body: "body"}, 0},
		"delay":  {webhooktest.Answer{Body: "body", Delay: 3 * time.Second}, 3 * time.Second},
		"header": {webhooktest.Answer{Body: "body", HeaderPace: time.Second}, time.Duration(head) * time.Second},
		// The client has the whole body as soon as its last byte is there.
		"body": {webhooktest.Answer{Body: "body", BodyPace: time.Second}, 3 * time.Second},
		"delay of a handler": {webhooktest.Answer{Delay: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "body")
		})}, time.Second},
		"raw": {webhooktest.Answer{Raw: "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", HeaderPace: time.Second}, 41 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := webhooktest.NewReceiver(t, test.answer)
				o := send(t, webhooktest.Transport(r), "https://example.com/", time.Hour)
				require.NoError(t, o.err)
				require.NoError(t, o.bodyErr)
				require.Equal(t, "body", o.body)
				require.Equal(t, test.took, o.took)
			})
		})
	}
}

// A client that has gone must not be outlasted: the answer ends with it, not with its own pace.
func TestAnswersEndWithTheirClient(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]webhooktest.Answer{
		"delay":                 {Delay: time.Hour},
		"slow header":           {HeaderPace: time.Hour},
		"slow body":             {Body: "slow", BodyPace: time.Hour},
		"hang":                  {Fault: webhooktest.Hang},
		"endless informational": {Fault: webhooktest.EndlessInformational, HeaderPace: time.Hour},
		"endless body":          {Fault: webhooktest.EndlessBody},
		"handler":               {Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })},
	} {
		t.Run(name+", in memory", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				r := webhooktest.NewReceiver(t, answer)
				leave(t, r, func(h http.Handler) (http.RoundTripper, string) {
					return webhooktest.Transport(h), "https://example.com/"
				})
				require.Zero(t, time.Since(start))
			})
		})
		t.Run(name+", over a socket", func(t *testing.T) {
			t.Parallel()
			r := webhooktest.NewReceiver(t, answer)
			leave(t, r, func(h http.Handler) (http.RoundTripper, string) {
				server := httptest.NewTLSServer(h)
				t.Cleanup(server.Close)
				return server.Client().Transport, server.URL
			})
		})
	}
}

// leave makes a request, goes away once it has arrived, and returns when the receiver has noticed.
func leave(t *testing.T, r *webhooktest.Receiver, serve func(http.Handler) (http.RoundTripper, string)) {
	t.Helper()
	noticed := make(chan struct{})
	transport, url := serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		defer close(noticed)
		r.ServeHTTP(w, req)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		r.WaitFor(ctx, 1)
		cancel()
	}()
	resp, err := transport.RoundTrip(post(t, ctx, url, strings.NewReader("body")))
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	require.ErrorIs(t, err, context.Canceled)
	<-noticed
}

func TestAnswersThatCannotBeGivenFailTheTest(t *testing.T) {
	t.Parallel()
	handler := http.NotFoundHandler()
	for name, test := range map[string]struct {
		answer webhooktest.Answer
		want   string
	}{
		"status too small":     {webhooktest.Answer{Status: 103}, "status 103 is not in 200..999"},
		"status too large":     {webhooktest.Answer{Status: 1000}, "status 1000 is not in 200..999"},
		"204 with a body":      {webhooktest.Answer{Status: 204, Body: "x"}, "status 204 has no body"},
		"304 that is endless":  {webhooktest.Answer{Status: 304, Fault: webhooktest.EndlessBody}, "status 304 has no body"},
		"204 that is cut":      {webhooktest.Answer{Status: 204, Fault: webhooktest.CutBody}, "status 204 has no body"},
		"204 that is reset":    {webhooktest.Answer{Status: 204, Fault: webhooktest.ResetBody}, "status 204 has no body"},
		"negative delay":       {webhooktest.Answer{Delay: -1}, "must not be negative"},
		"negative header pace": {webhooktest.Answer{HeaderPace: -1}, "must not be negative"},
		"negative body pace":   {webhooktest.Answer{BodyPace: -1}, "must not be negative"},
		"raw with a status":    {webhooktest.Answer{Raw: "x", Status: 500}, "Raw excludes"},
		"raw with a header":    {webhooktest.Answer{Raw: "x", Header: http.Header{}}, "Raw excludes"},
		"raw with a body":      {webhooktest.Answer{Raw: "x", Body: "x"}, "Raw excludes"},
		"raw with a body pace": {webhooktest.Answer{Raw: "x", BodyPace: 1}, "Raw excludes"},
		"raw with a fault":     {webhooktest.Answer{Raw: "x", Fault: webhooktest.Reset}, "Raw excludes"},
		"handler and status":   {webhooktest.Answer{Handler: handler, Status: 200}, "Handler excludes"},
		"handler and raw":      {webhooktest.Answer{Handler: handler, Raw: "x"}, "Handler excludes"},
		"handler and pace":     {webhooktest.Answer{Handler: handler, HeaderPace: 1}, "Handler excludes"},
		"handler and fault":    {webhooktest.Answer{Handler: handler, Fault: webhooktest.Close}, "Handler excludes"},
		"unknown fault":        {webhooktest.Answer{Fault: "explode"}, `fault "explode" does not exist`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := failure(t, func(ft testing.TB) { webhooktest.NewReceiver(ft, webhooktest.Answer{}, test.answer) })
			require.Contains(t, got, "webhooktest: answer 2: ")
			require.Contains(t, got, test.want)
		})
	}
	require.Empty(t, failure(t, func(ft testing.TB) {
		webhooktest.NewReceiver(ft, webhooktest.Answer{Raw: "x", HeaderPace: 1, Delay: 1, Fault: webhooktest.Hang}, webhooktest.Answer{Handler: handler, Delay: 1, Fault: webhooktest.Hang})
	}))
}
