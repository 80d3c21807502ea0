package webhook_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

func sealed(s webhook.Sealer) func(*webhook.Config) {
	return func(c *webhook.Config) { c.Sealer = s }
}

// stored returns what the store has of the endpoint's secrets.
func (r *rig) stored(id string) []webhook.StoredSecret {
	r.t.Helper()
	e, err := r.store.Endpoint(r.ctx, "", id)
	require.NoError(r.t, err)
	return e.Secrets
}

func (r *rig) verified(q webhooktest.Request, secret webhook.Secret) {
	r.t.Helper()
	require.NoError(r.t, webhook.Verify(q.Body, q.Header.Get(webhook.HeaderSignature), secret.Reveal()))
}

func TestSecretsAreSealedInTheStore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		keys := sealer(t, sealingKey("k"))
		r := newRig(t, webhooktest.NewReceiver(t), sealed(keys)).run()
		e := r.endpoint("hook")
		r.emit()
		r.verified(r.receiver.WaitFor(t.Context(), 1)[0], secretA)
		_, err := r.d.RotateSecret(r.ctx, e.ID, secretB, 0)
		require.NoError(t, err)
		r.emit()
		r.verified(r.receiver.WaitFor(t.Context(), 2)[1], secretB)
		got, err := r.d.RevealSecret(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, secretB, got)

		all := r.stored(e.ID)
		require.Len(t, all, 1)
		require.False(t, bytes.Contains(all[0].Sealed, []byte(secretB.Reveal())))
		text, err := keys.Open(r.ctx, webhook.EndpointRef{ID: e.ID}, all[0].Sealed[1:])
		require.NoError(t, err)
		require.Equal(t, secretB.Reveal(), string(text))
	})
}

func TestAWarningSaysOnceThatSecretsAreNotSealed(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	r := rigOn(t, struct{ webhook.Store }{webhook.NewMemoryStore(nil)}, webhooktest.NewReceiver(t), func(c *webhook.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	r.endpoint("a")
	e := r.endpoint("b")
	_, err := r.d.Tenant("t").RotateSecret(r.ctx, e.ID, secretB, 0)
	require.ErrorIs(t, err, webhook.ErrNotFound)
	require.Equal(t, 1, strings.Count(log.String(), "not encrypted"))
	require.NotContains(t, log.String(), secretA.Reveal())
}

func TestResealingBringsAllUnderTheNewestKey(t *testing.T) {
	t.Parallel()
	first, second := sealingKey("1"), sealingKey("2")
	store := webhook.NewMemoryStore(nil)
	on := func(s webhook.Sealer) *rig { return rigOn(t, store, webhooktest.NewReceiver(t), sealed(s)) }
	plain, old, both, fresh := on(nil), on(sealer(t, first)), on(sealer(t, second, first)), on(sealer(t, second))

	_, err := plain.d.Reseal(plain.ctx)
	require.ErrorIs(t, err, webhook.ErrInvalidConfig)

	var ids []string
	for i, r := range []*rig{plain, old, both} {
		for _, tenant := range []string{"", "t1", "t2"} {
			e := webhook.Endpoint{ID: string(rune('a'+i)) + tenant, URL: "https://example.com", Events: []string{"*"}, Secret: secretA}
			_, _, err := r.d.Tenant(tenant).AddEndpoint(r.ctx, e, webhook.WithoutPing())
			require.NoError(t, err)
			ids = append(ids, e.ID)
		}
	}
	_, err = both.d.RotateSecret(both.ctx, "b", secretB, time.Hour) // one of each key
	require.NoError(t, err)
	_, _, err = both.d.AddEndpoint(both.ctx, webhook.Endpoint{ID: "unsigned", URL: "https://example.com", Events: []string{"*"}}, webhook.WithoutPing())
	require.NoError(t, err)
	_, err = fresh.d.RevealSecret(fresh.ctx, "b")
	require.NoError(t, err)
	_, err = fresh.d.Tenant("t1").RevealSecret(fresh.ctx, "bt1")
	require.ErrorIs(t, err, webhook.ErrKeyMissing)
	_, err = fresh.d.Reseal(fresh.ctx)
	require.ErrorIs(t, err, webhook.ErrKeyMissing, "it cannot, and says so")

	n, err := both.d.Tenant("t1").Reseal(both.ctx)
	require.NoError(t, err)
	require.Equal(t, 2, n, "those of this tenant only")
	n, err = both.d.Reseal(both.ctx)
	require.NoError(t, err)
	require.Equal(t, 3, n, "what the call before did, and what the one that failed did, is done")
	n, err = both.d.Reseal(both.ctx)
	require.NoError(t, err)
	require.Zero(t, n)
	for _, id := range ids {
		got, err := fresh.d.Tenant(id[1:]).RevealSecret(fresh.ctx, id)
		require.NoError(t, err, id)
		if id != "b" {
			require.Equal(t, secretA, got, id)
		}
	}
	require.Len(t, both.stored("b"), 2)
}

// counted counts the outcomes that dispatchers record.
type counted struct {
	webhook.Store
	outcomes atomic.Int64
}

func (c *counted) Record(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
	c.outcomes.Add(int64(len(outcomes)))
	return c.Store.Record(ctx, outcomes)
}

func TestAProcessWithoutTheKeyLeavesTheEndpointToOthers(t *testing.T) {
	for name, broken := range map[string]webhook.Sealer{
		"no sealer":                  nil,
		"another key":                sealer(t, sealingKey("other")),
		"a key service that is away": &lockedSealer{},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				keys := sealer(t, sealingKey("k"))
				if away, ok := broken.(*lockedSealer); ok {
					away.Sealer = keys
					away.away.Store(true)
				}
				store := &counted{Store: webhook.NewMemoryStore(nil)}
				receiver := webhooktest.NewReceiver(t)
				without := rigOn(t, store, receiver, sealed(broken)).run()
				with := rigOn(t, store, receiver, sealed(keys))
				signed := with.endpoint("signed")
				plain, _, err := with.d.AddEndpoint(with.ctx, webhook.Endpoint{URL: "https://example.com/plain", Events: []string{"*"}}, webhook.WithoutPing())
				require.NoError(t, err)
				without.emit()
				time.Sleep(10*time.Minute - time.Second)

				d := with.deliveries(webhook.DeliveryFilter{EndpointID: signed.ID})[0]
				require.Equal(t, webhook.DeliveryPending, d.State)
				require.Zero(t, d.AttemptCount, "no attempt is used")
				require.Empty(t, d.Attempts)
				got, err := with.d.Endpoint(with.ctx, signed.ID)
				require.NoError(t, err)
				require.Equal(t, webhook.EndpointPaused, got.Health.State, "people see it")
				require.Equal(t, webhook.ReasonKeyMissing, got.Health.Reason)
				require.LessOrEqual(t, store.outcomes.Load(), int64(11), "it looks once a minute")
				require.Equal(t, webhook.DeliverySucceeded, with.deliveries(webhook.DeliveryFilter{EndpointID: plain.ID})[0].State, "others go on")

				_, err = without.d.Ping(without.ctx, signed.ID)
				require.Error(t, err)
				if name != "a key service that is away" {
					require.ErrorIs(t, err, webhook.ErrKeyMissing)
				}
				require.Len(t, with.deliveries(webhook.DeliveryFilter{EndpointID: signed.ID}), 1, "nothing was stored that could only be cancelled")

				with.run()
				time.Sleep(time.Second)
				d = with.deliveries(webhook.DeliveryFilter{EndpointID: signed.ID})[0]
				require.Equal(t, webhook.DeliverySucceeded, d.State)
				got, err = with.d.Endpoint(with.ctx, signed.ID)
				require.NoError(t, err)
				require.Equal(t, webhook.EndpointActive, got.Health.State)
				require.Empty(t, got.Health.Reason)
			})
		})
	}
}

func TestNothingIsStoredUnsealedWhileTheSealerIsAway(t *testing.T) {
	t.Parallel()
	service := &lockedSealer{Sealer: sealer(t, sealingKey("k"))}
	r := newRig(t, webhooktest.NewReceiver(t), sealed(service))
	e := r.endpoint("hook")
	before := r.stored(e.ID)
	service.away.Store(true)
	_, _, err := r.d.AddEndpoint(r.ctx, webhook.Endpoint{ID: "we_2", URL: "https://example.com", Events: []string{"*"}, Secret: secretA}, webhook.WithoutPing())
	require.ErrorIs(t, err, errAway)
	_, err = r.d.Endpoint(r.ctx, "we_2")
	require.ErrorIs(t, err, webhook.ErrNotFound)
	_, _, err = r.d.AddEndpoint(r.ctx, webhook.Endpoint{ID: "we_3", URL: "https://example.com", Events: []string{"*"}, Headers: headers("X-Key", "k")}, webhook.WithoutPing())
	require.ErrorIs(t, err, errAway)
	_, err = r.d.Endpoint(r.ctx, "we_3")
	require.ErrorIs(t, err, webhook.ErrNotFound)
	e.Headers = headers("X-Key", "k")
	_, _, err = r.d.UpdateEndpoint(r.ctx, e)
	require.ErrorIs(t, err, errAway)
	stored, err := r.d.Endpoint(r.ctx, e.ID)
	require.NoError(t, err)
	require.Empty(t, stored.StoredHeaders)
	_, err = r.d.RotateSecret(r.ctx, e.ID, secretB, 0)
	require.ErrorIs(t, err, errAway)
	require.Equal(t, before, r.stored(e.ID))
}

// A secret that signs no more need not be opened: the key that it is sealed with may be gone.
func TestASecretWhoseOverlapIsOverIsNotOpened(t *testing.T) {
	bubble(t, func(t *testing.T) {
		first, second := sealingKey("1"), sealingKey("2")
		old := newRig(t, webhooktest.NewReceiver(t), sealed(sealer(t, first)))
		e := old.endpoint("hook")
		both := rigOn(t, old.store, old.receiver, sealed(sealer(t, second, first)))
		_, err := both.d.RotateSecret(t.Context(), e.ID, secretB, time.Hour)
		require.NoError(t, err)
		r := rigOn(t, old.store, old.receiver, sealed(sealer(t, second))).run()
		time.Sleep(time.Hour)
		r.emit()
		time.Sleep(time.Minute)
		require.Equal(t, webhook.DeliverySucceeded, r.only().State)
		r.verified(r.receiver.Requests()[0], secretB)
	})
}

// eventless is a store that cannot read events now.
type eventless struct{ webhook.Store }

func (eventless) Event(context.Context, string, string) (webhook.Event, error) {
	return webhook.Event{}, errAway
}

func TestAnEventThatCannotBeReadIsNotTakenForPruned(t *testing.T) {
	t.Parallel()
	r := rigOn(t, eventless{webhook.NewMemoryStore(nil)}, webhooktest.NewReceiver(t), nil)
	e := r.endpoint("hook")
	d, err := r.d.Ping(r.ctx, e.ID)
	require.NoError(t, err)
	_, err = r.d.Redeliver(r.ctx, d.ID)
	require.ErrorIs(t, err, errAway)
	require.NotErrorIs(t, err, webhook.ErrBodyPruned)
}

func TestTheKeyMayComeBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		service := &lockedSealer{Sealer: sealer(t, sealingKey("k"))}
		r := newRig(t, webhooktest.NewReceiver(t), sealed(service))
		e := r.endpoint("hook")
		r.emit()
		service.away.Store(true)
		start := time.Now()
		r.run()
		time.Sleep(10 * time.Second)
		service.away.Store(false)
		request := r.receiver.WaitFor(t.Context(), 1)[0]
		require.Equal(t, time.Minute, request.Time.Sub(start).Truncate(2*time.Second))
		require.Equal(t, "1", request.Header.Get(webhook.HeaderAttempt))
		time.Sleep(time.Second)
		got, err := r.d.Endpoint(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointActive, got.Health.State)
	})
}

func TestASecretThatNobodyCanOpenFailsVisibly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t), sealed(sealer(t, sealingKey("k"))))
		for _, spoil := range []func(webhook.Sealed) webhook.Sealed{
			func(s webhook.Sealed) webhook.Sealed { s[len(s)-1] ^= 1; return s },
			func(webhook.Sealed) webhook.Sealed { return nil },
			func(s webhook.Sealed) webhook.Sealed { s[0] = 7; return s },
		} {
			e := r.endpoint("hook")
			stored, err := r.store.Endpoint(r.ctx, "", e.ID)
			require.NoError(t, err)
			stored.Secrets[0].Sealed = spoil(stored.Secrets[0].Sealed)
			_, err = r.store.UpdateEndpoint(r.ctx, stored, nil)
			require.NoError(t, err)
			d, err := r.d.Ping(r.ctx, e.ID)
			require.NoError(t, err)
			require.Equal(t, webhook.DeliveryFailed, d.State)
			require.Equal(t, webhook.ErrorInternal, d.Attempts[0].Error)
			require.Empty(t, r.receiver.Requests())
		}
	})
}
