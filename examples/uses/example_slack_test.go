package uses

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/meshia/webhook"
)

// slack posts to a Slack incoming webhook, whose URL is a secret of its own.
type slack struct {
	url    string
	client *http.Client
}

// escape is for text that others wrote: in Slack's mark-up these three characters make links and mentions.
var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func (s slack) post(ctx context.Context, format string, texts ...any) error {
	for i := range texts {
		texts[i] = escape.Replace(fmt.Sprint(texts[i]))
	}
	body, err := json.Marshal(map[string]string{"text": fmt.Sprintf(format, texts...)})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return errors.New("the URL of Slack is malformed") // err would put it into the log
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return errors.New("Slack cannot be reached")
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("Slack answered %s", resp.Status)
	}
	return nil
}

// Notify Slack: somebody has a decision to make, or a workflow has halted. An error makes the receiver answer 500, and
// the sender try again.
func Example_notifySlack() {
	channel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var message struct{ Text string }
		_ = json.NewDecoder(r.Body).Decode(&message)
		fmt.Println("#research:", message.Text)
		fmt.Fprint(w, "ok")
	}))
	defer channel.Close()

	s := slack{channel.URL + "/services/T000/B000/token", &http.Client{Timeout: 5 * time.Second}}
	receiver := newReceiver()
	webhook.Handle(receiver, webhook.PlanNeedsInput, func(ctx context.Context, _ webhook.Event, data webhook.PlanNeedsInputData) error {
		var options []string
		for _, o := range data.Options {
			options = append(options, o.Label)
		}
		return s.post(ctx, "*%s needs you:* %s (%s)", data.PlanID, data.Question, strings.Join(options, " / "))
	})
	webhook.Handle(receiver, webhook.WorkflowFailed, func(ctx context.Context, _ webhook.Event, data webhook.WorkflowFailedData) error {
		return s.post(ctx, "*%s halted* at %s: %s", data.Name, data.FailedStep, data.Error)
	})

	send(receiver,
		webhook.PlanNeedsInput.New("sess_abc123", webhook.PlanNeedsInputData{
			PlanID: "plan_ghi789", Question: "Is a loss <0.05 good enough?",
			Options: []webhook.PlanOption{{ID: "yes", Label: "Stop here"}, {ID: "no", Label: "Go on"}},
		}),
		webhook.WorkflowFailed.New("sess_abc123", webhook.WorkflowFailedData{Name: "nightly-eval", FailedStep: "train", Error: "step exited with code 137"}),
	)
	// Output:
	// #research: *plan_ghi789 needs you:* Is a loss &lt;0.05 good enough? (Stop here / Go on)
	// plan.needs_input answered 204
	// #research: *nightly-eval halted* at train: step exited with code 137
	// workflow.failed answered 204
}
