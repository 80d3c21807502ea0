// Command mutate takes out, one at a time, the guards that this library's promises rest on, and runs the tests of
// their package over each change. A change that no test notices is printed, and the command fails: that guard could be
// lost tomorrow.
//
//	go run ./internal/mutate [-run regexp] [-list] [-timeout 2m] [-parallel 2]
//
// What is mutated is in targets.go; changes that make no difference, each with its reason, in equivalents.go.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func main() {
	run := flag.String("run", "", "mutate only the targets whose name matches this `regexp`")
	list := flag.Bool("list", false, "print the mutants and run nothing")
	timeout := flag.Duration("timeout", 2*time.Minute, "for the tests of one mutant")
	parallel := flag.Int("parallel", 2, "mutants at a time")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := func() error {
		chosen, err := regexp.Compile(*run)
		if err != nil {
			return err
		}
		root, err := moduleRoot()
		if err != nil {
			return err
		}
		p := Plan{Targets: targets, Equivalents: equivalents, Chosen: chosen}
		if *list {
			return p.List(root, os.Stdout)
		}
		return p.Run(ctx, Runner{Root: root, Timeout: *timeout, Parallel: max(1, *parallel)}, os.Stdout, os.Stderr)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		stop()
		os.Exit(1)
	}
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}
