package uses

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/meshia/webhook"
)

// Trigger an external system: when a session stops, the billing system closes its account.
//
// The event's id goes along as an idempotency key: events may come more than once, and the other system can then see
// that it has done this already.
func Example_triggerAnExternalSystem() {
	billing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var call map[string]any
		_ = json.NewDecoder(r.Body).Decode(&call)
		fmt.Println("billing:", r.Method, r.URL.Path, r.Header.Get("Idempotency-Key"), call)
	}))
	defer billing.Close()
	client := &http.Client{Timeout: 5 * time.Second} // less than the sender waits

	receiver := newReceiver()
	webhook.Handle(receiver, webhook.SessionStopped, func(ctx context.Context, e webhook.Event, data webhook.SessionStoppedData) error {
		body, err := json.Marshal(map[string]any{"seconds": data.DurationSeconds})
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, billing.URL+"/sessions/"+e.SessionID+"/close", bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", e.ID)
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode > 299 {
			return fmt.Errorf("billing answered %s", resp.Status)
		}
		return nil
	})

	send(receiver, webhook.SessionStopped.New("sess_abc123", webhook.SessionStoppedData{StoppedBy: webhook.StoppedByUser, DurationSeconds: 5412}, webhook.WithID("evt_1")))
	// Output:
	// billing: POST /sessions/sess_abc123/close evt_1 map[seconds:5412]
	// session.stopped answered 204
}
