package webhooktest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook/webhooktest"
)

func statuses(t *testing.T, r *webhooktest.Receiver, urls ...string) []int {
	t.Helper()
	var got []int
	for _, url := range urls {
		o := send(t, webhooktest.Transport(r), url, time.Minute)
		require.NoError(t, o.err)
		got = append(got, o.status)
	}
	return got
}

func TestReceiverGivesItsAnswersInOrderAndTheLastForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const url = "https://example.com/hook"
		r := webhooktest.NewReceiver(t, webhooktest.Answer{Status: 503}, webhooktest.Answer{Status: 429}, webhooktest.Answer{Status: 204})
		require.Equal(t, []int{503, 429, 204, 204, 204}, statuses(t, r, url, url, url, url, url))
		r.Script("", webhooktest.Answer{Status: 410})
		require.Equal(t, []int{410, 410}, statuses(t, r, url, url))
	})
}

func TestReceiverAnswersPathsApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const a, b, other = "https://example.com/a", "https://example.com/b", "https://example.com/c"
		r := webhooktest.NewReceiver(t, webhooktest.Answer{Status: 500}, webhooktest.Answer{Status: 501})
		r.Script("/a", webhooktest.Answer{Status: 401}, webhooktest.Answer{Status: 402})
		r.Script("/b")
		require.Equal(t, []int{401, 200, 500, 402, 501}, statuses(t, r, a, b, other, a, other))
	})
}

func TestReceiverKeepsItsOwnCopyOfTheScript(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		answers := []webhooktest.Answer{{Status: 503}}
		r := webhooktest.NewReceiver(t, answers...)
		answers[0].Status = 200
		require.Equal(t, []int{503}, statuses(t, r, "https://example.com/"))
	})
}

func TestReceiverRecordsRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := webhooktest.NewReceiver(t)
		transport := webhooktest.Transport(r)
		start := time.Now()
		time.Sleep(time.Hour)
		req := post(t, t.Context(), "https://example.com:8443/hook?a=b", strings.NewReader("body"))
		req.Header.Set("Webhook-Id", "evt_1")
		resp, err := transport.RoundTrip(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		resp, err = transport.RoundTrip(post(t, t.Context(), "http://example.org/", nil))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())

		got := r.Requests()
		require.Len(t, got, 2)
		require.Equal(t, http.MethodPost, got[0].Method)
		require.Equal(t, "https://example.com:8443/hook?a=b", got[0].URL)
		require.Equal(t, "evt_1", got[0].Header.Get("Webhook-Id"))
		require.Equal(t, "body", string(got[0].Body))
		require.Equal(t, start.Add(time.Hour), got[0].Time)
		require.Equal(t, "http://example.org/", got[1].URL)

		got[0] = webhooktest.Request{}
		require.Equal(t, http.MethodPost, r.Requests()[0].Method, "the caller's slice is its own")
	})
}

func TestReceiverIgnoresARequestThatBreaksOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := webhooktest.NewReceiver(t, webhooktest.Answer{Status: 503}, webhooktest.Answer{Status: 204})
		broken := errors.New("broken")
		_, err := webhooktest.Transport(r).RoundTrip(post(t, t.Context(), "https://example.com/", io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken))))
		require.ErrorIs(t, err, broken)
		synctest.Wait()
		require.Empty(t, r.Requests())
		require.Equal(t, []int{503}, statuses(t, r, "https://example.com/"), "it must not use up an answer")
	})
}

func TestReceiverWaitForLetsTimePass(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := webhooktest.NewReceiver(t)
		start := time.Now()
		go func() {
			for range 3 {
				time.Sleep(24 * time.Hour)
				send(t, webhooktest.Transport(r), "https://example.com/", time.Minute)
			}
		}()
		got := r.WaitFor(t.Context(), 3)
		require.Len(t, got, 3)
		require.Equal(t, start.Add(72*time.Hour), got[2].Time)
		require.Len(t, r.WaitFor(t.Context(), 2), 3, "more than enough have arrived")
	})
}

func TestReceiverWaitForFailsWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		got := failure(t, func(ft testing.TB) {
			r := webhooktest.NewReceiver(ft)
			send(t, webhooktest.Transport(r), "https://example.com/hook", time.Minute)
			ctx, cancel := context.WithTimeout(ft.Context(), time.Minute)
			defer cancel()
			r.WaitFor(ctx, 2)
		})
		require.Equal(t, "webhooktest: waited for 2 requests and got 1: context deadline exceeded\n\t2000-01-01T00:00:00Z POST https://example.com/hook", got)
	})
}

func TestReceiverReleaseLetsHangingRequestsGoOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := webhooktest.NewReceiver(t, webhooktest.Answer{Status: 202, Fault: webhooktest.Hang})
		answered := make(chan outcome)
		ask := func() { answered <- send(t, webhooktest.Transport(r), "https://example.com/", time.Hour) }
		r.Release() // nothing hangs yet: it must not count for later
		go ask()
		go ask()
		r.WaitFor(t.Context(), 2)
		time.Sleep(time.Minute)
		r.Release()
		for range 2 {
			o := <-answered
			require.NoError(t, o.err)
			require.Equal(t, 202, o.status)
			require.Equal(t, time.Minute, o.took)
		}
		go ask()
		require.ErrorIs(t, (<-answered).err, context.DeadlineExceeded, "the next one hangs again")
	})
}

// Whatever is under way when the test ends is cut: nothing of it is left behind, and the end does not wait for it.
func TestReceiverEndsWithTheTest(t *testing.T) {
	t.Parallel()
	answers := map[string]webhooktest.Answer{
		"hang":                  {Fault: webhooktest.Hang},
		"delay":                 {Delay: 1000 * time.Hour},
		"slow header":           {HeaderPace: 1000 * time.Hour},
		"slow body":             {Body: "slow", BodyPace: 1000 * time.Hour},
		"endless body":          {Fault: webhooktest.EndlessBody},
		"endless informational": {Fault: webhooktest.EndlessInformational, HeaderPace: 1000 * time.Hour},
		"handler":               {Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })},
	}
	for name, answer := range answers {
		t.Run(name+", in memory", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan struct{})
				t.Cleanup(func() { <-ended }) // runs after the receiver's own
				r := webhooktest.NewReceiver(t, answer)
				go func() {
					defer close(ended)
					resp, err := webhooktest.Transport(r).RoundTrip(post(t, context.Background(), "https://example.com/", nil))
					if err != nil {
						return
					}
					synctest.Wait() // the receiver's end must not depend on a client that reads
					<-t.Context().Done()
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}()
				r.WaitFor(t.Context(), 1)
			})
		})
		t.Run(name+", over a socket", func(t *testing.T) {
			t.Parallel()
			ended := make(chan struct{})
			t.Cleanup(func() { <-ended })
			r := webhooktest.NewReceiver(t, answer)
			url, roots := r.Listen()
			transport := tlsTransport(t, roots)
			go func() {
				defer close(ended)
				resp, err := transport.RoundTrip(post(t, context.Background(), url, nil))
				if err != nil {
					return
				}
				<-t.Context().Done()
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}()
			r.WaitFor(t.Context(), 1)
		})
	}
}

func TestReceiverWaitsForItsAnswersToEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ended := false
		t.Cleanup(func() { require.True(t, ended) }) // runs after the receiver's own
		r := webhooktest.NewReceiver(t, webhooktest.Answer{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			time.Sleep(time.Second)
			ended = true
		})})
		req := post(t, context.Background(), "https://example.com/", nil)
		go func() {
			if resp, err := webhooktest.Transport(r).RoundTrip(req); err == nil {
				resp.Body.Close()
			}
		}()
		r.WaitFor(t.Context(), 1)
	})
}

// A server waits for its handlers, and this one would never return while its client reads.
func TestReceiverCutsConnectionsOverASocketWithTheTest(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	t.Cleanup(func() { <-ended })
	r := webhooktest.NewReceiver(t, webhooktest.Answer{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 1<<10)); err != nil {
				return
			}
		}
	})})
	url, roots := r.Listen()
	resp, err := tlsTransport(t, roots).RoundTrip(post(t, context.Background(), url, nil))
	require.NoError(t, err)
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}()
}

func TestReceiverRefusesRequestsAfterTheTest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var transport http.RoundTripper
		var r *webhooktest.Receiver
		t.Cleanup(func() {
			_, err := transport.RoundTrip(post(t, context.Background(), "https://example.com/", nil))
			require.ErrorIs(t, err, io.EOF)
			require.Empty(t, r.Requests())
		})
		r = webhooktest.NewReceiver(t)
		transport = webhooktest.Transport(r)
	})
}

func TestReceiverListensOnce(t *testing.T) {
	t.Parallel()
	r := webhooktest.NewReceiver(t)
	url, roots := r.Listen()
	again, sameRoots := r.Listen()
	require.Equal(t, url, again)
	require.True(t, roots.Equal(sameRoots))
	require.True(t, strings.HasPrefix(url, "https://127.0.0.1:"), url)
	o := send(t, tlsTransport(t, roots), url+"/hook", time.Minute)
	require.NoError(t, o.err)
	require.Equal(t, url+"/hook", r.Requests()[0].URL)
}

// Connections are kept, as a real server keeps them.
func TestReceiverKeepsConnectionsOverASocket(t *testing.T) {
	t.Parallel()
	r := webhooktest.NewReceiver(t)
	url, roots := r.Listen()
	transport := tlsTransport(t, roots)
	require.False(t, reused(t, transport, url))
	require.True(t, reused(t, transport, url))
}

func TestReceiverNeedsTheConnectionForFaults(t *testing.T) {
	t.Parallel()
	r := webhooktest.NewReceiver(t, webhooktest.Answer{Fault: webhooktest.Reset})
	require.PanicsWithValue(t, "webhooktest: this answer needs the connection, which only HTTP/1.1 gives: feature not supported", func() {
		r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil))
	})
}
