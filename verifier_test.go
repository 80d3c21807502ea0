package webhook_test

import (
	"bytes"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

const whsecSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func mustVerifier(t testing.TB, cfg *webhook.VerifierConfig, secrets ...string) *webhook.Verifier {
	t.Helper()
	v, err := webhook.NewVerifier(secrets, cfg)
	require.NoError(t, err)
	return v
}

// signedHeader is what the sender writes.
func signedHeader(t testing.TB, secret, id string, body []byte) http.Header {
	t.Helper()
	signer, err := webhook.NewSigner(webhook.NewSecret(secret))
	require.NoError(t, err)
	now := time.Now()
	header := http.Header{}
	header.Set("Content-Type", "application/json")
	header.Set(webhook.HeaderSignature, signer.Signature(body))
	header.Set(webhook.HeaderID, id)
	header.Set(webhook.HeaderTimestamp, unixText(now))
	header.Set(webhook.HeaderStandardSignature, signer.StandardSignature(id, now, body))
	header.Set(webhook.HeaderDelivery, "dlv_1")
	header.Set(webhook.HeaderAttempt, "1")
	return header
}

func sampleEvent() webhook.Event {
	return webhook.ExperimentCompleted.New("sess_abc123", webhook.ExperimentCompletedData{
		ExperimentID: "exp_def456", Metrics: webhook.Metrics{"loss": 0.0342}, DurationSeconds: 1847,
	})
}

func TestNewVerifierRefuses(t *testing.T) {
	t.Parallel()
	ok := []string{typedSecret}
	for name, c := range map[string]struct {
		secrets []string
		cfg     *webhook.VerifierConfig
		secret  bool // it is the secret's fault
	}{
		"no secret":              {nil, nil, true},
		"empty secret":           {[]string{""}, nil, true},
		"empty among others":     {[]string{typedSecret, ""}, nil, true},
		"nine secrets":           {slices.Repeat(ok, 9), nil, true},
		"long secret":            {[]string{strings.Repeat("x", 257)}, nil, true},
		"malformed whsec_":       {[]string{"whsec_short"}, nil, true},
		"newline at the end":     {[]string{whsecSecret + "\n"}, nil, true},
		"newline inside":         {[]string{"whsec_MfKQ9r8GKYqrTwjU\nPD8ILPZIo2LaLaSw"}, nil, true},
		"Standard, newline":      {[]string{"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\r\n"}, &webhook.VerifierConfig{Scheme: webhook.Standard}, true},
		"public key":             {[]string{"whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, nil, true},
		"private key":            {[]string{"whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, nil, true},
		"Standard, typed":        {ok, &webhook.VerifierConfig{Scheme: webhook.Standard}, true},
		"Standard, short base64": {[]string{"c2hvcnQ="}, &webhook.VerifierConfig{Scheme: webhook.Standard}, true},
		"Standard, raw, whpk_":   {[]string{"whpk_x"}, &webhook.VerifierConfig{Scheme: webhook.Standard, RawSecret: true}, true},
		"unknown scheme":         {ok, &webhook.VerifierConfig{Scheme: "hmac"}, false},
		"BodyHMAC, no name":      {ok, &webhook.VerifierConfig{Scheme: webhook.BodyHMAC("")}, false},
		"BodyHMAC, bad name":     {ok, &webhook.VerifierConfig{Scheme: webhook.BodyHMAC("X Signature")}, false},
		"BodyHMAC, not ASCII":    {ok, &webhook.VerifierConfig{Scheme: webhook.BodyHMAC("X-Sïgnature")}, false},
		"tolerance, negative":    {[]string{whsecSecret}, &webhook.VerifierConfig{Scheme: webhook.Standard, Tolerance: -time.Second}, false},
		"tolerance, below 1 s":   {[]string{whsecSecret}, &webhook.VerifierConfig{Scheme: webhook.Standard, Tolerance: time.Second - 1}, false},
		"tolerance, no use":      {ok, &webhook.VerifierConfig{Tolerance: time.Minute}, false},
		"raw, no use":            {ok, &webhook.VerifierConfig{RawSecret: true}, false},
		"limit, negative":        {ok, &webhook.VerifierConfig{MaxBodyBytes: -1}, false},
		"age, negative":          {ok, &webhook.VerifierConfig{MaxAge: -time.Second}, false},
		"age, below 1 s":         {ok, &webhook.VerifierConfig{MaxAge: time.Second - 1}, false},
	} {
		v, err := webhook.NewVerifier(c.secrets, c.cfg)
		require.Nil(t, v, name)
		require.ErrorIs(t, err, webhook.ErrInvalidConfig, name)
		if c.secret {
			require.ErrorIs(t, err, webhook.ErrInvalidSecret, name)
		} else {
			require.NotErrorIs(t, err, webhook.ErrInvalidSecret, name)
		}
		for _, secret := range c.secrets {
			if len(secret) > 6 {
				require.NotContains(t, err.Error(), strings.TrimPrefix(secret, "whsec_"), name)
			}
		}
	}
}

func TestNewVerifierJoinsEveryComplaint(t *testing.T) {
	t.Parallel()
	_, err := webhook.NewVerifier([]string{"", typedSecret, "whpk_x"}, &webhook.VerifierConfig{
		Scheme: "nonsense", Tolerance: -1, MaxBodyBytes: -1, MaxAge: -1, RawSecret: true,
	})
	require.ErrorIs(t, err, webhook.ErrInvalidConfig)
	for _, part := range []string{"nonsense", "Tolerance", "MaxBodyBytes", "MaxAge", "RawSecret", "secret 1", "secret 3"} {
		require.ErrorContains(t, err, part)
	}
	require.NotContains(t, err.Error(), "secret 2")

	_, err = webhook.NewVerifier([]string{typedSecret}, &webhook.VerifierConfig{Scheme: webhook.BodyHMAC("X Signature")})
	require.ErrorContains(t, err, `BodyHMAC: "X Signature" is not the name of a header`)
}

func TestNewVerifierTakesTheLeastThatMakesSense(t *testing.T) {
	t.Parallel()
	_, err := webhook.NewVerifier([]string{whsecSecret}, &webhook.VerifierConfig{Scheme: webhook.Standard, Tolerance: time.Second, MaxAge: time.Second, MaxBodyBytes: 1})
	require.NoError(t, err)
}

func TestVerifyFunctionRefusesAnEmptySecret(t *testing.T) {
	t.Parallel()
	body := []byte("body")
	err := webhook.Verify(body, referenceSignature(nil, body), "")
	require.ErrorIs(t, err, webhook.ErrInvalidSecret)
	require.ErrorIs(t, webhook.Verify(body, webhook.Sign(body, ""), typedSecret), webhook.ErrMissingHeader)
}

func TestWhatIsSignedVerifies(t *testing.T) {
	t.Parallel()
	generated := webhook.GenerateSecret().Reveal()
	schemes := map[string]func(secret string) *webhook.Verifier{
		"meshia": func(secret string) *webhook.Verifier { return mustVerifier(t, nil, secret) },
		"standard": func(secret string) *webhook.Verifier {
			return mustVerifier(t, &webhook.VerifierConfig{Scheme: webhook.Standard, RawSecret: !strings.HasPrefix(secret, "whsec_")}, secret)
		},
	}
	r := rand.New(rand.NewPCG(5, 6))
	for name, verifier := range schemes {
		for _, secret := range []string{typedSecret, whsecSecret, generated} {
			v := verifier(secret)
			for n := range 300 {
				body := randomBytes(r, n)
				header := signedHeader(t, secret, "evt_1", body)
				require.NoError(t, v.Verify(header, body), name)
				require.NoError(t, webhook.Verify(body, header.Get(webhook.HeaderSignature), secret))
			}
		}
	}
}

func TestRawSecretsAndGeneratedOnesMeetInARotation(t *testing.T) {
	t.Parallel()
	v := mustVerifier(t, &webhook.VerifierConfig{Scheme: webhook.Standard, RawSecret: true}, typedSecret, whsecSecret)
	body := []byte("body")
	for _, secret := range []string{typedSecret, whsecSecret} {
		require.NoError(t, v.Verify(signedHeader(t, secret, "evt_1", body), body))
	}
}

func TestEverySecretOfEightCounts(t *testing.T) {
	t.Parallel()
	for _, scheme := range []webhook.Scheme{webhook.Meshia, webhook.Standard} {
		secrets := make([]string, 8)
		for i := range secrets {
			secrets[i] = webhook.GenerateSecret().Reveal()
		}
		v := mustVerifier(t, &webhook.VerifierConfig{Scheme: scheme}, secrets...)
		body := sampleEvent().Body
		for _, secret := range secrets {
			require.NoError(t, v.Verify(signedHeader(t, secret, "evt_1", body), body))
		}
		require.ErrorIs(t, v.Verify(signedHeader(t, whsecSecret, "evt_1", body), body), webhook.ErrSignatureMismatch)
	}
}

func TestVerifierKeepsItsOwnSecrets(t *testing.T) {
	t.Parallel()
	secrets := []string{typedSecret}
	v := mustVerifier(t, nil, secrets...)
	secrets[0] = "another"
	body := []byte("body")
	require.NoError(t, v.Verify(signedHeader(t, typedSecret, "evt_1", body), body))
}

// A message of which any single byte is another one must be refused.
func TestEverySingleByteCounts(t *testing.T) {
	t.Parallel()
	body := sampleEvent().Body
	for _, c := range []struct {
		scheme  webhook.Scheme
		headers []string // those that the scheme reads
	}{
		{webhook.Meshia, []string{webhook.HeaderSignature}},
		{webhook.Standard, []string{webhook.HeaderID, webhook.HeaderTimestamp, webhook.HeaderStandardSignature}},
	} {
		v := mustVerifier(t, &webhook.VerifierConfig{Scheme: c.scheme}, whsecSecret)
		header := signedHeader(t, whsecSecret, "evt_1", body)
		require.NoError(t, v.Verify(header, body))

		for i := range body {
			for bit := range 8 {
				changed := bytes.Clone(body)
				changed[i] ^= 1 << bit
				require.ErrorIs(t, v.Verify(header, changed), webhook.ErrSignatureMismatch)
			}
			require.ErrorIs(t, v.Verify(header, body[:i]), webhook.ErrSignatureMismatch)
		}
		for _, name := range c.headers {
			value := header.Get(name)
			for i := range len(value) {
				for other := range 256 {
					if byte(other) == value[i] {
						continue
					}
					changed := header.Clone()
					changed.Set(name, value[:i]+string([]byte{byte(other)})+value[i+1:])
					require.ErrorIs(t, v.Verify(changed, body), webhook.ErrNotVerified)
				}
				changed := header.Clone()
				changed.Set(name, value[:i]+value[i+1:])
				require.ErrorIs(t, v.Verify(changed, body), webhook.ErrNotVerified)
			}
		}
	}
}

func TestBodyHMACReadsItsOwnHeaderOnly(t *testing.T) {
	t.Parallel()
	v := mustVerifier(t, &webhook.VerifierConfig{Scheme: webhook.BodyHMAC("x-hub-signature-256")}, "It's a Secret to Everybody")
	body := []byte("Hello, World!")
	header := http.Header{}
	header.Set("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")
	require.NoError(t, v.Verify(header, body))

	err := v.Verify(header, []byte("Hello, World?"))
	require.ErrorIs(t, err, webhook.ErrSignatureMismatch)
	require.NotErrorIs(t, err, webhook.ErrBodyReencoded) // other senders have other forms

	meshia := signedHeader(t, "It's a Secret to Everybody", "evt_1", body)
	require.ErrorIs(t, v.Verify(meshia, body), webhook.ErrOtherScheme)
}

func TestTolerance(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		body := sampleEvent().Body
		header := signedHeader(t, whsecSecret, "evt_1", body)
		v := mustVerifier(t, &webhook.VerifierConfig{Scheme: webhook.Standard, Tolerance: 90*time.Second + 999*time.Millisecond}, whsecSecret)
		time.Sleep(90*time.Second + 999*time.Millisecond)
		require.NoError(t, v.Verify(header, body))
		time.Sleep(time.Millisecond)
		err := v.Verify(header, body)
		require.ErrorIs(t, err, webhook.ErrTimestampTooOld)
		require.ErrorContains(t, err, "91 s behind this clock, 90 s are tolerated")

		signer, err := webhook.NewSigner(webhook.NewSecret(whsecSecret))
		require.NoError(t, err)
		ahead := header.Clone()
		at := time.Now().Add(90 * time.Second)
		ahead.Set(webhook.HeaderTimestamp, unixText(at))
		ahead.Set(webhook.HeaderStandardSignature, signer.StandardSignature("evt_1", at, body))
		require.NoError(t, v.Verify(ahead, body))
		at = at.Add(time.Second)
		ahead.Set(webhook.HeaderTimestamp, unixText(at))
		err = v.Verify(ahead, body)
		require.ErrorIs(t, err, webhook.ErrTimestampTooNew)
		require.ErrorContains(t, err, "91 s ahead of this clock, 90 s are tolerated")
	})
}

func TestMaxAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := sampleEvent()
		header := signedHeader(t, typedSecret, "evt_1", e.Body)
		limited := mustVerifier(t, &webhook.VerifierConfig{MaxAge: time.Hour}, typedSecret)
		unlimited := mustVerifier(t, nil, typedSecret)

		time.Sleep(time.Hour)
		require.NoError(t, limited.Verify(header, e.Body))
		_, err := limited.VerifyRequest(request(header, e.Body))
		require.NoError(t, err)

		time.Sleep(time.Second)
		err = limited.Verify(header, e.Body)
		require.ErrorIs(t, err, webhook.ErrTimestampTooOld)
		require.ErrorContains(t, err, "3601 s old, 3600 s are accepted")
		_, err = limited.VerifyRequest(request(header, e.Body))
		require.ErrorIs(t, err, webhook.ErrTimestampTooOld)
		require.NoError(t, unlimited.Verify(header, e.Body))

		noEvent := []byte(`{"no":"event"}`) // its age is not known
		require.ErrorIs(t, limited.Verify(signedHeader(t, typedSecret, "evt_1", noEvent), noEvent), webhook.ErrNotAnEvent)
	})
}

func TestVerifierIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	body := sampleEvent().Body
	header := signedHeader(t, whsecSecret, "evt_1", body)
	var wg sync.WaitGroup
	for _, scheme := range []webhook.Scheme{webhook.Meshia, webhook.Standard} {
		v := mustVerifier(t, &webhook.VerifierConfig{Scheme: scheme}, whsecSecret, typedOrGenerated(scheme))
		for range 4 {
			wg.Go(func() {
				for range 100 {
					if err := v.Verify(header, body); err != nil {
						t.Error(err)
					}
					if err := v.Verify(header, body[1:]); err == nil {
						t.Error("another body verified")
					}
				}
			})
		}
	}
	wg.Wait()
}

func typedOrGenerated(scheme webhook.Scheme) string {
	if scheme == webhook.Meshia {
		return typedSecret
	}
	return webhook.GenerateSecret().Reveal()
}

// It counts the allocations of the whole process, so nothing may run beside it.
func TestVerifyDoesNotAllocate(t *testing.T) {
	if underRaceDetector {
		t.Skip("sync.Pool drops things at random under the race detector")
	}
	body := sampleEvent().Body
	header := signedHeader(t, whsecSecret, "evt_1", body)
	header.Set("X-Hub-Signature-256", header.Get(webhook.HeaderSignature))
	for _, scheme := range []webhook.Scheme{webhook.Meshia, webhook.Standard, webhook.BodyHMAC("X-Hub-Signature-256")} {
		v := mustVerifier(t, &webhook.VerifierConfig{Scheme: scheme}, whsecSecret)
		require.Zero(t, testing.AllocsPerRun(1000, func() {
			if err := v.Verify(header, body); err != nil {
				t.Error(err)
			}
		}), string(scheme))
	}
	signature := header.Get(webhook.HeaderSignature)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if err := webhook.Verify(body, signature, whsecSecret); err != nil {
			t.Error(err)
		}
	}))
}
