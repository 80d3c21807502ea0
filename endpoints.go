package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meshia/webhook/internal/id"
)

// FieldError says what is wrong with one field of an endpoint. It is an [ErrInvalidEndpoint].
type FieldError struct {
	Field string // "id", "url", "events", "description", "secret", "overlap"
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

// AddEndpoint saves an endpoint and sends it a ping at once, through the log. A 2xx makes it active; with anything
// else it stays pending, and the delivery that is returned says why:
// Ping asks again. The endpoint is saved also where the ping fails, or ctx ends during it. Errors:
// [ErrInvalidEndpoint], in which every refused field is a [*FieldError]; [ErrTooManyEndpoints]; [ErrConflict] if its
// ID is taken.
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

	stored := Endpoint{
		ID: e.ID, Tenant: d.tenant, URL: e.URL, Events: slices.Clone(e.Events), Description: e.Description,
		Health: Health{State: EndpointPending, Window: 1},
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
	stored, err := d.store.CreateEndpoint(ctx, stored, d.cfg.MaxEndpoints)
	if err != nil {
		return fail(err)
	}
	if o.unpinged {
		return shown(stored), Delivery{}, nil
	}
	return d.pinged(ctx, stored)
}

// UpdateEndpoint changes the URL, the events and the description of an endpoint that was read with Endpoint. A new URL
// makes it pending and is pinged at once: the delivery is that ping's, and zero where the URL stays. Secrets change
// through RotateSecret. Errors: [ErrNotFound], [ErrVersionConflict] if it was changed since it was read,
// [ErrInvalidEndpoint].
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

	changed := old
	changed.Version = e.Version
	changed.URL, changed.Events, changed.Description = e.URL, slices.Clone(e.Events), e.Description
	var judge Judge
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
	stored, err := d.store.UpdateEndpoint(ctx, changed, judge)
	if err != nil {
		return fail(err)
	}
	if !moved {
		return shown(stored), Delivery{}, nil
	}
	return d.pinged(ctx, stored)
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
	return e
}

// SetEnabled switches an endpoint off, or on again. Events that happen while it is off are not queued but counted in a
// gap; what was queued before waits. Switching on does not ping: the endpoint is active again if it had answered a
// ping before, else pending. Errors: [ErrNotFound].
func (d *Dispatcher) SetEnabled(ctx context.Context, endpointID string, enabled bool) (Endpoint, error) {
	if err := d.allowed(); err != nil {
		return Endpoint{}, fmt.Errorf("webhook: set enabled: %w", err)
	}
	e, err := d.store.JudgeEndpoint(ctx, d.tenant, endpointID, func(h Health, now time.Time) Health {
		switch {
		case !enabled:
			return enter(h, EndpointDisabled, ReasonByUser, now)
		case h.State != EndpointDisabled:
			return h
		case h.Verified:
			h.Failures, h.FailingSince, h.Window = 0, time.Time{}, 1
			return enter(h, EndpointActive, "", now)
		default:
			return enter(h, EndpointPending, "", now)
		}
	})
	if err != nil {
		return Endpoint{}, fmt.Errorf("webhook: set enabled: %w", err)
	}
	if enabled {
		d.Wake(ctx) // what was queued before it was switched off
	}
	return shown(e), nil
}

// DeleteEndpoint deletes an endpoint. What is queued for it fails with FailEndpointDeleted; its log stays. Errors:
// [ErrNotFound].
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
	return errs
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
