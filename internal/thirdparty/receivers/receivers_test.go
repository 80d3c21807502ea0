package receivers

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	typed     = "correct horse battery staple" // a secret that a person typed
	generated = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	former    = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	foreign   = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)

// Spaces, an escape and a number that decoding and encoding again would write differently.
var body = []byte(`{"event":"experiment.completed","timestamp":"2026-04-11T14:32:00Z","session_id":"sess_abc123",` +
	`"data":{"experiment_id":"exp_\u00e9\/", "metrics":{"loss":3.420e-2},"duration_seconds":1847}}`)

func sum(key, text []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(text)
	return mac.Sum(nil)
}

// bodySignature is X-Meshia-Signature, computed here and not by the library: receivers are held to the wire, not to
// our code.
func bodySignature(secret string, body []byte) string {
	return "sha256=" + hex.EncodeToString(sum([]byte(secret), body))
}

// standardSignature is webhook-signature.
func standardSignature(t *testing.T, secret, id, timestamp string, body []byte) string {
	t.Helper()
	key := []byte(secret)
	if encoded, ok := strings.CutPrefix(secret, "whsec_"); ok {
		var err error
		key, err = base64.StdEncoding.DecodeString(encoded)
		require.NoError(t, err)
	}
	return "v1," + base64.StdEncoding.EncodeToString(sum(key, []byte(id+"."+timestamp+"."+string(body))))
}

func seconds(ago time.Duration) string {
	return strconv.FormatInt(time.Now().Add(-ago).Unix(), 10)
}

// delivery is a request as it is sent with a secret, ready to be tampered with.
func delivery(t *testing.T, secret string, body []byte, sent time.Duration) http.Header {
	t.Helper()
	timestamp := seconds(sent)
	return http.Header{
		"Content-Type":       {"application/json"},
		"User-Agent":         {"Meshia-Webhook/test"},
		"X-Meshia-Signature": {bodySignature(secret, body)},
		"X-Meshia-Delivery":  {"dlv_1"},
		"X-Meshia-Attempt":   {"1"},
		"Webhook-Id":         {"evt_1"},
		"Webhook-Timestamp":  {timestamp},
		"Webhook-Signature":  {standardSignature(t, secret, "evt_1", timestamp, body)},
	}
}

func post(t *testing.T, addr string, header http.Header, body []byte) (int, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/hooks", bytes.NewReader(body))
	require.NoError(t, err)
	req.Header = header
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	return res.StatusCode, nil
}

type request struct {
	name   string
	header http.Header
	body   []byte
	want   int
}

// with returns the delivery's headers with one changed: to these values, or gone.
func with(header http.Header, name string, values ...string) http.Header {
	header = maps.Clone(header)
	delete(header, name)
	if values != nil {
		header[name] = values
	}
	return header
}

// common is what is asked of a receiver whatever the header that it reads.
func common(t *testing.T, secret, header string) []request {
	t.Helper()
	good := delivery(t, secret, body, 0)
	reencoded := bytes.ReplaceAll(body, []byte(`", "`), []byte(`","`))
	require.NotEqual(t, body, reencoded)
	return []request{
		{"good", good, body, 204},
		{"good, with the secret before a rotation", delivery(t, former, body, 0), body, 204},
		{"another secret", delivery(t, foreign, body, 0), body, 401},
		{"an empty secret", delivery(t, "", body, 0), body, 401},
		{"another body", good, bytes.Replace(body, []byte("1847"), []byte("1848"), 1), 401},
		{"a longer body", good, append(bytes.Clone(body), '\n'), 401},
		{"no body", good, nil, 401},
		{"a body that was encoded anew", good, reencoded, 401},
		{"no signature", with(good, header), body, 401},
		{"an empty signature", with(good, header, ""), body, 401},
		{"a signature without its version", with(good, header, strings.NewReplacer("sha256=", "", "v1,", "").Replace(good.Get(header))), body, 401},
		{"half of a signature", with(good, header, good.Get(header)[:len(good.Get(header))/2]), body, 401},
		{"a signature with more after it", with(good, header, good.Get(header)+"0"), body, 401},
		{"a signature that is not ASCII", with(good, header, good.Get(header)+"\xff\xe9"), body, 401},
		{"a signature twice", with(good, header, good.Get(header), good.Get(header)), body, 401},
		{"a signature and another", with(good, header, good.Get(header), "x"), body, 401},
		{"another and a signature", with(good, header, "x", good.Get(header)), body, 401},
		{"good, but no JSON", delivery(t, secret, []byte("{"), 0), []byte("{"), 400},
	}
}

func meshiaRequests(t *testing.T, secret string) []request {
	t.Helper()
	good := delivery(t, secret, body, 0)
	return append(common(t, secret, "X-Meshia-Signature"), []request{
		{"other headers decide nothing", with(good, "Webhook-Signature"), body, 204},
		{"only the Standard Webhooks headers", with(good, "X-Meshia-Signature"), body, 401},
	}...)
}

func standardRequests(t *testing.T, secret string) []request {
	t.Helper()
	good := delivery(t, secret, body, 0)
	signature := good.Get("Webhook-Signature")
	timestamp := good.Get("Webhook-Timestamp")
	return append(common(t, secret, "Webhook-Signature"), []request{
		{"other headers decide nothing", with(good, "X-Meshia-Signature"), body, 204},
		{"only X-Meshia-Signature", with(good, "Webhook-Signature"), body, 401},
		{"several signatures, a good one last", with(good, "Webhook-Signature", "v1,AAAA v1a,BBBB "+signature), body, 204},
		{"several signatures, a good one first", with(good, "Webhook-Signature", signature+" v1,AAAA"), body, 204},
		{"several signatures, none good", with(good, "Webhook-Signature", "v1,AAAA v1,BBBB"), body, 401},
		{"another version of a good signature", with(good, "Webhook-Signature", strings.Replace(signature, "v1,", "v2,", 1)), body, 401},
		{"two minutes old", delivery(t, secret, body, 2*time.Minute), body, 204},
		{"two minutes ahead", delivery(t, secret, body, -2*time.Minute), body, 204},
		{"ten minutes old", delivery(t, secret, body, 10*time.Minute), body, 401},
		{"ten minutes ahead", delivery(t, secret, body, -10*time.Minute), body, 401},
		{"another time", with(good, "Webhook-Timestamp", seconds(time.Minute)), body, 401},
		{"no time", with(good, "Webhook-Timestamp"), body, 401},
		{"a time twice", with(good, "Webhook-Timestamp", timestamp, timestamp), body, 401},
		{"a time that is no number", signedAt(t, secret, "now"), body, 401},
		{"a time with a fraction", signedAt(t, secret, timestamp+".5"), body, 401},
		{"a time with an exponent", signedAt(t, secret, timestamp+"e0"), body, 401},
		{"another id", with(good, "Webhook-Id", "evt_2"), body, 401},
		{"no id", with(good, "Webhook-Id"), body, 401},
		{"an id twice", with(good, "Webhook-Id", "evt_1", "evt_1"), body, 401},
	}...)
}

// signedAt is signed with a timestamp of any form.
func signedAt(t *testing.T, secret, timestamp string) http.Header {
	t.Helper()
	h := delivery(t, secret, body, 0)
	h.Set("Webhook-Timestamp", timestamp)
	h.Set("Webhook-Signature", standardSignature(t, secret, "evt_1", timestamp, body))
	return h
}

func TestReceivers(t *testing.T) {
	t.Parallel()
	for _, p := range programs {
		for _, setup := range []struct {
			name, scheme, secret string
			requests             func(*testing.T, string) []request
		}{
			{"X-Meshia-Signature", "meshia", typed, meshiaRequests},
			{"Standard Webhooks", "standard", generated, standardRequests},
			{"Standard Webhooks with a typed secret", "standard", typed, standardRequests},
		} {
			t.Run(p.name+"/"+setup.name, func(t *testing.T) {
				t.Parallel()
				find(t, p.required, p.probe...)
				addr := p.start(t, "WEBHOOK_SCHEME="+setup.scheme, "WEBHOOK_SECRET="+setup.secret, "WEBHOOK_PREVIOUS_SECRET="+former)
				for _, r := range setup.requests(t, setup.secret) { // made now: some must not be too old
					t.Run(r.name, func(t *testing.T) {
						got, err := post(t, addr, r.header, r.body)
						require.NoError(t, err)
						require.Equal(t, r.want, got)
					})
				}
				t.Run("a body over the limit", func(t *testing.T) {
					large := append(bytes.Repeat([]byte(" "), 1<<20), body...)
					// Who answers before all was sent may close the connection, and the answer may be lost with it.
					if got, err := post(t, addr, delivery(t, setup.secret, large, 0), large); err == nil {
						require.Equal(t, http.StatusRequestEntityTooLarge, got)
					}
				})
				t.Run("no POST", func(t *testing.T) {
					res, err := http.Get("http://" + addr + "/hooks")
					require.NoError(t, err)
					defer res.Body.Close()
					require.Contains(t, []int{http.StatusMethodNotAllowed, http.StatusNotImplemented}, res.StatusCode)
				})
				t.Run("still there", func(t *testing.T) {
					got, err := post(t, addr, delivery(t, setup.secret, body, 0), body)
					require.NoError(t, err)
					require.Equal(t, 204, got)
				})
			})
		}
	}
}

func TestReceiversDoNotRunWithoutASecretOrWithAnUnknownScheme(t *testing.T) {
	t.Parallel()
	for _, p := range programs {
		for name, env := range map[string][]string{
			"no secret":      {"WEBHOOK_SECRET=", "WEBHOOK_PREVIOUS_SECRET="},
			"unknown scheme": {"WEBHOOK_SECRET=x", "WEBHOOK_SCHEME=any"},
		} {
			t.Run(p.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				find(t, p.required, p.probe...)
				if p.name == "receiver.php" { // the server is not its own: it can only refuse to answer
					addr := p.start(t, env...)
					got, err := post(t, addr, delivery(t, "", body, 0), body)
					require.NoError(t, err)
					require.Equal(t, 500, got)
					return
				}
				args := p.command(t)
				cmd := exec.Command(args[0], args[1:]...)
				cmd.Dir = filepath.Join(docs, "receivers")
				cmd.Env = append(append(os.Environ(), "PORT=0"), env...)
				out, err := cmd.CombinedOutput()
				require.ErrorContains(t, err, "exit status 1")
				require.Contains(t, string(out), "WEBHOOK_SECRET is missing")
			})
		}
	}
}

func TestShell(t *testing.T) {
	t.Parallel()
	find(t, true, "openssl", "version")
	saved := filepath.Join(t.TempDir(), "body")
	require.NoError(t, os.WriteFile(saved, body, 0o600))
	for _, test := range []struct {
		name, secret, signature string
		want                    int
		says                    string
	}{
		{"good", typed, bodySignature(typed, body), 0, "verified\n"},
		{"good with a generated secret", generated, bodySignature(generated, body), 0, "verified\n"},
		{"another secret", typed, bodySignature(foreign, body), 1, "not verified\n"},
		{"another body", typed, bodySignature(typed, append(bytes.Clone(body), '\n')), 1, "not verified\n"},
		{"an empty signature", typed, "", 1, "not verified\n"},
		{"a signature without its scheme", typed, strings.TrimPrefix(bodySignature(typed, body), "sha256="), 1, "not verified\n"},
		{"no secret", "", bodySignature("", body), 2, "usage"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command("sh", filepath.Join(docs, "receivers", "verify.sh"), saved, test.signature)
			cmd.Env = append(os.Environ(), "WEBHOOK_SECRET="+test.secret)
			out, _ := cmd.CombinedOutput()
			require.Equal(t, test.want, cmd.ProcessState.ExitCode(), "%s", out)
			require.Contains(t, string(out), test.says)
		})
	}
}
