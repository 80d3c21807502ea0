package webhook_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

func TestTheDocumentedEventTypes(t *testing.T) {
	t.Parallel()
	var names []string
	for _, et := range webhook.DefaultRegistry().Types() {
		names = append(names, et.Name())
		require.NotEmpty(t, et.Description())
		require.True(t, json.Valid(et.Example()))
		e, err := webhook.DefaultRegistry().Event(et.Name(), "sess_1", et.Example())
		require.NoError(t, err, "an example is data of its type")
		require.Equal(t, string(et.Example()), string(e.Data()))
		require.NotContains(t, string(et.Example()), `:""`, "an example shows every field: %s", et.Name())
	}
	require.Equal(t, []string{
		"session.started", "session.stopped", "experiment.completed", "experiment.failed",
		"plan.completed", "plan.needs_input", "workflow.completed", "workflow.failed",
	}, names)
	require.JSONEq(t, `{"experiment_id":"exp_def456","metrics":{"loss":0.0342,"accuracy":0.921},"duration_seconds":1847}`, string(webhook.ExperimentCompleted.Example()))
	require.Equal(t, "ping", webhook.Ping().Name())
	_, ok := webhook.DefaultRegistry().Lookup("ping")
	require.False(t, ok)
}

func TestMalformedEventTypesPanic(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", ".", "a.", ".a", "a..b", "A", "a b", "a-b", "ä", "a\n", "ping", "*", strings.Repeat("a", 65)} {
		require.Panics(t, func() { webhook.NewEventType(name, "", 0) }, "%q", name)
	}
	for _, name := range []string{"a", "a.b", "a_1.b_2.c", "0", strings.Repeat("a", 64)} {
		require.NotPanics(t, func() { webhook.NewEventType(name, "", 0) }, "%q", name)
	}
	require.Panics(t, func() { webhook.NewEventType("a", "", func() {}) }, "an example that does not marshal")
}

func TestARegistryOfOnesOwnTypes(t *testing.T) {
	t.Parallel()
	type invoice struct {
		Amount int `json:"amount"`
	}
	paid := webhook.NewEventType("invoice.paid", "An invoice is paid.", invoice{1200})
	void := webhook.NewEventType("invoice.void", "An invoice is void.", invoice{1200}) // two types may share their data
	r := webhook.NewRegistry(append(webhook.DefaultRegistry().Types(), paid, void)...)
	require.Len(t, r.Types(), 10)
	r.Types()[0] = void
	require.Equal(t, "session.started", r.Types()[0].Name(), "a registry does not change")
	et, ok := r.Lookup("invoice.void")
	require.True(t, ok)
	require.Equal(t, "An invoice is void.", et.Description())

	require.PanicsWithValue(t, `webhook: NewRegistry: two event types are named "invoice.paid"`, func() { webhook.NewRegistry(paid, paid) })
	require.Panics(t, func() { webhook.NewRegistry(webhook.Ping()) }, "pings are the dispatcher's")
}

func TestTheUntypedDoor(t *testing.T) {
	t.Parallel()
	r := webhook.DefaultRegistry()
	e, err := r.Event("experiment.failed", "sess_1", json.RawMessage(" { \"error\" : \"\\u0041<\" , \"new\":[1.0,1e2] }\n"), webhook.WithID("mine"))
	require.NoError(t, err)
	require.Contains(t, string(e.Body), `"data":{ "error" : "\u0041<" , "new":[1.0,1e2] }}`, "byte for byte, unknown fields kept")
	data, err := webhook.ExperimentFailed.Decode(e)
	require.NoError(t, err)
	require.Equal(t, "A<", data.Error)

	for name, c := range map[string]struct {
		event, data string
		want        error
	}{
		"unknown type":     {"never.heard", `{}`, webhook.ErrUnknownEventType},
		"ping":             {"ping", `{}`, webhook.ErrUnknownEventType},
		"no data":          {"plan.completed", ``, webhook.ErrInvalidData},
		"null":             {"plan.completed", ` null`, webhook.ErrInvalidData},
		"not UTF-8":        {"plan.completed", "{\"plan_id\":\"\xff\"}", webhook.ErrInvalidData},
		"not JSON":         {"plan.completed", `{`, webhook.ErrInvalidData},
		"two values":       {"plan.completed", `{}{}`, webhook.ErrInvalidData},
		"injected fields":  {"plan.completed", `{}},"event":"x",{"a":{}`, webhook.ErrInvalidData},
		"another shape":    {"plan.completed", `[]`, webhook.ErrInvalidData},
		"a field mistyped": {"plan.completed", `{"plan_id":7}`, webhook.ErrInvalidData},
	} {
		_, err := r.Event(c.event, "", json.RawMessage(c.data))
		require.ErrorIs(t, err, c.want, name)
		require.ErrorIs(t, err, webhook.ErrInvalidEvent, name)
	}
	_, err = r.Event("plan.completed", "", json.RawMessage(`{}`), webhook.WithID("a.b"))
	require.ErrorIs(t, err, webhook.ErrInvalidID)
}

func TestDecodingAnotherType(t *testing.T) {
	t.Parallel()
	_, err := webhook.PlanCompleted.Decode(experiment())
	require.ErrorIs(t, err, webhook.ErrUnknownEventType)
	e, err := webhook.ParseEvent("", []byte(`{"event":"plan.completed","timestamp":"2026-04-11T14:32:00Z","data":[]}`))
	require.NoError(t, err)
	_, err = webhook.PlanCompleted.Decode(e)
	require.ErrorIs(t, err, webhook.ErrInvalidData)
	e, err = webhook.ParseEvent("", []byte(`{"event":"plan.completed","timestamp":"2026-04-11T14:32:00Z"}`))
	require.NoError(t, err)
	_, err = webhook.PlanCompleted.Decode(e)
	require.ErrorIs(t, err, webhook.ErrInvalidData, "no data")
}
