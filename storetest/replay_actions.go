package storetest

import (
	"cmp"
	"slices"

	"github.com/meshia/webhook"
)

var replayCases = slices.Concat(replayEventCases, replayQueuedCases, replayCallCases, replayStepCases, replayOneCases)

func replayRequest(e webhook.Endpoint, id string) webhook.Replay {
	return webhook.Replay{ID: id, Tenant: e.Tenant, EndpointID: e.ID, Failed: true, Missed: true, State: webhook.ReplayRunning}
}

// replay starts a replay of all that the endpoint did not get, but for what the changes say.
func (c *check) replay(e webhook.Endpoint, changes ...func(*webhook.Replay)) webhook.Replay {
	c.Helper()
	r := replayRequest(e, c.name("rpl"))
	for _, change := range changes {
		change(&r)
	}
	r, err := c.store.CreateReplay(c.Context(), r)
	c.ok(err)
	return r
}

func (c *check) step(most, pending int) webhook.ReplayStepped {
	c.Helper()
	step, err := c.store.ContinueReplay(c.Context(), webhook.ReplayStep{Max: most, Pending: pending})
	c.ok(err)
	return step
}

// replayAll takes steps as long as there are any, and reports whether one of them said that something was queued.
func (c *check) replayAll() (queued bool) {
	c.Helper()
	for range 1000 {
		step := c.step(2, 1000)
		queued = queued || step.Queued
		if !step.Stepped {
			return queued
		}
	}
	c.failf("there is a step to take again and again")
	return queued
}

func (c *check) replays(e webhook.Endpoint) []webhook.Replay {
	c.Helper()
	list, err := c.store.Replays(c.Context(), e.Tenant, e.ID)
	c.ok(err)
	return list
}

// replayOf reads a replay.
func (c *check) replayOf(r webhook.Replay) webhook.Replay {
	c.Helper()
	list := c.replays(webhook.Endpoint{Tenant: r.Tenant, ID: r.EndpointID})
	i := slices.IndexFunc(list, func(other webhook.Replay) bool { return other.ID == r.ID })
	c.want(i >= 0, "replay %s is not among those of its endpoint", r.ID)
	return list[i]
}

// missed lets the endpoint miss n new events, which are the only ones to do so, and makes it active again.
func (c *check) missed(e webhook.Endpoint, n int) []string {
	c.Helper()
	c.turn(e, webhook.EndpointDisabled)
	c.pass()
	events := c.emit(e.Tenant, n)
	c.pass()
	c.turn(e, webhook.EndpointActive)
	return ids(events)
}

// failed sends the endpoint n new events in vain. What is named is queued already, and stays so.
func (c *check) failed(e webhook.Endpoint, n int, queued ...string) []string {
	c.Helper()
	events := ids(c.emit(e.Tenant, n))
	for _, l := range c.claim(n + len(queued)) {
		if slices.Contains(queued, l.Delivery.EventID) {
			c.record(outcome(l, webhook.OutcomeReleased))
		} else {
			c.record(outcome(l, webhook.OutcomeFailed))
		}
	}
	return events
}

// settled sends the endpoint a new event.
func (c *check) settled(e webhook.Endpoint, kind webhook.OutcomeKind) string {
	c.Helper()
	event := c.emit(e.Tenant, 1)[0]
	c.record(outcome(c.one(), kind))
	return event.ID
}

// resend leases a redelivery of the event to the endpoint.
func (c *check) resend(e webhook.Endpoint, eventID string) webhook.Lease {
	c.Helper()
	event, err := c.store.Event(c.Context(), e.Tenant, eventID)
	c.ok(err)
	return first(c.enqueue(webhook.EnqueueRequest{Tenant: e.Tenant, Events: []webhook.Event{event}, Direct: &webhook.Direct{
		EndpointID: e.ID, Kind: webhook.KindRedelivery, Owner: "direct", Term: far,
	}}).Leases)
}

// waiting are the events whose deliveries to the endpoint are pending, in no order.
func (c *check) waiting(e webhook.Endpoint) (events []string) {
	c.Helper()
	for _, d := range c.deliveries(e.Tenant, webhook.DeliveryFilter{EndpointID: e.ID, State: webhook.DeliveryPending}) {
		events = append(events, d.EventID)
	}
	slices.SortFunc(events, byAge)
	return events
}

// byAge orders the ids of events as they were made.
func byAge(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }

func ids(events []webhook.Event) []string {
	list := make([]string, len(events))
	for i := range events {
		list[i] = events[i].ID
	}
	return list
}

func (c *check) list(what string, got, want []string) {
	c.Helper()
	c.want(slices.Equal(got, want), "%s: got %q, want %q", what, got, want)
}
