package sqlitestore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/failpoint"
)

var (
	endpointTaken  = statement(`SELECT EXISTS (SELECT 1 FROM webhook_endpoints WHERE tenant = ? AND id = ?)`)
	endpointCount  = statement(`SELECT count(*) FROM webhook_endpoints WHERE tenant = ? AND deleted_at IS NULL`)
	insertEndpoint = statement(`INSERT INTO webhook_endpoints (tenant, id, url, events, description, rate, burst, max_in_flight, timeout, headers, secrets, version, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?)`)
	insertLane = statement(`INSERT INTO webhook_lanes (endpoint, deleted, state, reason, verified, generation, window_size, slow, failures, accepted_secret,
		pace_interval, pace_burst, pending, leases, served_first, blocked) VALUES (?, 0, '', '', 0, 0, 0, 0, 0, '', 0, 0, 0, 0, 0, 0)`)
	updateEndpoint = statement(`UPDATE webhook_endpoints SET url = ?, events = ?, description = ?, rate = ?, burst = ?, max_in_flight = ?, timeout = ?, headers = ?, secrets = ?,
		version = version + 1 WHERE key = ?`)
	deleteEndpoint    = statement(`UPDATE webhook_endpoints SET deleted_at = ?, secrets = '[]', headers = '[]' WHERE key = ?`)
	deleteLane        = statement(`UPDATE webhook_lanes SET deleted = 1 WHERE endpoint = ?`)
	waitingDeliveries = statement(`SELECT key, endpoint FROM webhook_deliveries INDEXED BY webhook_deliveries_waiting WHERE endpoint = ? AND state = 'pending' LIMIT ?`)
	subscribe         = statement(`INSERT INTO webhook_subscriptions (tenant, type, endpoint) VALUES (?, ?, ?)`)
	unsubscribe       = statement(`DELETE FROM webhook_subscriptions WHERE tenant = ? AND type = ? AND endpoint = ?`)
	configOf          = statement(`SELECT ` + configColumns + ` FROM webhook_endpoints p WHERE p.key = ?`)
)

const configColumns = `p.url, p.events, p.description, p.rate, p.burst, p.max_in_flight, p.timeout, p.headers, p.secrets, p.created_at`

// config is what of an endpoint is its owner's.
type config struct {
	webhook.Endpoint
	events, headers, secrets string
}

func (c *config) dest() []any {
	return []any{&c.URL, &c.events, &c.Description, &c.Rate, &c.Burst, &c.MaxInFlight, &c.Timeout, &c.headers, &c.secrets, stamp{&c.CreatedAt}}
}

// with returns the endpoint whose lane is l.
func (c *config) with(l *lane) (webhook.Endpoint, error) {
	e := c.Endpoint
	e.ID, e.Tenant, e.Version, e.Health = l.id, l.tenant, l.version, l.health
	var err error
	if e.StoredHeaders, err = headersIn(c.headers); err != nil {
		return e, err
	}
	if e.Secrets, err = secretsIn(c.secrets); err != nil {
		return e, err
	}
	return e, json.Unmarshal([]byte(c.events), &e.Events)
}

// owned are the values of the columns that its owner changes.
func owned(e *webhook.Endpoint) []any {
	return []any{
		e.URL, marshal(e.Events), e.Description, e.Rate, e.Burst, e.MaxInFlight, int64(e.Timeout), headersOut(e.StoredHeaders), secretsOut(e.Secrets),
	}
}

// endpoint returns the endpoint for a lease: shared, and as it is now.
func (t *txn) endpoint(l *lane) (*webhook.Endpoint, error) {
	if l.shared == nil {
		e, err := t.read(l)
		if err != nil {
			return nil, err
		}
		l.shared = &e
	}
	return l.shared, nil
}

func (t *txn) read(l *lane) (webhook.Endpoint, error) {
	var c config
	if err := t.row(configOf, []any{l.key}, c.dest()...); err != nil {
		return webhook.Endpoint{}, err
	}
	return c.with(l)
}

// CreateEndpoint implements [webhook.Endpoints].
func (s *Store) CreateEndpoint(ctx context.Context, e webhook.Endpoint, max int) (webhook.Endpoint, error) {
	return s.change(ctx, "create endpoint", func(t *txn) (webhook.Endpoint, error) {
		var taken bool
		var count int
		if err := t.row(endpointTaken, []any{e.Tenant, e.ID}, &taken); err != nil {
			return webhook.Endpoint{}, err
		}
		if taken {
			return webhook.Endpoint{}, refuse("%w: endpoint %q", webhook.ErrConflict, e.ID)
		}
		if err := t.row(endpointCount, []any{e.Tenant}, &count); err != nil {
			return webhook.Endpoint{}, err
		}
		if count >= max {
			return webhook.Endpoint{}, refuse("%w: %d", webhook.ErrTooManyEndpoints, count)
		}

		res, err := t.exec(insertEndpoint, append(append([]any{e.Tenant, e.ID}, owned(&e)...), t.at)...)
		if err != nil {
			return webhook.Endpoint{}, err
		}
		key, err := res.LastInsertId()
		if err != nil {
			return webhook.Endpoint{}, err
		}
		if err := t.run(insertLane, key); err != nil {
			return webhook.Endpoint{}, err
		}
		l := t.hold(&lane{key: key, tenant: e.Tenant, id: e.ID, version: 1, maxInFlight: e.MaxInFlight})
		if err := t.setPace(l, e.Pace()); err != nil {
			return webhook.Endpoint{}, err
		}
		health := e.Health
		health.Since = t.now
		if err := t.judged(l, health); err != nil {
			return webhook.Endpoint{}, err
		}
		if err := t.subscribe(l, e.Events); err != nil {
			return webhook.Endpoint{}, err
		}
		return t.read(l)
	})
}

// UpdateEndpoint implements [webhook.Endpoints].
func (s *Store) UpdateEndpoint(ctx context.Context, e webhook.Endpoint, judge webhook.Judge) (webhook.Endpoint, error) {
	return s.change(ctx, "update endpoint", func(t *txn) (webhook.Endpoint, error) {
		l, err := t.lane(e.Tenant, e.ID)
		if err != nil {
			return webhook.Endpoint{}, err
		}
		if e.Version != l.version {
			return webhook.Endpoint{}, refuse("%w: it has version %d, not %d", webhook.ErrVersionConflict, l.version, e.Version)
		}
		if err := t.unsubscribe(l); err != nil {
			return webhook.Endpoint{}, err
		}
		if err := t.run(updateEndpoint, append(owned(&e), l.key)...); err != nil {
			return webhook.Endpoint{}, err
		}
		if err := t.setPace(l, e.Pace()); err != nil {
			return webhook.Endpoint{}, err
		}
		l.version++
		l.maxInFlight = e.MaxInFlight
		l.shared = nil
		if err := t.subscribe(l, e.Events); err != nil {
			return webhook.Endpoint{}, err
		}
		health := l.health
		if judge != nil {
			health = judge(health, t.now)
		}
		if err := t.judged(l, health); err != nil {
			return webhook.Endpoint{}, err
		}
		return t.read(l)
	})
}

// JudgeEndpoint implements [webhook.Endpoints].
func (s *Store) JudgeEndpoint(ctx context.Context, tenant, id string, judge webhook.Judge) (webhook.Endpoint, error) {
	return s.change(ctx, "judge endpoint", func(t *txn) (webhook.Endpoint, error) {
		l, err := t.lane(tenant, id)
		if err != nil {
			return webhook.Endpoint{}, err
		}
		if judge != nil {
			if err := t.judged(l, judge(l.health, t.now)); err != nil {
				return webhook.Endpoint{}, err
			}
		}
		failpoint.Pass(failpoint.K20)
		return t.read(l)
	})
}

// DeleteEndpoint implements [webhook.Endpoints].
func (s *Store) DeleteEndpoint(ctx context.Context, tenant, id string) error {
	_, err := s.change(ctx, "delete endpoint", func(t *txn) (webhook.Endpoint, error) {
		l, err := t.lane(tenant, id)
		if err != nil {
			return webhook.Endpoint{}, err
		}
		if err := t.deleteEndpoint(l); err != nil {
			return webhook.Endpoint{}, err
		}
		failpoint.Pass(failpoint.K20)
		_, err = t.fail(webhook.FailEndpointDeleted, waitingDeliveries, l.key, buryAtOnce)
		return webhook.Endpoint{}, err
	})
	return err
}

// deleteEndpoint deletes the endpoint, stops its replay and leaves its deliveries to the caller.
func (t *txn) deleteEndpoint(l *lane) error {
	if err := t.unsubscribe(l); err != nil {
		return err
	}
	if err := t.close(l); err != nil {
		return err
	}
	if err := t.run(stopReplays, t.at, l.key); err != nil {
		return err
	}
	l.deleted = true
	t.unwait(l)
	if err := t.run(deleteLane, l.key); err != nil {
		return err
	}
	return t.run(deleteEndpoint, t.at, l.key)
}

// change is a write that returns an endpoint.
func (s *Store) change(ctx context.Context, what string, do func(*txn) (webhook.Endpoint, error)) (e webhook.Endpoint, err error) {
	err = s.write(ctx, &write{weight: 1, do: func(t *txn) (err error) {
		e, err = do(t)
		return err
	}})
	if err != nil {
		return webhook.Endpoint{}, wrap(what, err)
	}
	return e, nil
}

// subscribe files the endpoint under the event types that it wants, once under each.
func (t *txn) subscribe(l *lane, events []string) error {
	t.forgetWants(l.tenant)
	for _, name := range subscriptions(events) {
		if err := t.run(subscribe, l.tenant, name, l.key); err != nil {
			return err
		}
	}
	return nil
}

func (t *txn) unsubscribe(l *lane) error {
	t.forgetWants(l.tenant)
	e, err := t.read(l)
	if err != nil {
		return err
	}
	for _, name := range subscriptions(e.Events) {
		if err := t.run(unsubscribe, l.tenant, name, l.key); err != nil {
			return err
		}
	}
	return nil
}

// forgetWants drops what the transaction knows of the tenant's subscriptions.
func (t *txn) forgetWants(tenant string) {
	for w := range t.wants {
		if w.tenant == tenant {
			delete(t.wants, w)
		}
	}
}

func subscriptions(events []string) []string {
	if slices.Contains(events, webhook.AllEvents) {
		return []string{webhook.AllEvents}
	}
	return slices.Compact(slices.Sorted(slices.Values(events)))
}

var (
	readEndpoint = readStatement(`SELECT ` + laneColumns + `, ` + configColumns + ` FROM webhook_endpoints p CROSS JOIN webhook_lanes l ON l.endpoint = p.key
		WHERE p.tenant = ? AND p.id = ? AND p.deleted_at IS NULL`)
	readEndpoints = readStatement(`SELECT ` + laneColumns + `, ` + configColumns + ` FROM webhook_endpoints p CROSS JOIN webhook_lanes l ON l.endpoint = p.key
		WHERE p.tenant = ? AND p.deleted_at IS NULL ORDER BY p.key`)
)

// Endpoint implements [webhook.Endpoints].
func (s *Store) Endpoint(ctx context.Context, tenant, id string) (webhook.Endpoint, error) {
	var l lane
	var c config
	err := s.reads[readEndpoint].QueryRowContext(ctx, tenant, id).Scan(append(l.dest(), c.dest()...)...)
	if err != nil {
		return webhook.Endpoint{}, wrap("endpoint", missing(ctx, err, "endpoint"))
	}
	e, err := c.with(&l)
	return e, wrap("endpoint", err)
}

// Endpoints implements [webhook.Endpoints].
func (s *Store) Endpoints(ctx context.Context, tenant string) ([]webhook.Endpoint, error) {
	list := []webhook.Endpoint{}
	rows, err := s.reads[readEndpoints].QueryContext(ctx, tenant)
	err = each(rows, err, func() error {
		var l lane
		var c config
		if err := rows.Scan(append(l.dest(), c.dest()...)...); err != nil {
			return err
		}
		e, err := c.with(&l)
		list = append(list, e)
		return err
	})
	if err != nil {
		return nil, wrap("endpoints", missing(ctx, err, ""))
	}
	return list, nil
}

// missing turns what a read failed with into what is said of it.
func missing(ctx context.Context, err error, what string) error {
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("%w: %s", webhook.ErrNotFound, what)
	case ctx.Err() != nil:
		return ended(ctx)
	}
	return clear(err)
}
