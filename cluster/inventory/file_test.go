package inventory

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

func TestExampleFile(t *testing.T) {
	src, err := os.ReadFile("testdata/inventory.json")
	if err != nil {
		t.Fatal(err)
	}
	f, err := ReadFile(bytes.NewReader(src))
	if err != nil {
		t.Fatal(err)
	}
	in, err := f.Input()
	if err != nil {
		t.Fatal(err)
	}
	inv := build(t, in)
	if n, m := len(inv.Cluster.Hosts), len(inv.Cluster.VMs); n != 3 || m != 5 {
		t.Errorf("%d hosts and %d VMs, want 3 and 5", n, m)
	}
	db, cd, other := find(t, inv, "db1"), find(t, inv, "installer"), find(t, inv, "build")
	if db.Priority != 5 || db.Memory != 16*gib || db.Overhead != 200<<20 || cmp.Diff(db.Datastores, []string{"nfs"}) != "" {
		t.Errorf("db1 is %+v", db)
	}
	if len(cd.Bound) != 1 || cd.Status != placement.Running {
		t.Errorf("installer is %+v, want bound by its CD", cd)
	}
	if other.Class != placement.Unprotected || other.Host != "kvm3" {
		t.Errorf("build is %+v, want unprotected on kvm3", other)
	}
	if v := find(t, inv, "new1"); v.Status != placement.Waiting || v.Host != "" {
		t.Errorf("new1 is %+v, want waiting", v)
	}
	plan := placement.Decide(inv.Cluster, placement.Question{Lost: []string{"kvm1"}})
	if got := plan.Down(); cmp.Diff([]string{"installer"}, got) != "" {
		t.Errorf("down after the loss of kvm1: %v, want the installer alone", got)
	}
}

func TestBadFiles(t *testing.T) {
	const hosts = `"hosts": [{"name": "kvm1", "memory": "64GiB", "cpus": 8}]`
	for name, tt := range map[string]struct{ text, says string }{
		"empty":                     {``, "near line 1: there is nothing in it"},
		"not JSON":                  {"{\n\n!", "near line 3"},
		"a list":                    {`[]`, "near line 1: the whole of it is array"},
		"no schema":                 {`{` + hosts + `}`, `begin it with "schema": 1`},
		"cut off":                   {"{\"schema\": 1,\n", "it ends in the middle"},
		"a number for a name":       {`{"schema": 1, "hosts": [{"name": 5}]}`, "hosts.name is number, which is not what belongs there"},
		"a newer schema":            {`{"schema": 2}`, "schema is 2"},
		"an unknown field":          {`{"schema": 1, "host": []}`, `there is no "host" in such a file`},
		"an unknown field of a VM":  {`{"schema": 1, ` + hosts + `, "vms": [{"name": "a", "memroy": 5}]}`, `"memroy"`},
		"two documents":             {`{"schema": 1} {}`, "follows"},
		"a size without a unit":     {`{"schema": 1, "hosts": [{"name": "kvm1", "memory": "64"}]}`, `"64" is no size`},
		"a unit of another kind":    {`{"schema": 1, "hosts": [{"name": "kvm1", "memory": "64GB"}]}`, `"64GB" is no size`},
		"a size below zero":         {`{"schema": 1, "hosts": [{"name": "kvm1", "memory": -1}]}`, "-1 is no size"},
		"a size that overflows":     {`{"schema": 1, "hosts": [{"name": "kvm1", "memory": "99999999999TiB"}]}`, "is no size"},
		"a broken size":             {`{"schema": 1, "hosts": [{"name": "kvm1", "memory": 1.5}]}`, "1.5 is no size"},
		"no hosts":                  {`{"schema": 1}`, "there are no hosts"},
		"a host without a name":     {`{"schema": 1, "hosts": [{"memory": 1, "cpus": 1}]}`, `hosts[0] "": it needs a name`},
		"a host twice":              {`{"schema": 1, "hosts": [{"name": "a", "memory": 1, "cpus": 1}, {"name": "a", "memory": 1, "cpus": 1}]}`, `hosts[1] "a" is there twice`},
		"a host without memory":     {`{"schema": 1, "hosts": [{"name": "a", "cpus": 1}]}`, "no memory"},
		"a host without processors": {`{"schema": 1, "hosts": [{"name": "a", "memory": 1}]}`, "cpus is 0"},
		"a strange state":           {`{"schema": 1, "hosts": [{"name": "a", "memory": 1, "cpus": 1, "state": "dead"}]}`, `state is "dead"`},
		"too much reserved":         {`{"schema": 1, "hosts": [{"name": "a", "memory": 1, "reserve": 2, "cpus": 1}]}`, "reserves more"},
		"an unknown datastore":      {`{"schema": 1, "hosts": [{"name": "a", "memory": 1, "cpus": 1, "datastores": ["x"]}]}`, `"x" is not in the policy`},
		"a VM without a name":       {`{"schema": 1, ` + hosts + `, "vms": [{"memory": 1, "vcpus": 1}]}`, `vms[0] "": it needs a name`},
		"a VM with a line break":    {`{"schema": 1, ` + hosts + `, "vms": [{"name": "a\nb", "memory": 1, "vcpus": 1}]}`, "can be printed"},
		"a VM twice":                {`{"schema": 1, ` + hosts + `, "vms": [{"name": "a", "memory": 1, "vcpus": 1}, {"name": "a", "memory": 1, "vcpus": 1}]}`, `vms[1] "a" is there twice`},
		"a VM on no host":           {`{"schema": 1, ` + hosts + `, "vms": [{"name": "a", "host": "kvm9", "memory": 1, "vcpus": 1}]}`, `"kvm9" is not among the hosts`},
		"runs nowhere":              {`{"schema": 1, ` + hosts + `, "vms": [{"name": "a", "state": "running", "memory": 1, "vcpus": 1}]}`, "has no host"},
		"no memory":                 {`{"schema": 1, ` + hosts + `, "vms": [{"name": "a", "vcpus": 1}]}`, "no memory"},
		"no vcpus":                  {`{"schema": 1, ` + hosts + `, "vms": [{"name": "a", "memory": 1}]}`, "vcpus is 0"},
		"unprotected and off":       {`{"schema": 1, ` + hosts + `, "vms": [{"name": "a", "memory": 1, "vcpus": 1, "protected": false}]}`, "leave it out"},
		"a definition and more":     {`{"schema": 1, ` + hosts + `, "vms": [{"name": "a", "definition": "<domain/>", "disks": ["/a"]}]}`, "has a definition"},
		"a bad definition":          {`{"schema": 1, ` + hosts + `, "vms": [{"name": "a", "definition": "<domain/>"}]}`, "not a usable domain definition"},
		"a tie without effect":      {`{"schema": 1, ` + hosts + `, "vms": [{"name": "a", "memory": 1, "vcpus": 1, "ties": [{"text": "x"}]}]}`, "bound, loses or not_live"},
		"a path of nothing":         {`{"schema": 1, ` + hosts + `, "vms": [{"name": "a", "memory": 1, "vcpus": 1, "paths": [{"effect": "bound"}]}]}`, "needs a path"},
		"more pages than memory":    {`{"schema": 1, ` + hosts + `, "vms": [{"name": "a", "memory": 1, "vcpus": 1, "huge_pages": {"0": 2}}]}`, "in huge pages than in all"},
		"a bad policy":              {`{"schema": 1, "policy": {"a.hcl": "cluster \"c\" {}\nrule \"x\" {}"}, ` + hosts + `}`, "kind is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := ReadFile(strings.NewReader(tt.text))
			if err == nil {
				_, err = f.Input()
			}
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("error is %v, want one that says %q", err, tt.says)
			}
			if _, ofPolicy := config.AsError(err); !ofPolicy && !errors.Is(err, ErrBadFile) {
				t.Errorf("%v does not wrap ErrBadFile", err)
			}
		})
	}
	var many strings.Builder
	for i := range 100 {
		fmt.Fprintf(&many, `{"name": "v%d"},`, i)
	}
	f, err := ReadFile(strings.NewReader(`{"schema": 1, ` + hosts + `, "vms": [` + strings.TrimSuffix(many.String(), ",") + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = f.Input(); err == nil || strings.Count(err.Error(), "\n") != 21 || !strings.Contains(err.Error(), "and 180 more") {
		t.Errorf("200 problems are told as\n%v", err)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{`"8GiB"`: 8 << 30, `"1536MiB"`: 1536 << 20, `0`: 0, `1000`: 1000, `"1KiB"`: 1024, `"512TiB"`: maxSize} {
		var s Size
		if err := json.Unmarshal([]byte(text), &s); err != nil || s != want {
			t.Errorf("%s is %d, %v, want %d", text, s, err, want)
		}
		if out, err := json.Marshal(s); err != nil || string(out) != text {
			t.Errorf("%d is written %s, %v, want %s", s, out, err, text)
		}
	}
}

// genInput draws clusters in odd states, with what hosts say of them and definitions.
func genInput() *rapid.Generator[Input] {
	policies := []string{"", `
datastore "nfs" { path = "/srv/vm" }
host "h0" { standby = true }
admission_control {
  standby_hosts {}
}
rule "a" {
  kind     = "apart"
  strength = "must"
  match    = { name = "v*" }
}
rule "b" {
  kind     = "together"
  strength = "must"
  match    = { name = "?[45]" }
  vms      = ["x"]
}
rule "c" {
  kind     = "not_on_hosts"
  strength = "should"
  vms      = ["v0"]
  hosts    = { h0 = 3, h9 = 0 }
}
group "g" {
  match       = { name = "*" }
  start_after = ["f"]
  on_timeout  = "stop"
}
group "f" { vms = ["v1", "v7"] }
fence "bmc" { agent = "fence_ipmilan" }
host "h1" { fence = ["bmc"] }
`}
	return rapid.Custom(func(t *rapid.T) Input {
		between := func(low, high int, what string) int { return rapid.IntRange(low, high).Draw(t, what) }
		p, err := config.ParsePolicy(map[string][]byte{"c.hcl": []byte("cluster \"c\" {}\n" + rapid.SampledFrom(policies).Draw(t, "policy"))})
		if err != nil {
			t.Fatal(err)
		}
		in := Input{Policy: p, State: state()}
		pick := func(what string, words ...string) []string {
			if rapid.Bool().Draw(t, what+" not told") {
				return nil
			}
			return rapid.SliceOfDistinct(rapid.SampledFrom(words), rapid.ID[string]).Draw(t, what)
		}
		n := between(1, 4, "hosts")
		for i := range n {
			h := Host{Name: fmt.Sprintf("h%d", i), Memory: uint64(between(0, 64, "memory")) << 30, Reserve: uint64(between(0, 8, "reserve")) << 30, CPUs: between(0, 8, "cpus"), MHz: 2000,
				State: placement.HostState(between(0, 3, "state")), Voter: rapid.Bool().Draw(t, "voter")}
			h.Networks, h.Pools, h.Capabilities = pick("networks", "bridge:br0", "network:x"), pick("pools", "p", "q"), pick("words", "machine:q35", "type:kvm", "cpu:EPYC")
			if len(p.Datastores) > 0 {
				h.Datastores = pick("datastores", "nfs")
			}
			if rapid.Bool().Draw(t, "pages") {
				h.HugePages = map[uint64]uint64{2048: uint64(between(0, 9, "pages")) << 30}
			}
			in.Hosts = append(in.Hosts, h)
		}
		some := func(what string) string { return fmt.Sprintf("h%d", between(0, n, what)) } // one of them is no member
		for i := range between(0, 6, "vms") {
			name := fmt.Sprintf("v%d", i)
			v := &fsm.VM{UUID: name + "-uuid", Name: name, XMLHash: "1", VCPUs: between(1, 8, "vcpus"), Memory: uint64(between(1, 32, "size")) << 30, Intent: fsm.IntentRun, Home: some("home")}
			xml := definition(name, rapid.SampledFrom([]string{"", "<memoryBacking><hugepages><page size='2' unit='MiB'/></hugepages></memoryBacking>", "<os><type machine='q35'>hvm</type></os>"}).Draw(t, "top"),
				rapid.SampledFrom([]string{"", "<disk type='file' device='disk'><source file='/srv/vm/a'/></disk>", "<disk type='file' device='disk'><source file='/var/a'/></disk>",
					"<disk type='volume' device='disk'><source pool='p' volume='v'/></disk><interface type='bridge'><source bridge='br0'/></interface>"}).Draw(t, "devices"))
			xml = strings.Replace(xml, ">8<", fmt.Sprintf(">%d<", v.Memory>>30), 1)
			if v.XML, err = fsm.PackXML(xml); err != nil {
				t.Fatal(err)
			}
			switch between(0, 4, "status") {
			case 0:
				v.Intent = fsm.IntentStop
			case 1:
				v.Sighting = &fsm.Sighting{Host: some("seen")}
			case 2, 3:
				v.Owner = &fsm.Placement{Host: some("owner")}
			}
			in.State.VMs[v.UUID] = v
			if h := between(0, n, "also on"); h < n {
				in.Hosts[h].Domains = append(in.Hosts[h].Domains, Domain{UUID: v.UUID, Name: name, Running: rapid.Bool().Draw(t, "running"), Memory: v.Memory, VCPUs: v.VCPUs})
			}
		}
		for i := range between(0, 4, "others") {
			h := &in.Hosts[between(0, n-1, "on")]
			if d := (Domain{UUID: fmt.Sprintf("u%d", i%2), Name: fmt.Sprintf("v%d", i), Running: true, Memory: 1 << 30, VCPUs: 1}); !slices.ContainsFunc(h.Domains, func(x Domain) bool { return x.UUID == d.UUID }) {
				h.Domains = append(h.Domains, d)
			}
		}
		return in
	})
}

// Whatever the state, the picture is one that the planner takes, and the same each time.
func TestPicturesAreValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := genInput().Draw(t, "input")
		b := &Builder{}
		inv := b.Build(in)
		if err := inv.Cluster.Validate(); err != nil {
			t.Fatalf("not valid: %v", err)
		}
		if d := cmp.Diff(inv.Cluster, b.Build(in).Cluster); d != "" {
			t.Fatalf("built again it differs:\n%s", d)
		}
		for i := range inv.Cluster.VMs {
			if a, ok := inv.Agility(inv.Cluster.VMs[i].Name); !ok || len(a.Hosts) != len(in.Hosts) {
				t.Fatalf("agility of %s: %+v", inv.Cluster.VMs[i].Name, a)
			}
		}
	})
}

// A cluster that is written to a file and read again gives the same plans.
func TestFilesKeepThePicture(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := genInput().Draw(t, "input")
		for i := range in.Hosts { // a file does not take a host without them
			in.Hosts[i].Memory, in.Hosts[i].CPUs = in.Hosts[i].Memory+8<<30, in.Hosts[i].CPUs+1
		}
		b := &Builder{}
		before := b.Build(in)
		text, err := json.Marshal(b.NewFile(in))
		if err != nil {
			t.Fatal(err)
		}
		f, err := ReadFile(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		again, err := f.Input()
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		after := new(Builder).Build(again)
		for _, x := range []*placement.Cluster{before.Cluster, after.Cluster} {
			x.Policy.Work = 100_000
			for i := range x.VMs {
				x.VMs[i].Home = "" // what ran where last, what failed, and what passes by itself, is not kept
				if v := &x.VMs[i]; v.Status != placement.Running {
					v.Host = ""
				}
			}
		}
		a, z := placement.EveryHost(before.Cluster), placement.EveryHost(after.Cluster)
		if d := cmp.Diff(decisions(a), decisions(z)); d != "" {
			t.Fatalf("the plans differ (-cluster +file):\n%s\n%s", d, cmp.Diff(before.Cluster, after.Cluster))
		}
		if d := cmp.Diff(before.Cluster, after.Cluster, cmpopts.IgnoreFields(placement.VM{}, "Failed", "Held"), cmpopts.EquateEmpty(),
			cmpopts.SortSlices(func(a, b placement.VM) bool { return a.Name < b.Name })); d != "" {
			t.Fatalf("the pictures differ (-cluster +file):\n%s", d)
		}
		if strings.Contains(string(text), "fence_ipmilan") {
			t.Fatal("fence devices are in the file")
		}
	})
}

// decisions are what becomes of each VM, by host lost.
func decisions(all []placement.Failover) map[string]string {
	out := map[string]string{}
	for _, f := range all {
		for _, d := range f.Decisions {
			out[f.Host+" "+d.VM] = fmt.Sprint(d.Action, " ", d.To)
		}
	}
	return out
}

func FuzzFile(f *testing.F) {
	src, err := os.ReadFile("testdata/inventory.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(src)
	f.Fuzz(func(t *testing.T, src []byte) {
		file, err := ReadFile(bytes.NewReader(src))
		if err != nil {
			return
		}
		in, err := file.Input()
		if err != nil {
			return
		}
		if err := new(Builder).Build(in).Cluster.Validate(); err != nil {
			t.Fatalf("accepted, but the picture is not valid: %v", err)
		}
	})
}
