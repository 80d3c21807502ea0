package webhook_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

func TestNoSchemeStandsInForAnother(t *testing.T) {
	t.Parallel()
	body := sampleEvent().Body
	meshia := mustVerifier(t, nil, whsecSecret)
	standard := mustVerifier(t, &webhook.VerifierConfig{Scheme: webhook.Standard}, whsecSecret)

	header := signedHeader(t, whsecSecret, "evt_1", body)
	header.Del(webhook.HeaderStandardSignature)
	require.NoError(t, meshia.Verify(header, body))
	err := standard.Verify(header, body)
	require.ErrorIs(t, err, webhook.ErrOtherScheme)
	require.ErrorIs(t, err, webhook.ErrMissingHeader)
	require.ErrorIs(t, err, webhook.ErrNotVerified)

	header = signedHeader(t, whsecSecret, "evt_1", body)
	header.Del(webhook.HeaderSignature)
	require.NoError(t, standard.Verify(header, body))
	require.ErrorIs(t, meshia.Verify(header, body), webhook.ErrOtherScheme)

	header.Del(webhook.HeaderStandardSignature)
	require.NotErrorIs(t, meshia.Verify(header, body), webhook.ErrOtherScheme)
	require.ErrorIs(t, meshia.Verify(header, body), webhook.ErrMissingHeader)
}

func TestHeaderMadeByHand(t *testing.T) {
	t.Parallel()
	body := sampleEvent().Body
	lower := http.Header{}
	for name, values := range signedHeader(t, whsecSecret, "evt_1", body) {
		lower[strings.ToLower(name)] = values
	}
	for _, scheme := range []webhook.Scheme{webhook.Meshia, webhook.Standard} {
		v := mustVerifier(t, &webhook.VerifierConfig{Scheme: scheme}, whsecSecret)
		require.NoError(t, v.Verify(lower, body))
		require.ErrorIs(t, v.Verify(nil, body), webhook.ErrMissingHeader)
	}
	// Two ways of writing one name are two lines of one header.
	name := strings.ToLower(webhook.HeaderSignature)
	twice := http.Header{name: lower[name], strings.ToUpper(name): lower[name]}
	require.ErrorIs(t, mustVerifier(t, nil, whsecSecret).Verify(twice, body), webhook.ErrDuplicateHeader)
	require.Len(t, lower[name], 1)
}

func TestMismatchHints(t *testing.T) {
	t.Parallel()
	e := sampleEvent()
	v := mustVerifier(t, nil, typedSecret)
	wrong := signedHeader(t, "another secret", "evt_1", e.Body)

	for name, body := range map[string]string{
		"white space":     strings.Replace(string(e.Body), `":`, `": `, 1),
		"newline":         string(e.Body) + "\n",
		"byte order mark": "\ufeff" + string(e.Body),
		"order of keys":   `{"data":{},"event":"experiment.completed","session_id":"","timestamp":"2026-04-11T14:32:00Z"}`,
		"other time":      strings.Replace(string(e.Body), `Z","session`, `.000Z","session`, 1),
		"cut":             string(e.Body[:len(e.Body)-2]),
		"no data":         `{"event":"experiment.completed","timestamp":"2026-04-11T14:32:00Z","session_id":""}`,
		"bad name":        strings.Replace(string(e.Body), "experiment.completed", "Experiment", 1),
		"cut at the time": `{"event":"experiment.completed","timestamp":"2026-04-11T14:32:00Z`,
		"no beginning":    strings.TrimPrefix(string(e.Body), `{"event":"`),
		"cut early":       `{"event":"experiment.completed","timestamp":"2026`,
	} {
		require.ErrorIs(t, v.Verify(wrong, []byte(body)), webhook.ErrBodyReencoded, name)
		require.ErrorIs(t, webhook.Verify([]byte(body), wrong.Get(webhook.HeaderSignature), typedSecret), webhook.ErrBodyReencoded, name)
	}

	err := v.Verify(wrong, e.Body) // it is as it was sent: the secret is wrong
	require.ErrorIs(t, err, webhook.ErrSignatureMismatch)
	require.NotErrorIs(t, err, webhook.ErrBodyReencoded)
	require.NotContains(t, err.Error(), "space")

	spaced := mustVerifier(t, nil, typedSecret+"\n")
	err = spaced.Verify(signedHeader(t, typedSecret, "evt_1", e.Body), e.Body)
	require.ErrorIs(t, err, webhook.ErrSignatureMismatch)
	require.ErrorContains(t, err, "white space")
	spaced = mustVerifier(t, nil, typedSecret+"\n", typedSecret) // whichever of them it is
	require.ErrorContains(t, spaced.Verify(wrong, e.Body), "white space")

	require.ErrorContains(t, v.Verify(wrong, nil), "empty")

	// A Standard Webhooks request of this library's sender, and one of another's.
	standard := mustVerifier(t, &webhook.VerifierConfig{Scheme: webhook.Standard}, whsecSecret)
	ours := signedHeader(t, typedSecret, "evt_1", e.Body)
	require.ErrorIs(t, standard.Verify(ours, append(e.Body[:len(e.Body):len(e.Body)], '\n')), webhook.ErrBodyReencoded)
	ours.Del(webhook.HeaderDelivery)
	require.NotErrorIs(t, standard.Verify(ours, append(e.Body[:len(e.Body):len(e.Body)], '\n')), webhook.ErrBodyReencoded)
}

func TestEveryEventIsRecognisedAsSent(t *testing.T) {
	t.Parallel()
	v := mustVerifier(t, nil, typedSecret)
	for _, session := range []string{"", "sess_1", `quo"te`, "<&>", "\u2028", `","data":`} {
		for _, data := range []string{`null`, `{}`, `{"a": 1 }`, `[1,2]`, `"}"`} {
			e, err := webhook.NewRegistry(anything).Event("any.thing", session, []byte(data))
			require.NoError(t, err)
			err = v.Verify(signedHeader(t, "another", "evt_1", e.Body), e.Body)
			require.ErrorIs(t, err, webhook.ErrSignatureMismatch)
			require.NotErrorIs(t, err, webhook.ErrBodyReencoded, string(e.Body))
		}
	}
}

var anything = webhook.NewEventType[any]("any.thing", "", nil)

func TestHeaderBounds(t *testing.T) {
	t.Parallel()
	body := []byte("body")
	v := mustVerifier(t, &webhook.VerifierConfig{Scheme: webhook.Standard}, whsecSecret)
	header := signedHeader(t, whsecSecret, "evt_1", body)
	good := header.Get(webhook.HeaderStandardSignature)
	bad := referenceStandard([]byte("another"), "evt_1", time.Now().Unix(), body)

	header.Set(webhook.HeaderStandardSignature, strings.Repeat(bad+" ", 15)+good)
	require.NoError(t, v.Verify(header, body))
	header.Set(webhook.HeaderStandardSignature, strings.Repeat("x ", 16)+good)
	require.ErrorIs(t, v.Verify(header, body), webhook.ErrMalformedHeader)
	require.ErrorContains(t, v.Verify(header, body), "more than 16 signatures")
	header.Set(webhook.HeaderStandardSignature, good+strings.Repeat(" ", 4096-len(good)))
	require.NoError(t, v.Verify(header, body))
	header.Set(webhook.HeaderStandardSignature, good+strings.Repeat(" ", 4097-len(good)))
	require.ErrorIs(t, v.Verify(header, body), webhook.ErrMalformedHeader)

	for n, want := range map[int]error{128: nil, 129: webhook.ErrMalformedHeader} {
		require.ErrorIs(t, v.Verify(signedHeader(t, whsecSecret, strings.Repeat("x", n), body), body), want)
	}
	require.NoError(t, v.Verify(signedHeader(t, whsecSecret, "!~", body), body))
	for _, id := range []string{"a.b", "a b", "a\tb", "ä", "\x7f"} {
		require.ErrorIs(t, v.Verify(signedHeader(t, whsecSecret, id, body), body), webhook.ErrMalformedHeader, id)
	}
}

// Even where the text of a malformed timestamp is what was signed, it is refused: other libraries sign the number that
// they read.
func TestTimestampText(t *testing.T) {
	t.Parallel()
	body := []byte("body")
	v := mustVerifier(t, &webhook.VerifierConfig{Scheme: webhook.Standard, RawSecret: true}, typedSecret)
	now := unixText(time.Now())
	for text, want := range map[string]error{
		now:                    nil,
		"0" + now:              webhook.ErrMalformedHeader,
		"+" + now:              webhook.ErrMalformedHeader,
		now + " ":              webhook.ErrMalformedHeader,
		"0":                    webhook.ErrMalformedHeader,
		"1" + now + "00":       webhook.ErrMalformedHeader,
		"1":                    webhook.ErrTimestampTooOld,
		"999999999999":         webhook.ErrTimestampTooNew,
		"1000000000000":        webhook.ErrMalformedHeader,
		"-" + now:              webhook.ErrMalformedHeader,
		"18446744073709551617": webhook.ErrMalformedHeader,
	} {
		header := http.Header{}
		header.Set(webhook.HeaderID, "evt_1")
		header.Set(webhook.HeaderTimestamp, text)
		mac := referenceMAC([]byte(typedSecret), []byte("evt_1."+text+"."+string(body)))
		header.Set(webhook.HeaderStandardSignature, "v1,"+base64.StdEncoding.EncodeToString(mac))
		require.ErrorIs(t, v.Verify(header, body), want, text)
	}
}
