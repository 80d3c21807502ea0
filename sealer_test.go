package webhook_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

func sealingKey(id string) webhook.SealingKey {
	key := make([]byte, 32)
	rand.Read(key)
	return webhook.SealingKey{ID: id, Key: webhook.NewSecret(base64.StdEncoding.EncodeToString(key))}
}

func sealer(t *testing.T, keys ...webhook.SealingKey) *webhook.AESSealer {
	t.Helper()
	s, err := webhook.NewAESSealer(keys...)
	require.NoError(t, err)
	return s
}

func TestTheNewestKeySealsAndAllOpen(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	of := webhook.EndpointRef{Tenant: "t", ID: "we_1"}
	first, second := sealingKey("2026-01"), sealingKey("2026-02")
	old, both, fresh := sealer(t, first), sealer(t, second, first), sealer(t, second)

	for _, text := range []string{"", "x", strings.Repeat("secret", 40)} {
		a, err := old.Seal(ctx, of, []byte(text))
		require.NoError(t, err)
		again, err := old.Seal(ctx, of, []byte(text))
		require.NoError(t, err)
		require.NotEqual(t, a, again, "nonces are random")
		if len(text) > 1 {
			require.NotContains(t, string(a), text)
		}
		b, err := both.Seal(ctx, of, []byte(text))
		require.NoError(t, err)

		for _, c := range []struct {
			sealer *webhook.AESSealer
			sealed []byte
			newest bool
		}{{old, a, true}, {both, a, false}, {both, b, true}, {fresh, b, true}} {
			got, err := c.sealer.Open(ctx, of, c.sealed)
			require.NoError(t, err)
			require.Equal(t, text, string(got))
			require.Equal(t, c.newest, c.sealer.Newest(c.sealed))
		}
		_, err = fresh.Open(ctx, of, a)
		require.ErrorIs(t, err, webhook.ErrKeyMissing)
		require.ErrorContains(t, err, "2026-01", "which one to bring back")
		require.NotErrorIs(t, err, webhook.ErrInvalidSecret)
	}
}

func TestWhatWasSealedForOneEndpointOpensForNoOther(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := sealer(t, sealingKey("k"), sealingKey("j"))
	sealed, err := s.Seal(ctx, webhook.EndpointRef{Tenant: "ab", ID: "c"}, []byte("secret"))
	require.NoError(t, err)
	for _, of := range []webhook.EndpointRef{{Tenant: "ab", ID: "d"}, {Tenant: "a", ID: "bc"}, {Tenant: "", ID: "abc"}, {Tenant: "abc", ID: ""}} {
		_, err := s.Open(ctx, of, sealed)
		require.ErrorIs(t, err, webhook.ErrInvalidSecret)
	}
	for i := range sealed {
		changed := append([]byte(nil), sealed...)
		changed[i] ^= 1
		_, err := s.Open(ctx, webhook.EndpointRef{Tenant: "ab", ID: "c"}, changed)
		require.Error(t, err, "byte %d", i)
	}
	for n := range sealed {
		_, err := s.Open(ctx, webhook.EndpointRef{Tenant: "ab", ID: "c"}, sealed[:n])
		require.ErrorIs(t, err, webhook.ErrInvalidSecret, "%d bytes of it", n)
		require.False(t, n < 3 && s.Newest(sealed[:n]))
	}
	// The name of the key is authenticated too, also where two keys are one.
	twin := sealingKey("k")
	a, b := sealer(t, twin), sealer(t, webhook.SealingKey{ID: "l", Key: twin.Key})
	sealed, err = a.Seal(ctx, webhook.EndpointRef{ID: "c"}, []byte("secret"))
	require.NoError(t, err)
	sealed[2] = 'l'
	_, err = b.Open(ctx, webhook.EndpointRef{ID: "c"}, sealed)
	require.ErrorIs(t, err, webhook.ErrInvalidSecret)
}

func TestKeysThatSealNothingAreRefused(t *testing.T) {
	t.Parallel()
	good := sealingKey("good")
	for name, c := range map[string]struct {
		keys []webhook.SealingKey
		says []string
	}{
		"none":           {nil, []string{"needs a key"}},
		"no id":          {[]webhook.SealingKey{{Key: good.Key}}, []string{"the id of sealing key 0 is not 1 to 64 bytes"}},
		"a long id":      {[]webhook.SealingKey{good, {ID: strings.Repeat("x", 65), Key: good.Key}}, []string{"sealing key 1 is not 1 to 64 bytes"}},
		"one id twice":   {[]webhook.SealingKey{good, good}, []string{`the id "good"`}},
		"no key":         {[]webhook.SealingKey{{ID: "a"}}, []string{`sealing key "a" is not base64 of 32 bytes`}},
		"not base64":     {[]webhook.SealingKey{{ID: "a", Key: webhook.NewSecret(strings.Repeat("!", 44))}}, []string{"not base64"}},
		"more after it":  {[]webhook.SealingKey{{ID: "a", Key: webhook.NewSecret(strings.TrimRight(good.Key.Reveal(), "=") + "!")}}, []string{"not base64"}},
		"16 bytes":       {[]webhook.SealingKey{{ID: "a", Key: webhook.NewSecret("AAAAAAAAAAAAAAAAAAAAAA==")}}, []string{"32 bytes"}},
		"two complaints": {[]webhook.SealingKey{{ID: "a"}, {Key: good.Key}}, []string{`"a" is not base64`, "key 1 is not 1 to 64"}},
	} {
		_, err := webhook.NewAESSealer(c.keys...)
		require.ErrorIs(t, err, webhook.ErrInvalidConfig, name)
		for _, text := range c.says {
			require.ErrorContains(t, err, text, name)
		}
		require.NotContains(t, err.Error(), good.Key.Reveal(), name)
	}
	_, err := webhook.NewAESSealer(webhook.SealingKey{ID: strings.Repeat("x", 64), Key: good.Key})
	require.NoError(t, err)
	unpadded := webhook.SealingKey{ID: "a", Key: webhook.NewSecret(strings.TrimRight(good.Key.Reveal(), "="))}
	lineEnd := webhook.SealingKey{ID: "a", Key: webhook.NewSecret(good.Key.Reveal() + "\n")}
	for _, k := range []webhook.SealingKey{unpadded, lineEnd} {
		_, err := webhook.NewAESSealer(k)
		require.NoError(t, err)
	}
}

func TestSealedBytesDoNotPrint(t *testing.T) {
	t.Parallel()
	sealed := webhook.Sealed("secret")
	stored := webhook.StoredSecret{ID: "sec_1", Sealed: sealed}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "a", sealed, "b", stored)
	text, err := json.Marshal(webhook.Endpoint{Secrets: []webhook.StoredSecret{stored}})
	require.NoError(t, err)
	for _, printed := range []string{
		fmt.Sprint(sealed), fmt.Sprintf("%s %x %d %v %+v %#v %q", sealed, sealed, sealed, sealed, sealed, sealed, sealed),
		fmt.Sprint(stored), fmt.Sprintf("%+v %#v %x", stored, stored, stored), log.String(), string(text),
	} {
		for _, leak := range []string{"secret\"", "c2VjcmV0", "736563726574", "115 101 99", "0x73", "secret "} {
			require.NotContains(t, printed, leak)
		}
		require.Contains(t, printed, "sealed:***")
	}
	var back webhook.Endpoint
	require.ErrorIs(t, json.Unmarshal(text, &back), webhook.ErrInvalidSecret, "a store that keeps it as JSON would lose it")
}

// lockedSealer is a key service that can be away.
type lockedSealer struct {
	webhook.Sealer
	away atomic.Bool
}

func (s *lockedSealer) Seal(ctx context.Context, of webhook.EndpointRef, secret []byte) ([]byte, error) {
	if s.away.Load() {
		return nil, errAway
	}
	return s.Sealer.Seal(ctx, of, secret)
}

func (s *lockedSealer) Open(ctx context.Context, of webhook.EndpointRef, sealed []byte) ([]byte, error) {
	if s.away.Load() {
		return nil, errAway
	}
	return s.Sealer.Open(ctx, of, sealed)
}
