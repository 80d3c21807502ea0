package webhook

import (
	"context"
	"time"
)

// Stats implements [History].
func (s *MemoryStore) Stats(context.Context, string, string, time.Time) (Stats, error) {
	return Stats{}, ErrNotFound
}
