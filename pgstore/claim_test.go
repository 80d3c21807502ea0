package pgstore_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

func TestClaimSkipsEndpoints(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		r.endpointOf("t", "a", webhook.Health{Window: 1})
		r.endpointOf("t", "b", webhook.Health{Slow: true})
		r.endpointOf("u", "a", webhook.Health{})
		for _, tenant := range []string{"t", "u"} {
			_, err := r.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: tenant, Events: r.events(3)})
			require.NoError(t, err)
		}
		req := request(10)
		req.Skip = []webhook.EndpointRef{{Tenant: "t", ID: "a"}, {Tenant: "t", ID: "b"}}
		c, err := r.Claim(t.Context(), req)
		require.NoError(t, err)
		require.Len(t, c.Leases, 3)
		for _, l := range c.Leases {
			require.Equal(t, "u", l.Delivery.Tenant)
		}
		c, err = r.Claim(t.Context(), req)
		require.NoError(t, err)
		require.Empty(t, c.Leases)
		require.False(t, c.Blocked, "what is skipped is not worth another call")
		require.Greater(t, c.Next, time.Minute)
		require.Len(t, r.claim(10), 4)
		c, err = r.Claim(t.Context(), req)
		require.NoError(t, err)
		require.False(t, c.Blocked, "nor is the full window of one that is skipped")
	})
}

// TestAClaimLooksBehindATenantThatHasAll fills all the lanes that one look takes with those of two tenants.
func TestAClaimLooksBehindATenantThatHasAll(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		for i := range 20 {
			r.endpointOf("many", fmt.Sprint(i), webhook.Health{})
			r.endpointOf("more", fmt.Sprint(i), webhook.Health{Slow: true})
		}
		r.endpointOf("small", "e", webhook.Health{})
		for _, tenant := range []string{"many", "more", "small"} {
			_, err := r.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: tenant, Events: r.events(6)})
			require.NoError(t, err)
		}
		req := request(9)
		req.MaxTenant, req.Tenants = 3, map[string]int{"many": 2, "small": 6}
		c, err := r.Claim(t.Context(), req)
		require.NoError(t, err)
		got := map[string]int{}
		for _, l := range c.Leases {
			require.Equal(t, l.Delivery.EndpointID, l.Endpoint.ID)
			got[l.Delivery.Tenant]++
		}
		require.Equal(t, map[string]int{"many": 2, "more": 3, "small": 4}, got)
		req.Tenants = map[string]int{"many": 0, "more": 0, "small": 2}
		c, err = r.Claim(t.Context(), req)
		require.NoError(t, err)
		require.Len(t, c.Leases, 2)
		require.False(t, c.Blocked, "who has all that it may is not worth another call")
		require.Greater(t, c.Next, time.Minute)
	})
}

func TestTimesBetweenTwoMicroseconds(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		r := newRig(t, s)
		r.endpoint("e", webhook.Health{})
		r.emit(1)
		all, err := r.Deliveries(t.Context(), "t", webhook.DeliveryFilter{})
		require.NoError(t, err)
		at := all.Deliveries[0].CreatedAt
		for _, c := range []struct {
			f    webhook.DeliveryFilter
			want int
		}{
			{webhook.DeliveryFilter{Since: at}, 1},
			{webhook.DeliveryFilter{Since: at.Add(-1)}, 1},
			{webhook.DeliveryFilter{Since: at.Add(1)}, 0},
			{webhook.DeliveryFilter{Until: at}, 0},
			{webhook.DeliveryFilter{Until: at.Add(-1)}, 0},
			{webhook.DeliveryFilter{Until: at.Add(1)}, 1},
			{webhook.DeliveryFilter{Until: time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)}, 0},
			{webhook.DeliveryFilter{Since: time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)}, 1},
		} {
			page, err := r.Deliveries(t.Context(), "t", c.f)
			require.NoError(t, err)
			require.Len(t, page.Deliveries, c.want, "%+v", c.f)
		}
	})
}
