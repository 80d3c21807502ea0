package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"net/netip"
	"strconv"
	"strings"
)

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
