package sqlitestore_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/sqlitestore"
)

// slowly is one request in 1000 s.
const slowly = 0.001

func rate(r float64, burst int) func(*webhook.Endpoint) {
	return func(e *webhook.Endpoint) { e.Rate, e.Burst = r, burst }
}

func TestARateOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	path := file(t)
	s, err := sqlitestore.Open(t.Context(), path, nil)
	require.NoError(t, err)
	endpoint(t, s, "t", "we_1", rate(slowly, 3))
	emit(t, s, "t", events(10)...)
	require.Len(t, claim(t, s, 2), 2)
	require.NoError(t, s.Close())
	s = open(t, path)
	require.Len(t, claim(t, s, 10), 1)
	require.Empty(t, claim(t, s, 10))
	requireInvariants(t, path)
}

// TestALaneThatItsRateHoldsBackIsNotVisited looks at the line as a claim reads it.
func TestALaneThatItsRateHoldsBackIsNotVisited(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path)
	endpoint(t, s, "t", "we_1", rate(slowly, 2))
	emit(t, s, "t", events(10)...)
	before := time.Now()
	c, err := s.Claim(t.Context(), webhook.ClaimRequest{Owner: "one", Term: 10_000 * time.Hour, Max: 10, MaxSlow: 10})
	require.NoError(t, err)
	require.Len(t, c.Leases, 2)
	for range 2 {
		require.False(t, c.Blocked, "what waits for its rate alone is said to be blocked")
		require.LessOrEqual(t, c.Next, 1000*time.Second)
		require.Greater(t, c.Next, 1000*time.Second-time.Since(before)-time.Millisecond)
		db := pool(t, path)
		require.Zero(t, query[int](t, db, "SELECT count(*) FROM webhook_lanes WHERE eligible_at <= ?", time.Now().UnixMicro()))
		c, err = s.Claim(t.Context(), webhook.ClaimRequest{Owner: "one", Term: time.Hour, Max: 10, MaxSlow: 10})
		require.NoError(t, err)
		require.Empty(t, c.Leases)
	}
}

// TestClaimsOfOneTransactionKeepToARate has two callers' claims, an update and what is given back share a transaction.
func TestClaimsOfOneTransactionKeepToARate(t *testing.T) {
	t.Parallel()
	path := file(t)
	s, db := open(t, path), pool(t, path, "busy_timeout(5000)")
	s.SetMaxTime(time.Hour)
	e := endpoint(t, s, "t", "we_1", rate(slowly, 4))
	emit(t, s, "t", events(20)...)
	lease := claim(t, s, 1)[0]
	got := make([][]webhook.Lease, 2)
	take := func(i int) func() error {
		return func() error {
			c, err := s.Claim(t.Context(), webhook.ClaimRequest{Owner: "one", Term: time.Hour, Max: 10, MaxSlow: 10})
			got[i] = c.Leases
			return err
		}
	}
	for _, err := range crowd(t, s, db, take(0), func() error {
		o := retry(lease, 0)
		o.Kind = webhook.OutcomeReleased
		_, err := s.Record(t.Context(), []webhook.Outcome{o})
		return err
	}, func() error {
		e.Burst = 6
		_, err := s.UpdateEndpoint(t.Context(), e, nil)
		return err
	}, take(1)) {
		require.NoError(t, err)
	}
	require.Len(t, got[0], 3)
	require.Len(t, got[1], 2, "what a burst of 6 leaves where 4 were given")
	require.Empty(t, claim(t, s, 10))
	requireInvariants(t, path)
}

// TestALowerBurstDoesNotWaitForTheOldOne has an endpoint use up a burst and get a smaller one.
func TestALowerBurstDoesNotWaitForTheOldOne(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path)
	e := endpoint(t, s, "t", "we_1", rate(slowly, 8))
	emit(t, s, "t", events(20)...)
	require.Len(t, claim(t, s, 10), 8)
	e.Burst = 2
	_, err := s.UpdateEndpoint(t.Context(), e, nil)
	require.NoError(t, err)
	c, err := s.Claim(t.Context(), webhook.ClaimRequest{Owner: "one", Term: 10_000 * time.Hour, Max: 10, MaxSlow: 10})
	require.NoError(t, err)
	require.Empty(t, c.Leases)
	require.Positive(t, c.Next)
	require.LessOrEqual(t, c.Next, 1000*time.Second)
	requireInvariants(t, path)
}

// TestARateIsForRetriesToo has both first attempts and retries due, which take turns.
func TestARateIsForRetriesToo(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path)
	e := endpoint(t, s, "t", "we_1")
	emit(t, s, "t", events(4)...)
	for _, l := range claim(t, s, 4) {
		record(t, s, retry(l, 0))
	}
	emit(t, s, "t", events(4)...)
	e.Rate, e.Burst = slowly, 3
	_, err := s.UpdateEndpoint(t.Context(), e, nil)
	require.NoError(t, err)
	leases := claim(t, s, 10)
	require.Len(t, leases, 3)
	retries := 0
	for _, l := range leases {
		retries += l.Delivery.AttemptCount - 1
	}
	require.InDelta(t, 1.5, retries, 0.6)
	require.Empty(t, claim(t, s, 10))
	requireInvariants(t, path)
}
