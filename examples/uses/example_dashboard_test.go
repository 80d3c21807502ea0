package uses

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/meshia/webhook"
)

// dashboard shows the last result of each session.
type dashboard struct {
	mu   sync.Mutex
	last map[string]result
}

type result struct {
	Experiment string          `json:"experiment"`
	Metrics    webhook.Metrics `json:"metrics"`
	At         time.Time       `json:"at"`
}

func (d *dashboard) completed(_ context.Context, e webhook.Event, data webhook.ExperimentCompletedData) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old, ok := d.last[e.SessionID]; ok && e.Time.Before(old.At) {
		return nil // events may come in another order than they happened in: this one is old news
	}
	d.last[e.SessionID] = result{data.ExperimentID, data.Metrics, e.Time}
	return nil
}

func (d *dashboard) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(d.last) // to a browser that has gone there is nothing to say
}

// Update a dashboard: each experiment that completes puts its metrics there.
func Example_updateADashboard() {
	board := &dashboard{last: map[string]result{}}
	receiver := newReceiver()
	webhook.Handle(receiver, webhook.ExperimentCompleted, board.completed)

	noon := time.Date(2026, 4, 11, 12, 0, 0, 0, time.UTC)
	send(receiver,
		webhook.ExperimentCompleted.New("sess_abc123", webhook.ExperimentCompletedData{ExperimentID: "exp_2", Metrics: webhook.Metrics{"loss": 0.0342}}, webhook.WithTime(noon)),
		webhook.ExperimentCompleted.New("sess_abc123", webhook.ExperimentCompletedData{ExperimentID: "exp_1", Metrics: webhook.Metrics{"loss": 0.0518}}, webhook.WithTime(noon.Add(-time.Hour))),
	)
	page := httptest.NewRecorder()
	board.ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Print(page.Body)
	// Output:
	// experiment.completed answered 204
	// experiment.completed answered 204
	// {"sess_abc123":{"experiment":"exp_2","metrics":{"loss":0.0342},"at":"2026-04-11T12:00:00Z"}}
}
