package pgstore

import (
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/meshia/webhook"
)

// Which lanes have reached the bound, or are below it again, is found along indexes of what is pending, and not by
// whoever made it so: the bound is the claim's, it may be another one than last time, and Record does not know it. A
// lane that somebody else holds stays for the next call.
const (
	sqlOpenBacklogs = `
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
full_lanes AS MATERIALIZED (
	SELECT l.tenant, l.id, l.gaps_made + 1 AS number FROM {lanes} l WHERE l.gap IS NULL AND NOT l.deleted AND l.pending >= $1::bigint FOR UPDATE SKIP LOCKED
),
opened AS (
	INSERT INTO {gaps} (tenant, endpoint_id, number, reason, from_at, count) SELECT f.tenant, f.id, f.number, 'backlog', clock.now, 0 FROM full_lanes f, clock
)
UPDATE {lanes} l SET gap = f.number, gaps_made = f.number, backlogged = true FROM full_lanes f WHERE l.tenant = f.tenant AND l.id = f.id
RETURNING l.tenant, l.id`

	// $1 is how many may be left.
	sqlCloseBacklogs = `
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
free_lanes AS MATERIALIZED (
	SELECT l.tenant, l.id, l.gap FROM {lanes} l WHERE l.backlogged AND l.pending <= $1::bigint FOR UPDATE SKIP LOCKED
),
closed AS (
	UPDATE {gaps} g SET to_at = clock.now FROM free_lanes f, clock WHERE g.tenant = f.tenant AND g.endpoint_id = f.id AND g.number = f.gap
)
UPDATE {lanes} l SET gap = NULL, backlogged = false FROM free_lanes f WHERE l.tenant = f.tenant AND l.id = f.id`
)

// bound queues what closes the gaps of lanes whose backlog was worked off to nine tenths of the bound, or has none any
// more, and opens one for those whose backlog has reached it.
func (c *claim) bound() {
	limit := int64(c.req.MaxPending)
	if limit <= 0 {
		c.queue(sqlCloseBacklogs, int64(math.MaxInt64))
		return
	}
	c.queue(sqlCloseBacklogs, limit/10*9+limit%10*9/10)
	c.queue(sqlOpenBacklogs, limit).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var ref webhook.EndpointRef
			if err := rows.Scan(&ref.Tenant, &ref.ID); err != nil {
				return err
			}
			c.backlogged = append(c.backlogged, ref)
		}
		return rows.Err()
	})
}
