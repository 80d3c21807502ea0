package webhook_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// TestTheBoundsOfAnEvent has the last value on each side of every bound.
func TestTheBoundsOfAnEvent(t *testing.T) {
	t.Parallel()
	pairs := func(n, size int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprintf("%02d", i)] = ""
		}
		m["00"] = strings.Repeat("x", size-2*n)
		return m
	}
	year := func(y int) time.Time { return time.Date(y, 7, 1, 0, 0, 0, 0, time.UTC) }
	for name, c := range map[string]struct {
		session string
		opts    []webhook.EventOption
		want    error
	}{
		"every character of an id": {"", []webhook.EventOption{webhook.WithID("azAZ09_-")}, nil},
		"before a":                 {"", []webhook.EventOption{webhook.WithID("`")}, webhook.ErrInvalidID},
		"after z":                  {"", []webhook.EventOption{webhook.WithID("{")}, webhook.ErrInvalidID},
		"before A":                 {"", []webhook.EventOption{webhook.WithID("@")}, webhook.ErrInvalidID},
		"after Z":                  {"", []webhook.EventOption{webhook.WithID("[")}, webhook.ErrInvalidID},
		"before 0":                 {"", []webhook.EventOption{webhook.WithID("/")}, webhook.ErrInvalidID},
		"after 9":                  {"", []webhook.EventOption{webhook.WithID(":")}, webhook.ErrInvalidID},
		"an id of 64":              {"", []webhook.EventOption{webhook.WithID(strings.Repeat("a", 64))}, nil},
		"an id of 65":              {"", []webhook.EventOption{webhook.WithID(strings.Repeat("a", 65))}, webhook.ErrInvalidID},
		"an id of none":            {"", []webhook.EventOption{webhook.WithID("")}, webhook.ErrInvalidID},
		"a session of 255":         {strings.Repeat("s", 255), nil, nil},
		"a session of 256":         {strings.Repeat("s", 256), nil, webhook.ErrInvalidEvent},
		"the year 0":               {"", []webhook.EventOption{webhook.WithTime(year(0))}, nil},
		"the year -1":              {"", []webhook.EventOption{webhook.WithTime(year(-1))}, webhook.ErrInvalidEvent},
		"the year 9999":            {"", []webhook.EventOption{webhook.WithTime(year(9999))}, nil},
		"the year 10000":           {"", []webhook.EventOption{webhook.WithTime(year(10000))}, webhook.ErrInvalidEvent},
		"16 pairs of 4 KiB":        {"", []webhook.EventOption{webhook.WithMetadata(pairs(16, 4096))}, nil},
		"17 pairs":                 {"", []webhook.EventOption{webhook.WithMetadata(pairs(17, 100))}, webhook.ErrInvalidEvent},
		"over 4 KiB":               {"", []webhook.EventOption{webhook.WithMetadata(pairs(16, 4097))}, webhook.ErrInvalidEvent},
		"a name that is no text":   {"", []webhook.EventOption{webhook.WithMetadata(map[string]string{"\xff": ""})}, webhook.ErrInvalidEvent},
		"a value that is no text":  {"", []webhook.EventOption{webhook.WithMetadata(map[string]string{"": "\xff"})}, webhook.ErrInvalidEvent},
	} {
		r := newRig(t, webhooktest.NewReceiver(t), nil)
		e := webhook.PlanCompleted.New(c.session, webhook.PlanCompletedData{}, c.opts...)
		require.ErrorIs(t, r.d.Emit(r.ctx, e), c.want, name)
		if c.want != nil {
			require.Empty(t, e.Body, name)
		}
	}
}

func TestANameOf64BytesIsAnEventTypes(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]error{64: nil, 65: webhook.ErrNotAnEvent} {
		body := `{"event":"` + strings.Repeat("a", n) + `","timestamp":"2026-04-11T14:32:00Z","session_id":"","data":null}`
		_, err := webhook.ParseEvent("", []byte(body))
		require.ErrorIs(t, err, want, n)
	}
}

// Where this process made the body it need not look for the data in it.
func TestDataOfAMadeEventIsCutOutOfItsBody(t *testing.T) {
	t.Parallel()
	e := webhook.PlanCompleted.New("", webhook.PlanCompletedData{PlanID: "p"})
	data := e.Data()
	require.Same(t, &e.Body[len(e.Body)-1-len(data)], &data[0])
}
