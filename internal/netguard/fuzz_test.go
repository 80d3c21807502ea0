package netguard_test

import (
	"errors"
	"hash/fnv"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshia/webhook/internal/netguard"
	"github.com/stretchr/testify/require"
)

// FuzzCheckURL: no text makes CheckURL panic; what it accepts has the form that it promises, and is sent
// nowhere inside, whatever DNS says.
func FuzzCheckURL(f *testing.F) {
	for _, raw := range []string{
		"https://example.com/hook?a=b", "http://example.com:8080", "HTTPS://EXAMPLE.com:443/%2e", "https://bücher.example/",
		"https://8.8.8.8/", "https://[2606:4700:4700::1111]:8443/", "https://[::ffff:8.8.8.8]/", "https://[::1%25lo]/",
		"https://①②⑦.⓪.⓪.①/", "https://127。0。0。1/", "https://0x7f.1/", "https://a@b/", `https://a\@b.com/`, "https://a.com:/", "https://a.com#",
		"https://a..b/", "https://xn--a.com/", "https://a.com/ö", "https://local\u00adhost/", "https://℀.com/", "https://a.com:0443/", "//", "",
	} {
		f.Add(raw, true)
		f.Add(raw, false)
	}
	f.Fuzz(func(t *testing.T, raw string, allowHTTP bool) {
		g := newGuard(t, &netguard.Config{AllowHTTP: allowHTTP})
		u, err := g.CheckURL(raw)
		if err != nil {
			var bad *netguard.URLError
			require.ErrorAs(t, err, &bad)
			require.Nil(t, u)
			return
		}
		require.True(t, u.Scheme == "https" || u.Scheme == "http" && allowHTTP)
		require.Nil(t, u.User)
		require.Empty(t, u.Fragment)
		require.Empty(t, u.Opaque)
		require.Contains(t, []string{"", "80", "443", "8080", "8443"}, u.Port())
		require.Regexp(t, `^(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:[0-9]+)?$`, u.Host)
		require.LessOrEqual(t, len(u.String()), netguard.MaxURLLength)
		again, err := g.CheckURL(u.String())
		require.NoError(t, err)
		require.Equal(t, u.String(), again.String(), "the canonical form is stable")

		// DNS answers with good and bad addresses by the name's hash, all of them for some names.
		all := addrs("93.184.215.14", "127.0.0.1", "2606:4700::1111", "::1", "10.0.0.1", "::ffff:169.254.169.254", "fd00::1", "0.0.0.0")
		answers := func(name string, _ int) []netip.Addr {
			h := fnv.New32a()
			h.Write([]byte(name))
			if n := int(h.Sum32() % 9); n < len(all) {
				return all[n : n+1]
			}
			return all
		}
		r := newRig(g, &zone{answer: answers}, netguard.TransportConfig{})
		require.Error(t, r.get(u.String()))
		_, passed := r.seen()
		for _, address := range passed {
			ap := netip.MustParseAddrPort(strings.Fields(address)[1])
			a := ap.Addr()
			require.True(t, a.IsGlobalUnicast() && !a.IsPrivate() && !a.Is4In6() && a.Zone() == "", address)
			literal, err := netip.ParseAddr(u.Hostname())
			require.True(t, a == all[0] || a == all[2] || err == nil && a == literal, "%s is no answer of the test", address)
		}
	})
}

// FuzzControl: Control is asked by whatever dialer, and never panics; what it lets pass is a public address.
func FuzzControl(f *testing.F) {
	for _, address := range []string{"8.8.8.8:443", "127.0.0.1%lo:80", "[::1]:443", "[fe80::1%eth0]:80", "[64:ff9b::1]:443", ":443", "a:b"} {
		f.Add("tcp4", address)
		f.Add("tcp6", address)
	}
	g := newGuard(f, nil)
	f.Fuzz(func(t *testing.T, network, address string) {
		err := g.Control(t.Context(), network, address, nil)
		if err != nil {
			var b *netguard.BlockedError
			require.True(t, errors.As(err, &b) && b.Rule != "")
			return
		}
		ap, err := netip.ParseAddrPort(address)
		require.NoError(t, err)
		a := ap.Addr().Unmap()
		require.True(t, a.IsGlobalUnicast() && !a.IsPrivate() && a.Zone() == "")
		require.Contains(t, []uint16{80, 443, 8080, 8443}, ap.Port())
		require.True(t, strings.HasPrefix(network, "tcp"))
	})
}
