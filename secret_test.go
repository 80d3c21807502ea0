package webhook_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

type config struct{ Secret webhook.Secret }

const typedSecret = "a typed secret, 0123456789"

func TestSecretNeverShowsItsText(t *testing.T) {
	t.Parallel()
	secret := webhook.NewSecret(typedSecret)
	endpoint := webhook.Endpoint{ID: "we_1", Secret: secret}

	shown := map[string]string{}
	hidden := struct{ secret webhook.Secret }{secret} // fmt cannot call its methods
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%c", "%U", "%t", "%10s"} {
		shown["Sprintf "+verb] = fmt.Sprintf(verb, secret)
		shown["Sprintf endpoint "+verb] = fmt.Sprintf(verb, endpoint)
		shown["Sprintf hidden "+verb] = fmt.Sprintf(verb, hidden)
		shown["Sprintf pointer "+verb] = fmt.Sprintf(verb, &secret)
		shown["Sprintf slice "+verb] = fmt.Sprintf(verb, []webhook.Secret{secret})
		shown["Sprintf map "+verb] = fmt.Sprintf(verb, map[webhook.Secret]int{secret: 1})
	}
	misfit := "%p %w"
	shown["misfit"] = fmt.Sprintf(misfit, secret, secret)
	shown["misfit error"] = fmt.Errorf(misfit, secret, secret).Error()
	shown["Sprint"] = fmt.Sprint(secret)
	shown["Errorf"] = fmt.Errorf("secret %v", secret).Error()
	shown["String"] = secret.String()
	shown["GoString"] = secret.GoString()
	for name, marshal := range map[string]func(any) ([]byte, error){"json": json.Marshal, "xml": xml.Marshal} {
		out, err := marshal(config{secret})
		require.NoError(t, err)
		shown[name] = string(out)
	}
	require.Error(t, gob.NewEncoder(io.Discard).Encode(config{secret})) // it has no form to redact
	asKey, err := json.Marshal(map[webhook.Secret]int{secret: 1})
	require.NoError(t, err)
	shown["json key"] = string(asKey)

	var text, structured bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("m", "secret", secret, "endpoint", endpoint, "any", []any{secret})
	slog.New(slog.NewJSONHandler(&structured, nil)).Info("m", "secret", secret, "endpoint", endpoint, "any", []any{secret})
	shown["slog text"], shown["slog json"] = text.String(), structured.String()

	hex := fmt.Sprintf("%x", []byte(typedSecret))
	for how, out := range shown {
		require.NotContains(t, out, typedSecret[:8], how)
		require.NotContains(t, strings.ToLower(strings.ReplaceAll(out, " ", "")), hex[:12], how)
		require.NotContains(t, out, "97 32 116", how) // %d of its first bytes
		if !strings.Contains(how, "misfit") && !strings.Contains(how, "hidden") {
			require.Contains(t, out, "whsec_***", how)
		}
	}
	require.Equal(t, typedSecret, secret.Reveal())
	require.Equal(t, `"whsec_***"`, fmt.Sprintf("%q", secret))
	require.Equal(t, `"whsec_***"`, fmt.Sprintf("%#v", secret))
	require.Equal(t, "whsec_***", fmt.Sprintf("%#s", secret))
}

func TestNoSecretShowsAsNothing(t *testing.T) {
	t.Parallel()
	var none webhook.Secret
	require.True(t, none.IsZero())
	require.True(t, webhook.NewSecret("").IsZero())
	require.False(t, webhook.NewSecret("x").IsZero())
	require.Equal(t, webhook.Secret{}, webhook.NewSecret(""))
	require.True(t, webhook.NewSecret("x") == webhook.NewSecret(strings.Clone("x")))
	require.Empty(t, none.Reveal())
	require.Empty(t, fmt.Sprint(none))
	out, err := json.Marshal(struct {
		Always  webhook.Secret
		Omitted webhook.Secret `json:",omitzero"`
	}{})
	require.NoError(t, err)
	require.JSONEq(t, `{"Always":""}`, string(out))
}

func TestSecretIsReadFromConfiguration(t *testing.T) {
	t.Parallel()
	var cfg config
	require.NoError(t, json.Unmarshal([]byte(`{"Secret":"a typed secret, 0123456789"}`), &cfg))
	require.Equal(t, webhook.NewSecret(typedSecret), cfg.Secret)

	shown, err := json.Marshal(cfg)
	require.NoError(t, err)
	require.ErrorIs(t, json.Unmarshal(shown, &cfg), webhook.ErrInvalidSecret)
	require.Equal(t, webhook.NewSecret(typedSecret), cfg.Secret)
}

func TestGeneratedSecretsAreValidAndDiffer(t *testing.T) {
	t.Parallel()
	seen := map[webhook.Secret]bool{}
	for range 100 {
		secret := webhook.GenerateSecret()
		require.NoError(t, secret.Validate())
		encoded, ok := strings.CutPrefix(secret.Reveal(), "whsec_")
		require.True(t, ok)
		key, err := base64.StdEncoding.Strict().DecodeString(encoded)
		require.NoError(t, err)
		require.Len(t, key, 32)
		require.False(t, seen[secret])
		seen[secret] = true
	}
}

func TestSecretValidate(t *testing.T) {
	t.Parallel()
	whsec := func(n int) string { return "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for name, secret := range map[string]string{
		"one character":          "x",
		"256 bytes":              strings.Repeat("x", 256),
		"spaces":                 " a b ",
		"other letters":          "pässwörd-☃",
		"base64 without prefix":  "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
		"another prefix":         "WHSEC_x",
		"24 bytes":               whsec(24),
		"25 bytes, padded":       whsec(25),
		"25 bytes, not padded":   strings.TrimRight(whsec(25), "="),
		"64 bytes":               whsec(64),
		"64 bytes, not padded":   strings.TrimRight(whsec(64), "="),
		"prefix not at the head": "my whsec_",
	} {
		require.NoError(t, webhook.NewSecret(secret).Validate(), name)
		_, err := webhook.NewSigner(webhook.NewSecret(secret))
		require.NoError(t, err, name)
	}
	for name, secret := range map[string]string{
		"empty":              "",
		"257 bytes":          strings.Repeat("x", 257),
		"not UTF-8":          "secret\xff",
		"newline at the end": "secret\n",
		"NUL":                "sec\x00ret",
		"C1 control":         "sec\u0085ret",
		"redacted":           fmt.Sprint(webhook.NewSecret("x")),
		"prefix only":        "whsec_",
		"not base64":         "whsec_not base64!!",
		"23 bytes":           whsec(23),
		"65 bytes":           whsec(65),
		"URL alphabet":       "whsec_" + strings.Repeat("-_", 20),
		"half padded":        strings.TrimSuffix(whsec(64), "="),
		"padding twice":      whsec(64) + "==",
		"public key":         "whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
		"private key":        "whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
	} {
		err := webhook.NewSecret(secret).Validate()
		require.ErrorIs(t, err, webhook.ErrInvalidSecret, name)
		if len(secret) > 6 {
			require.NotContains(t, err.Error(), strings.TrimPrefix(secret, "whsec_"), name)
		}
		_, err = webhook.NewSigner(webhook.NewSecret(secret))
		require.ErrorIs(t, err, webhook.ErrInvalidSecret, name)
	}
}
