package webhook_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/meshia/webhook"
	"github.com/stretchr/testify/require"
)

func TestPaceOfAnEndpoint(t *testing.T) {
	t.Parallel()
	for _, k := range []struct {
		rate  float64
		burst int
		want  webhook.Pace
	}{
		{0, 0, webhook.Pace{}},
		{0, 5, webhook.Pace{}},
		{-1, 5, webhook.Pace{}},
		{0.001, 0, webhook.Pace{Interval: 1000 * time.Second, Burst: 1}},
		{0.001, 10_000, webhook.Pace{Interval: 1000 * time.Second, Burst: 10_000}},
		{1, 0, webhook.Pace{Interval: time.Second, Burst: 1}},
		{2.5, 0, webhook.Pace{Interval: 400 * time.Millisecond, Burst: 3}},
		{3, 0, webhook.Pace{Interval: 333_333 * time.Microsecond, Burst: 3}},
		{3, 1, webhook.Pace{Interval: 333_333 * time.Microsecond, Burst: 1}},
		{6, 1, webhook.Pace{Interval: 166_667 * time.Microsecond, Burst: 1}},
		{7, -1, webhook.Pace{Interval: 142_857 * time.Microsecond, Burst: 7}},
		{10_000, 0, webhook.Pace{Interval: 100 * time.Microsecond, Burst: 10_000}},
		{1e9, 1, webhook.Pace{Interval: time.Microsecond, Burst: 1}},
	} {
		e := webhook.Endpoint{Rate: k.rate, Burst: k.burst}
		require.Equal(t, k.want, e.Pace(), "rate %v, burst %d", k.rate, k.burst)
	}
}

// bucket is a token bucket that is filled microsecond by microsecond, with as many drops for a lease as its interval
// has microseconds.
type bucket struct {
	drops, lease, full int64
}

func (b *bucket) pass(d time.Duration) {
	for range d.Microseconds() {
		if b.drops < b.full {
			b.drops++
		}
	}
}

func (b *bucket) take() bool {
	if b.drops < b.lease {
		return false
	}
	b.drops -= b.lease
	return true
}

// TestPaceAgainstATokenBucket takes leases at random, one at a time and several, as many as there is room for and
// fewer, and compares with the bucket at every step.
func TestPaceAgainstATokenBucket(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 5))
		e := webhook.Endpoint{Rate: math.Exp2(7 + 6.2*r.Float64()), Burst: r.IntN(12)} // 128 to 10 000 a second
		if e.Burst == 0 && e.Rate > 500 {
			e.Burst = 1
		}
		p := e.Pace()
		lease := p.Interval.Microseconds()
		b := bucket{drops: lease * int64(p.Burst), lease: lease, full: lease * int64(p.Burst)}
		now, moment := time.Duration(0), time.Duration(0)
		for range 400 {
			step := time.Duration(r.Int64N(2*lease)) * time.Microsecond
			if r.IntN(20) == 0 {
				step *= time.Duration(p.Burst)
			}
			now += step
			b.pass(step)
			room := p.Room(moment - now)
			require.Equal(t, b.drops/lease, int64(room), "%+v", p)
			wait := p.Wait(moment - now)
			require.Equal(t, max(0, lease-b.drops), wait.Microseconds(), "%+v", p)
			require.Equal(t, room > 0, wait == 0)
			if wait > 0 {
				require.Zero(t, p.Room(moment-now-wait+time.Microsecond), "a microsecond before")
				require.Equal(t, 1, p.Room(moment-now-wait))
			}
			n := min(room, r.IntN(3))
			if r.IntN(4) == 0 {
				n = room
			}
			moment = now + p.Ahead(moment-now, n)
			for range n {
				require.True(t, b.take())
			}
		}
	}
}

// TestPaceBoundsEveryStretch takes all that there is room for, whenever someone comes: in no stretch of time are there
// more leases than a burst and what the rate lets go in it.
func TestPaceBoundsEveryStretch(t *testing.T) {
	t.Parallel()
	for _, e := range []webhook.Endpoint{{Rate: 0.001}, {Rate: 0.001, Burst: 7}, {Rate: 0.7}, {Rate: 3, Burst: 2}, {Rate: 10_000, Burst: 5}, {Rate: 9876.5, Burst: 1}} {
		p := e.Pace()
		r := rand.New(rand.NewPCG(uint64(p.Interval), 6))
		now, moment := time.Duration(0), time.Duration(0)
		var leases []time.Duration
		for len(leases) < 500 {
			now += time.Duration(r.Int64N(int64(2 * p.Interval)))
			if wait := p.Wait(moment - now); r.IntN(3) == 0 { // to the nanosecond
				now += wait
				require.NotZero(t, p.Room(moment-now))
			}
			n := p.Room(moment - now)
			moment = now + p.Ahead(moment-now, n)
			for range n {
				leases = append(leases, now)
			}
		}
		for i := range leases {
			for j := i; j < min(len(leases), i+50); j++ {
				require.LessOrEqual(t, j-i+1, p.Burst+int((leases[j]-leases[i])/p.Interval), "%+v", p)
			}
		}
	}
}

func TestPaceOfExtremes(t *testing.T) {
	t.Parallel()
	var none webhook.Pace
	for _, ahead := range []time.Duration{math.MinInt64, 0, math.MaxInt64} {
		require.Equal(t, math.MaxInt32, none.Room(ahead))
		require.Zero(t, none.Wait(ahead))
	}
	require.Equal(t, time.Second, none.Ahead(time.Second, 1000), "without a rate nothing is reckoned")

	slowest := (&webhook.Endpoint{Rate: 0.001, Burst: 10_000}).Pace()
	const all = 10_000 * 1000 * time.Second
	require.Equal(t, 10_000, slowest.Room(math.MinInt64), "what lies in the past counts as now")
	require.Zero(t, slowest.Wait(math.MinInt64))
	require.Equal(t, all, slowest.Ahead(-time.Hour, 10_000))
	require.Zero(t, slowest.Room(all))
	require.Zero(t, slowest.Room(all-1000*time.Second+1))
	require.Equal(t, 1, slowest.Room(all-1000*time.Second))
	require.Equal(t, 1000*time.Second, slowest.Wait(all))
	require.Zero(t, slowest.Room(math.MaxInt64), "further ahead than a burst")

	quickest := (&webhook.Endpoint{Rate: 10_000, Burst: 1}).Pace()
	require.Equal(t, 1, quickest.Room(0))
	require.Equal(t, 100*time.Microsecond, quickest.Ahead(0, 1))
	require.Equal(t, 100*time.Microsecond, quickest.Wait(100*time.Microsecond))
}
