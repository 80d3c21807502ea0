package webhook

import "context"

// reserve takes up to n free slots for leases of the tenant that Emit may be handed, and answers how many.
func (r *run) reserve(tenant string, n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		return 0
	}
	n = min(n, r.free, r.room(tenant))
	r.take(tenant, n)
	return n
}

// spare is what a claim may take of so many slots: where there are many, some are left to Emit.
func spare(slots int) int {
	if slots > 2*handOverMost {
		return slots - handOverMost
	}
	return slots
}

// room is how many slots more the tenant may have, whatever the claim that is under way brings it. r.mu is held.
func (r *run) room(tenant string) int {
	if tenant == "" {
		return r.cfg.Slots
	}
	room := r.cfg.TenantSlots - r.tenants[tenant]
	if r.asked != nil {
		room -= min(r.asked.Max, r.asked.Room(tenant))
	}
	return max(0, room)
}

// take gives the tenant n of the free slots, or takes -n from it. r.mu is held.
func (r *run) take(tenant string, n int) {
	r.free -= n
	if tenant == "" {
		return
	}
	had := r.tenants[tenant]
	// Claims have passed over the endpoints of a tenant that had all that it may, and so may the one that is under way.
	if n < 0 && had >= r.cfg.TenantSlots {
		r.waiting, r.missed = true, r.asked != nil
	}
	if r.tenants[tenant] = had + n; had+n == 0 {
		delete(r.tenants, tenant)
	}
}

// prepare takes the free slots for a claim, but for some that Emit may hand leases to meanwhile, and says how many of
// them may be for whom. The answer is false if no claim is to be made.
func (r *run) prepare(req *ClaimRequest) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = true // until the answer is in: an outcome that is recorded meanwhile makes it old
	if r.asked != nil {
		r.missed = true
		return false
	}
	if r.free == 0 {
		return false
	}
	req.Max = spare(r.free)
	req.MaxSlow = max(min(req.Max, (r.cfg.Slots+1)/2-r.slow), 0)
	req.MaxTenant = spare(r.cfg.TenantSlots)
	req.Tenants = make(map[string]int, len(r.tenants))
	for tenant, has := range r.tenants {
		req.Tenants[tenant] = spare(r.cfg.TenantSlots - has)
	}
	r.take("", req.Max)
	r.asked = req
	return true
}

// cramped reports whether a tenant got all that the claim let it have, and may have more by now. r.mu is held.
func (r *run) cramped(req *ClaimRequest, leases []Lease) bool {
	got := make(map[string]int)
	for i := range leases {
		got[leases[i].Delivery.Tenant]++
	}
	for tenant, n := range got {
		if n >= req.Room(tenant) && r.room(tenant) > 0 {
			return true
		}
	}
	return false
}

// occupy puts leases on the slots that were reserved, for the tenant if it was Emit that reserved them, and gives the
// slots that are left back. The answer is false if Run is ending: whoever waited for the store until now is not waited
// for, and the leases are given back unsent.
func (r *run) occupy(leases []Lease, tenant string, reserved int) bool {
	r.mu.Lock()
	ending := r.closing
	if !ending {
		for i := range leases {
			if of := leases[i].Delivery.Tenant; of == tenant {
				reserved--
			} else {
				r.take(of, 1)
			}
			if leases[i].Endpoint.Health.Slow {
				r.slow++
			}
		}
		r.busy += len(leases)
	}
	r.take(tenant, -reserved)
	r.mu.Unlock()
	if !ending || len(leases) == 0 {
		return !ending
	}
	unsent := make([]settled, len(leases))
	for i := range leases {
		unsent[i] = settled{lease: &leases[i], Outcome: release(&leases[i])}
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaseMargin)
	defer cancel()
	r.record(ctx, unsent)
	return false
}

// spared makes the claim loop look if there is more to claim than it found slots for: some that were reserved are free
// again.
func (r *run) spared() {
	r.mu.Lock()
	waiting := r.waiting
	r.mu.Unlock()
	if waiting {
		r.wake()
	}
}

// vacate gives the slot of a lease back.
func (r *run) vacate(l *Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.take(l.Delivery.Tenant, -1)
	r.busy--
	if l.Endpoint.Health.Slow {
		r.slow--
	}
	if r.closing && r.busy == 0 {
		close(r.empty)
	}
}
