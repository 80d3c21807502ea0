//go:build linux

package crashtest

import (
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// eachStore runs f for SQLite and Postgres.
func eachStore(t *testing.T, f func(t *testing.T, c *crew)) {
	t.Helper()
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			f(t, newCrew(t, newDatabase(t, store, false), newReceiver(t)))
		})
	}
}

// Several dispatchers on one queue send nothing twice, and each gets its part.
func TestDispatchersShare(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			eachStore(t, func(t *testing.T, c *crew) {
				c.config.Endpoints = nil
				for i := range 6 {
					c.config.Endpoints = append(c.config.Endpoints, Target{fmt.Sprintf("e%d", i), c.receiver.url("/")})
				}
				c.config.Slots, c.config.Large, c.config.Timeout = 2, 0, 2*time.Second
				busyAll := make(chan struct{})
				c.receiver.decide(func(_ request, cut <-chan struct{}) int {
					if !until(busyAll, cut) { // so that each of them has something to do
						return 0
					}
					return http.StatusOK
				})
				c.start("producer", Emit, "", func(c *Config) { c.Events = 40 }).clean(t, time.Minute)
				var all []*process
				for i := range n {
					all = append(all, c.start(fmt.Sprintf("p%d", i), Load, "", func(c *Config) { c.Events, c.Pause = 1, time.Hour }))
				}
				busy := func(p *process) (n int) {
					for _, l := range p.lines(t) {
						if l.Op == OpLease {
							n++
						}
					}
					return n
				}
				for _, p := range all {
					eventually(t, time.Minute, p.Name+" has leases", func() bool { return busy(p) > 0 })
				}
				close(busyAll)
				eventually(t, time.Minute, "all is delivered", func() bool { return c.said(OpRecorded) >= 40*6 })
				shares := make([]int, n)
				for i, p := range all {
					shares[i] = busy(p)
					require.GreaterOrEqual(t, shares[i], 40*6/n/5, "leases of %s", p.Name)
				}
				t.Log(shares)
				r := c.finish(all...)
				require.Zero(t, r.repeated)
			})
		})
	}
}

// A process that is stopped for longer than its lease finds that its delivery is another one's now, and changes
// nothing.
func TestAPauseOutlastsTheLease(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, c *crew) {
		c.config.Timeout = 30 * time.Second
		var reached, answer [2]chan struct{} // by attempt
		for i := range reached {
			reached[i], answer[i] = make(chan struct{}), make(chan struct{})
		}
		c.receiver.decide(func(r request, cut <-chan struct{}) int {
			close(reached[r.Attempt-1])
			if !until(answer[r.Attempt-1], cut) {
				return 0
			}
			return http.StatusOK
		})
		c.start("producer", Emit, "", func(c *Config) { c.Events = 1 }).clean(t, time.Minute)
		// It emits nothing, so that it has nothing in hand of its store's when it is stopped.
		sleeper := c.start("sleeper", Load, "", func(c *Config) { c.Events, c.Poll = -1, time.Hour })
		<-reached[0]
		sleeper.signal(t, syscall.SIGSTOP)
		c.expire(sleeper)
		other := c.start("other", Drain, "", nil)
		<-reached[1]
		close(answer[0])
		sleeper.signal(t, syscall.SIGCONT)
		var outcome Line
		eventually(t, time.Minute, "the sleeper records its outcome", func() bool {
			for _, l := range sleeper.lines(t) {
				if l.Op == OpRecorded {
					outcome = l
				}
			}
			return outcome.Op != ""
		})
		require.False(t, outcome.Applied, "its lease was over")
		require.Equal(t, string(webhook.OutcomeDelivered), outcome.Kind)
		close(answer[1])
		other.clean(t, time.Minute)
		r := c.finish(sleeper)
		require.Equal(t, 1, r.interrupted)
		require.Equal(t, 1, r.delivered)
		require.Equal(t, 2, r.requests)
	})
}

// Who is told to stop claims no more, waits for what is in flight as long as it may, and cuts it off.
func TestStoppedWhileSending(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, c *crew) {
		var hang atomic.Bool
		hang.Store(true)
		c.receiver.decide(func(_ request, cut <-chan struct{}) int {
			if hang.Load() {
				<-cut
				return 0
			}
			return http.StatusOK
		})
		c.config.Timeout = time.Minute
		inFlight := func(before int) func() bool { return func() bool { return len(c.receiver.seen()) > before } }
		c.start("producer", Emit, "", func(c *Config) { c.Events = 5 }).clean(t, time.Minute)

		// The drain ends it.
		p := c.start("patient", Load, "", func(c *Config) { c.Events, c.Pause, c.DrainTime = 1, time.Hour, 300*time.Millisecond })
		eventually(t, time.Minute, "a request is under way", inFlight(0))
		told := time.Now()
		p.signal(t, stopSignal)
		p.clean(t, time.Minute)
		require.GreaterOrEqual(t, p.ended.Sub(told), 300*time.Millisecond, "it waits for what is in flight")
		var stopping time.Time
		cut := 0
		for _, l := range p.lines(t) {
			switch {
			case l.Op == OpStopping:
				stopping = l.At
			case l.Op == OpLease && !stopping.IsZero():
				require.Less(t, l.At.Sub(stopping), 200*time.Millisecond, "it claims no more, but for what was on its way")
			case l.Op == OpRecorded && l.Kind == string(webhook.OutcomeInterrupted) && l.Applied:
				cut++
			}
		}
		require.Positive(t, cut, "what was cut off is in the log")

		// A second signal does not wait for that.
		before := len(c.receiver.seen())
		p = c.start("hasty", Load, "", func(c *Config) { c.Events, c.Pause, c.DrainTime = 1, time.Hour, time.Hour })
		eventually(t, time.Minute, "another request is under way", inFlight(before))
		p.signal(t, stopSignal)
		eventually(t, time.Minute, "it has heard", func() bool {
			return slices.ContainsFunc(p.lines(t), func(l Line) bool { return l.Op == OpStopping })
		})
		// The ledger is written before the signal's default is restored, perhaps: say it until it is heard.
		eventually(t, time.Minute, "it ends", func() bool {
			p.signal(t, stopSignal)
			select {
			case <-p.done:
				return true
			default:
				return false
			}
		})
		var exit *exec.ExitError
		require.True(t, errors.As(p.err, &exit))
		require.Equal(t, stopSignal, exit.Sys().(syscall.WaitStatus).Signal())
		hang.Store(false)
		c.bury(p)
		r := c.finish()
		require.GreaterOrEqual(t, r.interrupted, 2)
	})
}
