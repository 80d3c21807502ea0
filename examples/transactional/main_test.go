package main

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook/internal/pgtest"
)

func TestTransactional(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, where string) {
		for range 2 { // what the first run left is not in the way
			var out bytes.Buffer
			require.NoError(t, run(t.Context(), where, &out))
			require.Equal(t, `EXPERIMENT  ROW        EVENT
1           completed  received
2           none       none

1 delivery in the log.
`, out.String())
		}
	}
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		check(t, "sqlite:"+filepath.Join(t.TempDir(), "app.db"))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		pgtest.Each(t, func(t *testing.T, i pgtest.Installation) {
			c := i.Start(t, nil)
			check(t, "postgres://postgres@/"+c.Database(t, "")+"?host="+c.Socket())
		})
	})
}

func TestAnotherStoreIsRefused(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, run(t.Context(), "floppy:a", &bytes.Buffer{}), "-store is neither")
}
