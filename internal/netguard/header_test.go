package netguard_test

import (
	"strings"
	"testing"

	"github.com/meshia/webhook/internal/netguard"
	"github.com/stretchr/testify/require"
)

func TestCheckHeader(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 129)
	for _, c := range []struct{ name, value, code string }{
		{"Authorization", "Bearer abc.def-ghi", ""},
		{"Cookie", "a=b; c=d", ""},
		{"X-Api-Key", "!~\ta b", ""},
		{"x", "1", ""},
		{"!#$%&'*+-.^_`|~09azAZ", "1", ""},
		{long[:128], strings.Repeat("a", 4096), ""},
		{"X-Meshia", "1", ""},
		{"Webhook", "1", ""},
		{"X-Webhook-Token", "1", ""},
		{"Contents", "1", ""},

		{"", "1", "name"},
		{"X Y", "1", "name"},
		{"X:Y", "1", "name"},
		{":authority", "1", "name"},
		{"X\r\nY", "1", "name"},
		{"X\x00", "1", "name"},
		{"X\x7f", "1", "name"},
		{"Xé", "1", "name"},
		{"X\xff", "1", "name"},
		{"X(", "1", "name"},
		{long, "1", "name_too_long"},

		{"Host", "1", "reserved"},
		{"hOsT", "1", "reserved"},
		{"Content-Type", "1", "reserved"},
		{"Content-Length", "1", "reserved"},
		{"Content-Encoding", "1", "reserved"},
		{"Transfer-Encoding", "1", "reserved"},
		{"TE", "1", "reserved"},
		{"Trailer", "1", "reserved"},
		{"Connection", "1", "reserved"},
		{"Keep-Alive", "1", "reserved"},
		{"Upgrade", "1", "reserved"},
		{"HTTP2-Settings", "1", "reserved"},
		{"Expect", "100-continue", "reserved"},
		{"Proxy-Authorization", "1", "reserved"},
		{"Proxy-Connection", "1", "reserved"},
		{"Forwarded", "1", "reserved"},
		{"X-Forwarded-For", "1", "reserved"},
		{"X-Forwarded-Host", "1", "reserved"},
		{"X-Real-IP", "1", "reserved"},
		{"Via", "1", "reserved"},
		{"X-HTTP-Method", "DELETE", "reserved"},
		{"X-HTTP-Method-Override", "DELETE", "reserved"},
		{"X-Method-Override", "DELETE", "reserved"},
		{"X-Original-URL", "/", "reserved"},
		{"X-Rewrite-URL", "/", "reserved"},
		{"User-Agent", "1", "reserved"},
		{"Accept-Encoding", "gzip", "reserved"},
		{"Idempotency-Key", "1", "reserved"},
		{"x-idempotency-key", "1", "reserved"},
		{"X-Meshia-Signature", "1", "reserved"},
		{"x-meshia-anything", "1", "reserved"},
		{"Webhook-Id", "1", "reserved"},
		{"webhook-timestamp", "1", "reserved"},
		{"Metadata", "true", "reserved"},
		{"Metadata-Flavor", "Google", "reserved"},
		{"X-Google-Metadata-Request", "True", "reserved"},
		{"X-aliyun-ecs-metadata-token", "1", "reserved"},

		{"X-A", "", "value"},
		{"X-A", " a", "value"},
		{"X-A", "a\t", "value"},
		{"X-A", "a\nb", "value"},
		{"X-A", "a\rb", "value"},
		{"X-A", "a\x00b", "value"},
		{"X-A", "a\x7fb", "value"},
		{"X-A", "aéb", "value"},
		{"X-A", "a\xffb", "value"},
		{"X-A", strings.Repeat("a", 4097), "value_too_long"},
	} {
		err := netguard.CheckHeader(c.name, c.value)
		if c.code == "" {
			require.NoError(t, err, c.name)
			continue
		}
		var bad *netguard.HeaderError
		require.ErrorAs(t, err, &bad, "%q: %q", c.name, c.value)
		require.Equal(t, c.code, bad.Code, "%q: %q", c.name, c.value)
	}
	require.NotContains(t, netguard.CheckHeader("X-A", "hunter2\n").Error(), "hunter2")
	require.EqualError(t, netguard.CheckHeader("Host", "hunter2"), "cannot be set: it is reserved")
}
