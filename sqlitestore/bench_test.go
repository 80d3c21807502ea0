package sqlitestore_test

import (
	"fmt"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// BenchmarkEnqueue stores single events, as many callers at once do.
func BenchmarkEnqueue(b *testing.B) {
	for _, callers := range []int{1, 64} {
		for _, hand := range []int{0, 4} {
			b.Run(fmt.Sprintf("callers=%d/hand-over=%d", callers, hand), func(b *testing.B) {
				s := open(b, filepath.Join(b.TempDir(), "a.db"))
				for i := range 10 {
					endpoint(b, s, "t", "we_"+strconv.Itoa(i), func(e *webhook.Endpoint) {
						e.Health.Window = 1_000_000
						if i > 0 {
							e.Events = []string{"test.other"}
						}
					})
				}
				list := events(b.N)
				b.ResetTimer()
				inParallel(b, callers, b.N, func(i int) error {
					req := webhook.EnqueueRequest{Tenant: "t", Events: list[i : i+1]}
					if hand > 0 {
						req.HandOver = &webhook.HandOver{Owner: "o", Term: time.Minute, Max: hand}
					}
					_, err := s.Enqueue(b.Context(), req)
					return err
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			})
		}
	}
}

// BenchmarkClaimAndRecord claims and records by the hundred.
func BenchmarkClaimAndRecord(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "a.db"))
	for i := range 10 {
		endpoint(b, s, "t", "we_"+strconv.Itoa(i))
	}
	for n := 0; n < b.N; n += 1000 {
		_, err := s.Enqueue(b.Context(), webhook.EnqueueRequest{Tenant: "t", Events: events(100)})
		require.NoError(b, err)
	}
	b.ResetTimer()
	var claiming, recording time.Duration
	for done := 0; done < b.N; {
		t0 := time.Now()
		c, err := s.Claim(b.Context(), webhook.ClaimRequest{Owner: "o", Term: time.Minute, Max: 100, MaxSlow: 50})
		require.NoError(b, err)
		t1 := time.Now()
		outcomes := make([]webhook.Outcome, len(c.Leases))
		for i, l := range c.Leases {
			outcomes[i] = delivered(l)
		}
		_, err = s.Record(b.Context(), outcomes)
		require.NoError(b, err)
		claiming += t1.Sub(t0)
		recording += time.Since(t1)
		done += len(outcomes)
	}
	b.ReportMetric(float64(b.N)/claiming.Seconds(), "claims/s")
	b.ReportMetric(float64(b.N)/recording.Seconds(), "records/s")
}
