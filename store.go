package webhook

import (
	"context"
	"math"
	"time"
)

// Store keeps endpoints, events, deliveries and attempts. Applications choose one and hand it to [NewDispatcher]; its
// methods are for dispatchers, as those of database/sql/driver are for database/sql. What follows is the contract for
// authors of stores; package storetest checks all that it demands.
//
// A store MUST be safe for concurrent use, by the dispatchers of one process and, where it is shared, of many.
// A store MUST start no goroutine that outlives the call that needs it.
// A call whose context has ended MUST return an error and have changed all or nothing.
// Every time that it fills in or compares MUST come from the store's own clock: the database's where there is one;
// callers hand it durations. Times within the values that it is given (Event.Time, Attempt.StartedAt, those of
// secrets) are kept and decide nothing.
// Every method MUST see and change only what belongs to the tenant that it is given: what another tenant has is not
// found ([ErrNotFound]) and in no list, never forbidden.
// Values MUST be kept exactly: bodies byte for byte, text with any valid UTF-8, times to the millisecond or finer.
// Text has no U+0000, which Postgres cannot keep: dispatchers refuse or replace it.
// What a store returns MUST NOT change afterwards, and what it was given MUST NOT be changed by it. It may keep what
// it was given: callers do not modify that any more.
//
// A [Judge] runs in the store's transaction, or under its lock: it is quick, pure and calls no store.
type Store interface {
	Queue
	Endpoints
	History
	Upkeep
	Replays
}

// Outbox accepts events. It is a part of its own so that a store can offer one that writes into a transaction of the
// caller's: see Dispatcher.EmitTo.
type Outbox interface {
	// Enqueue stores the events and a delivery for each endpoint that is to get them.
	//
	// It MUST store all of the request's events with all of their deliveries, or nothing.
	// It MUST store every event, also one that no endpoint subscribed to.
	// An event whose id the tenant has already with an equal Event.Digest MUST change nothing: the first one's time
	// and body stand.
	// With another digest Enqueue MUST return [ErrConflict] and store nothing.
	// Both MUST hold as well for two events with one id in one request, which are one event.
	// Each new event MUST get exactly one delivery, of KindEvent and due at once, for each endpoint of the tenant that
	// subscribes to it (Endpoint.Subscribes) and has no open gap.
	// For an endpoint that subscribes and has an open gap, the event MUST be counted in the gap.
	// A store whose room for pending deliveries is bounded MUST return [ErrStoreFull] and store nothing when the bound
	// is reached.
	//
	// A request with Direct set MUST make exactly one delivery for each of its events, to the named endpoint and to no
	// other, whatever its state, window and subscriptions, and MUST lease it to the caller, or with Direct.Queued make
	// it pending and due at once;
	// the event may be a stored one, which is then not stored again.
	// If the tenant has no such endpoint, Enqueue MUST return [ErrNotFound] and store nothing. If the body of a stored
	// event was removed by Prune or erased, it MUST return [ErrBodyPruned], whatever the digest, and store nothing:
	// who read the event has no body either to work the digest out from.
	//
	// A request with a HandOver may be answered with some of its deliveries leased already. A delivery MUST be handed
	// over only if the endpoint is active, has fewer leases than its Health.Window, is not slow, has no Rate and has
	// nothing due before it; and never more than HandOver.Max of them.
	//
	// With a MaxPending an endpoint's backlog is bounded: while so many of its deliveries are pending or leased, a gap
	// with GapBacklog MUST be open, if none is open for another reason, until at most nine tenths as many are left. It
	// may open as late as the next Claim with the same MaxPending, which then MUST open it, and it MUST be closed by
	// the next Claim at the latest. A bound of 0 opens none.
	// The call that opens such a gap MUST name the endpoint in Backlogged.
	Enqueue(ctx context.Context, req EnqueueRequest) (EnqueueResult, error)
}

// EnqueueRequest is what [Outbox].Enqueue stores.
type EnqueueRequest struct {
	Tenant string
	Events []Event
	// Direct, if not nil, sends the events to one endpoint.
	Direct *Direct
	// HandOver, if not nil, asks for deliveries of the request that may be sent by the caller at once.
	HandOver *HandOver
	// MaxPending is how many deliveries of one endpoint may be pending or leased; 0: any number.
	MaxPending int
}

// Direct makes deliveries for one named endpoint: a ping, a test, a redelivery.
type Direct struct {
	EndpointID   string
	Kind         DeliveryKind // not KindEvent
	RedeliveryOf string       // for KindRedelivery, as AskedBy
	AskedBy      string
	Queued       bool   // leave it to Claim; Owner and Term then mean nothing
	Owner        string // who leases it
	Term         time.Duration
}

// HandOver says how many deliveries a dispatcher could send at once, and how long it wants them leased.
type HandOver struct {
	Owner string
	Term  time.Duration
	Max   int
}

// EnqueueResult is what came of an [EnqueueRequest].
type EnqueueResult struct {
	// Leases are the deliveries that were leased to the caller: all of a Direct request, or those handed over.
	Leases []Lease
	// Queued reports whether deliveries were left for Claim.
	Queued bool
	// Backlogged are the endpoints for which the call opened a gap with GapBacklog.
	Backlogged []EndpointRef
}

// Queue hands deliveries out and takes their outcomes.
type Queue interface {
	Outbox

	// Claim leases deliveries that are due.
	//
	// While a lease lasts its delivery MUST NOT be given to anyone else. A lease ends when its outcome is recorded or
	// when its term has run out; its Token MUST be one that the delivery never had before.
	// The delivery's AttemptCount MUST be raised by one with the lease, and all that is needed to log the attempt as
	// interrupted MUST be stored with it.
	// Claim MUST hand out only deliveries that are due, whose endpoint is active, or paused with PausedUntil in the
	// past.
	// Claim MUST NOT give an endpoint more leases, over all owners and however they were given, than its Health.Window
	// (0 counts as 1).
	// Leases to an endpoint with a Rate MUST keep to it, over all owners and however often its rate or burst is
	// changed: at most Burst at once, and then one each 1/Rate of a second (Endpoint.Pace). A change keeps how many
	// leases the endpoint is ahead of its pace, up to the new Burst: one that is lowered and raised again frees at
	// most the difference. Without a Rate nothing is reckoned and nothing forgotten.
	// Leases of Direct requests MUST NOT count, nor wait; a lease that is given back counts as one that was used.
	// Claim MUST hand out at most Max leases, and at most MaxSlow of them to endpoints whose Health.Slow is set.
	// It MUST hand out at most MaxTenant leases to the endpoints of one tenant, or as many as Tenants says, which may
	// be none; neither bounds the empty tenant.
	// A tenant that may get none, or has got all that it may, MUST NOT keep the endpoints of others from being served:
	// its endpoints are passed over as those in Skip are, keep their turn for a claim that lets them, and Next and
	// Blocked need not count them.
	// A call that hands out less than Max since such endpoints hid others MUST answer with a Next of 0.
	// The endpoint that has waited longest MUST come first; no backlog of one endpoint may keep another from being
	// served. An endpoint waits since it was last served, since it had something due and since its pause was over,
	// whichever came last, and not before its Rate lets it be served.
	// Of one endpoint's due deliveries the one that fell due first MUST come first, but first attempts and retries
	// MUST take turns while both are due.
	// A lease carries the delivery, the event with its exact bytes and the endpoint, all as they are at this moment,
	// and the secret of the last attempt that was not interrupted.
	//
	// Claim MUST NOT hand out deliveries of the endpoints in Skip; Next and Blocked need not count them. These
	// endpoints MUST NOT keep others from being served, and they keep their own turn for a claim that does not skip
	// them.
	//
	// Before it hands anything out, Claim settles what nobody else will.
	// A lease whose term has run out MUST be logged as an attempt with AttemptInterrupted and ErrorOwnerLost, started
	// when the lease was given; its delivery MUST fall due at once, or fail with FailInterrupted if its kind is Once
	// or this was interruption number [MaxInterrupted].
	// A pending delivery that was created longer than MaxAge ago MUST fail with FailExpired, whatever its endpoint's
	// state; a call may leave some of them to the next call, but MUST NOT hand them out.
	//
	// Claimed.Next MUST be no later than when the next delivery can be handed out: one falls due, a lease runs out, a
	// pause ends, a Rate lets the next one go. It may be earlier. Deliveries of slow endpoints need not count while
	// MaxSlow is reached: the caller knows by itself when it has room for them.
	// Claimed.Blocked MUST be true if deliveries are left that only the window of their endpoint, Max or MaxSlow keeps
	// from being handed out, now or when they fall due.
	// Claimed.Next need not count those.
	Claim(ctx context.Context, req ClaimRequest) (Claimed, error)

	// Record stores outcomes and answers, for each, whether it was applied.
	//
	// An outcome whose Token is not that of the delivery's present lease MUST change nothing and be answered with
	// false; it MUST NOT keep the other outcomes from being applied. A lease whose term has run out is still present
	// until Claim has settled it.
	// The attempt's row, the delivery's state and due time, and the endpoint's health MUST be written in one
	// transaction.
	// OutcomeDelivered MUST make the delivery succeeded, OutcomeFailed failed with its Reason, OutcomeRetry pending
	// and due after Wait.
	// OutcomeDeferred MUST do what OutcomeRetry does, and raise Delivery.Deferred by one; where the kind is Once it
	// MUST fail with FailExhausted.
	// OutcomeInterrupted MUST do what Claim does for a lease that has run out, but for the row, which is the
	// outcome's, and the due time, which is after Wait.
	// OutcomeReleased MUST store no attempt, lower AttemptCount by one and make the delivery pending and due after
	// Wait; where the kind is Once it MUST fail with FailCancelled.
	// A delivery that would be pending but whose endpoint was deleted MUST fail with FailEndpointDeleted, here and
	// where Claim settles a lease.
	// Judge MUST be called for an applied outcome, on the health as it is in the transaction, and what it returned in
	// the transaction that was committed MUST be stored; for a deleted endpoint it is not called.
	// A Window that is larger than the endpoint's MaxInFlight, where that is not 0, MUST be stored as that, here and
	// wherever a health is stored: the outcome may be that of an attempt from before the bound was lowered.
	// A final state MUST NOT change again.
	Record(ctx context.Context, outcomes []Outcome) (applied []bool, err error)
}

// ClaimRequest says what a dispatcher can take.
type ClaimRequest struct {
	Owner   string        // names the dispatcher, for people who read the store
	Term    time.Duration // how long the leases last
	Max     int           // leases at most
	MaxSlow int           // leases to slow endpoints at most
	// MaxTenant is how many leases the endpoints of one tenant may get; 0: any number.
	MaxTenant int
	// Tenants is what the endpoints of these tenants may get instead of MaxTenant.
	Tenants map[string]int
	// MaxAge is after what time pending deliveries expire; 0: never.
	MaxAge time.Duration
	// MaxPending is EnqueueRequest.MaxPending, which some stores apply here.
	MaxPending int
	// Skip are endpoints that the caller cannot serve for now, though others may.
	Skip []EndpointRef
}

// Room is how many leases the endpoints of the tenant may get.
func (r *ClaimRequest) Room(tenant string) int {
	room, own := r.Tenants[tenant]
	switch {
	case tenant == "" || !own && r.MaxTenant <= 0:
		return math.MaxInt
	case !own:
		return r.MaxTenant
	}
	return max(0, room)
}

// EndpointRef names an endpoint among those of all tenants.
type EndpointRef struct{ Tenant, ID string }

// Claimed is what [Queue].Claim found.
type Claimed struct {
	Leases []Lease
	// Next is how long until another call can find something; negative: nothing is waiting for a time to come.
	Next time.Duration
	// Blocked reports whether there is more than could be handed out: asking again is worth it as soon as an outcome
	// is recorded.
	Blocked bool
	// Backlogged are the endpoints for which the call opened a gap with GapBacklog.
	Backlogged []EndpointRef
}

// Endpoints keeps the tenants' endpoints.
type Endpoints interface {
	// CreateEndpoint stores a new endpoint, with Version 1 and the store's time as CreatedAt and Health.Since.
	//
	// Endpoint.Secret and Endpoint.Headers MUST NOT be stored: what a store may know of them is in Secrets and
	// StoredHeaders.
	// It MUST return [ErrConflict] if the tenant has, or had, an endpoint with this id, and [ErrTooManyEndpoints] if
	// it has max endpoints already; deleted ones do not count.
	CreateEndpoint(ctx context.Context, e Endpoint, max int) (Endpoint, error)

	// Endpoint returns one endpoint, or [ErrNotFound]; a deleted one MUST NOT be found.
	Endpoint(ctx context.Context, tenant, id string) (Endpoint, error)

	// Endpoints returns the tenant's endpoints; the order MUST be that in which they were created.
	Endpoints(ctx context.Context, tenant string) ([]Endpoint, error)

	// UpdateEndpoint replaces the owner's fields (URL, Events, Description, Rate, Burst, MaxInFlight, Timeout,
	// StoredHeaders, Secrets) of the endpoint and applies judge, if not nil, to its health, in one transaction.
	//
	// If e.Version is not the stored one it MUST change nothing and return [ErrVersionConflict]; otherwise the version
	// MUST grow by one.
	UpdateEndpoint(ctx context.Context, e Endpoint, judge Judge) (Endpoint, error)

	// JudgeEndpoint applies judge to the endpoint's health and changes nothing else; the version MUST NOT change.
	JudgeEndpoint(ctx context.Context, tenant, id string, judge Judge) (Endpoint, error)

	// DeleteEndpoint deletes the endpoint.
	//
	// Its pending deliveries MUST fail with FailEndpointDeleted; leased ones are settled by Record. Its deliveries and
	// attempts MUST stay readable. Its open gap MUST be closed.
	DeleteEndpoint(ctx context.Context, tenant, id string) error
}

// History is the log.
type History interface {
	// Event returns a stored event, or [ErrNotFound].
	Event(ctx context.Context, tenant, id string) (Event, error)

	// Delivery returns a delivery with its attempts in order, or [ErrNotFound].
	Delivery(ctx context.Context, tenant, id string) (Delivery, error)

	// Deliveries returns a page of the deliveries that match the filter, with their attempts.
	//
	// The newest MUST come first: by CreatedAt, then by ID, both falling. A page MUST have at most f.Limit rows.
	// Following NextCursor MUST visit each delivery that was there at the first page, and still matches, exactly once,
	// whatever is added meanwhile; NextCursor is empty after the last one.
	// A cursor that the store did not make MUST be answered with [ErrInvalidCursor].
	Deliveries(ctx context.Context, tenant string, f DeliveryFilter) (DeliveryPage, error)

	// Gaps returns the endpoint's gaps, the newest first; also those of a deleted endpoint. An endpoint that the
	// tenant never had has none.
	//
	// A gap MUST open when an endpoint is created in, or judged into, a state that does not queue, and close when it
	// leaves it; a change of the state or its reason among those that do not queue MUST close one and open the next.
	// One with GapBacklog stays open, under the endpoint's other states that queue, until its backlog is worked off:
	// see Enqueue. A state that does not queue MUST close it and open its own; leaving that state opens it again where
	// the backlog is still over the bound, by the next Claim.
	// A gap that is closed with no event missed MUST NOT be kept.
	Gaps(ctx context.Context, tenant, endpointID string) ([]Gap, error)

	// Stats returns what became of an endpoint's attempts, in the hours that begin at or after since, and where its
	// queue stands. Errors: [ErrNotFound] for an endpoint that the tenant does not have.
	//
	// An hour MUST be counted in if anything was recorded in it, as long as Prune does not remove it; hours begin on
	// the hour, UTC, by the store's clock. The oldest MUST come first.
	// Each attempt that Record applies as delivered or failed MUST be counted once, in the hour in which it was
	// recorded; those of pings and tests MUST NOT, nor interrupted ones.
	// The cost MUST NOT grow with the number of deliveries and attempts.
	Stats(ctx context.Context, tenant, endpointID string, since time.Time) (Stats, error)
}

// Upkeep removes what has had its time, and what its owner wants gone.
type Upkeep interface {
	// Prune removes a part of what is older than asked: about req.Max rows, quickly, so that a claim that comes
	// meanwhile does not wait for long. PruneResult.More says whether to come again.
	//
	// A delivery that finished longer than req.Deliveries ago MUST be removed, with its attempts. One that is pending
	// or leased MUST NOT be, whatever its age.
	// An event MUST be removed when it has no delivery left and was stored longer than req.Deliveries ago: from then
	// on its id is unknown. So MUST a gap that was closed longer than req.Deliveries ago, an hour of Stats that ended
	// longer ago than that, and a replay that did.
	// The contents of an event that was stored longer than req.Bodies ago MUST be removed if none of its deliveries is
	// pending or leased: its Body and Metadata, and of its deliveries' attempts the RequestHeader, ResponseHeader and
	// ResponseBody. The rows stay, and so does what Event.Digest is compared with.
	// An age of 0 is no limit: Prune MUST NOT remove anything for it.
	Prune(ctx context.Context, req PruneRequest) (PruneResult, error)

	// EraseDelivery removes the contents of the delivery's event, as Prune does, for all of the event's deliveries.
	//
	// Those that are pending MUST fail with FailErased; one that is leased MUST fail with it, instead of becoming
	// pending, when its lease ends, and what its outcome brings of contents MUST NOT be stored. Errors: [ErrNotFound].
	EraseDelivery(ctx context.Context, tenant, id string) error

	// EraseTenant removes a part of all that a tenant has, about max rows: endpoints, events, deliveries, attempts,
	// gaps, replays. more says whether to come again. Nothing of it MUST be found after a call that answered false,
	// and an outcome for one of its leases MUST be answered with false. The endpoints go first, so that nothing is
	// queued meanwhile.
	EraseTenant(ctx context.Context, tenant string, max int) (more bool, err error)

	// Tenants returns the tenants that have endpoints which are not deleted: at most max of them, in the order of
	// their names' bytes, each greater than after. The tenant "" is one where it has any, and is listed first: after
	// is nil to begin with.
	Tenants(ctx context.Context, after *string, max int) ([]string, error)
}

// Replays sends an endpoint again what it did not get, a little at a time.
//
// What a replay looks at are the events of the tenant that were stored in its time, from Since up to but not including
// Until, the oldest first. An event is queued again if the endpoint subscribes to it and none of its deliveries to the
// endpoint succeeded or is still pending or leased, and
//
//   - with Failed, one of them failed that was no ping and no test, or
//   - with Missed, there is none at all, and the event was stored while one of the endpoint's gaps was open. Where
//     transactions overlap, that is until a few seconds after it closed.
//
// Pings and tests are none of these deliveries. An event that a Direct request stored, since it was not there, MUST
// count as missed by nobody.
//
// It is queued as a delivery of KindRedelivery, pending and due at once, that names the replay's AskedBy and the last
// of the failed ones as RedeliveryOf. An event whose contents were removed is counted as Skipped instead.
type Replays interface {
	// CreateReplay stores a new replay, with the store's time as CreatedAt and Since as Reached. Its id is one that
	// the tenant has not used. If Until is zero or in the future it MUST be set to CreatedAt. Errors: [ErrNotFound]
	// for an endpoint that the tenant does not have, [ErrReplayRunning] if it has a replay that runs.
	CreateReplay(ctx context.Context, r Replay) (Replay, error)

	// Replays returns the endpoint's replays, the newest first, 100 at most; a deleted endpoint's as well.
	Replays(ctx context.Context, tenant, endpointID string) ([]Replay, error)

	// StopReplay ends a replay as it is; one that has ended MUST NOT change. Errors: [ErrNotFound].
	StopReplay(ctx context.Context, tenant, id string) (Replay, error)

	// ContinueReplay takes one step of one replay that runs: it looks at the next events, about req.Max of them, and
	// queues what is to be queued, in one transaction, so that a step is done once and not at all otherwise.
	//
	// The replay whose last step is the longest ago MUST come first. Replays of an endpoint whose state does not
	// queue, or for which req.Pending deliveries are pending or leased, MUST wait, and MUST NOT hold up others.
	// A step MUST NOT queue so many that more than req.Pending are pending or leased. In a store that is full, as
	// Enqueue says with [ErrStoreFull], replays wait as well.
	// Looked counts all events of the tenant that were looked at, and Reached is where the next step goes on.
	// The step after which there are no more events MUST end the replay, as ReplayDone, with Until as Reached. That of
	// a deleted endpoint MUST end it as ReplayStopped.
	ContinueReplay(ctx context.Context, req ReplayStep) (ReplayStepped, error)
}

// Waker is what a store implements whose events may come from other processes: telling the other dispatchers, and
// hearing from them.
type Waker interface {
	// Wake tells the dispatchers of other processes that there may be something to claim.
	Wake(ctx context.Context) error
	// Wait returns when a Wake was heard, or ctx ended.
	Wait(ctx context.Context) error
}
