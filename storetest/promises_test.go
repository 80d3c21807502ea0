package storetest

import (
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
)

// contract returns the sentences of the comments in store.go, each on one line.
func contract(t *testing.T) map[string]bool {
	t.Helper()
	source, err := os.ReadFile("../store.go")
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), "store.go", source, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	end := regexp.MustCompile(`\.\s+`)
	sentences := map[string]bool{}
	for _, group := range file.Comments {
		for paragraph := range strings.SplitSeq(group.Text(), "\n\n") {
			paragraph = strings.Join(strings.Fields(paragraph), " ")
			for _, sentence := range end.Split(paragraph, -1) {
				sentences[strings.TrimSuffix(sentence, ".")+"."] = true
			}
		}
	}
	return sentences
}

func TestEveryPromiseHasACase(t *testing.T) {
	t.Parallel()
	quoted := map[string]bool{}
	for _, group := range groups {
		for _, k := range group.cases {
			quoted[k.promise] = true
		}
	}
	promised := 0
	for sentence := range contract(t) {
		if !strings.Contains(sentence, "MUST") {
			continue
		}
		promised++
		if !quoted[sentence] {
			t.Errorf("no case checks: %s", sentence)
		}
	}
	if promised < 40 {
		t.Errorf("found %d sentences with MUST in store.go: they are not read as they are written", promised)
	}
}

func TestCasesQuoteTheContract(t *testing.T) {
	t.Parallel()
	sentences := contract(t)
	for _, group := range groups {
		names := map[string]bool{}
		for _, k := range group.cases {
			if !sentences[k.promise] {
				t.Errorf("%s/%s quotes what store.go does not say: %s", group.name, k.name, k.promise)
			}
			if names[k.name] {
				t.Errorf("%s/%s is there twice", group.name, k.name)
			}
			names[k.name] = true
		}
	}
}
