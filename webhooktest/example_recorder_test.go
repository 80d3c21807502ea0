package webhooktest_test

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// stopSession is the service's code that is tested.
func stopSession(ctx context.Context, d *webhook.Dispatcher, session string) error {
	return d.Emit(ctx, webhook.SessionStopped.New(session, webhook.SessionStoppedData{StoppedBy: webhook.StoppedByUser, DurationSeconds: 5412}))
}

// What did the service emit? Nothing needs to run or to be sent for that.
func ExampleRecord() {
	inTest(func(t *testing.T, out io.Writer) { // func TestStopSession(t *testing.T)
		recorder := webhooktest.Record(webhook.NewMemoryStore(nil))
		d, err := webhook.NewDispatcher(recorder, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := stopSession(t.Context(), d, "sess_abc123"); err != nil {
			t.Fatal(err)
		}

		data := webhooktest.RequireEmitted(t, recorder, webhook.SessionStopped)
		webhooktest.RequireNotEmitted(t, recorder, webhook.WorkflowFailed)
		fmt.Fprintln(out, data.StoppedBy, data.DurationSeconds, recorder.Events()[0].SessionID)
	})
	// Output: user 5412 sess_abc123
}
