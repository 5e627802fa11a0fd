package whatif

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
)

const gib = 1 << 30

// rack is three hosts of 32 GiB and four VMs; lamp is best effort, disk is on a datastore.
func rack(t *testing.T) (*inventory.Builder, inventory.Input) {
	t.Helper()
	f, err := inventory.ReadFile(strings.NewReader(`{"schema": 1,
"policy": {"a.hcl": "cluster \"rack\" {}\ndatastore \"nfs\" {\n  path = \"/srv/nfs\"\n}\nclass \"low\" {\n  admission = \"best_effort\"\n}\nvm \"lamp\" {\n  class = \"low\"\n}\nadmission_control {\n  mode = \"enforce\"\n  host_failures {\n    tolerate = 1\n  }\n}\n"},
"hosts": [{"name": "a", "memory": "32GiB", "cpus": 8}, {"name": "b", "memory": "32GiB", "cpus": 8}, {"name": "c", "memory": "32GiB", "reserve": "2GiB", "cpus": 8, "state": "maintenance", "why": "new disks"}],
"vms": [{"name": "db", "host": "a", "memory": "20GiB", "vcpus": 4}, {"name": "disk", "host": "b", "memory": "4GiB", "vcpus": 1, "disks": ["/srv/nfs/d"]},
 {"name": "lamp", "host": "a", "memory": "7GiB", "vcpus": 1}, {"name": "other", "host": "b", "protected": false, "memory": "2GiB", "vcpus": 2}]}`))
	if err != nil {
		t.Fatal(err)
	}
	in, err := f.Input()
	if err != nil {
		t.Fatal(err)
	}
	return &inventory.Builder{}, in
}

func TestAsk(t *testing.T) {
	small := inventory.FileVM{Name: "small", Memory: gib / 2, VCPUs: 1}
	for _, tt := range []struct {
		name  string
		q     Question
		fine  bool
		cases [][]string // lost hosts
		down  [][]string
		added []string // admitted, and where
	}{
		{"each host", Question{}, true, [][]string{{"a"}, {"b"}, {"c"}}, [][]string{{"lamp"}, {}, {}}, nil},
		{"a VM for which no room is kept does not spoil it", Question{Fail: []string{"a"}}, true, [][]string{{"a"}}, [][]string{{"lamp"}}, nil},
		{"two hosts", Question{Fail: []string{"a", "b"}}, false, [][]string{{"a", "b"}}, [][]string{{"db", "disk", "lamp"}}, nil},
		{"any one", Question{FailAny: 1}, true, nil, nil, nil},
		{"any two, with an example", Question{FailAny: 2}, false, [][]string{{"a", "b"}}, [][]string{{"db", "disk", "lamp"}}, nil},
		{"a datastore", Question{LoseDatastores: []string{"nfs"}}, false, [][]string{{}}, [][]string{{"disk"}}, nil},
		{"a VM more", Question{Fail: []string{"b"}, Hypothesis: Hypothesis{Add: []inventory.FileVM{small}}}, true, [][]string{{"b"}}, [][]string{{}}, []string{"small on b"}},
		{"two VMs more, of which the second is too much", Question{Fail: []string{"c"}, Hypothesis: Hypothesis{Add: []inventory.FileVM{small, {Name: "big", Memory: 20 * gib, VCPUs: 1}}}}, false, [][]string{{"c"}}, [][]string{{}}, []string{"small on b", "big refused"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, in := rack(t)
			before := snapshot(t, b, in)
			p, err := Ask(b, in, tt.q, nil)
			if err != nil {
				t.Fatal(err)
			}
			var cases, down [][]string
			for _, f := range p.Failovers {
				cases = append(cases, f.Hosts)
				slices.Sort(f.Down)
				down = append(down, f.Down)
			}
			var added []string
			for _, a := range p.Added {
				if a.Admitted {
					added = append(added, a.VM+" on "+a.Host)
				} else {
					added = append(added, a.VM+" refused")
				}
			}
			if tt.added != nil && tt.fine {
				if d := p.Failovers[0].Decisions; len(d) != 2 || d[1].VM != "small" || d[1].To != "a" {
					t.Errorf("what was added is not restarted: %+v", d)
				}
			}
			if p.Fine != tt.fine {
				t.Errorf("fine is %v, want %v: %+v", p.Fine, tt.fine, p)
			}
			for what, d := range map[string]string{"cases": cmp.Diff(tt.cases, cases), "down": cmp.Diff(tt.down, down), "added": cmp.Diff(tt.added, added)} {
				if d != "" {
					t.Errorf("%s (-want +got):\n%s", what, d)
				}
			}
			if after := snapshot(t, b, in); after != before {
				t.Errorf("the question changed what it is about:\n%s\n%s", before, after)
			}
		})
	}
}

func snapshot(t *testing.T, b *inventory.Builder, in inventory.Input) string {
	t.Helper()
	text, err := json.Marshal(b.NewFile(in))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestBadQuestions(t *testing.T) {
	vm := inventory.FileVM{Name: "more", Memory: gib, VCPUs: 1}
	placed, there, empty := vm, vm, vm
	placed.Host, there.Name, empty.Memory = "a", "db", 0
	for _, tt := range []struct {
		name string
		q    Question
		want error
		text string
	}{
		{"no such host", Question{Fail: []string{"a", "z"}}, ErrBadQuestion, `no host "z"; there are a, b, c`},
		{"no such datastore", Question{LoseDatastores: []string{"z"}}, ErrBadQuestion, "there are nfs"},
		{"too many", Question{FailAny: 4}, ErrBadQuestion, "any 4 hosts of 3"},
		{"fewer than none", Question{FailAny: -1}, ErrBadQuestion, "any -1"},
		{"both", Question{FailAny: 1, Fail: []string{"a"}}, ErrBadQuestion, "either"},
		{"a VM that is there", Question{Hypothesis: Hypothesis{Add: []inventory.FileVM{there}}}, ErrBadQuestion, `VM "db" already`},
		{"a VM twice", Question{Hypothesis: Hypothesis{Add: []inventory.FileVM{vm, vm}}}, inventory.ErrBadFile, "twice"},
		{"a VM with a place", Question{Hypothesis: Hypothesis{Add: []inventory.FileVM{placed}}}, ErrBadQuestion, "started where it fits"},
		{"a VM without memory", Question{Hypothesis: Hypothesis{Add: []inventory.FileVM{empty}}}, inventory.ErrBadFile, "memory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, in := rack(t)
			if _, err := Ask(b, in, tt.q, nil); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %v, want one of %v with %q", err, tt.want, tt.text)
			}
		})
	}
}

func TestRoom(t *testing.T) {
	b, in := rack(t)
	c, err := Room(b, in, Hypothesis{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	const over = 64 << 20
	want := []HostRoom{
		{Name: "a", State: "up", Memory: 32 * gib, Used: 27*gib + 2*over, CPUs: 8, VCPUs: 5, VMs: 2},
		{Name: "b", State: "up", Memory: 32 * gib, Used: 6*gib + 2*over, CPUs: 8, VCPUs: 3, VMs: 2},
		{Name: "c", State: "maintenance", Why: "new disks", Memory: 30 * gib, CPUs: 8},
	}
	if d := cmp.Diff(want, c.Hosts); d != "" {
		t.Errorf("hosts (-want +got):\n%s", d)
	}
	if d := cmp.Diff(HostRoom{Memory: 64 * gib, Used: 33*gib + 4*over, CPUs: 16, VCPUs: 8, VMs: 4}, c.Total); d != "" {
		t.Errorf("total (-want +got):\n%s", d)
	}
	if c.LargestFits != 26*gib-3*over {
		t.Errorf("%d bytes fit, want %d", c.LargestFits, 26*gib-3*over)
	}
	// Whatever is added runs on a in the end if b is lost, beside disk, db and lamp.
	if got, want := c.LargestAdmitted, int64(gib-4*over); got != want {
		t.Errorf("%d MiB are admitted, want %d", got>>20, want>>20)
	}
	if a := c.Admission; a.Mode != "enforce" || a.By != placement.ByPlacement || a.Failures != 1 || a.Answer != "yes" || c.MaxFailures.Failures != 1 || !c.MaxFailures.Exact {
		t.Errorf("admission %+v, may fail %+v", a, c.MaxFailures)
	}
}

// What was reckoned before is taken when nothing has changed since, and not otherwise.
func TestWhatWasReckonedBefore(t *testing.T) {
	b, in := rack(t)
	inv := b.Build(in)
	inv.Cluster.Policy.Work = 1000 // of whoever reckoned
	known := &Outlook{Inventory: inv, Hosts: []placement.Failover{{Host: "a", Plan: &placement.Plan{Exact: true}}}, Room: placement.Verdict{Why: "as before"}, Capability: placement.Capability{Failures: 7}}
	hosts := func(in inventory.Input) int {
		p, err := Ask(b, in, Question{}, known)
		if err != nil {
			t.Fatal(err)
		}
		return len(p.Failovers)
	}
	if n := hosts(in); n != 1 {
		t.Errorf("%d cases are shown, want the one that was reckoned before", n)
	}
	if c, _ := Room(b, in, Hypothesis{}, known); c.Admission.Why != "as before" || c.MaxFailures.Failures != 7 {
		t.Errorf("the room is reckoned anew: %+v", c)
	}
	_, now := rack(t)
	now.Hosts[0].Memory += gib
	if n := hosts(now); n != 3 {
		t.Errorf("%d cases are shown once a host has more memory, want 3", n)
	}
	if c, _ := Room(b, now, Hypothesis{}, known); c.Admission.Why == "as before" {
		t.Error("the room of an earlier picture is shown")
	}
	for name, h := range map[string]Hypothesis{"a host more": {AddLike: []string{"a"}}, "a VM more": {Add: []inventory.FileVM{{Name: "more", Memory: gib, VCPUs: 1}}}} {
		if c, err := Room(b, in, h, known); err != nil || c.Admission.Why == "as before" {
			t.Errorf("%s: the room that there is is shown for another (%v)", name, err)
		}
	}
}

// What stays down is no fine answer, be it that admission control counts it apart.
func TestFine(t *testing.T) {
	for _, tt := range []struct {
		name  string
		hosts string
		vm    string
		q     Question
		want  bool
	}{
		{"room", `{"name": "a", "memory": "8GiB", "cpus": 4}, {"name": "b", "memory": "8GiB", "cpus": 4}`, `"disks": []`, Question{FailAny: 1}, true},
		{"a VM that cannot leave its host", `{"name": "a", "memory": "8GiB", "cpus": 4}, {"name": "b", "memory": "8GiB", "cpus": 4}`, `"ties": [{"kind": "disk", "effect": "bound", "text": "its disk is here"}]`, Question{FailAny: 1}, false},
		{"no other host", `{"name": "a", "memory": "8GiB", "cpus": 4}`, `"disks": []`, Question{FailAny: 1}, false},
		{"nothing is up", `{"name": "a", "memory": "8GiB", "cpus": 4, "state": "down"}`, `"disks": []`, Question{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := inventory.ReadFile(strings.NewReader(`{"schema": 1, "hosts": [` + tt.hosts + `], "vms": [{"name": "v", "host": "a", "memory": "1GiB", "vcpus": 1, ` + tt.vm + `}]}`))
			if err != nil {
				t.Fatal(err)
			}
			in, err := f.Input()
			if err != nil {
				t.Fatal(err)
			}
			p, err := Ask(&inventory.Builder{}, in, tt.q, nil)
			if err != nil {
				t.Fatal(err)
			}
			if p.Fine != tt.want {
				t.Errorf("fine: %v, want %v (%+v)", p.Fine, tt.want, p)
			}
		})
	}
}
