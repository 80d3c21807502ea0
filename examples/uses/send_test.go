package uses

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/meshia/webhook"
)

const secret = "my-secret"

// newReceiver is what every receiver begins with. It refuses requests that are not signed with the secret, and drops
// duplicates.
func newReceiver() *webhook.Receiver {
	v, err := webhook.NewVerifier([]string{secret}, nil)
	if err != nil {
		panic(err)
	}
	return webhook.NewReceiver(v, nil)
}

// send makes the request that the emitting side makes for each event, and prints what the receiver answers.
func send(receiver http.Handler, events ...webhook.Event) {
	for _, e := range events {
		r := httptest.NewRequest(http.MethodPost, "/webhooks", bytes.NewReader(e.Body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set(webhook.HeaderID, e.ID)
		r.Header.Set(webhook.HeaderSignature, webhook.Sign(e.Body, secret))
		answer := httptest.NewRecorder()
		receiver.ServeHTTP(answer, r)
		fmt.Println(e.Type, "answered", answer.Code)
	}
}
