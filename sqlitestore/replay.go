package sqlitestore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/meshia/webhook"
)

// replay is a replay as it is stored.
type replay struct {
	webhook.Replay
	key     int64
	laneKey int64
	last    int64 // key of the event that was looked at last, one of those stored when Reached says; 0: there is none
}

const replayColumns = `r.key, r.endpoint, r.reached_key, r.id, r.tenant, p.id, r.since, r.until, r.failed, r.missed, r.asked_by, r.state, r.created_at, r.finished_at,
	r.reached_at, r.looked, r.queued, r.skipped`

func (r *replay) dest() []any {
	return []any{
		&r.key, &r.laneKey, &r.last, &r.ID, &r.Tenant, &r.EndpointID,
		stamp{&r.Since},
		stamp{&r.Until},
		&r.Failed, &r.Missed, &r.AskedBy, &r.State,
		stamp{&r.CreatedAt},
		stamp{&r.FinishedAt},
		stamp{&r.Reached},
		&r.Looked, &r.Queued, &r.Skipped,
	}
}

// behindAll puts a replay behind all others that run. Where the clock was set back, now may lie before their last
// steps.
const behindAll = `max(?, 1 + coalesce((SELECT stepped_at FROM webhook_replays INDEXED BY webhook_replays_running WHERE state = 'running' ORDER BY stepped_at DESC LIMIT 1), 0))`

var (
	replayRuns   = statement(`SELECT EXISTS (SELECT 1 FROM webhook_replays WHERE endpoint = ? AND state = 'running')`)
	insertReplay = statement(`INSERT INTO webhook_replays (id, tenant, endpoint, since, until, failed, missed, asked_by, state, created_at, reached_at, reached_key,
		looked, queued, skipped, stepped_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, ` + behindAll + `)`)
	trimReplays = statement(`DELETE FROM webhook_replays WHERE key IN (SELECT key FROM webhook_replays INDEXED BY webhook_replays_endpoint
		WHERE endpoint = ? AND state <> 'running' ORDER BY key DESC LIMIT -1 OFFSET 100)`)
	replayByID = statement(`SELECT ` + replayColumns + ` FROM webhook_replays r CROSS JOIN webhook_endpoints p ON p.key = r.endpoint
		WHERE r.tenant = ? AND r.id = ?`)
	stopReplays = statement(`UPDATE webhook_replays SET state = 'stopped', finished_at = ? WHERE endpoint = ? AND state = 'running'`)
	readReplays = readStatement(`SELECT ` + replayColumns + ` FROM webhook_endpoints p CROSS JOIN webhook_replays r INDEXED BY webhook_replays_endpoint ON r.endpoint = p.key
		WHERE p.tenant = ? AND p.id = ? ORDER BY r.key DESC LIMIT 100`)
)

// CreateReplay implements [webhook.Replays].
func (s *Store) CreateReplay(ctx context.Context, r webhook.Replay) (webhook.Replay, error) {
	return s.replay(ctx, "create replay", func(t *txn) (webhook.Replay, error) { return t.createReplay(r) })
}

func (t *txn) createReplay(r webhook.Replay) (webhook.Replay, error) {
	l, err := t.lane(r.Tenant, r.EndpointID)
	if err != nil {
		return r, err
	}
	var runs bool
	if err := t.row(replayRuns, []any{l.key}, &runs); err != nil {
		return r, err
	}
	if runs {
		return r, refuse("%w: endpoint %q", webhook.ErrReplayRunning, r.EndpointID)
	}
	if err := t.run(trimReplays, l.key); err != nil {
		return r, err
	}
	if r.Until.IsZero() || r.Until.After(t.now) {
		r.Until = t.now
	}
	var since any
	if !r.Since.IsZero() {
		since = ceil(r.Since)
	}
	if err := t.run(insertReplay, r.ID, r.Tenant, l.key, since, ceil(r.Until), r.Failed, r.Missed, r.AskedBy, webhook.ReplayRunning, t.at, since, t.at); err != nil {
		return r, err
	}
	return t.readReplay(r.Tenant, r.ID)
}

// StopReplay implements [webhook.Replays].
func (s *Store) StopReplay(ctx context.Context, tenant, id string) (webhook.Replay, error) {
	return s.replay(ctx, "stop replay", func(t *txn) (webhook.Replay, error) {
		var r replay
		err := t.row(replayByID, []any{tenant, id}, r.dest()...)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return r.Replay, refuse("%w: replay", webhook.ErrNotFound)
		case err != nil || r.State != webhook.ReplayRunning:
			return r.Replay, err
		}
		if err := t.run(stopReplays, t.at, r.laneKey); err != nil {
			return r.Replay, err
		}
		return t.readReplay(tenant, id)
	})
}

func (t *txn) readReplay(tenant, id string) (webhook.Replay, error) {
	var r replay
	err := t.row(replayByID, []any{tenant, id}, r.dest()...)
	return r.Replay, err
}

// replay is a write that returns a replay.
func (s *Store) replay(ctx context.Context, what string, do func(*txn) (webhook.Replay, error)) (r webhook.Replay, err error) {
	err = s.write(ctx, &write{weight: 1, do: func(t *txn) (err error) {
		r, err = do(t)
		return err
	}})
	if err != nil {
		return webhook.Replay{}, wrap(what, err)
	}
	return r, nil
}

// Replays implements [webhook.Replays]. Those of a deleted endpoint are listed as long as they are kept.
func (s *Store) Replays(ctx context.Context, tenant, endpointID string) ([]webhook.Replay, error) {
	var list []webhook.Replay
	rows, err := s.reads[readReplays].QueryContext(ctx, tenant, endpointID)
	if err := each(rows, err, func() error {
		var r replay
		err := rows.Scan(r.dest()...)
		list = append(list, r.Replay)
		return err
	}); err != nil {
		return nil, wrap("replays", missing(ctx, err, ""))
	}
	return list, nil
}
