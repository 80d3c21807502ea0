package webhook_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheCodeOfTheDocsBuilds takes each Go program out of the README, and the functions out of docs/operating.md, and
// vets them as a user's module of its own.
func TestTheCodeOfTheDocsBuilds(t *testing.T) {
	t.Parallel()
	code := func(file, begin string) (found []string) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, block := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
			if strings.HasPrefix(block[1], begin) {
				found = append(found, block[1])
			}
		}
		return found
	}
	programs := code("README.md", "package main")
	require.Len(t, programs, 2)
	functions := code("docs/operating.md", "")
	require.Len(t, functions, 6)
	programs = append(programs, "package main\n\nimport (\n\"context\"\n\"fmt\"\n\"time\"\n\n\"github.com/meshia/webhook\"\n)\n\nfunc main() {}\n\n"+strings.Join(functions, "\n"))

	root, err := filepath.Abs(".")
	require.NoError(t, err)
	dir := t.TempDir()
	sums, err := os.ReadFile("go.sum")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), fmt.Appendf(nil,
		"module user\n\ngo 1.25.0\n\nrequire github.com/meshia/webhook v0.0.0\n\nrequire github.com/cenkalti/backoff/v4 v4.3.0\n\nreplace github.com/meshia/webhook => %s\n", root), 0o644))
	for i, program := range programs {
		sub := filepath.Join(dir, fmt.Sprint("program", i))
		require.NoError(t, os.Mkdir(sub, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(sub, "main.go"), []byte(program), 0o644))
	}
	cmd := exec.Command("go", "vet", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// TestTheTestsThatTheGuaranteesNameExist looks for each of them in the repository.
func TestTheTestsThatTheGuaranteesNameExist(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("docs/guarantees.md")
	require.NoError(t, err)
	named := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllSubmatch(doc, -1)
	require.Greater(t, len(named), 40)

	there := map[string]bool{}
	require.NoError(t, filepath.WalkDir(".", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, f := range regexp.MustCompile(`(?m)^func (Test\w+)\(t `).FindAllSubmatch(source, -1) {
			there[string(f[1])] = true
		}
		return err
	}))
	for _, name := range named {
		require.True(t, there[string(name[1])], "%s is nowhere", name[1])
	}
	for n := 1; n <= 9; n++ {
		require.Contains(t, string(doc), fmt.Sprintf("## P%d. ", n))
	}
}
