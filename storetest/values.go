package storetest

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/meshia/webhook"
)

const (
	promiseExact  = "Values MUST be kept exactly: bodies byte for byte, text with any valid UTF-8, times to the millisecond or finer."
	promiseFrozen = "What a store returns MUST NOT change afterwards, and what it was given MUST NOT be changed by it."
)

// anyText has what text may consist of and stores stumble over.
const anyText = "é e\u0301 \u202e日本語 🙂 \U0010ffff ' \" \\ % _ \r\n\t \u2028 \ufeff \x7f"

var valueCases = []kase{
	{name: "bodies of events", promise: promiseExact, f: bodies},
	{name: "text", promise: promiseExact, f: func(c *check) { texts(c, anyText) }},
	{name: "an endpoint", promise: promiseExact, f: endpointValues},
	{name: "a replay", promise: promiseExact, f: replayValues},
	{name: "an attempt", promise: promiseExact, f: attemptValues},
	{name: "what was returned stays as it is", promise: promiseFrozen, f: frozen},
	{name: "what was given stays as it is", promise: promiseFrozen, f: givenStays},
}

func bodies(c *check) {
	c.endpoint("t")
	for name, body := range map[string][]byte{
		"spaces":         []byte(" {\n\"b\" : 1.0,\t\"a\":1e2 , \"a\":2}\r\n"),
		"escapes":        []byte(`{"a":"\u0000\u00e9\/<>&"}`),
		"NUL":            []byte("\x00a\x00"),
		"not UTF-8":      []byte("\xff\xfe\x80"),
		"a large number": []byte(`{"n":123456789012345678901234567890.10}`),
		"1 MiB":          bytes.Repeat([]byte("0123456789abcde\n"), 1<<16),
	} {
		e := webhook.Event{ID: c.name("evt"), Type: happened, Time: time.Date(2026, 4, 11, 14, 32, 0, 0, time.UTC), Body: body}
		want := bytes.Clone(body)
		c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{e}})
		c.want(bytes.Equal(c.one().Event.Body, want), "a lease's body with %s is not what was enqueued", name)
		got, err := c.store.Event(c.Context(), "t", e.ID)
		c.ok(err)
		c.want(bytes.Equal(got.Body, want), "a stored body with %s is not what was enqueued", name)
	}
}

func texts(c *check, s string) {
	e := c.endpoint(s, func(e *webhook.Endpoint) { e.Description = s })
	equal(c, "description", e.Description, s)
	event := webhook.NewEventType[any](happened, "", nil).New(s, s, webhook.WithMetadata(map[string]string{s: s, "empty": ""}))
	c.enqueue(webhook.EnqueueRequest{Tenant: s, Events: []webhook.Event{event}})
	l := c.one()
	equal(c, "description in a lease", l.Endpoint.Description, s)
	equal(c, "tenant", l.Delivery.Tenant, s)
	stored, err := c.store.Event(c.Context(), s, event.ID)
	c.ok(err)
	for _, got := range []webhook.Event{l.Event, stored} {
		equal(c, "session", got.SessionID, s)
		equal(c, "type", got.Type, happened)
		c.want(maps.Equal(got.Metadata, event.Metadata), "metadata: got %q, want %q", got.Metadata, event.Metadata)
		c.want(got.Time.Equal(event.Time), "time: got %v, want %v", got.Time, event.Time)
		equal(c, "digest", got.Digest(), event.Digest())
	}
	o := outcome(l, webhook.OutcomeFailed)
	o.Attempt.Detail = s
	c.record(o)
	equal(c, "detail", c.delivery(l).Attempts[0].Detail, s)
	asked := c.enqueue(webhook.EnqueueRequest{Tenant: s, Events: []webhook.Event{event}, Direct: &webhook.Direct{
		EndpointID: e.ID, Kind: webhook.KindRedelivery, RedeliveryOf: l.Delivery.ID, AskedBy: s, Owner: "one", Term: far,
	}})
	equal(c, "who asked for a redelivery", c.delivery(first(asked.Leases)).AskedBy, s)
}

var someTime = time.Date(2026, 4, 11, 14, 32, 1, 234e6, time.UTC)

func endpointValues(c *check) {
	want := webhook.Endpoint{
		ID: "we_Az09-_", Tenant: "t", URL: "https://example.com/a?b=%20c", Events: []string{"b.second", "a.first", "b.second"}, Description: "text",
		Rate: 1234.56789, Burst: 10_000, MaxInFlight: 7, Timeout: 1234 * time.Millisecond,
		StoredHeaders: []webhook.StoredHeader{{Name: "Authorization", Sealed: []byte("\x00\xff sealed")}, {Name: "X-Empty", Sealed: []byte{}}},
		Secrets: []webhook.StoredSecret{
			{ID: "s1", Sealed: []byte("\x00\xff sealed"), CreatedAt: someTime, ExpiresAt: someTime.Add(far)},
			{ID: "s2", Sealed: []byte{}, CreatedAt: someTime},
		},
		Health: webhook.Health{
			State: webhook.EndpointPaused, Reason: webhook.ReasonGone, Verified: true, Generation: 1 << 40, Window: 3, Slow: true, PausedUntil: someTime, Failures: 7, FailingSince: someTime.Add(-far),
			LastFailure: someTime.Add(-far / 2), LastSuccess: someTime.Add(-2 * far), AcceptedSecret: "s1",
		},
	}
	created, err := c.store.CreateEndpoint(c.Context(), want, 1)
	c.ok(err)
	want.Version, want.CreatedAt, want.Health.Since = 1, created.CreatedAt, created.Health.Since
	read, err := c.store.Endpoint(c.Context(), "t", want.ID)
	c.ok(err)
	list, err := c.store.Endpoints(c.Context(), "t")
	c.ok(err)
	for _, got := range append(list, created, read) {
		c.same("endpoint", got, want)
	}
}

func replayValues(c *check) {
	e := c.endpoint("t")
	past := time.Date(1999, 4, 11, 14, 32, 1, 234e6, time.UTC)
	for name, change := range map[string]func(r *webhook.Replay){
		"a part of the past": func(r *webhook.Replay) {
			r.Since, r.Until, r.Missed = past.Add(-far), past.Add(-time.Millisecond), false
		},
		"no beginning": func(r *webhook.Replay) { r.Until, r.Failed = past, false },
		"text":         func(r *webhook.Replay) { r.AskedBy = anyText },
	} {
		want := replayRequest(e, c.name("rpl_Az09-"))
		change(&want)
		created, err := c.store.CreateReplay(c.Context(), want)
		c.ok(err)
		want.CreatedAt, want.Reached = created.CreatedAt, created.Reached
		if want.Until.IsZero() {
			want.Until = created.Until
		}
		c.same("replay of "+name, created, want)
		c.same("replay of "+name+" in a list", c.replayOf(created), want)
		stopped, err := c.store.StopReplay(c.Context(), "t", want.ID)
		c.ok(err)
		want.State, want.FinishedAt = webhook.ReplayStopped, stopped.FinishedAt
		c.same("replay of "+name+" that was stopped", stopped, want)
	}
}

func attemptValues(c *check) {
	c.endpoint("t")
	c.emit("t", 1)
	l := c.one()
	want := webhook.Attempt{
		Number: 1, StartedAt: someTime, Result: webhook.AttemptFailed, Error: webhook.ErrorStatus, Detail: "in words", Status: 503,
		Latency: 1234 * time.Millisecond,
		Phases:  webhook.Phases{DNS: time.Millisecond, Connect: 2 * time.Millisecond, TLS: 3 * time.Millisecond, FirstByte: 4 * time.Millisecond, Reused: true},

		RemoteAddr: "[2001:db8::1]:443", RequestHeader: http.Header{"Content-Type": {"application/json"}, "X-Twice": {"b", "a"}},
		ResponseHeader: http.Header{"Server": {"x"}, "Set-Cookie": {"a=1", "b=2"}, "X-Empty": {""}}, ResponseBody: []byte("\x00\xff no text"), Truncated: true, SecretID: "s1",
	}
	o := retry(l, 0)
	o.Attempt = want
	c.record(o)
	c.same("attempt", c.delivery(l).Attempts[0], want)
	c.same("attempt in a list", c.deliveries("t", webhook.DeliveryFilter{})[0].Attempts[0], want)
	l = c.one()
	equal(c, "LastSecret of the next lease", l.LastSecret, "s1")
	c.want(l.Delivery.Attempts == nil, "a lease's delivery has attempts")
}

// same compares what was kept with what was given: times to the millisecond, in any zone, and no bytes as good as
// none.
func (c *check) same(what string, got, want any) {
	c.Helper()
	g, w := plain(reflect.ValueOf(got)), plain(reflect.ValueOf(want))
	c.want(reflect.DeepEqual(g, w), "%s: got %v, want %v", what, g, w)
}

// text is a picture of values that does not change when they do.
func text(values ...any) string { return fmt.Sprint(plain(reflect.ValueOf(values))) }

// plain turns a value into nested maps and slices that DeepEqual compares as same means it.
func plain(v reflect.Value) any {
	if !v.IsValid() {
		return nil
	}
	switch x := v.Interface().(type) {
	case time.Time:
		return x.UTC().Truncate(time.Millisecond).String()
	case []byte:
		return string(x)
	}
	switch v.Kind() {
	case reflect.Struct:
		m := map[string]any{}
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				m[f.Name] = plain(v.Field(i))
			}
		}
		return m
	case reflect.Slice:
		var s []any
		for i := range v.Len() {
			s = append(s, plain(v.Index(i)))
		}
		return s
	case reflect.Map:
		m := map[string]any{}
		for _, k := range v.MapKeys() {
			m[k.String()] = plain(v.MapIndex(k))
		}
		return m
	case reflect.Pointer, reflect.Interface:
		return plain(v.Elem())
	case reflect.Func:
		return v.IsNil()
	default:
		return v.Interface()
	}
}

// frozen keeps what the calls returned, lets everything change, and looks again.
func frozen(c *check) {
	e := c.endpoint("t", func(e *webhook.Endpoint) {
		e.Secrets = []webhook.StoredSecret{{ID: "s1", Sealed: []byte("one")}}
		e.StoredHeaders = []webhook.StoredHeader{{Name: "X-Key", Sealed: []byte("one")}}
	})
	disabled := c.endpoint("t", state(webhook.EndpointDisabled))
	c.emit("t", 2)
	leases := c.claim(1)
	l := leases[0]
	o := retry(l, 0)
	o.Attempt.ResponseHeader = http.Header{"A": {"1"}}
	c.record(o)
	list, err := c.store.Endpoints(c.Context(), "t")
	c.ok(err)
	page, err := c.store.Deliveries(c.Context(), "t", webhook.DeliveryFilter{Limit: 10})
	c.ok(err)
	event, err := c.store.Event(c.Context(), "t", l.Event.ID)
	c.ok(err)
	c.missed(e, 2)
	c.pass()
	r := c.replay(e)
	kept := []any{e, disabled, leases, list, page, event, c.delivery(l), c.gaps(disabled), c.stats(e), r, c.replays(e)}
	before := text(kept...)

	changed := e
	changed.URL, changed.Events = "https://example.com/changed", []string{"other"}
	changed.Secrets = []webhook.StoredSecret{{ID: "s2", Sealed: []byte("two")}}
	changed.StoredHeaders = []webhook.StoredHeader{{Name: "X-Key", Sealed: []byte("two")}}
	_, err = c.store.UpdateEndpoint(c.Context(), changed, func(h webhook.Health, _ time.Time) webhook.Health {
		h.Failures = 9
		return h
	})
	c.ok(err)
	for _, l := range c.claim(10) {
		c.record(outcome(l, webhook.OutcomeDelivered))
	}
	c.emit("t", 2)
	c.step(1, 100)
	c.ok(c.store.DeleteEndpoint(c.Context(), "t", e.ID))
	c.ok(c.store.DeleteEndpoint(c.Context(), "t", disabled.ID))
	equal(c, "what was returned before", text(kept...), before)
}

func givenStays(c *check) {
	e := webhook.Endpoint{
		ID: "we_1", Tenant: "t", URL: "https://example.com", Events: []string{"b", happened, "a", "b"},
		Secrets: []webhook.StoredSecret{{ID: "s1", Sealed: []byte(strings.Repeat("x", 40))}}, Headers: map[string]webhook.Secret{"X-Key": webhook.NewSecret("hidden")},
		StoredHeaders: []webhook.StoredHeader{{Name: "X-Key", Sealed: []byte("sealed")}}, Health: webhook.Health{State: webhook.EndpointActive},
	}
	events := []webhook.Event{c.event(happened), c.event(ceased), c.event(happened)}
	events[2].ID = events[0].ID
	events[2].Body = bytes.Clone(events[0].Body)
	req := webhook.EnqueueRequest{Tenant: "t", Events: events, HandOver: &webhook.HandOver{Owner: "one", Term: far, Max: 3}}
	before := text(e, req)
	created, err := c.store.CreateEndpoint(c.Context(), e, 10)
	c.ok(err)
	result := c.enqueue(req)
	l := first(append(result.Leases, c.claim(1)...))

	outcomes := []webhook.Outcome{retry(l, far)}
	outcomes[0].Attempt.ResponseHeader = http.Header{"B": {"2"}, "A": {"1", "0"}}
	outcomes[0].Attempt.ResponseBody = []byte("body")
	given := text(outcomes)
	c.recorded(outcomes...)
	equal(c, "the outcomes", text(outcomes), given)
	created.Events = []string{"z", "y"}
	given = text(created)
	_, err = c.store.UpdateEndpoint(c.Context(), created, nil)
	c.ok(err)
	equal(c, "the endpoint of an update", text(created), given)
	equal(c, "the endpoint and the request", text(e, req), before)
}
