package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const fenced = `
cluster "basement" {}
host "kvm1" { fence = ["bmc", ["pdu-a", "pdu-b"]] }
fence "bmc" {
  agent    = "fence_ipmilan"
  options  = { ip = "10.30.0.11", hexadecimal_kg = "0011", lanplus = true }
  password = "hunter2"
}
fence "pdu-a" {
  agent   = "fence_apc_snmp"
  options = { ip = "10.30.0.50", plug = 3, community = "c0mmun1ty" }
}
fence "pdu-b" {
  agent   = "fence_apc_snmp"
  options = { ip = "10.30.0.51", plug = 3 }
}
`

// What changes is told; what is secret is not.
func TestDiffOfFencing(t *testing.T) {
	const next = `
cluster "basement" {}
host "kvm1" { fence = ["bmc"] }
host "kvm2" { fence = ["kvm2-bmc"] }
fence "bmc" {
  agent    = "fence_ipmilan"
  options  = { ip = "10.30.0.12", hexadecimal_kg = "1100" }
  password = "hunter3"
  timeout  = "30s"
}
fence "pdu-b" {
  agent   = "fence_apc_snmp"
  options = { ip = "10.30.0.51", plug = 3, community = "other" }
}
fence "kvm2-bmc" {
  agent         = "fence_redfish"
  password_file = "/etc/haagent/bmc"
}
`
	want := []Change{
		{`host "kvm1".fence`, `["bmc", ["pdu-a", "pdu-b"]]`, `["bmc"]`},
		{`host "kvm2"`, "", `{ fence = ["kvm2-bmc"] }`},
		{`fence "bmc".options.hexadecimal_kg`, "(not shown)", "(another one, not shown)"},
		{`fence "bmc".options.ip`, `"10.30.0.11"`, `"10.30.0.12"`},
		{`fence "bmc".options.lanplus`, `"1"`, ""},
		{`fence "bmc".password`, "(not shown)", "(another one, not shown)"},
		{`fence "bmc".timeout`, "20s", "30s"},
		{`fence "kvm2-bmc"`, "", `{ agent = "fence_redfish", password_file = "/etc/haagent/bmc" }`},
		{`fence "pdu-a"`, `{ agent = "fence_apc_snmp", options = { community = "(not shown)", ip = "10.30.0.50", plug = "3" } }`, ""},
		{`fence "pdu-b".options.community`, "", "(not shown)"},
	}
	a, b := parse(t, fenced), parse(t, next)
	for _, list := range [][]Change{DiffPolicies(a, b), DiffPolicies(b, a), DiffPolicies(&Policy{}, a)} {
		for _, c := range list {
			for _, secret := range []string{"hunter", "c0mm", "0011", "1100"} {
				if strings.Contains(c.Old+c.New, secret) {
					t.Errorf("shown: %+v", c)
				}
			}
		}
	}
	if diff := cmp.Diff(want, DiffPolicies(a, b)); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
}

func TestWarnings(t *testing.T) {
	p := parse(t, fenced+`fence "spare" { agent = "fence_redfish" }`)
	got := strings.Join(p.Warnings(), "\n")
	if n := strings.Count(got, "\n") + 1; n != 2 || !strings.Contains(got, `fence "spare" is not used`) || !strings.Contains(got, `fence "bmc": its password is part of the policy`) || strings.Contains(got, "hunter") {
		t.Errorf("want one of the spare device and one of the password, got %d:\n%s", n, got)
	}
	if list := DefaultPolicy("basement").Warnings(); len(list) != 0 {
		t.Errorf("of the default: %q", list)
	}
}

func TestCloneSharesNoFence(t *testing.T) {
	p := parse(t, fenced)
	q := p.Clone()
	q.Fences["bmc"].Options["ip"] = "192.0.2.1"
	q.Hosts["kvm1"].Fence[1][0] = "other"
	delete(q.Fences, "pdu-a")
	if diff := cmp.Diff(parse(t, fenced), p); diff != "" {
		t.Errorf("the original changed:\n%s", diff)
	}
}

func TestFenceValidate(t *testing.T) {
	good := Fence{Agent: "fence_ipmilan", Timeout: time.Second, Attempts: 1, Check: time.Minute}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	bad := Fence{Agent: "sh", Options: map[string]string{"action": "on"}, Password: "a\nb", PasswordFile: "c", Timeout: time.Hour, Attempts: 99}
	err := bad.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, word := range []string{"agent", "options", "password holds", "password_file must", "set beside password", "timeout", "attempts", "check"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q is not told in: %v", word, err)
		}
	}
}

// Plugs of one switch are different devices; how one logs in makes no difference.
func TestTwins(t *testing.T) {
	tests := []struct {
		name, a, b string
		same       bool
	}{
		{"two plugs", `{ ip = "10.0.0.1", plug = 1 }`, `{ ip = "10.0.0.1", plug = 2 }`, false},
		{"one plug", `{ ip = "10.0.0.1", plug = 1 }`, `{ ipaddr = "10.0.0.1", port = "1" }`, true},
		{"two systems", `{ ip = "10.0.0.1", systems_uri = "/redfish/v1/Systems/1" }`, `{ ip = "10.0.0.1", systems_uri = "/redfish/v1/Systems/2" }`, false},
		{"two ports", `{ ip = "10.0.0.1", ipport = 6230 }`, `{ ip = "10.0.0.1", ipport = 6231 }`, false},
		{"two logins", `{ ip = "10.0.0.1", username = "a" }`, `{ ip = "10.0.0.1", username = "b", login_timeout = 9 }`, true},
		{"no address", `{}`, `{}`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			device := func(name, options string) string {
				return "fence \"" + name + "\" {\n agent = \"fence_ipmilan\"\n options = " + options + "\n}\n"
			}
			text := "cluster \"c\" {}\nhost \"h1\" { fence = [\"a\"] }\n" + device("a", tt.a) + device("b", tt.b)
			if _, err := ParsePolicy(map[string][]byte{"c.hcl": []byte(text + `host "h2" { fence = ["b"] }`)}); (err != nil) != tt.same {
				t.Errorf("for two hosts: %v", err)
			}
			if _, err := ParsePolicy(map[string][]byte{"c.hcl": []byte(strings.Replace(text, `["a"]`, `["a", "b"]`, 1))}); err != nil {
				t.Errorf("for one host: %v", err)
			}
		})
	}
}
