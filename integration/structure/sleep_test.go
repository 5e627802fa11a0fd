package structure

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A test that sleeps and then looks is slow on a fast machine and wrong on a
// slow one. Sleeping is for the pause in a loop that polls until a deadline, and
// for a synctest bubble, where it costs nothing.
func TestTestsDoNotWaitBySleeping(t *testing.T) {
	top := root(t)
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path != top && strings.HasPrefix(entry.Name(), ".") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		lines, err := bareSleeps(path, nil)
		if err != nil {
			return nil //nolint:nilerr // a file that does not parse is the compiler's to report
		}
		for _, line := range lines {
			at, _ := filepath.Rel(top, path)
			t.Errorf("%s:%d sleeps to wait: poll in a loop with a deadline, or use a synctest bubble", at, line)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// bareSleeps returns the lines that call time.Sleep outside a loop, in a file
// that does not import testing/synctest. src is the file's text, or nil to read it.
func bareSleeps(path string, src any) ([]int, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, src, 0)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"testing/synctest"` }) {
		return nil, nil
	}
	var lines []int
	var stack []ast.Node
	ast.Inspect(file, func(n ast.Node) bool {
		if n == nil {
			stack = stack[:len(stack)-1]
			return true
		}
		if isSleep(n) && !slices.ContainsFunc(stack, isLoop) {
			lines = append(lines, fset.Position(n.Pos()).Line)
		}
		stack = append(stack, n)
		return true
	})
	return lines, nil
}

func isSleep(n ast.Node) bool {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return false
	}
	fun, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || fun.Sel.Name != "Sleep" {
		return false
	}
	pkg, ok := fun.X.(*ast.Ident)
	return ok && pkg.Name == "time"
}

func isLoop(n ast.Node) bool {
	switch n.(type) {
	case *ast.ForStmt, *ast.RangeStmt:
		return true
	}
	return false
}

func TestBareSleepsAreFound(t *testing.T) {
	const head = "package p\nimport (\"time\"; \"testing\")\n"
	tests := []struct {
		name string
		src  string
		want []int
	}{
		{"slept, then looked", head + "func f() {\ntime.Sleep(1)\n}", []int{4}},
		{"in a goroutine", head + "func f() {\ngo func() { time.Sleep(1) }()\n}", []int{4}},
		{"polling", head + "func f() { for !done() {\ntime.Sleep(1)\n} }", nil},
		{"in a bubble", "package p\nimport (\"time\"; \"testing/synctest\")\nfunc f() { time.Sleep(1) }", nil},
		{"somebody else's Sleep", head + "func f() { bed.Sleep(1) }", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := bareSleeps("x_test.go", test.src)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("lines %v, want %v", got, test.want)
			}
		})
	}
}
