package pgstore

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/meshia/webhook"
)

// endpointColumns are those that endpointRow reads; e is the endpoint and l its lane.
const endpointColumns = `e.tenant, e.id, e.url, e.events, e.description, e.rate, e.burst, e.max_in_flight, e.timeout, e.headers, e.secrets,
	e.version, e.created_at, ` + healthColumns

// endpointRow reads one endpoint.
type endpointRow struct {
	endpoint         webhook.Endpoint
	headers, secrets []byte
	createdAt        time.Time
	health           healthRow
}

func (r *endpointRow) dest() []any {
	e := &r.endpoint
	return append([]any{
		&e.Tenant, &e.ID, &e.URL, &e.Events, &e.Description, &e.Rate, &e.Burst, &e.MaxInFlight, (*int64)(&e.Timeout), &r.headers, &r.secrets,
		&e.Version, &r.createdAt,
	}, r.health.dest()...)
}

func (r *endpointRow) value() (webhook.Endpoint, error) {
	e := r.endpoint
	e.CreatedAt = r.createdAt.UTC()
	e.Health = r.health.value()
	var err error
	if e.StoredHeaders, err = openHeaders(r.headers); err != nil {
		return e, err
	}
	e.Secrets, err = openSecrets(r.secrets)
	return e, err
}

// healthColumns are those that healthRow reads.
const healthColumns = `l.state, l.reason, l.since, l.verified, l.generation, l.window_size, l.slow, l.paused_until, l.failures, l.failing_since,
	l.last_failure, l.last_success, l.accepted_secret`

type healthRow struct {
	health                                                     webhook.Health
	since, pausedUntil, failingSince, lastFailure, lastSuccess *time.Time
}

func (r *healthRow) dest() []any {
	h := &r.health
	return []any{
		&h.State, &h.Reason, &r.since, &h.Verified, &h.Generation, &h.Window, &h.Slow, &r.pausedUntil, &h.Failures, &r.failingSince,
		&r.lastFailure, &r.lastSuccess, &h.AcceptedSecret,
	}
}

func (r *healthRow) value() webhook.Health {
	h := r.health
	h.Since, h.PausedUntil = at(r.since), at(r.pausedUntil)
	h.FailingSince, h.LastFailure, h.LastSuccess = at(r.failingSince), at(r.lastFailure), at(r.lastSuccess)
	return h
}

// storedSecret is a secret as the column secrets holds it.
type storedSecret struct {
	ID      string     `json:"id"`
	Sealed  []byte     `json:"sealed"`
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires,omitempty"`
}

func packSecrets(secrets []webhook.StoredSecret) (string, error) {
	out := make([]storedSecret, len(secrets))
	for i, s := range secrets {
		out[i] = storedSecret{s.ID, s.Sealed, s.CreatedAt.UTC(), moment(s.ExpiresAt.UTC())}
	}
	text, err := json.Marshal(out)
	return string(text), err
}

func openSecrets(text []byte) ([]webhook.StoredSecret, error) {
	var in []storedSecret
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, err
	}
	var secrets []webhook.StoredSecret
	for _, s := range in {
		secrets = append(secrets, webhook.StoredSecret{ID: s.ID, Sealed: s.Sealed, CreatedAt: s.Created.UTC(), ExpiresAt: at(s.Expires)})
	}
	return secrets, nil
}

// storedHeader is a header as the column headers holds it.
type storedHeader struct {
	Name   string `json:"name"`
	Sealed []byte `json:"sealed"`
}

func packHeaders(headers []webhook.StoredHeader) (string, error) {
	out := make([]storedHeader, len(headers))
	for i, h := range headers {
		out[i] = storedHeader{h.Name, h.Sealed}
	}
	text, err := json.Marshal(out)
	return string(text), err
}

func openHeaders(text []byte) ([]webhook.StoredHeader, error) {
	var in []storedHeader
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, err
	}
	var headers []webhook.StoredHeader
	for _, h := range in {
		headers = append(headers, webhook.StoredHeader{Name: h.Name, Sealed: h.Sealed})
	}
	return headers, nil
}

// eventColumns are those that eventRow reads.
const eventColumns = `v.id, v.type, v.session_id, v.time, v.body, v.metadata`

type eventRow struct {
	event    webhook.Event
	metadata []byte
}

func (r *eventRow) dest() []any {
	e := &r.event
	return []any{&e.ID, &e.Type, &e.SessionID, &e.Time, &e.Body, &r.metadata}
}

func (r *eventRow) value() (webhook.Event, error) {
	e := r.event
	e.Time = e.Time.UTC()
	if r.metadata != nil {
		if err := json.Unmarshal(r.metadata, &e.Metadata); err != nil {
			return e, err
		}
	}
	return e, nil
}

// deliveryColumns are those that deliveryRow reads.
const deliveryColumns = `d.tenant, d.id, d.event_id, d.event_type, d.endpoint_id, d.kind, d.state, d.reason, d.created_at, d.due_at, d.finished_at,
	d.attempts, d.interrupted, d.deferred, d.redelivery_of, d.asked_by`

type deliveryRow struct {
	delivery          webhook.Delivery
	createdAt         time.Time
	dueAt, finishedAt *time.Time
}

func (r *deliveryRow) dest() []any {
	d := &r.delivery
	return []any{
		&d.Tenant, &d.ID, &d.EventID, &d.EventType, &d.EndpointID, &d.Kind, &d.State, &d.Reason, &r.createdAt, &r.dueAt, &r.finishedAt,
		&d.AttemptCount, &d.Interrupted, &d.Deferred, &d.RedeliveryOf, &d.AskedBy,
	}
}

func (r *deliveryRow) value() webhook.Delivery {
	d := r.delivery
	d.CreatedAt, d.FinishedAt = r.createdAt.UTC(), at(r.finishedAt)
	if d.State == webhook.DeliveryPending {
		d.NextAttemptAt = at(r.dueAt)
	}
	return d
}

// attemptColumns are those that attemptRow reads.
const attemptColumns = `a.number, a.started_at, a.result, a.error, a.detail, a.status, a.latency, a.dns, a.connect, a.tls, a.first_byte, a.reused,
	a.remote_addr, a.request_header, a.response_header, a.response_body, a.truncated, a.secret_id`

type attemptRow struct {
	attempt                           webhook.Attempt
	latency, dns, connect, tls, first int64
	request, response                 []byte
}

func (r *attemptRow) dest() []any {
	a := &r.attempt
	return []any{
		&a.Number, &a.StartedAt, &a.Result, &a.Error, &a.Detail, &a.Status, &r.latency, &r.dns, &r.connect, &r.tls, &r.first, &a.Phases.Reused,
		&a.RemoteAddr, &r.request, &r.response, &a.ResponseBody, &a.Truncated, &a.SecretID,
	}
}

func (r *attemptRow) value() (webhook.Attempt, error) {
	a := r.attempt
	a.StartedAt = a.StartedAt.UTC()
	a.Latency = time.Duration(r.latency)
	a.Phases.DNS, a.Phases.Connect, a.Phases.TLS, a.Phases.FirstByte = time.Duration(r.dns), time.Duration(r.connect), time.Duration(r.tls), time.Duration(r.first)
	for _, header := range []struct {
		text []byte
		to   *http.Header
	}{{r.request, &a.RequestHeader}, {r.response, &a.ResponseHeader}} {
		if header.text != nil {
			if err := json.Unmarshal(header.text, header.to); err != nil {
				return a, err
			}
		}
	}
	return a, nil
}

// packHeader is a header as its column holds it.
func packHeader(h http.Header) (*string, error) {
	if h == nil {
		return nil, nil
	}
	raw, err := json.Marshal(h)
	text := string(raw)
	return &text, err
}

// packMetadata is an event's metadata as its column holds it.
func packMetadata(m map[string]string) (*string, error) {
	if m == nil {
		return nil, nil
	}
	raw, err := json.Marshal(m)
	text := string(raw)
	return &text, err
}
