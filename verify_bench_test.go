package webhook_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meshia/webhook"
)

// The floors are the least that a correct implementation can do: a keyed HMAC from a pool, the header taken apart, a
// comparison in constant time. They know one secret and one signature, and explain nothing.

type floorHash struct {
	hash hash.Hash
	head []byte
	sum  [sha256.Size]byte
}

type floor struct{ pool sync.Pool }

func newFloor(key []byte) *floor {
	return &floor{sync.Pool{New: func() any { return &floorHash{hash: hmac.New(sha256.New, key)} }}}
}

func (f *floor) verifyMeshia(header http.Header, body []byte) bool {
	values := header["X-Meshia-Signature"]
	if len(values) != 1 {
		return false
	}
	return f.verifyHex(body, values[0])
}

func (f *floor) verifyHex(body []byte, signature string) bool {
	text, ok := strings.CutPrefix(signature, "sha256=")
	var got [sha256.Size]byte
	if !ok || len(text) != 2*len(got) {
		return false
	}
	if _, err := hex.Decode(got[:], []byte(text)); err != nil {
		return false
	}
	h := f.pool.Get().(*floorHash)
	h.hash.Reset()
	h.hash.Write(body)
	ok = hmac.Equal(h.hash.Sum(h.sum[:0]), got[:])
	f.pool.Put(h)
	return ok
}

func (f *floor) verifyStandard(header http.Header, body []byte) bool {
	ids, timestamps, signatures := header["Webhook-Id"], header["Webhook-Timestamp"], header["Webhook-Signature"]
	if len(ids) != 1 || len(timestamps) != 1 || len(signatures) != 1 {
		return false
	}
	at, err := strconv.ParseInt(timestamps[0], 10, 64)
	if off := time.Now().Unix() - at; err != nil || off > 300 || off < -300 {
		return false
	}
	text, ok := strings.CutPrefix(signatures[0], "v1,")
	var got [sha256.Size + 1]byte
	if !ok || len(text) != 44 {
		return false
	}
	n, err := base64.StdEncoding.Decode(got[:], []byte(text))
	if err != nil {
		return false
	}
	h := f.pool.Get().(*floorHash)
	ok = hmac.Equal(h.standard(ids[0], timestamps[0], body), got[:n])
	f.pool.Put(h)
	return ok
}

func (h *floorHash) standard(id, timestamp string, body []byte) []byte {
	h.head = append(append(append(append(h.head[:0], id...), '.'), timestamp...), '.')
	h.hash.Reset()
	h.hash.Write(h.head)
	h.hash.Write(body)
	return h.hash.Sum(h.sum[:0])
}

func (f *floor) signHex(body []byte) string {
	h := f.pool.Get().(*floorHash)
	h.hash.Reset()
	h.hash.Write(body)
	var text [7 + 2*sha256.Size]byte
	copy(text[:], "sha256=")
	hex.Encode(text[7:], h.hash.Sum(h.sum[:0]))
	f.pool.Put(h)
	return string(text[:])
}

func (f *floor) signStandard(id string, at time.Time, body []byte) string {
	h := f.pool.Get().(*floorHash)
	var text [3 + 44]byte
	copy(text[:], "v1,")
	base64.StdEncoding.Encode(text[3:], h.standard(id, strconv.FormatInt(at.Unix(), 10), body))
	f.pool.Put(h)
	return string(text[:])
}

// measured is one operation beside its floor. Both report whether they came out right.
type measured struct {
	name        string
	ours, floor func() bool
	most        float64 // what the ratio should stay below
}

func measurements(b *testing.B, size int) []measured {
	body := bytes.Repeat([]byte("x"), size)
	header := signedHeader(b, whsecSecret, "evt_0123456789abcdefghijklmnop", body)
	header.Set("X-Hub-Signature-256", header.Get(webhook.HeaderSignature))
	signature, id, at := header.Get(webhook.HeaderSignature), header.Get(webhook.HeaderID), time.Now()

	signer, err := webhook.NewSigner(webhook.NewSecret(whsecSecret))
	if err != nil {
		b.Fatal(err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(whsecSecret, "whsec_"))
	if err != nil {
		b.Fatal(err)
	}
	plain, standard := newFloor([]byte(whsecSecret)), newFloor(key)
	verifier := func(scheme webhook.Scheme) func() bool {
		v := mustVerifier(b, &webhook.VerifierConfig{Scheme: scheme}, whsecSecret)
		return func() bool { return v.Verify(header, body) == nil }
	}
	standardSignature := signer.StandardSignature(id, at, body)
	return []measured{
		{"VerifierMeshia", verifier(webhook.Meshia), func() bool { return plain.verifyMeshia(header, body) }, 1.15},
		{"VerifierBodyHMAC", verifier(webhook.BodyHMAC("X-Hub-Signature-256")), func() bool { return plain.verifyMeshia(header, body) }, 1.15},
		{"VerifierStandard", verifier(webhook.Standard), func() bool { return standard.verifyStandard(header, body) }, 1.15},
		{"SignerMeshia", func() bool { return signer.Signature(body) == signature }, func() bool { return plain.signHex(body) == signature }, 1.15},
		{
			"SignerStandard", func() bool { return signer.StandardSignature(id, at, body) == standardSignature },
			func() bool { return standard.signStandard(id, at, body) == standardSignature }, 1.15,
		},
		{"VerifyFunction", func() bool { return webhook.Verify(body, signature, whsecSecret) == nil }, func() bool { return plain.verifyHex(body, signature) }, 1.6},
		{"SignFunction", func() bool { return webhook.Sign(body, whsecSecret) == signature }, func() bool { return plain.signHex(body) == signature }, 1.6},
	}
}

func forEachMeasurement(b *testing.B, run func(*testing.B, measured)) {
	for _, size := range []int{256, 1024} {
		for _, m := range measurements(b, size) {
			if !m.ours() || !m.floor() {
				b.Fatal("does not verify: ", m.name)
			}
			b.Run(fmt.Sprintf("%s/%dB", m.name, size), func(b *testing.B) { run(b, m) })
		}
	}
}

// BenchmarkSignature gives times and allocations.
func BenchmarkSignature(b *testing.B) {
	forEachMeasurement(b, func(b *testing.B, m measured) {
		b.ReportAllocs()
		for b.Loop() {
			m.ours()
		}
	})
}

// BenchmarkSignatureRatio times each operation and its floor in turns, so that whatever else the machine does meets
// both, and gives the median of the ratios as x-floor beside the most that it should be.
func BenchmarkSignatureRatio(b *testing.B) {
	const runs = 500
	forEachMeasurement(b, func(b *testing.B, m measured) {
		elapsed := func(f func() bool) float64 {
			start := time.Now()
			for range runs {
				f()
			}
			return float64(time.Since(start).Nanoseconds()) / runs
		}
		var ratios, ours, floors []float64
		for b.Loop() {
			var o, f float64
			if len(ratios)%2 == 0 {
				f, o = elapsed(m.floor), elapsed(m.ours)
			} else {
				o, f = elapsed(m.ours), elapsed(m.floor)
			}
			ratios, ours, floors = append(ratios, o/f), append(ours, o), append(floors, f)
		}
		b.ReportMetric(median(ratios), "x-floor")
		b.ReportMetric(m.most, "x-most")
		b.ReportMetric(median(ours), "ns/call")
		b.ReportMetric(median(floors), "ns/floor")
		b.ReportMetric(0, "ns/op")
	})
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// BenchmarkVerifierSecrets shows that the time grows with the number of secrets and does not depend on which of them
// matches.
func BenchmarkVerifierSecrets(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 256)
	for _, count := range []int{1, 2, 8} {
		secrets := make([]string, count)
		for i := range secrets {
			secrets[i] = webhook.GenerateSecret().Reveal()
		}
		v := mustVerifier(b, nil, secrets...)
		for _, match := range slices.Compact([]int{0, count - 1}) {
			header := signedHeader(b, secrets[match], "evt_1", body)
			b.Run(fmt.Sprintf("%dof%d", match+1, count), func(b *testing.B) {
				for b.Loop() {
					if err := v.Verify(header, body); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
