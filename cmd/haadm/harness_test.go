package main

import (
	"bytes"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
	"github.com/holdfast-ha/holdfast/cluster/lease"
)

var rewrite = flag.Bool("rewrite", false, "write the expected texts anew; read the difference before it is committed")

// agent serves a backend on a unix socket until the test ends.
func agent(t testing.TB, b *apitest.Backend) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := api.NewServer(b, api.Options{Now: func() time.Time { return apitest.Now }, Timing: func() lease.Timing {
		timing, _ := lease.Profile("fast")
		return timing
	}})
	srv := s.HTTPServer(s.Local())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	t.Cleanup(func() {
		s.Close()
		_ = srv.Close()
		<-done
	})
	return socket
}

// answer is what one call of haadm came to.
type answer struct {
	code        int
	out, errOut string
}

// typed is a terminal at which a person types one line.
type typed struct{ io.Reader }

// Terminal makes haadm ask.
func (typed) Terminal() bool { return true }

// testAgents is where the fence agents of the tests are.
func testAgents(t testing.TB) string {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "testdata", "agents")
}

// haadm runs the command as of apitest.Now, away from a terminal.
func haadm(t testing.TB, socket string, stdin io.Reader, args ...string) answer {
	t.Helper()
	if stdin == nil {
		stdin = strings.NewReader("")
	}
	var out, errOut bytes.Buffer
	p := &program{stdin: stdin, stdout: &out, stderr: &errOut, environ: []string{"HAADM_SOCKET=" + socket, "COLUMNS=100"}, now: func() time.Time { return apitest.Now }, zone: time.UTC, agentDir: testAgents(t)}
	code := p.run(t.Context(), args)
	clean := func(s string) string { return strings.ReplaceAll(s, socket, "SOCKET") }
	return answer{code, clean(out.String()), clean(errOut.String())}
}

// golden compares text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s differs (-want +got); go test -rewrite writes it anew:\n%s", path, d)
	}
}
