//go:build webhook_failpoint

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Enabled says whether this build has failpoints.
const Enabled = true

var (
	chosen, at = choose(os.Getenv("WEBHOOK_CRASH"))
	passages   atomic.Int64
)

func choose(text string) (Point, int64) {
	name, number, numbered := strings.Cut(text, ":")
	if !numbered {
		return Point(name), 1
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 1 {
		panic("failpoint: WEBHOOK_CRASH is not of the form K7:3: " + strconv.Quote(text))
	}
	return Point(name), n
}

// Pass kills the process if this is the place and the passage that the environment chose.
func Pass(p Point) {
	if p != chosen || passages.Add(1) != at {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}
