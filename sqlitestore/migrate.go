package sqlitestore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"

	"github.com/meshia/webhook/internal/failpoint"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// migration brings the schema from the version before to the next one.
type migration struct {
	// minimum is the least version that a library must know to use the schema: lower than the version itself where all
	// that the migration does is to add.
	minimum int
	step    string
}

// migrations[i] makes version i+1. What was released is never changed.
var migrations = []migration{
	{minimum: 1, step: schemaFile("schema/1.sql")},
}

func schemaFile(name string) string {
	text, err := schemaFiles.ReadFile(name)
	if err != nil {
		panic(err) // it is embedded
	}
	return string(text)
}

// migrate brings the schema up to date, each step in a transaction of its own. It is safe in several processes at once:
// who comes second finds it done.
func (s *Store) migrate(ctx context.Context, steps []migration) error {
	if done, err := s.migrated(ctx, steps); err != nil || done {
		return err
	}
	for {
		done, err := s.migrateOnce(ctx, steps)
		if err != nil || done {
			return err
		}
	}
}

// migrated looks whether there is anything to do, so that opening a file that is up to date waits for no writer.
func (s *Store) migrated(ctx context.Context, steps []migration) (bool, error) {
	var tables int
	err := s.reader.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'webhook_schema'`).Scan(&tables)
	if err != nil || tables == 0 {
		return false, err
	}
	version, err := schemaVersion(s.reader.QueryRowContext(ctx, readVersion), steps)
	return version >= len(steps), err
}

const readVersion = `SELECT version, minimum FROM webhook_schema`

// schemaVersion reads the schema's version, 0 for none, and refuses one that is too new.
func schemaVersion(row *sql.Row, steps []migration) (version int, err error) {
	var minimum int
	err = row.Scan(&version, &minimum)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, nil
	case err == nil && minimum > len(steps):
		err = fmt.Errorf("%w: it has version %d, for libraries that know version %d; this one knows %d", ErrSchema, version, minimum, len(steps))
	}
	return version, err
}

func (s *Store) migrateOnce(ctx context.Context, steps []migration) (done bool, err error) {
	tx, release, err := s.begin(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	defer tx.Rollback() // after a commit it does nothing

	if _, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS webhook_schema (
		id      INTEGER PRIMARY KEY CHECK (id = 1), -- there is one row
		version INTEGER NOT NULL, -- the schema's version
		minimum INTEGER NOT NULL  -- the least version that a library must know to use it
	) STRICT`); err != nil {
		return false, err
	}
	version, err := schemaVersion(tx.QueryRowContext(ctx, readVersion), steps)
	if err != nil || version >= len(steps) {
		return true, err
	}

	next := steps[version]
	if _, err := tx.ExecContext(ctx, next.step); err != nil {
		return false, fmt.Errorf("to schema version %d: %w", version+1, err)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO webhook_schema (id, version, minimum) VALUES (1, ?1, ?2)
		ON CONFLICT (id) DO UPDATE SET version = ?1, minimum = ?2`, version+1, next.minimum); err != nil {
		return false, err
	}
	failpoint.Pass(failpoint.K19)
	return false, tx.Commit()
}
