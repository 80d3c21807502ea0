package signature

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// missing skips a test for want of a program; where everything must be there it fails.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("WEBHOOK_REQUIRE_ALL") != "" || os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

func find(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		missing(t, program+" is not installed")
	}
}

// start runs a receiver that knows the secrets until the test ends. Its first line is its port; a secret's number
// follows the URL.
func start(t *testing.T, dir string, command ...string) (url string) {
	t.Helper()
	known, err := json.Marshal(secrets)
	require.NoError(t, err)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "WEBHOOK_SECRETS="+string(known))
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()
	})
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = cmd.Wait()
		require.NoError(t, err, complaints.String())
	}
	return "http://127.0.0.1:" + strings.TrimSpace(port) + "/"
}

func post(t *testing.T, url string, header http.Header, body []byte) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	require.NoError(t, err)
	r.Header = header
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// signed is a request as the sender makes it.
func signed(t *testing.T, secret string, e webhook.Event, at time.Time) http.Header {
	t.Helper()
	signer, err := webhook.NewSigner(webhook.NewSecret(secret))
	require.NoError(t, err)
	header := headerOf(e.ID, at, signer.StandardSignature(e.ID, at, e.Body))
	header.Set("Content-Type", "application/json")
	header.Set(webhook.HeaderSignature, signer.Signature(e.Body))
	return header
}

func events(t *testing.T) []webhook.Event {
	t.Helper()
	var events []webhook.Event
	for _, eventType := range webhook.DefaultRegistry().Types() {
		e, err := webhook.DefaultRegistry().Event(eventType.Name(), "sess_<&>\u2028☃", eventType.Example())
		require.NoError(t, err)
		events = append(events, e)
	}
	return append(events, webhook.Ping().New("", webhook.PingData{WebhookID: "we_1", Events: []string{"*"}}))
}

var secrets = []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "a typed secret", "pässwörd-☃", strings.Repeat("k", 256)}

// requireRefusals makes changes that no receiver may let through, one of them to the header that it reads.
func requireRefusals(t *testing.T, url, signatureHeader, secret string, e webhook.Event) {
	t.Helper()
	good := signed(t, secret, e, time.Now())
	require.Equal(t, 401, post(t, url, signed(t, "another secret", e, time.Now()), e.Body))
	require.Equal(t, 401, post(t, url, good.Clone(), append(bytes.Clone(e.Body), '\n')))
	require.Equal(t, 401, post(t, url, good.Clone(), bytes.Replace(e.Body, []byte(`:`), []byte(`: `), 1)))
	bad := good.Clone()
	bad.Del(signatureHeader)
	require.Equal(t, 401, post(t, url, bad, e.Body))
	bad.Set(signatureHeader, good.Get(signatureHeader)[1:])
	require.Equal(t, 401, post(t, url, bad, e.Body))
}

func TestPythonReceiverOfTheDocumentation(t *testing.T) {
	t.Parallel()
	find(t, "python3")
	receiver := start(t, "testdata", "python3", "receiver.py")
	for i, secret := range secrets {
		url := receiver + strconv.Itoa(i)
		for _, e := range events(t) {
			require.Equal(t, 204, post(t, url, signed(t, secret, e, time.Now()), e.Body), e.Type)
		}
		requireRefusals(t, url, webhook.HeaderSignature, secret, events(t)[0])
	}
}

var install = sync.OnceValues(func() (string, error) {
	if _, err := os.Stat("testdata/node/node_modules"); err == nil {
		return "", nil
	}
	cmd := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	cmd.Dir = "testdata/node"
	out, err := cmd.CombinedOutput()
	return string(out), err
})

func TestStandardWebhooksReceiverInNode(t *testing.T) {
	t.Parallel()
	find(t, "node")
	find(t, "npm")
	if out, err := install(); err != nil {
		t.Log(out)
		missing(t, "npm ci failed: "+err.Error())
	}
	receiver := start(t, "testdata/node", "node", "receiver.mjs")
	for i, secret := range secrets {
		url := receiver + strconv.Itoa(i)
		for _, e := range events(t) {
			require.Equal(t, 204, post(t, url, signed(t, secret, e, time.Now()), e.Body), e.Type)
		}
		e := events(t)[0]
		requireRefusals(t, url, webhook.HeaderStandardSignature, secret, e)
		for _, off := range []time.Duration{-time.Hour, time.Hour} {
			require.Equal(t, 401, post(t, url, signed(t, secret, e, time.Now().Add(off)), e.Body))
		}
		other := signed(t, secret, e, time.Now())
		other.Set(webhook.HeaderID, "evt_other")
		require.Equal(t, 401, post(t, url, other, e.Body))

		// During a rotation the header has a signature for each of two secrets.
		header := signed(t, secret, e, time.Now())
		another, err := webhook.NewSigner(webhook.GenerateSecret())
		require.NoError(t, err)
		header.Set(webhook.HeaderStandardSignature, another.StandardSignature(e.ID, time.Now(), e.Body)+" "+header.Get(webhook.HeaderStandardSignature))
		require.Equal(t, 204, post(t, url, header, e.Body))
	}
}
