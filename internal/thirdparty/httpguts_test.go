package thirdparty

import (
	"errors"
	"strings"
	"testing"

	"github.com/meshia/webhook/internal/netguard"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/idna"
)

// What CheckHeader lets pass, net/http's own rules let pass; and byte for byte, its idea of a name is theirs.
func TestCheckHeaderAgreesWithHTTPGuts(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		name := "X" + string([]byte{byte(c)}) + "Y"
		require.Equal(t, httpguts.ValidHeaderFieldName(name), netguard.CheckHeader(name, "1") == nil, "%q", name)
		value := "a" + string([]byte{byte(c)}) + "b"
		if netguard.CheckHeader("X-A", value) == nil {
			require.True(t, httpguts.ValidHeaderFieldValue(value), "%q", value)
		} else {
			require.True(t, c >= 0x80 || !httpguts.ValidHeaderFieldValue(value), "%q: of valid values only obsolete text is refused", value)
		}
	}
	for _, name := range []string{"Host", "Connection", "Content-Length", "Transfer-Encoding", "TE", "Trailer", "Upgrade"} {
		require.Error(t, netguard.CheckHeader(name, "1"))
	}
}

// CheckURL has the host of an internationalised name from net/http; it is what the IDNA profile for lookups gives.
func TestCheckURLAgreesWithIDNA(t *testing.T) {
	t.Parallel()
	g, err := netguard.New(nil)
	require.NoError(t, err)
	accepted := 0
	for _, label := range []string{
		"bücher", "BÜCHER", "bu\u0308cher", "faß", "ſ", "例え", "한국", "हिन्दी", "العربية", "עברית", "ｆｕｌｌ", "①②③", "ﬁ", "a\u00adb", "a\u200bb",
		"\u200d", "\u202ea", "℀", "a⁄b", "💩", "á-b", "ab--ü", "-ü", "ü-", "\u0300a", "xn--ü", "𝐚", "İ", "K", strings.Repeat("ü", 60),
	} {
		want, idnaErr := idna.Lookup.ToASCII(label + ".example.com")
		u, err := g.CheckURL("https://" + label + ".example.com/")
		if err != nil {
			var bad *netguard.URLError
			require.True(t, errors.As(err, &bad))
			require.True(t, idnaErr != nil || len(want) > len(".example.com")+63, "%q: %s", label, want)
			continue
		}
		accepted++
		require.NoError(t, idnaErr, label)
		require.Equal(t, want, u.Hostname(), label)
	}
	require.Greater(t, accepted, 12)
}
