package webhook_test

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(sinkVariable) != "" {
		runSink()
		return
	}
	os.Exit(m.Run())
}
