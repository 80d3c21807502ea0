package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

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

// find returns the mutants of a file that the target asks for, in the order of the source, and the file with all of
// them in it, each behind a switch. first is the number of the first switch.
func find(t Target, file string, src []byte, first int) (list []Mutant, switched []byte, err error) {
	f := &finder{
		target: t, file: file, src: src, fset: token.NewFileSet(), next: first,
		broken: map[ast.Expr]bool{}, refused: map[ast.Stmt]bool{},
	}
	tree, err := parser.ParseFile(f.fset, file, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, nil, err
	}
	for _, decl := range tree.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			f.function = funcName(decl)
			f.search(decl, decl.Type)
		case *ast.GenDecl:
			if decl.Tok != token.VAR {
				continue // a constant must stay one
			}
			for _, spec := range decl.Specs {
				f.function = spec.(*ast.ValueSpec).Names[0].Name
				f.search(spec, nil)
			}
		}
	}
	slices.SortStableFunc(f.found, func(a, b Mutant) int { return a.at - b.at })
	return f.found, f.wraps.apply(src), nil
}

func packageName(src []byte) string {
	tree, err := parser.ParseFile(token.NewFileSet(), "", src, parser.PackageClauseOnly)
	if err != nil {
		return ""
	}
	return tree.Name.Name
}

func funcName(decl *ast.FuncDecl) string {
	if decl.Recv == nil {
		return decl.Name.Name
	}
	typ := decl.Recv.List[0].Type
	for {
		switch t := typ.(type) {
		case *ast.StarExpr:
			typ = t.X
		case *ast.IndexExpr:
			typ = t.X
		case *ast.IndexListExpr:
			typ = t.X
		case *ast.Ident:
			return t.Name + "." + decl.Name.Name
		default:
			return decl.Name.Name
		}
	}
}

// A finder collects the mutants of one file.
type finder struct {
	target   Target
	file     string
	src      []byte
	fset     *token.FileSet
	function string
	broken   map[ast.Expr]bool // has a mutant in which it is always true, or always false
	refused  map[ast.Stmt]bool // ends the body of a guard that has a mutant
	found    []Mutant
	wraps    wraps
	next     int // switch
}

// search visits what belongs to one function, whose type tells what its returns mean; function literals are visited
// with their own.
func (f *finder) search(n ast.Node, typ *ast.FuncType) {
	if !f.target.Funcs.MatchString(f.function) {
		return
	}
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GenDecl:
			return n.Tok == token.VAR
		case *ast.FuncLit:
			f.search(n.Body, n.Type)
			return false
		case *ast.CompositeLit:
			f.table(n)
		case *ast.IfStmt:
			f.guard(n.Body.List, n.Cond)
		case *ast.SwitchStmt:
			if n.Tag == nil {
				f.cases(n.Body)
			}
		case *ast.BinaryExpr:
			f.binary(n)
		case *ast.ReturnStmt:
			f.result(n, typ)
		}
		return true
	})
}

// refuses reports whether statements turn something down: they leave, or note a complaint.
func refuses(list []ast.Stmt) bool {
	if len(list) == 0 {
		return false
	}
	switch last := list[len(list)-1].(type) {
	case *ast.ReturnStmt, *ast.BranchStmt:
		return true
	case *ast.ExprStmt:
		if isCall(last.X, "panic") || isCall(last.X, "complain") {
			return true
		}
	}
	return slices.ContainsFunc(list, func(s ast.Stmt) bool {
		assign, ok := s.(*ast.AssignStmt)
		return ok && len(assign.Rhs) == 1 && isCall(assign.Rhs[0], "append")
	})
}

func isCall(e ast.Expr, name string) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	fun, ok := call.Fun.(*ast.Ident)
	return ok && fun.Name == name
}

func (f *finder) cases(body *ast.BlockStmt) {
	for _, s := range body.List {
		clause := s.(*ast.CaseClause)
		f.guard(clause.Body, clause.List...)
	}
}

// guard breaks the conditions under which a body that refuses something runs.
func (f *finder) guard(body []ast.Stmt, conditions ...ast.Expr) {
	if !refuses(body) {
		return
	}
	for _, cond := range conditions {
		if f.add(Skip, cond, "false && ("+f.text(cond)+")", "(!mutantOn(%d) && (", "))") {
			f.refused[body[len(body)-1]] = true
		}
	}
}

var opposite = map[token.Token]string{
	token.EQL: "!=", token.NEQ: "==",
	token.LSS: ">=", token.GEQ: "<",
	token.GTR: "<=", token.LEQ: ">",
}

var shifted = map[token.Token]string{token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">"}

func (f *finder) binary(e *ast.BinaryExpr) {
	if op, ok := shifted[e.Op]; ok {
		equal := "(" + f.text(e.X) + ") == (" + f.text(e.Y) + ")"
		text := f.text(e.X) + " " + op + " " + f.text(e.Y)
		if strings.HasSuffix(op, "=") {
			f.add(Bound, e, text, "((", ") || mutantOn(%d) && "+equal+")")
		} else {
			f.add(Bound, e, text, "((", ") && !(mutantOn(%d) && "+equal+"))")
		}
	}
	if op, ok := opposite[e.Op]; ok {
		// Where the comparison is false in another mutant, a test that notices it has an input for which it should be
		// true, and there its opposite is false too;
		// and the same where it is true. So the opposite can survive only alone.
		if !f.broken[e] {
			f.add(Negate, e, f.text(e.X)+" "+op+" "+f.text(e.Y), "((", ") != mutantOn(%d))")
		}
		return
	}
	for _, operand := range []ast.Expr{e.X, e.Y} {
		if inner, ok := operand.(*ast.BinaryExpr); ok && inner.Op == e.Op {
			continue // a && b && c: its operands are visited on their own
		}
		switch e.Op {
		case token.LAND:
			f.add(Operand, operand, "(true || ("+f.text(operand)+"))", "(mutantOn(%d) || (", "))")
		case token.LOR:
			f.add(Operand, operand, "(false && ("+f.text(operand)+"))", "(!mutantOn(%d) && (", "))")
		}
	}
}

// result breaks what a function returns: a truth, or the verdict of another check.
func (f *finder) result(r *ast.ReturnStmt, typ *ast.FuncType) {
	if typ == nil || typ.Results == nil || len(r.Results) != typ.Results.NumFields() {
		return
	}
	i := 0
	for _, field := range typ.Results.List {
		name, _ := field.Type.(*ast.Ident)
		for range max(1, len(field.Names)) {
			e := r.Results[i]
			i++
			switch {
			case name == nil:
			case name.Name == "bool" && !isLiteral(e):
				f.add(Force, e, "true || ("+f.text(e)+")", "(mutantOn(%d) || (", "))")
				f.add(Force, e, "false && ("+f.text(e)+")", "(!mutantOn(%d) && (", "))")
			case name.Name == "error" && isCheck(e) && !f.refused[r]:
				f.add(Succeed, e, "nil // and not "+f.text(e), "func() error { if mutantOn(%d) { return nil }; return (", ") }()")
			}
		}
	}
}

func isLiteral(e ast.Expr) bool {
	name, ok := e.(*ast.Ident)
	return ok && (name.Name == "true" || name.Name == "false")
}

// isCheck reports whether an expression is a call whose error may be nil, as far as its name tells.
func isCheck(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	fun, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return true
	}
	return fun.Sel.Name != "Errorf" && fun.Sel.Name != "New"
}

// table drops, one by one, the elements that hold a text. A literal that does not say that it is a slice or a map is a
// row of one, or has a length to keep.
func (f *finder) table(lit *ast.CompositeLit) {
	function := ""
	switch t := lit.Type.(type) {
	case *ast.ArrayType:
		if t.Len == nil {
			function = "mutantSlice"
		}
	case *ast.MapType:
		function = "mutantMap"
	}
	if function == "" {
		return
	}
	var drops []string
	for i, e := range lit.Elts {
		kind := entryKind(e)
		if kind == "" || !f.wanted(kind, e) {
			continue
		}
		key := strconv.Itoa(i)
		if pair, ok := e.(*ast.KeyValueExpr); ok && function == "mutantMap" {
			key = f.text(pair.Key)
		}
		drops = append(drops, fmt.Sprintf("%d: %s", f.note(kind, e, "without "+f.text(e)), key))
	}
	if len(drops) == 0 {
		return
	}
	of := "int"
	if t, ok := lit.Type.(*ast.MapType); ok {
		of = f.text(t.Key)
	}
	f.wrap(lit, function+"(", ", map[int]"+of+"{"+strings.Join(drops, ", ")+"})")
}

// entryKind tells the kind of a table's element by the texts in it; "" if there is none.
func entryKind(e ast.Expr) (kind Kind) {
	ast.Inspect(e, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING && kind != Drop {
			kind = Entry
			s, _ := strconv.Unquote(lit.Value)
			_, notPrefix := netip.ParsePrefix(s)
			_, notAddress := netip.ParseAddr(s)
			if notPrefix == nil || notAddress == nil {
				kind = Drop
			}
		}
		return true
	})
	return kind
}

func (f *finder) offset(p token.Pos) int { return f.fset.Position(p).Offset }

func (f *finder) text(n ast.Node) string {
	return string(f.src[f.offset(n.Pos()):f.offset(n.End())])
}

func (f *finder) wanted(kind Kind, e ast.Expr) bool {
	return slices.Contains(f.target.Kinds, kind) && (f.target.Match == nil || f.target.Match.MatchString(f.text(e)))
}

// add makes a mutant in which the expression reads as text, if the target asks for it. before and after it go what
// makes a switch of that; one of them has the verb for its number.
func (f *finder) add(kind Kind, e ast.Expr, text, before, after string) bool {
	if !f.wanted(kind, e) {
		return false
	}
	if kind != Bound {
		f.broken[e] = true
	}
	start, end := f.offset(e.Pos()), f.offset(e.End())
	head := bytes.LastIndexByte(f.src[:start], '\n') + 1
	tail := len(f.src)
	if n := bytes.IndexByte(f.src[end:], '\n'); n >= 0 {
		tail = end + n
	}
	id := strconv.Itoa(f.note(kind, e, string(f.src[head:start])+text+string(f.src[end:tail])))
	f.wrap(e, strings.Replace(before, "%d", id, 1), strings.Replace(after, "%d", id, 1))
	return true
}

// note adds a mutant and returns the number of its switch.
func (f *finder) note(kind Kind, e ast.Expr, source string) int {
	id := f.next
	f.next++
	f.found = append(f.found, Mutant{
		File: f.file, Line: f.fset.Position(e.Pos()).Line, Func: f.function, Kind: kind,
		Source: strings.Join(strings.Fields(source), " "),
		at:     f.offset(e.Pos()), id: id,
	})
	return id
}

func (f *finder) wrap(e ast.Expr, before, after string) {
	f.wraps = append(f.wraps, wrap{f.offset(e.Pos()), f.offset(e.End()), before, after})
}
