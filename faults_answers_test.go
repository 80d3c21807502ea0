package webhook_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// TestWhatBecomesOfEachStatus has an endpoint for each status, over a socket. The redirects lead to a page of the same
// server's, which nobody may ask for.
func TestWhatBecomesOfEachStatus(t *testing.T) {
	t.Parallel()
	redirected, failed := webhook.ErrorRedirect, webhook.ErrorStatus
	statuses := map[int]webhook.ErrorClass{
		200: "", 201: "", 202: "", 204: "", 205: "", 206: "", 299: "",
		300: redirected, 301: redirected, 302: redirected, 303: redirected, 304: redirected, 305: redirected, 306: redirected, 307: redirected, 308: redirected, 399: redirected,
		400: failed, 401: failed, 403: failed, 404: failed, 405: failed, 408: failed, 409: failed, 410: failed, 413: failed, 415: failed, 422: failed, 425: failed, 429: failed, 451: failed,
		500: failed, 501: failed, 502: failed, 503: failed, 504: failed, 599: failed, 600: failed, 999: failed,
	}
	var followed atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, err := strconv.Atoi(r.URL.Path[1:])
		if err != nil {
			followed.Add(1)
			return
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}))
	defer server.Close()
	cfg := inPlainText(&webhook.Config{MaxEndpoints: len(statuses)})
	cfg.Retry = webhook.Schedule{time.Hour}
	r := realRig(t, cfg)
	ids := map[int]string{}
	for status := range statuses {
		ids[status] = r.at(fmt.Sprint(server.URL, "/", status), webhook.AllEvents).ID
	}
	r.run()
	r.emit()
	require.Eventually(t, func() bool {
		c := r.d.Counts()
		return c.Delivered+c.Retried+c.Failed == int64(len(statuses))
	}, soon, 5*time.Millisecond)
	r.stop()
	for status, class := range statuses {
		d := r.deliveries(webhook.DeliveryFilter{EndpointID: ids[status]})[0]
		e, err := r.d.Endpoint(r.ctx, ids[status])
		require.NoError(t, err)
		require.Len(t, d.Attempts, 1, status)
		require.Equal(t, class, d.Attempts[0].Error, status)
		require.Equal(t, status, d.Attempts[0].Status)
		switch {
		case class == "":
			require.Equal(t, webhook.DeliverySucceeded, d.State, status)
			require.Equal(t, webhook.AttemptDelivered, d.Attempts[0].Result, status)
		case status == http.StatusGone:
			require.Equal(t, webhook.DeliveryFailed, d.State)
			require.Equal(t, webhook.FailGone, d.Reason)
			require.Equal(t, webhook.EndpointDisabled, e.Health.State)
			continue
		default:
			require.Equal(t, webhook.DeliveryPending, d.State, status)
			require.Equal(t, webhook.AttemptFailed, d.Attempts[0].Result, status)
			require.Greater(t, d.NextAttemptAt.Sub(d.CreatedAt), time.Hour-time.Second, status)
		}
		require.Equal(t, webhook.EndpointActive, e.Health.State, status)
	}
	require.Zero(t, followed.Load(), "redirects are not followed")
}

// TestHowLongRetryAfterKeepsAnEndpointAlone looks at the second request after a first that was answered with this.
func TestHowLongRetryAfterKeepsAnEndpointAlone(t *testing.T) {
	const backoff, most = 10 * time.Second, 24 * time.Hour
	at := func(d time.Duration) func() string {
		return func() string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	}
	says := func(text string) func() string { return func() string { return text } }
	for name, c := range map[string]struct {
		status int
		value  func() string
		want   time.Duration
	}{
		"nothing":                        {503, says(""), backoff},
		"0":                              {503, says("0"), backoff},
		"5":                              {503, says("5"), backoff},
		"11":                             {503, says("11"), 11 * time.Second},
		"90 with a 429":                  {429, says("90"), 90 * time.Second},
		"90 with a 301":                  {301, says("90"), 90 * time.Second},
		"90 with a 404":                  {404, says("90"), 90 * time.Second},
		"86400":                          {503, says("86400"), most},
		"86401":                          {503, says("86401"), most},
		"10^18":                          {503, says("1000000000000000000"), most},
		"more than a number holds":       {503, says("99999999999999999999999"), most},
		"1e18":                           {503, says("1e18"), backoff},
		"-1":                             {503, says("-1"), backoff},
		"abc":                            {503, says("abc"), backoff},
		"1.5":                            {503, says("1.5"), backoff},
		"a date in an hour":              {503, at(time.Hour), time.Hour},
		"a date in a year":               {503, at(365 * 24 * time.Hour), most},
		"a date an hour ago":             {503, at(-time.Hour), backoff},
		"a date that is none":            {503, says("Sun, 31 Feb 2027 99:00:00 GMT"), backoff},
		"an hour with a 200 is not kept": {200, says("3600"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				answer := webhooktest.Answer{Status: c.status, Header: http.Header{"Retry-After": {c.value()}}}
				r := newRig(t, webhooktest.NewReceiver(t, answer, ok), func(cfg *webhook.Config) { cfg.Poll = time.Hour }).run()
				r.endpoint("hook")
				r.emit()
				if c.status == 200 {
					time.Sleep(time.Second)
					r.emit() // at once
					time.Sleep(time.Second)
					require.Len(t, r.receiver.Requests(), 2)
					return
				}
				time.Sleep(2 * most)
				got := r.receiver.Requests()
				require.Len(t, got, 2)
				require.Equal(t, c.want, got[1].Time.Sub(got[0].Time))
				require.Equal(t, webhook.DeliverySucceeded, r.only().State)
			})
		})
	}
}
