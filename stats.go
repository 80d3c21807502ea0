package webhook

import (
	"context"
	"math"
	"time"
)

// Stats is how an endpoint has fared, by the hour, and where its queue stands.
type Stats struct {
	// Hours are those in which attempts were recorded, the oldest first.
	Hours []HourStats
	// Pending is how many of its deliveries are pending or leased, and OldestPending when the oldest of those that are
	// pending was created; zero: there is none.
	Pending       int64
	OldestPending time.Time
	// NextAttempt is when the first of the pending ones falls due; zero: there is none. It may be in the past: while
	// the endpoint is paused its Health.PausedUntil decides, and its Rate may hold it back.
	NextAttempt time.Time
}

// HourStats counts the attempts that were recorded in one hour. Pings, tests and interrupted attempts are not in it.
type HourStats struct {
	Start     time.Time // of the hour, UTC
	Delivered int64     // attempts that were answered with 2xx
	Failed    int64     // attempts that failed
	Latency   Histogram // of both
}

// Attempts is how many attempts there were.
func (h *HourStats) Attempts() int64 { return h.Delivered + h.Failed }

// Histogram counts latencies in classes, each four of which make an octave: class i counts those over
// 2^((i-1)/4) ms, up to 2^(i/4) ms. Class 0 begins at 0 and the last one has no end.
type Histogram [HistogramClasses]int64

// HistogramClasses is how many classes a Histogram has: the last but one ends at 2^19.75 ms, a little over 14 minutes.
const HistogramClasses = 81

// latencyBounds are the ends of the classes but the last.
var latencyBounds = func() (ends [HistogramClasses - 1]time.Duration) {
	for i := range ends {
		ends[i] = time.Duration(math.Round(math.Exp2(float64(i)/4) * float64(time.Millisecond)))
	}
	return ends
}()

// LatencyClass is the class of a Histogram that counts d.
func LatencyClass(d time.Duration) int {
	low, high := 0, HistogramClasses-1
	for low < high { // the first class whose end is not below d
		if mid := (low + high) / 2; latencyBounds[mid] < d {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// Add counts a latency.
func (h *Histogram) Add(d time.Duration) { h[LatencyClass(d)]++ }

// Merge adds what another histogram counts.
func (h *Histogram) Merge(other *Histogram) {
	for i, n := range other {
		h[i] += n
	}
}

// Quantile returns a latency that a share of q of those counted does not exceed, and that is at most 19 % above the
// smallest such: the end of a class. q is between 0 and 1; with nothing counted it is 0, and in the last class the
// class's begin.
func (h *Histogram) Quantile(q float64) time.Duration {
	total := int64(0)
	for _, n := range h {
		total += n
	}
	rank := max(int64(math.Ceil(min(max(q, 0), 1)*float64(total))), 1)
	for i, n := range h {
		if rank -= n; rank <= 0 {
			return latencyBounds[min(i, len(latencyBounds)-1)]
		}
	}
	return 0 // nothing was counted
}

// Sum adds the hours up.
func (s *Stats) Sum() HourStats {
	var sum HourStats
	for i := range s.Hours {
		h := &s.Hours[i]
		if i == 0 {
			sum.Start = h.Start
		}
		sum.Delivered += h.Delivered
		sum.Failed += h.Failed
		sum.Latency.Merge(&h.Latency)
	}
	return sum
}

// Stats returns how an endpoint has fared since the beginning of the hour that since lies in, as far as
// Config.KeepDeliveries reaches back. Errors: [ErrNotFound].
func (d *Dispatcher) Stats(ctx context.Context, endpointID string, since time.Time) (Stats, error) {
	return read(d, "stats", func() (Stats, error) { return d.store.Stats(ctx, d.tenant, endpointID, since.Truncate(time.Hour)) })
}
