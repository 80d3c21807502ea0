package pgstore

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/failpoint"
)

const (
	// sqlHold locks the lanes of the deliveries, in their order, and reads their health.
	sqlHold = `
SELECT l.* FROM (
	SELECT DISTINCT d.tenant, d.endpoint_id FROM unnest($1::text[], $2::text[]) AS i (tenant, id)
	CROSS JOIN LATERAL (SELECT tenant, endpoint_id FROM {deliveries} d WHERE d.tenant = i.tenant AND d.id = i.id) d ORDER BY 1, 2) k
CROSS JOIN LATERAL (
	SELECT ` + heldColumns + `
	FROM {lanes} l WHERE l.tenant = k.tenant AND l.id = k.endpoint_id FOR UPDATE) l`

	// sqlPresent reads the present leases. It is a statement of its own so that it sees what was done before the lanes
	// were locked; the rows are locked against settle, who has no lane.
	sqlPresent = `
SELECT d.*, clock_timestamp() FROM unnest($1::text[], $2::text[]) AS i (tenant, id)
CROSS JOIN LATERAL (
	SELECT d.tenant, d.id, d.endpoint_id, d.kind, d.attempts, d.interrupted, d.deferred, coalesce(d.token::text, ''), d.erased
	FROM {deliveries} d WHERE d.tenant = i.tenant AND d.id = i.id FOR UPDATE) d`

	sqlEnd = `
UPDATE {deliveries} d SET state = i.state, turn = i.turn, reason = i.reason, attempts = i.attempts, interrupted = i.interrupted, deferred = i.deferred,
	due_at = CASE WHEN i.turn IS NOT NULL THEN $9::timestamptz + i.wait * interval '1 microsecond' END,
	finished_at = CASE WHEN i.turn IS NULL THEN $9::timestamptz END,
	last_secret = coalesce(i.secret, d.last_secret), token = NULL
FROM unnest($1::text[], $2::text[], $3::text[], $4::smallint[], $5::text[], $6::int[], $7::int[], $8::bigint[], $10::text[], $11::int[])
	AS i (tenant, id, state, turn, reason, attempts, interrupted, wait, secret, deferred)
WHERE d.tenant = i.tenant AND d.id = i.id`

	sqlLog = `
INSERT INTO {attempts} (tenant, delivery_id, number, started_at, result, error, detail, status, latency, dns, connect, tls, first_byte, reused,
	remote_addr, request_header, response_header, response_body, truncated, secret_id)
SELECT i.tenant, i.delivery_id, i.number, i.started_at, i.result, i.error, i.detail, i.status, i.latency, i.dns, i.connect, i.tls, i.first_byte, i.reused,
	i.remote_addr, i.request_header::jsonb, i.response_header::jsonb, i.response_body, i.truncated, i.secret_id
FROM unnest($1::text[], $2::text[], $3::int[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], $8::int[], $9::bigint[], $10::bigint[],
	$11::bigint[], $12::bigint[], $13::bigint[], $14::bool[], $15::text[], $16::text[], $17::text[], $18::bytea[], $19::bool[], $20::text[])
	AS i (tenant, delivery_id, number, started_at, result, error, detail, status, latency, dns, connect, tls, first_byte, reused,
		remote_addr, request_header, response_header, response_body, truncated, secret_id)`
)

// Record implements [webhook.Queue]. It takes two round trips: one that locks the endpoints and reads their health,
// and after the judgements one that writes everything.
func (s *Store) Record(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
	var tenants, ids []string
	for i := range outcomes {
		o := &outcomes[i]
		switch o.Kind {
		case webhook.OutcomeDelivered, webhook.OutcomeRetry, webhook.OutcomeFailed, webhook.OutcomeDeferred, webhook.OutcomeInterrupted, webhook.OutcomeReleased:
		default:
			return nil, fail("record", fmt.Errorf("unknown kind of outcome %q", o.Kind))
		}
		tenants, ids = append(tenants, o.Tenant), append(ids, o.DeliveryID)
	}
	if len(outcomes) == 0 {
		return []bool{}, fail("record", ctx.Err())
	}
	failpoint.Pass(failpoint.K13)
	var applied []bool
	err := s.inTx(ctx, "record", func(t *tx) error {
		r := record{tx: t, lanes: map[ref]*held{}, leases: map[ref]*present{}, hours: map[ref]*webhook.HourStats{}}
		if err := r.read(ctx, tenants, ids); err != nil {
			return err
		}
		applied = make([]bool, len(outcomes))
		any := false
		for i := range outcomes {
			var err error
			if applied[i], err = r.apply(&outcomes[i]); err != nil {
				return err
			}
			any = any || applied[i]
		}
		if !any {
			return t.commit(ctx)
		}
		r.write()
		return t.finish(ctx, func() {
			failpoint.Pass(failpoint.K14) // the outcome and the COMMIT are sent together
			failpoint.Pass(failpoint.K15)
		})
	})
	if err != nil {
		return nil, err
	}
	return applied, nil
}

type ref struct{ tenant, id string }

// present is a lease as it is in the transaction.
type present struct {
	endpoint                        ref
	kind                            webhook.DeliveryKind
	attempts, interrupted, deferred int
	token                           string
	erased                          bool
}

// record is one transaction of Record.
type record struct {
	*tx
	now    time.Time
	lanes  map[ref]*held
	order  []*held
	leases map[ref]*present
	hours  map[ref]*webhook.HourStats // what the outcomes add to the present hour
	ends   ends
	log    log
}

func (r *record) read(ctx context.Context, tenants, ids []string) error {
	r.queue(sqlHold, tenants, ids).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			h, err := scanHeld(rows)
			if err != nil {
				return err
			}
			r.lanes[h.ref] = h
			r.order = append(r.order, h)
		}
		return rows.Err()
	})
	r.queue(sqlPresent, tenants, ids).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var p present
			var id string
			err := rows.Scan(&p.endpoint.tenant, &id, &p.endpoint.id, &p.kind, &p.attempts, &p.interrupted, &p.deferred, &p.token, &p.erased, &r.now)
			if err != nil {
				return err
			}
			r.leases[ref{p.endpoint.tenant, id}] = &p
		}
		return rows.Err()
	})
	err := r.send(ctx)
	r.now = r.now.UTC()
	return err
}

// apply decides what becomes of one delivery, and judges its endpoint.
func (r *record) apply(o *webhook.Outcome) (bool, error) {
	key := ref{o.Tenant, o.DeliveryID}
	p := r.leases[key]
	if p == nil || p.token == "" || p.token != o.Token {
		return false, nil
	}
	l := r.lanes[p.endpoint]
	if l == nil { // the tenant is being erased
		return false, nil
	}
	delete(r.leases, key)
	if o.Judge != nil && !l.deleted {
		l.after = o.Judge(l.after, r.now)
	}

	var state webhook.DeliveryState
	var reason webhook.FailReason
	again := func() {
		switch {
		case l.deleted:
			state, reason = webhook.DeliveryFailed, webhook.FailEndpointDeleted
		case p.erased:
			state, reason = webhook.DeliveryFailed, webhook.FailErased
		default:
			state = webhook.DeliveryPending
		}
	}
	switch o.Kind {
	case webhook.OutcomeDelivered:
		state = webhook.DeliverySucceeded
	case webhook.OutcomeFailed:
		state, reason = webhook.DeliveryFailed, o.Reason
	case webhook.OutcomeRetry:
		again()
	case webhook.OutcomeDeferred:
		if p.deferred++; p.kind.Once() {
			state, reason = webhook.DeliveryFailed, webhook.FailExhausted
		} else {
			again()
		}
	case webhook.OutcomeInterrupted:
		if p.interrupted++; p.kind.Once() || p.interrupted >= webhook.MaxInterrupted {
			state, reason = webhook.DeliveryFailed, webhook.FailInterrupted
		} else {
			again()
		}
	case webhook.OutcomeReleased:
		p.attempts--
		if p.kind.Once() {
			state, reason = webhook.DeliveryFailed, webhook.FailCancelled
		} else {
			again()
		}
	}
	if state.Final() {
		l.finished++
	}
	var secret *string
	if o.Kind != webhook.OutcomeReleased {
		r.count(p, &o.Attempt)
		if o.Attempt.Result != webhook.AttemptInterrupted {
			secret = &o.Attempt.SecretID
		}
		if err := r.log.add(key, p.attempts, &o.Attempt, p.erased); err != nil {
			return false, err
		}
	}
	r.ends.add(key, state, reason, p, o.Wait, secret)
	return true, nil
}

func (r *record) write() {
	e, a := &r.ends, &r.log
	r.queue(sqlEnd, e.tenants, e.ids, e.states, e.turns, e.reasons, e.attempts, e.interrupted, e.waits, r.now, e.secrets, e.deferred)
	if len(a.ids) > 0 {
		r.queue(sqlLog, a.tenants, a.ids, a.numbers, a.started, a.results, a.errors, a.details, a.statuses, a.latencies, a.dns, a.connects, a.tls,
			a.firsts, a.reused, a.addrs, a.requests, a.responses, a.bodies, a.truncated, a.secrets)
	}
	r.countHours()
	r.judged(r.order, r.now)
}

// ends are deliveries whose lease ends, column by column.
type ends struct {
	tenants, ids, states, reasons []string
	turns                         []*int16
	attempts, interrupted         []int32
	deferred                      []int32
	waits                         []int64
	secrets                       []*string
}

func (e *ends) add(key ref, state webhook.DeliveryState, reason webhook.FailReason, p *present, wait time.Duration, secret *string) {
	var turn *int16
	if state == webhook.DeliveryPending {
		turn = new(int16)
		*turn = int16(min(p.attempts, 1))
	}
	e.tenants, e.ids, e.states, e.reasons = append(e.tenants, key.tenant), append(e.ids, key.id), append(e.states, string(state)), append(e.reasons, string(reason))
	e.turns, e.attempts, e.interrupted = append(e.turns, turn), append(e.attempts, small(p.attempts)), append(e.interrupted, small(p.interrupted))
	e.waits, e.secrets, e.deferred = append(e.waits, micros(wait)), append(e.secrets, secret), append(e.deferred, small(p.deferred))
}

// log are rows of attempts, column by column.
type log struct {
	tenants, ids, results, errors, details, addrs, secrets []string
	numbers, statuses                                      []int32
	started                                                []time.Time
	latencies, dns, connects, tls, firsts                  []int64
	reused, truncated                                      []bool
	requests, responses                                    []*string
	bodies                                                 [][]byte
}

func (l *log) add(key ref, number int, a *webhook.Attempt, erased bool) error {
	var request, response *string
	var body []byte
	if !erased {
		var err error
		if request, err = packHeader(a.RequestHeader); err != nil {
			return err
		}
		if response, err = packHeader(a.ResponseHeader); err != nil {
			return err
		}
		body = a.ResponseBody
	}
	l.tenants, l.ids, l.numbers, l.started = append(l.tenants, key.tenant), append(l.ids, key.id), append(l.numbers, small(number)), append(l.started, a.StartedAt)
	l.results, l.errors, l.details, l.statuses = append(l.results, string(a.Result)), append(l.errors, string(a.Error)), append(l.details, a.Detail), append(l.statuses, small(a.Status))
	l.latencies, l.dns, l.connects = append(l.latencies, int64(a.Latency)), append(l.dns, int64(a.Phases.DNS)), append(l.connects, int64(a.Phases.Connect))
	l.tls, l.firsts, l.reused = append(l.tls, int64(a.Phases.TLS)), append(l.firsts, int64(a.Phases.FirstByte)), append(l.reused, a.Phases.Reused)
	l.addrs, l.requests, l.responses, l.bodies = append(l.addrs, a.RemoteAddr), append(l.requests, request), append(l.responses, response), append(l.bodies, body)
	l.truncated, l.secrets = append(l.truncated, a.Truncated), append(l.secrets, a.SecretID)
	return nil
}
