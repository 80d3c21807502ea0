package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/meshia/webhook/internal/id"
)

// FieldError says what is wrong with one field of an endpoint. It is an [ErrInvalidEndpoint].
type FieldError struct {
	Field string // "id", "url", "events", "description", "secret", "rate", "burst", "max_in_flight", "timeout", "headers", "overlap", "replay", "asked_by"
	err   error
}

// Error says which field, and what to do about it; it quotes neither a URL's path nor a secret.
func (e *FieldError) Error() string { return e.Field + ": " + e.err.Error() }

// Unwrap makes it an [ErrInvalidEndpoint], and what else its cause is.
func (e *FieldError) Unwrap() []error { return []error{ErrInvalidEndpoint, e.err} }

// AddOption changes how an endpoint is added.
type AddOption func(*addOptions)

type addOptions struct{ unpinged bool }

// WithoutPing adds the endpoint as active, without asking whether it answers: for endpoints that have proved it
// elsewhere.
func WithoutPing() AddOption { return func(o *addOptions) { o.unpinged = true } }

// AddEndpoint saves an endpoint and sends it a ping at once, through the log. A 2xx makes it active; with anything else
// it stays pending, and the delivery that is returned says why: Ping asks again. The endpoint is saved also where the
// ping fails, or ctx ends during it. Errors: [ErrInvalidEndpoint], in which every refused field is a [*FieldError];
// [ErrTooManyEndpoints]; [ErrConflict] if its ID is taken.
func (d *Dispatcher) AddEndpoint(ctx context.Context, e Endpoint, opts ...AddOption) (Endpoint, Delivery, error) {
	var o addOptions
	for _, opt := range opts {
		opt(&o)
	}
	fail := func(err error) (Endpoint, Delivery, error) {
		return Endpoint{}, Delivery{}, fmt.Errorf("webhook: add endpoint: %w", err)
	}
	if err := d.allowed(); err != nil {
		return fail(err)
	}
	if e.ID == "" {
		e.ID = id.New("we_")
	}
	errs := d.checkEndpoint(&e)
	if !e.Secret.IsZero() {
		errs = append(errs, field("secret", e.Secret.Validate()))
	}
	if err := errors.Join(errs...); err != nil {
		return fail(err)
	}

	stored := Endpoint{ID: e.ID, Tenant: d.tenant, Health: Health{State: EndpointPending, Window: 1}}
	stored.take(&e)
	var err error
	if stored.StoredHeaders, err = d.sealHeaders(ctx, stored.ref(), e.Headers); err != nil {
		return fail(err)
	}
	if o.unpinged {
		stored.Health.State, stored.Health.Verified = EndpointActive, true
	}
	if !e.Secret.IsZero() {
		secret, err := d.newStoredSecret(ctx, EndpointRef{d.tenant, e.ID}, e.Secret)
		if err != nil {
			return fail(err)
		}
		stored.Secrets = []StoredSecret{secret}
	}
	if stored, err = d.store.CreateEndpoint(ctx, stored, d.cfg.MaxEndpoints); err != nil {
		return fail(err)
	}
	if o.unpinged {
		return shown(stored), Delivery{}, nil
	}
	return d.pinged(ctx, stored)
}

// UpdateEndpoint changes an endpoint that was read with Endpoint: all fields up to Headers, but for its ID and secret;
// secrets change through RotateSecret. A new URL makes it pending and is pinged at once: the delivery is that ping's,
// and zero where the URL stays. With nil Headers those that it has stay, unless the URL's host changes: they are then
// to be given anew. A lower rate, or fewer in flight, hold for what is not leased yet. Errors:
// [ErrNotFound], [ErrVersionConflict] if it was changed since it was read, [ErrInvalidEndpoint].
func (d *Dispatcher) UpdateEndpoint(ctx context.Context, e Endpoint) (Endpoint, Delivery, error) {
	fail := func(err error) (Endpoint, Delivery, error) {
		return Endpoint{}, Delivery{}, fmt.Errorf("webhook: update endpoint: %w", err)
	}
	if err := d.allowed(); err != nil {
		return fail(err)
	}
	errs := d.checkEndpoint(&e)
	if !e.Secret.IsZero() {
		errs = append(errs, field("secret", errors.New("use RotateSecret to change it")))
	}
	if err := errors.Join(errs...); err != nil {
		return fail(err)
	}
	old, err := d.store.Endpoint(ctx, d.tenant, e.ID)
	if err != nil {
		return fail(err)
	}

	if len(old.StoredHeaders) > 0 && e.Headers == nil && origin(old.URL) != origin(e.URL) {
		return fail(field("headers", errors.New("must be given anew, or as an empty map, where the URL's host changes: nobody can read them back, and they would go there")))
	}

	changed := old
	changed.Version = e.Version
	changed.take(&e)
	if e.Headers != nil {
		if changed.StoredHeaders, err = d.sealHeaders(ctx, changed.ref(), e.Headers); err != nil {
			return fail(err)
		}
	}
	most := d.rules.inFlight(&changed)
	judge := func(h Health, _ time.Time) Health {
		h.Window = min(h.Window, most)
		return h
	}
	moved := old.URL != e.URL
	if moved {
		judge = func(h Health, now time.Time) Health {
			byUser := h.State == EndpointDisabled && h.Reason == ReasonByUser
			fresh := Health{State: h.State, Reason: h.Reason, Since: h.Since, Window: 1, LastSuccess: h.LastSuccess, Generation: h.Generation + 1}
			if !byUser { // what its owner switched off stays off
				fresh = enter(fresh, EndpointPending, "", now)
			}
			return fresh
		}
	}
	judge, seen := d.watched(changed.ref(), judge)
	stored, err := d.store.UpdateEndpoint(ctx, changed, judge)
	if err != nil {
		return fail(err)
	}
	d.changed(ctx, *seen)
	if !moved {
		return shown(stored), Delivery{}, nil
	}
	return d.pinged(ctx, stored)
}

// origin is who answers at a URL: its scheme, host and port (RFC 6454).
func origin(address string) string {
	u, err := url.Parse(address)
	if err != nil { // then it is like no other
		return address
	}
	return u.Scheme + "://" + u.Host
}

// watched is a judge that leaves behind what it changed.
func (*Dispatcher) watched(of EndpointRef, judge Judge) (Judge, *EndpointChange) {
	seen := &EndpointChange{Endpoint: of}
	return func(h Health, now time.Time) Health {
		seen.Before, seen.After = h, judge(h, now) // a store may call it again: the last call counts
		return seen.After
	}, seen
}

// take takes over what the owner of an endpoint may change, but for what is sealed.
func (e *Endpoint) take(from *Endpoint) {
	e.URL, e.Events, e.Description = from.URL, slices.Clone(from.Events), from.Description
	e.Rate, e.Burst, e.MaxInFlight, e.Timeout = from.Rate, from.Burst, from.MaxInFlight, from.Timeout
}

// pinged pings an endpoint that was just saved, and returns it as it is after that.
func (d *Dispatcher) pinged(ctx context.Context, e Endpoint) (Endpoint, Delivery, error) {
	delivery, err := d.Ping(ctx, e.ID)
	if err != nil {
		return shown(e), delivery, err
	}
	after, err := d.store.Endpoint(context.WithoutCancel(ctx), d.tenant, e.ID)
	if err != nil {
		return shown(e), delivery, fmt.Errorf("webhook: ping: %w", err)
	}
	return shown(after), delivery, nil
}

// shown is an endpoint as callers get it: of its secrets only what names them.
func shown(e Endpoint) Endpoint {
	e.Secrets = slices.Clone(e.Secrets)
	for i := range e.Secrets {
		e.Secrets[i].Sealed = nil
	}
	e.StoredHeaders = slices.Clone(e.StoredHeaders)
	for i := range e.StoredHeaders {
		e.StoredHeaders[i].Sealed = nil
	}
	return e
}

// DeleteEndpoint deletes an endpoint. What is queued for it is not sent any more and fails with FailEndpointDeleted, a
// large backlog little by little; its log stays. Errors: [ErrNotFound].
func (d *Dispatcher) DeleteEndpoint(ctx context.Context, endpointID string) error {
	err := d.allowed()
	if err == nil {
		err = d.store.DeleteEndpoint(ctx, d.tenant, endpointID)
	}
	if err != nil {
		return fmt.Errorf("webhook: delete endpoint: %w", err)
	}
	return nil
}

// Endpoint returns one endpoint, without its secret. Errors: [ErrNotFound].
func (d *Dispatcher) Endpoint(ctx context.Context, endpointID string) (Endpoint, error) {
	return read(d, "endpoint", func() (Endpoint, error) {
		e, err := d.store.Endpoint(ctx, d.tenant, endpointID)
		return shown(e), err
	})
}

// Endpoints returns the tenant's endpoints, without their secrets, in the order in which they were added.
func (d *Dispatcher) Endpoints(ctx context.Context) ([]Endpoint, error) {
	return read(d, "endpoints", func() ([]Endpoint, error) {
		all, err := d.store.Endpoints(ctx, d.tenant)
		for i := range all {
			all[i] = shown(all[i])
		}
		return all, err
	})
}

// checkEndpoint names every field that is refused, and brings the URL into its canonical form.
func (d *Dispatcher) checkEndpoint(e *Endpoint) []error {
	var errs []error
	if !isID(e.ID) {
		errs = append(errs, field("id", errors.New("must match [A-Za-z0-9_-]{1,64}")))
	}
	if u, err := d.guard.CheckURL(e.URL); err != nil {
		errs = append(errs, field("url", err))
	} else {
		e.URL = u.String() // as it will be dialled, however it was written
	}
	errs = append(errs, field("events", d.checkSubscriptions(e.Events)))
	if len(e.Description) > 1<<10 || !isText(e.Description) {
		errs = append(errs, field("description", errors.New("must be valid UTF-8 of at most 1 KiB, without U+0000")))
	}
	if e.Rate != 0 && !(e.Rate >= 0.001 && e.Rate <= 10_000) { // NaN too
		errs = append(errs, field("rate", errors.New("must be 0, or 0.001 to 10 000 requests a second")))
	}
	if e.Burst < 0 || e.Burst > 10_000 || e.Burst > 0 && e.Rate == 0 {
		errs = append(errs, field("burst", errors.New("must be 0 to 10 000, and 0 without a rate")))
	}
	if e.MaxInFlight < 0 || e.MaxInFlight > d.cfg.MaxInFlight {
		errs = append(errs, field("max_in_flight", fmt.Errorf("must be 0 to %d, which is Config.MaxInFlight", d.cfg.MaxInFlight)))
	}
	if e.Timeout != 0 && (e.Timeout < time.Second || e.Timeout > d.cfg.Timeout) {
		errs = append(errs, field("timeout", fmt.Errorf("must be 0, or 1s to %v, which is Config.Timeout", d.cfg.Timeout)))
	}
	return append(errs, field("headers", checkHeaders(e.Headers)))
}

func (d *Dispatcher) checkSubscriptions(names []string) error {
	if len(names) == 0 {
		return errors.New(`must name event types, or be ["*"] for all`)
	}
	if slices.Equal(names, []string{AllEvents}) {
		return nil
	}
	var errs []error
	for i, name := range names {
		switch _, known := d.cfg.Registry.Lookup(name); {
		case name == AllEvents:
			errs = append(errs, errors.New(`"*" must stand alone`))
		case !known:
			errs = append(errs, fmt.Errorf("there is no event type %q", clip(name, maxNameBytes)))
		case slices.Contains(names[:i], name):
			errs = append(errs, fmt.Errorf("%q is named twice", name))
		}
	}
	return errors.Join(errs...)
}

// field is a FieldError, or nil where err is.
func field(name string, err error) error {
	if err == nil {
		return nil
	}
	return &FieldError{name, err}
}
