package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/meshia/webhook"
)

const maxEmitBytes = 1 << 20

// emission is an event as it comes to POST /emit.
type emission struct {
	Event     string          `json:"event"`
	SessionID string          `json:"session_id"`
	Data      json.RawMessage `json:"data"`
	ID        *string         `json:"id"`
}

// emit is POST /emit, of one event or an array of them, of which all are stored or none.
//
//	{"event": "session.stopped", "session_id": "sess_abc123", "data": {...}, "id": "evt_1"}
//
// The data must be that of the event's type. It is sent as it is here, byte for byte, with the fields that the type
// does not know. The id is optional; the same event with the same id is stored once, however often it comes. The
// answer says that the events are stored, and that every active webhook that subscribes to them will get them, or is
// seen to fail:
//
//	202 {"ids": ["evt_1"]}
func (a *api) emit(w http.ResponseWriter, r *http.Request) (int, any, error) {
	body, err := readBody(w, r, maxEmitBytes)
	if err != nil {
		return 0, nil, err
	}
	in := make([]emission, 1)
	array := bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("["))
	if array {
		err = decode(body, &in)
	} else {
		err = decode(body, &in[0])
	}
	if err != nil {
		return 0, nil, err
	}

	events, ids := make([]webhook.Event, len(in)), make([]string, len(in))
	for i := range in {
		if events[i], err = a.event(&in[i]); err != nil {
			if array {
				err = fmt.Errorf("%w (event %d)", err, i)
			}
			return 0, nil, err
		}
		ids[i] = events[i].ID
	}
	if err := a.d.Emit(r.Context(), events...); err != nil {
		return 0, nil, err
	}
	a.log.Info("events accepted", "count", len(events))
	return http.StatusAccepted, map[string][]string{"ids": ids}, nil
}

func (a *api) event(in *emission) (webhook.Event, error) {
	var opts []webhook.EventOption
	if in.ID != nil {
		if *in.ID == "" { // an event whose key got lost would be a new one each time
			return webhook.Event{}, badRequest("the id is empty: leave it out to have one made")
		}
		opts = append(opts, webhook.WithID(*in.ID))
	}
	if in.Data == nil || bytes.Equal(in.Data, []byte("null")) { // encoding/json takes null for any type's zero value
		return webhook.Event{}, badRequest("the data is missing")
	}
	return a.types.Event(in.Event, in.SessionID, in.Data, opts...)
}
