//go:build linux

package crashtest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// killTime is how long random kills go on.
func killTime(t testing.TB) time.Duration {
	t.Helper()
	if text := os.Getenv("WEBHOOK_CRASH_TIME"); text != "" {
		d, err := time.ParseDuration(text)
		require.NoError(t, err, "WEBHOOK_CRASH_TIME")
		return d
	}
	if soak {
		return 10 * time.Minute
	}
	return 4 * time.Second
}

// TestKilledAtRandom kills one of three processes at random moments, again and again, each time followed by a new one.
func TestKilledAtRandom(t *testing.T) {
	t.Parallel()
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			c := newCrew(t, newDatabase(t, store, false), newReceiver(t))
			c.config.Endpoints = []Target{{"main", c.receiver.url("/")}, {"failing", c.receiver.url(failing)}, {"hanging", c.receiver.url(hanging)}}
			length := killTime(t)
			serial := 0
			next := func() *process {
				serial++
				return c.start(fmt.Sprintf("p%d", serial), Load, "", func(c *Config) {
					c.EmitAgain = true
					c.Pause = 20 * time.Millisecond
					if length > time.Minute { // not more than can be looked at in the end
						c.Pause = 100 * time.Millisecond
					}
				})
			}
			crew := []*process{next(), next(), next()}
			kills := 0
			for began := time.Now(); time.Since(began) < length; kills++ {
				// From before it opens its store to when it is busy.
				time.Sleep(time.Duration(rand.Int64N(int64(500 * time.Millisecond))))
				i := rand.IntN(len(crew))
				crew[i].signal(t, syscall.SIGKILL)
				require.True(t, crew[i].killed(t, time.Minute))
				c.bury(crew[i])
				crew[i] = next()
			}
			for _, p := range crew {
				p.signal(t, stopSignal)
			}
			for _, p := range crew {
				p.stopped(t, time.Minute)
				c.bury(p)
			}
			before := c.snapshot()
			c.start("healer", Drain, "", nil).clean(t, 2*drainLimit)
			r := c.judge(before)
			require.Positive(t, r.delivered)
			if length >= 10*time.Minute {
				require.GreaterOrEqual(t, kills, 200)
			}
			publish(t, fmt.Sprintf("%s: %d kills of 3 processes in %v: %v", store, kills, length, r))
		})
	}
}
