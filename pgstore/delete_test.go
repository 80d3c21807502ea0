package pgstore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// TestABacklogIsBuriedInParts counts what each transaction fails. Another endpoint is served meanwhile.
func TestABacklogIsBuriedInParts(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		other := r.endpointOf("u", "other", webhook.Health{})
		for _, id := range []string{"e1", "e2"} {
			r.endpoint(id, webhook.Health{Slow: true})
		}
		for range 5 {
			r.emit(250)
		}
		r.claim(0) // takes the inbox in
		failed := func() int { return r.count(`SELECT count(*) FROM {deliveries} WHERE reason = 'endpoint_deleted'`) }
		for i, id := range []string{"e1", "e2"} {
			require.NoError(t, r.DeleteEndpoint(t.Context(), "t", id))
			require.Equal(t, 1000*(i+1), failed())
		}
		for _, want := range []int{2500, 2500} {
			_, err := r.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "u", Events: r.events(1)})
			require.NoError(t, err)
			req := request(10)
			req.MaxSlow = 0 // a deleted endpoint takes no slot, though it was slow
			c, err := r.Claim(t.Context(), req)
			require.NoError(t, err)
			require.Len(t, c.Leases, 1)
			require.Equal(t, other.ID, c.Leases[0].Delivery.EndpointID)
			require.Equal(t, want, failed())
		}
		require.Zero(t, r.count(`SELECT sum(pending) FROM {lanes} WHERE tenant = 't'`))
		require.Zero(t, r.count(`SELECT count(*) FROM {lanes} WHERE tenant = 't' AND eligible_at IS NOT NULL`), "nobody comes for them any more")

		r.endpoint("e3", webhook.Health{})
		for range 9 {
			r.emit(250)
		}
		r.claim(0)
		require.NoError(t, r.DeleteEndpoint(t.Context(), "t", "e3"))
		for _, want := range []int{4500, 4750} {
			_, err := r.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "u", Events: r.events(1)})
			require.NoError(t, err)
			require.Len(t, r.claim(10), 1)
			require.Equal(t, want, failed())
		}
	})
}
