package webhook

import (
	"context"
	"fmt"
	"time"
)

// Event returns a stored event. Errors: [ErrNotFound].
func (d *Dispatcher) Event(ctx context.Context, eventID string) (Event, error) {
	return read(d, "event", func() (Event, error) { return d.store.Event(ctx, d.tenant, eventID) })
}

// Delivery returns a delivery with its attempts. Errors: [ErrNotFound].
func (d *Dispatcher) Delivery(ctx context.Context, deliveryID string) (Delivery, error) {
	return read(d, "delivery", func() (Delivery, error) { return d.store.Delivery(ctx, d.tenant, deliveryID) })
}

// Deliveries returns a page of the delivery log, the newest first. A Limit of 0 is 50; the most is [MaxPage]. Errors:
// [ErrInvalidCursor].
func (d *Dispatcher) Deliveries(ctx context.Context, f DeliveryFilter) (DeliveryPage, error) {
	if f.Limit <= 0 {
		f.Limit = 50
	}
	f.Limit = min(f.Limit, MaxPage)
	return read(d, "deliveries", func() (DeliveryPage, error) { return d.store.Deliveries(ctx, d.tenant, f) })
}

// Gaps returns the stretches of time in which events were not queued for an endpoint because it was pending or
// disabled, or its backlog was full, the newest first.
func (d *Dispatcher) Gaps(ctx context.Context, endpointID string) ([]Gap, error) {
	return read(d, "gaps", func() ([]Gap, error) { return d.store.Gaps(ctx, d.tenant, endpointID) })
}

// read calls the store where the view is allowed to, and says in an error what was asked.
func read[T any](d *Dispatcher, what string, call func() (T, error)) (T, error) {
	var zero T
	if err := d.allowed(); err != nil {
		return zero, fmt.Errorf("webhook: %s: %w", what, err)
	}
	v, err := call()
	if err != nil {
		return zero, fmt.Errorf("webhook: %s: %w", what, err)
	}
	return v, nil
}

// DeliveryFilter chooses deliveries; the zero value of a field is any.
type DeliveryFilter struct {
	EndpointID string
	EventID    string
	EventType  string
	State      DeliveryState
	Since      time.Time // created at or after
	Until      time.Time // created before
	// Limit is how many deliveries a page may hold. Through a Dispatcher 0 is 50, and more than MaxPage is MaxPage; in
	// a store both are MaxPage.
	Limit  int
	Cursor string // DeliveryPage.NextCursor of the page before; empty for the first
}

// MaxPage is the most that a page of deliveries may hold.
const MaxPage = 200

// DeliveryPage is a page of deliveries.
type DeliveryPage struct {
	Deliveries []Delivery
	NextCursor string
}
