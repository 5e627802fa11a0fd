package agent

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
)

// A VM that nobody protects is asked about at the master, wherever it is to start, and starts
// where nobody answers.
func TestTheMasterIsAskedAboutAStranger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		policy := "cluster \"prod\" {}\nadmission_control {\n  mode = \"enforce\"\n}\n"
		master := s.hosts["kvm1"].agent
		if _, err := master.ApplyPolicy(t.Context(), map[string][]byte{"cluster.hcl": []byte(policy)}, s.state().Policy.Revision, true, "ann"); err != nil {
			t.Fatal(err)
		}
		for _, m := range s.hosts { // a host whose guard does not run is no room for failovers, and not asked about
			m.guard.mu.Lock()
			m.guard.status.GuardPID, m.guard.status.Beat = 1, 24*time.Hour
			m.guard.mu.Unlock()
		}
		s.wait("both hosts take VMs", func() bool {
			in, err := master.Picture()
			return err == nil && !slices.ContainsFunc(in.Hosts, func(h inventory.Host) bool { return h.State != placement.Up })
		})
		start := func(host string, memory uint64) (took time.Duration, err error) {
			began := time.Now()
			err = s.hosts[host].agent.AdmitStart(t.Context(), api.AdmitRequest{UUID: "00000000-0000-4000-8000-000000000009", Name: "lone", Operation: "prepare", Memory: memory, VCPUs: 1})
			return time.Since(began), err
		}
		for _, host := range []string{"kvm1", "kvm2"} {
			_, err := start(host, 1<<44)
			for _, want := range []string{"the start of lone, which nobody protects, on " + host, "admission control (host_failures) says", "GiB of memory", `mode = "warn"`} {
				if !errors.Is(err, api.ErrRefused) || !strings.Contains(err.Error(), want) {
					t.Errorf("larger than %s it is answered %v, want it refused with %q", host, err, want)
				}
			}
			if _, err := start(host, 64<<20); err != nil {
				t.Errorf("small, on %s: %v", host, err)
			}
		}
		s.hosts["kvm1"].halt()
		if took, err := start("kvm2", 1<<44); err != nil || took > time.Second {
			t.Errorf("without a master it is answered %v after %v, want it let through within a second", err, took)
		}
	})
}
