package structure

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A test that sleeps and then looks is slow on a fast machine and wrong on a
// slow one. Sleeping is for the pause in a loop that polls until a deadline, and
// for a synctest bubble, where it costs nothing. Which functions run in a bubble
// cannot be read off one file, so a folder whose tests use bubbles is trusted.
func TestTestsDoNotWaitBySleeping(t *testing.T) {
	top := root(t)
	folders := map[string]map[string]*ast.File{}
	fset := token.NewFileSet()
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
		// What parses is looked at; the rest of a broken file is the compiler's to report.
		file, _ := parser.ParseFile(fset, path, nil, 0)
		if file != nil {
			dir := filepath.Dir(path)
			if folders[dir] == nil {
				folders[dir] = map[string]*ast.File{}
			}
			folders[dir][path] = file
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range slices.Sorted(maps.Keys(folders)) {
		files := folders[dir]
		for _, at := range bareSleeps(fset, files) {
			at.Filename = strings.TrimPrefix(at.Filename, top+"/")
			t.Errorf("%s:%d sleeps to wait: poll in a loop with a deadline, or use a synctest bubble", at.Filename, at.Line)
		}
	}
}

// bareSleeps returns where the test files of a folder call time.Sleep outside a
// loop; nothing when any of them imports testing/synctest.
func bareSleeps(fset *token.FileSet, files map[string]*ast.File) []token.Position {
	var found []token.Position
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if slices.ContainsFunc(files[path].Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"testing/synctest"` }) {
			return nil
		}
		var stack []ast.Node
		ast.Inspect(files[path], func(n ast.Node) bool {
			if n == nil {
				stack = stack[:len(stack)-1]
				return true
			}
			if isSleep(n) && !slices.ContainsFunc(stack, isLoop) {
				found = append(found, fset.Position(n.Pos()))
			}
			stack = append(stack, n)
			return true
		})
	}
	return found
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
	const bubble = "package p\nimport \"testing/synctest\"\n"
	tests := []struct {
		name  string
		files []string
		want  []int
	}{
		{"slept, then looked", []string{head + "func f() {\ntime.Sleep(1)\n}"}, []int{4}},
		{"in a goroutine", []string{head + "func f() {\ngo func() { time.Sleep(1) }()\n}"}, []int{4}},
		{"polling", []string{head + "func f() { for !done() {\ntime.Sleep(1)\n} }"}, nil},
		{"in a bubble made by another file", []string{head + "func f() {\ntime.Sleep(1)\n}", bubble}, nil},
		{"somebody else's Sleep", []string{head + "func f() { bed.Sleep(1) }"}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fset, files := token.NewFileSet(), map[string]*ast.File{}
			for i, src := range test.files {
				name := string(rune('a'+i)) + "_test.go"
				file, err := parser.ParseFile(fset, name, src, 0)
				if err != nil {
					t.Fatal(err)
				}
				files[name] = file
			}
			var got []int
			for _, at := range bareSleeps(fset, files) {
				got = append(got, at.Line)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("lines %v, want %v", got, test.want)
			}
		})
	}
}
