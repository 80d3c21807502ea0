package pgstore

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/meshia/webhook"
)

const (
	replayColumns = `r.id, r.tenant, r.endpoint_id, r.since, r.until, r.failed, r.missed, r.asked_by, r.state, r.created_at, r.finished_at, r.reached_at,
	r.looked, r.queued, r.skipped`

	// writers are the transactions that are writing events now. Each takes this lock before it reads the clock for
	// stored_at, and has it until it has ended and everybody sees what it wrote. What holds the lock for anything
	// else, as Prune does, is soon over. $2 is the table.
	writers = `SELECT k.virtualtransaction FROM pg_locks k
		WHERE k.locktype = 'relation' AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND k.relation = $2::text::regclass AND k.mode = 'RowExclusiveLock'`

	// Whoever runs it has the lane, and read the clock before that: what a transaction stores that is not among the
	// writers is stored later than the replay looks.
	sqlCreateReplay = `
INSERT INTO {replays} AS r (tenant, id, endpoint_id, since, until, failed, missed, asked_by, state, created_at, awaits, reached_at, stepped_at)
VALUES ($1::text, $10::text, $3::text, $4::timestamptz, least($5::timestamptz, $6::timestamptz), $7::bool, $8::bool, $9::text, 'running', $6::timestamptz,
	ARRAY(` + writers + `), $4::timestamptz, $6::timestamptz)
ON CONFLICT (endpoint_id, tenant) WHERE state = 'running' DO NOTHING
RETURNING ` + replayColumns

	sqlTrimReplays = `
WITH old AS MATERIALIZED (
	SELECT tenant, id FROM {replays} WHERE tenant = $1::text AND endpoint_id = $2::text AND state <> 'running' ORDER BY seq DESC OFFSET 100 FOR UPDATE SKIP LOCKED
)
DELETE FROM {replays} r USING old o WHERE r.tenant = o.tenant AND r.id = o.id`

	sqlReplays = `SELECT ` + replayColumns + ` FROM {replays} r WHERE r.tenant = $1::text AND r.endpoint_id = $2::text ORDER BY r.seq DESC LIMIT 100`

	sqlReplay = `SELECT ` + replayColumns + ` FROM {replays} r WHERE r.tenant = $1::text AND r.id = $2::text`

	sqlStopReplay = `UPDATE {replays} SET state = 'stopped', finished_at = clock_timestamp() WHERE tenant = $1::text AND id = $2::text AND state = 'running'`

	// Whoever runs it has the lane. Who has the replay may wait for that, and will then see that the endpoint is
	// deleted.
	sqlStopReplays = `
WITH mine AS MATERIALIZED (
	SELECT tenant, id FROM {replays} WHERE tenant = $1::text AND endpoint_id = $2::text AND state = 'running' FOR UPDATE SKIP LOCKED
)
UPDATE {replays} r SET state = 'stopped', finished_at = $3::timestamptz FROM mine m WHERE r.tenant = m.tenant AND r.id = m.id`
)

// replayRow reads one replay.
type replayRow struct {
	replay                     webhook.Replay
	since, finishedAt, reached *time.Time
	until, createdAt           time.Time
}

func (r *replayRow) dest() []any {
	v := &r.replay
	return []any{
		&v.ID, &v.Tenant, &v.EndpointID, &r.since, &r.until, &v.Failed, &v.Missed, &v.AskedBy, &v.State, &r.createdAt, &r.finishedAt, &r.reached,
		&v.Looked, &v.Queued, &v.Skipped,
	}
}

func (r *replayRow) value() webhook.Replay {
	v := r.replay
	v.Since, v.Until, v.CreatedAt, v.FinishedAt, v.Reached = at(r.since), r.until.UTC(), r.createdAt.UTC(), at(r.finishedAt), at(r.reached)
	return v
}

func scanReplay(row pgx.CollectableRow) (webhook.Replay, error) {
	var r replayRow
	err := row.Scan(r.dest()...)
	return r.value(), err
}

// ceil is the first time not before t that the database can tell apart, so that comparing with it is comparing with t.
func ceil(t time.Time) time.Time {
	if floor := t.Truncate(time.Microsecond); floor.Before(t) {
		return floor.Add(time.Microsecond)
	}
	return t
}

// CreateReplay implements [webhook.Replays].
func (s *Store) CreateReplay(ctx context.Context, r webhook.Replay) (webhook.Replay, error) {
	var stored []webhook.Replay
	err := s.inTx(ctx, "create replay", func(t *tx) error {
		_, now, err := t.hold(ctx, r.Tenant, r.EndpointID)
		if err != nil {
			return err
		}
		t.queue(sqlCreateReplay, r.Tenant, s.names.table("events"), r.EndpointID, moment(ceil(r.Since)), moment(ceil(r.Until)), now, r.Failed, r.Missed, r.AskedBy,
			r.ID).Query(collect(&stored))
		t.queue(sqlTrimReplays, r.Tenant, r.EndpointID)
		err = t.send(ctx)
		switch {
		case is(err, "23505"): // unique_violation
			return fmt.Errorf("%w: replay %q", webhook.ErrConflict, r.ID)
		case err != nil:
			return err
		case len(stored) == 0:
			return fmt.Errorf("%w: endpoint %q", webhook.ErrReplayRunning, r.EndpointID)
		}
		return t.commit(ctx)
	})
	if err != nil {
		return webhook.Replay{}, err
	}
	return stored[0], nil
}

func collect(list *[]webhook.Replay) func(rows pgx.Rows) error {
	return func(rows pgx.Rows) (err error) {
		*list, err = pgx.CollectRows(rows, scanReplay)
		return err
	}
}

// Replays implements [webhook.Replays]. Those of a deleted endpoint are listed as long as they are kept.
func (s *Store) Replays(ctx context.Context, tenant, endpointID string) ([]webhook.Replay, error) {
	rows, err := s.pool.Query(ctx, s.sql(sqlReplays), tenant, endpointID)
	if err != nil {
		return nil, fail("replays", err)
	}
	list, err := pgx.CollectRows(rows, scanReplay)
	return list, fail("replays", err)
}

// StopReplay implements [webhook.Replays].
func (s *Store) StopReplay(ctx context.Context, tenant, id string) (webhook.Replay, error) {
	var list []webhook.Replay
	err := s.inTx(ctx, "stop replay", func(t *tx) error {
		t.queue(sqlStopReplay, tenant, id)
		t.queue(sqlReplay, tenant, id).Query(collect(&list))
		return t.commit(ctx)
	})
	if err == nil && len(list) == 0 {
		err = fail("stop replay", fmt.Errorf("%w: replay", webhook.ErrNotFound))
	}
	if err != nil {
		return webhook.Replay{}, err
	}
	return list[0], nil
}
