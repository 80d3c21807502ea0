package storetest

import (
	"context"
	"time"

	"github.com/meshia/webhook"
)

const promiseContext = "A call whose context has ended MUST return an error and have changed all or nothing."

var contextCases = []kase{{name: "a context that has ended", promise: promiseContext, f: endedContext}}

// endedContext makes every call with a context that has ended, and looks whether it changed all or nothing; nothing is
// what is expected of a context that ended before the call, since the caller may take the error for that.
func endedContext(c *check) {
	e := c.endpoint("t")
	c.logged(e)
	c.emit("t", 2)
	l := first(c.claim(1))
	_, err := c.store.StopReplay(c.Context(), "t", c.replay(e).ID)
	c.ok(err)
	c.missed(e, 1)
	c.pass()
	running, idle := c.replay(e), c.endpoint("t")
	c.outlast() // so that there is something to prune
	ctx, cancel := context.WithCancel(context.Background())
	cancel()

	judge := func(h webhook.Health, _ time.Time) webhook.Health {
		h.Failures++
		return h
	}
	fresh := e
	fresh.ID = "we_fresh"
	event := c.event(happened)
	s := c.store
	for _, call := range []struct {
		name string
		f    func() error
	}{
		{"Enqueue", func() error {
			_, err := s.Enqueue(ctx, webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{event}})
			return err
		}},
		{"Enqueue, direct", func() error {
			direct := &webhook.Direct{EndpointID: e.ID, Kind: webhook.KindTest, Owner: "one", Term: far}
			_, err := s.Enqueue(ctx, webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{event}, Direct: direct})
			return err
		}},
		{"Claim", func() error { _, err := s.Claim(ctx, claimRequest(10)); return err }},
		{"Record", func() error {
			o := outcome(l, webhook.OutcomeDelivered)
			o.Judge = judge
			_, err := s.Record(ctx, []webhook.Outcome{o})
			return err
		}},
		{"CreateEndpoint", func() error { _, err := s.CreateEndpoint(ctx, fresh, 1000); return err }},
		{"Endpoint", func() error { _, err := s.Endpoint(ctx, "t", e.ID); return err }},
		{"Endpoints", func() error { _, err := s.Endpoints(ctx, "t"); return err }},
		{"UpdateEndpoint", func() error {
			changed := e
			changed.URL = "https://example.com/changed"
			_, err := s.UpdateEndpoint(ctx, changed, judge)
			return err
		}},
		{"JudgeEndpoint", func() error { _, err := s.JudgeEndpoint(ctx, "t", e.ID, judge); return err }},
		{"DeleteEndpoint", func() error { return s.DeleteEndpoint(ctx, "t", e.ID) }},
		{"Event", func() error { _, err := s.Event(ctx, "t", l.Event.ID); return err }},
		{"Delivery", func() error { _, err := s.Delivery(ctx, "t", l.Delivery.ID); return err }},
		{"Deliveries", func() error {
			_, err := s.Deliveries(ctx, "t", webhook.DeliveryFilter{Limit: 10})
			return err
		}},
		{"Gaps", func() error { _, err := s.Gaps(ctx, "t", e.ID); return err }},
		{"Stats", func() error { _, err := s.Stats(ctx, "t", e.ID, time.Time{}); return err }},
		{"Prune", func() error {
			_, err := s.Prune(ctx, webhook.PruneRequest{Deliveries: c.tick, Bodies: c.tick, Max: 1000})
			return err
		}},
		{"EraseDelivery", func() error { return s.EraseDelivery(ctx, "t", l.Delivery.ID) }},
		{"EraseTenant", func() error { _, err := s.EraseTenant(ctx, "t", 1000); return err }},
		{"Tenants", func() error { _, err := s.Tenants(ctx, nil, 10); return err }},
		{"CreateReplay", func() error { _, err := s.CreateReplay(ctx, replayRequest(idle, "rpl_fresh")); return err }},
		{"Replays", func() error { _, err := s.Replays(ctx, "t", e.ID); return err }},
		{"StopReplay", func() error { _, err := s.StopReplay(ctx, "t", running.ID); return err }},
		{"ContinueReplay", func() error {
			_, err := s.ContinueReplay(ctx, webhook.ReplayStep{Max: 10, Pending: 100})
			return err
		}},
	} {
		before := c.everything("t")
		c.want(call.f() != nil, "%s returned no error", call.name)
		equal(c, "what is stored after "+call.name, c.everything("t"), before)
	}
}

// everything is all that can be read of a tenant, as text.
func (c *check) everything(tenant string) string {
	c.Helper()
	list, err := c.store.Endpoints(c.Context(), tenant)
	c.ok(err)
	deliveries := c.deliveries(tenant, webhook.DeliveryFilter{})
	var events []webhook.Event
	seen := map[string]bool{}
	for _, d := range deliveries {
		if seen[d.EventID] {
			continue
		}
		seen[d.EventID] = true
		e, err := c.store.Event(c.Context(), tenant, d.EventID)
		c.ok(err)
		events = append(events, e)
	}
	var gaps [][]webhook.Gap
	var replays [][]webhook.Replay
	for _, e := range list {
		gaps = append(gaps, c.gaps(e))
		replays = append(replays, c.replays(e))
	}
	return text(list, deliveries, events, gaps, replays)
}
