package main

import "fmt"

// A Kind is a way to break a guard.
type Kind string

const (
	Drop    Kind = "drop"    // an element that names an address or a prefix leaves its table
	Entry   Kind = "entry"   // an element with any other text leaves its table
	Skip    Kind = "skip"    // an if or a case that refuses something never does
	Negate  Kind = "negate"  // a comparison says its opposite; left out where another kind breaks it in a way that is no easier to notice
	Bound   Kind = "bound"   // a bound moves by one: < and <=, > and >= change places
	Operand Kind = "operand" // an operand of && or || is left out
	Force   Kind = "force"   // a predicate always answers true, or always false
	Succeed Kind = "succeed" // a function that ends in a check of another ends in nil
)

// Kinds that fit tables, and kinds that fit code.
var (
	tables = []Kind{Drop, Entry}
	checks = []Kind{Skip, Negate, Bound, Operand, Force, Succeed}
)

// A Mutant is one change to one file.
type Mutant struct {
	File   string // slash-separated, relative to the root of the repository
	Line   int
	Func   string // "Name", "Type.Name", or the name of a package variable
	Kind   Kind
	Source string // the changed line or lines in one, as the mutant has them

	at int // offset in the file
	id int // which of the program's switches turns it on; they count from 1
}

func (m Mutant) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", m.File, m.Line, m.Func, m.Source)
}
