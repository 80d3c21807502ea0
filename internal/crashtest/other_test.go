//go:build !linux

package crashtest

import "testing"

func TestCrashes(t *testing.T) {
	t.Skip("crash tests need Linux: children that end with their parent, SIGSTOP and tmpfs")
}
