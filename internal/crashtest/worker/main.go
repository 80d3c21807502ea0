//go:build linux

// The command worker emits and delivers as its environment says, for the tests of internal/crashtest, which kill it.
package main

import (
	"fmt"
	"os"

	"github.com/meshia/webhook/internal/crashtest"
	"github.com/meshia/webhook/internal/failpoint"
)

func main() {
	if !failpoint.Enabled {
		fmt.Fprintln(os.Stderr, "worker: built without the tag webhook_failpoint")
		os.Exit(2)
	}
	c, err := crashtest.ReadConfig()
	if err == nil {
		err = c.Work()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}
