package webhook_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/meshia/webhook"
)

const exampleBody = `{"event":"experiment.completed","timestamp":"2026-04-11T14:32:00Z","session_id":"sess_abc123",` +
	`"data":{"experiment_id":"exp_def456","metrics":{"accuracy":0.921,"loss":0.0342},"duration_seconds":1847}}`

func ExampleVerify() {
	body := []byte(exampleBody)
	signature := webhook.Sign(body, "my-secret") // as it comes in X-Meshia-Signature

	fmt.Println(webhook.Verify(body, signature, "my-secret"))
	fmt.Println(webhook.Verify(body, signature, "another secret"))
	fmt.Println(webhook.Verify(append(body, '\n'), signature, "my-secret"))
	// Output:
	// <nil>
	// webhook: not verified: signature does not match
	// webhook: not verified: signature does not match: the body is not in the form in which events are sent; was it decoded and encoded again?
}

func ExampleNewVerifier_rotation() {
	// While a secret is being changed, a receiver knows the new one and the old one.
	v, err := webhook.NewVerifier([]string{"new-secret", "old-secret"}, nil)
	if err != nil {
		panic(err)
	}
	body := []byte(exampleBody)
	for _, secret := range []string{"new-secret", "old-secret", "no secret of ours"} {
		header := http.Header{}
		header.Set(webhook.HeaderSignature, webhook.Sign(body, secret))
		fmt.Println(v.Verify(header, body))
	}
	// Output:
	// <nil>
	// <nil>
	// webhook: not verified: signature does not match
}

func ExampleStandard() {
	secret := webhook.GenerateSecret()
	v, err := webhook.NewVerifier([]string{secret.Reveal()}, &webhook.VerifierConfig{Scheme: webhook.Standard})
	if err != nil {
		panic(err)
	}
	signer, err := webhook.NewSigner(secret)
	if err != nil {
		panic(err)
	}

	body := []byte(exampleBody)
	send := func(id string, at time.Time) http.Header {
		header := http.Header{}
		header.Set(webhook.HeaderID, id)
		header.Set(webhook.HeaderTimestamp, fmt.Sprint(at.Unix()))
		header.Set(webhook.HeaderStandardSignature, signer.StandardSignature(id, at, body))
		return header
	}
	fmt.Println(v.Verify(send("evt_1", time.Now()), body))

	captured := send("evt_1", time.Now().Add(-time.Hour))
	fmt.Println(errors.Is(v.Verify(captured, body), webhook.ErrTimestampTooOld))
	// Output:
	// <nil>
	// true
}

func ExampleVerifier_Middleware() {
	v, err := webhook.NewVerifier([]string{"my-secret"}, nil)
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /webhooks/meshia", v.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e, _ := webhook.EventFromContext(r.Context())
		fmt.Println(e.Type, e.SessionID)
		w.WriteHeader(http.StatusAccepted)
	})))

	r := httptest.NewRequest(http.MethodPost, "/webhooks/meshia", strings.NewReader(exampleBody))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(webhook.HeaderSignature, webhook.Sign([]byte(exampleBody), "my-secret"))
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	fmt.Println(w.Code)
	// Output:
	// experiment.completed sess_abc123
	// 202
}

func ExampleSecret() {
	secret := webhook.NewSecret("my-secret")
	fmt.Println("configured with", secret)
	fmt.Printf("%+v\n", struct{ Webhook webhook.Secret }{secret})
	fmt.Println(len(secret.Reveal()), "bytes")
	// Output:
	// configured with whsec_***
	// {Webhook:whsec_***}
	// 9 bytes
}
