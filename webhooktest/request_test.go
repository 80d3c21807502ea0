package webhooktest_test

import (
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// secondsTo2025 is from the beginning of a bubble's time to 2025-01-01T00:00:00Z.
const secondsTo2025 = 1735689600 - 946684800

// The signatures were computed with openssl dgst -sha256 -hmac, from the bytes named beside them.
func TestSignedRequestCarriesTheWire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(secondsTo2025 * time.Second)
		e := webhook.WorkflowFailed.New("sess_abc123", webhook.WorkflowFailedData{WorkflowID: "wf_1", RunID: "run_1", FailedStep: "train", Error: "exit 1"}, webhook.WithID("evt_1"))
		const body = `{"event":"workflow.failed","timestamp":"2025-01-01T00:00:00Z","session_id":"sess_abc123",` +
			`"data":{"workflow_id":"wf_1","run_id":"run_1","failed_step":"train","error":"exit 1","steps_completed":0,"duration_seconds":0}}`
		for name, test := range map[string]struct{ secret, signature, standard string }{
			"typed secret": {
				"my secret",
				"sha256=6518b4f2baf3a2969d8a796c0939360e399396403c52efab22c7518f86a13804", // body
				"v1,pTIwrboeNWapyAH1dnab0PP9rFOtIRfUSC84P/gFmd4=",                         // evt_1.1735689600.body
			},
			"whsec_ secret": {
				"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3",
				"sha256=f8d7e4cf75a20898ab78b13880b5c4e735db94c3b880a4e876805cae71d0d939", // body, with the text as the key
				"v1,pLRaRW4VWxlZdPtdyl8MpCtebZX+MadmIZR1EDo7Nn8=",                         // evt_1.1735689600.body, with 0123456789abcdef01234567 as the key
			},
			"no secret": {},
		} {
			r := webhooktest.SignedRequest(t, "https://example.com/hook", test.secret, e)
			got, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			require.Equal(t, body, string(got), name)
			require.Equal(t, http.MethodPost, r.Method)
			require.Equal(t, "https://example.com/hook", r.URL.String())
			require.Equal(t, int64(len(body)), r.ContentLength)

			want := http.Header{
				"Content-Type":      {"application/json"},
				"User-Agent":        {"Meshia-Webhook/" + webhook.Version},
				"Webhook-Id":        {"evt_1"},
				"Webhook-Timestamp": {"1735689600"},
				"X-Meshia-Attempt":  {"1"},
				"X-Meshia-Delivery": {r.Header.Get("X-Meshia-Delivery")},
			}
			if test.secret != "" {
				want.Set("X-Meshia-Signature", test.signature)
				want.Set("webhook-signature", test.standard)
			}
			require.Equal(t, want, r.Header, name)
			require.Regexp(t, `^dlv_[a-z0-9]{20,60}$`, r.Header.Get("X-Meshia-Delivery"))
		}
	})
}

func TestSignedRequestsAreDeliveriesOfTheirOwn(t *testing.T) {
	t.Parallel()
	e := webhook.SessionStarted.New("", webhook.SessionStartedData{})
	a := webhooktest.SignedRequest(t, "/", "secret", e)
	b := webhooktest.SignedRequest(t, "/", "secret", e)
	require.NotEqual(t, a.Header.Get("X-Meshia-Delivery"), b.Header.Get("X-Meshia-Delivery"))
	require.Equal(t, a.Header.Get("webhook-id"), b.Header.Get("webhook-id"))
}

// The same request must do for a handler and for a client.
func TestSignedRequestMayBeServedAndSent(t *testing.T) {
	t.Parallel()
	e := webhook.SessionStarted.New("", webhook.SessionStartedData{})
	var seen []string
	mux := http.NewServeMux()
	mux.HandleFunc("POST /hook", func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen = append(seen, string(body))
		if _, _, err := net.SplitHostPort(r.RemoteAddr); err != nil { // http.Request promises IP:port
			seen = append(seen, err.Error())
		}
	})
	served := httptest.NewRecorder()
	mux.ServeHTTP(served, webhooktest.SignedRequest(t, "/hook", "secret", e))
	require.Equal(t, http.StatusOK, served.Code)

	sent, err := webhooktest.Transport(mux).RoundTrip(webhooktest.SignedRequest(t, "https://example.com/hook", "secret", e))
	require.NoError(t, err)
	require.NoError(t, sent.Body.Close())
	require.Equal(t, []string{string(e.Body), string(e.Body)}, seen)
}

func TestSignedRequestFailsTheTestForWhatCannotBeSent(t *testing.T) {
	t.Parallel()
	good := webhook.SessionStarted.New("", webhook.SessionStartedData{})
	numbers := webhook.NewEventType("numbers", "", 0.0)
	for name, test := range map[string]struct {
		url, secret string
		event       webhook.Event
		want        string
	}{
		"data that does not marshal": {"/", "secret", numbers.New("", math.NaN()), `the event of type "numbers" has no body`},
		"no event":                   {"/", "secret", webhook.Event{}, "has no body"},
		"whsec_ of another alphabet": {"/", "whsec_" + strings.Repeat("!", 32), good, "invalid secret"},
		"whsec_ that is too short":   {"/", "whsec_c2hvcnQ=", good, "invalid secret"},
		"whsec_ that is too long":    {"/", "whsec_" + strings.Repeat("AAAA", 22), good, "invalid secret"},
		"asymmetric key":             {"/", "whsk_c2VjcmV0", good, "invalid secret"},
		"URL":                        {"https://exa mple.com/", "secret", good, "invalid character"},
	} {
		got := failure(t, func(ft testing.TB) { webhooktest.SignedRequest(ft, test.url, test.secret, test.event) })
		require.Contains(t, got, test.want, name)
		require.True(t, strings.HasPrefix(got, "webhooktest: "), got)
	}
}
