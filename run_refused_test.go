package webhook_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// refusing is a store that refuses outcomes for a while: those of an endpoint alone, and any batch with one of them.
type refusing struct {
	*probe
	mu    sync.Mutex
	until map[string]time.Time
	alone map[string]int // calls of Record with the endpoint's outcome alone
}

func newRefusing() *refusing {
	s := &refusing{probe: newProbe(), until: map[string]time.Time{}, alone: map[string]int{}}
	s.record = func(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(outcomes) == 1 {
			s.alone[outcomes[0].EndpointID]++
		}
		for _, o := range outcomes {
			if time.Now().Before(s.until[o.EndpointID]) {
				return nil, errors.New("refused")
			}
		}
		time.Sleep(time.Millisecond) // others come meanwhile
		return s.Store.Record(ctx, outcomes)
	}
	return s
}

// What is refused among others is tried on its own until it is stored, and what was stored is not tried again.
func TestWhatIsRefusedAmongOthersIsTriedUntilItIsStored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := newRefusing()
		r := rigOn(t, store, webhooktest.NewReceiver(t), pollHourly).run()
		ids := map[string]string{}
		for _, path := range []string{"first", "soon", "late", "well"} {
			ids[path] = r.endpoint(path).ID
			if path != "first" {
				r.receiver.Script("/"+path, webhooktest.Answer{Delay: time.Millisecond / 2}) // while the first is recorded
			}
		}
		store.until[ids["soon"]] = time.Now().Add(time.Second)
		store.until[ids["late"]] = time.Now().Add(5 * time.Second)
		synctest.Wait()
		r.emit()
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, r.receiver.Requests(), 4, "no lease ran out")
		for _, d := range r.deliveries(webhook.DeliveryFilter{}) {
			require.Equal(t, webhook.DeliverySucceeded, d.State)
		}
		recorded := store.recorded()
		require.Equal(t, kinds{webhook.OutcomeDelivered, webhook.OutcomeDelivered, webhook.OutcomeDelivered}, recorded[1])
		store.mu.Lock()
		defer store.mu.Unlock()
		require.Equal(t, 1, store.alone[ids["first"]])
		require.Equal(t, 1, store.alone[ids["well"]])
		require.Greater(t, store.alone[ids["late"]], store.alone[ids["soon"]])
	})
}

// A single outcome that is refused waits a moment before it is tried once more, as the store's other callers do.
func TestASingleOutcomeThatIsRefusedIsNotTriedTwiceAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := newRefusing()
		r := rigOn(t, store, webhooktest.NewReceiver(t), pollHourly).run()
		e := r.endpoint("hook")
		store.until[e.ID] = time.Now().Add(5 * time.Second)
		synctest.Wait()
		r.emit()
		synctest.Wait()
		require.Len(t, store.recorded(), 2, "as all of a batch, and the first of the rounds")
		time.Sleep(2 * time.Minute)
		require.Equal(t, webhook.DeliverySucceeded, r.only().State)
	})
}
