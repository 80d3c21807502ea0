package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

func TestAddWebhook(t *testing.T) {
	ok := webhooktest.Answer{Status: http.StatusNoContent, Delay: 1500 * time.Microsecond}
	inBubble(t, nil, func(t *testing.T, r *rig) {
		unsigned := r.add(`{"url":"` + hook + `","events":["plan.completed","session.started"]}`)
		require.Regexp(t, `^we_\w+$`, unsigned.ID)
		require.Equal(t, "active", unsigned.State)
		require.Nil(t, unsigned.Secret)
		require.Equal(t, http.StatusNoContent, *unsigned.Ping.Status)
		require.Equal(t, 2, unsigned.Ping.LatencyMS) // rounded up
		require.Nil(t, unsigned.Ping.Error)
		e, err := r.d.Endpoint(t.Context(), unsigned.ID)
		require.NoError(t, err)
		require.Equal(t, []string{"plan.completed", "session.started"}, e.Events)

		typed := r.add(`{"url":"` + hook + `?2","events":["*"],"secret":"somebody typed this","description":"For the team's dashboard"}`)
		require.Nil(t, typed.Secret)
		e, err = r.d.Endpoint(t.Context(), typed.ID)
		require.NoError(t, err)
		require.Equal(t, "For the team's dashboard", e.Description)

		generated := r.add(`{"url":"` + hook + `?3","events":["*"],"secret":"generate"}`)
		require.NoError(t, webhook.NewSecret(*generated.Secret).Validate())
		require.Regexp(t, `^whsec_`, *generated.Secret)
		another := r.add(`{"url":"` + hook + `?4","events":["*"],"secret":"generate"}`)
		require.NotEqual(t, *generated.Secret, *another.Secret)

		pings := r.receiver.Requests() // they came before the answers did
		require.Len(t, pings, 4)
		require.Empty(t, pings[0].Header.Get(webhook.HeaderSignature))
		require.Equal(t, hook+"?2", pings[1].URL)
		require.NoError(t, webhook.Verify(pings[1].Body, pings[1].Header.Get(webhook.HeaderSignature), "somebody typed this"))
		require.NoError(t, webhook.Verify(pings[2].Body, pings[2].Header.Get(webhook.HeaderSignature), *generated.Secret))
	}, ok)
}

func TestAddWebhookThatDoesNotAnswer(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		busy := r.addAll()
		require.Equal(t, "pending", busy.State)
		require.Equal(t, http.StatusServiceUnavailable, *busy.Ping.Status)
		require.Equal(t, "status: answered 503", *busy.Ping.Error)

		silent := r.addAll()
		require.Equal(t, "pending", silent.State)
		require.Nil(t, silent.Ping.Status)
		require.Equal(t, "timeout: no response within the time allowed", *silent.Ping.Error)
		require.Equal(t, 15_000, silent.Ping.LatencyMS)

		r.emit(stoppedEvent("evt_1"))
		require.Empty(t, r.log("event=session.stopped").Deliveries) // a pending webhook gets no events

		pings := r.log("event=ping").Deliveries
		require.Len(t, pings, 2)
		require.Equal(t, silent.ID, pings[0].Webhook)
		require.Equal(t, "failed", pings[0].State)
		require.Nil(t, pings[0].Attempts[0].ResponseBody)
		require.Equal(t, "come back later", *pings[1].Attempts[0].ResponseBody)
	}, webhooktest.Answer{Status: http.StatusServiceUnavailable, Body: "come back later"}, webhooktest.Answer{Fault: webhooktest.Hang})
}

func TestAddWebhookRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, nil)
	for body, want := range map[string]string{
		``:                                    "the body is empty",
		`null`:                                "url: URL is missing",
		`[]`:                                  "the body is not a JSON object",
		`"x"`:                                 "the body is not a JSON object",
		`{"url":`:                             "not the JSON expected: unexpected EOF",
		`{"url":1}`:                           `"url" must not be a JSON number`,
		`{"url":"` + hook + `","events":"*"}`: `"events" must not be a JSON string`,
		`{"url":"` + hook + `","events":["*"],"secrets":["x"]}`:                                      `unknown field "secrets"`,
		`{"url":"` + hook + `","events":["*"]} {}`:                                                   "something follows the JSON document",
		`{"url":"` + hook + `","events":["*"]}x`:                                                     "something follows the JSON document",
		`{"url":"` + hook + `","events":["*"],"description":"` + "\xff" + `"}`:                       "the body is not UTF-8",
		`{"url":"` + hook + `"}`:                                                                     "events: must name event types",
		`{"url":"` + hook + `","events":["plan.finished"]}`:                                          `there is no event type "plan.finished"`,
		`{"url":"` + hook + `","events":["*","plan.completed"]}`:                                     `events: "*" must stand alone`,
		`{"url":"http://example.com/hook","events":["*"]}`:                                           "url: URL must start with https://",
		`{"url":"https://127.0.0.1/hook","events":["*"]}`:                                            "url: IP address is not allowed",
		`{"url":"` + hook + `","events":["*"],"secret":"whsec_short"}`:                               "secret: invalid secret",
		`{"url":"` + hook + `","events":["*"],"description":"` + strings.Repeat("x", 1<<10+1) + `"}`: "description: must be",
		`{"url":"","events":[],"secret":"whsk_x"}`:                                                   "; events: must name event types, or be [\"*\"] for all; secret: ",
	} {
		require.Contains(t, r.refused(http.StatusBadRequest, http.MethodPost, "/webhooks", body), want, body)
	}
	long := `{"url":"` + hook + `","events":["*"],"description":"` + strings.Repeat("x", maxWebhookBytes) + `"}`
	require.Equal(t, "the body is over 65536 bytes", r.refused(http.StatusRequestEntityTooLarge, http.MethodPost, "/webhooks", long))

	all, err := r.d.Endpoints(t.Context())
	require.NoError(t, err)
	require.Empty(t, all)
	require.Empty(t, r.receiver.Requests())
}

func TestTooManyWebhooks(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, func(c *webhook.Config) { c.MaxEndpoints = 1 })
	r.addAll()
	require.Contains(t, r.refused(http.StatusConflict, http.MethodPost, "/webhooks", `{"url":"`+hook+`","events":["*"]}`), "too many endpoints")
}

// A webhook whose ping finds no room is not left behind: whoever tries again would have two.
func TestAddWebhookWhileTheStoreIsFull(t *testing.T) {
	t.Parallel()
	r := newRig(t, &webhook.MemoryConfig{MaxPending: 1}, nil)
	first := r.addAll()
	r.emit(stoppedEvent("evt_1"))
	require.Contains(t, r.refused(http.StatusServiceUnavailable, http.MethodPost, "/webhooks", `{"url":"`+hook+`","events":["*"]}`), "store is full")
	all, err := r.d.Endpoints(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, first.ID, all[0].ID)
}
