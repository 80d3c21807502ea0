package webhook_test

import (
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWhatTheLibraryLinks keeps what a user links small. A test helper in the wrong file has linked a whole assertion
// library into other people's binaries before.
func TestWhatTheLibraryLinks(t *testing.T) {
	t.Parallel()
	const module, backoff = "github.com/meshia/webhook", "github.com/cenkalti/backoff/v4"
	for pkg, allowed := range map[string][]string{
		".":                   {module, module + "/internal/failpoint", module + "/internal/id", module + "/internal/netguard", backoff},
		"./webhooktest":       {module, module + "/internal/failpoint", module + "/internal/id", module + "/internal/netguard", module + "/webhooktest", backoff},
		"./storetest":         {module, module + "/internal/failpoint", module + "/internal/id", module + "/internal/netguard", module + "/storetest", backoff},
		"./internal/id":       {module + "/internal/id"},
		"./internal/netguard": {module + "/internal/netguard"},
	} {
		cmd := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", pkg)
		cmd.Env = append(os.Environ(), "GOWORK=off")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.ElementsMatch(t, allowed, strings.Fields(string(out)), pkg)
	}
}

// TestOneFileKnowsTheBackoffPackage keeps it out of the API, so that its next major version is nobody's business but
// retry.go's.
func TestOneFileKnowsTheBackoffPackage(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	var importers []string
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, i := range f.Imports {
			if strings.Contains(i.Path.Value, "backoff") {
				importers = append(importers, name)
			}
		}
	}
	require.Equal(t, []string{"retry.go"}, importers)
}
