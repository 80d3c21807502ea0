package webhook_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// silent is a store that does not answer the first claim.
type silent struct {
	webhook.Store
	claims atomic.Int64
}

func (s *silent) Claim(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
	if s.claims.Add(1) == 1 {
		<-ctx.Done()
		return webhook.Claimed{}, ctx.Err()
	}
	return s.Store.Claim(ctx, req)
}

func TestAClaimThatIsNotAnsweredIsMadeAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := rigOn(t, &silent{Store: webhook.NewMemoryStore(nil)}, webhooktest.NewReceiver(t), nil)
		r.endpoint("hook")
		r.emit()
		start := time.Now()
		r.run()
		require.Less(t, r.receiver.WaitFor(t.Context(), 1)[0].Time.Sub(start), 20*time.Second)
	})
}

// slowClaim is a store whose claims take a while, and are committed also where nobody waits for the answer any more.
type slowClaim struct{ webhook.Store }

func (s slowClaim) Claim(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
	time.Sleep(time.Second)
	claimed, err := s.Store.Claim(context.Background(), req)
	if ctx.Err() != nil {
		return webhook.Claimed{}, ctx.Err()
	}
	return claimed, err
}

func TestBeingStoppedDoesNotCutOffAClaim(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := rigOn(t, slowClaim{webhook.NewMemoryStore(nil)}, webhooktest.NewReceiver(t), nil)
		r.endpoint("hook")
		r.emit()
		r.run()
		time.Sleep(time.Second / 2)
		r.stop()
		d := r.only()
		require.Equal(t, webhook.DeliveryPending, d.State, "given back unsent, or never leased")
		require.Zero(t, d.AttemptCount)
	})
}

func TestAProcessThatLacksAKeyTellsTheOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &bell{Store: webhook.NewMemoryStore(nil), ring: make(chan struct{}, 1)}
		keys := sealer(t, sealingKey("k"))
		receiver := webhooktest.NewReceiver(t)
		rigOn(t, store, receiver, func(c *webhook.Config) { c.Sealer, c.Poll = keys, time.Hour }).run().endpoint("hook")
		without := rigOn(t, store, receiver, func(c *webhook.Config) { c.Poll = time.Hour })
		require.NoError(t, without.d.Emit(t.Context(), experiment())) // it does not run yet: the other one sends
		receiver.WaitFor(t.Context(), 1)
		without.run()
		time.Sleep(time.Second)

		without.emit() // handed over to the process that emits, which gives it back
		time.Sleep(10 * time.Second)
		start := time.Now()
		without.emit()
		require.Equal(t, start, receiver.WaitFor(t.Context(), 3)[2].Time)
	})
}
