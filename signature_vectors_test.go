package webhook_test

import (
	"encoding/json"
	"net/http"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// vector is one request and the right answer to it.
type vector struct {
	Name     string                  `json:"name"`
	Scheme   string                  `json:"scheme"` // meshia or standard
	Tier     string                  `json:"tier"`   // core: every verifier; default: the safe choice; advisory: this library's choice
	Why      string                  `json:"why"`
	Official bool                    `json:"official"` // published by the scheme's authors or an RFC
	Optional string                  `json:"optional"` // for verifiers with the feature that it names
	Headers  map[string]headerValues `json:"headers"`
	Body     []byte                  `json:"body_base64"`

	Secret       string   `json:"secret"`
	Secrets      []string `json:"secrets"`       // instead: all that the verifier knows
	SecretBase64 []byte   `json:"secret_base64"` // instead: a secret that is not text

	Now       int64 `json:"now"`               // Unix time at which it arrives
	Tolerance int   `json:"tolerance_seconds"` // for standard
	Repeat    int   `json:"repeat"`            // how often it arrives

	Expect       string `json:"expect"`        // ok or error
	Error        string `json:"error"`         // the sentinel
	ExpectRepeat string `json:"expect_repeat"` // what a receiver that remembers says to the second and later ones
}

type headerValues []string

func (v *headerValues) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*v = headerValues{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(v))
}

var sentinels = map[string]error{
	"ErrMissingHeader":     webhook.ErrMissingHeader,
	"ErrDuplicateHeader":   webhook.ErrDuplicateHeader,
	"ErrMalformedHeader":   webhook.ErrMalformedHeader,
	"ErrSignatureMismatch": webhook.ErrSignatureMismatch,
	"ErrBodyReencoded":     webhook.ErrBodyReencoded,
	"ErrTimestampTooOld":   webhook.ErrTimestampTooOld,
	"ErrTimestampTooNew":   webhook.ErrTimestampTooNew,
	"ErrInvalidSecret":     webhook.ErrInvalidSecret,
}

func readVectors(t testing.TB) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/signature.json")
	require.NoError(t, err)
	var vectors []vector
	require.NoError(t, json.Unmarshal(data, &vectors))
	return vectors
}

func (v *vector) secrets() []string {
	switch {
	case v.Secrets != nil:
		return v.Secrets
	case v.SecretBase64 != nil:
		return []string{string(v.SecretBase64)}
	}
	return []string{v.Secret}
}

func (v *vector) header() http.Header {
	header := http.Header{}
	for name, values := range v.Headers {
		for _, value := range values {
			header.Add(name, value)
		}
	}
	return header
}

func (v *vector) verifier() (*webhook.Verifier, error) {
	cfg := &webhook.VerifierConfig{}
	if v.Scheme == "standard" {
		cfg.Scheme = webhook.Standard
		cfg.Tolerance = time.Duration(v.Tolerance) * time.Second
	}
	return webhook.NewVerifier(v.secrets(), cfg)
}

func (v *vector) verify() error {
	verifier, err := v.verifier()
	if err != nil {
		return err
	}
	return verifier.Verify(v.header(), v.Body)
}

// sleepUntil moves the bubble's clock, which starts in the year 2000.
func sleepUntil(unix int64) { time.Sleep(time.Until(time.Unix(unix, 0))) }

func TestSignatureVectors(t *testing.T) {
	t.Parallel()
	vectors := readVectors(t)
	require.Len(t, vectors, 147)
	count := map[string]int{}
	for _, v := range vectors {
		count[v.Tier+" "+v.Expect]++
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				if v.Now != 0 {
					sleepUntil(v.Now)
				}
				err := v.verify()
				switch {
				case v.Optional == "only if v1a is implemented": // it is not: a v1a key is refused before any request comes
					require.ErrorIs(t, err, webhook.ErrInvalidSecret)
				case v.Expect == "ok":
					require.NoError(t, err, v.Why)
				default:
					require.Equal(t, "error", v.Expect)
					require.NotNil(t, sentinels[v.Error], v.Error)
					require.ErrorIs(t, err, sentinels[v.Error], v.Why)
				}
			})
		})
	}
	require.Equal(t, map[string]int{
		"core ok": 36, "core error": 84, "default ok": 7, "default error": 11, "advisory error": 9,
	}, count)
}

func TestVerifyFunctionAgreesWithTheVectors(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, v := range readVectors(t) {
		values := v.header()[webhook.HeaderSignature]
		if v.Scheme != "meshia" || len(values) > 1 || len(v.secrets()) > 1 {
			continue
		}
		seen++
		signature := ""
		if len(values) == 1 {
			signature = values[0]
		}
		err := webhook.Verify(v.Body, signature, v.secrets()[0])
		if v.Expect == "ok" {
			require.NoError(t, err, v.Name)
			require.Equal(t, signature, webhook.Sign(v.Body, v.secrets()[0]), v.Name)
		} else {
			require.ErrorIs(t, err, sentinels[v.Error], v.Name)
		}
	}
	require.Equal(t, 57, seen)
}

func TestSignerMakesTheSignaturesOfTheVectors(t *testing.T) {
	t.Parallel()
	meshia, standard := 0, 0
	for _, v := range readVectors(t) {
		if v.Expect != "ok" || len(v.secrets()) > 1 || v.Optional != "" {
			continue
		}
		signer, err := webhook.NewSigner(webhook.NewSecret(v.secrets()[0]))
		if err != nil {
			require.NotEmpty(t, v.SecretBase64, v.Name) // typed secrets are text
			continue
		}
		header := v.header()
		if v.Scheme == "meshia" {
			meshia++
			require.Equal(t, header.Get(webhook.HeaderSignature), signer.Signature(v.Body), v.Name)
			continue
		}
		if v.secrets()[0][:6] != "whsec_" {
			continue // the sender takes its bytes, where receivers read base64
		}
		standard++
		at, err := strconv.ParseInt(header.Get(webhook.HeaderTimestamp), 10, 64)
		require.NoError(t, err)
		require.Contains(t, header.Get(webhook.HeaderStandardSignature),
			signer.StandardSignature(header.Get(webhook.HeaderID), time.Unix(at, 0), v.Body), v.Name)
	}
	require.Equal(t, 14, meshia)
	require.Equal(t, 19, standard)
}

func TestRepeatedVectorIsADuplicate(t *testing.T) {
	t.Parallel()
	repeated := 0
	for _, v := range readVectors(t) {
		if v.Repeat == 0 {
			continue
		}
		repeated++
		require.Equal(t, "duplicate", v.ExpectRepeat)
		synctest.Test(t, func(t *testing.T) {
			sleepUntil(v.Now)
			dedupe := webhook.NewMemoryDeduper(nil)
			key := v.header().Get(webhook.HeaderID)
			for i := range v.Repeat {
				require.NoError(t, v.verify()) // the signature is good every time
				ctx, state, err := dedupe.Begin(t.Context(), key)
				require.NoError(t, err)
				if i > 0 {
					require.Equal(t, webhook.DedupeDone, state)
					continue
				}
				require.Equal(t, webhook.DedupeBegun, state)
				require.NoError(t, dedupe.Done(ctx, key))
			}
		})
	}
	require.Equal(t, 1, repeated)
}
