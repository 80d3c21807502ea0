package webhook

import "errors"

// Errors of the emitting side. Each is wrapped with what was wrong; test for it with [errors.Is].
var (
	// ErrInvalidEvent is the parent of what Emit refuses an event for.
	ErrInvalidEvent = errors.New("invalid event")
	// ErrUnknownEventType says that the dispatcher's registry has no such event type.
	ErrUnknownEventType = sub(ErrInvalidEvent, "unknown event type")
	// ErrTooManyEvents says that one call was given more than MaxEventsPerEmit events.
	ErrTooManyEvents = sub(ErrInvalidEvent, "too many events in one call")
	// ErrInvalidData says that the event's data did not marshal, or is not what its type declares.
	ErrInvalidData = sub(ErrInvalidEvent, "invalid data")
	// ErrInvalidID says that an event id is not of the form [A-Za-z0-9_-]{1,64}.
	ErrInvalidID = sub(ErrInvalidEvent, "invalid id")
	// ErrEventTooLarge says that an event's body is over Config.MaxEventBytes.
	ErrEventTooLarge = sub(ErrInvalidEvent, "event too large")
	// ErrConflict says that an event with this id, but another type, session or data, is already stored.
	ErrConflict = errors.New("another event with this id exists")
	// ErrTenantRequired says that Config.RequireTenant is set and the call was not made through Dispatcher.Tenant.
	ErrTenantRequired = errors.New("tenant required")
	// ErrInvalidTenant says that a tenant's id is over 255 bytes, not valid UTF-8, or has U+0000 in it.
	ErrInvalidTenant = errors.New("invalid tenant")
	// ErrInvalidEndpoint is the parent of what an endpoint, or a change of it, is refused for. All refused fields are
	// joined in one error; each of them is a *FieldError.
	ErrInvalidEndpoint = errors.New("invalid endpoint")
	// ErrInvalidSecret says that a secret cannot be used, as Secret.Validate says, or that what is stored of one is
	// damaged.
	ErrInvalidSecret = errors.New("invalid secret")
	// ErrKeyMissing says that this process lacks the key that a stored secret was sealed with. Nothing was sent.
	ErrKeyMissing = errors.New("the key that the secret is sealed with is missing")
	// ErrTooManyEndpoints says that the tenant has Config.MaxEndpoints endpoints already.
	ErrTooManyEndpoints = errors.New("too many endpoints")
	// ErrInvalidConfig is the parent of what a constructor refuses its configuration for.
	ErrInvalidConfig = errors.New("webhook: invalid configuration")
	// ErrReplayRunning says that the endpoint has a replay that has not ended yet: wait for it, or stop it.
	ErrReplayRunning = errors.New("a replay is running already")
	// ErrRunning says that this dispatcher's Run is under way already.
	ErrRunning = errors.New("dispatcher is already running")
)

// Errors of stores. A store returns them, wrapped or bare; the dispatcher hands them on.
var (
	// ErrNotFound says that the tenant has no such endpoint, event or delivery. What another tenant has is not found
	// either.
	ErrNotFound = errors.New("not found")
	// ErrBodyPruned says that the event's body is not stored any more: its time was over, or it was erased. It cannot
	// be sent again.
	ErrBodyPruned = errors.New("the event's body is no longer stored")
	// ErrVersionConflict says that the endpoint was changed since it was read. Read it again and repeat the change.
	ErrVersionConflict = errors.New("endpoint was changed meanwhile")
	// ErrStoreFull says that the store has no room for the event's deliveries. Nothing was stored; try again later.
	ErrStoreFull = errors.New("store is full")
	// ErrBacklogFull says that as many deliveries wait for the endpoint as may (Config.MaxPending). Nothing was stored
	// for it; try again when they have gone out.
	ErrBacklogFull = errors.New("too many deliveries wait for the endpoint")
	// ErrInvalidCursor says that a page's cursor was not made by this store.
	ErrInvalidCursor = errors.New("invalid cursor")
)

// Errors of the receiving side.
var (
	// ErrNotVerified is the parent of every reason for which a request was not verified. What goes back to the caller
	// must not depend on which of them it was.
	ErrNotVerified = errors.New("webhook: not verified")
	// ErrMissingHeader says that a header of the scheme is missing or empty.
	ErrMissingHeader = sub(ErrNotVerified, "header missing")
	// ErrOtherScheme is an ErrMissingHeader where the request is signed, but with another scheme than the verifier's.
	// A valid signature of another scheme is never accepted instead.
	ErrOtherScheme = sub(ErrMissingHeader, "signed with another scheme")
	// ErrDuplicateHeader says that a header of the scheme came more than once.
	ErrDuplicateHeader = sub(ErrNotVerified, "header came more than once")
	// ErrMalformedHeader says that a header of the scheme is not of its form.
	ErrMalformedHeader = sub(ErrNotVerified, "header malformed")
	// ErrSignatureMismatch says that the signature was not made over this body with any of the secrets.
	ErrSignatureMismatch = sub(ErrNotVerified, "signature does not match")
	// ErrBodyReencoded is an ErrSignatureMismatch where the body is visibly not in the form in which it was sent:
	// something on the way decoded it and encoded it again. Verify the raw bytes of the request.
	ErrBodyReencoded = sub(ErrSignatureMismatch, "the body is not in the form in which events are sent; was it decoded and encoded again?")
	// ErrTimestampTooOld says that the signed timestamp is further back than the tolerance.
	ErrTimestampTooOld = sub(ErrNotVerified, "timestamp too old")
	// ErrTimestampTooNew says that the signed timestamp is further ahead than the tolerance.
	ErrTimestampTooNew = sub(ErrNotVerified, "timestamp too new")

	// ErrBodyConsumed says that something read the request's body before the verifier. It is a mistake in the
	// receiver, not in the request.
	ErrBodyConsumed = errors.New("webhook: request body was already read")
	// ErrBodyTooLarge says that the request's body is over the verifier's limit.
	ErrBodyTooLarge = errors.New("webhook: request body too large")
	// ErrUnsupportedMedia says that the request's Content-Type is not JSON, or that it has a Content-Encoding.
	ErrUnsupportedMedia = errors.New("webhook: unsupported content type or encoding")
	// ErrNotAnEvent says that the verified body is not an event.
	ErrNotAnEvent = errors.New("webhook: body is not an event")
)

// subError is a sentinel that is also its parent.
type subError struct {
	parent error
	text   string
}

func (e *subError) Error() string { return e.parent.Error() + ": " + e.text }
func (e *subError) Unwrap() error { return e.parent }

func sub(parent error, text string) error { return &subError{parent, text} }
