package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// AnyEventType is an [EventType] of any data. Only EventType implements it.
type AnyEventType interface {
	Name() string
	Description() string
	Example() json.RawMessage
	fits(json.RawMessage) error
}

// Registry is the set of event types that a dispatcher knows. It does not change once it is made.
type Registry struct {
	types  []AnyEventType
	byName map[string]AnyEventType
}

// NewRegistry makes a registry of these types, kept in this order. To add types to the documented eight:
//
//	webhook.NewRegistry(append(webhook.DefaultRegistry().Types(), InvoicePaid)...)
//
// It panics if two types have one name, and on [Ping], which only dispatchers send.
func NewRegistry(types ...AnyEventType) *Registry {
	r := &Registry{types: slices.Clone(types), byName: make(map[string]AnyEventType, len(types))}
	for _, t := range types {
		if t.Name() == pingName {
			panic(`webhook: NewRegistry: "ping" is reserved`)
		}
		if _, twice := r.byName[t.Name()]; twice {
			panic(fmt.Sprintf("webhook: NewRegistry: two event types are named %q", t.Name()))
		}
		r.byName[t.Name()] = t
	}
	return r
}

// Types returns the registry's event types in the order in which they were given.
func (r *Registry) Types() []AnyEventType { return slices.Clone(r.types) }

// Lookup returns the event type of this name.
func (r *Registry) Lookup(name string) (AnyEventType, bool) {
	t, ok := r.byName[name]
	return t, ok
}

// Event is the untyped door, for callers that have a type's name and JSON: data must decode as that type's data and is
// written into the body byte for byte, with the fields that the type does not know. Errors: [ErrUnknownEventType],
// [ErrInvalidData], and what Emit refuses an event for.
func (r *Registry) Event(name, sessionID string, data json.RawMessage, opts ...EventOption) (Event, error) {
	fail := func(err error) (Event, error) { return Event{}, fmt.Errorf("webhook: %w", err) }
	t, ok := r.byName[name]
	if !ok {
		return fail(fmt.Errorf("%w: %q", ErrUnknownEventType, name))
	}
	data = bytes.TrimSpace(data)
	if err := t.fits(data); err != nil {
		return fail(err)
	}
	e := newEvent(name, sessionID, data, opts)
	if e.err != nil {
		return fail(e.err)
	}
	return e, nil
}
