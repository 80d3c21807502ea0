package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/meshia/webhook"
)

// replayPage is how many events are read at once: a step that finds room for a few deliveries only need not read all
// that it may look at.
const replayPage = 100

var (
	// It passes over the replays that wait, within SQLite and without looking at anything else of theirs.
	nextReplay = statement(`SELECT ` + replayColumns + ` FROM webhook_replays r INDEXED BY webhook_replays_running CROSS JOIN webhook_lanes l ON l.endpoint = r.endpoint
		CROSS JOIN webhook_endpoints p ON p.key = r.endpoint WHERE r.state = 'running' AND l.state IN ('active', 'paused') AND l.pending < ? ORDER BY r.stepped_at LIMIT 1`)
	anyReplay  = statement(`SELECT EXISTS (SELECT 1 FROM webhook_replays INDEXED BY webhook_replays_running WHERE state = 'running')`)
	stepReplay = statement(`UPDATE webhook_replays SET state = ?, finished_at = ?, reached_at = ?, reached_key = ?, looked = ?, queued = ?, skipped = ?,
		stepped_at = ` + behindAll + ` WHERE key = ?`)
	delayReplay = statement(`UPDATE webhook_replays SET stepped_at = ` + behindAll + ` WHERE key = ? AND state = 'running'`)

	eventsInOrder = statement(`SELECT e.key, e.stored_at, e.id, e.type, e.direct, e.contents FROM webhook_events e INDEXED BY webhook_events_tenant
		WHERE e.tenant = ? AND e.stored_at < ? AND (e.stored_at, e.key) > (?, ?) ORDER BY e.stored_at, e.key LIMIT ?`)
	deliveriesTo = statement(`SELECT d.event, d.key, d.id, d.kind, d.state FROM json_each(?) j CROSS JOIN webhook_deliveries d INDEXED BY webhook_deliveries_event
		ON d.event = j.value AND d.endpoint = ?`)
	// Gaps follow each other, so the one before the stretch, or those that opened in the same moment, are all that can
	// reach into it.
	gapsBetween = statement(`SELECT opened_at, coalesce(closed_at, ?1) FROM webhook_gaps INDEXED BY webhook_gaps_endpoint WHERE endpoint = ?2 AND opened_at <= ?4
		AND opened_at >= coalesce((SELECT opened_at FROM webhook_gaps INDEXED BY webhook_gaps_endpoint WHERE endpoint = ?2 AND opened_at <= ?3
			ORDER BY opened_at DESC LIMIT 1), ?3)`)
)

// ContinueReplay implements [webhook.Replays]. Calls that come while another one commits share a transaction.
func (s *Store) ContinueReplay(ctx context.Context, req webhook.ReplayStep) (webhook.ReplayStepped, error) {
	var stepped webhook.ReplayStepped
	var turn int64 // the key of the replay whose it is
	err := s.write(ctx, &write{weight: req.Max, do: func(t *txn) (err error) {
		stepped, turn, err = t.continueReplay(req)
		return err
	}})
	if err == nil {
		return stepped, nil
	}
	if turn != 0 { // it takes its turn nonetheless; where that fails too nothing works
		_ = s.write(context.WithoutCancel(ctx), &write{weight: 1, do: func(t *txn) error { return t.run(delayReplay, t.at, turn) }})
	}
	return webhook.ReplayStepped{}, wrap("continue replay", err)
}

func (t *txn) continueReplay(req webhook.ReplayStep) (stepped webhook.ReplayStepped, turn int64, err error) {
	if err := t.flush(); err != nil { // whose turn it is, is read from the database
		return stepped, 0, err
	}
	s := step{txn: t, room: req.Pending}
	err = t.row(nextReplay, []any{req.Pending}, s.dest()...)
	if errors.Is(err, sql.ErrNoRows) {
		return stepped, 0, t.row(anyReplay, nil, &stepped.Waiting)
	}
	if err != nil {
		return stepped, 0, err
	}
	before := s.Queued
	if err := s.take(max(1, req.Max)); err != nil {
		return stepped, s.key, err
	}
	stepped.Stepped, stepped.Queued = true, s.Queued > before
	return stepped, s.key, t.run(stepReplay, s.State, micros(s.FinishedAt), micros(s.Reached), s.last, s.Looked, s.Queued, s.Skipped, t.at, s.key)
}

// step is a replay that goes on.
type step struct {
	*txn
	replay
	to   *lane
	room int // how many deliveries of the lane may be pending or leased
}

// past is an event, and what became of it at the endpoint. Pings and tests count for nothing.
type past struct {
	incoming
	stored   int64
	direct   bool
	contents bool
	settled  bool   // a delivery succeeded, or is still to be sent
	last     int64  // the key of the last delivery; 0: there is none
	lastID   string // its id
	again    bool   // it is to be queued again
}

// take looks at max events, or at fewer where there is no more room.
func (s *step) take(max int) error {
	if err := s.load([]int64{s.laneKey}); err != nil {
		return err
	}
	s.to = s.lanes[s.laneKey]
	endpoint, err := s.endpoint(s.to)
	if err != nil {
		return err
	}
	for max > 0 {
		n := min(max, replayPage)
		page, err := s.page(n + 1) // one more says whether this is the end
		if err != nil {
			return err
		}
		more := len(page) > n
		page = page[:min(len(page), n)]
		if err := s.judge(page, endpoint); err != nil {
			return err
		}
		for i := range page {
			if passed, err := s.pass(&page[i]); err != nil || !passed {
				return err
			}
		}
		if !more {
			s.State, s.FinishedAt, s.last = webhook.ReplayDone, s.now, 0
			if s.Reached.Before(s.Until) {
				s.Reached = s.Until
			}
			return nil
		}
		max -= n
	}
	return nil
}

// page reads the next events.
func (s *step) page(n int) (page []past, err error) {
	rows, err := s.query(eventsInOrder, s.Tenant, s.Until.UnixMicro(), s.Reached.UnixMicro(), s.last, n)
	err = each(rows, err, func() error {
		p := past{incoming: incoming{Event: &webhook.Event{}}}
		err := rows.Scan(&p.key, &p.stored, &p.ID, &p.Type, &p.direct, &p.contents)
		page = append(page, p)
		return err
	})
	return page, err
}

// judge says which events are to be queued again.
func (s *step) judge(page []past, endpoint *webhook.Endpoint) error {
	wanted := map[int64]*past{}
	var keys []int64
	for i := range page {
		if p := &page[i]; endpoint.Subscribes(p.Type) {
			wanted[p.key] = p
			keys = append(keys, p.key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	rows, err := s.query(deliveriesTo, marshal(keys), s.laneKey)
	if err := each(rows, err, func() error {
		var event, key int64
		var d webhook.Delivery
		if err := rows.Scan(&event, &key, &d.ID, &d.Kind, &d.State); err != nil || d.Kind.Once() {
			return err
		}
		p := wanted[event]
		p.settled = p.settled || d.State != webhook.DeliveryFailed
		if key > p.last {
			p.last, p.lastID = key, d.ID
		}
		return nil
	}); err != nil {
		return err
	}
	gaps, err := s.gaps(page[0].stored, page[len(page)-1].stored)
	if err != nil {
		return err
	}
	for _, p := range wanted {
		switch {
		case p.last != 0:
			p.again = s.Failed && !p.settled
		case !p.direct:
			p.again = slices.ContainsFunc(gaps, func(g [2]int64) bool { return g[0] <= p.stored && p.stored <= g[1] })
		}
	}
	return nil
}

// gaps returns when the endpoint's gaps opened and closed that reach into a stretch of time, if what was missed in them
// is asked for. An event may be missed in the transaction that opens a gap, and in the one that closes it.
func (s *step) gaps(from, to int64) (gaps [][2]int64, err error) {
	if !s.Missed {
		return nil, nil
	}
	rows, err := s.query(gapsBetween, math.MaxInt64, s.laneKey, from, to)
	err = each(rows, err, func() error {
		var g [2]int64
		err := rows.Scan(&g[0], &g[1])
		gaps = append(gaps, g)
		return err
	})
	return gaps, err
}

// pass goes past an event, and queues it if it is to be queued; it reports false where there is no room for that.
func (s *step) pass(p *past) (passed bool, err error) {
	switch {
	case !p.again:
	case !p.contents:
		s.Skipped++
	case s.to.pending >= s.room:
		return false, nil
	default:
		if err := s.run(busyEvent, p.key); err != nil {
			return false, err
		}
		d := s.delivery(&p.incoming, s.to, webhook.KindRedelivery)
		d.RedeliveryOf, d.AskedBy = p.lastID, s.AskedBy
		s.to.pending++
		if err := s.txn.queue(&p.incoming, s.to, &d); err != nil {
			return false, err
		}
		s.Queued++
	}
	s.Looked++
	s.Reached, s.last = time.UnixMicro(p.stored).UTC(), p.key
	return true, nil
}
