package webhook_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

func headers(pairs ...string) map[string]webhook.Secret {
	h := map[string]webhook.Secret{}
	for i := 0; i < len(pairs); i += 2 {
		h[pairs[i]] = webhook.NewSecret(pairs[i+1])
	}
	return h
}

func TestAnEndpointsOwnHeadersAreSent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		receiver := webhooktest.NewReceiver(t)
		r := newRig(t, receiver, nil).run()
		e, _, err := r.d.AddEndpoint(r.ctx, webhook.Endpoint{
			URL: "https://example.com/hook", Events: []string{webhook.AllEvents}, Secret: secretA,
			Headers: headers("authorization", "Bearer token-one", "X-Team", "blue\tgreen"),
		}, webhook.WithoutPing())
		require.NoError(t, err)
		require.Nil(t, e.Headers)
		require.Equal(t, []webhook.StoredHeader{{Name: "Authorization"}, {Name: "X-Team"}}, e.StoredHeaders)

		r.emit()
		time.Sleep(time.Second)
		sent := receiver.Requests()[0]
		require.Equal(t, []string{"Bearer token-one"}, sent.Header.Values("Authorization"))
		require.Equal(t, []string{"blue\tgreen"}, sent.Header.Values("X-Team"))
		logged := r.only().Attempts[0].RequestHeader
		require.Equal(t, []string{"***"}, logged.Values("Authorization"))
		require.Equal(t, []string{"***"}, logged.Values("X-Team"))
		require.Equal(t, "application/json", logged.Get("Content-Type"))

		e.Description = "another"
		e, _, err = r.d.UpdateEndpoint(r.ctx, e)
		require.NoError(t, err)
		require.Len(t, e.StoredHeaders, 2, "they stay")
		r.emit()
		time.Sleep(time.Second)
		require.Equal(t, "Bearer token-one", receiver.Requests()[1].Header.Get("Authorization"))

		e.Headers = headers("Authorization", "Bearer token-two")
		e, _, err = r.d.UpdateEndpoint(r.ctx, e)
		require.NoError(t, err)
		r.emit()
		time.Sleep(time.Second)
		require.Equal(t, "Bearer token-two", receiver.Requests()[2].Header.Get("Authorization"))
		require.Empty(t, receiver.Requests()[2].Header.Values("X-Team"))

		e.Headers = headers()
		e, _, err = r.d.UpdateEndpoint(r.ctx, e)
		require.NoError(t, err)
		require.Empty(t, e.StoredHeaders)
		r.emit()
		time.Sleep(time.Second)
		require.Empty(t, receiver.Requests()[3].Header.Values("Authorization"))
	})
}

func TestHeadersThatAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, webhooktest.NewReceiver(t), nil)
	add := func(h map[string]webhook.Secret) error {
		_, _, err := r.d.AddEndpoint(r.ctx, webhook.Endpoint{URL: "https://example.com/hook", Events: []string{webhook.AllEvents}, Headers: h}, webhook.WithoutPing())
		return err
	}
	numbered := func(n int) map[string]webhook.Secret {
		h := headers()
		for i := range n {
			h[fmt.Sprintf("X-%d", i)] = webhook.NewSecret("1")
		}
		return h
	}
	const value = "letmein"
	for name, h := range map[string]map[string]webhook.Secret{
		"the host":                    headers("Host", value),
		"a length":                    headers("content-length", value),
		"an encoding of the transfer": headers("Transfer-Encoding", value),
		"the connection":              headers("Connection", value),
		"our signature":               headers("x-meshia-signature", value),
		"our attempt":                 headers("X-Meshia-Attempt", value),
		"a standard signature":        headers("webhook-signature", value),
		"a content type":              headers("Content-Type", value),
		"an encoding of the content":  headers("Content-Encoding", value),
		"a key that repeats requests": headers("Idempotency-Key", value),
		"and its older name":          headers("X-Idempotency-Key", value),
		"a proxy's":                   headers("Proxy-Authorization", value),
		"a cloud's":                   headers("Metadata-Flavor", value),
		"another cloud's":             headers("X-aws-ec2-metadata-token", value),
		"its age":                     headers("X-aws-ec2-metadata-token-ttl-seconds", value),
		"yet another cloud's":         headers("Metadata", value),
		"a header of proxies":         headers("X-Forwarded-For", value),
		"another method":              headers("X-HTTP-Method-Override", value),
		"a name of two words":         headers("X A", value),
		"no name":                     headers("", value),
		"a colon":                     headers("X:", value),
		"a line":                      headers("X\r\nEvil", value),
		"an accent":                   headers("X-É", value),
		"no value":                    headers("X-A", ""),
		"a value of two lines":        headers("X-A", value+"\r\nX-Evil: 1"),
		"a NUL":                       headers("X-A", value+"\x00"),
		"a DEL":                       headers("X-A", value+"\x7f"),
		"a byte that is not ASCII":    headers("X-A", value+"é"),
		"a space before":              headers("X-A", " "+value),
		"a tab after":                 headers("X-A", value+"\t"),
		"two cases of one name":       headers("X-A", value, "x-a", value),
		"too many":                    numbered(21),
		"too long":                    headers("X-A", strings.Repeat("a", 4<<10-2)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := add(h)
			require.ErrorIs(t, err, webhook.ErrInvalidEndpoint)
			var field *webhook.FieldError
			require.True(t, errors.As(err, &field))
			require.Equal(t, "headers", field.Field)
			require.NotContains(t, err.Error(), value)
		})
	}
	require.NoError(t, add(numbered(20)))
	require.NoError(t, add(headers("X-A", strings.Repeat("a", 4<<10-3))))
	require.NoError(t, add(headers("!#$%&'*+-.^_`|~09azAZ", "!~")))
}

func TestHeadersPrintAsRedacted(t *testing.T) {
	t.Parallel()
	e := webhook.Endpoint{Headers: headers("Authorization", "letmein")}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		require.NotContains(t, fmt.Sprintf(verb, e), "letmein")
	}
}
