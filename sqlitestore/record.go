package sqlitestore

import (
	"context"
	"fmt"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/failpoint"
)

// Record implements [webhook.Queue]. Calls that come while another one commits share a transaction.
func (s *Store) Record(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
	for i := range outcomes {
		switch k := outcomes[i].Kind; k {
		case webhook.OutcomeDelivered, webhook.OutcomeRetry, webhook.OutcomeFailed, webhook.OutcomeDeferred, webhook.OutcomeInterrupted, webhook.OutcomeReleased:
		default:
			return nil, wrap("record", fmt.Errorf("%w %q", errUnknownKind, k))
		}
	}
	failpoint.Pass(failpoint.K13)
	var applied []bool
	err := s.write(ctx, &write{weight: len(outcomes), commit: failpoint.K15, do: func(t *txn) (err error) {
		applied, err = t.record(outcomes)
		return err
	}})
	if err != nil {
		return nil, wrap("record", err)
	}
	return applied, nil
}

var leasedRows = statement(`SELECT j.key, d.tenant, coalesce(d.token, ''), ` + rowColumns + `
	FROM json_each(?) j CROSS JOIN webhook_deliveries d ON d.id = j.value JOIN webhook_events e ON e.key = d.event WHERE d.state = 'leased'`)

func (t *txn) record(outcomes []webhook.Outcome) ([]bool, error) {
	ids := make([]string, len(outcomes))
	for i := range outcomes {
		ids[i] = outcomes[i].DeliveryID
	}
	present := make([]*row, len(outcomes))
	var keys []int64
	rows, err := t.query(leasedRows, marshal(ids))
	if err := each(rows, err, func() error {
		var i int
		var tenant, token string
		var d row
		if err := rows.Scan(append([]any{&i, &tenant, &token}, d.dest()...)...); err != nil {
			return err
		}
		if o := &outcomes[i]; o.Tenant == tenant && o.Token == token {
			present[i] = &d
			keys = append(keys, d.lane)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if err := t.load(keys); err != nil {
		return nil, err
	}

	applied := make([]bool, len(outcomes))
	settled := make(map[int64]bool, len(outcomes))
	for i := range outcomes {
		d, o := present[i], &outcomes[i]
		if d == nil || settled[d.key] {
			continue
		}
		l := t.lanes[d.lane]
		health := l.health
		if o.Judge != nil && !l.deleted {
			health = o.Judge(health, t.now)
		}
		if err := t.settle(d, o); err != nil {
			return nil, err
		}
		if err := t.judged(l, health); err != nil {
			return nil, err
		}
		applied[i], settled[d.key] = true, true
	}
	failpoint.Pass(failpoint.K14)
	return applied, nil
}
