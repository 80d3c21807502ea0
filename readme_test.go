package webhook_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheProgramsOfTheReadmeBuild takes each Go program out of the README and vets it as a user's module of its own.
func TestTheProgramsOfTheReadmeBuild(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	programs := regexp.MustCompile("(?s)```go\n(package main.*?)```").FindAllSubmatch(readme, -1)
	require.Len(t, programs, 2)

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
		require.NoError(t, os.WriteFile(filepath.Join(sub, "main.go"), program[1], 0o644))
	}
	cmd := exec.Command("go", "vet", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
