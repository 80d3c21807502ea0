package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// EventType is one kind of event and the type of its data. It is declared once, as a package variable, and shared by
// the emitting side (New) and the receiving side ([Handle], Decode).
type EventType[T any] struct {
	name, description string
	example           T
}

const maxNameBytes = 64

var nameForm = regexp.MustCompile(`^[a-z0-9_]+(\.[a-z0-9_]+)*$`)

// NewEventType declares an event type. Its name has the form ^[a-z0-9_]+(\.[a-z0-9_]+)*$, at most 64 bytes; "ping" is
// reserved.
// The description and the example are what people see who choose what to subscribe to. NewEventType panics on a
// malformed name and on an example that does not marshal, as regexp.MustCompile does: both are mistakes in the source.
func NewEventType[T any](name, description string, example T) EventType[T] {
	if name == pingName {
		panic(`webhook: NewEventType: "ping" is reserved`)
	}
	return newEventType(name, description, example)
}

func newEventType[T any](name, description string, example T) EventType[T] {
	if !nameForm.MatchString(name) || len(name) > maxNameBytes {
		panic(fmt.Sprintf("webhook: NewEventType: name %q is not of the form %s with at most %d bytes", name, nameForm, maxNameBytes))
	}
	if _, err := encode(example); err != nil {
		panic(fmt.Sprintf("webhook: NewEventType: the example of %q does not marshal: %v", name, err))
	}
	return EventType[T]{name, description, example}
}

// Name is the event type's name, as in the body's "event".
func (t EventType[T]) Name() string { return t.name }

// Description says in a sentence when the event fires.
func (t EventType[T]) Description() string { return t.description }

// Example is the example's data as JSON.
func (t EventType[T]) Example() json.RawMessage {
	data, _ := encode(t.example) // it marshalled when the type was declared
	return data
}

// New makes an event: its id, time and bytes are fixed here. Data that does not marshal makes an event that Emit
// refuses with [ErrInvalidData].
func (t EventType[T]) New(sessionID string, data T, opts ...EventOption) Event {
	raw, err := encode(data)
	if err != nil {
		return Event{Type: t.name, SessionID: sessionID, err: fmt.Errorf("%w: %w", ErrInvalidData, err)}
	}
	return newEvent(t.name, sessionID, raw, opts)
}

// Decode reads the data of an event of this type. An event of another type gives [ErrUnknownEventType], data that does
// not fit [ErrInvalidData].
func (t EventType[T]) Decode(e Event) (T, error) {
	var data T
	if e.Type != t.name {
		return data, fmt.Errorf("webhook: %w: %q is not %q", ErrUnknownEventType, e.Type, t.name)
	}
	if err := json.Unmarshal(e.Data(), &data); err != nil {
		return data, fmt.Errorf("webhook: %w", dataError(err))
	}
	return data, nil
}

// dataError says where data does not fit, and not what it is: a body belongs in no log.
func dataError(err error) error {
	var mistyped *json.UnmarshalTypeError
	if !errors.As(err, &mistyped) {
		return fmt.Errorf("%w: not JSON, or not of this type", ErrInvalidData)
	}
	kind, _, _ := strings.Cut(mistyped.Value, " ") // a number's own digits follow
	if mistyped.Field == "" {
		return fmt.Errorf("%w: it must not be a JSON %s", ErrInvalidData, kind)
	}
	return fmt.Errorf("%w: field %q must not be a JSON %s", ErrInvalidData, mistyped.Field, kind)
}

func (t EventType[T]) fits(data json.RawMessage) error {
	if !utf8.Valid(data) { // which encoding/json does not ask (RFC 8259, section 8.1)
		return fmt.Errorf("%w: not UTF-8", ErrInvalidData)
	}
	var into T
	null := []byte("null")
	if empty, err := encode(into); bytes.Equal(data, null) && (err != nil || !bytes.Equal(empty, null)) {
		return fmt.Errorf("%w: null", ErrInvalidData) // which Unmarshal takes for any type, and leaves it empty
	}
	if err := json.Unmarshal(data, &into); err != nil {
		return dataError(err)
	}
	return nil
}

// encode is json.Marshal without the escaping of <, > and &, which is for HTML: the bytes are read by people too.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}
