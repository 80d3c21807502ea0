package sqlitestore_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// TestAClaimSettlesABoundedNumber has more expire, and more leases run out, than one call settles.
func TestAClaimSettlesABoundedNumber(t *testing.T) {
	t.Parallel()
	const n = 1200 // of each
	path := file(t)
	s := open(t, path)
	endpoint(t, s, "t", "we_1", func(e *webhook.Endpoint) { e.Health.Window = 10_000 })
	emit(t, s, "t", events(n)...)
	c, err := s.Claim(t.Context(), webhook.ClaimRequest{Owner: "one", Term: time.Millisecond, Max: n})
	require.NoError(t, err)
	require.Len(t, c.Leases, n)
	emit(t, s, "t", events(n)...)
	db := pool(t, path)
	time.Sleep(2 * time.Millisecond) // what the leases last
	calls := 0
	for req := (webhook.ClaimRequest{Owner: "two", Term: time.Hour, Max: 10, MaxAge: time.Millisecond}); ; calls++ {
		c, err := s.Claim(t.Context(), req)
		require.NoError(t, err)
		require.Empty(t, c.Leases, "what is too old was handed out")
		if c.Next != 0 {
			require.Negative(t, c.Next)
			break
		}
	}
	require.GreaterOrEqual(t, calls, 4)
	require.Equal(t, 2*n, query[int](t, db, "SELECT count(*) FROM webhook_deliveries WHERE reason = 'expired'"))
	require.Equal(t, n, query[int](t, db, "SELECT count(*) FROM webhook_attempts WHERE error = 'lost'"))
	requireInvariants(t, path)
}

func TestNextCountsWhatExpires(t *testing.T) {
	t.Parallel()
	s := open(t, file(t))
	endpoint(t, s, "t", "we_1", func(e *webhook.Endpoint) {
		e.Health.State = webhook.EndpointPaused
		e.Health.PausedUntil = time.Now().Add(time.Hour)
	})
	emit(t, s, "t", events(1)...)
	for age, most := range map[time.Duration]time.Duration{0: time.Hour, time.Minute: time.Minute} {
		c, err := s.Claim(t.Context(), webhook.ClaimRequest{Owner: "one", Term: time.Hour, Max: 1, MaxAge: age})
		require.NoError(t, err)
		require.Positive(t, c.Next)
		require.LessOrEqual(t, c.Next, most)
		require.Greater(t, c.Next, most/2)
	}
}

// TestNextOfASlowEndpoint has room for another slow lease, but not for another lease.
func TestNextOfASlowEndpoint(t *testing.T) {
	t.Parallel()
	s := open(t, file(t))
	endpoint(t, s, "t", "we_1", func(e *webhook.Endpoint) { e.Health.Slow = true })
	emit(t, s, "t", events(3)...)
	for maxSlow, now := range map[int]bool{5: true, 1: false} {
		c, err := s.Claim(t.Context(), webhook.ClaimRequest{Owner: "one", Term: time.Hour, Max: 1, MaxSlow: maxSlow})
		require.NoError(t, err)
		require.Len(t, c.Leases, 1)
		require.Equal(t, now, c.Next == 0, "MaxSlow %d", maxSlow)
		require.True(t, c.Blocked)
	}
}

// TestAClaimGoesOnWhereOneEndpointHasMore has one endpoint fill what the others leave.
func TestAClaimGoesOnWhereOneEndpointHasMore(t *testing.T) {
	t.Parallel()
	s := open(t, file(t))
	for _, tenant := range []string{"a", "b", "c"} {
		endpoint(t, s, tenant, "we_1")
	}
	emit(t, s, "a", events(300)...)
	emit(t, s, "b", events(2)...)
	emit(t, s, "c", events(1)...)
	served := map[string]int{}
	for _, l := range claim(t, s, 200) {
		served[l.Delivery.Tenant]++
	}
	require.Equal(t, map[string]int{"a": 197, "b": 2, "c": 1}, served)
}

// TestAClaimLooksBehindATenantThatHasAll has more endpoints of two tenants wait than a claim serves.
func TestAClaimLooksBehindATenantThatHasAll(t *testing.T) {
	t.Parallel()
	s := open(t, file(t))
	for i := range 20 {
		endpoint(t, s, "many", fmt.Sprint("we_", i))
		endpoint(t, s, "more", fmt.Sprint("we_", i), func(e *webhook.Endpoint) { e.Health.Slow = true })
	}
	endpoint(t, s, "small", "we_1")
	for _, tenant := range []string{"many", "more", "small"} {
		emit(t, s, tenant, events(6)...)
	}
	req := webhook.ClaimRequest{Owner: "one", Term: time.Hour, Max: 9, MaxSlow: 9, MaxTenant: 3, Tenants: map[string]int{"many": 2, "small": 6}}
	c, err := s.Claim(t.Context(), req)
	require.NoError(t, err)
	served := map[string]int{}
	for _, l := range c.Leases {
		served[l.Delivery.Tenant]++
	}
	require.Equal(t, map[string]int{"many": 2, "more": 3, "small": 4}, served)
	req.Tenants = map[string]int{"many": 0, "more": 0, "small": 2}
	c, err = s.Claim(t.Context(), req)
	require.NoError(t, err)
	require.Len(t, c.Leases, 2)
	require.False(t, c.Blocked, "who has all that it may keeps the caller asking")
	require.Greater(t, c.Next, time.Minute)
}

func TestSkippedEndpoints(t *testing.T) {
	t.Parallel()
	s := open(t, file(t))
	for _, tenant := range []string{"t", "u"} {
		endpoint(t, s, tenant, "we_1")
	}
	endpoint(t, s, "t", "we_slow", func(e *webhook.Endpoint) { e.Health.Slow = true })
	emit(t, s, "t", events(2)...)
	req := webhook.ClaimRequest{Owner: "one", Term: time.Hour, Max: 1, MaxSlow: 1, Skip: []webhook.EndpointRef{{Tenant: "t", ID: "we_1"}, {Tenant: "t", ID: "we_slow"}, {Tenant: "x", ID: "we_1"}}}
	c, err := s.Claim(t.Context(), req)
	require.NoError(t, err)
	require.Empty(t, c.Leases)
	require.False(t, c.Blocked, "what is skipped keeps the caller asking")
	require.Negative(t, c.Next, "what is skipped makes the caller come back at once")

	emit(t, s, "u", events(1)...) // which waited for a shorter time than what is skipped
	c, err = s.Claim(t.Context(), req)
	require.NoError(t, err)
	require.Len(t, c.Leases, 1)
	require.Equal(t, "u", c.Leases[0].Endpoint.Tenant)

	req.Skip = req.Skip[1:]
	req.Max = 10
	c, err = s.Claim(t.Context(), req)
	require.NoError(t, err)
	require.Len(t, c.Leases, 2)
	require.Equal(t, "we_1", c.Leases[0].Endpoint.ID)
	require.Len(t, claim(t, s, 10), 2)
}
