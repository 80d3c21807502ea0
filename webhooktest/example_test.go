package webhooktest_test

import (
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
)

// inTest runs f as a test, for examples, which have no *testing.T of their own. What f prints with the writer it is
// given is the example's output; what the test prints, under -v, is not.
func inTest(f func(t *testing.T, out io.Writer)) {
	stdout := os.Stdout
	log, err := os.CreateTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.Remove(log.Name())
	defer log.Close()

	os.Stdout = log
	var once sync.Once // the flag -count is for the example, not for the test in it
	passed := testing.RunTests(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{
		Name: "Example",
		F:    func(t *testing.T) { once.Do(func() { f(t, stdout) }) },
	}})
	os.Stdout = stdout
	if !passed {
		text, _ := os.ReadFile(log.Name())
		fmt.Printf("the test failed:\n%s", text)
	}
}
