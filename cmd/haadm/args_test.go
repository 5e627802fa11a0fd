package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
)

func TestReorder(t *testing.T) {
	for _, tc := range []struct {
		line string
		want string // the library's order, or how the error begins
	}{
		{"status", "status"},
		{"status -o json", "--o=json status"},
		{"-o json status", "--o=json status"},
		{"protect vm1 --yes", "--yes protect -- vm1"},
		{"protect --yes vm1 vm2", "--yes protect -- vm1 vm2"},
		{"vms show db1 -o json", "--o=json vms show -- db1"},
		{"vms -o=json show db1", "--o=json vms show -- db1"},
		{"vms list --protected", "vms list --protected"},
		{"events --vm db1 --socket s -f", "--socket=s events --vm=db1 -f"},
		{"events --host=kvm1", "events --host=kvm1"},
		{"cluster token create --ttl 1h --host kvm4 --yes", "--yes cluster token create --ttl=1h --host=kvm4"},
		{"vms show -- --odd-name", "vms show -- --odd-name"},
		{"protect a -- --yes", "protect -- a --yes"},
		{"cluster join -", "cluster join -- -"},
		{"config apply f --cas-revision -1", "config apply --cas-revision=-1 -- f"},
		{"help vms show", "vms show --help"},
		{"vms --help", "vms --help"},
		{"protect -h vm1", "protect --help"},
		{"", ""},

		{"protect vm1 --yse", "haadm protect: there is no flag --yse (did you mean --yes?)"},
		{"protect vm1 -yes", "haadm protect: there is no flag -yes (did you mean --yes?)"},
		{"protect vm1 --yes=perhaps", "haadm protect: --yes is true or false"},
		{"status --vm db1", "haadm status: there is no flag --vm"},
		{"--vm db1 events", "haadm: there is no flag --vm"},
		{"events --vm", "haadm events: --vm needs a value"},
		{"events --vm -- x", "haadm events: --vm needs a value"},
		{"vm list", `haadm: there is no "vm"`},
		{"vms lst", `haadm vms: there is no "lst"; there is list, show, history, migrate, start, stop, restart, retry (did you mean list?)`},
		{"vms", "haadm vms: which one? There is list, show"},
		{"maintenance enter kvm2 --yes", "--yes maintenance enter -- kvm2"},
		{"vms migrate db1 --to kvm3 --cold", "vms migrate --to=kvm3 --cold -- db1"},
		{"cluster token --yes", "haadm cluster token: which one?"},
		{"-- status", `"status" is not a command`},
	} {
		t.Run(tc.line, func(t *testing.T) {
			p := &program{}
			got, err := reorder(p.app(), strings.Fields(tc.line))
			if err != nil {
				if !strings.HasPrefix(err.Error(), tc.want) || tc.want == "" {
					t.Errorf("error %q, want %q", err, tc.want)
				}
				return
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("read as %q, want %q", strings.Join(got, " "), tc.want)
			}
		})
	}
}

// TestFlagsAfterArguments asks every command there is for JSON by a flag behind
// its arguments, and gives it a flag that there is not.
func TestFlagsAfterArguments(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "cluster.hcl")
	write(t, policy, string(apitest.Healthy().St.Policy.Files["cluster.hcl"])+"\nvm \"build\" {}\n")
	agentFile := filepath.Join(t.TempDir(), "haagent.hcl")
	write(t, agentFile, "network \"mgmt\" {\n  address = \"10.10.0.11\"\n}\n")
	volume := used(t)
	measured := filepath.Join(t.TempDir(), "measured")
	write(t, measured, `{"boot_id": "earlier", "asked": 3000000000, "alive": 2960000000}`)
	// Arguments that each command can be carried out with.
	arguments := map[string]string{
		"hosts show": "kvm1", "hosts doctor": "kvm2", "vms show": "db1", "protect": "build", "unprotect": "db1", "explain vm": "db1", "explain host": "kvm1",
		"cluster leave": "kvm3", "fence confirm": "kvm3 --it-is-off", "fence test": "kvm1", "fence off": "kvm1 --even-if-heard", "fence on": "kvm1", "fence reboot": "kvm1 --even-if-heard", "fence describe": "fence_fake", "cluster transfer-master": "kvm3", "cluster token revoke": "t2", "wait": "quorum", "watchdog show": "--file " + measured,
		"config validate": policy, "config plan": policy, "config apply": policy, "agent config show": agentFile, "agent config validate": agentFile,
		"maintenance enter": "kvm1 --no-wait", "maintenance leave": "kvm1", "vms history": "db1", "vms migrate": "db1 --no-wait", "vms start": "db1", "vms stop": "db1 --no-wait", "vms retry": "db1", "disarm": "--why switches",
		"storage heartbeat init": filepath.Join(folder(t), "new") + " --create --slots 2", "storage heartbeat verify": volume, "storage heartbeat dump": volume, "storage show": "nfs",
	}
	// They answer in words only, or are tried elsewhere.
	words := map[string]string{"completion": "bash", "config fmt": policy, "cluster join": "x", "cluster bootstrap": "", "watchdog qualify": "", "vms restart": "db1"}
	// They take any number of arguments.
	several := []string{"protect", "unprotect", "vms migrate", "vms start", "vms stop", "storage heartbeat verify"}
	// They ask, and the example's answer is no.
	no := map[string]int{"hosts doctor": exitNo}
	var each func(path []string, commands []*cli.Command)
	each = func(path []string, commands []*cli.Command) {
		for _, c := range commands {
			here := append(append([]string{}, path...), c.Name)
			if len(c.Subcommands) > 0 {
				each(here, c.Subcommands)
				continue
			}
			name := strings.Join(here, " ")
			t.Run(name, func(t *testing.T) {
				args := here
				if a := arguments[name] + words[name]; a != "" {
					args = append(append([]string{}, here...), strings.Fields(a)...)
				}
				socket := agent(t, apitest.Healthy())
				if bad := haadm(t, socket, nil, append(args, "--no-such-flag")...); bad.code != exitUsage || bad.out != "" {
					t.Errorf("with an unknown flag: exit %d, output %q, want %d and nothing", bad.code, bad.out, exitUsage)
				}
				if bad := haadm(t, socket, nil, append(args, "a", "b", "c", "d", "--yes")...); len(arguments[name]) > 0 && !slices.Contains(several, name) && bad.code != exitUsage {
					t.Errorf("with too many arguments: exit %d, %s, want %d", bad.code, bad.errOut, exitUsage)
				}
				if _, ok := words[name]; ok {
					return
				}
				got := haadm(t, socket, nil, append(args, "--yes", "-o", "json")...)
				if got.code != no[name] || !strings.Contains(got.out, `"schema": 1`) {
					t.Errorf("haadm %v --yes -o json: exit %d\n%s%s", args, got.code, got.out, got.errOut)
				}
			})
		}
	}
	each(nil, (&program{}).app().Commands)
}

func TestChangeIsAskedFor(t *testing.T) {
	for _, tc := range []struct {
		name  string
		stdin string // typed at a terminal; "-": no terminal
		args  []string
		code  int
		did   int
	}{
		{"no terminal", "-", []string{"protect", "build"}, exitUsage, 0},
		{"no terminal, yes", "-", []string{"protect", "build", "--yes"}, exitOK, 1},
		{"no terminal, yes is false", "-", []string{"protect", "build", "--yes=false"}, exitUsage, 0},
		{"y", "y\n", []string{"protect", "build"}, exitOK, 1},
		{"Yes", "Yes\n", []string{"unprotect", "db1"}, exitOK, 1},
		{"n", "n\n", []string{"protect", "build"}, exitFailed, 0},
		{"return alone", "\n", []string{"protect", "build"}, exitFailed, 0},
		{"end of input", "", []string{"protect", "build"}, exitFailed, 0},
		{"leave", "n\n", []string{"cluster", "leave", "kvm3"}, exitFailed, 0},
		{"transfer", "-", []string{"cluster", "transfer-master"}, exitUsage, 0},
		{"an unknown name among others", "-", []string{"protect", "build", "bulid", "--yes"}, exitFailed, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := apitest.Healthy()
			var got answer
			if tc.stdin == "-" {
				got = haadm(t, agent(t, b), nil, tc.args...)
			} else {
				got = haadm(t, agent(t, b), typed{strings.NewReader(tc.stdin)}, tc.args...)
			}
			if got.code != tc.code || len(b.Did()) != tc.did {
				t.Errorf("exit %d with %q done, want %d with %d changes\n%s%s", got.code, b.Did(), tc.code, tc.did, got.out, got.errOut)
			}
		})
	}
}

func TestOneVMNamedTwiceIsOneChange(t *testing.T) {
	b := apitest.Healthy()
	if got := haadm(t, agent(t, b), nil, "protect", "build", "6b0f5a3e-0000-4000-8000-000000000050", "--yes"); got.code != exitOK {
		t.Fatal(got)
	}
	if d := b.Did(); len(d) != 1 || !strings.HasPrefix(d[0], "protect build by ") {
		t.Errorf("asked for %q, want build once", d)
	}
}
