package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// A Runner runs the tests of targets over mutants, in copies that only the compiler sees: the tree stays as it is, and the build cache is shared.
type Runner struct {
	Root     string
	Timeout  time.Duration // of the tests of one mutant; running into it kills the mutant
	Parallel int
}

// building is how long the build of one test may take on top of its run.
const building = 5 * time.Minute

// All tries the mutants and tells each one's verdict as soon as those before it are told.
func (r Runner) All(ctx context.Context, t Target, list []Mutant, tell func(Mutant, Verdict)) error {
	for _, tests := range t.rounds() {
		_, out, err := r.test(ctx, t, tests, "")
		if err != nil {
			return fmt.Errorf("target %s: the tests must pass before anything is mutated: %w\n%s", t.Name, err, out)
		}
		if bytes.Contains(out, []byte("[no tests to run]")) || bytes.Contains(out, []byte("[no test files]")) {
			return fmt.Errorf("target %s: there are no tests %q to notice anything", t.Name, tests)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		verdict Verdict
		err     error
	}
	results := make([]chan result, len(list))
	for i := range results {
		results[i] = make(chan result, 1)
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	defer wg.Wait()
	for range r.Parallel {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(list); i = int(next.Add(1)) - 1 {
				verdict, err := r.try(ctx, t, list[i])
				results[i] <- result{verdict, err}
			}
		})
	}
	for i, m := range list {
		result := <-results[i]
		if result.err != nil {
			cancel()
			return result.err
		}
		tell(m, result.verdict)
	}
	return nil
}

func (r Runner) try(ctx context.Context, t Target, m Mutant) (Verdict, error) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)

	file := filepath.Join(r.Root, filepath.FromSlash(m.File))
	mutant := filepath.Join(dir, filepath.Base(file))
	overlay := filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{file: mutant}})
	if err == nil {
		err = errors.Join(os.WriteFile(mutant, m.mutated(), 0o600), os.WriteFile(overlay, replace, 0o600))
	}
	if err != nil {
		return 0, err
	}

	for _, tests := range t.rounds() {
		built, out, err := r.test(ctx, t, tests, overlay)
		switch {
		case err == nil:
			continue
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case !built:
			return 0, fmt.Errorf("%s\nwas not built:\n%s", m, out)
		}
		return Killed, nil
	}
	return Survived, nil
}

// rounds are the tests to run until a mutant is noticed.
func (t Target) rounds() []string {
	if t.Quick == "" {
		return []string{"."}
	}
	return []string{t.Quick, "."}
}

// test runs those of the target's tests whose name matches. Its error says that they failed, and built whether there were tests to fail.
func (r Runner) test(ctx context.Context, t Target, tests, overlay string) (built bool, out []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout+building)
	defer cancel()
	args := []string{"test", "-vet=off", "-ldflags=-s -w", "-count=1", "-short", "-failfast", "-timeout=" + r.Timeout.String(), "-run=" + tests}
	if overlay != "" {
		args = append(args, "-overlay="+overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, ".")...)
	cmd.Dir = filepath.Join(r.Root, filepath.FromSlash(t.Dir))
	cmd.WaitDelay = 10 * time.Second
	out, err = cmd.CombinedOutput()
	return !bytes.Contains(out, []byte("[build failed]")) && !bytes.Contains(out, []byte("[setup failed]")), out, err
}
