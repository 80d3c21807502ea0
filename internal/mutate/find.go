package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
)

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
