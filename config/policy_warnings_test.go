package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFewVolumesAreToldUnlessMuted(t *testing.T) {
	one, two := `heartbeat_volume "a" { path = "/a" }`+"\n", `heartbeat_volume "b" { path = "/b" }`+"\n"
	for name, tt := range map[string]struct {
		body, begins string
		warnings     int // of a plan
	}{
		"none":         {"", "the policy names no heartbeat volume", 0},
		"one":          {one, "the policy names one heartbeat volume", 1},
		"two":          {one + two, "", 0},
		"one of two":   {one + two + "heartbeat_volumes { count = 1 }", "heartbeat_volumes.count is 1", 1},
		"three of two": {one + two + "heartbeat_volumes { count = 3 }", "", 1},
		"none muted":   {"warnings { few_heartbeat_volumes = false }", "", 0},
		"one muted":    {one + "warnings { few_heartbeat_volumes = false }", "", 0},
		"other mute":   {one + "warnings { single_network = false }", "the policy names one", 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := parse(t, "cluster \"c\" { schema = 1 }\n"+tt.body)
			if got := p.FewVolumes(); !strings.HasPrefix(got, tt.begins) || got != "" && tt.begins == "" {
				t.Errorf("it says %q, want %q", got, tt.begins)
			}
			if got := p.Warnings(); len(got) != tt.warnings {
				t.Errorf("warnings %q, want %d", got, tt.warnings)
			}
		})
	}
}

func TestMutesAreShownAndCompared(t *testing.T) {
	p := parse(t, "cluster \"c\" { schema = 1 }\n")
	q := parse(t, "cluster \"c\" { schema = 1 }\nwarnings {\n  few_heartbeat_volumes = false\n  volumes_on_one_server = false\n  single_network = false\n}\n")
	want := []Change{{"warnings.few_heartbeat_volumes", "true", "false"}, {"warnings.volumes_on_one_server", "true", "false"}, {"warnings.single_network", "true", "false"}}
	if d := cmp.Diff(want, DiffPolicies(p, q)); d != "" {
		t.Errorf("the changes differ (-want +got):\n%s", d)
	}
	if text := string(q.HCL()); !strings.Contains(text, "few_heartbeat_volumes = false") || strings.Contains(string(p.HCL()), "warnings") {
		t.Errorf("printed as\n%s\nand without mutes as\n%s", text, p.HCL())
	}
}

// Rules that cannot all be kept are told of where one of them is a wish; as musts they are refused.
func TestWishesThatCannotBeKept(t *testing.T) {
	const rules = `cluster "c" {}
rule "apart" {
  kind     = "apart"
  strength = "APART"
  vms      = ["a", "b", "c"]
}
rule "on" {
  kind     = "on_hosts"
  strength = "ON"
  vms      = ["a", "b", "c"]
  hosts    = HOSTS
}
`
	for _, tt := range []struct {
		name, apart, on, hosts string
		warned                 bool
	}{
		{"apart is a wish", "should", "must", `["k1", "k2"]`, true},
		{"the hosts are", "must", "should", `["k1", "k2"]`, true},
		{"there are hosts enough", "should", "should", `["k1", "k2", "k3"]`, false},
	} {
		p := parse(t, strings.NewReplacer("APART", tt.apart, "ON", tt.on, "HOSTS", tt.hosts).Replace(rules))
		warned := false
		for _, w := range p.Warnings() {
			warned = warned || strings.Contains(w, `rule "apart" keeps "a", "b", "c" apart, and rule "on" leaves them 2 places in all: k1, k2: one of these rules is always broken`)
		}
		if warned != tt.warned {
			t.Errorf("%s: warned %v, want %v: %q", tt.name, warned, tt.warned, p.Warnings())
		}
	}
}
