//go:build linux

package crashtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook/internal/pgtest"
)

// started starts processes that emit and deliver, and waits until they do.
func (c *crew) started(n int) (all []*process) {
	c.t.Helper()
	for i := range n {
		all = append(all, c.start(fmt.Sprintf("p%d", i+1), Load, "", func(c *Config) { c.EmitAgain, c.Pause = true, 5*time.Millisecond }))
	}
	c.progress(10)
	return all
}

// progress waits until n further requests have come.
func (c *crew) progress(n int) {
	c.t.Helper()
	want := len(c.receiver.seen()) + n
	eventually(c.t, time.Minute, "requests come", func() bool { return len(c.receiver.seen()) >= want })
}

// finish stops the processes, lets another one finish what they left, and looks for what is missing.
func (c *crew) finish(all ...*process) *report {
	c.t.Helper()
	for _, p := range all {
		p.signal(c.t, stopSignal)
	}
	for _, p := range all {
		p.stopped(c.t, time.Minute)
		c.bury(p)
		// "No goroutine growth": pools and connections may linger, what was waited for may not.
		for _, l := range p.lines(c.t) {
			if l.Op == OpDone {
				require.Less(c.t, l.N, 30, "goroutines left by Run")
			}
		}
	}
	before := c.snapshot()
	healthy := c.start("healer", Drain, "", func(config *Config) { config.DSN = c.db.dsn })
	healthy.clean(c.t, 2*drainLimit)
	r := c.judge(before)
	require.Positive(c.t, r.delivered)
	c.t.Log(r)
	return r
}

// said counts the lines of the processes with this op.
func (c *crew) said(op Op) (n int) {
	c.t.Helper()
	for _, l := range c.lines() {
		if l.Op == op {
			n++
		}
	}
	return n
}

// seconds is how long a fault lasts.
func seconds(n float64) time.Duration {
	if soak {
		n *= 10
	}
	return time.Duration(n * float64(time.Second))
}

func TestPostgresIsRestarted(t *testing.T) {
	t.Parallel()
	found := pgtest.Required(t)
	cluster := found[len(found)-1].Start(t, durable)
	db := &database{store: "postgres", dir: t.TempDir(), cluster: cluster, dsn: cluster.DSN(cluster.Database(t, ""))}
	c := newCrew(t, db, newReceiver(t))
	all := c.started(2)
	rounds := 1
	if soak {
		rounds = 10
	}
	for range rounds {
		for _, mode := range []pgtest.Mode{pgtest.Immediate, pgtest.Fast} {
			require.NoError(t, cluster.Restart(mode))
			c.progress(20)
		}
	}
	c.finish(all...)
}

func TestPostgresConnectionsAreKilled(t *testing.T) {
	t.Parallel()
	c := newCrew(t, newDatabase(t, "postgres", false), newReceiver(t))
	all := c.started(2)
	conn := c.db.connect(t)
	defer conn.Close(context.Background())
	killed := 0
	for end := time.Now().Add(seconds(2)); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var n int
		require.NoError(t, conn.QueryRow(context.Background(),
			`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`).Scan(&n))
		killed += n
	}
	require.Greater(t, killed, 10)
	c.progress(20)
	c.finish(all...)
	require.Positive(t, c.said(OpUnknown), "some were killed while they emitted")
}

// A connection that is cut off at any byte leaves the caller with an error, and the event stored once or not at all.
func TestPostgresConnectionsAreCutOff(t *testing.T) {
	t.Parallel()
	c := newCrew(t, newDatabase(t, "postgres", false), newReceiver(t))
	proxy := newToxic(t, c.db)
	c.config.DSN = through(t, c.db, proxy.Listen)
	c.config.Large = 2 << 10
	all := c.started(1)
	steps := 14
	if soak {
		steps = 300
	}
	for _, stream := range []string{"upstream", "downstream"} {
		bytes := 100 // the handshake
		for range steps {
			proxy.add(t, "limit_data", stream, fmt.Sprintf(`"bytes": %d`, bytes))
			time.Sleep(60 * time.Millisecond)
			proxy.reset()
			if soak {
				bytes += 173
			} else {
				bytes += bytes/2 + 31
			}
		}
		c.progress(5)
	}
	c.finish(all...)
	require.Positive(t, c.said(OpUnknown), "some were cut off while they emitted")
}

func TestPostgresIsHardToReach(t *testing.T) {
	t.Parallel()
	c := newCrew(t, newDatabase(t, "postgres", false), newReceiver(t))
	proxy := newToxic(t, c.db)
	c.config.DSN = through(t, c.db, proxy.Listen)
	c.config.Large = 2 << 10
	all := c.started(2)
	for _, fault := range []struct{ kind, attributes string }{
		{"timeout", `"timeout": 0`},                                          // nothing comes through, and nobody is told
		{"latency", `"latency": 200, "jitter": 100`},                         // milliseconds
		{"bandwidth", `"rate": 5`},                                           // KB/s
		{"slicer", `"average_size": 20, "size_variation": 10, "delay": 100`}, // bytes, microseconds
		{"reset_peer", `"timeout": 30`},                                      // milliseconds
		{"slow_close", `"delay": 300`},                                       // milliseconds
		{"timeout", `"timeout": 100`},                                        // and the connection is closed
	} {
		for _, stream := range []string{"upstream", "downstream"} {
			proxy.add(t, fault.kind, stream, fault.attributes)
		}
		time.Sleep(seconds(0.5))
		proxy.reset()
		c.progress(5)
	}
	c.finish(all...)
}

// Connections that fall silent, and tell neither side, while others can be made.
func TestPostgresConnectionsFallSilent(t *testing.T) {
	t.Parallel()
	c := newCrew(t, newDatabase(t, "postgres", false), newReceiver(t))
	between := newBridge(t, c.db)
	c.config.DSN = through(t, c.db, between.listener.Addr().String())
	c.config.Large = 2 << 10
	all := c.started(2)
	for range 2 {
		thaw := between.freeze()
		time.Sleep(seconds(0.7))
		thaw()
		c.progress(10)
	}
	c.finish(all...)
}
