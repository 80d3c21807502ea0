package storetest

import (
	"context"

	"github.com/meshia/webhook"
)

// boundFaults are about what has a bound of its own: what a call does, and what piles up.
var boundFaults = []fault{
	{"endpoints", "what a deletion leaves is left", func(f *faulty) {
		f.deliveriesAs(func(d *webhook.Delivery) {
			if d.Reason == webhook.FailEndpointDeleted && d.AttemptCount == 0 {
				d.State, d.Reason = webhook.DeliveryPending, ""
			}
		})
	}},
	{"endpoints", "what a deletion leaves is handed out", func(f *faulty) {
		var kept []webhook.Lease
		f.remove = func(ctx context.Context, tenant, id string) error {
			claimed, err := f.Store.Claim(ctx, claimRequest(1))
			if err != nil {
				return err
			}
			kept = claimed.Leases
			return f.Store.DeleteEndpoint(ctx, tenant, id)
		}
		f.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			claimed, err := f.Store.Claim(ctx, req)
			if len(claimed.Leases) == 0 {
				claimed.Leases, kept = kept, nil
			}
			return claimed, err
		}
	}},
}
