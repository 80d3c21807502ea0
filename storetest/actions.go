package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/meshia/webhook"
)

// far is a stretch of time that no case lives to see the end of.
const far = time.Hour

// happened and ceased are the event types of the cases.
const (
	happened = "storetest.happened"
	ceased   = "storetest.ceased"
)

func (c *check) name(prefix string) string {
	c.serial++
	return fmt.Sprintf("%s_%d", prefix, c.serial)
}

// event makes an event unlike those before.
func (c *check) event(eventType string) webhook.Event {
	c.serial++
	return newEvent(eventType, fmt.Sprintf("evt_%d", c.serial), c.serial)
}

func newEvent(eventType, id string, data any) webhook.Event {
	return webhook.NewEventType[any](eventType, "", nil).New("sess_1", data, webhook.WithID(id))
}

func (c *check) events(n int) []webhook.Event {
	events := make([]webhook.Event, n)
	for i := range events {
		events[i] = c.event(happened)
	}
	return events
}

// endpoint creates an active endpoint for every event type with room for 100 leases, but for what the changes say.
func (c *check) endpoint(tenant string, changes ...func(*webhook.Endpoint)) webhook.Endpoint {
	c.Helper()
	id := c.name("we")
	e := webhook.Endpoint{
		ID: id, Tenant: tenant, URL: "https://example.com/" + id, Events: []string{webhook.AllEvents},
		Health: webhook.Health{State: webhook.EndpointActive, Window: 100},
	}
	for _, change := range changes {
		change(&e)
	}
	e, err := c.store.CreateEndpoint(c.Context(), e, 1000)
	c.ok(err)
	return e
}

func window(n int) func(*webhook.Endpoint) { return func(e *webhook.Endpoint) { e.Health.Window = n } }

func slow(e *webhook.Endpoint) { e.Health.Slow = true }

func state(s webhook.EndpointState) func(*webhook.Endpoint) {
	return func(e *webhook.Endpoint) { e.Health.State = s }
}

func subscribed(eventTypes ...string) func(*webhook.Endpoint) {
	return func(e *webhook.Endpoint) { e.Events = eventTypes }
}

// slowly is a rate that lets nothing go while a case lasts, once its burst is used up.
const slowly = 0.001

func rate(r float64, burst int) func(*webhook.Endpoint) {
	return func(e *webhook.Endpoint) { e.Rate, e.Burst = r, burst }
}

// update stores what was changed of the endpoint's own fields.
func (c *check) update(e webhook.Endpoint) webhook.Endpoint {
	c.Helper()
	e, err := c.store.UpdateEndpoint(c.Context(), e, nil)
	c.ok(err)
	return e
}

// change judges the endpoint's health into what f makes of it.
func (c *check) change(e webhook.Endpoint, f func(h *webhook.Health)) webhook.Endpoint {
	c.Helper()
	e, err := c.store.JudgeEndpoint(c.Context(), e.Tenant, e.ID, func(h webhook.Health, _ time.Time) webhook.Health {
		f(&h)
		return h
	})
	c.ok(err)
	return e
}

func (c *check) turn(e webhook.Endpoint, s webhook.EndpointState) webhook.Endpoint {
	c.Helper()
	return c.change(e, func(h *webhook.Health) { h.State = s })
}

func (c *check) pause(e webhook.Endpoint, until time.Time) webhook.Endpoint {
	c.Helper()
	return c.change(e, func(h *webhook.Health) { h.State, h.PausedUntil = webhook.EndpointPaused, until })
}

func (c *check) enqueue(req webhook.EnqueueRequest) webhook.EnqueueResult {
	c.Helper()
	result, err := c.store.Enqueue(c.Context(), req)
	c.ok(err)
	return result
}

// emit stores n events of one type, which all fall due at once.
func (c *check) emit(tenant string, n int) []webhook.Event {
	c.Helper()
	events := c.events(n)
	for batch := range slices.Chunk(events, 500) {
		c.enqueue(webhook.EnqueueRequest{Tenant: tenant, Events: batch})
	}
	return events
}

// direct leases a delivery of a new event to the endpoint.
func (c *check) direct(e webhook.Endpoint, kind webhook.DeliveryKind) webhook.Lease {
	c.Helper()
	return c.directly(e, kind, far)
}

func (c *check) directly(e webhook.Endpoint, kind webhook.DeliveryKind, term time.Duration) webhook.Lease {
	c.Helper()
	result := c.enqueue(webhook.EnqueueRequest{
		Tenant: e.Tenant, Events: c.events(1),
		Direct: &webhook.Direct{EndpointID: e.ID, Kind: kind, Owner: "direct", Term: term},
	})
	equal(c, "leases of a direct request", len(result.Leases), 1)
	return result.Leases[0]
}

func claimRequest(n int) webhook.ClaimRequest {
	return webhook.ClaimRequest{Owner: "one", Term: far, Max: n, MaxSlow: n}
}

func (c *check) claimWith(req webhook.ClaimRequest) webhook.Claimed {
	c.Helper()
	claimed, err := c.store.Claim(c.Context(), req)
	c.ok(err)
	return claimed
}

// claim leases up to n deliveries for longer than the case lasts.
// A single call may return fewer than there are.
func (c *check) claim(n int) []webhook.Lease {
	c.Helper()
	var all []webhook.Lease
	for len(all) < n {
		leases := c.claimWith(claimRequest(n - len(all))).Leases
		if len(leases) == 0 {
			break
		}
		all = append(all, leases...)
	}
	c.want(len(all) <= n, "claimed %d deliveries where %d were asked for", len(all), n)
	return all
}

// one claims and expects one lease.
func (c *check) one() webhook.Lease {
	c.Helper()
	leases := c.claim(10)
	equal(c, "leases", len(leases), 1)
	return leases[0]
}

func (c *check) none() {
	c.Helper()
	leases := c.claim(10)
	c.want(len(leases) == 0, "claimed %d deliveries, want none; the first is %+v", len(leases), first(leases).Delivery)
}

func first(leases []webhook.Lease) (l webhook.Lease) {
	if len(leases) > 0 {
		l = leases[0]
	}
	return l
}

// soon claims until there is something to claim: a wait or a lease is about to end.
func (c *check) soon() []webhook.Lease {
	c.Helper()
	for range 400 {
		if leases := c.claim(10); len(leases) > 0 {
			return leases
		}
		time.Sleep(c.tick / 4)
	}
	c.failf("nothing could be claimed for %v", 100*c.tick)
	return nil
}

// pass lets enough time pass that two moments differ in every store.
func (c *check) pass() { time.Sleep(3 * time.Millisecond) }

// outlast waits until what lasts one tick, and began before, is over.
func (c *check) outlast() { time.Sleep(c.tick + c.tick/2) }

func outcome(l webhook.Lease, kind webhook.OutcomeKind) webhook.Outcome {
	o := webhook.Outcome{Tenant: l.Delivery.Tenant, DeliveryID: l.Delivery.ID, EndpointID: l.Delivery.EndpointID, Token: l.Token, Kind: kind}
	row := webhook.Attempt{Number: l.Delivery.AttemptCount, StartedAt: l.StartedAt}
	switch kind {
	case webhook.OutcomeDelivered:
		row.Result, row.Status = webhook.AttemptDelivered, 200
	case webhook.OutcomeRetry, webhook.OutcomeFailed, webhook.OutcomeDeferred:
		row.Result, row.Error, row.Status = webhook.AttemptFailed, webhook.ErrorStatus, 500
	case webhook.OutcomeInterrupted:
		row.Result, row.Error = webhook.AttemptInterrupted, webhook.ErrorStopped
	case webhook.OutcomeReleased:
		return o
	}
	if kind == webhook.OutcomeFailed {
		o.Reason = webhook.FailExhausted
	}
	o.Attempt = row
	return o
}

func retry(l webhook.Lease, wait time.Duration) webhook.Outcome {
	o := outcome(l, webhook.OutcomeRetry)
	o.Wait = wait
	return o
}

// record expects every outcome to be applied.
func (c *check) record(outcomes ...webhook.Outcome) {
	c.Helper()
	for i, applied := range c.recorded(outcomes...) {
		c.want(applied, "outcome %d (%s) was not applied", i, outcomes[i].Kind)
	}
}

func (c *check) recorded(outcomes ...webhook.Outcome) []bool {
	c.Helper()
	applied, err := c.store.Record(c.Context(), outcomes)
	c.ok(err)
	equal(c, "answers", len(applied), len(outcomes))
	return applied
}

func (c *check) delivery(l webhook.Lease) webhook.Delivery {
	c.Helper()
	return c.deliveryOf(l.Delivery.Tenant, l.Delivery.ID)
}

func (c *check) deliveryOf(tenant, id string) webhook.Delivery {
	c.Helper()
	d, err := c.store.Delivery(c.Context(), tenant, id)
	c.ok(err)
	return d
}

// deliveries returns all that match, through as many pages as it takes.
func (c *check) deliveries(tenant string, f webhook.DeliveryFilter) []webhook.Delivery {
	c.Helper()
	var all []webhook.Delivery
	f.Limit = webhook.MaxPage
	for range 1000 {
		page, err := c.store.Deliveries(c.Context(), tenant, f)
		c.ok(err)
		all = append(all, page.Deliveries...)
		if page.NextCursor == "" {
			return all
		}
		f.Cursor = page.NextCursor
	}
	c.failf("a list of %d deliveries does not end", len(all))
	return nil
}

func (c *check) health(e webhook.Endpoint) webhook.Health {
	c.Helper()
	e, err := c.store.Endpoint(c.Context(), e.Tenant, e.ID)
	c.ok(err)
	return e.Health
}

func (c *check) gaps(e webhook.Endpoint) []webhook.Gap {
	c.Helper()
	gaps, err := c.store.Gaps(c.Context(), e.Tenant, e.ID)
	c.ok(err)
	return gaps
}

func (c *check) stats(e webhook.Endpoint) webhook.Stats {
	c.Helper()
	return c.statsSince(e, time.Time{})
}

func (c *check) statsSince(e webhook.Endpoint, since time.Time) webhook.Stats {
	c.Helper()
	stats, err := c.store.Stats(c.Context(), e.Tenant, e.ID, since)
	c.ok(err)
	return stats
}

// now reads the store's clock, which a Judge is shown.
func (c *check) now() time.Time {
	c.Helper()
	const tenant, id = "storetest-clock", "we_clock"
	var now time.Time
	read := func(h webhook.Health, at time.Time) webhook.Health {
		now = at
		return h
	}
	_, err := c.store.JudgeEndpoint(c.Context(), tenant, id, read)
	if errors.Is(err, webhook.ErrNotFound) {
		_, err = c.store.CreateEndpoint(c.Context(), webhook.Endpoint{
			ID: id, Tenant: tenant, URL: "https://example.com", Events: []string{"none"}, Health: webhook.Health{State: webhook.EndpointActive},
		}, 1)
		c.ok(err)
		_, err = c.store.JudgeEndpoint(c.Context(), tenant, id, read)
	}
	c.ok(err)
	return now
}

// during checks that got lies between two readings of the store's clock, as exactly as times are kept.
func (c *check) during(what string, got, from, to time.Time) {
	c.Helper()
	c.want(!got.Before(from.Add(-time.Millisecond)) && !got.After(to.Add(time.Millisecond)), "%s: got %v, want a time from %v to %v", what, got, from, to)
}

// parallel runs f n times at once and returns the errors.
func parallel(n int, f func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
