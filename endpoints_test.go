package webhook_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

func TestAddingPingsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t), nil)
		e, d, err := r.d.AddEndpoint(r.ctx, webhook.Endpoint{
			URL: "https://example.com/hook", Events: []string{"plan.completed", "plan.needs_input"}, Secret: secretA, Description: "ours",
		})
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointActive, e.Health.State)
		require.True(t, e.Health.Verified)
		require.Equal(t, "ours", e.Description)
		require.Empty(t, e.Secret, "a secret is not read back")
		require.Equal(t, webhook.KindPing, d.Kind)
		require.Equal(t, webhook.DeliverySucceeded, d.State)
		require.Len(t, d.Attempts, 1)
		require.Equal(t, 200, d.Attempts[0].Status)

		got := r.receiver.Requests()
		require.Len(t, got, 1)
		require.NoError(t, webhook.Verify(got[0].Body, got[0].Header.Get(webhook.HeaderSignature), secretA.Reveal()))
		require.JSONEq(t, `{"event":"ping","timestamp":"2000-01-01T00:00:00Z","session_id":"","data":{"webhook_id":"`+e.ID+`","events":["plan.completed","plan.needs_input"]}}`, string(got[0].Body))
		require.Equal(t, d, r.only(), "a ping is in the log")
	})
}

func TestAnEndpointThatDoesNotAnswerStaysPendingUntilItDoes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, webhooktest.Answer{Status: 404, Body: "no such page"}), nil).run()
		e, d, err := r.d.AddEndpoint(r.ctx, webhook.Endpoint{URL: "https://example.com/hook", Events: []string{"*"}})
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointPending, e.Health.State)
		require.Equal(t, webhook.DeliveryFailed, d.State)
		require.Equal(t, 404, d.Attempts[0].Status)
		require.Equal(t, "no such page", string(d.Attempts[0].ResponseBody))

		r.emit()
		time.Sleep(tenMin)
		require.Len(t, r.receiver.Requests(), 1, "a ping is not repeated, an event not queued")

		r.receiver.Script("", ok)
		d, err = r.d.Ping(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.DeliverySucceeded, d.State)
		e, err = r.d.Endpoint(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointActive, e.Health.State)
		gaps, err := r.d.Gaps(r.ctx, e.ID)
		require.NoError(t, err)
		require.Len(t, gaps, 1)
		require.Equal(t, webhook.GapPending, gaps[0].Reason)
		require.EqualValues(t, 1, gaps[0].Count)
		r.emit()
		synctest.Wait()
		require.Len(t, r.receiver.Requests(), 3)
	})
}

func TestEveryRefusedFieldIsNamed(t *testing.T) {
	t.Parallel()
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), &webhook.Config{Logger: quiet})
	require.NoError(t, err)
	fields := func(e webhook.Endpoint) []string {
		_, _, err := d.AddEndpoint(t.Context(), e, webhook.WithoutPing())
		if err == nil {
			return nil
		}
		require.ErrorIs(t, err, webhook.ErrInvalidEndpoint)
		return fieldsOf(err)
	}
	const url = "https://example.com/hook"
	all := []string{webhook.AllEvents}
	require.Equal(t, []string{"id", "url", "events", "description", "secret"}, fields(webhook.Endpoint{
		ID: "we.1", URL: "ftp://example.com", Description: strings.Repeat("d", 1025), Secret: webhook.NewSecret("whsec_short"),
	}))
	for name, c := range map[string]struct {
		e    webhook.Endpoint
		want []string
	}{
		"http":                          {webhook.Endpoint{URL: "http://example.com/", Events: all}, []string{"url"}},
		"user information":              {webhook.Endpoint{URL: "https://user:pw@example.com/", Events: all}, []string{"url"}},
		"a private address":             {webhook.Endpoint{URL: "https://10.0.0.1/", Events: all}, []string{"url"}},
		"the metadata service":          {webhook.Endpoint{URL: "https://169.254.169.254/", Events: all}, []string{"url"}},
		"localhost":                     {webhook.Endpoint{URL: "https://localhost/", Events: all}, []string{"url"}},
		"another port":                  {webhook.Endpoint{URL: "https://example.com:6379/", Events: all}, []string{"url"}},
		"no events":                     {webhook.Endpoint{URL: url}, []string{"events"}},
		"an empty list":                 {webhook.Endpoint{URL: url, Events: []string{}}, []string{"events"}},
		"an unknown event":              {webhook.Endpoint{URL: url, Events: []string{"invoice.paid"}}, []string{"events"}},
		"pings":                         {webhook.Endpoint{URL: url, Events: []string{"ping"}}, []string{"events"}},
		"all and one":                   {webhook.Endpoint{URL: url, Events: []string{"*", "plan.completed"}}, []string{"events"}},
		"one twice":                     {webhook.Endpoint{URL: url, Events: []string{"plan.completed", "plan.completed"}}, []string{"events"}},
		"an asymmetric secret":          {webhook.Endpoint{URL: url, Events: all, Secret: webhook.NewSecret("whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")}, []string{"secret"}},
		"a malformed secret":            {webhook.Endpoint{URL: url, Events: all, Secret: webhook.NewSecret("whsec_not base64!")}, []string{"secret"}},
		"a typed secret is fine":        {webhook.Endpoint{URL: url, Events: all, Secret: secretB}, nil},
		"a generated secret is fine":    {webhook.Endpoint{URL: url, Events: all, Secret: webhook.GenerateSecret()}, nil},
		"a name of one's own is fine":   {webhook.Endpoint{ID: "we_mine", URL: url, Events: all}, nil},
		"an allowed port is fine":       {webhook.Endpoint{URL: "https://example.com:8443/", Events: all}, nil},
		"several known events are fine": {webhook.Endpoint{URL: url, Events: []string{"plan.completed", "session.started"}}, nil},
	} {
		require.Equal(t, c.want, fields(c.e), name)
	}
	_, _, err = d.AddEndpoint(t.Context(), webhook.Endpoint{URL: "https://example.com:1/secret-token", Events: all, Secret: webhook.NewSecret("whsec_hunter2")}, webhook.WithoutPing())
	require.NotContains(t, err.Error(), "secret-token")
	require.NotContains(t, err.Error(), "hunter2")
	_, _, err = d.AddEndpoint(t.Context(), webhook.Endpoint{ID: "we_mine", URL: url, Events: all}, webhook.WithoutPing())
	require.ErrorIs(t, err, webhook.ErrConflict)
}

// fieldsOf lists the fields that a joined error names.
func fieldsOf(err error) []string {
	if f, ok := err.(*webhook.FieldError); ok {
		return []string{f.Field}
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var names []string
		for _, e := range many.Unwrap() {
			names = append(names, fieldsOf(e)...)
		}
		return names
	}
	if inner := errors.Unwrap(err); inner != nil {
		return fieldsOf(inner)
	}
	return nil
}

func TestOptionsThatOpenMoreOpenNothingElse(t *testing.T) {
	t.Parallel()
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), &webhook.Config{InsecureHTTP: true, Ports: []uint16{9000}, Logger: quiet})
	require.NoError(t, err)
	add := func(url string) error {
		_, _, err := d.AddEndpoint(t.Context(), webhook.Endpoint{URL: url, Events: []string{"*"}}, webhook.WithoutPing())
		return err
	}
	require.NoError(t, add("http://example.com:9000/"))
	require.Error(t, add("http://example.com/"))
	require.Error(t, add("http://127.0.0.1:9000/"))
	require.Error(t, add("ftp://example.com:9000/"))
}

func TestStricterRulesHoldForEndpointsThatWereSavedBefore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		before := newRig(t, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.InsecureHTTP = true })
		e, _, err := before.d.AddEndpoint(before.ctx, webhook.Endpoint{URL: "HTTP://Example.COM/hook", Events: []string{"*"}}, webhook.WithoutPing())
		require.NoError(t, err)
		require.Equal(t, "http://example.com/hook", e.URL, "in its canonical form")
		after := rigOn(t, before.store, before.receiver, nil)
		d, err := after.d.Ping(after.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.ErrorInternal, d.Attempts[0].Error)
		require.Contains(t, d.Attempts[0].Detail, "https")
		require.Empty(t, before.receiver.Requests())
	})
}

func TestATenantHasSoManyEndpoints(t *testing.T) {
	t.Parallel()
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), &webhook.Config{MaxEndpoints: 2, Logger: quiet})
	require.NoError(t, err)
	add := func(d *webhook.Dispatcher) (webhook.Endpoint, error) {
		e, _, err := d.AddEndpoint(t.Context(), webhook.Endpoint{URL: "https://example.com/", Events: []string{"*"}}, webhook.WithoutPing())
		return e, err
	}
	first, err := add(d)
	require.NoError(t, err)
	_, err = add(d)
	require.NoError(t, err)
	_, err = add(d)
	require.ErrorIs(t, err, webhook.ErrTooManyEndpoints)
	_, err = add(d.Tenant("acme"))
	require.NoError(t, err)
	require.NoError(t, d.DeleteEndpoint(t.Context(), first.ID))
	_, err = add(d)
	require.NoError(t, err)
}

func TestANewURLIsPingedAnew(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t), nil).run()
		e := r.endpoint("old")
		e.Description, e.Events = "changed", []string{"plan.completed"}
		e, d, err := r.d.UpdateEndpoint(r.ctx, e)
		require.NoError(t, err)
		require.Empty(t, d.ID, "the URL stays")
		require.Equal(t, webhook.EndpointActive, e.Health.State)
		require.EqualValues(t, 2, e.Version)
		require.Empty(t, r.receiver.Requests())

		r.receiver.Script("/new", failing)
		stale := e
		e.URL = "https://example.com/new"
		e, d, err = r.d.UpdateEndpoint(r.ctx, e)
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointPending, e.Health.State)
		require.Equal(t, 500, d.Attempts[0].Status)
		_, _, err = r.d.UpdateEndpoint(r.ctx, stale)
		require.ErrorIs(t, err, webhook.ErrVersionConflict)

		r.receiver.Script("/new", ok)
		_, err = r.d.Ping(r.ctx, e.ID)
		require.NoError(t, err)
		e, err = r.d.Endpoint(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointActive, e.Health.State)
		require.Equal(t, "changed", e.Description)
		got := r.receiver.Requests()
		require.NoError(t, webhook.Verify(got[0].Body, got[0].Header.Get(webhook.HeaderSignature), secretA.Reveal()), "the secret stays")
		require.Equal(t, "https://example.com/new", got[0].URL)

		e.URL = "https://example.com:1/"
		_, _, err = r.d.UpdateEndpoint(r.ctx, e)
		require.ErrorIs(t, err, webhook.ErrInvalidEndpoint)
		e.URL, e.Secret = "https://example.com/new", secretB
		_, _, err = r.d.UpdateEndpoint(r.ctx, e)
		require.Equal(t, []string{"secret"}, fieldsOf(err))
		_, _, err = r.d.Tenant("acme").UpdateEndpoint(r.ctx, stale)
		require.ErrorIs(t, err, webhook.ErrNotFound)
	})
}

func TestWhatItsOwnerSwitchedOffStaysOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, webhooktest.Answer{Status: 410}, ok), nil).run()
		e := r.endpoint("hook")
		off, err := r.d.SetEnabled(r.ctx, e.ID, false)
		require.NoError(t, err)
		off.URL = "https://example.com/other"
		off, d, err := r.d.UpdateEndpoint(r.ctx, off)
		require.NoError(t, err)
		require.NotEmpty(t, d.ID)
		require.Equal(t, webhook.EndpointDisabled, off.Health.State)
		require.Equal(t, webhook.ReasonByUser, off.Health.Reason)

		on, err := r.d.SetEnabled(r.ctx, e.ID, true)
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointPending, on.Health.State, "its new URL has not answered yet")
		_, err = r.d.Ping(r.ctx, e.ID)
		require.NoError(t, err)
		again, err := r.d.SetEnabled(r.ctx, e.ID, true)
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointActive, again.Health.State)
		_, err = r.d.SetEnabled(r.ctx, "we_unknown", true)
		require.ErrorIs(t, err, webhook.ErrNotFound)
	})
}

func TestACallerWhoGivesUpCancelsAPing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, hanging), nil)
		ctx, cancel := context.WithTimeout(r.ctx, time.Second)
		defer cancel()
		e, d, err := r.d.AddEndpoint(ctx, webhook.Endpoint{URL: "https://example.com/", Events: []string{"*"}})
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointPending, e.Health.State)
		require.Equal(t, webhook.FailCancelled, d.Reason)
		require.Equal(t, []webhook.AttemptResult{webhook.AttemptInterrupted}, results(d))
		require.Equal(t, webhook.ErrorCancelled, d.Attempts[0].Error)
		require.Zero(t, e.Health.Failures, "it says nothing of the endpoint")
	})
}

func TestATestEventGoesToOneEndpoint(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, webhooktest.Answer{Status: 503}), nil).run()
		e := r.endpoint("one", "session.started")
		r.endpoint("all")
		d, err := r.d.SendTest(r.ctx, e.ID, experiment())
		require.NoError(t, err)
		require.Equal(t, webhook.KindTest, d.Kind)
		require.Equal(t, webhook.FailExhausted, d.Reason)
		time.Sleep(tenMin)
		require.Len(t, r.receiver.Requests(), 1)
		require.Equal(t, "https://example.com/one", r.receiver.Requests()[0].URL)

		event := experiment()
		d, err = r.d.SendTest(r.ctx, e.ID, event)
		require.NoError(t, err)
		require.NotEqual(t, event.ID, d.EventID)
		require.NoError(t, r.d.Emit(r.ctx, event))
		time.Sleep(time.Second)
		require.Len(t, r.deliveries(webhook.DeliveryFilter{EventID: event.ID}), 1, "it is not taken for the test")
		_, err = r.d.SendTest(r.ctx, e.ID, webhook.Event{})
		require.ErrorIs(t, err, webhook.ErrInvalidEvent)
		_, err = r.d.SendTest(r.ctx, "we_unknown", experiment())
		require.ErrorIs(t, err, webhook.ErrNotFound)
	})
}

func TestARedeliveryIsANewDeliveryOfTheSameEvent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, failing), nil).run()
		r.endpoint("hook")
		e := r.emit()
		time.Sleep(time.Hour)
		old := r.only()
		require.Equal(t, webhook.FailExhausted, old.Reason)

		r.receiver.Script("", failing, ok)
		d, err := r.d.Redeliver(r.ctx, old.ID, webhook.AskedBy("ops@example.com"))
		require.NoError(t, err)
		require.NotEqual(t, old.ID, d.ID)
		require.Equal(t, old.ID, d.RedeliveryOf)
		require.Equal(t, "ops@example.com", d.AskedBy)
		require.Equal(t, webhook.KindRedelivery, d.Kind)
		require.Equal(t, webhook.DeliveryPending, d.State, "it is repeated like any other")
		time.Sleep(time.Minute)
		d, err = r.d.Delivery(r.ctx, d.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.DeliverySucceeded, d.State)
		require.Len(t, d.Attempts, 2)
		for _, q := range r.receiver.Requests() {
			require.Equal(t, e.ID, q.Header.Get(webhook.HeaderID))
			require.Equal(t, string(e.Body), string(q.Body))
		}
		unchanged, err := r.d.Delivery(r.ctx, old.ID)
		require.NoError(t, err)
		require.Equal(t, old, unchanged)
		_, err = r.d.Tenant("acme").Redeliver(r.ctx, old.ID)
		require.ErrorIs(t, err, webhook.ErrNotFound)
	})
}
