package webhook_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// unsteady is a store in which one call fails, or somebody else is quicker.
type unsteady struct {
	webhook.Store
	tenants, endpoints, endpoint, update error
	updates                              atomic.Int64
	before                               func() // the next update
}

func (u *unsteady) Tenants(ctx context.Context, after *string, max int) ([]string, error) {
	if u.tenants != nil {
		return nil, u.tenants
	}
	return u.Store.Tenants(ctx, after, max)
}

func (u *unsteady) Endpoints(ctx context.Context, tenant string) ([]webhook.Endpoint, error) {
	if u.endpoints != nil {
		return nil, u.endpoints
	}
	return u.Store.Endpoints(ctx, tenant)
}

func (u *unsteady) Endpoint(ctx context.Context, tenant, id string) (webhook.Endpoint, error) {
	if u.endpoint != nil {
		return webhook.Endpoint{}, u.endpoint
	}
	return u.Store.Endpoint(ctx, tenant, id)
}

func (u *unsteady) UpdateEndpoint(ctx context.Context, e webhook.Endpoint, judge webhook.Judge) (webhook.Endpoint, error) {
	u.updates.Add(1)
	if before := u.before; before != nil {
		u.before = nil
		before()
	}
	if u.update != nil {
		return webhook.Endpoint{}, u.update
	}
	return u.Store.UpdateEndpoint(ctx, e, judge)
}

// resealing has an endpoint whose secret is stored in the clear, and a dispatcher that seals.
func resealing(t *testing.T) (*unsteady, *rig, webhook.Endpoint) {
	t.Helper()
	store := &unsteady{Store: webhook.NewMemoryStore(nil)}
	plain := rigOn(t, store, webhooktest.NewReceiver(t), nil)
	e := plain.endpoint("hook")
	return store, rigOn(t, store, webhooktest.NewReceiver(t), sealed(sealer(t, sealingKey("k")))), e
}

func TestResealingSaysWhatKeptItFromIt(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*unsteady){
		"tenants":   func(u *unsteady) { u.tenants = errAway },
		"endpoints": func(u *unsteady) { u.endpoints = errAway },
		"update":    func(u *unsteady) { u.update = errAway },
		"read again": func(u *unsteady) {
			u.endpoint, u.update = errAway, webhook.ErrVersionConflict
		},
	} {
		store, r, _ := resealing(t)
		spoil(store)
		n, err := r.d.Reseal(r.ctx)
		require.ErrorIs(t, err, errAway, name)
		require.Zero(t, n, name)
		if name != "tenants" {
			_, err = r.d.Tenant("").Reseal(r.ctx)
			require.ErrorIs(t, err, errAway, name)
		}
	}
	store, r, e := resealing(t)
	service := &lockedSealer{Sealer: sealer(t, sealingKey("k"))}
	service.away.Store(true)
	r = rigOn(t, store, r.receiver, sealed(service))
	_, err := r.d.Reseal(r.ctx)
	require.ErrorIs(t, err, errAway)
	require.Equal(t, byte(0), r.stored(e.ID)[0].Sealed[0], "it stays as it was")
}

func TestResealingYieldsToWhoChangesAnEndpoint(t *testing.T) {
	t.Parallel()
	store, r, e := resealing(t)
	store.before = func() {
		_, err := r.d.RotateSecret(r.ctx, e.ID, secretB, time.Hour)
		require.NoError(t, err)
	}
	n, err := r.d.Reseal(r.ctx)
	require.NoError(t, err)
	require.Equal(t, 1, n, "the old one; the new one is sealed")
	got, err := r.d.RevealSecret(r.ctx, e.ID)
	require.NoError(t, err)
	require.Equal(t, secretB, got)

	store.updates.Store(0)
	n, err = r.d.Reseal(r.ctx)
	require.NoError(t, err)
	require.Zero(t, n)
	require.Zero(t, store.updates.Load(), "nothing is written where nothing is to do")

	store, r, e = resealing(t)
	store.before = func() { require.NoError(t, r.d.DeleteEndpoint(r.ctx, e.ID)) }
	n, err = r.d.Reseal(r.ctx)
	require.NoError(t, err, "what was deleted needs no seal")
	require.Zero(t, n)
}

func TestResealingReachesEveryTenant(t *testing.T) {
	t.Parallel()
	store, r, _ := resealing(t)
	plain := rigOn(t, store, r.receiver, nil)
	for i := range 250 {
		_, _, err := plain.d.Tenant(fmt.Sprint("t", i)).AddEndpoint(r.ctx, webhook.Endpoint{URL: "https://example.com", Events: []string{"*"}, Secret: secretA}, webhook.WithoutPing())
		require.NoError(t, err)
	}
	n, err := r.d.Reseal(r.ctx)
	require.NoError(t, err)
	require.Equal(t, 251, n)
}

func TestResealingAsksWhoseEndpoints(t *testing.T) {
	t.Parallel()
	r := newRig(t, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.Sealer, c.RequireTenant = sealer(t, sealingKey("k")), true })
	_, err := r.d.Tenant("").Reseal(r.ctx)
	require.ErrorIs(t, err, webhook.ErrTenantRequired)
	_, err = r.d.Reseal(r.ctx)
	require.NoError(t, err, "all of them")
}

func TestWhatIsStoredDamagedIsNotResealed(t *testing.T) {
	t.Parallel()
	store, r, e := resealing(t)
	stored, err := store.Endpoint(r.ctx, "", e.ID)
	require.NoError(t, err)
	for _, damaged := range []webhook.Sealed{nil, {7, 'x'}} {
		stored.Secrets[0].Sealed = damaged
		stored, err = store.UpdateEndpoint(r.ctx, stored, nil)
		require.NoError(t, err)
		_, err := r.d.Reseal(r.ctx)
		require.ErrorIs(t, err, webhook.ErrInvalidSecret)
		_, err = rigOn(t, store, r.receiver, nil).d.RevealSecret(r.ctx, e.ID)
		require.ErrorIs(t, err, webhook.ErrInvalidSecret, "no key would help")
		require.NotErrorIs(t, err, webhook.ErrKeyMissing)
	}
}

// stuckPrune is a store whose Prune ends with its context.
type stuckPrune struct{ webhook.Store }

func (stuckPrune) Prune(ctx context.Context, _ webhook.PruneRequest) (webhook.PruneResult, error) {
	<-ctx.Done()
	return webhook.PruneResult{}, ctx.Err()
}

func TestBeingStoppedWhileItPrunesIsNoWarning(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log bytes.Buffer
		r := rigOn(t, stuckPrune{webhook.NewMemoryStore(nil)}, webhooktest.NewReceiver(t), func(c *webhook.Config) {
			c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		}).run()
		time.Sleep(75 * time.Second) // it began after a minute
		r.stop()
		require.Empty(t, log.String())
	})
}

// stuckSealer opens nothing until its context ends.
type stuckSealer struct{ webhook.Sealer }

func (stuckSealer) Open(ctx context.Context, _ webhook.EndpointRef, _ []byte) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestBeingStoppedWhileItOpensASecretSaysNothingOfTheKey(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t), func(c *webhook.Config) {
			c.Sealer, c.Drain = stuckSealer{sealer(t, sealingKey("k"))}, time.Second
		})
		e := r.endpoint("hook")
		r.emit()
		r.run()
		synctest.Wait()
		r.stop()
		got, err := r.d.Endpoint(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointActive, got.Health.State)
		require.Zero(t, r.only().AttemptCount)
	})
}
