package sqlitestore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
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
