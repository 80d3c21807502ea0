package sqlitestore_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/sqlitestore"
)

func TestOpenTakesTheNameOfAFile(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", ":memory:", ":memory:?x", "file::memory:", "file:a.db", "FILE:/tmp/a.db", "a\x00b"} {
		s, err := sqlitestore.Open(t.Context(), path, nil)
		require.ErrorIs(t, err, sqlitestore.ErrPath, "%q", path)
		require.Nil(t, s)
	}
	dir := t.TempDir()
	for _, name := range []string{"plain.db", "with space.db", "50%20?mode=memory#x&y.db", "täglich.db"} {
		s := open(t, filepath.Join(dir, name))
		endpoint(t, s, "t", "we_1")
		require.FileExists(t, filepath.Join(dir, name))
	}
	_, err := sqlitestore.Open(t.Context(), dir, nil)
	require.Error(t, err, "a directory was opened")
}

func TestOpenKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	path := file(t)
	s, err := sqlitestore.Open(t.Context(), path, nil)
	require.NoError(t, err)
	e := endpoint(t, s, "t", "we_1")
	emit(t, s, "t", events(3)...)
	record(t, s, delivered(claim(t, s, 1)[0]))
	require.NoError(t, s.Close())
	require.NoFileExists(t, path+"-wal", "Close left its log behind")

	s = open(t, path)
	got, err := s.Endpoint(t.Context(), "t", "we_1")
	require.NoError(t, err)
	e.Health.LastSuccess = got.Health.LastSuccess
	require.Equal(t, e, got)
	require.Len(t, claim(t, s, 10), 2)
}

func TestOpenMakesItsConnectionsDurable(t *testing.T) {
	t.Parallel()
	path := file(t)
	s, err := sqlitestore.Open(t.Context(), path, &sqlitestore.Config{BusyTimeout: 1234 * time.Millisecond, Readers: 2})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	writer, reader := s.Databases()
	for name, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "fullfsync": "1"} {
		require.Equal(t, want, query[string](t, writer, "PRAGMA "+name), name)
	}
	require.Equal(t, "1234", query[string](t, reader, "PRAGMA busy_timeout"))
	require.Equal(t, 1, writer.Stats().MaxOpenConnections)
	require.Equal(t, 2, reader.Stats().MaxOpenConnections)
	_, err = reader.ExecContext(t.Context(), "DELETE FROM webhook_events")
	require.ErrorContains(t, err, "readonly")
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	for _, cfg := range []sqlitestore.Config{{BusyTimeout: -1}, {BusyTimeout: time.Microsecond}, {BusyTimeout: 2 * time.Hour}, {Readers: -1}, {Readers: 1001}} {
		_, err := sqlitestore.Open(t.Context(), file(t), &cfg)
		require.ErrorIs(t, err, webhook.ErrInvalidConfig, "%+v", cfg)
		_, err = sqlitestore.New(t.Context(), pool(t, file(t), durable...), &cfg)
		require.ErrorIs(t, err, webhook.ErrInvalidConfig, "%+v", cfg)
	}
}

func TestNewRefusesConnectionsThatLoseCommits(t *testing.T) {
	t.Parallel()
	for name, pragmas := range map[string][]string{
		"journal_mode": {"busy_timeout(5000)", "journal_mode(DELETE)", "synchronous(FULL)"},
		"synchronous":  {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(NORMAL)"},
		"busy_timeout": {"busy_timeout(4999)", "journal_mode(WAL)", "synchronous(EXTRA)"},
		"encoding":     {"busy_timeout(5000)", "encoding('UTF-16le')", "journal_mode(WAL)", "synchronous(FULL)"},
	} {
		_, err := sqlitestore.New(t.Context(), pool(t, file(t), pragmas...), nil)
		require.ErrorIs(t, err, sqlitestore.ErrPragma, name)
		var wrong *sqlitestore.PragmaError
		require.ErrorAs(t, err, &wrong)
		require.Equal(t, name, wrong.Name)
		require.ErrorContains(t, err, "PRAGMA "+name)
	}
	_, err := sqlitestore.New(t.Context(), nil, nil)
	require.ErrorIs(t, err, webhook.ErrInvalidConfig)
}

// TestNewLooksAtAConnection also where there is nothing to migrate, so that nobody hears of it from the first event.
func TestNewLooksAtAConnection(t *testing.T) {
	t.Parallel()
	path := file(t)
	_, err := sqlitestore.New(t.Context(), pool(t, path, durable...), nil)
	require.NoError(t, err)
	_, err = sqlitestore.New(t.Context(), pool(t, path), nil)
	require.ErrorIs(t, err, sqlitestore.ErrPragma)
}

// TestEveryConnectionIsLookedAt changes a connection after the store was made.
func TestEveryConnectionIsLookedAt(t *testing.T) {
	t.Parallel()
	s, db := single(t, file(t))
	endpoint(t, s, "t", "we_1")
	execute(t, db, "PRAGMA synchronous = OFF")
	_, err := s.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "t", Events: events(1)})
	require.ErrorIs(t, err, sqlitestore.ErrPragma)
	require.Zero(t, query[int](t, db, "SELECT count(*) FROM webhook_events"))
	execute(t, db, "PRAGMA synchronous = EXTRA")
	emit(t, s, "t", events(1)...)
}

func TestOpenWhereItMayNot(t *testing.T) {
	t.Parallel()
	path := file(t)
	require.NoError(t, os.WriteFile(path, []byte("this is not a database, but a text that is long enough to be told from one"), 0o600))
	_, err := sqlitestore.Open(t.Context(), path, nil)
	require.ErrorContains(t, err, "not a database")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = sqlitestore.Open(ctx, file(t), nil)
	require.ErrorIs(t, err, context.Canceled)
}
