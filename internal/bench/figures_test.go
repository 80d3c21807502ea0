package bench

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rounds is how often what is compared is run in turn, for each iteration of the benchmark.
func rounds() int {
	if testing.Short() {
		return 1
	}
	return 5
}

// size is n, or less where a quick look is enough.
func size(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

// series are the figures of a measure, one a round.
type series []float64

// percentile is the smallest figure that p percent of the figures do not exceed.
func (s series) percentile(p int) float64 {
	sorted := slices.Sorted(slices.Values(s))
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

// median is the one in the middle, or between the two that are.
func (s series) median() float64 {
	sorted := slices.Sorted(slices.Values(s))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// report reports the median, the smallest and the largest.
func (s series) report(b *testing.B, unit string) {
	b.Helper()
	b.ReportMetric(s.median(), unit)
	b.ReportMetric(slices.Min(s), unit+"-min")
	b.ReportMetric(slices.Max(s), unit+"-max")
}

// marked reports what a ratio is meant to reach, and what would be better still, if there is such a thing.
func marked(b *testing.B, mark float64, goal ...float64) {
	b.Helper()
	b.ReportMetric(mark, "mark")
	for _, g := range goal {
		b.ReportMetric(g, "goal")
	}
	b.ReportMetric(0, "ns/op") // says nothing here
}

// versus runs theirs and ours in turn, n of each, and reports the ratio of their rates and ours.
func versus(b *testing.B, unit string, n int, theirs, ours func(n int) time.Duration) {
	b.Helper()
	theirs(max(n/4, 1))
	ours(max(n/4, 1))
	var ratios, rates series
	for b.Loop() {
		for range rounds() {
			their, our := theirs(n), ours(n)
			ratios = append(ratios, their.Seconds()/our.Seconds())
			rates = append(rates, float64(n)/our.Seconds())
		}
	}
	ratios.report(b, unit)
	b.ReportMetric(rates.median(), "deliveries/s")
}

func millis(d time.Duration) float64 { return d.Seconds() * 1e3 }

func TestSeries(t *testing.T) {
	t.Parallel()
	s := series{5, 1, 4, 2, 3}
	require.InDelta(t, 3, s.median(), 0)
	require.InDelta(t, 2.5, s[1:].median(), 0)
	require.InDelta(t, 3, s.percentile(50), 0)
	require.InDelta(t, 5, s.percentile(99), 0)
	require.InDelta(t, 1, s.percentile(0), 0)
	require.InDelta(t, 1, s.percentile(20), 0)
	require.Equal(t, series{5, 1, 4, 2, 3}, s, "the order of the rounds is kept")
}
