package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A Verdict is what the tests said to a mutant.
type Verdict int

const (
	Survived Verdict = iota
	Killed
)

// A Runner builds the tests of a target once, with all of its mutants in them, each behind a switch, and runs them
// once for each. What is built is a copy that only the compiler sees: the tree stays as it is, and the build cache is
// shared.
type Runner struct {
	Root     string
	Timeout  time.Duration // of the tests of one mutant, and less where they are quick; running into it kills the mutant
	Parallel int
}

// All tries the mutants and tells each one's verdict as soon as those before it are told.
func (r Runner) All(ctx context.Context, t Target, mutated Mutated, tell func(Mutant, Verdict)) error {
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary, err := r.build(ctx, t, mutated.Files, dir)
	if err != nil {
		return err
	}
	rounds := t.rounds()
	for i := range rounds {
		tests := rounds[i].tests
		rounds[i].timeout = r.Timeout
		start := time.Now()
		out, err := r.test(ctx, t, binary, rounds[i], 0)
		if err != nil {
			return fmt.Errorf("target %s: the tests must pass before anything is mutated: %w\n%s", t.Name, err, out)
		}
		if bytes.Contains(out, []byte("no tests to run")) {
			return fmt.Errorf("target %s: there are no tests %q to notice anything", t.Name, tests)
		}
		rounds[i].timeout = r.limit(time.Since(start))
	}

	list := mutated.Mutants
	verdicts := make([]chan Verdict, len(list))
	for i := range verdicts {
		verdicts[i] = make(chan Verdict, 1)
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	defer wg.Wait()
	for range r.Parallel {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(list); i = int(next.Add(1)) - 1 {
				verdicts[i] <- r.try(ctx, t, binary, rounds, list[i])
			}
		})
	}
	for i, m := range list {
		verdict := <-verdicts[i]
		if ctx.Err() != nil {
			return ctx.Err()
		}
		tell(m, verdict)
	}
	return nil
}

// build builds the target's tests with the files, by their paths, in place of those of the tree.
func (r Runner) build(ctx context.Context, t Target, files map[string][]byte, dir string) (binary string, err error) {
	replace := map[string]string{}
	for path, text := range files {
		replace[path] = filepath.Join(dir, strconv.Itoa(len(replace))+".go")
		if err := os.WriteFile(replace[path], text, 0o600); err != nil {
			return "", err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		return "", err
	}
	binary = filepath.Join(dir, "tests.exe")
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay="+list, "-o", binary, ".")
	cmd.Dir = r.dir(t)
	out, err := cmd.CombinedOutput()
	if err == nil {
		_, err = os.Stat(binary) // without tests nothing is written
	}
	if err != nil {
		return "", fmt.Errorf("target %s: its tests were not built: %w\n%s", t.Name, err, out)
	}
	return binary, nil
}

func (r Runner) try(ctx context.Context, t Target, binary string, rounds []round, m Mutant) Verdict {
	for _, of := range rounds {
		if _, err := r.test(ctx, t, binary, of, m.id); err != nil {
			return Killed
		}
	}
	return Survived
}

// A round is tests that are run together, and how long they may take.
type round struct {
	tests   string // for go test -run
	timeout time.Duration
}

// rounds are the tests to run until a mutant is noticed.
func (t Target) rounds() []round {
	if t.Quick == "" {
		return []round{{tests: "."}}
	}
	return []round{{tests: t.Quick}, {tests: "."}}
}

// limit is how long tests may take in a mutant that took so long without one: many mutants loop for ever, and a
// machine that is busy must not count as one.
func (r Runner) limit(took time.Duration) time.Duration {
	return min(r.Timeout, max(20*time.Second, 20*took))
}

// test runs those of the tests whose name matches, in the mutant with this number; 0 is the code as it is. The error
// says that they failed.
func (r Runner) test(ctx context.Context, t Target, binary string, of round, id int) ([]byte, error) {
	const grace = 30 * time.Second // for a program that does not even get to its own timeout
	ctx, cancel := context.WithTimeout(ctx, of.timeout+grace)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-test.short", "-test.failfast", "-test.timeout="+of.timeout.String(), "-test.run="+of.tests)
	cmd.Dir = r.dir(t)
	cmd.Env = append(os.Environ(), switchVariable+"="+strconv.Itoa(id))
	cmd.WaitDelay = 10 * time.Second
	return cmd.CombinedOutput()
}

func (r Runner) dir(t Target) string { return filepath.Join(r.Root, filepath.FromSlash(t.Dir)) }
