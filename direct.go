package webhook

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/meshia/webhook/internal/id"
)

// Ping sends the endpoint a signed ping, whatever its state, and returns the delivery with its one attempt. A 2xx
// makes a pending endpoint active. It works without Run and takes at most Config.Timeout. If ctx ends during the
// request, the delivery fails with FailCancelled. While two secrets are live, a ping that is answered with anything
// but 2xx is followed by a second one with the other secret in X-Meshia-Signature, and that one is returned: the
// two take twice as long. Errors:
// [ErrNotFound]; [ErrKeyMissing], or the [Config.Sealer]'s own, if the secret could not be opened.
func (d *Dispatcher) Ping(ctx context.Context, endpointID string) (Delivery, error) {
	asked := Direct{EndpointID: endpointID, Kind: KindPing}
	event := func(to Endpoint) (Event, error) {
		return ping.New("", PingData{WebhookID: to.ID, Events: to.Events}), nil
	}
	first, tried, err := d.direct(ctx, "ping", asked, "", event)
	if err != nil || tried.Attempt.Result != AttemptFailed || tried.Attempt.Status == 0 || len(live(tried.lease.Endpoint.Secrets, time.Now())) < 2 {
		return first, err
	}
	// It has one attempt, so that a wrong guess at which secret the receiver knows would be final.
	second, _, err := d.direct(ctx, "ping", asked, tried.Attempt.SecretID, event)
	return second, err
}

// SendTest sends one endpoint an event that nobody else gets, whatever it subscribed to, and returns the delivery with
// its one attempt. The event goes out under a new id, so that neither the receiver takes it for one that it knows, nor
// a later Emit of the same event is taken for a repetition. Errors: as Emit and Ping.
func (d *Dispatcher) SendTest(ctx context.Context, endpointID string, e Event) (Delivery, error) {
	delivery, _, err := d.direct(ctx, "send test", Direct{EndpointID: endpointID, Kind: KindTest}, "", func(Endpoint) (Event, error) {
		if err := d.checkEvent(&e); err != nil {
			return Event{}, err
		}
		e.ID = id.New("evt_")
		return e, nil
	})
	return delivery, err
}

// Redeliver sends the event of an earlier delivery again, to the same endpoint, as a new delivery with attempts of its
// own. The event keeps its id, by which the receiver knows it. It returns the new delivery after its first attempt; if
// that fails, it is retried by the same policy as any other. Errors: as Ping, [ErrInvalidEndpoint] where AskedBy is no
// text of its length, [ErrNotFound] where the delivery, its
// event or its endpoint is gone, and [ErrBodyPruned] where only the event's contents are.
func (d *Dispatcher) Redeliver(ctx context.Context, deliveryID string, opts ...RedeliverOption) (Delivery, error) {
	asked := Direct{Kind: KindRedelivery, RedeliveryOf: deliveryID}
	for _, opt := range opts {
		opt(&asked)
	}
	if err := checkAskedBy(asked.AskedBy); err != nil {
		return Delivery{}, fmt.Errorf("webhook: redeliver: %w", err)
	}
	old, err := read(d, "redeliver", func() (Delivery, error) { return d.store.Delivery(ctx, d.tenant, deliveryID) })
	if err != nil {
		return Delivery{}, err
	}
	asked.EndpointID = old.EndpointID
	delivery, _, err := d.direct(ctx, "redeliver", asked, "", func(Endpoint) (Event, error) {
		e, err := d.store.Event(ctx, d.tenant, old.EventID)
		if err == nil && len(e.Body) == 0 {
			err = ErrBodyPruned
		}
		return e, err
	})
	return delivery, err
}

// RedeliverOption is an option of [Dispatcher.Redeliver].
type RedeliverOption func(*Direct)

// AskedBy says who asked for a redelivery, in the caller's words: at most 255 bytes, which are kept with the delivery.
func AskedBy(name string) RedeliverOption { return func(asked *Direct) { asked.AskedBy = name } }

// direct makes a delivery for one endpoint and sends it here and now, through the same store and log as any other.
// lastSecret is one that was tried in vain.
func (d *Dispatcher) direct(
	ctx context.Context, what string, asked Direct, lastSecret string, event func(to Endpoint) (Event, error),
) (Delivery, settled, error) {
	fail := func(err error) (Delivery, settled, error) {
		return Delivery{}, settled{}, fmt.Errorf("webhook: %s: %w", what, err)
	}
	if err := d.allowed(); err != nil {
		return fail(err)
	}
	to, err := d.store.Endpoint(ctx, d.tenant, asked.EndpointID)
	if err != nil {
		return fail(err)
	}
	e, err := event(to)
	if err != nil {
		return fail(err)
	}
	if _, err := d.keys.target(ctx, &to, time.Now()); errors.Is(err, errNotOpened) {
		return fail(err) // before anything is stored that could only be cancelled
	}
	asked.Owner, asked.Term = d.owner, d.term()
	start := time.Now()
	res, err := d.store.Enqueue(ctx, EnqueueRequest{Tenant: d.tenant, Events: []Event{e}, Direct: &asked})
	if err != nil {
		return fail(err)
	}
	if len(res.Leases) != 1 {
		return fail(errors.New("the store did not lease the delivery"))
	}

	lease := &res.Leases[0]
	lease.LastSecret = lastSecret
	s := settled{lease: lease, Outcome: release(lease)}
	late := func() bool { return time.Since(start) > leaseMargin/2 } // as in run.attempt
	if !late() && d.started(ctx, lease, late) {
		out := newLine(ctx, d.cfg.Timeout)
		s = d.attempt(out, lease)
		out.drop()
	}
	// What happened is recorded also for a caller who has gone.
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseMargin)
	defer cancel()
	recorded := []settled{s}
	d.record(after, recorded)
	s = recorded[0] // with the endpoint's health around it
	if s.Kind == OutcomeRetry || s.Kind == OutcomeDeferred || s.Kind == OutcomeInterrupted || s.Kind == OutcomeReleased || s.after.State != s.before.State {
		d.Wake(after)
	}
	if news := d.news(&s); news != nil {
		news(ctx)
	}
	delivery, err := d.store.Delivery(after, d.tenant, s.DeliveryID)
	if err != nil {
		return fail(err)
	}
	return delivery, s, nil
}
