package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/meshia/webhook"
)

// delivery is a delivery in the log. Bodies are strings and not embedded JSON: a string keeps the exact bytes, which
// is what was signed.
type delivery struct {
	ID            string     `json:"id"`
	EventID       string     `json:"event_id"`
	Event         string     `json:"event"` // the event's type
	Webhook       string     `json:"webhook"`
	State         string     `json:"state"`  // pending, leased, succeeded or failed
	Reason        *string    `json:"reason"` // why it failed
	CreatedAt     time.Time  `json:"created_at"`
	NextAttemptAt *time.Time `json:"next_attempt_at"` // null: none is to come
	RequestBody   *string    `json:"request_body"`    // null: no longer stored
	Attempts      []attempt  `json:"attempts"`        // in order
}

type attempt struct {
	Number    int       `json:"number"`
	StartedAt time.Time `json:"started_at"`
	outcome
	ResponseBody *string `json:"response_body"` // encoding/json replaces what is not UTF-8 in it. null: no response
}

// deliveries is GET /deliveries?webhook=&event=&state=&limit=&cursor=, the log of every attempt, the newest delivery
// first. webhook is an id, event a type's name, limit 1 to 200 (50 without it). An answer's next_cursor, as cursor,
// asks for the page after it, whatever came meanwhile; it is empty after the last one.
//
//	200 {"deliveries": [{...}], "next_cursor": ""}
func (a *api) deliveries(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	filter, err := a.filter(r.URL)
	if err != nil {
		return 0, nil, err
	}
	page, err := a.d.Deliveries(r.Context(), filter)
	if err != nil {
		return 0, nil, err
	}
	out := struct {
		Deliveries []delivery `json:"deliveries"`
		NextCursor string     `json:"next_cursor"`
	}{make([]delivery, len(page.Deliveries)), page.NextCursor}
	bodies := make(map[string]*string) // by event: many deliveries have one
	for i := range page.Deliveries {
		d := &page.Deliveries[i]
		if _, known := bodies[d.EventID]; !known {
			if bodies[d.EventID], err = a.body(r.Context(), d.EventID); err != nil {
				return 0, nil, err
			}
		}
		out.Deliveries[i] = newDelivery(d, bodies[d.EventID])
	}
	return http.StatusOK, out, nil
}

func (a *api) filter(u *url.URL) (webhook.DeliveryFilter, error) {
	var f webhook.DeliveryFilter
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return f, badRequest("the query is malformed")
	}
	for name, values := range query {
		if len(values) > 1 {
			return f, badRequest("%q is given more than once", name)
		}
		value := values[0]
		switch name {
		case "webhook":
			f.EndpointID = value
		case "event":
			f.EventType = value
			if _, known := a.types.Lookup(value); !known && value != "" && value != webhook.Ping().Name() {
				return f, badRequest("there is no event type %q", value)
			}
		case "state":
			f.State = webhook.DeliveryState(value)
			if states := []webhook.DeliveryState{
				"", webhook.DeliveryPending, webhook.DeliveryLeased, webhook.DeliverySucceeded, webhook.DeliveryFailed,
			}; !slices.Contains(states, f.State) {
				return f, badRequest("there is no state %q", value)
			}
		case "limit":
			if value == "" {
				continue
			}
			if f.Limit, err = strconv.Atoi(value); err != nil || f.Limit < 1 || f.Limit > webhook.MaxPage {
				return f, badRequest("limit must be a number from 1 to %d", webhook.MaxPage)
			}
		case "cursor":
			f.Cursor = value
		default:
			return f, badRequest("there is no parameter %q", name)
		}
	}
	return f, nil
}

func (a *api) body(ctx context.Context, eventID string) (*string, error) {
	e, err := a.d.Event(ctx, eventID)
	if errors.Is(err, webhook.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return new(string(e.Body)), nil
}

func newDelivery(d *webhook.Delivery, body *string) delivery {
	out := delivery{
		ID: d.ID, EventID: d.EventID, Event: d.EventType, Webhook: d.EndpointID, State: string(d.State), CreatedAt: d.CreatedAt,
		RequestBody: body, Attempts: make([]attempt, len(d.Attempts)),
	}
	if d.Reason != "" {
		out.Reason = new(string(d.Reason))
	}
	if !d.NextAttemptAt.IsZero() {
		out.NextAttemptAt = &d.NextAttemptAt
	}
	for i, a := range d.Attempts {
		out.Attempts[i] = attempt{Number: a.Number, StartedAt: a.StartedAt, outcome: newOutcome(a)}
		if a.Status != 0 {
			out.Attempts[i].ResponseBody = new(string(a.ResponseBody))
		}
	}
	return out
}
