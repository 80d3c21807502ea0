package sqlitestore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/meshia/webhook"
)

var (
	eventOfDelivery = statement(`SELECT event FROM webhook_deliveries WHERE id = ? AND tenant = ?`)
	pendingLanes    = statement(`SELECT endpoint FROM webhook_deliveries INDEXED BY webhook_deliveries_event WHERE event = ? AND state = 'pending'`)
	eraseDeliveries = statement(`UPDATE webhook_deliveries INDEXED BY webhook_deliveries_event SET state = 'failed', reason = ?, due_at = NULL, finished_at = ?
		WHERE event = ? AND state = 'pending'`)

	liveEndpoints    = statement(`SELECT id FROM webhook_endpoints INDEXED BY webhook_endpoints_live WHERE tenant = ? AND deleted_at IS NULL LIMIT ?`)
	tenantDeliveries = statement(`SELECT key, endpoint, state FROM webhook_deliveries INDEXED BY webhook_deliveries_tenant WHERE tenant = ? ORDER BY created_at LIMIT ?`)
	tenantEvents     = statement(`DELETE FROM webhook_events WHERE key IN (SELECT key FROM webhook_events WHERE tenant = ? LIMIT ?)`)
	tenantGaps       = statement(`DELETE FROM webhook_gaps WHERE key IN
		(SELECT g.key FROM webhook_endpoints p CROSS JOIN webhook_gaps g ON g.endpoint = p.key WHERE p.tenant = ? LIMIT ?)`)
	tenantHours = statement(`DELETE FROM webhook_hours WHERE (endpoint, hour) IN
		(SELECT h.endpoint, h.hour FROM webhook_endpoints p CROSS JOIN webhook_hours h ON h.endpoint = p.key WHERE p.tenant = ? LIMIT ?)`)
	tenantReplays   = statement(`DELETE FROM webhook_replays WHERE key IN (SELECT key FROM webhook_replays WHERE tenant = ? LIMIT ?)`)
	tenantEndpoints = statement(`SELECT key FROM webhook_endpoints WHERE tenant = ? LIMIT ?`)
	deleteHoursOf   = statement(`DELETE FROM webhook_hours WHERE endpoint IN (SELECT value FROM json_each(?))`)
	deleteLanes     = statement(`DELETE FROM webhook_lanes WHERE endpoint IN (SELECT value FROM json_each(?))`)
	deleteEndpoints = statement(`DELETE FROM webhook_endpoints WHERE key IN (SELECT value FROM json_each(?))`)

	// One seek for each tenant, however many endpoints it has.
	readTenants = readStatement(`WITH RECURSIVE t (name) AS (
			SELECT (SELECT tenant FROM webhook_endpoints INDEXED BY webhook_endpoints_live WHERE deleted_at IS NULL AND tenant > ?1 ORDER BY tenant LIMIT 1)
			UNION ALL
			SELECT (SELECT tenant FROM webhook_endpoints INDEXED BY webhook_endpoints_live WHERE deleted_at IS NULL AND tenant > t.name ORDER BY tenant LIMIT 1)
			FROM t WHERE t.name IS NOT NULL)
		SELECT name FROM t WHERE name IS NOT NULL LIMIT ?2`)
	readNameless = readStatement(`SELECT EXISTS (SELECT 1 FROM webhook_endpoints WHERE tenant = '' AND deleted_at IS NULL)`)
)

// EraseDelivery implements [webhook.Upkeep].
func (s *Store) EraseDelivery(ctx context.Context, tenant, id string) error {
	return wrap("erase delivery", s.write(ctx, &write{weight: 1, do: func(t *txn) error { return t.eraseDelivery(tenant, id) }}))
}

func (t *txn) eraseDelivery(tenant, id string) error {
	var event int64
	err := t.row(eventOfDelivery, []any{id, tenant}, &event)
	if errors.Is(err, sql.ErrNoRows) {
		return refuse("%w: delivery", webhook.ErrNotFound)
	}
	if err != nil {
		return err
	}
	keys, err := t.keys(pendingLanes, event)
	if err != nil {
		return err
	}
	if err := t.load(keys); err != nil {
		return err
	}
	for _, k := range keys {
		t.unwait(t.lanes[k])
		if err := t.finish(t.lanes[k], 1); err != nil {
			return err
		}
	}
	if err := t.run(eraseDeliveries, webhook.FailErased, t.at, event); err != nil {
		return err
	}
	return t.empty([]int64{event})
}

// keys are what a query of one column returns.
func (t *txn) keys(q query, args ...any) (keys []int64, err error) {
	rows, err := t.query(q, args...)
	err = each(rows, err, func() error {
		var k int64
		err := rows.Scan(&k)
		keys = append(keys, k)
		return err
	})
	return keys, err
}

// EraseTenant implements [webhook.Upkeep]. It removes no more than some hundred rows in one transaction.
func (s *Store) EraseTenant(ctx context.Context, tenant string, max int) (more bool, err error) {
	more, err = s.inSteps(ctx, max, func(t *txn, n int) (int, error) { return t.eraseTenant(tenant, n) }, func() {})
	return more, wrap("erase tenant", err)
}

// eraseTenant removes about n rows, or all there are: endpoints are deleted first and removed last, when nothing refers
// to them any more.
func (t *txn) eraseTenant(tenant string, n int) (rows int, err error) {
	for _, remove := range []func(tenant string, n int) (int, error){
		t.eraseLive, t.eraseDeliveries, t.eraseEvents, t.eraseGaps, t.eraseHours, t.eraseReplays, t.eraseEndpoints,
	} {
		if rows >= n {
			return rows, nil
		}
		removed, err := remove(tenant, n-rows)
		if err != nil {
			return rows, err
		}
		rows += removed
	}
	return rows, nil
}

func (t *txn) eraseLive(tenant string, n int) (int, error) {
	var ids []string
	rows, err := t.query(liveEndpoints, tenant, n)
	if err := each(rows, err, func() error {
		var id string
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	}); err != nil {
		return 0, err
	}
	for _, id := range ids {
		l, err := t.laneOf(tenant, id)
		if err == nil {
			err = t.deleteEndpoint(l)
		}
		if err != nil {
			return 0, err
		}
	}
	return len(ids), nil
}

func (t *txn) eraseDeliveries(tenant string, n int) (int, error) {
	var keys, open []int64
	var leased []bool // those in open
	rows, err := t.query(tenantDeliveries, tenant, n)
	if err := each(rows, err, func() error {
		var d, l int64
		var state webhook.DeliveryState
		err := rows.Scan(&d, &l, &state)
		if keys = append(keys, d); !state.Final() {
			open, leased = append(open, l), append(leased, state == webhook.DeliveryLeased)
		}
		return err
	}); err != nil || len(keys) == 0 {
		return 0, err
	}
	if err := t.load(open); err != nil {
		return 0, err
	}
	for i, k := range open {
		l := t.lanes[k]
		if leased[i] {
			l.leases--
		}
		t.unwait(l)
		if err := t.finish(l, 1); err != nil {
			return 0, err
		}
	}
	attempts, err := t.removeDeliveries(keys)
	return len(keys) + attempts, err
}

func (t *txn) eraseEvents(tenant string, n int) (int, error) {
	return t.affected(tenantEvents, tenant, n)
}

func (t *txn) eraseGaps(tenant string, n int) (int, error) {
	return t.affected(tenantGaps, tenant, n)
}

func (t *txn) eraseHours(tenant string, n int) (int, error) {
	// What the transaction has yet to count is counted before, and not after.
	if err := t.flush(); err != nil {
		return 0, err
	}
	return t.affected(tenantHours, tenant, n)
}

func (t *txn) eraseReplays(tenant string, n int) (int, error) {
	return t.affected(tenantReplays, tenant, n)
}

func (t *txn) eraseEndpoints(tenant string, n int) (int, error) {
	keys, err := t.keys(tenantEndpoints, tenant, n)
	if err != nil {
		return 0, err
	}
	return len(keys), t.removeEndpoints(keys)
}

// removeEndpoints removes endpoints to which no delivery refers any more.
func (t *txn) removeEndpoints(keys []int64) error {
	if len(keys) == 0 {
		return nil
	}
	// What the transaction holds of them is written before they go.
	if err := t.flush(); err != nil {
		return err
	}
	for _, k := range keys {
		delete(t.lanes, k)
	}
	list := marshal(keys)
	for _, q := range []query{deleteHoursOf, deleteLanes, deleteEndpoints} {
		if err := t.run(q, list); err != nil {
			return err
		}
	}
	return nil
}

// Tenants implements [webhook.Upkeep].
func (s *Store) Tenants(ctx context.Context, after *string, max int) ([]string, error) {
	list, err := s.tenants(ctx, after, max)
	if err != nil {
		return nil, wrap("tenants", missing(ctx, err, ""))
	}
	return list, nil
}

func (s *Store) tenants(ctx context.Context, after *string, max int) (list []string, err error) {
	if max <= 0 {
		return nil, nil
	}
	from := ""
	if after != nil {
		from = *after
	} else {
		var nameless bool
		if err := s.reads[readNameless].QueryRowContext(ctx).Scan(&nameless); err != nil {
			return nil, err
		}
		if nameless {
			list = append(list, "")
		}
	}
	rows, err := s.reads[readTenants].QueryContext(ctx, from, max-len(list))
	err = each(rows, err, func() error {
		var name string
		err := rows.Scan(&name)
		list = append(list, name)
		return err
	})
	return list, err
}
