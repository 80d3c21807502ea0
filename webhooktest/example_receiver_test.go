package webhooktest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshia/webhook/webhooktest"
)

// How does a sender bear an endpoint that is busy, then does not answer at all, then recovers?
func ExampleReceiver() {
	inTest(func(t *testing.T, out io.Writer) { // func TestSender(t *testing.T)
		synctest.Test(t, func(t *testing.T) {
			receiver := webhooktest.NewReceiver(t,
				webhooktest.Answer{Status: 429, Header: http.Header{"Retry-After": {"3600"}}},
				webhooktest.Answer{Fault: webhooktest.Hang},
				webhooktest.Answer{Status: 204},
			)
			client := &http.Client{Transport: webhooktest.Transport(receiver), Timeout: 15 * time.Second}

			for range 3 {
				resp, err := client.Post("https://example.com/hook", "application/json", strings.NewReader(`{"event":"ping"}`))
				if err != nil {
					fmt.Fprintln(out, "no answer")
					continue
				}
				resp.Body.Close()
				fmt.Fprintln(out, resp.Status)
				time.Sleep(time.Hour)
			}

			requests := receiver.WaitFor(t.Context(), 3)
			for _, r := range requests {
				fmt.Fprintln(out, r.Time.Sub(requests[0].Time), r.Method, r.URL)
			}
		})
	})
	// Output:
	// 429 Too Many Requests
	// no answer
	// 204 No Content
	// 0s POST https://example.com/hook
	// 1h0m0s POST https://example.com/hook
	// 1h0m15s POST https://example.com/hook
}

// Faults are the same over a socket, for senders whose transport is part of what is tested.
func ExampleReceiver_Listen() {
	inTest(func(t *testing.T, out io.Writer) { // func TestSender(t *testing.T)
		receiver := webhooktest.NewReceiver(t, webhooktest.Answer{Body: "half", Fault: webhooktest.CutBody})
		url, roots := receiver.Listen()
		client := &http.Client{Transport: tlsTransport(t, roots)} // TLSClientConfig: &tls.Config{RootCAs: roots}

		resp, err := client.Post(url+"/hook", "application/json", strings.NewReader(`{"event":"ping"}`))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		fmt.Fprintf(out, "%s %q %v\n", resp.Status, body, err)
	})
	// Output: 200 OK "half" unexpected EOF
}
