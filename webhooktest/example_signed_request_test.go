package webhooktest_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// Does the handler take what is signed with its secret, and nothing else?
func ExampleSignedRequest() {
	inTest(func(t *testing.T, out io.Writer) { // func TestHandler(t *testing.T)
		const secret = "my secret"
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil || webhook.Verify(body, r.Header.Get(webhook.HeaderSignature), secret) != nil {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		})

		event := webhook.SessionStopped.New("sess_abc123", webhook.SessionStoppedData{StoppedBy: webhook.StoppedByUser})
		for _, with := range []string{secret, "another secret", ""} {
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, webhooktest.SignedRequest(t, "/hook", with, event))
			fmt.Fprintf(out, "%q %d\n", with, answer.Code)
		}
	})
	// Output:
	// "my secret" 204
	// "another secret" 401
	// "" 401
}

// A signed timestamp is refused when it is old. In a bubble the request grows old in no time.
func ExampleSignedRequest_stale() {
	inTest(func(t *testing.T, out io.Writer) { // func TestReceiver(t *testing.T)
		synctest.Test(t, func(t *testing.T) {
			const secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
			verifier, err := webhook.NewVerifier([]string{secret}, &webhook.VerifierConfig{Scheme: webhook.Standard})
			if err != nil {
				t.Fatal(err)
			}
			event := webhook.SessionStopped.New("sess_abc123", webhook.SessionStoppedData{StoppedBy: webhook.StoppedByUser})

			fresh := webhooktest.SignedRequest(t, "/hook", secret, event)
			stale := webhooktest.SignedRequest(t, "/hook", secret, event)
			_, err = verifier.VerifyRequest(fresh)
			fmt.Fprintln(out, "fresh:", err)
			time.Sleep(6 * time.Minute)
			_, err = verifier.VerifyRequest(stale)
			fmt.Fprintln(out, "stale:", errors.Is(err, webhook.ErrTimestampTooOld))
		})
	})
	// Output:
	// fresh: <nil>
	// stale: true
}
