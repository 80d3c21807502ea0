package netguard_test

import (
	"strings"
	"testing"

	"github.com/meshia/webhook/internal/netguard"
	"github.com/stretchr/testify/require"
)

func TestCheckURLReturnsTheCanonicalForm(t *testing.T) {
	t.Parallel()
	g := newGuard(t, &netguard.Config{AllowHTTP: true})
	for raw, want := range map[string]string{
		"https://example.com":                           "https://example.com",
		"HTTPS://EXAMPLE.COM/Hook?Token=A":              "https://example.com/Hook?Token=A",
		"Http://Example.Com:80/":                        "http://example.com:80/",
		"https://example.com?x=1":                       "https://example.com?x=1",
		"https://example.com:8443/a%2Fb":                "https://example.com:8443/a%2Fb",
		"https://bücher.example/":                       "https://xn--bcher-kva.example/",
		"https://BÜCHER.example:8443/":                  "https://xn--bcher-kva.example:8443/",
		"https://bu\u0308cher.example/":                 "https://xn--bcher-kva.example/", // decomposed
		"https://例え。テスト/":                               "https://xn--r8jz45g.xn--zckzah/",
		"https://ｅｘａｍｐｌｅ.com/":                          "https://example.com/",
		"https://８.８.８.８/":                              "https://8.8.8.8/",
		"https://[2606:4700:4700:0::1111]/":             "https://[2606:4700:4700::1111]/",
		"https://[2606:4700:4700::1111]:443/":           "https://[2606:4700:4700::1111]:443/",
		"https://[::ffff:8.8.8.8]:443/x":                "https://8.8.8.8:443/x",
		"https://a_b.example.com/":                      "https://a_b.example.com/",
		"https://" + strings.Repeat("a", 63) + ".com/":  "https://" + strings.Repeat("a", 63) + ".com/",
		"https://example.com/@user:pw":                  "https://example.com/@user:pw",
		"https://e.com/" + strings.Repeat("a", 2048-14): "https://e.com/" + strings.Repeat("a", 2048-14),
		"https://" + longHost(253) + "/":                "https://" + longHost(253) + "/",
		"https://xn--a.com/":                            "https://xn--a.com/",
		"https://svc.example.com/":                      "https://svc.example.com/",
		"https://notlocal/../" + "x":                    "",
		"https://local.example.com/":                    "https://local.example.com/",
		"https://notcorp.notinternal/":                  "https://notcorp.notinternal/",
	} {
		u, err := g.CheckURL(raw)
		if want == "" {
			require.Error(t, err, raw)
			continue
		}
		require.NoError(t, err, raw)
		require.Equal(t, want, u.String())
	}
}

func longHost(n int) string { return strings.Repeat(strings.Repeat("a", 62)+".", 4)[:n-4] + ".com" }

func TestCheckURLNamesTheFault(t *testing.T) {
	t.Parallel()
	plain, http := newGuard(t, nil), newGuard(t, &netguard.Config{AllowHTTP: true})
	for _, c := range []struct{ raw, field, code string }{
		{"", "url", "empty"},
		{" \t\n", "url", "empty"},
		{"https://e.com/" + strings.Repeat("a", 2048-13), "url", "too_long"},
		{"https://exa" + strings.Repeat("\u00ad", 1100) + "mple.com/", "url", "too_long"}, // whatever it maps to
		{"https://e.com/" + strings.Repeat(`"`, 1000), "url", "too_long"},                 // once it is encoded
		{" https://example.com/", "url", "character"},
		{"https://example.com/ ", "url", "character"},
		{"https://example.com/\x7f", "url", "character"},
		{"https://example.com/\x1f", "url", "character"},
		{`https://example.com\@10.0.0.1/`, "url", "character"},
		{"https://example.com/hö", "url", "character"},
		{"https://example.com/?q=ö", "url", "character"},
		{"https://example.com/\u0080", "url", "character"},
		{"https://example.com/%zz", "url", "malformed"},
		{"ftp://example.com/", "scheme", "scheme"},
		{"//example.com/", "scheme", "scheme"},
		{"/https://example.com/", "scheme", "scheme"},
		{"https:/example.com", "scheme", "scheme"},
		{"https", "scheme", "scheme"},
		{"https://u:p@example.com/", "userinfo", "userinfo"},
		{"https://u@example.com/", "userinfo", "userinfo"},
		{"https://@example.com/", "userinfo", "userinfo"},
		{"https://example.com/#", "fragment", "fragment"},
		{"https://example.com#a", "fragment", "fragment"},
		{"https:///example.com", "host", "host"},
		{"https://?x", "host", "host"},
		{"https:///@", "host", "host"},
		{"https://:443/", "host", "host"},
		{"https://exa[mple.com/", "host", "host"},
		{"https://exa<mple.com/", "host", "host"},
		{"https://[example.com]/", "host", "host"},
		{"https://[1.2.3.4]/", "host", "host"},
		{"https://[]/", "host", "host"},
		{"https://[8.8.8.8/", "host", "host"},
		{"https://[2606:4700:4700::1111/", "host", "host"},
		{"https://[2606:4700:4700::1111]a/", "host", "host"},
		{"https://[2606:4700:4700::1111]443/", "host", "host"},
		{"https://[2606:4700:4700::1111]]/", "host", "host"},
		{"https://[[2606:4700:4700::1111]]/", "host", "host"},
		{"https://::1/", "host", "host"},
		{"https://example.com./", "host", "host"},
		{"https://.example.com/", "host", "host"},
		{"https://a..example.com/", "host", "host"},
		{"https://example-.com/", "host", "host"},
		{"https://-example.com/", "host", "host"},
		{"https://exa$mple.com/", "host", "host"},
		{"https://exa*mple.com/", "host", "host"},
		{"https://" + strings.Repeat("a", 64) + ".com/", "host", "host"},
		{"https://" + longHost(254) + "/", "host", "host"},
		{"https://evil.c℀.example.com/", "host", "host"}, // U+2100 maps to "a/c"
		{"https://\u202eexample.com/", "host", "host"},
		{"https://\xff.example.com/", "url", "character"},
		{"https://ex%61mple.com/", "host", "host_encoding"},
		{"https://b%C3%BCcher.example/", "host", "host_encoding"},
		{"https://[fe80::1%25eth0]/", "host", "host_encoding"},
		{"https://1.2.3/", "host", "numeric_host"},
		{"https://example.0x7f/", "host", "numeric_host"},
		{"https://example.9/", "host", "numeric_host"},
		{"https://256.1.1.1/", "host", "numeric_host"},
		{"https://1.1.1.1.1/", "host", "numeric_host"},
		{"https://１２７.1/", "host", "numeric_host"},
		{"https://localhost/", "host", "private_host"},
		{"https://a.LOCALHOST/", "host", "private_host"},
		{"https://billing/", "host", "private_host"},
		{"https://billing.internal/", "host", "private_host"},
		{"https://billing.intranet/", "host", "private_host"},
		{"https://billing.private/", "host", "private_host"},
		{"https://billing.home/", "host", "private_host"},
		{"https://billing.mail/", "host", "private_host"},
		{"https://billing.invalid/", "host", "private_host"},
		{"https://billing.alt/", "host", "private_host"},
		{"https://localhost.localdomain/", "host", "private_host"},
		{"https://facebookcorewwwi.onion/", "host", "private_host"},
		{"https://10.0.0.1/", "host", "address"},
		{"https://[::1]/", "host", "address"},
		{"https://[::ffff:10.0.0.1]/", "host", "address"},
		{"https://①②⑦.⓪.⓪.①/", "host", "address"},
		{"https://example.com:/", "port", "port"},
		{"https://[2606:4700:4700::1111]:/", "port", "port"},
		{"https://example.com:443a/", "port", "port"},
		{"https://example.com:+443/", "port", "port"},
		{"https://example.com:443:443/", "port", "port"},
		{"https://example.com:0/", "port", "port"},
		{"https://example.com:0443/", "port", "port"},
		{"https://example.com:65536/", "port", "port"},
		{"https://example.com:99999999999999999999/", "port", "port"},
		{"https://example.com:22/", "port", "port_not_allowed"},
	} {
		for _, g := range []*netguard.Guard{plain, http} {
			_, err := g.CheckURL(c.raw)
			var bad *netguard.URLError
			require.ErrorAs(t, err, &bad, c.raw)
			require.Equal(t, c.field+" "+c.code, bad.Field+" "+bad.Code, c.raw)
		}
	}
	_, err := plain.CheckURL("http://example.com/")
	require.EqualError(t, err, "URL must start with https://")
	_, err = http.CheckURL("ftp://example.com/")
	require.EqualError(t, err, "URL must start with https:// or http://")
	for _, raw := range []string{"https:///hook", "https://:443/hook"} {
		_, err = plain.CheckURL(raw)
		require.EqualError(t, err, "host is missing: write the URL as https://host/path")
	}
	_, err = plain.CheckURL("https://example.com:22/")
	require.EqualError(t, err, "port is not allowed: use one of 80, 443, 8080, 8443")
}

func TestCheckURLErrorsKeepSecretsOut(t *testing.T) {
	t.Parallel()
	g := newGuard(t, nil)
	for _, raw := range []string{
		"https://hunter2:hunter2@example.com/hunter2", "https://example.com/hunter2?hunter2#hunter2", "https://10.0.0.1/hunter2",
		"https://example.com/%zzhunter2", "https://example.com:hunter2/", "hunter2://x", "https://example.com:22/hunter2?hunter2",
		"https://example.com/hunter2\n", "https://localhost/hunter2", "https://example.com/hunter2ö", "https://[hunter2]/",
	} {
		_, err := g.CheckURL(raw)
		require.Error(t, err, raw)
		require.NotContains(t, err.Error(), "hunter2", raw)
	}
}

func TestCheckURLFollowsTheOperatorsAllowances(t *testing.T) {
	t.Parallel()
	accepts := func(cfg *netguard.Config, raw string) bool {
		_, err := newGuard(t, cfg).CheckURL(raw)
		return err == nil
	}
	loopback4 := &netguard.Config{AllowPrefixes: prefixes("127.0.0.0/8")}
	loopback6 := &netguard.Config{AllowPrefixes: prefixes("::1/128")}
	private := &netguard.Config{AllowPrefixes: prefixes("127.0.0.1/32", "10.0.0.0/8")}
	inside := &netguard.Config{AllowPrefixes: prefixes("10.0.0.0/8")}
	for _, c := range []struct {
		raw                                              string
		loopback4, loopback6, private, inside, byDefault bool
	}{
		{"https://localhost/", true, true, true, false, false},
		{"https://a.localhost:8443/", true, true, true, false, false},
		{"https://127.0.0.1/", true, false, true, false, false},
		{"https://127.1.2.3/", true, false, false, false, false},
		{"https://[::1]/", false, true, false, false, false},
		{"https://10.0.0.1/", false, false, true, true, false},
		{"https://billing/", false, false, true, true, false},
		{"https://billing.default.svc.cluster.local/", false, false, true, true, false},
		{"https://192.168.0.1/", false, false, false, false, false},
		{"https://2130706433/", false, false, false, false, false},
		{"https://example.com/", true, true, true, true, true},
		{"https://localhost:9999/", false, false, false, false, false},
		{"http://localhost/", false, false, false, false, false},
	} {
		got := []bool{accepts(loopback4, c.raw), accepts(loopback6, c.raw), accepts(private, c.raw), accepts(inside, c.raw), accepts(nil, c.raw)}
		require.Equal(t, []bool{c.loopback4, c.loopback6, c.private, c.inside, c.byDefault}, got, c.raw)
	}

	own := &netguard.Config{Ports: []uint16{9443}}
	require.True(t, accepts(own, "https://example.com:9443/"))
	require.False(t, accepts(own, "https://example.com/"), "the scheme's own port is judged as well")
	require.False(t, accepts(&netguard.Config{Ports: []uint16{443}, AllowHTTP: true}, "http://example.com/"))
	require.True(t, accepts(&netguard.Config{Ports: []uint16{80}, AllowHTTP: true}, "http://example.com/"))
	require.True(t, accepts(&netguard.Config{AllowAnyPort: true}, "https://example.com:6379/"))
	require.False(t, accepts(&netguard.Config{AllowAnyPort: true}, "https://example.com:0/"))
	require.False(t, accepts(&netguard.Config{DenyPrefixes: prefixes("8.8.8.0/24")}, "https://8.8.8.8/"))
}
