package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A Target is code whose guards are mutated, and the tests that must notice.
type Target struct {
	Name  string
	Dir   string         // of the package, relative to the root of the repository
	Files []string       // patterns of file names in Dir; tests are never mutated
	Funcs *regexp.Regexp // "Name", "Type.Name", or the name of a package variable
	Kinds []Kind
	Match *regexp.Regexp // if not nil: only expressions with such a text
	Quick string         // the package's tests to ask first, for go test -run; only what survives them is shown to all of them
}

// An Equivalent is a mutant that no test can notice, because it makes no difference that anyone may rely on.
type Equivalent struct {
	File, Func string
	Source     string // as it is printed for a survivor
	Why        string
}

// A Plan is what one run of the command does.
type Plan struct {
	Targets     []Target
	Equivalents []Equivalent
	Chosen      *regexp.Regexp // of the targets' names
}

var errSurvivors = errors.New("there are survivors: a test is missing for each, or a reason in equivalents.go")

// List prints the mutants.
func (p Plan) List(root string, w io.Writer) error {
	for _, t := range p.chosen() {
		mutated, err := t.mutate(root)
		if err != nil {
			return err
		}
		for _, m := range mutated.Mutants {
			fmt.Fprintf(w, "%s [%s]\n", m, m.Kind)
		}
	}
	return nil
}

// Run tries all mutants of the chosen targets, prints the survivors and a summary to w, and how far it is to progress.
func (p Plan) Run(ctx context.Context, r Runner, w, progress io.Writer) error {
	total, killed, survived, excused := 0, 0, 0, 0
	used := make([]bool, len(p.Equivalents))
	var errs []error
	for _, t := range p.chosen() {
		mutated, err := t.mutate(r.Root)
		if err != nil {
			return err
		}
		list := mutated.Mutants
		if len(list) == 0 {
			return fmt.Errorf("target %s has nothing to mutate", t.Name)
		}
		start := time.Now()
		told := 0
		err = r.All(ctx, t, mutated, func(m Mutant, verdict Verdict) {
			if told++; told%50 == 0 {
				fmt.Fprintf(progress, "%s: %d of %d\n", t.Name, told, len(list))
			}
			known := p.known(m)
			if known >= 0 {
				used[known] = true
			}
			switch {
			case verdict == Killed && known >= 0:
				killed++
				errs = append(errs, fmt.Errorf("%s: listed as equivalent, but a test tells the difference", m))
			case verdict == Killed:
				killed++
			case known >= 0:
				excused++
			default:
				survived++
				fmt.Fprintf(w, "%s [%s]\n", m, m.Kind)
			}
		})
		if err != nil {
			return err
		}
		total += len(list)
		fmt.Fprintf(progress, "%s: %d mutants, %s\n", t.Name, len(list), time.Since(start).Round(time.Second))
	}
	for _, e := range p.missed(r.Root, used) {
		errs = append(errs, fmt.Errorf("equivalent %s: %s: %s: no such mutant any more", e.File, e.Func, e.Source))
	}
	fmt.Fprintf(w, "%d mutants, %d killed, %d survived, %d equivalent\n", total, killed, survived, excused)
	if survived > 0 {
		errs = append(errs, errSurvivors)
	}
	return errors.Join(errs...)
}

func (p Plan) chosen() []Target {
	return slices.DeleteFunc(slices.Clone(p.Targets), func(t Target) bool { return !p.Chosen.MatchString(t.Name) })
}

// known is the index of the equivalent that a mutant is, or -1.
func (p Plan) known(m Mutant) int {
	return slices.IndexFunc(p.Equivalents, func(e Equivalent) bool {
		return e.File == m.File && e.Func == m.Func && e.Source == m.Source
	})
}

// missed returns the equivalents that this run should have met and did not; used are those that it met. Targets share
// files: what a target that was not chosen would meet is left to that one's run.
func (p Plan) missed(root string, used []bool) []Equivalent {
	met := slices.Clone(used)
	for _, t := range p.Targets {
		if p.Chosen.MatchString(t.Name) {
			continue
		}
		mutated, err := t.mutate(root)
		if err != nil {
			continue // as its own run will say
		}
		for _, m := range mutated.Mutants {
			if i := p.known(m); i >= 0 {
				met[i] = true
			}
		}
	}
	var missed []Equivalent
	for i, e := range p.Equivalents {
		if !met[i] && p.covers(e) {
			missed = append(missed, e)
		}
	}
	return missed
}

// covers reports whether the equivalent is this run's affair: its function belongs to a chosen target, or to none at
// all.
func (p Plan) covers(e Equivalent) bool {
	has := func(t Target) bool { return t.has(e.File) && t.Funcs.MatchString(e.Func) }
	return slices.ContainsFunc(p.chosen(), has) || !slices.ContainsFunc(p.Targets, has)
}

func (t Target) has(file string) bool {
	dir, name := filepath.Split(filepath.FromSlash(file))
	return filepath.Clean(dir) == filepath.Clean(filepath.FromSlash(t.Dir)) && slices.ContainsFunc(t.Files, func(pattern string) bool {
		ok, _ := filepath.Match(pattern, name)
		return ok
	})
}

// Mutated is a target's mutants, and the files, by their paths, that have them all, each behind its switch.
type Mutated struct {
	Mutants []Mutant
	Files   map[string][]byte
}

// mutate finds the mutants of the target's files. A pattern without files is an error: the code went elsewhere.
func (t Target) mutate(root string) (Mutated, error) {
	dir := filepath.Join(root, filepath.FromSlash(t.Dir))
	all := Mutated{Files: map[string][]byte{}}
	for _, pattern := range t.Files {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return Mutated{}, err
		}
		paths = slices.DeleteFunc(paths, func(p string) bool { return strings.HasSuffix(p, "_test.go") })
		if len(paths) == 0 {
			return Mutated{}, fmt.Errorf("target %s: no file %s in %s", t.Name, pattern, t.Dir)
		}
		for _, path := range paths {
			src, err := os.ReadFile(path)
			if err != nil {
				return Mutated{}, err
			}
			found, switched, err := find(t, filepath.ToSlash(filepath.Join(t.Dir, filepath.Base(path))), src, len(all.Mutants)+1)
			if err != nil {
				return Mutated{}, err
			}
			all.Mutants = append(all.Mutants, found...)
			all.Files[path] = switched
			all.Files[filepath.Join(dir, "mutant_switches.go")] = switches(packageName(src))
		}
	}
	return all, nil
}
