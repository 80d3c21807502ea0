//go:build linux

package crashtest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A full disk refuses events, and outcomes: what was sent meanwhile is sent again when there is room.
func TestSQLiteIsFull(t *testing.T) {
	t.Parallel()
	c := newCrew(t, newDatabase(t, "sqlite", false), newReceiver(t))
	file := c.db.file(t)
	var pages int
	require.NoError(t, file.QueryRow(`PRAGMA page_count`).Scan(&pages))
	require.NoError(t, file.Close())
	full := c.start("full", Load, "", func(c *Config) { c.MaxPages, c.Pause = pages+60, 2*time.Millisecond })
	eventually(t, time.Minute, "events are refused", func() bool { return c.said(OpRefused) >= 10 })
	require.Positive(t, c.said(OpAccepted))
	r := c.finish(full)
	require.Equal(t, c.said(OpAccepted), r.accepted, "what was refused is not there")
}

// Another process that keeps the write lock for longer than the busy timeout makes calls fail, and nothing else.
func TestSQLiteIsLocked(t *testing.T) {
	t.Parallel()
	c := newCrew(t, newDatabase(t, "sqlite", false), newReceiver(t))
	p := c.start("busy", Load, "", func(c *Config) { c.BusyTimeout, c.Pause = 150*time.Millisecond, 5*time.Millisecond })
	c.progress(10)
	file := c.db.file(t)
	defer file.Close()
	for range 2 {
		before := c.said(OpRefused)
		tx, err := file.BeginTx(context.Background(), nil) // IMMEDIATE
		require.NoError(t, err)
		eventually(t, time.Minute, "events are refused", func() bool { return c.said(OpRefused) >= before+3 })
		require.NoError(t, tx.Rollback())
		c.progress(10)
	}
	r := c.finish(p)
	require.Zero(t, r.unknown, "it is known that nothing was stored")
}
