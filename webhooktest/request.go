package webhooktest

import (
	"bytes"
	"crypto/rand"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meshia/webhook"
)

// SignedRequest returns the request that a dispatcher would send for this event: both signatures with the secret, the
// event's id, the time of sending, a delivery and attempt 1. With an empty secret it is not signed. It may be given to
// a handler's ServeHTTP or sent with a client.
//
// What a receiver should refuse is made from it: sign with another secret, change the body or a header, or, in a
// [testing/synctest] bubble, let time pass before it arrives.
// An event or a secret that could not be sent fails the test.
func SignedRequest(t testing.TB, url, secret string, e webhook.Event) *http.Request {
	t.Helper()
	if len(e.Body) == 0 {
		t.Fatalf("webhooktest: the event of type %q has no body: its data or one of its options was refused when it was made", e.Type)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(e.Body))
	if err != nil {
		t.Fatalf("webhooktest: %v", err)
	}
	r.RemoteAddr = "192.0.2.2:49152" // a handler may look at it; clients do not

	sentAt := time.Now()
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Meshia-Webhook/"+webhook.Version)
	r.Header.Set(webhook.HeaderID, e.ID)
	r.Header.Set(webhook.HeaderTimestamp, strconv.FormatInt(sentAt.Unix(), 10))
	r.Header.Set(webhook.HeaderDelivery, "dlv_"+strings.ToLower(rand.Text()))
	r.Header.Set(webhook.HeaderAttempt, "1")
	if secret == "" {
		return r
	}
	signer, err := webhook.NewSigner(webhook.NewSecret(secret))
	if err != nil {
		t.Fatalf("webhooktest: %v", err)
	}
	r.Header.Set(webhook.HeaderSignature, signer.Signature(e.Body))
	r.Header.Set(webhook.HeaderStandardSignature, signer.StandardSignature(e.ID, sentAt, e.Body))
	return r
}
