package main

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

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
