package main

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
	"github.com/holdfast-ha/holdfast/fsm"
)

func TestWhatIsWaitedFor(t *testing.T) {
	status := func(fresh bool, voters int, states ...string) *api.Status {
		st := &api.Status{Source: &api.Source{Fresh: fresh}, Voters: voters}
		for i, s := range states {
			st.Hosts = append(st.Hosts, api.HostView{Name: string(rune('a' + i)), State: s})
		}
		return st
	}
	vm := func(state string, intent fsm.Intent) *api.VMList {
		return &api.VMList{Source: &api.Source{Fresh: true}, VMs: []api.VMView{{Name: "v", Protected: intent != "", State: state, Intent: intent}}}
	}
	for _, tc := range []struct {
		what    string
		st      *api.Status
		vms     *api.VMList
		missing []string
	}{
		{"settled", status(true, 3, "live", "live", "dead"), vm("running", fsm.IntentRun), nil},
		{"settled", status(true, 3, "live", "live", "suspect"), vm("unknown", fsm.IntentRun), []string{"host c is suspect", "vm v is unknown"}},
		{"settled", status(true, 3, "live", "live", "live"), vm("stopped", fsm.IntentStop), nil},
		{"settled", status(true, 3, "live", "live", "live"), vm("unknown", ""), nil},
		{"settled", status(true, 1, "live", "live", "live"), vm("running", fsm.IntentRun), []string{"1 of 3 hosts vote"}},
		{"settled", status(false, 3, "live", "live", "live"), vm("running", fsm.IntentRun), []string{"no master answers"}},
		{"quorum", status(true, 3), nil, nil},
		{"quorum", status(false, 3), nil, []string{"no master answers"}},
		{"host b live", status(true, 3, "live", "live"), nil, nil},
		{"host b live", status(true, 3, "live", "dead"), nil, []string{"host b is dead"}},
		{"host b live", status(false, 3, "live", "live"), nil, []string{"no master answers"}},
		{"host x live", status(true, 3, "live"), nil, []string{"there is no host x"}},
		{"vm v running", status(true, 3), vm("running", ""), nil},
		{"vm v running", status(true, 3), vm("starting", fsm.IntentRun), []string{"vm v is starting"}},
		{"vm x running", status(true, 3), vm("running", fsm.IntentRun), []string{"vm x is not known"}},
	} {
		until, err := waitFor(strings.Fields(tc.what))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tc.missing, until(tc.st, tc.vms)); d != "" {
			t.Errorf("%s, hosts %+v: what is missing (-want +got):\n%s", tc.what, tc.st.Hosts, d)
		}
	}
}

// TestFollowOutlivesTheAgent: whoever watches a failover sees on when the agent is back.
func TestFollowOutlivesTheAgent(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	serve := func(b *apitest.Backend) (stop func()) {
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		s := api.NewServer(b, api.Options{})
		srv := s.HTTPServer(s.Local())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = srv.Serve(l)
		}()
		return func() {
			s.Close()
			_ = srv.Close()
			<-done
		}
	}
	var out, errOut shared
	p := &program{stdin: strings.NewReader(""), stdout: &out, stderr: &errOut, environ: []string{"HAADM_SOCKET=" + socket}, now: func() time.Time { return apitest.Now }, zone: time.UTC}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stop := serve(apitest.Healthy())
	done := make(chan int)
	go func() { done <- p.run(ctx, []string{"events", "--follow"}) }()
	until := func(s *shared, text string) {
		t.Helper()
		for !strings.Contains(s.String(), text) {
			select {
			case <-ctx.Done():
				t.Fatalf("%q never came; so far:\n%s%s", text, out.String(), errOut.String())
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	until(&out, "  104  ")
	stop()
	until(&errOut, "The agent went away")
	b := apitest.Healthy()
	b.Emit(fsm.Event{At: apitest.Now, Severity: fsm.Info, Text: "while it was away"})
	defer serve(b)()
	until(&out, "while it was away")
	cancel()
	if code := <-done; code != exitOK || strings.Count(out.String(), "  104  ") != 1 {
		t.Errorf("exit %d, want %d, and each event once:\n%s%s", code, exitOK, out.String(), errOut.String())
	}
}
