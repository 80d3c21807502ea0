package pgstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/failpoint"
)

const (
	// sqlAlone lets endpoints of one tenant be created one after the other, so that they can be counted.
	sqlAlone = `SELECT pg_advisory_xact_lock(hashtextextended($2::text, $1::bigint))`

	sqlCount = `
SELECT EXISTS (SELECT FROM {endpoints} WHERE tenant = $1::text AND id = $2::text),
	(SELECT count(*) FROM {endpoints} WHERE tenant = $1::text AND deleted_at IS NULL), clock_timestamp()`

	sqlCreate = `
INSERT INTO {endpoints} (tenant, id, url, events, description, rate, burst, max_in_flight, timeout, headers, secrets, version, created_at)
VALUES ($1::text, $2::text, $3::text, $4::text[], $5::text, $6::float8, $7::int, $8::int, $9::bigint, $10::text::jsonb, $11::text::jsonb, 1, $12::timestamptz)`

	sqlUnsubscribe = `DELETE FROM {subscriptions} WHERE tenant = $1::text AND endpoint_id = $2::text`
	sqlSubscribe   = `INSERT INTO {subscriptions} (tenant, endpoint_id, type) SELECT $1::text, $2::text, unnest($3::text[])`

	sqlCreateLane = `
INSERT INTO {lanes} (tenant, id, state, reason, verified, generation, window_size, slow, failures, accepted_secret, pace_interval, burst, max_in_flight)
VALUES ($1::text, $2::text, 'active', '', false, 0, 0, false, 0, '', $3::bigint, $4::int, $5::int)`

	// The endpoint stays ahead of its rate by as many leases as before, but by no more than a burst: a slower rate
	// brings no fresh burst, and a quicker one does not wait for the old one. Without a rate nothing is reckoned, and
	// nothing forgotten.
	sqlRepace = `
UPDATE {lanes} SET burst = $4::int, max_in_flight = $6::int, pace_interval = CASE WHEN $4::int > 0 THEN $3::bigint ELSE pace_interval END,
	paced_at = CASE WHEN $4::int > 0 AND paced_at > $5::timestamptz THEN $5::timestamptz + least(
		extract(epoch FROM paced_at - $5::timestamptz)::float8 * 1000000 / pace_interval, $4::int) * $3::bigint * interval '1 microsecond' ELSE paced_at END
WHERE tenant = $1::text AND id = $2::text`

	sqlEndpoints = `SELECT ` + endpointColumns + ` FROM {endpoints} e JOIN {lanes} l ON l.tenant = e.tenant AND l.id = e.id
WHERE e.tenant = $1::text AND e.deleted_at IS NULL ORDER BY e.seq`

	sqlHoldOne = `
SELECT ` + heldColumns + `
FROM {lanes} l WHERE l.tenant = $1::text AND l.id = $2::text AND NOT l.deleted FOR UPDATE`

	sqlNow = `SELECT clock_timestamp()`

	sqlUpdate = `
UPDATE {endpoints} SET url = $3::text, events = $4::text[], description = $5::text, rate = $6::float8, burst = $7::int,
	max_in_flight = $8::int, timeout = $9::bigint, headers = $10::text::jsonb, secrets = $11::text::jsonb, version = version + 1
WHERE tenant = $1::text AND id = $2::text`

	sqlDelete = `UPDATE {endpoints} SET deleted_at = $3::timestamptz, headers = '[]', secrets = '[]' WHERE tenant = $1::text AND id = $2::text`

	sqlDeleteLane = `UPDATE {lanes} SET deleted = true, slow = false, eligible_at = NULL, full_window = false, gap = NULL, backlogged = false WHERE tenant = $1::text AND id = $2::text`
)

// CreateEndpoint implements [webhook.Endpoints].
func (s *Store) CreateEndpoint(ctx context.Context, e webhook.Endpoint, limit int) (webhook.Endpoint, error) {
	owned, err := ownerArgs(&e)
	if err != nil {
		return webhook.Endpoint{}, fail("create endpoint", err)
	}
	pace := e.Pace()
	var stored webhook.Endpoint
	err = s.inTx(ctx, "create endpoint", func(t *tx) error {
		var taken bool
		var count int
		var now time.Time
		t.queue(sqlAlone, s.names.key(), e.Tenant)
		t.queue(sqlCount, e.Tenant, e.ID).QueryRow(func(row pgx.Row) error { return row.Scan(&taken, &count, &now) })
		if err := t.send(ctx); err != nil {
			return err
		}
		switch {
		case taken:
			return fmt.Errorf("%w: endpoint %q", webhook.ErrConflict, e.ID)
		case count >= limit:
			return fmt.Errorf("%w: %d", webhook.ErrTooManyEndpoints, count)
		}
		t.queue(sqlCreate, append(owned, now)...)
		t.queue(sqlSubscribe, e.Tenant, e.ID, subscriptions(e.Events))
		t.queue(sqlCreateLane, e.Tenant, e.ID, micros(pace.Interval), small(pace.Burst), small(e.MaxInFlight))
		lane := &held{ref: ref{e.Tenant, e.ID}, maxInFlight: e.MaxInFlight, after: e.Health}
		lane.after.Since = now
		t.judged([]*held{lane}, now)
		if stored, err = t.endpoint(ctx, sqlEndpoint, e.Tenant, e.ID); err != nil {
			return err
		}
		return t.commit(ctx)
	})
	if err != nil {
		return webhook.Endpoint{}, err
	}
	return stored, nil
}

// subscriptions are the event types that an endpoint is found by, each once.
func subscriptions(events []string) []string {
	if slices.Contains(events, webhook.AllEvents) {
		return []string{webhook.AllEvents}
	}
	return slices.Compact(slices.Sorted(slices.Values(events)))
}

// ownerArgs are an endpoint's key and what its owner decides.
func ownerArgs(e *webhook.Endpoint) ([]any, error) {
	headers, err := packHeaders(e.StoredHeaders)
	if err != nil {
		return nil, err
	}
	secrets, err := packSecrets(e.Secrets)
	if err != nil {
		return nil, err
	}
	return []any{
		e.Tenant, e.ID, e.URL, filled(e.Events), e.Description, e.Rate, small(e.Burst), small(e.MaxInFlight), int64(e.Timeout), headers, secrets,
	}, nil
}

// filled is a list that is not NULL.
func filled(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// Endpoint implements [webhook.Endpoints].
func (s *Store) Endpoint(ctx context.Context, tenant, id string) (webhook.Endpoint, error) {
	list, err := s.endpoints(ctx, sqlEndpoint, tenant, id)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%w: endpoint", webhook.ErrNotFound)
	}
	if err != nil {
		return webhook.Endpoint{}, fail("endpoint", err)
	}
	return list[0], nil
}

// Endpoints implements [webhook.Endpoints].
func (s *Store) Endpoints(ctx context.Context, tenant string) ([]webhook.Endpoint, error) {
	list, err := s.endpoints(ctx, sqlEndpoints, tenant)
	return list, fail("endpoints", err)
}

func (s *Store) endpoints(ctx context.Context, text string, args ...any) ([]webhook.Endpoint, error) {
	rows, err := s.pool.Query(ctx, s.sql(text), args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(rows pgx.CollectableRow) (webhook.Endpoint, error) {
		var row endpointRow
		if err := rows.Scan(row.dest()...); err != nil {
			return webhook.Endpoint{}, err
		}
		return row.value()
	})
}

// hold locks one lane and reads the clock after that.
func (t *tx) hold(ctx context.Context, tenant, id string) (*held, time.Time, error) {
	var lane *held
	var now time.Time
	t.queue(sqlHoldOne, tenant, id).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var err error
			if lane, err = scanHeld(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	t.queue(sqlNow).QueryRow(func(row pgx.Row) error { return row.Scan(&now) })
	err := t.send(ctx)
	if err == nil && lane == nil {
		err = fmt.Errorf("%w: endpoint", webhook.ErrNotFound)
	}
	return lane, now.UTC(), err
}

// UpdateEndpoint implements [webhook.Endpoints].
func (s *Store) UpdateEndpoint(ctx context.Context, e webhook.Endpoint, judge webhook.Judge) (webhook.Endpoint, error) {
	owned, err := ownerArgs(&e)
	if err != nil {
		return webhook.Endpoint{}, fail("update endpoint", err)
	}
	pace := e.Pace()
	var stored webhook.Endpoint
	err = s.inTx(ctx, "update endpoint", func(t *tx) error {
		lane, now, err := t.hold(ctx, e.Tenant, e.ID)
		if err != nil {
			return err
		}
		old, err := t.endpoint(ctx, sqlEndpoint, e.Tenant, e.ID) // as it is now that the lane is locked
		if err != nil {
			return err
		}
		if old.Version != e.Version {
			return fmt.Errorf("%w: it has version %d, not %d", webhook.ErrVersionConflict, old.Version, e.Version)
		}
		if judge != nil {
			lane.after = judge(lane.before, now)
		}
		lane.maxInFlight = e.MaxInFlight
		t.queue(sqlUpdate, owned...)
		t.queue(sqlRepace, e.Tenant, e.ID, micros(pace.Interval), small(pace.Burst), now, small(e.MaxInFlight))
		t.queue(sqlUnsubscribe, e.Tenant, e.ID)
		t.queue(sqlSubscribe, e.Tenant, e.ID, subscriptions(e.Events))
		t.judged([]*held{lane}, now)
		if stored, err = t.endpoint(ctx, sqlEndpoint, e.Tenant, e.ID); err != nil {
			return err
		}
		failpoint.Pass(failpoint.K20)
		return t.commit(ctx)
	})
	if err != nil {
		return webhook.Endpoint{}, err
	}
	return stored, nil
}

// JudgeEndpoint implements [webhook.Endpoints].
func (s *Store) JudgeEndpoint(ctx context.Context, tenant, id string, judge webhook.Judge) (webhook.Endpoint, error) {
	var stored webhook.Endpoint
	err := s.inTx(ctx, "judge endpoint", func(t *tx) error {
		lane, now, err := t.hold(ctx, tenant, id)
		if err != nil {
			return err
		}
		if judge != nil {
			lane.after = judge(lane.before, now)
			t.judged([]*held{lane}, now)
		}
		if stored, err = t.endpoint(ctx, sqlEndpoint, tenant, id); err != nil {
			return err
		}
		failpoint.Pass(failpoint.K20)
		return t.commit(ctx)
	})
	if err != nil {
		return webhook.Endpoint{}, err
	}
	return stored, nil
}

// DeleteEndpoint implements [webhook.Endpoints]. What is enqueued for the endpoint by transactions that are not
// committed yet is failed by the Claim that comes upon it, as is what is too much for one transaction.
func (s *Store) DeleteEndpoint(ctx context.Context, tenant, id string) error {
	return s.inTx(ctx, "delete endpoint", func(t *tx) error {
		lane, now, err := t.hold(ctx, tenant, id)
		if err != nil {
			return err
		}
		t.queue(sqlDelete, tenant, id, now)
		t.queue(sqlUnsubscribe, tenant, id)
		t.queue(sqlDeleteLane, tenant, id)
		if lane.gap != nil {
			t.queue(sqlCloseGap, []string{tenant}, []string{id}, []int64{*lane.gap}, now)
		}
		t.queue(sqlBury, []string{tenant}, []string{id}, buryAtOnce)
		t.queue(sqlPlace, []string{tenant}, []string{id}) // for a claim to fail the rest
		t.queue(sqlStopReplays, tenant, id, now)
		if err := t.send(ctx); err != nil {
			return err
		}
		failpoint.Pass(failpoint.K20)
		return t.commit(ctx)
	})
}
