package webhooktest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook/webhooktest"
)

func roundTrip(t *testing.T, h http.HandlerFunc, req *http.Request) (*http.Response, error) {
	t.Helper()
	return webhooktest.Transport(h).RoundTrip(req)
}

func TestTransportCarriesARequestUnchanged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got *http.Request
		var body []byte
		req := post(t, t.Context(), "https://example.com:8443/hook?a=b", strings.NewReader(`{"event":"ping"}`))
		req.Header = http.Header{"User-Agent": {"test"}, "Webhook-Id": {"evt_1"}}
		resp, err := roundTrip(t, func(w http.ResponseWriter, r *http.Request) {
			got = r
			body, _ = io.ReadAll(r.Body)
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, "thanks")
		}, req)
		require.NoError(t, err)
		answer, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())

		require.Equal(t, http.StatusAccepted, resp.StatusCode)
		require.Equal(t, "thanks", string(answer))
		require.Equal(t, http.MethodPost, got.Method)
		require.Equal(t, "example.com:8443", got.Host)
		require.Equal(t, "/hook?a=b", got.URL.String())
		require.Equal(t, `{"event":"ping"}`, string(body))
		require.Equal(t, http.Header{"User-Agent": {"test"}, "Webhook-Id": {"evt_1"}, "Content-Length": {"16"}}, got.Header,
			"the transport must add nothing: no Accept-Encoding, no Connection")
		require.NotNil(t, got.TLS)
		require.Equal(t, "example.com", got.TLS.ServerName)
	})
}

func TestTransportLeavesTLSUnsetForHTTP(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		resp, err := roundTrip(t, func(_ http.ResponseWriter, r *http.Request) {
			if r.TLS != nil {
				panic(http.ErrAbortHandler)
			}
		}, post(t, t.Context(), "http://example.com/", nil))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	})
}

func TestTransportStreamsTheResponse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		more := make(chan struct{})
		resp, err := roundTrip(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "first")
			w.(http.Flusher).Flush()
			<-more
			_, _ = io.WriteString(w, "second")
		}, post(t, t.Context(), "https://example.com/", nil))
		require.NoError(t, err)
		first := make([]byte, 5)
		_, err = io.ReadFull(resp.Body, first)
		require.NoError(t, err)
		require.Equal(t, "first", string(first))
		close(more)
		rest, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, "second", string(rest))
		require.NoError(t, resp.Body.Close())
	})
}

func TestTransportSendsTheHeaderAsItWasAtWriteHeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		resp, err := roundTrip(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "Sum")
			w.Header().Set("Early", "yes")
			w.WriteHeader(http.StatusOK)
			w.Header().Set("Late", "yes")
			w.Header().Set("Sum", "42")
		}, post(t, t.Context(), "https://example.com/", nil))
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, "yes", resp.Header.Get("Early"))
		require.Empty(t, resp.Header.Get("Late"))
		require.Equal(t, "42", resp.Trailer.Get("Sum"))
	})
}

func TestTransportCallsTheHooksOfHTTPTrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var addr string
		var hints []int
		var firstByte time.Duration
		start := time.Now()
		wrote := make(chan error, 1)
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			GotConn:              func(info httptrace.GotConnInfo) { addr = info.Conn.RemoteAddr().String() },
			WroteRequest:         func(info httptrace.WroteRequestInfo) { wrote <- info.Err },
			GotFirstResponseByte: func() { firstByte = time.Since(start) },
			Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
				hints = append(hints, code)
				return nil
			},
		})
		resp, err := roundTrip(t, func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Second)
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusOK)
		}, post(t, ctx, "https://example.com/", nil))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, "192.0.2.1:443", addr)
		require.NoError(t, <-wrote)
		require.Equal(t, time.Second, firstByte)
		require.Equal(t, []int{http.StatusEarlyHints}, hints)
	})
}

func TestTransportEndsWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // the bubble panics if a goroutine is left
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		start := time.Now()
		ended := make(chan time.Duration, 1)
		_, err := roundTrip(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
			ended <- time.Since(start)
		}, post(t, ctx, "https://example.com/", strings.NewReader("body")))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 15*time.Second, <-ended)
	})
}

func TestTransportEndsWhenTheBodyIsClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		failed := make(chan error, 1)
		resp, err := roundTrip(t, func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 1<<10)); err != nil {
					failed <- err
					return
				}
			}
		}, post(t, t.Context(), "https://example.com/", nil))
		require.NoError(t, err)
		_, err = io.ReadFull(resp.Body, make([]byte, 1<<20))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.ErrorIs(t, <-failed, syscall.EPIPE)
	})
}

func TestTransportTurnsAPanicIntoABrokenConnection(t *testing.T) {
	t.Parallel()
	t.Run("before the response", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			_, err := roundTrip(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
				post(t, t.Context(), "https://example.com/", nil))
			require.ErrorIs(t, err, io.EOF)
		})
	})
	t.Run("within the body", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			resp, err := roundTrip(t, func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "half")
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}, post(t, t.Context(), "https://example.com/", nil))
			require.NoError(t, err)
			got, err := io.ReadAll(resp.Body)
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			require.Equal(t, "half", string(got))
			require.NoError(t, resp.Body.Close())
		})
	})
}

// An http.Server that has not read all of a request sleeps for half a second before it closes the connection. In a
// bubble nobody would wake it.
func TestTransportLeavesNobodyAsleepAfterAnUnreadBody(t *testing.T) {
	t.Parallel()
	big := make([]byte, 4<<20)
	for name, h := range map[string]http.HandlerFunc{
		"the handler does not read": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) },
		"the handler reads up to a limit": func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<10)); err != nil {
				w.WriteHeader(http.StatusTeapot)
			}
		},
		"the handler answers first": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTeapot)
			_, _ = w.Write(make([]byte, 64<<10))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, length := range []string{"known", "unknown"} {
				synctest.Test(t, func(t *testing.T) {
					start := time.Now()
					req := post(t, t.Context(), "https://example.com/", bytes.NewReader(big))
					if length == "unknown" {
						req.ContentLength = -1
					}
					resp, err := roundTrip(t, h, req)
					require.NoError(t, err)
					_, err = io.Copy(io.Discard, resp.Body)
					require.NoError(t, err)
					require.NoError(t, resp.Body.Close())
					require.Equal(t, http.StatusTeapot, resp.StatusCode)
					require.Zero(t, time.Since(start))
				})
			}
		})
	}
}

func TestTransportAnswersARequestThatIsNoneOfHTTP(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		req := post(t, t.Context(), "https://example.com/", nil)
		req.Header.Set("Filling", strings.Repeat("x", 2<<20)) // over http.DefaultMaxHeaderBytes
		resp, err := roundTrip(t, func(http.ResponseWriter, *http.Request) {}, req)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, resp.StatusCode)
	})
}

// A hijacked connection is the handler's: it may close one half and go on.
func TestTransportClosesHalfAConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		after := make(chan struct{})
		resp, err := roundTrip(t, func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nuntil the end")
			_ = c.(interface{ CloseWrite() error }).CloseWrite()
			_, _ = io.Copy(io.Discard, c)
			c.Close()
			close(after)
		}, post(t, t.Context(), "https://example.com/", nil))
		require.NoError(t, err)
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, "until the end", string(got))
		require.NoError(t, resp.Body.Close())
		<-after
	})
}

func TestTransportErrorsAreThoseOfTCP(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		own := make(chan error, 1)
		_, err := roundTrip(t, func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			_ = c.(interface{ SetLinger(int) error }).SetLinger(0)
			c.Close()
			_, err = c.Read(make([]byte, 1))
			own <- err
		}, post(t, t.Context(), "https://example.com/", nil))
		var op *net.OpError
		require.ErrorAs(t, err, &op)
		require.ErrorIs(t, err, syscall.ECONNRESET)
		require.Equal(t, "192.0.2.1:443", op.Addr.String())
		require.ErrorIs(t, <-own, net.ErrClosed, "this end closed it")
	})
}

func TestTransportMayBeSharedBetweenBubbles(t *testing.T) {
	t.Parallel()
	shared := webhooktest.Transport(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	use := func(t *testing.T) {
		resp, err := shared.RoundTrip(post(t, t.Context(), "https://example.com/", strings.NewReader("body")))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusNoContent, resp.StatusCode)
	}
	use(t)
	synctest.Test(t, use)
	synctest.Test(t, use)
	use(t)
}

func TestTransportRefusesAnotherScheme(t *testing.T) {
	t.Parallel()
	_, err := roundTrip(t, func(http.ResponseWriter, *http.Request) {}, post(t, t.Context(), "ftp://example.com/", nil))
	require.Error(t, err)
	require.False(t, errors.Is(err, io.EOF))
}
