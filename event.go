package webhook

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/meshia/webhook/internal/id"
)

// Event is something that happened, as it goes to every endpoint that subscribed to its type. It is made by
// [EventType.New], [Registry.Event] or [ParseEvent]; its body is fixed there and is what is stored, signed and sent,
// byte for byte, on every attempt.
// An Event must not be modified.
type Event struct {
	// ID identifies the event within its tenant: [A-Za-z0-9_-]{1,64}. Receivers see it as the webhook-id header, the
	// same on every attempt.
	ID string
	// Type is the event type's name, such as "experiment.completed".
	Type string
	// SessionID names the session that the event belongs to: valid UTF-8 of at most 255 bytes, without U+0000. It may
	// be empty.
	SessionID string
	// Time is when it happened: UTC, whole seconds.
	Time time.Time
	// Body is the whole JSON document {"event","timestamp","session_id","data"}.
	Body []byte
	// Metadata is kept with the event and not sent: at most 16 pairs and 4 KiB.
	Metadata map[string]string

	named  bool  // the caller chose the id
	dataAt int   // where "data" starts in Body, where this process encoded it; 0: unknown
	first  *byte // of Body, where this process encoded it
	err    error // why the event could not be made; Emit returns it
}

const (
	maxSessionBytes  = 255
	maxMetadataPairs = 16
	maxMetadataBytes = 4 << 10
)

// isID reports whether s has the form of an id: [A-Za-z0-9_-]{1,64}.
func isID(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}

// isText reports whether every store can keep s: Postgres takes no U+0000.
func isText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// EventOption sets an optional part of a new event.
type EventOption func(*Event)

// WithID gives the event an id of the caller's own, of the form [A-Za-z0-9_-]{1,64}: emitting it twice is then the
// same as emitting it once.
// An empty one is refused too: it is a key that got lost.
func WithID(id string) EventOption { return func(e *Event) { e.ID, e.named = id, true } }

// WithTime sets when the event happened; it is cut to whole seconds. Defaults to now.
func WithTime(t time.Time) EventOption { return func(e *Event) { e.Time = t } }

// WithMetadata keeps pairs with the event that are stored and never sent: at most 16 pairs and 4 KiB in all.
func WithMetadata(pairs map[string]string) EventOption {
	return func(e *Event) { e.Metadata = maps.Clone(pairs) }
}

// newEvent encodes the body around data, which must be valid JSON and is kept byte for byte.
func newEvent(eventType, sessionID string, data []byte, opts []EventOption) Event {
	e := Event{Type: eventType, SessionID: sessionID}
	for _, opt := range opts {
		opt(&e)
	}
	if !e.named {
		e.ID = id.New("evt_")
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Time = e.Time.UTC().Truncate(time.Second)
	if e.err = e.check(); e.err != nil {
		return e
	}

	b := make([]byte, 0, len(`{"event":"","timestamp":"2006-01-02T15:04:05Z","session_id":"","data":}`)+len(eventType)+len(sessionID)+len(data))
	b = e.appendHead(b)
	e.dataAt = len(b)
	b = append(b, data...)
	e.Body = append(b, '}')
	e.first = &e.Body[0]
	return e
}

// appendHead writes the body up to the data.
func (e *Event) appendHead(b []byte) []byte {
	b = append(b, `{"event":"`...) // names need no escaping
	b = append(b, e.Type...)
	b = append(b, `","timestamp":"`...)
	b = e.Time.AppendFormat(b, time.RFC3339)
	b = append(b, `","session_id":`...)
	b = appendString(b, e.SessionID)
	return append(b, `,"data":`...)
}

// asMade reports whether the body is the one that newEvent encoded, and says what the fields say.
func (e *Event) asMade() bool {
	if e.dataAt >= len(e.Body) || &e.Body[0] != e.first {
		return false
	}
	var buffer [256]byte
	return bytes.Equal(e.appendHead(buffer[:0]), e.Body[:e.dataAt])
}

func (e *Event) check() error {
	var errs []error
	if !isID(e.ID) {
		errs = append(errs, fmt.Errorf("%w: must match [A-Za-z0-9_-]{1,64}", ErrInvalidID))
	}
	if len(e.SessionID) > maxSessionBytes || !isText(e.SessionID) {
		errs = append(errs, fmt.Errorf("%w: session id must be valid UTF-8 of at most %d bytes, without U+0000", ErrInvalidEvent, maxSessionBytes))
	}
	if y := e.Time.Year(); y < 0 || y > 9999 {
		errs = append(errs, fmt.Errorf("%w: the year of its time is not in 0..9999 (RFC 3339)", ErrInvalidEvent))
	}
	size := 0
	for k, v := range e.Metadata {
		size += len(k) + len(v)
		if !isText(k) || !isText(v) {
			errs = append(errs, fmt.Errorf("%w: metadata is not valid UTF-8, or has U+0000 in it", ErrInvalidEvent))
			break
		}
	}
	if len(e.Metadata) > maxMetadataPairs || size > maxMetadataBytes {
		errs = append(errs, fmt.Errorf("%w: metadata over %d pairs or %d bytes", ErrInvalidEvent, maxMetadataPairs, maxMetadataBytes))
	}
	return errors.Join(errs...)
}

// Data returns the event's "data" as it stands in the body, or nil if the body has none.
func (e Event) Data() json.RawMessage {
	if e.dataAt > 0 {
		return json.RawMessage(e.Body[e.dataAt : len(e.Body)-1])
	}
	var body struct {
		Data json.RawMessage `json:"data"`
	}
	if json.Unmarshal(e.Body, &body) != nil {
		return nil
	}
	return body.Data
}

// Digest is a SHA-256 over the event's type, session and data, and not over its time: two events with one id are the
// same event if their digests are equal. Stores keep it, so that the comparison outlives the body.
func (e Event) Digest() [32]byte {
	data := e.Data()
	b := make([]byte, 0, 16+len(e.Type)+len(e.SessionID)+len(data))
	b = binary.BigEndian.AppendUint64(b, uint64(len(e.Type))) // lengths first: no two triples share their bytes
	b = append(b, e.Type...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(e.SessionID)))
	b = append(b, e.SessionID...)
	return sha256.Sum256(append(b, data...))
}

// ParseEvent reads a body as it arrived at a receiver; id is the webhook-id header, which may be empty. It does not
// verify anything:
// see [Verifier]. A body that is not an event gives [ErrNotAnEvent].
func ParseEvent(id string, body []byte) (Event, error) {
	var in struct {
		Event     *string    `json:"event"`
		Timestamp *time.Time `json:"timestamp"`
		SessionID string     `json:"session_id"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		// The error's text may quote the body, which belongs in no log.
		return Event{}, fmt.Errorf("%w: not a JSON object of the documented form", ErrNotAnEvent)
	}
	switch {
	case in.Event == nil || !nameForm.MatchString(*in.Event) || len(*in.Event) > maxNameBytes:
		return Event{}, fmt.Errorf("%w: its \"event\" is not an event type's name", ErrNotAnEvent)
	case in.Timestamp == nil:
		return Event{}, fmt.Errorf("%w: it has no \"timestamp\"", ErrNotAnEvent)
	}
	return Event{ID: id, Type: *in.Event, SessionID: in.SessionID, Time: in.Timestamp.UTC(), Body: bytes.Clone(body)}, nil
}
