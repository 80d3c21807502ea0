package webhook_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/meshia/webhook"
)

func benchEndpoint(b *testing.B, s webhook.Store, id string, events []string, h webhook.Health) {
	b.Helper()
	h.State = webhook.EndpointActive
	_, err := s.CreateEndpoint(b.Context(), webhook.Endpoint{ID: id, Tenant: "t", URL: "https://example.com", Events: events, Health: h}, 1<<30)
	if err != nil {
		b.Fatal(err)
	}
}

func benchEvent(id int, body []byte) webhook.Event {
	return webhook.Event{ID: fmt.Sprintf("evt_%d", id), Type: "a", Body: body}
}

func benchOutcome(l *webhook.Lease, kind webhook.OutcomeKind, wait time.Duration) webhook.Outcome {
	return webhook.Outcome{
		Tenant: "t", DeliveryID: l.Delivery.ID, EndpointID: l.Delivery.EndpointID, Token: l.Token, Kind: kind, Wait: wait,
		Judge: func(h webhook.Health, now time.Time) webhook.Health {
			h.LastSuccess = now
			return h
		},
	}
}

// BenchmarkMemoryHandOver is the way of a delivery that need not wait: it is handed over by Enqueue, and recorded.
func BenchmarkMemoryHandOver(b *testing.B) {
	for _, endpoints := range []int{1, 1000} {
		b.Run(fmt.Sprintf("endpoints=%d", endpoints), func(b *testing.B) {
			s := webhook.NewMemoryStore(nil)
			for i := range endpoints {
				benchEndpoint(b, s, fmt.Sprint(i), []string{fmt.Sprint("a", i)}, webhook.Health{Window: 8})
			}
			body := make([]byte, 256)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				e := benchEvent(i, body)
				e.Type = fmt.Sprint("a", i%endpoints)
				req := webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{e}, HandOver: &webhook.HandOver{Owner: "o", Term: time.Minute, Max: 8}}
				result, err := s.Enqueue(b.Context(), req)
				if err != nil || len(result.Leases) != 1 {
					b.Fatal(err, result)
				}
				if applied, err := s.Record(b.Context(), []webhook.Outcome{benchOutcome(&result.Leases[0], webhook.OutcomeDelivered, 0)}); err != nil || !applied[0] {
					b.Fatal(err, applied)
				}
			}
		})
	}
}

// BenchmarkMemoryClaim claims and records in a store of a million pending deliveries; a claim of 64 is meant to take
// 64 times microseconds, however they lie.
func BenchmarkMemoryClaim(b *testing.B) {
	const endpoints, pending = 10_000, 1_000_000
	fill := func(b *testing.B, health func(i int) webhook.Health) *webhook.MemoryStore {
		b.Helper()
		s := webhook.NewMemoryStore(&webhook.MemoryConfig{MaxPending: 2 * pending})
		for i := range endpoints {
			events := []string{"a"}
			if i == 0 {
				events = []string{"a", "big"}
			}
			benchEndpoint(b, s, fmt.Sprint(i), events, health(i))
		}
		return s
	}
	emit := func(b *testing.B, s *webhook.MemoryStore, eventType string, n int) {
		b.Helper()
		for i := range n {
			e := benchEvent(i, nil)
			e.ID, e.Type = eventType+e.ID, eventType
			if _, err := s.Enqueue(b.Context(), webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{e}}); err != nil {
				b.Fatal(err)
			}
		}
	}
	healthy := func(int) webhook.Health { return webhook.Health{Window: 8} }

	// work claims n at a time and puts what it got back, so that the store stays as full as it is.
	work := func(b *testing.B, s *webhook.MemoryStore, n, maxSlow int) {
		b.Helper()
		b.ReportAllocs()
		leases := 0
		for b.Loop() {
			claimed, err := s.Claim(b.Context(), webhook.ClaimRequest{Owner: "o", Term: time.Minute, Max: n, MaxSlow: maxSlow, MaxAge: time.Hour})
			if err != nil {
				b.Fatal(err)
			}
			leases += len(claimed.Leases)
			outcomes := make([]webhook.Outcome, len(claimed.Leases))
			for i := range claimed.Leases {
				outcomes[i] = benchOutcome(&claimed.Leases[i], webhook.OutcomeReleased, 0)
			}
			if _, err := s.Record(b.Context(), outcomes); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(leases)/float64(b.N), "leases/op")
	}

	b.Run("spread", func(b *testing.B) {
		s := fill(b, healthy)
		emit(b, s, "a", pending/endpoints)
		for _, n := range []int{1, 64} {
			b.Run(fmt.Sprintf("max=%d", n), func(b *testing.B) { work(b, s, n, n) })
		}
	})
	b.Run("half of it for one endpoint", func(b *testing.B) {
		s := fill(b, healthy)
		emit(b, s, "big", pending/2)
		emit(b, s, "a", pending/2/endpoints)
		for _, n := range []int{1, 64} {
			b.Run(fmt.Sprintf("max=%d", n), func(b *testing.B) { work(b, s, n, n) })
		}
	})
	b.Run("all of it for one endpoint", func(b *testing.B) {
		s := fill(b, healthy)
		emit(b, s, "big", pending)
		b.Run("max=1", func(b *testing.B) { work(b, s, 1, 1) })
	})
	b.Run("9999 endpoints with retries in an hour", func(b *testing.B) {
		s := fill(b, func(int) webhook.Health { return webhook.Health{Window: 1 << 20} })
		emit(b, s, "a", 20)
		for {
			claimed, err := s.Claim(b.Context(), webhook.ClaimRequest{Owner: "o", Term: time.Minute, Max: 1000, MaxSlow: 1000})
			if err != nil {
				b.Fatal(err)
			}
			if len(claimed.Leases) == 0 {
				break
			}
			outcomes := make([]webhook.Outcome, len(claimed.Leases))
			for i := range claimed.Leases {
				outcomes[i] = benchOutcome(&claimed.Leases[i], webhook.OutcomeRetry, time.Hour)
			}
			if _, err := s.Record(b.Context(), outcomes); err != nil {
				b.Fatal(err)
			}
		}
		emit(b, s, "big", 1000)
		b.Run("max=1", func(b *testing.B) { work(b, s, 1, 1) })
	})
	b.Run("9999 slow endpoints without a slot", func(b *testing.B) {
		s := fill(b, func(i int) webhook.Health { return webhook.Health{Window: 8, Slow: i > 0} })
		emit(b, s, "a", 20)
		b.Run("max=1", func(b *testing.B) { work(b, s, 1, 0) })
	})
	b.Run("9999 hanging endpoints at their window", func(b *testing.B) {
		s := fill(b, func(i int) webhook.Health {
			if i == 0 {
				return webhook.Health{Window: 8}
			}
			return webhook.Health{Window: 1, Slow: true}
		})
		emit(b, s, "a", 20)
		if _, err := s.Claim(b.Context(), webhook.ClaimRequest{Owner: "o", Term: time.Hour, Max: 20_000, MaxSlow: 20_000}); err != nil {
			b.Fatal(err)
		}
		b.Run("max=1", func(b *testing.B) { work(b, s, 1, 1) })
	})
}
