package webhook_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

func TestLatencyClasses(t *testing.T) {
	t.Parallel()
	const last = webhook.HistogramClasses - 1
	for d, want := range map[time.Duration]int{
		math.MinInt64: 0, -1: 0, 0: 0, 1: 0, time.Millisecond: 0, time.Millisecond + 1: 1, 2 * time.Millisecond: 4, 2*time.Millisecond + 1: 5,
		1024 * time.Millisecond: 40, 1024*time.Millisecond + 1: 41, 14*time.Minute + 40*time.Second: last - 1, 15 * time.Minute: last, math.MaxInt64: last,
	} {
		require.Equal(t, want, webhook.LatencyClass(d), "the class of %v", d)
	}
	for i := range last {
		end := time.Duration(math.Round(math.Pow(2, float64(i)/4) * 1e6))
		require.Equal(t, i, webhook.LatencyClass(end), "the end of class %d, %v", i, end)
		require.Equal(t, i+1, webhook.LatencyClass(end+1), "what is over it")
	}
	for d := time.Duration(0); d < 20*time.Minute; d += 1 + d/50 {
		require.LessOrEqual(t, webhook.LatencyClass(d), webhook.LatencyClass(d+1))
	}
}

// TestQuantileAgainstASortedSlice draws latencies of all sizes.
func TestQuantileAgainstASortedSlice(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		var h webhook.Histogram
		sorted := make([]time.Duration, 1+r.IntN(1+10*n))
		spread := 1 + 19*r.Float64()
		for i := range sorted {
			sorted[i] = time.Duration(math.Exp2(r.Float64()*spread) * 1e6) // over 1 ms, up to 2^20 ms
			h.Add(sorted[i])
		}
		slices.Sort(sorted)
		for _, q := range []float64{0, 1e-9, 0.01, 0.25, 0.5, r.Float64(), 0.9, 0.95, 0.99, 0.999, 1} {
			exact := sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
			got := h.Quantile(q)
			if webhook.LatencyClass(exact) == webhook.HistogramClasses-1 { // which has no end
				require.Equal(t, webhook.HistogramClasses-2, webhook.LatencyClass(got), "the begin of the last class")
				continue
			}
			require.GreaterOrEqual(t, got, exact, "quantile %v of %d", q, len(sorted))
			require.LessOrEqual(t, float64(got), 1.19*float64(exact)+1, "quantile %v of %d", q, len(sorted))
		}
	}
}

func TestQuantileOfExtremes(t *testing.T) {
	t.Parallel()
	var h webhook.Histogram
	for _, q := range []float64{-1, 0, 0.5, 1, 2} {
		require.Zero(t, h.Quantile(q), "with nothing counted")
	}
	h.Add(0)
	for _, q := range []float64{math.Inf(-1), -1, 0, 0.5, 1, 2, math.Inf(1)} {
		require.Equal(t, time.Millisecond, h.Quantile(q), "the end of the first class")
	}
	for range 99 {
		h.Add(time.Hour)
	}
	require.Equal(t, time.Millisecond, h.Quantile(0.01))
	for _, q := range []float64{0.011, 0.5, 1, 2} {
		require.Equal(t, time.Duration(math.Round(math.Pow(2, 19.75)*1e6)), h.Quantile(q), "the begin of the last class")
	}
	h = webhook.Histogram{3: math.MaxInt32, 40: math.MaxInt32}
	require.Equal(t, time.Duration(math.Round(math.Pow(2, 0.75)*1e6)), h.Quantile(0.5))
	require.Equal(t, 1024*time.Millisecond, h.Quantile(0.500001))
}

func TestHistogramsMerge(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	var all, one, two webhook.Histogram
	for range 1000 {
		d := time.Duration(r.Int64N(int64(20 * time.Minute)))
		all.Add(d)
		if r.IntN(2) == 0 {
			one.Add(d)
		} else {
			two.Add(d)
		}
	}
	before := two
	one.Merge(&two)
	require.Equal(t, all, one)
	require.Equal(t, before, two)
}

func TestStatsAddUp(t *testing.T) {
	t.Parallel()
	var none webhook.Stats
	require.Zero(t, none.Sum())
	start := time.Date(2026, 4, 11, 14, 0, 0, 0, time.UTC)
	s := webhook.Stats{Hours: []webhook.HourStats{
		{Start: start, Delivered: 1, Failed: 20, Latency: webhook.Histogram{0: 1, 80: 20}},
		{Start: start.Add(5 * time.Hour), Delivered: 300, Latency: webhook.Histogram{7: 300}},
	}}
	sum := s.Sum()
	require.Equal(t, webhook.HourStats{Start: start, Delivered: 301, Failed: 20, Latency: webhook.Histogram{0: 1, 7: 300, 80: 20}}, sum)
	require.Equal(t, int64(321), sum.Attempts())
	require.Equal(t, webhook.Histogram{0: 1, 80: 20}, s.Hours[0].Latency, "the hours stay as they are")
}

func TestStatsBeginWithTheHour(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t, ok, failing, ok), nil).run()
		e := r.endpoint("hook")
		r.emit()
		time.Sleep(2*time.Hour - time.Minute)
		r.emit()
		time.Sleep(30 * time.Second)
		now := time.Now()
		for since, want := range map[time.Time][2]int64{now: {1, 1}, now.Add(-59 * time.Minute): {1, 1}, now.Add(-2 * time.Hour): {2, 1}, now.Add(time.Hour): {0, 0}} {
			stats, err := r.d.Stats(r.ctx, e.ID, since)
			require.NoError(t, err)
			sum := stats.Sum()
			require.Equal(t, want, [2]int64{sum.Delivered, sum.Failed}, since)
		}
	})
}
