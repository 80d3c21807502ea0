package uses

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"github.com/meshia/webhook"
)

// journal is a database of one table: a file with one JSON document on each line.
type journal struct {
	mu   sync.Mutex
	file *os.File
}

type row struct {
	ID    string          `json:"id"` // the primary key
	Event json.RawMessage `json:"event"`
}

// insert returns once the row is on the disk: the answer to the sender says that the event is safe.
func (j *journal) insert(_ context.Context, e webhook.Event) error {
	line, err := json.Marshal(row{e.ID, e.Body})
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		return err
	}
	return j.file.Sync()
}

// Log to your own database: every event, whatever its type, those of later versions included. In a database the event's
// id is the primary key and the insert does nothing on a conflict; here the receiver's memory of ids keeps duplicates
// out.
func Example_logToYourOwnDatabase() {
	dir, err := os.MkdirTemp("", "journal")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file, err := os.OpenFile(filepath.Join(dir, "events.jsonl"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	j := &journal{file: file}

	verifier, err := webhook.NewVerifier([]string{secret}, nil)
	if err != nil {
		panic(err)
	}
	var receiver http.Handler = webhook.NewReceiver(verifier, &webhook.ReceiverConfig{Unhandled: j.insert})

	started := webhook.SessionStarted.New("sess_abc123", webhook.SessionStartedData{Pod: "pod_7f3a", GPU: "H100", GPUCount: 2, ProvisioningSeconds: 94}, webhook.WithID("evt_1"))
	stopped := webhook.SessionStopped.New("sess_abc123", webhook.SessionStoppedData{StoppedBy: webhook.StoppedByAutoIdle, DurationSeconds: 5412}, webhook.WithID("evt_2"))
	send(receiver, started, stopped, started)

	stored, err := os.Open(file.Name())
	if err != nil {
		panic(err)
	}
	defer stored.Close()
	for rows := json.NewDecoder(stored); rows.More(); {
		var r row
		if err := rows.Decode(&r); err != nil {
			panic(err)
		}
		e, err := webhook.ParseEvent(r.ID, r.Event)
		if err != nil {
			panic(err)
		}
		fmt.Println(e.ID, e.Type, e.SessionID, string(e.Data()))
	}
	// Output:
	// session.started answered 204
	// session.stopped answered 204
	// session.started answered 204
	// evt_1 session.started sess_abc123 {"pod":"pod_7f3a","gpu":"H100","gpu_count":2,"provisioning_seconds":94}
	// evt_2 session.stopped sess_abc123 {"stopped_by":"auto_idle","duration_seconds":5412}
}
