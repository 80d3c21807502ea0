package storetest

import (
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/meshia/webhook"
)

// roomFaults are about what each tenant may get of a claim.
var roomFaults = []fault{
	{"room", "there is no bound", func(f *faulty) {
		f.claimsAs(func(req *webhook.ClaimRequest) { req.MaxTenant, req.Tenants = 0, nil })
	}},
	{"room", "it is one more", func(f *faulty) {
		f.claimsAs(func(req *webhook.ClaimRequest) { req.MaxTenant += min(req.MaxTenant, 1) })
	}},
	{"room", "all tenants have the same", func(f *faulty) {
		f.claimsAs(func(req *webhook.ClaimRequest) { req.Tenants = nil })
	}},
	{"room", "none is any number", func(f *faulty) {
		f.claimsAs(func(req *webhook.ClaimRequest) {
			req.Tenants = maps.Clone(req.Tenants)
			maps.DeleteFunc(req.Tenants, func(_ string, n int) bool { return n == 0 })
		})
	}},
	{"room", "only some tenants are bounded", func(f *faulty) {
		f.claimsAs(func(req *webhook.ClaimRequest) { req.MaxTenant = 0 })
	}},
	{"room", "no tenant may get more than MaxTenant", func(f *faulty) {
		f.claimsAs(func(req *webhook.ClaimRequest) {
			req.Tenants = maps.Clone(req.Tenants)
			for tenant, n := range req.Tenants {
				if req.MaxTenant > 0 {
					req.Tenants[tenant] = min(n, req.MaxTenant)
				}
			}
		})
	}},
	{"room", "the empty tenant is bounded", func(f *faulty) {
		f.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			return f.cut(ctx, req, func(l webhook.Lease, n int) bool {
				return l.Delivery.Tenant != "" || req.MaxTenant == 0 || n < req.MaxTenant
			})
		}
	}},
	{"room", "slow endpoints are bounded apart", func(f *faulty) {
		f.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			normal := req
			normal.MaxSlow = 0
			a, err := f.Store.Claim(ctx, normal)
			req.Max -= len(a.Leases)
			b, claims := f.Store.Claim(ctx, req)
			b.Leases = append(a.Leases, b.Leases...)
			return b, errors.Join(err, claims)
		}
	}},
	{"room", "all that a tenant ever got counts", func(f *faulty) {
		var mu sync.Mutex
		ever := map[string]int{}
		f.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			mu.Lock()
			defer mu.Unlock()
			rooms := map[string]int{}
			for tenant, n := range ever {
				if room := req.Room(tenant); room < req.Max {
					rooms[tenant] = room - n
				}
			}
			req.Tenants = rooms
			claimed, err := f.Store.Claim(ctx, req)
			for _, l := range claimed.Leases {
				ever[l.Delivery.Tenant]++
			}
			return claimed, err
		}
	}},
	{"room", "who has all hides others", func(f *faulty) {
		f.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			bounded := req
			req.MaxTenant, req.Tenants = 0, nil
			claimed, err := f.cut(ctx, req, func(l webhook.Lease, n int) bool { return n < bounded.Room(l.Delivery.Tenant) })
			claimed.Next = -1
			return claimed, err
		}
	}},
	{"room", "who is passed over was served", func(f *faulty) {
		f.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			others := claimRequest(100_000)
			others.Tenants = map[string]int{}
			list, err := f.Store.Tenants(ctx, nil, 100)
			for _, tenant := range list {
				if req.Room(tenant) > 0 {
					others.Tenants[tenant] = 0
				}
			}
			_, cuts := f.cut(ctx, others, func(webhook.Lease, int) bool { return false })
			claimed, claims := f.Store.Claim(ctx, req)
			return claimed, errors.Join(err, cuts, claims)
		}
	}},
}

// cut claims, and gives back what keep, which is told how many the tenant has got before, does not keep.
func (f *faulty) cut(ctx context.Context, req webhook.ClaimRequest, keep func(l webhook.Lease, n int) bool) (webhook.Claimed, error) {
	claimed, err := f.Store.Claim(ctx, req)
	var kept, back []webhook.Lease
	got := map[string]int{}
	for _, l := range claimed.Leases {
		if keep(l, got[l.Delivery.Tenant]) {
			got[l.Delivery.Tenant]++
			kept = append(kept, l)
		} else {
			back = append(back, l)
		}
	}
	claimed.Leases = kept
	return claimed, errors.Join(err, f.release(ctx, back))
}
