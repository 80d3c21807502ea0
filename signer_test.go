package webhook_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// What the wire says, written down once more with nothing but crypto/hmac.

func referenceMAC(key, message []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(message)
	return h.Sum(nil)
}

func referenceSignature(key, body []byte) string {
	return "sha256=" + hex.EncodeToString(referenceMAC(key, body))
}

func referenceStandard(key []byte, id string, at int64, body []byte) string {
	signed := append([]byte(id+"."+strconv.FormatInt(at, 10)+"."), body...)
	return "v1," + base64.StdEncoding.EncodeToString(referenceMAC(key, signed))
}

// randomBytes is deterministic: a failure repeats.
func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestSignIsHMACSHA256OfTheBody(t *testing.T) {
	t.Parallel()
	// Published by GitHub for a signature of the same form.
	require.Equal(t, "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
		webhook.Sign([]byte("Hello, World!"), "It's a Secret to Everybody"))
	require.Empty(t, webhook.Sign([]byte("Hello, World!"), ""))

	r := rand.New(rand.NewPCG(1, 2))
	for n := range 300 { // over the sizes where a block of the hash or of the key fills up
		body, secret := randomBytes(r, n), string(randomBytes(r, 1+n%200))
		require.Equal(t, referenceSignature([]byte(secret), body), webhook.Sign(body, secret))
	}
}

func TestSignLeavesNothingOfTheLastKeyBehind(t *testing.T) {
	t.Parallel()
	body := []byte("body")
	for _, secret := range []string{strings.Repeat("long", 40), "s", strings.Repeat("k", 64), "t"} {
		require.Equal(t, referenceSignature([]byte(secret), body), webhook.Sign(body, secret))
	}
}

func TestSigner(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	decoded := randomBytes(r, 32)
	whsec := "whsec_" + base64.StdEncoding.EncodeToString(decoded)
	at := time.Date(2026, 4, 11, 14, 32, 0, 999_999_999, time.FixedZone("", 3600))
	for name, c := range map[string]struct {
		secret   string
		standard []byte
	}{
		"generated":        {whsec, decoded},
		"without padding":  {strings.TrimRight(whsec, "="), decoded},
		"typed":            {typedSecret, []byte(typedSecret)},
		"typed and base64": {strings.TrimPrefix(whsec, "whsec_"), []byte(strings.TrimPrefix(whsec, "whsec_"))},
		"longer than 64":   {strings.Repeat("k", 65), []byte(strings.Repeat("k", 65))},
	} {
		signer, err := webhook.NewSigner(webhook.NewSecret(c.secret))
		require.NoError(t, err, name)
		for n := range 200 {
			body := randomBytes(r, n)
			require.Equal(t, referenceSignature([]byte(c.secret), body), signer.Signature(body), name)
			require.Equal(t, webhook.Sign(body, c.secret), signer.Signature(body), name)
			require.Equal(t, referenceStandard(c.standard, "evt_1", at.Unix(), body), signer.StandardSignature("evt_1", at, body), name)
		}
	}
}

func TestSignerIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	signer, err := webhook.NewSigner(webhook.NewSecret(typedSecret))
	require.NoError(t, err)
	at := time.Unix(1_700_000_000, 0)
	var wg sync.WaitGroup
	for i := range 8 {
		body := bytes.Repeat([]byte{byte(i)}, 100*i)
		wg.Go(func() {
			for range 100 {
				if got := signer.Signature(body); got != referenceSignature([]byte(typedSecret), body) {
					t.Error("wrong signature")
				}
				if got := signer.StandardSignature("evt_1", at, body); got != referenceStandard([]byte(typedSecret), "evt_1", at.Unix(), body) {
					t.Error("wrong standard signature")
				}
				if got := webhook.Sign(body, typedSecret); got != referenceSignature([]byte(typedSecret), body) {
					t.Error("wrong signature of the function")
				}
			}
		})
	}
	wg.Wait()
}
