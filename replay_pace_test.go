package webhook_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// stepper is a store whose steps of replays are the test's. It notes when each began.
type stepper struct {
	webhook.Store
	step  func(ctx context.Context, n int) (webhook.ReplayStepped, error)
	began []time.Time
}

func (s *stepper) ContinueReplay(ctx context.Context, _ webhook.ReplayStep) (webhook.ReplayStepped, error) {
	s.began = append(s.began, time.Now())
	return s.step(ctx, len(s.began))
}

// steps runs a dispatcher for a minute, and returns how long it was from each step to the next.
func steps(t *testing.T, step func(ctx context.Context, n int) (webhook.ReplayStepped, error)) (waits []time.Duration) {
	t.Helper()
	store := &stepper{Store: webhook.NewMemoryStore(nil), step: step}
	r := rigOn(t, store, webhooktest.NewReceiver(t), nil).run()
	time.Sleep(time.Minute)
	r.stop()
	for i := 1; i < len(store.began); i++ {
		waits = append(waits, store.began[i].Sub(store.began[i-1]))
	}
	return waits
}

func TestReplaysRestAsLongAsTheyTook(t *testing.T) {
	bubble(t, func(t *testing.T) {
		took := []time.Duration{50 * time.Millisecond, 300 * time.Millisecond, 0, time.Second, 5 * time.Second}
		waits := steps(t, func(_ context.Context, n int) (webhook.ReplayStepped, error) {
			if n > len(took) {
				return webhook.ReplayStepped{}, nil
			}
			time.Sleep(took[n-1])
			return webhook.ReplayStepped{Stepped: true}, nil
		})
		require.Equal(t, []time.Duration{100 * time.Millisecond, 600 * time.Millisecond, 0, 2 * time.Second, 6 * time.Second}, waits[:5])
	})
}

// TestAReplayThatFailsHoldsUpNoOther has every other step fail, as it does where one of two replays cannot go on.
func TestAReplayThatFailsHoldsUpNoOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		waits := steps(t, func(_ context.Context, n int) (webhook.ReplayStepped, error) {
			if n%2 == 1 {
				return webhook.ReplayStepped{}, errors.New("statement timeout")
			}
			return webhook.ReplayStepped{Stepped: true}, nil
		})
		require.Equal(t, []time.Duration{time.Second, 0, time.Second, 0}, waits[:4])
	})
}

func TestRunEndsWhileReplaysRest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &stepper{Store: webhook.NewMemoryStore(nil), step: func(context.Context, int) (webhook.ReplayStepped, error) {
			time.Sleep(time.Second)
			return webhook.ReplayStepped{Stepped: true}, nil
		}}
		r := rigOn(t, store, webhooktest.NewReceiver(t), nil).run()
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		before := time.Now()
		r.stop()
		require.Equal(t, before, time.Now())
	})
}

func TestUpkeepEndsWhereNoAnswerComes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		waits := steps(t, func(ctx context.Context, _ int) (webhook.ReplayStepped, error) {
			<-ctx.Done()
			return webhook.ReplayStepped{}, ctx.Err()
		})
		require.Equal(t, 31*time.Second, waits[0])

		r := rigOn(t, stuckPrune{webhook.NewMemoryStore(nil)}, webhooktest.NewReceiver(t), nil)
		before := time.Now()
		_, err := r.d.Prune(r.ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 30*time.Second, time.Since(before))
	})
}
