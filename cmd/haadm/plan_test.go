package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
	"github.com/holdfast-ha/holdfast/cluster/inventory"
)

// TestPlans compares what people read about plans, room and rules: of a cluster in
// a file, without any agent, and of one that runs.
func TestPlans(t *testing.T) {
	const file = " --inventory testdata/plan/inventory.json"
	var b strings.Builder
	say := func(line string, got answer) {
		for _, l := range strings.Split(got.out, "\n") {
			if n := len([]rune(l)); n > 100 && !strings.Contains(line, "wide") {
				t.Errorf("haadm %s: a line of %d columns: %s", line, n, l)
			}
		}
		fmt.Fprintf(&b, "$ haadm %s\n%s", line, got.out)
		for _, l := range strings.SplitAfter(got.errOut, "\n") {
			if l != "" {
				fmt.Fprintf(&b, "2> %s", l)
			}
		}
		fmt.Fprintf(&b, "exit %d\n\n", got.code)
	}
	for _, line := range []string{
		"plan", "plan --fail kvm1", "plan --fail kvm1 -o wide", "plan --fail kvm1,kvm2", "plan --fail kvm1 --fail kvm1", "plan --fail-any 1", "plan --fail-any 2", "plan --lose-datastore san",
		"plan --lose-datastore san --fail kvm2", "plan --fail kvm1 --add-vm testdata/plan/small.json", "plan --add-vm testdata/plan/large.xml", "capacity", "placement violations",
		"plan --maintenance kvm1", "plan --maintenance kvm1 -o wide", "plan --maintenance kvm3,kvm2", "plan --maintenance kvm1,kvm2,kvm3", "plan --maintenance kvm9", "plan --maintenance kvm1 --fail kvm2", "plan --maintenance kvm2 --add-vm testdata/plan/small.json",
		"capacity --add-vm testdata/plan/small.json", "capacity --add-vm testdata/plan/large.xml", "capacity --add-host testdata/plan/host.json", "capacity --add-host like:kvm1 --add-host like:kvm1 --add-vm testdata/plan/large.xml",
		"capacity --remove-host kvm3", "capacity --remove-host kvm1,kvm2 --add-host testdata/plan/host.json", "plan --remove-host kvm3 --fail kvm2", "plan --add-host like:kvm1 --fail kvm1+1,kvm2",
		"capacity --remove-host kvm9", "capacity --remove-host kvm1,kvm2,kvm3", "capacity --add-host like:kvm9", "capacity --add-host testdata/plan/none.json", "capacity --add-host testdata/plan/small.json",
		"plan --fail kvm9", "plan --lose-datastore tape", "plan --fail kvm1 --fail-any 1", "plan --fail-any 0", "plan --fail-any 4", "plan --add-vm testdata/plan/placed.json", "plan --add-vm testdata/plan/none.xml",
	} {
		say(line+file, haadm(t, filepath.Join(t.TempDir(), "nobody"), nil, strings.Fields(line+file)...))
	}
	for _, small := range []string{"alone", "last", "dead", "dark", "slow"} {
		for _, line := range []string{"plan", "plan --fail-any 1", "capacity"} {
			line += " --inventory testdata/plan/" + small + ".json"
			say(line, haadm(t, filepath.Join(t.TempDir(), "nobody"), nil, strings.Fields(line)...))
		}
	}
	for _, bad := range []string{"testdata/plan/bad.json", "testdata/plan/none.json"} {
		say("capacity --inventory "+bad, haadm(t, filepath.Join(t.TempDir(), "nobody"), nil, "capacity", "--inventory", bad))
	}
	for _, line := range []string{"plan", "plan --fail kvm1,kvm3", "plan --maintenance kvm1", "plan --maintenance kvm3", "plan --fail kvm9", "plan --fail-any 2 --add-vm testdata/plan/small.json", "capacity", "placement violations",
		"capacity --add-vm testdata/plan/small.json --add-host like:kvm2 --remove-host kvm3", "capacity --add-host like:kvm9"} {
		say(line, haadm(t, agent(t, apitest.Healthy()), nil, strings.Fields(line)...))
	}
	for _, line := range []string{"plan", "explain vm mail"} {
		say(line+" (a host is dead)", haadm(t, agent(t, apitest.HostLost()), nil, strings.Fields(line)...))
	}
	for _, balance := range []string{"", "balance { mode = \"automatic\" }\n"} {
		b := apitest.Healthy()
		b.St.Policy.Files["cluster.hcl"] = append(b.St.Policy.Files["cluster.hcl"], "rule \"quiet\" {\n  kind     = \"apart\"\n  strength = \"should\"\n  vms      = [\"db1\", \"mail\"]\n}\n"+balance...)
		for _, line := range []string{"placement violations", "explain vm mail"} {
			say(line+" (a wish is broken) "+strings.TrimSpace(balance), haadm(t, agent(t, b), nil, strings.Fields(line)...))
		}
	}
	for _, line := range []string{"plan", "capacity"} {
		say(line+" (no master)", haadm(t, agent(t, apitest.NoMaster()), nil, strings.Fields(line)...))
	}
	say("capacity --stale", haadm(t, agent(t, apitest.NoMaster()), nil, "capacity", "--stale"))
	golden(t, "plan.txt", b.String())
}

// A cluster that runs and the file that is made of it give the same answers.
func TestInventoryOfARunningCluster(t *testing.T) {
	socket := agent(t, apitest.HostLost())
	got := haadm(t, socket, nil, "placement", "inventory")
	file := filepath.Join(t.TempDir(), "inventory.json")
	if err := os.WriteFile(file, []byte(got.out), 0o600); err != nil {
		t.Fatal(err)
	}
	var f inventory.File
	if err := json.Unmarshal([]byte(got.out), &f); err != nil || f.Schema != inventory.FileSchema || len(f.Hosts) != 3 {
		t.Fatalf("exit %d, %d hosts (%v): %s", got.code, len(f.Hosts), err, got.errOut)
	}
	for _, line := range []string{"plan", "plan --fail kvm2", "plan --fail-any 1", "capacity", "placement violations"} {
		t.Run(line, func(t *testing.T) {
			live := haadm(t, socket, nil, strings.Fields(line)...)
			from := haadm(t, filepath.Join(t.TempDir(), "nobody"), nil, append(strings.Fields(line), "--inventory", file)...)
			if live != from {
				t.Errorf("the agent says (exit %d):\n%s%s\nthe file says (exit %d):\n%s%s", live.code, live.out, live.errOut, from.code, from.out, from.errOut)
			}
		})
	}
}

func TestPlanAsJSON(t *testing.T) {
	got := haadm(t, agent(t, apitest.Healthy()), nil, "plan", "--fail", "kvm1", "--json")
	var a api.PlanAnswer
	if err := json.Unmarshal([]byte(got.out), &a); err != nil {
		t.Fatalf("%v: %s%s", err, got.out, got.errOut)
	}
	if got.code != exitOK || a.Schema != api.Schema || a.Source == nil || !a.Source.Fresh || !a.Fine || len(a.Failovers) != 1 || len(a.Failovers[0].Decisions) != 2 || len(a.Failovers[0].Decisions[0].Hosts) != 3 {
		t.Errorf("exit %d: %s", got.code, got.out)
	}
}

func TestPlanCompletion(t *testing.T) {
	socket := agent(t, apitest.Healthy())
	for line, want := range map[string]string{"plan --fail": "kvm1\nkvm2\nkvm3\n", "plan --lose-datastore": "", "capacity --remove-host": "kvm1\nkvm2\nkvm3\n", "plan --inventory": ""} {
		if got := haadm(t, socket, nil, append(strings.Fields(line), completeFlag)...).out; got != want {
			t.Errorf("after %q the words are %q, want %q", line, got, want)
		}
	}
}
