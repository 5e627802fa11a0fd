package structure

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pkg is what `go list -json` tells of a package, as far as it is looked at here.
type pkg struct {
	ImportPath string
	Dir        string
	Name       string
	Doc        string
	GoFiles    []string
	Imports    []string
	Module     struct{ Path string }
}

// root is the folder of go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("there is no go.mod in this folder or above it")
		}
		dir = parent
	}
}

// list returns the packages of the module. A package that does not compile is
// in it all the same: its imports can be read, and the build reports the rest.
func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,Name,Doc,GoFiles,Imports,Module", "./...")
	cmd.Dir = root(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list the packages: %v\n%s", err, stderr.Bytes())
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("read the list of packages: %v", err)
		}
		// go test keeps results by the files a test looked at; what go list looked at
		// it cannot know. Without this a change elsewhere would find a kept "ok".
		for _, name := range p.GoFiles {
			if _, err := os.Stat(filepath.Join(p.Dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) == 0 {
		t.Fatal("go list found no package")
	}
	return pkgs
}

func TestImportsGoOneWay(t *testing.T) {
	graph := Graph{}
	for _, p := range list(t) {
		below := func(path string) string { return strings.TrimPrefix(path, p.Module.Path+"/") }
		imports := make([]string, 0, len(p.Imports))
		for _, i := range p.Imports {
			imports = append(imports, below(i))
		}
		graph[below(p.ImportPath)] = imports
	}
	for _, breach := range graph.Check(Rules) {
		t.Errorf("%s", breach)
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range list(t) {
		switch {
		case len(p.GoFiles) == 0: // tests only
		case p.Doc == "":
			t.Errorf("%s has no doc comment: say what the package owns and what it never does", p.ImportPath)
		case p.Name != "main" && !strings.HasPrefix(p.Doc, "Package "+p.Name+" "):
			t.Errorf("%s: its doc comment begins %q; begin with \"Package %s …\"", p.ImportPath, p.Doc, p.Name)
		}
	}
}

// The rules are held against small trees that break them, one each, so that a
// slip in a pattern shows as a rule that finds nothing.
func TestRulesFindWhatBreaksThem(t *testing.T) {
	tests := []struct {
		name  string
		graph Graph
		want  []string // the chains; empty: nothing is wrong
	}{
		{
			name: "a sound tree",
			graph: Graph{
				"fsm": {"cluster/lease", "time", "encoding/json"}, "cluster/lease": {"fmt", "time"},
				"cluster/recovery": {"fsm", "vmm", "cluster/placement"}, "cluster/placement": {"fsm"},
				"vmm": {"context"}, "vmm/libvirt": {"vmm", "github.com/digitalocean/go-libvirt", "net"},
				"fencing": {"cluster/lease", "os"}, "cluster/raftnode": {"fsm", "github.com/hashicorp/raft", "net"},
				"cluster/master": {"cluster/recovery", "cluster/api"}, "cluster/host": {"vmm", "fencing", "cluster/api"},
				"cluster/api": {"fsm", "net/http"}, "cluster/agent": {"cluster/raftnode", "cluster/master", "cluster/host", "vmm/libvirt"},
				"cmd/haagent": {"cluster/agent", "config", "fencing"}, "cmd/haadm": {"cluster/api", "config", "os"},
				"config": {"cluster/lease", "github.com/hashicorp/hcl/v2"}, "integration/sim": {"cluster/agent", "github.com/hashicorp/raft"},
			},
		},
		{
			name:  "fsm takes a value from a planner",
			graph: Graph{"fsm": {"cluster/verdict"}, "cluster/verdict": nil},
			want:  []string{"fsm → cluster/verdict"},
		},
		{
			name:  "lease reads the policy",
			graph: Graph{"cluster/lease": {"config"}, "config": nil},
			want:  []string{"cluster/lease → config", "cluster/lease → config"}, // two rules say so
		},
		{
			name:  "a planner opens a file through values",
			graph: Graph{"cluster/placement": {"vmm"}, "vmm": {"os"}},
			want:  []string{"cluster/placement → vmm → os"},
		},
		{
			name:  "a verdict logs",
			graph: Graph{"cluster/verdict": {"github.com/hashicorp/go-hclog"}},
			want:  []string{"cluster/verdict → github.com/hashicorp/go-hclog"},
		},
		{
			name:  "a planner asks a driver",
			graph: Graph{"cluster/recovery": {"vmm/embedded"}, "vmm/embedded": nil},
			want:  []string{"cluster/recovery → vmm/embedded"},
		},
		{
			name:  "the order of starts looks at a disk",
			graph: Graph{"cluster/recovery": {"config", "os"}, "config": {"os"}},
			want:  []string{"cluster/recovery → os"},
		},
		{
			name:  "the guard waits for the log",
			graph: Graph{"fencing/guard": {"fsm"}, "fsm": {"cluster/lease"}, "cluster/lease": nil, "fencing": {"cluster/raftnode"}, "cluster/raftnode": {"github.com/hashicorp/raft"}},
			want:  []string{"fencing → cluster/raftnode"},
		},
		{
			name:  "a second way to raft",
			graph: Graph{"cluster/master": {"github.com/hashicorp/raft"}, "cmd/haagent": {"github.com/hashicorp/raft-boltdb/v2"}},
			want:  []string{"cluster/master → github.com/hashicorp/raft", "cmd/haagent → github.com/hashicorp/raft-boltdb/v2"},
		},
		{
			name:  "libvirt spoken outside its driver",
			graph: Graph{"cluster/host": {"github.com/digitalocean/go-libvirt/socket"}},
			want:  []string{"cluster/host → github.com/digitalocean/go-libvirt/socket"},
		},
		{
			name:  "the two loops hold hands",
			graph: Graph{"cluster/host": {"cluster/api"}, "cluster/api": {"cluster/master"}, "cluster/master": {"cluster/host"}},
			want:  []string{"cluster/host → cluster/api → cluster/master", "cluster/master → cluster/host"},
		},
		{
			name:  "haadm goes behind the API",
			graph: Graph{"cmd/haadm": {"cluster/api"}, "cluster/api": {"cluster/raftnode"}, "cluster/raftnode": {"github.com/hashicorp/raft"}},
			want:  []string{"cmd/haadm → cluster/api → cluster/raftnode"},
		},
		{
			name:  "the product imports a test world and a command",
			graph: Graph{"cluster/agent": {"integration/sim", "cmd/haadm"}, "integration/sim": nil, "cmd/haadm": nil},
			want:  []string{"cluster/agent → integration/sim", "cluster/agent → cmd/haadm"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, breach := range test.graph.Check(Rules) {
				chain, why, _ := strings.Cut(breach, "\n")
				if strings.TrimSpace(why) == "" {
					t.Errorf("%s: no reason is given", chain)
				}
				got = append(got, chain)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("found\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(test.want, "\n  "))
			}
		})
	}
}
