package api_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
	"github.com/holdfast-ha/holdfast/cluster/lease"
)

// A volume is refused when a term differs by a nanosecond: it must survive the wire.
func TestTimingSurvivesTheWire(t *testing.T) {
	odd := lease.Timing{Profile: "standard", Heartbeat: 1234567891, Lease: 9*time.Minute + 1, Watchdog: 3 * time.Second, Reset: 1001 * time.Millisecond, Drain: time.Hour - 1, ClockError: 1e-5 / 3, Grain: 50000001, Election: 150000007}
	all := []lease.Timing{odd, {}}
	for _, name := range lease.Profiles {
		p, _ := lease.Profile(name)
		all = append(all, p)
	}
	for _, want := range all {
		if got := api.NewTimingView(want).Timing(); got != want {
			t.Errorf("%+v came back as %+v", want, got)
		}
	}
}

func TestClusterIsTold(t *testing.T) {
	m := cluster(t, apitest.Healthy(), follower("kvm1"))["kvm1"]
	a, err := m.client.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if a.ID != apitest.ClusterID || a.Name != "basement" || len(a.Hosts) != 3 || a.Hosts[2].Name != "kvm3" || a.Hosts[2].ID == "" || a.Schema != 1 {
		t.Errorf("the cluster is %+v", a)
	}
}

// What is asked of fence devices is done by the master, in the name of who asked.
func TestFenceGoesToTheMaster(t *testing.T) {
	members := cluster(t, apitest.Healthy(), follower("kvm1"))
	m, master := members["kvm1"], members["kvm2"]
	if l, err := m.client.FenceTest(t.Context(), "kvm1"); err != nil || len(l.Devices) != 1 || l.Devices[0].Name != "kvm1-bmc" {
		t.Errorf("test: %+v, %v", l, err)
	}
	r, err := m.client.Fence(t.Context(), "kvm1", api.FenceRequest{Action: api.FenceOff, EvenIfHeard: true})
	if err != nil || !r.Done || r.Freed != 2 || len(r.Tries) != 1 || r.Tries[0].Took.Duration() != 3200*time.Millisecond {
		t.Errorf("off: %+v, %v", r, err)
	}
	if did := master.Did(); len(did) != 2 || !strings.HasSuffix(did[1], "by "+me(t)+"@kvm1") || !strings.HasPrefix(did[1], "fence off kvm1 (even if heard: true)") {
		t.Errorf("the master was asked for %q", did)
	}
	var refused *api.Error
	if _, err := m.client.Fence(t.Context(), "kvm1", api.FenceRequest{Action: "cycle"}); !errors.As(err, &refused) || refused.Code != api.CodeBadRequest {
		t.Errorf("an action that there is not: %v", err)
	}
	if _, err := m.client.Fence(t.Context(), "kvm9", api.FenceRequest{Action: api.FenceOff}); !errors.As(err, &refused) || refused.Code != api.CodeNotFound {
		t.Errorf("a host that there is not: %v", err)
	}
	if len(m.Did()) != 0 {
		t.Errorf("a member that is not the master did %q", m.Did())
	}
}

// A shown policy holds no secret unless it was asked for, and is not taken back.
func TestPolicyIsShownWithoutSecrets(t *testing.T) {
	b := apitest.Healthy()
	b.Change(func() {
		st := *b.St
		st.Policy.Files = map[string][]byte{"cluster.hcl": []byte("cluster \"basement\" {\n  schema = 1\n}\nfence \"b\" {\n  agent = \"fence_x\"\n  password = \"hunter2\"\n}\n")}
		b.St = &st
	})
	m := cluster(t, b)["kvm2"]
	shown, err := m.client.Policy(t.Context())
	if err != nil || strings.Contains(shown.Files["cluster.hcl"], "hunter2") || !strings.Contains(shown.Files["cluster.hcl"], api.Masked) {
		t.Errorf("shown: %v\n%s", err, shown.Files["cluster.hcl"])
	}
	whole, err := m.client.PolicyWithSecrets(t.Context())
	if err != nil || !strings.Contains(whole.Files["cluster.hcl"], "hunter2") {
		t.Errorf("with secrets: %v\n%s", err, whole.Files["cluster.hcl"])
	}
	if _, err := m.client.ApplyPolicy(t.Context(), api.PolicyRequest{Files: shown.Files, Previous: shown.Revision}); !errors.Is(err, api.ErrRefused) {
		t.Errorf("the shown one was taken back: %v", err)
	}
	if _, err := m.client.ApplyPolicy(t.Context(), api.PolicyRequest{Files: whole.Files, Previous: whole.Revision}); err != nil {
		t.Errorf("the whole one was refused: %v", err)
	}
}
