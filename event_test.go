package webhook_test

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

func TestTheBodyIsTheDocumentedOne(t *testing.T) {
	t.Parallel()
	e := webhook.ExperimentCompleted.New("sess_abc123", webhook.ExperimentCompletedData{
		ExperimentID: "exp_def456", Metrics: webhook.Metrics{"loss": 0.0342, "accuracy": 0.921}, DurationSeconds: 1847,
	}, webhook.WithTime(time.Date(2026, 4, 11, 16, 32, 0, 999_999_999, time.FixedZone("CEST", 7200))))
	require.Equal(t, `{"event":"experiment.completed","timestamp":"2026-04-11T14:32:00Z","session_id":"sess_abc123",`+
		`"data":{"experiment_id":"exp_def456","metrics":{"accuracy":0.921,"loss":0.0342},"duration_seconds":1847}}`, string(e.Body))
	require.Equal(t, "experiment.completed", e.Type)
	require.Regexp(t, `^evt_[0-9a-z]{37}$`, e.ID)
	require.Equal(t, time.Date(2026, 4, 11, 14, 32, 0, 0, time.UTC), e.Time)
}

func TestTextComesThroughAsItIs(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "plain", `"quoted" \ back`, "<b>&amp;</b>", "naïve ☃ 😀", "line\nbreak\ttab", "\u2028", "soh\x01", "del\x7f"} {
		e := webhook.ExperimentFailed.New(text, webhook.ExperimentFailedData{Error: text})
		var body struct {
			SessionID string `json:"session_id"`
			Data      struct{ Error string }
		}
		require.NoError(t, json.Unmarshal(e.Body, &body), "%q", text)
		require.Equal(t, text, body.SessionID)
		require.Equal(t, text, body.Data.Error)

		read, err := webhook.ParseEvent(e.ID, e.Body)
		require.NoError(t, err)
		data, err := webhook.ExperimentFailed.Decode(read)
		require.NoError(t, err)
		require.Equal(t, text, data.Error)
		require.Equal(t, e.Digest(), read.Digest(), "an event that went over the wire is the same event")
		require.Equal(t, e.Data(), read.Data())
	}
	require.Contains(t, string(webhook.ExperimentFailed.New("", webhook.ExperimentFailedData{Error: "a < b && c"}).Body), "a < b && c", "people read it too")
}

func TestMetricsWithoutANumberAreNull(t *testing.T) {
	t.Parallel()
	m := webhook.Metrics{"nan": math.NaN(), "inf": math.Inf(1), "ninf": math.Inf(-1), "one": 1, "tiny": 1e-7, "huge": 1e21, "below": 123456789012345678901, "small": 0.000001, "neg": -2.5, "zero": 0, `odd "name"`: 3}
	raw, err := json.Marshal(m)
	require.NoError(t, err)
	require.Equal(t, `{"below":123456789012345680000,"huge":1e+21,"inf":null,"nan":null,"neg":-2.5,"ninf":null,"odd \"name\"":3,"one":1,"small":0.000001,"tiny":1e-07,"zero":0}`, string(raw))

	var back webhook.Metrics
	require.NoError(t, json.Unmarshal(raw, &back))
	require.Len(t, back, len(m))
	for name, v := range m {
		if math.IsInf(v, 0) || math.IsNaN(v) {
			require.True(t, math.IsNaN(back[name]), name)
		} else {
			require.Equal(t, v, back[name], name)
		}
	}

	raw, err = json.Marshal(webhook.Metrics(nil))
	require.NoError(t, err)
	require.Equal(t, `{}`, string(raw))
	untouched := webhook.Metrics{"a": 1}
	require.NoError(t, json.Unmarshal([]byte(`null`), &untouched))
	require.Equal(t, webhook.Metrics{"a": 1}, untouched, "as encoding/json treats null")
	require.Error(t, json.Unmarshal([]byte(`{"a":"1"}`), &back))
	require.Error(t, json.Unmarshal([]byte(`[1]`), &back))
}

func TestWhatIsNotAnEventIsRefused(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"nothing":            ``,
		"not JSON":           `{"event":`,
		"another value":      `"experiment.completed"`,
		"an array":           `[]`,
		"null":               `null`,
		"no event":           `{"timestamp":"2026-04-11T14:32:00Z","session_id":"s","data":{}}`,
		"event not a string": `{"event":1,"timestamp":"2026-04-11T14:32:00Z"}`,
		"event not a name":   `{"event":"Experiment Completed","timestamp":"2026-04-11T14:32:00Z"}`,
		"event empty":        `{"event":"","timestamp":"2026-04-11T14:32:00Z"}`,
		"event too long":     `{"event":"` + strings.Repeat("a", 65) + `","timestamp":"2026-04-11T14:32:00Z"}`,
		"no timestamp":       `{"event":"plan.completed"}`,
		"a date only":        `{"event":"plan.completed","timestamp":"2026-04-11"}`,
		"a number":           `{"event":"plan.completed","timestamp":1775917920}`,
		"trailing bytes":     `{"event":"plan.completed","timestamp":"2026-04-11T14:32:00Z"} {}`,
	} {
		_, err := webhook.ParseEvent("evt_1", []byte(body))
		require.ErrorIs(t, err, webhook.ErrNotAnEvent, name)
	}
	body := []byte(`{"new":1, "data":[1, 2],"event":"plan.completed","timestamp":"2026-04-11T16:32:00.5+02:00"}`)
	e, err := webhook.ParseEvent("evt_1", body)
	require.NoError(t, err, "fields may be added, and come in any order")
	require.Equal(t, `[1, 2]`, string(e.Data()))
	require.Equal(t, time.Date(2026, 4, 11, 14, 32, 0, 5e8, time.UTC), e.Time)
	body[2] = 'N'
	require.Equal(t, byte('n'), e.Body[2], "the event keeps bytes of its own")
}

func TestEqualEventsHaveEqualDigests(t *testing.T) {
	t.Parallel()
	e := experiment(webhook.WithTime(time.Unix(1, 0)))
	require.Equal(t, e.Digest(), experiment(webhook.WithTime(time.Unix(2, 0)), webhook.WithID("other"), webhook.WithMetadata(map[string]string{"a": "b"})).Digest())
	digests := map[[32]byte]bool{e.Digest(): true}
	for _, other := range []webhook.Event{
		webhook.ExperimentCompleted.New("sess_other", webhook.ExperimentCompletedData{ExperimentID: "exp_def456", Metrics: webhook.Metrics{"loss": 0.0342, "accuracy": 0.921}, DurationSeconds: 1847}),
		webhook.ExperimentCompleted.New("sess_abc123", webhook.ExperimentCompletedData{ExperimentID: "exp_def456", DurationSeconds: 1847}),
		webhook.NewEventType("a", "", "").New("bc", ""),
		webhook.NewEventType("ab", "", "").New("c", ""),
	} {
		require.False(t, digests[other.Digest()])
		digests[other.Digest()] = true
	}
}

func TestOptionsDoNotReachBack(t *testing.T) {
	t.Parallel()
	pairs := map[string]string{"trace": "1"}
	e := experiment(webhook.WithMetadata(pairs), webhook.WithID("mine-1"))
	pairs["trace"] = "2"
	require.Equal(t, "1", e.Metadata["trace"])
	require.Equal(t, "mine-1", e.ID)
	require.NotContains(t, string(e.Body), "trace", "metadata is not sent")
}

// TestAnEventThatWasChangedIsCheckedAgain changes what a made event was made with: what New checked holds no more.
func TestAnEventThatWasChangedIsCheckedAgain(t *testing.T) {
	t.Parallel()
	answer := roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	})
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), &webhook.Config{UnguardedTransport: answer, Logger: quiet})
	require.NoError(t, err)
	endpoint, _, err := d.AddEndpoint(t.Context(), webhook.Endpoint{URL: "https://example.com/", Events: []string{"*"}}, webhook.WithoutPing())
	require.NoError(t, err)
	short := []byte(`{"event":"experiment.failed","timestamp":"2026-04-11T14:32:00Z","data":1}`)
	for name, c := range map[string]struct {
		change func(*webhook.Event)
		want   error
	}{
		"an id of another form":            {func(e *webhook.Event) { e.ID = "evt.1" }, webhook.ErrInvalidID},
		"no id":                            {func(e *webhook.Event) { e.ID = "" }, webhook.ErrInvalidID},
		"another type":                     {func(e *webhook.Event) { e.Type = "plan.completed" }, webhook.ErrInvalidEvent},
		"another time":                     {func(e *webhook.Event) { e.Time = e.Time.Add(time.Second) }, webhook.ErrInvalidEvent},
		"another session":                  {func(e *webhook.Event) { e.SessionID = "s" }, webhook.ErrInvalidEvent},
		"a session that is no text":        {func(e *webhook.Event) { e.SessionID = "\xff\x00" }, webhook.ErrInvalidEvent},
		"metadata that is no text":         {func(e *webhook.Event) { e.Metadata = map[string]string{"a": "\x00"} }, webhook.ErrInvalidEvent},
		"data that is none":                {func(e *webhook.Event) { e.Body = bytes.Replace(e.Body, []byte(`"data":{`), []byte(`"data":[`), 1) }, webhook.ErrInvalidEvent},
		"other data":                       {func(e *webhook.Event) { e.Body = bytes.Replace(e.Body, []byte(`"error":""`), []byte(`"error":"x"`), 1) }, nil},
		"another good id":                  {func(e *webhook.Event) { e.ID = "mine" }, nil},
		"no body":                          {func(e *webhook.Event) { e.Body = nil }, webhook.ErrInvalidEvent},
		"a body that breaks off":           {func(e *webhook.Event) { e.Body = e.Body[:20] }, webhook.ErrInvalidEvent},
		"only data's name is left":         {func(e *webhook.Event) { e.Body = e.Body[:len(e.Body)-len(e.Data())-1] }, webhook.ErrInvalidEvent},
		"a shorter event":                  {func(e *webhook.Event) { e.Body = short }, nil},
		"a shorter event's id":             {func(e *webhook.Event) { e.Body, e.ID = short, "evt.1" }, webhook.ErrInvalidID},
		"a shorter event without its data": {func(e *webhook.Event) { e.Body = bytes.Replace(short, []byte(`,"data":1`), nil, 1) }, webhook.ErrInvalidEvent},
		"a shorter event's time":           {func(e *webhook.Event) { e.Body, e.Time = short, e.Time.Add(time.Second) }, webhook.ErrInvalidEvent},
		"a shorter event's type":           {func(e *webhook.Event) { e.Body, e.Type = short, "plan.completed" }, webhook.ErrInvalidEvent},
		"a shorter event's session":        {func(e *webhook.Event) { e.Body, e.SessionID = short, "s" }, webhook.ErrInvalidEvent},
	} {
		e := webhook.ExperimentFailed.New("", webhook.ExperimentFailedData{}, webhook.WithTime(time.Date(2026, 4, 11, 14, 32, 0, 0, time.UTC)))
		c.change(&e)
		require.ErrorIs(t, d.Emit(t.Context(), e), c.want, name)
		_, err := d.SendTest(t.Context(), endpoint.ID, e)
		require.ErrorIs(t, err, c.want, name)
		if c.want != nil {
			continue
		}
		stored, err := d.Event(t.Context(), e.ID)
		require.NoError(t, err, name)
		require.Equal(t, string(e.Body), string(stored.Body), name)
	}
}
