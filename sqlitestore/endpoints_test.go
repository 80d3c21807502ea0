package sqlitestore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/sqlitestore"
)

// TestSealedValuesGoWithTheirEndpoint looks at the row that stays of a deleted endpoint.
func TestSealedValuesGoWithTheirEndpoint(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path)
	db := pool(t, path)
	sealed := func(e *webhook.Endpoint) {
		e.StoredHeaders = []webhook.StoredHeader{{Name: "Authorization", Sealed: []byte("sealed")}}
	}
	endpoint(t, s, "t", "we_1", sealed)
	endpoint(t, s, "t", "we_2", sealed)
	require.Equal(t, `[{"name":"Authorization","sealed":"c2VhbGVk"}]`, query[string](t, db, "SELECT headers FROM webhook_endpoints WHERE id = 'we_2'"))
	require.NoError(t, s.DeleteEndpoint(t.Context(), "t", "we_1"))
	require.Equal(t, "[] []", query[string](t, db, "SELECT headers || ' ' || secrets FROM webhook_endpoints WHERE id = 'we_1'"))
	more, err := s.EraseTenant(t.Context(), "t", 1)
	require.NoError(t, err)
	require.True(t, more)
	require.Zero(t, query[int](t, db, "SELECT count(*) FROM webhook_endpoints WHERE headers <> '[]' OR secrets <> '[]'"))
}

// TestABacklogIsBuriedInParts counts what each call fails. The process that deleted the endpoint is gone after that.
func TestABacklogIsBuriedInParts(t *testing.T) {
	t.Parallel()
	path := file(t)
	s, err := sqlitestore.Open(t.Context(), path, nil)
	require.NoError(t, err)
	endpoint(t, s, "t", "we_1")
	endpoint(t, s, "u", "we_2")
	for range 9 {
		emit(t, s, "t", events(250)...)
	}
	require.NoError(t, s.DeleteEndpoint(t.Context(), "t", "we_1"))
	require.NoError(t, s.Close())
	db := pool(t, path)
	failed := func() int {
		return query[int](t, db, "SELECT count(*) FROM webhook_deliveries WHERE reason = 'endpoint_deleted'")
	}
	require.Equal(t, 1000, failed())
	requireInvariants(t, path)
	s = open(t, path)
	for _, want := range []int{2000, 2250, 2250} {
		emit(t, s, "u", events(1)...)
		leases := claim(t, s, 10)
		require.Len(t, leases, 1, "another endpoint does not wait for it")
		require.Equal(t, "we_2", leases[0].Delivery.EndpointID)
		require.Equal(t, want, failed())
	}
	requireInvariants(t, path)
}
