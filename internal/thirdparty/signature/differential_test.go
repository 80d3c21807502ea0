package signature

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// message is a request under the Standard Webhooks scheme, and the secrets of who gets it.
type message struct {
	secrets []string
	header  http.Header
	body    []byte
}

func (m *message) ours() error {
	v, err := webhook.NewVerifier(m.secrets, &webhook.VerifierConfig{Scheme: webhook.Standard})
	if err != nil {
		return err
	}
	return v.Verify(m.header, m.body)
}

func (m *message) theirs() error {
	var err error
	for _, secret := range m.secrets {
		wh, failed := standardwebhooks.NewWebhook(secret)
		if failed != nil {
			return failed
		}
		if err = wh.Verify(m.body, m.header); err == nil {
			return nil
		}
	}
	return err
}

// The classes in which the two may differ.
const (
	unpaddedSecret = "ours also takes a secret without padding"
	timestampText  = "ours takes the decimal digits of a timestamp only, as they were signed"
	badID          = "ours takes no id with a dot, which moves the boundaries of the signed text, nor with spaces or control characters, nor one over 128 bytes"
	doubledHeader  = "ours takes no header that came twice, theirs the first of them"
	extraField     = "ours takes v1,<base64> and nothing after it"
	tooMany        = "ours takes at most 16 signatures in 4 KiB"
)

var (
	canonicalTimestamp = regexp.MustCompile(`^[1-9][0-9]{0,11}$`)
	soundID            = regexp.MustCompile(`^[!-\-/-~]{1,128}$`)
)

// deviation names the class that explains why the two do not agree on a message, or nothing.
func (m *message) deviation(ours error) string {
	signatures := m.header.Get(webhook.HeaderStandardSignature)
	if ours == nil {
		if slices.ContainsFunc(m.secrets, func(s string) bool { return len(strings.TrimPrefix(s, "whsec_"))%4 != 0 }) {
			return unpaddedSecret
		}
		return ""
	}
	switch {
	case slices.ContainsFunc([]string{webhook.HeaderID, webhook.HeaderTimestamp, webhook.HeaderStandardSignature}, func(name string) bool { return len(m.header.Values(name)) > 1 }):
		return doubledHeader
	case !soundID.MatchString(m.header.Get(webhook.HeaderID)):
		return badID
	case !canonicalTimestamp.MatchString(m.header.Get(webhook.HeaderTimestamp)):
		return timestampText
	case len(strings.Fields(signatures)) > 16 || len(signatures) > 4<<10:
		return tooMany
	case slices.ContainsFunc(strings.Fields(signatures), func(token string) bool { return strings.Count(token, ",") > 1 }):
		return extraField
	}
	return ""
}

type vector struct {
	Name    string         `json:"name"`
	Scheme  string         `json:"scheme"`
	Secret  string         `json:"secret"`
	Secrets []string       `json:"secrets"`
	Headers map[string]any `json:"headers"`
	Body    []byte         `json:"body_base64"`
	Now     int64          `json:"now"`
}

func (v *vector) message() *message {
	m := &message{secrets: v.Secrets, header: http.Header{}, body: v.Body}
	if m.secrets == nil {
		m.secrets = []string{v.Secret}
	}
	for name, value := range v.Headers {
		switch value := value.(type) {
		case string:
			m.header.Add(name, value)
		case []any:
			for _, one := range value {
				m.header.Add(name, one.(string))
			}
		}
	}
	return m
}

func TestVectorsAgreeWithTheGoLibrary(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../../testdata/signature.json")
	require.NoError(t, err)
	var vectors []vector
	require.NoError(t, json.Unmarshal(data, &vectors))

	compared, deviations := 0, map[string]string{}
	for _, v := range vectors {
		if v.Scheme != "standard" {
			continue
		}
		compared++
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Until(time.Unix(v.Now, 0)))
			m := v.message()
			ours, theirs := m.ours(), m.theirs()
			if (ours == nil) != (theirs == nil) {
				class := m.deviation(ours)
				require.NotEmpty(t, class, "%s: ours: %v; theirs: %v", v.Name, ours, theirs)
				deviations[v.Name] = class
			}
		})
	}
	require.Equal(t, 85, compared)
	require.Equal(t, map[string]string{
		"standard/dot-shift-attack":             badID,
		"standard/dup-id":                       doubledHeader,
		"standard/dup-timestamp":                doubledHeader,
		"standard/id-300-chars":                 badID,
		"standard/id-newline":                   badID,
		"standard/list-of-64-bad-then-good":     tooMany,
		"standard/official-unpadded-secret-two": unpaddedSecret,
		"standard/timestamp-plus":               timestampText,
	}, deviations)
}

func whsec(r *rand.Rand) string {
	return "whsec_" + base64.StdEncoding.EncodeToString(random(r, 24+3*r.IntN(14)))
}

// random is deterministic: a failure repeats.
func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestEachLibraryAcceptsTheOthersSignatures(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 2000 {
		secret, id, body, at := whsec(r), fmt.Sprintf("evt_%d", i), random(r, r.IntN(500)), time.Now()
		if i%4 == 0 {
			secret = webhook.GenerateSecret().Reveal()
		}
		signer, err := webhook.NewSigner(webhook.NewSecret(secret))
		require.NoError(t, err)
		wh, err := standardwebhooks.NewWebhook(secret)
		require.NoError(t, err)
		want, err := wh.Sign(id, at, body)
		require.NoError(t, err)
		require.Equal(t, want, signer.StandardSignature(id, at, body))

		m := message{[]string{secret}, headerOf(id, at, want), body}
		require.NoError(t, m.ours())
		require.NoError(t, m.theirs())
	}
}

func headerOf(id string, at time.Time, signatures string) http.Header {
	header := http.Header{}
	header.Set(webhook.HeaderID, id)
	header.Set(webhook.HeaderTimestamp, fmt.Sprint(at.Unix()))
	header.Set(webhook.HeaderStandardSignature, signatures)
	return header
}

// A typed secret, which is not base64: its bytes are the key, and the library's constructor for raw keys takes them.
func TestTypedSecretsVerifyWithTheRawConstructor(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(2, 2))
	for _, secret := range []string{"typed", "pässwörd-☃", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", strings.Repeat("k", 256)} {
		signer, err := webhook.NewSigner(webhook.NewSecret(secret))
		require.NoError(t, err)
		wh, err := standardwebhooks.NewWebhookRaw([]byte(secret))
		require.NoError(t, err)
		v, err := webhook.NewVerifier([]string{secret}, &webhook.VerifierConfig{Scheme: webhook.Standard, RawSecret: true})
		require.NoError(t, err)
		for range 50 {
			at, body := time.Now(), random(r, r.IntN(300))
			header := headerOf("evt_1", at, signer.StandardSignature("evt_1", at, body))
			require.NoError(t, wh.Verify(body, header))
			require.NoError(t, v.Verify(header, body))
		}
	}
}

// mutate changes a good message in one of the ways in which requests go wrong, or are made to.
func (m *message) mutate(r *rand.Rand) string {
	secret := m.secrets[0]
	id, good := m.header.Get(webhook.HeaderID), m.header.Get(webhook.HeaderStandardSignature)
	at := time.Now()
	sign := func(id string, at time.Time) string {
		wh, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return good
		}
		signature, _ := wh.Sign(id, at, m.body)
		return signature
	}
	anyByte := func(text string) string {
		i := r.IntN(len(text))
		return text[:i] + string(random(r, 1)) + text[i+1:]
	}
	set := m.header.Set
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	ways := []string{"none", "body", "id", "timestamp", "signature", "signed id", "old", "timestamp text", "list", "long list", "twice", "missing", "extra field", "base64", "version", "secret", "unpadded"}
	way := pick(ways...)
	switch way {
	case "body":
		m.body = append(slices.Clone(m.body), random(r, 1)...)
	case "id":
		set(webhook.HeaderID, anyByte(id))
	case "timestamp":
		set(webhook.HeaderTimestamp, anyByte(m.header.Get(webhook.HeaderTimestamp)))
	case "signature":
		set(webhook.HeaderStandardSignature, anyByte(good))
	case "signed id":
		id = pick("a.b", "a b", "", "\x01", "ä", strings.Repeat("x", 128), strings.Repeat("x", 129), "!~")
		m.header = headerOf(id, at, sign(id, at))
	case "old":
		at = at.Add(time.Duration(r.IntN(800)-400) * time.Second)
		m.header = headerOf(id, at, sign(id, at))
	case "timestamp text":
		text := m.header.Get(webhook.HeaderTimestamp)
		set(webhook.HeaderTimestamp, pick("+"+text, "0"+text, " "+text, text+" ", text+".0", text+"x", text+"000", "-"+text, "_"+text))
	case "list":
		set(webhook.HeaderStandardSignature, pick("v1, "+good, "x "+good, good+" v2,x", "  "+good+" ", "v1a,x "+good, good+","+good, ", "+good, "v1 "+good, good+"\t"+good))
	case "long list":
		set(webhook.HeaderStandardSignature, strings.Repeat(pick("x ", "v1,x ", sign("another", at)+" "), r.IntN(120))+good)
	case "twice":
		name := pick(webhook.HeaderID, webhook.HeaderTimestamp, webhook.HeaderStandardSignature)
		m.header.Add(name, m.header.Get(name))
	case "missing":
		m.header.Del(pick(webhook.HeaderID, webhook.HeaderTimestamp, webhook.HeaderStandardSignature))
	case "extra field":
		set(webhook.HeaderStandardSignature, good+pick(",", ",x", ",v1"))
	case "base64":
		set(webhook.HeaderStandardSignature, pick(good[:len(good)-1], good+"=", good[:20]+"\n"+good[20:], strings.ToLower(good), good[:len(good)-2]+"B="))
	case "version":
		set(webhook.HeaderStandardSignature, pick("v2", "V1", "v1a", "v01", "")+strings.TrimPrefix(good, "v1"))
	case "secret":
		m.secrets = []string{whsec(r)}
	case "unpadded":
		key := base64.StdEncoding.EncodeToString(random(r, 25+3*r.IntN(13)))
		wh, _ := standardwebhooks.NewWebhook(key)
		signature, _ := wh.Sign(id, at, m.body)
		set(webhook.HeaderStandardSignature, signature)
		m.secrets = []string{pick("", "whsec_") + strings.TrimRight(key, "=")}
	}
	return way
}

func TestMutatedMessagesAgreeWithTheGoLibrary(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // a clock that stands still at a whole second
		r := rand.New(rand.NewPCG(3, 3))
		agreed, seen := map[bool]int{}, map[string]int{}
		for range 6_000 {
			secret, at := whsec(r), time.Now()
			body := random(r, r.IntN(100))
			signer, err := webhook.NewSigner(webhook.NewSecret(secret))
			require.NoError(t, err)
			m := &message{[]string{secret}, headerOf("evt_1", at, signer.StandardSignature("evt_1", at, body)), body}
			way := m.mutate(r)
			ours, theirs := m.ours(), m.theirs()
			if (ours == nil) == (theirs == nil) {
				agreed[ours == nil]++
				continue
			}
			class := m.deviation(ours)
			require.NotEmpty(t, class, "%s: ours: %v; theirs: %v; header %q", way, ours, theirs, m.header)
			seen[class]++
		}
		require.Greater(t, agreed[true], 300)
		require.Greater(t, agreed[false], 300)
		for _, class := range []string{unpaddedSecret, timestampText, badID, doubledHeader, extraField, tooMany} {
			require.Positive(t, seen[class], class)
		}
	})
}
