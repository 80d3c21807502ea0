package main

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
)

// A wrap is text that goes around a part of a file. Two of them are apart, or one is inside the other.
type wrap struct {
	start, end    int
	before, after string
}

type wraps []wrap

// apply puts the text in. Of two that go around the same part the first is the outer one.
func (w wraps) apply(src []byte) []byte {
	sorted := slices.Clone(w)
	slices.SortStableFunc(sorted, func(a, b wrap) int { return cmp.Or(a.start-b.start, b.end-a.end) })
	var out bytes.Buffer
	var open wraps
	at := 0
	copyTo := func(offset int) {
		out.Write(src[at:offset])
		at = offset
	}
	closeUpTo := func(offset int) {
		for len(open) > 0 && open[len(open)-1].end <= offset {
			last := open[len(open)-1]
			open = open[:len(open)-1]
			copyTo(last.end)
			out.WriteString(last.after)
		}
	}
	for _, x := range sorted {
		closeUpTo(x.start)
		copyTo(x.start)
		out.WriteString(x.before)
		open = append(open, x)
	}
	closeUpTo(len(src))
	copyTo(len(src))
	return out.Bytes()
}

// switchVariable is set to the number of the mutant that a program is to be.
const switchVariable = "MUTANT"

// switches returns the file that goes into a package so that its mutants can be turned on.
func switches(pkg string) []byte {
	return fmt.Appendf(nil, `package %s

import (
	"os"
	"slices"
	"strconv"
)

var mutantNumber = func() int { n, _ := strconv.Atoi(os.Getenv(%q)); return n }()

func mutantOn(n int) bool { return mutantNumber == n }

func mutantSlice[S ~[]E, E any](s S, drops map[int]int) S {
	if i, ok := drops[mutantNumber]; ok {
		return slices.Delete(s, i, i+1)
	}
	return s
}

func mutantMap[M ~map[K]V, K comparable, V any](m M, drops map[int]K) M {
	if key, ok := drops[mutantNumber]; ok {
		delete(m, key)
	}
	return m
}

var _, _, _ = mutantOn, mutantSlice[[]int], mutantMap[map[int]int]
`, pkg, switchVariable)
}
