package main

import (
	"bytes"
	"context"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const samplePath = "internal/mutate/testdata/sample/sample.go"

// sample is a target whose mutants, and what becomes of them, are known.
var sample = Target{
	Name:  "sample",
	Dir:   "internal/mutate/testdata/sample",
	Files: []string{"*.go"},
	Funcs: regexp.MustCompile(`^(rules|Check|private|Lease\.Record)$`),
	Kinds: append(tables, checks...),
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	require.NoError(t, err)
	return dir
}

func listed(t *testing.T, target Target, src string) []string {
	t.Helper()
	found, switched, err := find(target, "f.go", []byte(src), 1)
	require.NoError(t, err)
	_, err = parser.ParseFile(token.NewFileSet(), "f.go", switched, 0)
	require.NoError(t, err, "%s", switched)
	var list []string
	for _, m := range found {
		list = append(list, string(m.Kind)+" "+m.Source)
	}
	return list
}

func TestMutantsOfCode(t *testing.T) {
	t.Parallel()
	everything := Target{Funcs: regexp.MustCompile(``), Kinds: sample.Kinds}
	for _, test := range []struct {
		name, code string
		want       []string
	}{
		{"an if that returns", `func f(a any) any { if a == nil { return nil }; return a }`, []string{
			"skip func f(a any) any { if false && (a == nil) { return nil }; return a }",
		}},
		{"an if with a statement of its own", "func f() error {\nif err := g(); err != nil {\nreturn err\n}\nreturn nil\n}", []string{
			"skip if err := g(); false && (err != nil) {",
		}},
		{"an if that goes on, breaks, panics or complains", "func f(a, b, c, d bool) (errs []error) {\nfor {\nif a {\ncontinue\n}\nif b {\nbreak\n}\n}\nif c {\npanic(1)\n}\nif c {\ncomplain(`no`)\n}\nif d {\nerrs = append(errs, nil)\n}\nreturn\n}", []string{
			"skip if false && (a) {", "skip if false && (b) {", "skip if false && (c) {", "skip if false && (c) {", "skip if false && (d) {",
		}},
		{"an if that refuses nothing", "func f(a bool) { if a { g() }; if a {} }", nil},
		{"the cases of a switch without a tag", "func f(a, b bool) {\nswitch {\ncase a, b:\nreturn\ncase !a:\ng()\n}\nswitch a {\ncase b:\nreturn\n}\n}", []string{
			"skip case false && (a), b:", "skip case a, false && (b):",
		}},
		{"every comparison", "func f() {\n_ = a < b\n_ = a <= b\n_ = a > b\n_ = a >= b\n_ = a != b\n}", []string{
			"bound _ = a <= b", "negate _ = a >= b", "bound _ = a < b", "negate _ = a > b",
			"bound _ = a >= b", "negate _ = a <= b", "bound _ = a > b", "negate _ = a < b", "negate _ = a == b",
		}},
		{"a comparison that another mutant breaks is not negated", "func f() bool {\nif a == b {\nreturn true\n}\nreturn a != b && a < b\n}", []string{
			"skip if false && (a == b) {",
			"force return true || (a != b && a < b)", "force return false && (a != b && a < b)",
			"operand return (true || (a != b)) && a < b",
			"operand return a != b && (true || (a < b))", "bound return a != b && a <= b",
		}},
		{"operands of and, and of or", "func f() {\n_ = a && b && c\n_ = a || b\n_ = a && (b || c)\n}", []string{
			"operand _ = (true || (a)) && b && c", "operand _ = a && (true || (b)) && c", "operand _ = a && b && (true || (c))",
			"operand _ = (false && (a)) || b", "operand _ = a || (false && (b))",
			"operand _ = (true || (a)) && (b || c)", "operand _ = a && (true || ((b || c)))",
			"operand _ = a && ((false && (b)) || c)", "operand _ = a && (b || (false && (c)))",
		}},
		{"a predicate", "func f() (n int, ok bool) {\nif a {\nreturn\n}\nreturn 1, g()\n}\nfunc h() bool { return true }", []string{
			"skip if false && (a) {", "force return 1, true || (g())", "force return 1, false && (g())",
		}},
		{"a check at the end", "func f() error {\nreturn g()\n}\nfunc h() error { return fmt.Errorf(`no`) }\nfunc i() (int, error) { return g() }", []string{
			"succeed return nil // and not g()",
		}},
		{"a check in the body of a guard is no mutant of its own", "func f() error {\nif a {\nreturn refuse()\n}\nreturn nil\n}", []string{
			"skip if false && (a) {",
		}},
		{"a function in a function has its own results", "func f() error {\nok := func() bool {\nreturn g()\n}\nreturn ok\n}", []string{
			"force return true || (g())", "force return false && (g())",
		}},
		{"tables of addresses", "var a = []netip.Prefix{p(`10.0.0.0/8`), p(`::1/128`)}\nvar b = map[string]string{\n\"127.0.0.1\": ``, // here\n`x`: `y`,\n}\nvar c = row{`10.0.0.0/8`}", []string{
			"drop without p(`10.0.0.0/8`)", "drop without p(`::1/128`)", "drop without \"127.0.0.1\": ``", "entry without `x`: `y`",
		}},
		{"rows of a table go as a whole", "var a = []row{\n{p(`10.0.0.0/8`), `why`},\n{p(`10.0.0.0/8`), `why`}}", []string{
			"drop without {p(`10.0.0.0/8`), `why`}", "drop without {p(`10.0.0.0/8`), `why`}",
		}},
		{"tables without texts stay whole", "var a = []int{1, 2}", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.want, listed(t, everything, "package p\n"+test.code))
		})
	}
}

func TestATargetChoosesFunctionsKindsAndExpressions(t *testing.T) {
	t.Parallel()
	const src = "package p\nfunc (s *store[T]) f() bool {\nif l.token != x || n > 3 {\nreturn false\n}\nreturn y\n}\nfunc f() {\nif token {\nreturn\n}\n}"
	target := Target{Funcs: regexp.MustCompile(`^store\.f$`), Kinds: checks, Match: regexp.MustCompile("token")}
	require.Equal(t, []string{
		"skip if false && (l.token != x || n > 3) {",
		"operand if (false && (l.token != x)) || n > 3 {",
	}, listed(t, target, src))
	target.Kinds = []Kind{Negate}
	require.Equal(t, []string{"negate if l.token == x || n > 3 {"}, listed(t, target, src))
}

func TestMutantsTellWhereTheyAre(t *testing.T) {
	t.Parallel()
	mutated, err := sample.mutate(root(t))
	require.NoError(t, err)
	list := mutated.Mutants
	require.Equal(t, samplePath+`:15: rules: without {netip.MustParsePrefix("10.0.0.0/8"), "watched"}`, list[0].String())
	require.Equal(t, samplePath+`:23: Check: if false && (len(s) > 15) { // what is too long is no address either`, list[2].String())
}

func run(t *testing.T, target Target, equivalents ...Equivalent) (stdout string, err error) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a test for each mutant")
	}
	var out bytes.Buffer
	p := Plan{Targets: []Target{target}, Equivalents: equivalents, Chosen: regexp.MustCompile("sam")}
	err = p.Run(context.Background(), Runner{Root: root(t), Timeout: time.Minute, Parallel: 2}, &out, io.Discard)
	return out.String(), err
}

func TestSurvivorsArePrintedAndFail(t *testing.T) {
	t.Parallel()
	src, err := os.ReadFile("testdata/sample/sample.go")
	require.NoError(t, err)

	out, err := run(t, sample,
		Equivalent{samplePath, "Check", "if false && (len(s) > 15) { // what is too long is no address either", "ParseAddr refuses it too"},
		Equivalent{samplePath, "private", "if false && (r.prefix.Contains(addr)) {", "but it is noticed"},
		Equivalent{samplePath, "Check", "if gone {", "there is no such line"},
		Equivalent{"elsewhere.go", "Check", "if gone {", "there is no such file"},
	)
	require.Equal(t, samplePath+`:16: rules: without {netip.MustParsePrefix("192.168.0.0/16"), "not watched"} [drop]
`+samplePath+`:23: Check: if len(s) >= 15 { // what is too long is no address either [bound]
`+samplePath+`:42: private: return (true || (addr.Is4())) && addr.IsLoopback() [operand]
`+samplePath+`:50: Lease.Record: case false && (token == ""), n < 0: [skip]
`+samplePath+`:50: Lease.Record: case token == "", false && (n < 0): [skip]
`+samplePath+`:50: Lease.Record: case token == "", n <= 0: [bound]
16 mutants, 9 killed, 6 survived, 1 equivalent
`, out)
	require.ErrorIs(t, err, errSurvivors)
	require.ErrorContains(t, err, "if false && (r.prefix.Contains(addr)) {: listed as equivalent, but a test tells the difference")
	require.ErrorContains(t, err, "equivalent "+samplePath+": Check: if gone {: no such mutant any more")
	require.ErrorContains(t, err, "equivalent elsewhere.go: Check: if gone {: no such mutant any more")

	after, err := os.ReadFile("testdata/sample/sample.go")
	require.NoError(t, err)
	require.Equal(t, src, after, "the tree was changed")
}

func TestNoSurvivorsNoError(t *testing.T) {
	t.Parallel()
	target := sample
	target.Funcs = regexp.MustCompile("^private$")
	target.Quick = "Record" // which notices nothing here: all the tests are asked
	out, err := run(t, target, Equivalent{samplePath, "private", "return (true || (addr.Is4())) && addr.IsLoopback()", "no test asks"})
	require.NoError(t, err)
	require.Equal(t, "5 mutants, 4 killed, 0 survived, 1 equivalent\n", out)
}

func TestWhatIsNotBuiltIsNotKilled(t *testing.T) {
	t.Parallel()
	mutated, err := sample.mutate(root(t))
	require.NoError(t, err)
	mutated.Files[filepath.Join(root(t), samplePath)] = []byte("package sample\n]")
	r := Runner{Root: root(t), Timeout: time.Minute, Parallel: 1}
	err = r.All(context.Background(), sample, mutated, func(Mutant, Verdict) { t.Error("there is no verdict") })
	require.ErrorContains(t, err, "its tests were not built")
}

func TestTestsMustPassBeforeAnythingIsMutated(t *testing.T) {
	t.Parallel()
	target := sample
	target.Quick = "(" // no regexp
	r := Runner{Root: root(t), Timeout: time.Minute, Parallel: 1}
	err := r.All(context.Background(), target, Mutated{}, nil)
	require.ErrorContains(t, err, "the tests must pass before anything is mutated")

	target.Quick = "Renamed"
	err = r.All(context.Background(), target, Mutated{}, nil)
	require.ErrorContains(t, err, `there are no tests "Renamed" to notice anything`)
}

func TestTestsThatAreQuickGetLessTime(t *testing.T) {
	t.Parallel()
	r := Runner{Timeout: time.Minute}
	require.Equal(t, 20*time.Second, r.limit(time.Second/10))
	require.Equal(t, 40*time.Second, r.limit(2*time.Second))
	require.Equal(t, time.Minute, r.limit(4*time.Second))
}

func TestATargetWhoseCodeIsGoneIsAnError(t *testing.T) {
	t.Parallel()
	target := sample
	target.Files = []string{"moved.go"}
	_, err := target.mutate(root(t))
	require.ErrorContains(t, err, "no file moved.go")

	target = sample
	target.Funcs = regexp.MustCompile("^renamed$")
	p := Plan{Targets: []Target{target}, Chosen: regexp.MustCompile("")}
	err = p.Run(context.Background(), Runner{Root: root(t)}, io.Discard, io.Discard)
	require.ErrorContains(t, err, "has nothing to mutate")
}

func TestEquivalentsOfTargetsThatWereNotChosenAreLeftAlone(t *testing.T) {
	t.Parallel()
	p := Plan{Targets: []Target{sample}, Chosen: regexp.MustCompile("other")}
	require.False(t, p.covers(Equivalent{File: samplePath, Func: "Check"}))
	require.True(t, p.covers(Equivalent{File: samplePath, Func: "Nobody"}))
	p.Chosen = regexp.MustCompile("sample")
	require.True(t, p.covers(Equivalent{File: samplePath, Func: "Check"}))
}

func TestAPartialRunMissesOnlyItsOwnEquivalents(t *testing.T) {
	t.Parallel()
	texts, code := sample, sample
	texts.Name, texts.Kinds = "tables", tables
	code.Name, code.Kinds = "checks", checks
	row := Equivalent{File: samplePath, Func: "rules", Source: `without {netip.MustParsePrefix("192.168.0.0/16"), "not watched"}`}
	check := Equivalent{File: samplePath, Func: "private", Source: "if false && (r.prefix.Contains(addr)) {"}
	gone := Equivalent{File: samplePath, Func: "private", Source: "if gone {"}
	for chosen, want := range map[string][]Equivalent{
		"tables":  {row, gone},
		"checks":  {check, gone},
		"":        {row, check, gone},
		"nothing": nil,
	} {
		p := Plan{Targets: []Target{texts, code}, Equivalents: []Equivalent{row, check, gone}, Chosen: regexp.MustCompile(chosen)}
		require.Equal(t, want, p.missed(root(t), make([]bool, 3)), chosen)
		require.Empty(t, p.missed(root(t), []bool{true, true, true}), "what was met is not missed")
	}

	lost := code
	lost.Files = []string{"moved.go"}
	p := Plan{Targets: []Target{texts, lost}, Equivalents: []Equivalent{gone}, Chosen: regexp.MustCompile("tables")}
	require.Equal(t, []Equivalent{gone}, p.missed(root(t), []bool{false}), "a target without code is told of in its own run")
}

// The table itself: a target that finds nothing guards nothing.
func TestTargetsFindTheirCode(t *testing.T) {
	t.Parallel()
	for _, target := range targets {
		t.Run(target.Name, func(t *testing.T) {
			t.Parallel()
			mutated, err := target.mutate(root(t))
			require.NoError(t, err)
			require.NotEmpty(t, mutated.Mutants)
			for path, text := range mutated.Files {
				_, err = parser.ParseFile(token.NewFileSet(), path, text, 0)
				require.NoError(t, err, "%s", text)
			}
		})
	}
}

func TestEquivalentsHaveReasons(t *testing.T) {
	t.Parallel()
	for _, e := range equivalents {
		require.NotEmpty(t, e.Why, "%s: %s: %s", e.File, e.Func, e.Source)
	}
}
