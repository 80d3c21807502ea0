package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

const hook = "https://example.com/hook"

var quiet = slog.New(slog.DiscardHandler)

func newLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// rig is the service's interface over a memory store, with a scripted receiver behind an in-memory transport, in a
// bubble of simulated time.
type rig struct {
	t        *testing.T
	d        *webhook.Dispatcher
	api      http.Handler
	receiver *webhooktest.Receiver
}

// inBubble runs f with a rig whose dispatcher runs, with the flags' defaults. change may be nil.
func inBubble(t *testing.T, change func(*webhook.Config), f func(*testing.T, *rig), answers ...webhooktest.Answer) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, change, answers...)
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- r.d.Run(ctx) }()
		f(t, r)
		stop()
		require.NoError(t, <-done)
	})
}

// newRig makes a rig whose dispatcher does not run.
func newRig(t *testing.T, bounds *webhook.MemoryConfig, change func(*webhook.Config), answers ...webhooktest.Answer) *rig {
	t.Helper()
	receiver := webhooktest.NewReceiver(t, answers...)
	flags, err := parse(nil, nil)
	require.NoError(t, err)
	cfg := flags.dispatcher(quiet)
	cfg.UnguardedTransport = webhooktest.Transport(receiver)
	if change != nil {
		change(cfg)
	}
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(bounds), cfg)
	require.NoError(t, err)
	return &rig{t, d, newAPI(d, webhook.DefaultRegistry(), quiet), receiver}
}

// do makes a request and returns the answer, which is always JSON.
func (r *rig) do(method, target, body string) (int, []byte) {
	r.t.Helper()
	w := httptest.NewRecorder()
	r.api.ServeHTTP(w, httptest.NewRequestWithContext(r.t.Context(), method, target, strings.NewReader(body)))
	require.Equal(r.t, "application/json", w.Header().Get("Content-Type"))
	require.True(r.t, json.Valid(w.Body.Bytes()), w.Body.String())
	return w.Code, w.Body.Bytes()
}

// refused makes a request that is to be answered with an error, and returns its text.
func (r *rig) refused(status int, method, target, body string) string {
	r.t.Helper()
	got, answer := r.do(method, target, body)
	require.Equal(r.t, status, got, "%s", answer)
	var fields map[string]string
	require.NoError(r.t, json.Unmarshal(answer, &fields))
	require.Len(r.t, fields, 1)
	require.NotEmpty(r.t, fields["error"])
	require.NotContains(r.t, fields["error"], "\n")
	return fields["error"]
}

// added is the answer to POST /webhooks.
type added struct {
	ID     string  `json:"id"`
	State  string  `json:"state"`
	Secret *string `json:"secret"`
	Ping   struct {
		Status    *int    `json:"status"`
		LatencyMS int     `json:"latency_ms"`
		Error     *string `json:"error"`
	} `json:"ping"`
}

func (r *rig) add(body string) added {
	r.t.Helper()
	status, answer := r.do(http.MethodPost, "/webhooks", body)
	require.Equal(r.t, http.StatusCreated, status, "%s", answer)
	var a added
	requireFields(r.t, answer, &a)
	return a
}

func (r *rig) addAll() added {
	r.t.Helper()
	return r.add(`{"url":"` + hook + `","events":["*"]}`)
}

func (r *rig) emit(body string) []string {
	r.t.Helper()
	status, answer := r.do(http.MethodPost, "/emit", body)
	require.Equal(r.t, http.StatusAccepted, status, "%s", answer)
	var ids struct {
		IDs []string `json:"ids"`
	}
	requireFields(r.t, answer, &ids)
	return ids.IDs
}

// logged is the answer to GET /deliveries, as another program sees it.
type logged struct {
	Deliveries []struct {
		ID            string     `json:"id"`
		EventID       string     `json:"event_id"`
		Event         string     `json:"event"`
		Webhook       string     `json:"webhook"`
		State         string     `json:"state"`
		Reason        *string    `json:"reason"`
		CreatedAt     time.Time  `json:"created_at"`
		NextAttemptAt *time.Time `json:"next_attempt_at"`
		RequestBody   *string    `json:"request_body"`
		Attempts      []struct {
			Number       int       `json:"number"`
			StartedAt    time.Time `json:"started_at"`
			Status       *int      `json:"status"`
			LatencyMS    int       `json:"latency_ms"`
			Error        *string   `json:"error"`
			ResponseBody *string   `json:"response_body"`
		} `json:"attempts"`
	} `json:"deliveries"`
	NextCursor string `json:"next_cursor"`
}

func (r *rig) log(query string) logged {
	r.t.Helper()
	status, answer := r.do(http.MethodGet, "/deliveries?"+query, "")
	require.Equal(r.t, http.StatusOK, status, "%s", answer)
	var l logged
	requireFields(r.t, answer, &l)
	return l
}

// eventIDs are the events of a page, in order.
func (l *logged) eventIDs() []string {
	ids := []string{}
	for _, d := range l.Deliveries {
		ids = append(ids, d.EventID)
	}
	return ids
}

// requireFields reads an answer, which must have exactly the fields of into, all of them: marshalled again it is the
// same document.
func requireFields(t *testing.T, answer []byte, into any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(answer, into))
	again, err := json.Marshal(into)
	require.NoError(t, err)
	require.JSONEq(t, string(again), string(answer))
}

// stoppedEvent is an event as POST /emit takes it.
func stoppedEvent(id string) string {
	return `{"event":"session.stopped","session_id":"sess_abc123","id":"` + id + `","data":{"stopped_by":"user","duration_seconds":5412}}`
}
