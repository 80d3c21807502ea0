package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/failpoint"
	"github.com/meshia/webhook/internal/id"
)

// Enqueue implements [webhook.Outbox]. Calls that come while another one commits share a transaction.
func (s *Store) Enqueue(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
	result, err := s.enqueue(ctx, req)
	return result, wrap("enqueue", err)
}

func (s *Store) enqueue(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
	batch, err := newBatch(req)
	if err != nil {
		return webhook.EnqueueResult{}, err
	}
	failpoint.Pass(failpoint.K0)
	var result webhook.EnqueueResult
	err = s.write(ctx, &write{weight: len(batch.events), commit: failpoint.K3, do: func(t *txn) (err error) {
		result, err = t.enqueue(batch)
		return err
	}})
	if err != nil {
		return webhook.EnqueueResult{}, err
	}
	failpoint.Pass(failpoint.K4)
	return result, nil
}

// batch is a request, made ready before it holds anybody up.
type batch struct {
	webhook.EnqueueRequest
	events []incoming // each id once
}

// incoming is an event on its way into the database.
type incoming struct {
	*webhook.Event
	digest   [32]byte
	metadata any
	key      int64 // of its row, once there is one
	known    bool  // it was there before
}

func newBatch(req webhook.EnqueueRequest) (*batch, error) {
	b := &batch{EnqueueRequest: req, events: make([]incoming, 0, len(req.Events))}
	first := map[string]int{}
	for i := range req.Events {
		e := incoming{Event: &req.Events[i], digest: req.Events[i].Digest()}
		if e.Metadata != nil {
			e.metadata = marshal(e.Metadata)
		}
		if len(req.Events) > 1 {
			if j, twice := first[e.ID]; twice {
				if b.events[j].digest != e.digest {
					return nil, conflict(e.ID)
				}
				continue
			}
			first[e.ID] = len(b.events)
		}
		b.events = append(b.events, e)
	}
	return b, nil
}

func conflict(id string) error { return refuse("%w: %q", webhook.ErrConflict, id) }

var (
	eventRow    = statement(`SELECT key, digest, contents FROM webhook_events WHERE tenant = ? AND id = ?`)
	insertEvent = statement(`INSERT INTO webhook_events (tenant, id, type, session, time, digest, stored_at, direct, idle, contents, metadata, body)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?) ON CONFLICT (tenant, id) DO NOTHING`)
	busyEvent      = statement(`UPDATE webhook_events SET idle = 0 WHERE key = ? AND idle = 1`)
	insertDelivery = statement(`INSERT INTO webhook_deliveries (id, tenant, event, event_type, endpoint, kind, state, reason, again, created_at, due_at,
		attempt_count, interrupted, deferred, redelivery_of, asked_by, last_secret, token, owner, leased_at, lease_until)
		VALUES (?, ?, ?, ?, ?, ?, ?, '', 0, ?, ?, ?, 0, 0, ?, ?, '', ?, ?, ?, ?)`)
	subscribers = statement(`SELECT endpoint FROM webhook_subscriptions WHERE tenant = ?1 AND type = ?2
		UNION ALL SELECT endpoint FROM webhook_subscriptions WHERE tenant = ?1 AND type = '*'`)
)

// enqueue stores a request. If it refuses it has changed nothing; what else fails must be rolled back.
func (t *txn) enqueue(b *batch) (result webhook.EnqueueResult, err error) {
	for i := range b.events { // it may be the second time that this is tried
		b.events[i].known = false
	}
	var direct *lane
	if b.Direct != nil {
		if direct, err = t.lane(b.Tenant, b.Direct.EndpointID); err != nil {
			return result, err
		}
	}
	// A single event shows by its insert whether it is known; of several, none may be stored before all were looked at.
	if direct != nil || len(b.events) > 1 {
		for i := range b.events {
			if err := t.recognize(b, &b.events[i]); err != nil && !errors.Is(err, sql.ErrNoRows) {
				return result, err
			}
		}
	}
	if direct != nil && b.Direct.Queued && b.MaxPending > 0 && direct.pending+len(b.events) > b.MaxPending {
		return result, refuse("%w: %d of %d", webhook.ErrBacklogFull, direct.pending, b.MaxPending)
	}
	takes := func(l *lane) bool { return l.takes(b.MaxPending) }
	targets := make([][]*lane, len(b.events))
	for i := range b.events {
		e := &b.events[i]
		var lanes []*lane
		if !e.known && direct == nil {
			if lanes, err = t.subscribers(b.Tenant, e.Type); err != nil {
				return result, err
			}
		}
		if err := t.insert(b, e, direct != nil || slices.ContainsFunc(lanes, takes)); err != nil {
			return result, err
		}
		if !e.known {
			if targets[i], err = t.aim(lanes, b.MaxPending, &result); err != nil {
				return result, err
			}
		}
	}
	failpoint.Pass(failpoint.K1)

	for i := range b.events {
		if direct != nil {
			err = t.direct(b, &b.events[i], direct, &result)
		} else {
			err = t.match(b, &b.events[i], targets[i], &result)
		}
		if err != nil {
			return result, err
		}
	}
	failpoint.Pass(failpoint.K2)
	return result, nil
}

// recognize looks for the event among the stored ones; one that is not there is sql.ErrNoRows.
func (t *txn) recognize(b *batch, e *incoming) error {
	var digest []byte
	var contents bool
	if err := t.row(eventRow, []any{b.Tenant, e.ID}, &e.key, &digest, &contents); err != nil {
		return err
	}
	e.known = true
	switch {
	case b.Direct != nil && !contents: // whatever the digest: who read the event has no body to work it out from
		return refuse("%w: %q", webhook.ErrBodyPruned, e.ID)
	case string(digest) != string(e.digest[:]):
		return conflict(e.ID)
	}
	return nil
}

// insert stores the event unless it is there. needed says whether there will be a delivery of it.
func (t *txn) insert(b *batch, e *incoming, needed bool) error {
	switch {
	case e.known && needed:
		return t.run(busyEvent, e.key)
	case e.known:
		return nil
	}
	body := e.Body
	if body == nil {
		body = []byte{}
	}
	res, err := t.exec(insertEvent, b.Tenant, e.ID, e.Type, e.SessionID, e.Time.Unix(), e.digest[:], t.at, b.Direct != nil, !needed, e.metadata, body)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return err
	}
	if n == 0 {
		return t.recognize(b, e)
	}
	e.key, err = res.LastInsertId()
	return err
}

type subscription struct{ tenant, eventType string }

// subscribers returns the lanes of the endpoints that want events of this type.
func (t *txn) subscribers(tenant, eventType string) ([]*lane, error) {
	want := subscription{tenant, eventType}
	keys, known := t.wants[want]
	if !known {
		var err error
		if keys, err = t.keys(subscribers, tenant, eventType); err != nil {
			return nil, err
		}
		t.wants[want] = keys
	}
	if err := t.load(keys); err != nil {
		return nil, err
	}
	lanes := make([]*lane, len(keys))
	for i, k := range keys {
		lanes[i] = t.lanes[k]
	}
	return lanes, nil
}

// aim returns the lanes that a new event is to be queued in, and has counted it there; in the others it is missed.
func (t *txn) aim(lanes []*lane, bound int, result *webhook.EnqueueResult) ([]*lane, error) {
	targets := make([]*lane, 0, len(lanes))
	for _, l := range lanes {
		t.touch(l)
		if l.takes(bound) {
			l.pending++
			targets = append(targets, l)
			continue
		}
		if l.health.State.Queues() && l.backlog == 0 {
			if err := t.openBacklog(l, bound); err != nil {
				return nil, err
			}
			result.Backlogged = append(result.Backlogged, l.ref())
		}
		l.missed++
	}
	return targets, nil
}

// match makes the deliveries of a new event.
func (t *txn) match(b *batch, e *incoming, lanes []*lane, result *webhook.EnqueueResult) error {
	for _, l := range lanes {
		d := t.delivery(e, l, webhook.KindEvent)
		hand := b.HandOver
		if hand == nil || len(result.Leases) >= hand.Max {
			hand = nil
		} else if free, err := t.free(l); err != nil {
			return err
		} else if !free {
			hand = nil
		}
		if hand == nil {
			result.Queued = true
			if err := t.queue(e, l, &d); err != nil {
				return err
			}
			continue
		}
		lease, err := t.lease(e, l, d, hand.Owner, hand.Term)
		if err != nil {
			return err
		}
		result.Leases = append(result.Leases, lease)
	}
	return nil
}

// free reports whether a new delivery may be handed over without passing anything that waits.
func (t *txn) free(l *lane) (bool, error) {
	if l.health.State != webhook.EndpointActive || l.health.Slow || l.limited || l.room() <= 0 {
		return false, nil
	}
	if err := t.dues(l); err != nil {
		return false, err
	}
	due := l.due()
	return due == 0 || due > t.at, nil
}

func (t *txn) direct(b *batch, e *incoming, l *lane, result *webhook.EnqueueResult) error {
	d := t.delivery(e, l, b.Direct.Kind)
	d.RedeliveryOf, d.AskedBy = b.Direct.RedeliveryOf, b.Direct.AskedBy
	l.pending++
	if b.Direct.Queued {
		result.Queued = true
		return t.queue(e, l, &d)
	}
	lease, err := t.lease(e, l, d, b.Direct.Owner, b.Direct.Term)
	if err != nil {
		return err
	}
	if e.known { // the first one's time and body stand
		if lease.Event, err = t.event(b.Tenant, e.ID); err != nil {
			return err
		}
	}
	result.Leases = append(result.Leases, lease)
	return nil
}

// delivery makes a delivery. Those of one transaction differ in CreatedAt, which rises with their ids.
func (t *txn) delivery(e *incoming, l *lane, kind webhook.DeliveryKind) webhook.Delivery {
	t.created++ // much less time than storing it takes: it is not ahead of the clock
	return webhook.Delivery{
		ID: id.New("dlv_"), Tenant: l.tenant, EventID: e.ID, EventType: e.Type, EndpointID: l.id, Kind: kind, CreatedAt: time.UnixMicro(t.created).UTC(),
	}
}

// queue stores a delivery that is due at once. The lane counts it already.
func (t *txn) queue(e *incoming, l *lane, d *webhook.Delivery) error {
	d.State, d.NextAttemptAt = webhook.DeliveryPending, t.now
	l.wait(false, t.at, d.CreatedAt.UnixMicro())
	t.touch(l)
	return t.deliver(e, l, d, "", 0)
}

// lease stores a delivery that is leased from the beginning.
func (t *txn) lease(e *incoming, l *lane, d webhook.Delivery, owner string, term time.Duration) (webhook.Lease, error) {
	d.State, d.AttemptCount = webhook.DeliveryLeased, 1
	l.leases++
	t.touch(l)
	if err := t.deliver(e, l, &d, owner, term); err != nil {
		return webhook.Lease{}, err
	}
	ep, err := t.endpoint(l)
	return webhook.Lease{Delivery: d, Event: *e.Event, Endpoint: ep, Token: t.token, StartedAt: t.now, Term: term}, err
}

func (t *txn) deliver(e *incoming, l *lane, d *webhook.Delivery, owner string, term time.Duration) error {
	var token, by, at, until any
	if d.State == webhook.DeliveryLeased {
		token, by, at, until = t.token, owner, t.at, t.in(term)
	}
	return t.run(insertDelivery, d.ID, d.Tenant, e.key, d.EventType, l.key, d.Kind, d.State, d.CreatedAt.UnixMicro(), micros(d.NextAttemptAt), d.AttemptCount,
		d.RedeliveryOf, d.AskedBy, token, by, at, until)
}
