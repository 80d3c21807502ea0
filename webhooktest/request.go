package webhooktest

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meshia/webhook"
)

// SignedRequest returns the request that a dispatcher would send for this event: both signatures with the secret, the event's id, the time of sending, a delivery and
// attempt 1. With an empty secret it is not signed. It may be given to a handler's ServeHTTP or sent with a client.
//
// What a receiver should refuse is made from it: sign with another secret, change the body or a header, or, in a [testing/synctest] bubble, let time pass before it arrives.
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

	sentAt := strconv.FormatInt(time.Now().Unix(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Meshia-Webhook/"+webhook.Version)
	r.Header.Set("webhook-id", e.ID)
	r.Header.Set("webhook-timestamp", sentAt)
	r.Header.Set("X-Meshia-Delivery", "dlv_"+strings.ToLower(rand.Text()))
	r.Header.Set("X-Meshia-Attempt", "1")
	if secret == "" {
		return r
	}
	key, err := standardKey(secret)
	if err != nil {
		t.Fatalf("webhooktest: %v", err)
	}
	r.Header.Set("X-Meshia-Signature", "sha256="+hex.EncodeToString(mac([]byte(secret), e.Body)))
	r.Header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(mac(key, []byte(e.ID+"."+sentAt+"."), e.Body)))
	return r
}

// standardKey is the key that a secret stands for in the Standard Webhooks scheme: what a whsec_ encodes, or else the secret's bytes.
func standardKey(secret string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(secret, "whsec_")
	if !ok {
		return []byte(secret), nil
	}
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(key) < 24 || len(key) > 64 {
		return nil, fmt.Errorf("%w: a whsec_ secret must be base64 of 24 to 64 bytes", webhook.ErrInvalidSecret)
	}
	return key, nil
}

func mac(key []byte, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}
