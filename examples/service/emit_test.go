package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// The data goes out as it came in: white space, escapes, the forms of numbers, fields that nobody knows, one of them
// twice.
func TestEmitKeepsTheBytesOfTheData(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.addAll()
		const data = `{ "metrics" : {"loss":3.420e-2, "acc":null},` + "\n\t" + `"experiment_id":"exp_\u00e9\/é<&>\u2028", "duration_seconds":1847 ,"x":[1,  2.0],"x":12345678901234567890}`
		ids := r.emit("\r\n" + `{"session_id":"sess_<1>", "data":  ` + data + ` ,"event":"experiment.completed"}` + "\n ")
		require.Len(t, ids, 1)
		require.Regexp(t, `^evt_\w+$`, ids[0])

		sent := r.receiver.WaitFor(t.Context(), 2)[1]
		require.Equal(t, `{"event":"experiment.completed","timestamp":"2000-01-01T00:00:00Z","session_id":"sess_<1>","data":`+data+`}`, string(sent.Body))
		require.Equal(t, ids[0], sent.Header.Get(webhook.HeaderID))
		require.Equal(t, string(sent.Body), *r.log("event=experiment.completed").Deliveries[0].RequestBody)
		_, answer := r.do(http.MethodGet, "/deliveries", "")
		require.Contains(t, string(answer), "<&>") // not escaped where JSON need not be
	})
}

func TestEmitSeveral(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.addAll()
		ids := r.emit(` [` + stoppedEvent("evt_1") + `,{"event":"plan.completed","data":{"plan_id":"plan_1"}},` + stoppedEvent("evt_3") + `]`)
		require.Len(t, ids, 3)
		require.Equal(t, "evt_1", ids[0])
		require.Regexp(t, `^evt_\w{10,}$`, ids[1])
		require.Equal(t, "evt_3", ids[2])
		synctest.Wait()
		require.Equal(t, []string{"evt_3", ids[1], "evt_1"}, func() []string { l := r.log("limit=3"); return l.eventIDs() }())

		require.Equal(t, []string{}, r.emit(`[]`))
	})
}

func TestEmitIsAllOrNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, &webhook.MemoryConfig{MaxPending: 3}, nil)
	r.addAll()
	r.emit(stoppedEvent("evt_taken"))
	other := strings.Replace(stoppedEvent("evt_taken"), "5412", "5413", 1)

	require.Equal(t, `invalid event: unknown event type: "session.halted" (event 1)`,
		r.refused(http.StatusBadRequest, http.MethodPost, "/emit", `[`+stoppedEvent("evt_new")+`,{"event":"session.halted","data":{}}]`))
	require.Equal(t, `emit: another event with this id exists: "evt_taken"`,
		r.refused(http.StatusConflict, http.MethodPost, "/emit", `[`+stoppedEvent("evt_new")+`,`+other+`]`))
	require.Contains(t, r.refused(http.StatusConflict, http.MethodPost, "/emit", `[`+stoppedEvent("evt_new")+`,`+strings.Replace(other, "evt_taken", "evt_new", 1)+`]`),
		"comes twice in one request")
	require.Contains(t, r.refused(http.StatusServiceUnavailable, http.MethodPost, "/emit", `[`+stoppedEvent("evt_new")+`,`+stoppedEvent("evt_2")+`,`+stoppedEvent("evt_3")+`]`),
		"store is full")

	_, err := r.d.Event(t.Context(), "evt_new")
	require.ErrorIs(t, err, webhook.ErrNotFound)
	log := r.log("event=session.stopped")
	require.Equal(t, []string{"evt_taken"}, log.eventIDs())

	require.Equal(t, []string{"evt_new", "evt_2"}, r.emit(`[`+stoppedEvent("evt_new")+`,`+stoppedEvent("evt_2")+`]`)) // which do fit
}

func TestEmitTwiceWithOneID(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.addAll()
		for range 3 {
			require.Equal(t, []string{"evt_1"}, r.emit(stoppedEvent("evt_1")))
		}
		require.Equal(t, []string{"evt_1", "evt_1"}, r.emit(`[`+stoppedEvent("evt_1")+`,`+stoppedEvent("evt_1")+`]`))
		synctest.Wait()
		require.Len(t, r.log("event=session.stopped").Deliveries, 1)
		require.Len(t, r.receiver.Requests(), 2) // with the ping
		r.refused(http.StatusConflict, http.MethodPost, "/emit", strings.Replace(stoppedEvent("evt_1"), "sess_abc123", "sess_other", 1))
	})
}

func TestEmitRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, nil)
	r.addAll()
	for body, want := range map[string]string{
		``:                                     "the body is empty",
		`nope`:                                 "not the JSON expected",
		`null`:                                 "the data is missing",
		`7`:                                    "the body is not a JSON object",
		`[7]`:                                  "the body is not a JSON object",
		`{"event":"session.stopped","data":{}`: "unexpected EOF",
		`{"event":"session.stopped","data":{}}{}`:                                         "something follows the JSON document",
		`[{"event":"session.stopped","data":{}}],`:                                        "something follows the JSON document",
		`{"event":"session.stopped"}`:                                                     "the data is missing",
		`[{"event":"session.stopped","data":{}},{"event":"session.stopped","data":null}]`: "the data is missing (event 1)",
		`{"data":{}}`:                `unknown event type: ""`,
		`{"event":"ping","data":{}}`: `unknown event type: "ping"`,
		`{"event":"session.stopped","data":{},"time":"2026-04-11T14:32:00Z"}`:                   `unknown field "time"`,
		`{"event":"session.stopped","data":nope}`:                                               "not the JSON expected",
		`{"event":"session.stopped","data":"{}"}`:                                               "invalid data",
		`{"event":"session.stopped","data":{"duration_seconds":"long"}}`:                        "invalid data",
		`{"event":"session.stopped","data":{},"session_id":7}`:                                  `"session_id" must not be a JSON number`,
		`{"event":"session.stopped","data":{},"session_id":"` + strings.Repeat("s", 256) + `"}`: "session id must be",
		`{"event":"session.stopped","data":{},"id":""}`:                                         "the id is empty",
		`{"event":"session.stopped","data":{},"id":"evt.1"}`:                                    "invalid id",
		`{"event":"session.stopped","data":{"reason":"` + "\xc3\x28" + `"}}`:                    "the body is not UTF-8",
	} {
		require.Contains(t, r.refused(http.StatusBadRequest, http.MethodPost, "/emit", body), want, body)
	}
	require.Empty(t, r.log("event=session.stopped").Deliveries)
}

func TestEmitRefusesWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, nil)
	sized := func(n int) string {
		return `{"event":"session.stopped","data":{"reason":"` + strings.Repeat("r", n) + `"}}`
	}
	r.emit(sized(255 << 10))
	require.Contains(t, r.refused(http.StatusRequestEntityTooLarge, http.MethodPost, "/emit", sized(256<<10)), "event too large")
	require.Equal(t, "the body is over 1048576 bytes", r.refused(http.StatusRequestEntityTooLarge, http.MethodPost, "/emit", sized(maxEmitBytes)))
	require.Len(t, r.emit(`[`+strings.Repeat(sized(200<<10)+`,`, 4)+sized(200<<10)+`]`), 5)
}

func TestEmitWhileTheStoreIsFull(t *testing.T) {
	t.Parallel()
	r := newRig(t, &webhook.MemoryConfig{MaxPending: 1}, nil, webhooktest.Answer{})
	r.addAll()
	r.emit(stoppedEvent("evt_1"))
	require.Contains(t, r.refused(http.StatusServiceUnavailable, http.MethodPost, "/emit", stoppedEvent("evt_2")), "store is full")
	w := httptest.NewRecorder()
	r.api.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/emit", strings.NewReader(stoppedEvent("evt_2"))))
	require.Equal(t, "5", w.Header().Get("Retry-After"))
	require.Equal(t, []string{"evt_1"}, r.emit(stoppedEvent("evt_1"))) // it is stored, and needs no room
}
