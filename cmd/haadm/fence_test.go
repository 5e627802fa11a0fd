package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
	"github.com/holdfast-ha/holdfast/fsm"
)

// fenced is a cluster with devices, of which kvm2's does not work, and a history of their use.
func fenced(make func() *apitest.Backend) func() *apitest.Backend {
	return func() *apitest.Backend {
		b := make()
		b.Emit(fsm.Event{At: apitest.Now.Add(-3 * time.Hour), Type: "host_fencing_started", Severity: fsm.Warning, Host: "kvm1", Text: "kvm1 is being switched off by its fence devices: it is silent, and its lease has ended"})
		b.Emit(fsm.Event{At: apitest.Now.Add(-3 * time.Hour).Add(9 * time.Second), Type: "host_switched_on", Host: "kvm1", Text: "kvm1 is switched on again; it returns as a new incarnation"})
		files := map[string][]byte{"cluster.hcl": append(append([]byte{}, b.St.Policy.Files["cluster.hcl"]...), []byte(devices)...)}
		b.Change(func() {
			st := *b.St
			st.Policy.Files = files
			b.St = &st
		})
		return b
	}
}

// held is such a cluster in which a person has switched kvm1 off.
func held(make func() *apitest.Backend) func() *apitest.Backend {
	return func() *apitest.Backend {
		b := make()
		st := *b.St
		st.Hosts = maps.Clone(st.Hosts)
		h := *st.Hosts["kvm1"]
		h.Held = &fsm.Hold{By: "ann", At: apitest.Now.Add(-2 * time.Hour)}
		st.Hosts["kvm1"] = &h
		b.Change(func() { b.St = &st })
		return b
	}
}

const devices = `
host "kvm1" {
  fence = ["kvm1-bmc"]
}

fence "kvm1-bmc" {
  agent    = "fence_ipmilan"
  options  = { ip = "10.30.0.11", username = "ha", hexadecimal_kg = "0123456789" }
  password = "hunter2"
}
`

// TestFencing is what a person reads of fence devices, and of switching by hand.
func TestFencing(t *testing.T) {
	dir := t.TempDir()
	good := string(apitest.Healthy().St.Policy.Files["cluster.hcl"]) + devices
	write(t, filepath.Join(dir, "same.hcl"), good)
	write(t, filepath.Join(dir, "other.hcl"), strings.ReplaceAll(strings.Replace(good, "hunter2", "hunter3", 1), `host "kvm1"`, `host "kmv1"`)+"\nfence \"spare\" {\n  agent = \"fence_ipmilan\"\n}\n")
	write(t, filepath.Join(dir, "shown.hcl"), strings.Replace(good, "hunter2", "(not shown)", 1))
	write(t, filepath.Join(dir, "broken.hcl"), strings.Replace(good, `password = "hunter2"`, `password = "hunter2" hunter2`, 1))
	var text strings.Builder
	for _, x := range []struct {
		title string
		make  func() *apitest.Backend
		lines []string
	}{
		{"all are heard, kvm2 is the master", fenced(apitest.Healthy), []string{
			"fence list", "fence status", "fence status kvm1", "fence status kvm9", "fence test kvm1", "fence test kvm2", "fence test kvm3", "fence test kvm9",
			"fence off kvm1", "fence off kvm1 --yes", "fence off kvm1 --even-if-heard", "fence off kvm1 --even-if-heard --yes", "fence reboot kvm1 --even-if-heard --yes",
			"fence off kvm2 --even-if-heard --yes", "fence on kvm1 --yes", "fence on kvm2 --yes", "fence on kvm1",
			"config show", "config show --secrets", "config show -o json", "config plan same.hcl", "config plan other.hcl", "config apply other.hcl --yes", "config plan shown.hcl",
			"config validate same.hcl", "config validate same.hcl -o json", "config validate broken.hcl", "cluster bootstrap --policy same.hcl --yes"}},
		{"kvm1 is lost", fenced(apitest.HostLost), []string{"fence off kvm1", "fence off kvm1 --yes", "fence reboot kvm1 --yes"}},
		{"kvm1 is lost, and held off by a person", held(fenced(apitest.HostLost)), []string{"fence status", "fence status kvm1 -o json", "hosts show kvm1"}},
		{"no master", fenced(apitest.NoMaster), []string{"fence status", "fence off kvm1 --yes", "fence test kvm1", "fence on kvm1 --yes"}},
		{"no agent needed", apitest.Single, []string{"fence agents", "fence describe fence_fake", "fence describe fence_fake -o wide", "fence describe fence_fak", "fence describe fence_scsi"}},
	} {
		for _, line := range x.lines {
			got := haadm(t, agent(t, x.make()), nil, strings.Fields(strings.NewReplacer("same.hcl", dir+"/same.hcl", "other.hcl", dir+"/other.hcl", "shown.hcl", dir+"/shown.hcl", "broken.hcl", dir+"/broken.hcl").Replace(line))...)
			if strings.Contains(got.out+got.errOut, "hunter") && !strings.Contains(line, "--secrets") {
				t.Errorf("haadm %s shows a password:\n%s%s", line, got.out, got.errOut)
			}
			short := strings.NewReplacer(dir, "DIR", testAgents(t), "/usr/sbin")
			fmt.Fprintf(&text, "# %s\n$ haadm %s\n%s", x.title, line, short.Replace(got.out))
			for _, l := range strings.SplitAfter(short.Replace(got.errOut), "\n") {
				if l != "" {
					fmt.Fprintf(&text, "2> %s", l)
				}
			}
			fmt.Fprintf(&text, "exit %d\n\n", got.code)
		}
	}
	golden(t, "fencing.txt", text.String())
}

// A host that is heard is switched off only for who types its name, or says so by a flag.
func TestOffHasTheNameTyped(t *testing.T) {
	for _, tc := range []struct {
		name, types, line string
		code              int
		did               string // the beginning of the change asked for; empty: none
	}{
		{"heard, its name", "kvm1\n", "fence off kvm1", exitOK, "fence off kvm1 (even if heard: true)"},
		{"heard, yes", "y\n", "fence off kvm1", exitRefused, ""},
		{"heard, another name", "kvm3\n", "fence off kvm1", exitRefused, ""},
		{"heard, --yes alone", "", "fence off kvm1 --yes", exitRefused, ""},
		{"heard, the flag and no", "n\n", "fence reboot kvm3 --even-if-heard", exitFailed, ""},
		{"heard, the flag and yes", "y\n", "fence reboot kvm3 --even-if-heard", exitOK, "fence reboot kvm3 (even if heard: true)"},
		{"the master", "kvm2\n", "fence off kvm2", exitRefused, ""},
		{"on, no", "n\n", "fence on kvm2", exitFailed, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := apitest.Healthy()
			got := haadm(t, agent(t, b), typed{strings.NewReader(tc.types)}, strings.Fields(tc.line)...)
			did := strings.Join(b.Did(), "; ")
			if got.code != tc.code || (did == "") != (tc.did == "") || !strings.HasPrefix(did, tc.did) {
				t.Errorf("exit %d, did %q, want %d and %q\n%s%s", got.code, did, tc.code, tc.did, got.out, got.errOut)
			}
		})
	}
	lost := apitest.HostLost()
	got := haadm(t, agent(t, lost), typed{strings.NewReader("y\n")}, "fence", "off", "kvm1")
	if did := strings.Join(lost.Did(), "; "); got.code != exitOK || !strings.HasPrefix(did, "fence off kvm1 (even if heard: false)") {
		t.Errorf("a silent host, yes: exit %d, did %q\n%s", got.code, did, got.errOut)
	}
}

// The word that a host is off overrides the wait that keeps VMs from running
// twice: --yes must not be enough for it.
func TestConfirmOffIsNotAnsweredByYes(t *testing.T) {
	socket := agent(t, apitest.HostLost())
	got := haadm(t, socket, nil, "fence", "confirm", "kvm3", "--yes")
	if got.code != exitUsage || !strings.Contains(got.errOut, "--it-is-off") || got.out != "" {
		t.Errorf("with --yes and no terminal: exit %d\n%s%s\nwant %d and the flag that it takes", got.code, got.out, got.errOut, exitUsage)
	}
	got = haadm(t, socket, nil, "fence", "confirm", "kvm3", "--it-is-off")
	if got.code != exitOK || !strings.Contains(got.out, "counts as off") {
		t.Errorf("with --it-is-off: exit %d\n%s%s", got.code, got.out, got.errOut)
	}
	if got := haadm(t, socket, nil, "fence", "confirm", "kvm9", "--it-is-off"); got.code == exitOK {
		t.Errorf("of a host that there is not: exit %d\n%s", got.code, got.out)
	}
}
