package sqlitestore

import (
	"context"
	"database/sql"
	"time"

	"github.com/meshia/webhook"
)

// Databases are the pools that the store writes and reads with.
func (s *Store) Databases() (writer, reader *sql.DB) { return s.writer, s.reader }

// Statements are all that is prepared.
func Statements() []string {
	return append(statements[:len(statements):len(statements)], readStatements...)
}

// Search is the query for a page.
func Search(tenant string, f webhook.DeliveryFilter) (string, []any, error) {
	return search(tenant, &f)
}

// Step is a migration.
type Step struct {
	Minimum int
	SQL     string
}

// MigrateWith brings the database up to date as a version of the library does that knows these steps after the released
// ones.
func MigrateWith(ctx context.Context, s *Store, more ...Step) error {
	steps := migrations[:len(migrations):len(migrations)]
	for _, m := range more {
		steps = append(steps, migration{m.Minimum, m.SQL})
	}
	return s.migrate(ctx, steps)
}

// Version is the schema's version that this library knows.
func Version() int { return len(migrations) }

// Waiting is how many calls wait to be written.
func (s *Store) Waiting() int {
	s.writes.mu.Lock()
	defer s.writes.mu.Unlock()
	return len(s.writes.queue)
}

// SetMaxTime sets how long a shared transaction takes up more calls.
func (s *Store) SetMaxTime(d time.Duration) { s.writes.limit = d }
