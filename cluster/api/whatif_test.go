package api_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/cluster/whatif"
)

// A question about a plan is answered by the master wherever it is asked, with the VMs
// that came in its body.
func TestPlanIsAskedOfTheMaster(t *testing.T) {
	c := cluster(t, apitest.Healthy(), follower("kvm1"))
	q := whatif.Question{Fail: []string{"kvm3"}, Hypothesis: whatif.Hypothesis{Add: []inventory.FileVM{{Name: "more", Memory: 4 << 30, VCPUs: 1}}}}
	var got [2]*api.PlanAnswer
	for i, name := range []string{"kvm2", "kvm1"} {
		var err error
		if got[i], err = c[name].client.Plan(t.Context(), q); err != nil {
			t.Fatalf("asked of %s: %v", name, err)
		}
		if !got[i].Source.Fresh || got[i].Source.Host != "kvm2" || len(got[i].Added) != 1 || !got[i].Fine {
			t.Errorf("asked of %s the answer is %+v from %+v", name, got[i].Plan, got[i].Source)
		}
	}
	if !reflect.DeepEqual(got[0].Plan, got[1].Plan) {
		t.Errorf("the answers differ:\n%+v\n%+v", got[0].Plan, got[1].Plan)
	}
	var refused *api.Error
	if _, err := c["kvm1"].client.Stale().Plan(t.Context(), q); !errors.As(err, &refused) || refused.Code != api.CodeNoMaster {
		t.Errorf("content with a copy, a member that is not the master answers %v, want %s", err, api.CodeNoMaster)
	}
	if _, err := c["kvm1"].client.Plan(t.Context(), whatif.Question{Fail: []string{"kvm9"}}); !errors.As(err, &refused) || refused.Code != api.CodeBadRequest {
		t.Errorf("about a host that is not there the answer is %v, want %s", err, api.CodeBadRequest)
	}
}

// The room that there would be is asked of the master too, with what is supposed in a body.
func TestCapacityOfAHypothesisIsAskedOfTheMaster(t *testing.T) {
	c := cluster(t, apitest.Healthy(), follower("kvm1"))
	now, err := c["kvm1"].client.Capacity(t.Context(), whatif.Hypothesis{})
	if err != nil {
		t.Fatal(err)
	}
	h := whatif.Hypothesis{Add: []inventory.FileVM{{Name: "more", Memory: 4 << 30, VCPUs: 1}}, AddLike: []string{"kvm1"}, RemoveHosts: []string{"kvm3"}}
	then, err := c["kvm1"].client.Capacity(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	if !then.Source.Fresh || len(then.Added) != 1 || !then.Added[0].Admitted || then.Total.VMs != now.Total.VMs || len(then.Hosts) != len(now.Hosts) || then.Hosts[1].Name != "kvm1+1" {
		t.Errorf("now %+v, then %+v with %+v from %+v; want one VM and one host more, and one of each less", now.Hosts, then.Hosts, then.Added, then.Source)
	}
	var refused *api.Error
	for name, bad := range map[string]whatif.Hypothesis{"no such host": {RemoveHosts: []string{"kvm9"}}, "a VM without memory": {Add: []inventory.FileVM{{Name: "more"}}}} {
		if _, err := c["kvm1"].client.Capacity(t.Context(), bad); !errors.As(err, &refused) || refused.Code != api.CodeBadRequest {
			t.Errorf("%s: the answer is %v, want %s", name, err, api.CodeBadRequest)
		}
	}
}

func TestABrokenRuleIsAProblem(t *testing.T) {
	b := apitest.Healthy()
	rule := placement.Rule{Name: "databases", Kind: placement.Apart, Must: true, VMs: []string{"db1", "db2"}}
	inv := &inventory.Inventory{Cluster: &placement.Cluster{Hosts: []placement.Host{{Name: "kvm1", Memory: 8 << 30}},
		VMs: []placement.VM{{Name: "db1", Host: "kvm1"}, {Name: "db2", Host: "kvm1"}}, Rules: []placement.Rule{rule}}}
	says := func() bool {
		w := api.World{Self: b.Me, State: b.St, Outlook: &whatif.Outlook{Inventory: inv}}
		for _, p := range w.Status().Problems {
			if strings.Contains(p.Text, "rule databases (apart) is broken by db1 on kvm1, db2 on kvm1") && p.Next == "haadm placement violations" {
				return true
			}
		}
		return false
	}
	if !says() {
		t.Error("status does not say that a must is broken")
	}
	inv.Cluster.Rules[0].Must = false
	if says() {
		t.Error("status takes a wish for a must")
	}
}

func TestRoomIsAProblem(t *testing.T) {
	verdict := func(v placement.Verdict, vms ...string) *placement.Verdict {
		for _, vm := range vms {
			v.Uncovered = append(v.Uncovered, placement.Uncovered{VM: vm, Why: "it cannot leave kvm1"})
		}
		return &v
	}
	for _, tt := range []struct {
		name string
		room *placement.Verdict
		off  bool
		want []string
	}{
		{"not known", nil, false, nil},
		{"enough", verdict(placement.Verdict{Answer: placement.Yes}), false, nil},
		{"not enough", verdict(placement.Verdict{Answer: placement.No, Why: "kvm1 is too large"}), false, []string{"there is not enough room for the failures that the policy asks for: kvm1 is too large"}},
		{"cannot be found out", verdict(placement.Verdict{Answer: placement.Unknown, Why: "x"}), false, []string{"whether there is room for the failures that the policy asks for could not be found out: x"}},
		{"off", &placement.Verdict{Answer: placement.Yes}, true, []string{"admission control is off: nothing keeps room for failures of hosts"}},
		{"off, with a VM that cannot leave", verdict(placement.Verdict{Answer: placement.Yes}, "db1"), true, []string{
			"admission control is off: nothing keeps room for failures of hosts", "vm db1 is protected, and no plan can restart it if its host is lost: it cannot leave kvm1"}},
		{"VMs that cannot leave", verdict(placement.Verdict{Answer: placement.Yes}, "db1", "web"), false, []string{"vm db1 is protected, and no plan can restart it if its host is lost: it cannot leave kvm1 (1 more is like it)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := apitest.Healthy()
			b.RoomNow = tt.room
			if tt.off {
				b.St.Policy.Files = map[string][]byte{"a.hcl": []byte("cluster \"basement\" {}\nadmission_control {\n  mode = \"off\"\n}\nheartbeat_volume \"san\" {\n  path = \"/dev/disk/by-id/wwn-0x6001405f00d-part1\"\n}\nheartbeat_volume \"nfs\" {\n  path = \"/srv/vm/.holdfast-heartbeat\"\n}\n")}
			}
			s, err := cluster(t, b)["kvm2"].client.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range s.Problems {
				if strings.Contains(p.Text, "room") || strings.Contains(p.Text, "plan") {
					got = append(got, p.Text)
				}
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("problems %q, want %q", got, tt.want)
			}
		})
	}
}
