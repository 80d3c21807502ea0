package webhook_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

func TestCutRuneLeavesWholeRunes(t *testing.T) {
	t.Parallel()
	text := "aé€😀 end"
	for n := range len(text) + 1 {
		cut := webhook.CutRune([]byte(text[:n]))
		require.True(t, utf8.Valid(cut))
		require.True(t, strings.HasPrefix(text, string(cut)))
		require.Less(t, n-len(cut), utf8.UTFMax)
	}
	require.Equal(t, "\xff\xff", string(webhook.CutRune([]byte("\xff\xff"))))
	require.Equal(t, "a\x80\x80\x80", string(webhook.CutRune([]byte("a\x80\x80\x80"))))
	require.Empty(t, webhook.CutRune([]byte("\xf0\x9f\x98")), "nothing but the beginning of a rune")
}

func TestClipHeaderKeepsWhatFits(t *testing.T) {
	t.Parallel()
	h := http.Header{"A": {"1234"}, "B": {"1234", "1234"}}
	require.Equal(t, h, webhook.ClipHeader(h, 3*(64+5)))
	many := http.Header{}
	for i := range 5000 {
		many[strconv.Itoa(i)] = []string{""}
	}
	require.Less(t, len(webhook.ClipHeader(many, 16<<10)), 256, "empty fields cost memory too")
	kept := webhook.ClipHeader(h, 3*(64+5)-1)
	size := 0
	for name, values := range kept {
		for _, v := range values {
			size += len(name) + len(v)
		}
	}
	require.LessOrEqual(t, size, 10)
	require.NotEmpty(t, kept)

	one := webhook.ClipHeader(h, 64+5)
	require.Len(t, one, 1, "what just fits is kept")
}

func TestClipLeavesWhatFitsAsItIs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want string
	}{
		{"", ""},
		{"abc", "abc"},
		{"abcd", "abcd"},
		{"abc\xe2", "abc\xe2"}, // four bytes that were no text before
		{"abcde", "abcd"},
		{"abc€", "abc"},
	} {
		require.Equal(t, c.want, webhook.Clip(c.text, 4))
	}
}

func TestWhatIsLoggedIsText(t *testing.T) {
	t.Parallel()
	h := http.Header{"A": {"caf\xe9", "a\x00b", "ok"}, "B": {"fine"}}
	require.Equal(t, http.Header{"A": {"caf\uFFFD", "a\uFFFDb", "ok"}, "B": {"fine"}}, webhook.ClipHeader(h, 16<<10))
	require.Equal(t, "caf\xe9", h["A"][0], "the response's own is left alone")
}
