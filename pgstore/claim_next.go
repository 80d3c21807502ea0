package pgstore

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/meshia/webhook"
)

// sqlNext says when there is something to claim again, and what keeps the rest back. What the inbox has of a lane that
// somebody else held counts only where it may be handed out.
const sqlNext = `
WITH skip AS MATERIALIZED (SELECT * FROM unnest($1::text[], $2::text[]) AS s (tenant, id)),
clock AS MATERIALIZED (SELECT clock_timestamp() AS now)
SELECT now,
	(SELECT l.eligible_at FROM {lanes} l WHERE NOT l.slow AND l.eligible_at IS NOT NULL
		AND NOT EXISTS (SELECT FROM skip s WHERE s.tenant = l.tenant AND (s.id = l.id OR s.id IS NULL)) ORDER BY l.eligible_at LIMIT 1),
	(SELECT l.eligible_at FROM {lanes} l WHERE l.slow AND l.eligible_at IS NOT NULL
		AND NOT EXISTS (SELECT FROM skip s WHERE s.tenant = l.tenant AND (s.id = l.id OR s.id IS NULL)) ORDER BY l.eligible_at LIMIT 1),
	(SELECT l.eligible_at FROM {lanes} l WHERE l.slow AND l.eligible_at > now
		AND NOT EXISTS (SELECT FROM skip s WHERE s.tenant = l.tenant AND (s.id = l.id OR s.id IS NULL)) ORDER BY l.eligible_at LIMIT 1),
	(SELECT min(due_at) FROM {deliveries} WHERE turn = 2),
	(SELECT min(created_at) FROM {deliveries} WHERE turn < 2),
	EXISTS (SELECT FROM {lanes} l WHERE l.full_window AND NOT EXISTS (SELECT FROM skip s WHERE s.tenant = l.tenant AND (s.id = l.id OR s.id IS NULL))),
	EXISTS (SELECT FROM {inbox} WHERE at IS NOT NULL)
FROM clock`

// next is what sqlNext answers.
type next struct {
	now                                        time.Time
	normal, slow, slowLater, leaseEnds, oldest *time.Time
	full, inbox                                bool
}

func (n *next) due(t *time.Time) bool { return t != nil && !t.After(n.now) }

// skip returns the endpoints that are to be skipped, and the tenants that may get none, without an id.
func (c *claim) skip() (tenants []string, ids []*string) {
	for i := range c.req.Skip {
		tenants, ids = append(tenants, c.req.Skip[i].Tenant), append(ids, &c.req.Skip[i].ID)
	}
	for tenant := range c.req.Tenants {
		if c.req.Room(tenant) == 0 {
			tenants, ids = append(tenants, tenant), append(ids, nil)
		}
	}
	return tenants, ids
}

func (c *claim) ask(skipTenants []string, skipIDs []*string) {
	c.queue(sqlNext, skipTenants, skipIDs).QueryRow(func(row pgx.Row) error {
		n := &c.next
		return row.Scan(&n.now, &n.normal, &n.slow, &n.slowLater, &n.leaseEnds, &n.oldest, &n.full, &n.inbox)
	})
}

// rest is what is left of the request when the transaction is committed.
func (c *claim) rest() webhook.ClaimRequest {
	req := c.req
	req.Max -= len(c.leases)
	req.Tenants = maps.Clone(req.Tenants)
	for i := range c.leases {
		if c.leases[i].Endpoint.Health.Slow {
			req.MaxSlow--
		}
		tenant := c.leases[i].Delivery.Tenant
		if room := req.Room(tenant); room < math.MaxInt {
			if req.Tenants == nil {
				req.Tenants = make(map[string]int)
			}
			req.Tenants[tenant] = room - 1
		}
	}
	return req
}

// hides reports whether a tenant has got all that it may, and others could be due behind its endpoints.
func (c *claim) hides(rest *webhook.ClaimRequest) bool {
	if rest.Max <= 0 || !c.next.due(c.next.normal) && (rest.MaxSlow <= 0 || !c.next.due(c.next.slow)) {
		return false
	}
	return slices.ContainsFunc(c.leases, func(l webhook.Lease) bool { return rest.Room(l.Delivery.Tenant) == 0 })
}

// claimed is the answer, once the transaction is committed.
func (c *claim) claimed() webhook.Claimed {
	out := webhook.Claimed{Leases: c.leases, Next: -1}
	slow := c.req.MaxSlow
	for i := range c.leases {
		if c.leases[i].Endpoint.Health.Slow {
			slow--
		}
	}
	n := &c.next
	sooner := func(t time.Time) {
		if wait := max(0, t.Sub(n.now)); out.Next < 0 || wait < out.Next {
			out.Next = wait
		}
	}
	for _, t := range []*time.Time{n.normal, n.slowLater, n.leaseEnds} {
		if t != nil {
			sooner(*t)
		}
	}
	if n.slow != nil && slow > 0 {
		sooner(*n.slow)
	}
	if n.oldest != nil && c.req.MaxAge > 0 {
		sooner(n.oldest.Add(min(c.req.MaxAge, longest)))
	}
	if n.inbox { // of a lane that somebody else held
		sooner(n.now)
	}
	out.Blocked = n.full || n.due(n.normal) || n.due(n.slow)
	return out
}
