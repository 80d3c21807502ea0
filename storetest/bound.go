package storetest

import "github.com/meshia/webhook"

// bound makes requests with a MaxPending, and counts how often each endpoint was named in Backlogged.
type bound struct {
	*check
	most  int
	named map[webhook.EndpointRef]int
}

func (c *check) bound(most int) *bound { return &bound{c, most, map[webhook.EndpointRef]int{}} }

func (b *bound) note(refs []webhook.EndpointRef) {
	for _, ref := range refs {
		b.named[ref]++
	}
}

func (b *bound) enqueue(req webhook.EnqueueRequest) webhook.EnqueueResult {
	b.Helper()
	req.MaxPending = b.most
	result := b.check.enqueue(req)
	b.note(result.Backlogged)
	return result
}

// emit stores n events in one request.
func (b *bound) emit(tenant string, n int) []webhook.Event {
	b.Helper()
	events := b.events(n)
	b.enqueue(webhook.EnqueueRequest{Tenant: tenant, Events: events})
	return events
}

// claim leases up to n deliveries, with as many calls as it takes, of which there is one at least.
func (b *bound) claim(n int) (all []webhook.Lease) {
	b.Helper()
	for {
		req := claimRequest(n - len(all))
		req.MaxPending = b.most
		claimed := b.claimWith(req)
		b.note(claimed.Backlogged)
		all = append(all, claimed.Leases...)
		if len(claimed.Leases) == 0 || len(all) >= n {
			return all
		}
	}
}

// look claims where nothing can be claimed.
func (b *bound) look() {
	b.Helper()
	leases := b.claim(1)
	b.want(len(leases) == 0, "claimed %+v, want nothing", first(leases).Delivery)
}

// lastGap is the newest of the endpoint's gaps.
func (c *check) lastGap(e webhook.Endpoint) webhook.Gap {
	c.Helper()
	gaps := c.gaps(e)
	c.want(len(gaps) > 0, "endpoint %s has no gap", e.ID)
	return gaps[0]
}
