// Package webhook emits webhooks and verifies them.
//
// A service declares event types, registers endpoints and emits:
//
//	store := webhook.NewMemoryStore(nil)
//	d, err := webhook.NewDispatcher(store, nil)
//	go d.Run(ctx) // sends, retries and logs until ctx ends
//	endpoint, ping, err := d.AddEndpoint(ctx, webhook.Endpoint{
//		URL: "https://example.com/hook", Events: []string{webhook.AllEvents}, Secret: webhook.GenerateSecret(),
//	})
//	err = d.Emit(ctx, webhook.ExperimentCompleted.New("sess_abc123", data))
//
// Every endpoint that subscribed to the event's type gets a signed POST, retried with exponential backoff, each
// attempt in a log.
//
// A receiver verifies, in a handler of its own with [Verify] or a [Verifier], or with a whole http.Handler:
//
//	v, err := webhook.NewVerifier([]string{secret}, nil)
//	r := webhook.NewReceiver(v, nil)
//	webhook.Handle(r, webhook.ExperimentCompleted,
//		func(ctx context.Context, e webhook.Event, data webhook.ExperimentCompletedData) error { ... })
//
// What travels is Event → [Delivery] → [Lease] → [Attempt] → [Outcome]: an event is matched with endpoints into
// deliveries, the dispatcher leases a delivery from its [Store], makes an attempt at it, and records what came of it.
package webhook

import (
	"slices"
	"time"
)

// Version is the version of the library; requests carry it as User-Agent: Meshia-Webhook/<version>.
const Version = "0.1.0"

// Endpoint is where a tenant wants events to go. The fields up to Headers, but for Tenant, are its owner's and change
// through the dispatcher only; the rest is filled in by the dispatcher and the store.
type Endpoint struct {
	// ID is made by AddEndpoint if it is empty: [A-Za-z0-9_-]{1,64}.
	ID string
	// Tenant owns the endpoint. It is set by the dispatcher, to the tenant of the view that the call was made through.
	Tenant string
	// URL receives the POST requests. It must be https, without user information and fragment, at most 2048 bytes.
	URL string
	// Events are the names of the event types that it subscribes to, or ["*"] for all, those added later included. It
	// must not be empty.
	Events []string
	// Description is free text of at most 1 KiB.
	Description string
	// Secret signs the requests: typed by the endpoint's owner, or made by [GenerateSecret]. It may be empty: requests
	// are then not signed.
	// It is read when the endpoint is added and never filled in on a read: see Dispatcher.RevealSecret.
	Secret Secret

	// Rate is how many requests a second the endpoint gets at most, over all dispatchers, and Burst how many of them
	// may come at once. Pings, tests and redeliveries that a person waits for go out beside it. A Rate of 0 is no
	// bound, else it is 0.001 to 10 000; a Burst of 0 is Rate rounded up, else it is 1 to 10 000; without a Rate it
	// must be 0.
	Rate  float64
	Burst int
	// MaxInFlight is how many requests the endpoint has under way at most. 0 is Config.MaxInFlight, which is the most.
	MaxInFlight int
	// Timeout bounds one attempt. 0 is Config.Timeout, which is the most; the least is 1 s.
	Timeout time.Duration
	// Headers are sent with every request: at most 20, of 4 KiB together. Their values are secrets: they are read when
	// the endpoint is added or updated, sealed, and never filled in on a read; the log of attempts has their names
	// only.
	// In an update nil keeps what is stored, and an empty map removes it.
	// Not among them are those that the wire sets itself (X-Meshia-*, webhook-*, Content-*, Host ...), those that
	// change how the request travels, and those that open metadata services.
	Headers map[string]Secret

	// StoredHeaders are the Headers as they are stored, in the order of their names.
	StoredHeaders []StoredHeader
	// Secrets are the secrets as they are stored, the oldest first: none, one, or two during a rotation.
	Secrets []StoredSecret
	// Health is what the dispatchers know of the endpoint. Only they change it.
	Health Health
	// Version grows with each change of the endpoint's own fields.
	Version int64
	// CreatedAt is the store's time.
	CreatedAt time.Time
}

// AllEvents subscribes to every event type.
const AllEvents = "*"

func (e *Endpoint) ref() EndpointRef { return EndpointRef{e.Tenant, e.ID} }

// Subscribes reports whether the endpoint wants events of this type.
func (e *Endpoint) Subscribes(eventType string) bool {
	return slices.Contains(e.Events, eventType) || slices.Contains(e.Events, AllEvents)
}

// StoredSecret is a secret as stores hold it.
type StoredSecret struct {
	// ID names the secret in the log of attempts: random, so that it tells nothing of the secret.
	ID string
	// Sealed is the secret as the dispatcher sealed it. Stores keep its bytes as they are; a dispatcher does not hand
	// it out.
	Sealed Sealed
	// CreatedAt is when the secret was set.
	CreatedAt time.Time
	// ExpiresAt is when the secret stops signing; zero: it does not.
	ExpiresAt time.Time
}

// StoredHeader is a header of an endpoint's own as stores hold it.
type StoredHeader struct {
	// Name is in its canonical form.
	Name string
	// Sealed is the value as the dispatcher sealed it. Stores keep its bytes as they are; a dispatcher does not hand
	// it out.
	Sealed Sealed
}

// EndpointState says whether an endpoint receives events.
type EndpointState string

const (
	// EndpointPending: no ping has been answered with 2xx yet. Events are not queued for it.
	EndpointPending EndpointState = "pending"
	// EndpointActive: it receives events.
	EndpointActive EndpointState = "active"
	// EndpointPaused: events are queued for it and wait.
	EndpointPaused EndpointState = "paused"
	// EndpointDisabled: events are not queued for it; those queued before wait.
	EndpointDisabled EndpointState = "disabled"
)

// Queues reports whether events that are accepted in this state are queued for the endpoint. If not, they are counted
// in a [Gap].
func (s EndpointState) Queues() bool { return s == EndpointActive || s == EndpointPaused }

// gap is why an endpoint in this state misses events; empty: it does not.
func (s EndpointState) gap() GapReason {
	switch s {
	case EndpointPending:
		return GapPending
	case EndpointDisabled:
		return GapDisabled
	}
	return ""
}

// StateReason says why an endpoint is disabled or paused.
type StateReason string

const (
	ReasonByUser     StateReason = "by_user"     // disabled: SetEnabled(false)
	ReasonGone       StateReason = "gone"        // disabled: it answered 410 Gone
	ReasonFailing    StateReason = "failing"     // disabled: it failed for longer than Config.DisableAfter
	ReasonBreaker    StateReason = "breaker"     // paused: Config.PauseAfter attempts failed in a row
	ReasonKeyMissing StateReason = "key_missing" // paused: its secret could not be opened by the process that tried last
)

// Health is an endpoint's state and what decides how it is served. It is changed by a [Judge] only.
type Health struct {
	State  EndpointState
	Reason StateReason // empty where the state explains itself
	Since  time.Time   // when State was entered
	// Verified is set once a ping to its URL was answered with 2xx, or by adding it without a ping. A new URL clears
	// it.
	Verified bool
	// Generation counts its URLs: what comes of an attempt at an old one says nothing about the new one.
	Generation int64

	// Window is how many deliveries may be in flight to the endpoint at once, over all processes. 0 counts as 1.
	Window int
	// Slow marks an endpoint whose last attempt failed or took long. All slow endpoints together get a bounded share
	// of a process's slots.
	Slow bool
	// PausedUntil: while State is EndpointPaused, nothing is claimed for it before this time. What is claimed then is
	// a probe.
	PausedUntil time.Time
	// Failures counts failed attempts in a row; FailingSince is the time of the first of them, LastFailure that of the
	// last.
	Failures     int
	FailingSince time.Time
	LastFailure  time.Time
	// LastSuccess is when it last answered 2xx.
	LastSuccess time.Time
	// AcceptedSecret is the StoredSecret.ID that signed X-Meshia-Signature when it last answered 2xx.
	AcceptedSecret string
}

// Judge is a pure function from an endpoint's health to what it becomes. now is the store's time. A store calls it in
// the transaction that it is part of, with the health as it is there, so that judgements from several processes follow
// each other and none is lost.
type Judge func(h Health, now time.Time) Health

// Delivery is one event on its way to one endpoint.
type Delivery struct {
	ID         string // made by the store: dlv_…, unguessable, sorting roughly by creation
	Tenant     string
	EventID    string
	EventType  string
	EndpointID string
	Kind       DeliveryKind

	State DeliveryState
	// Reason says why State is DeliveryFailed; empty otherwise.
	Reason FailReason
	// CreatedAt is when it was enqueued; all times of a delivery are the store's.
	CreatedAt time.Time
	// NextAttemptAt is when it falls due. Zero unless State is DeliveryPending.
	NextAttemptAt time.Time
	// FinishedAt is when it succeeded or failed. Zero before.
	FinishedAt time.Time
	// AttemptCount is the number of the last attempt: 1 for the first.
	AttemptCount int
	// Interrupted is how many of the attempts were interrupted and had to be made again; they do not use up the
	// retries.
	Interrupted int
	// Deferred is how many of the attempts were failed probes of a paused endpoint; they do not use up the retries
	// either.
	Deferred int
	// RedeliveryOf is the delivery that a KindRedelivery repeats, and AskedBy who asked for it, in the caller's words.
	RedeliveryOf string
	AskedBy      string
	// Attempts are the attempts made so far, in order. Reads of single deliveries and lists fill it in; in a Lease it
	// is nil.
	Attempts []Attempt
}

// DeliveryKind says what a delivery was made for.
type DeliveryKind string

const (
	KindEvent      DeliveryKind = "event"      // an emitted event that the endpoint subscribed to
	KindPing       DeliveryKind = "ping"       // one attempt: does the endpoint answer?
	KindTest       DeliveryKind = "test"       // one attempt, sent by hand
	KindRedelivery DeliveryKind = "redelivery" // the event of an earlier delivery again, with attempts of its own
)

// Once reports whether a delivery of this kind has one attempt and no retries.
func (k DeliveryKind) Once() bool { return k == KindPing || k == KindTest }

// DeliveryState is where a delivery stands. Succeeded and failed are final.
type DeliveryState string

const (
	DeliveryPending   DeliveryState = "pending"   // waits for its next attempt
	DeliveryLeased    DeliveryState = "leased"    // an attempt is under way
	DeliverySucceeded DeliveryState = "succeeded" // a 2xx was seen
	DeliveryFailed    DeliveryState = "failed"    // given up, for the reason in Reason
)

// Final reports whether the state never changes again.
func (s DeliveryState) Final() bool { return s == DeliverySucceeded || s == DeliveryFailed }

// FailReason says why a delivery failed.
type FailReason string

const (
	FailExhausted       FailReason = "exhausted"        // every attempt failed
	FailGone            FailReason = "gone"             // the endpoint answered 410 Gone
	FailExpired         FailReason = "expired"          // older than Config.MaxAge
	FailEndpointDeleted FailReason = "endpoint_deleted" // its endpoint was deleted while it waited
	FailInterrupted     FailReason = "interrupted"      // MaxInterrupted attempts were interrupted, or the only one was
	FailErased          FailReason = "erased"           // its contents were erased while it waited
	FailCancelled       FailReason = "cancelled"        // the caller of a ping or test gave up before it was answered
)

// MaxInterrupted is how many attempts of one delivery may be interrupted before it fails with FailInterrupted:
// whatever ends its process every time must not do so for ever.
const MaxInterrupted = 10

// MaxDeferred is how many probes of a paused endpoint one delivery is good for: those that fail after that use up its
// retries. In five days the breaker sends about 740.
const MaxDeferred = 1000

// Gap counts the events that an endpoint subscribed to and did not get queued, for one reason and one stretch of time.
type Gap struct {
	EndpointID string
	Reason     GapReason
	From       time.Time // when the endpoint stopped receiving; the store's time
	To         time.Time // when it received again; zero while the gap is open
	Count      int64     // how many events it missed
}

// GapReason says why an endpoint missed events.
type GapReason string

const (
	GapPending  GapReason = "pending"  // no ping had been answered yet
	GapDisabled GapReason = "disabled" // it was disabled
	GapBacklog  GapReason = "backlog"  // Config.MaxPending deliveries were waiting for it already
)

// Lease is the right, and the duty, to make one attempt at a delivery: to send by itself within Term and to record the
// outcome. It carries all that sending needs.
type Lease struct {
	Delivery Delivery // State is DeliveryLeased, AttemptCount the number of this attempt
	Event    Event
	Endpoint *Endpoint // as it was when the lease was given; shared, must not be modified
	Token    string    // names this lease among all that the delivery ever had
	// StartedAt is when the lease was given, by the store's clock.
	StartedAt time.Time
	// Term is how long it lasts, counted from when the call that gave it was made.
	Term time.Duration
	// LastSecret is Attempt.SecretID of the delivery's last attempt that was not interrupted: an interrupted one says
	// nothing about the secret.
	LastSecret string
}

// Outcome is what came of a lease.
type Outcome struct {
	Tenant     string
	DeliveryID string
	EndpointID string
	Token      string
	Kind       OutcomeKind
	// Attempt is the row to log. Its Number is the lease's. A released lease has none. The store may keep it: it is
	// not modified any more.
	Attempt Attempt
	// Wait is how long until the delivery falls due again, from the store's now, where Kind leaves it pending.
	Wait time.Duration
	// Reason is set where Kind is OutcomeFailed.
	Reason FailReason
	// Judge, if not nil, is applied to the endpoint's health.
	Judge Judge
}

// OutcomeKind says what becomes of the delivery.
type OutcomeKind string

const (
	OutcomeDelivered   OutcomeKind = "delivered"   // succeeded
	OutcomeRetry       OutcomeKind = "retry"       // pending again after Wait
	OutcomeFailed      OutcomeKind = "failed"      // failed for Reason
	OutcomeDeferred    OutcomeKind = "deferred"    // the probe of a paused endpoint failed: pending again after Wait, and the attempt does not count against the retries
	OutcomeInterrupted OutcomeKind = "interrupted" // cut off by this side: pending again after Wait, or failed where it has one attempt only or MaxInterrupted is reached
	OutcomeReleased    OutcomeKind = "released"    // never dialled: pending again after Wait, and the attempt's number is given back
)
