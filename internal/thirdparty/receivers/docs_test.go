package receivers

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

const docs = "../../../docs"

var update = flag.Bool("update", false, "copy docs/receivers into docs/receivers.md")

// A file in docs/receivers.md: <!-- name --> on a line, and the code block after it.
var embedded = regexp.MustCompile("(?ms)^<!-- ([a-z]+\\.[a-z]+) -->\n```[a-z]+\n.*?^```$")

func TestTheDocumentShowsTheFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(docs, "receivers.md")
	text, err := os.ReadFile(path)
	require.NoError(t, err)

	shown := map[string]bool{}
	want := embedded.ReplaceAllFunc(text, func(block []byte) []byte {
		name := string(embedded.FindSubmatch(block)[1])
		shown[name] = true
		file, err := os.ReadFile(filepath.Join(docs, "receivers", name))
		require.NoError(t, err)
		fence := regexp.MustCompile("```[a-z]+").Find(block)
		return []byte("<!-- " + name + " -->\n" + string(fence) + "\n" + string(file) + "```")
	})
	if *update {
		require.NoError(t, os.WriteFile(path, want, 0o644))
	} else {
		require.Equal(t, string(want), string(text), "docs/receivers.md and docs/receivers differ: go test ./receivers -update")
	}

	files, err := os.ReadDir(filepath.Join(docs, "receivers"))
	require.NoError(t, err)
	for _, f := range files {
		require.True(t, shown[f.Name()], "docs/receivers.md does not show %s", f.Name())
	}
}

// The function that the public documentation tells receivers to use.
const documented = `import hmac, hashlib

def verify(payload_bytes, signature, secret):
    expected = hmac.new(
        secret.encode(), payload_bytes, hashlib.sha256
    ).hexdigest()
    return hmac.compare_digest(f"sha256={expected}", signature)
`

func TestThePythonReceiverHasTheDocumentedFunction(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile(filepath.Join(docs, "receivers", "receiver.py"))
	require.NoError(t, err)
	require.Contains(t, string(file), "\n"+documented+"\n")
}
