package whatif

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
)

// Room alone restarts nothing: a loss that leaves no majority of the voters is told of.
func TestNoMajority(t *testing.T) {
	const oneOfFive = "2 of 5 voters would be left, and a majority is 3: nothing is started before 1 more can be heard again"
	for _, tt := range []struct {
		name   string
		hosts  string // names; a capital letter has no vote, a ! after it is down, a digit is its failure domain
		policy string
		q      Question
		any    string
		each   string // of the first case
	}{
		{"one of three", "a b c", "", Question{Fail: []string{"a"}}, "", ""},
		{"two of three", "a b c", "", Question{Fail: []string{"a", "b"}}, "", "1 of 3 voters would be left, and a majority is 2: nothing is started before 1 more can be heard again"},
		{"two of five, of which one is down", "a b c d e!", "", Question{Fail: []string{"a", "b"}}, "", oneOfFive},
		{"the one that is down already", "a b c d e!", "", Question{Fail: []string{"a", "e"}}, "", ""},
		{"hosts without a vote", "a b c D E", "", Question{Fail: []string{"D", "E"}}, "", ""},
		{"each host, and one is down", "a b c!", "", Question{}, "", "1 of 3 voters would be left, and a majority is 2: nothing is started before 1 more can be heard again"},
		{"any one of three", "a b c", "", Question{FailAny: 1}, "", ""},
		{"any three of five", "a b c d e", "", Question{FailAny: 3}, oneOfFive, ""},
		{"any one domain, of which one has three votes", "a1 b1 c1 d e", `admission_control {
  host_failures {
    domain = "failure_domain"
  }
}`, Question{FailAny: 1}, oneOfFive, ""},
		{"one after the other: votes move on", "a b c d e", `admission_control {
  host_failures {
    succession = true
  }
}`, Question{FailAny: 3}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var hosts []string
			domains := ""
			for _, h := range strings.Fields(tt.hosts) {
				more := ""
				if strings.HasSuffix(h, "!") {
					h, more = h[:1], `, "state": "down"`
				}
				if len(h) > 1 {
					domains += fmt.Sprintf("host %q {\n  failure_domain = %q\n}\n", h[:1], h[1:])
				}
				hosts = append(hosts, fmt.Sprintf(`{"name": %q, "memory": "64GiB", "cpus": 4, "voter": %v%s}`, h[:1], strings.ToLower(h) == h, more))
			}
			text := fmt.Sprintf(`{"schema": 1, "policy": {"cluster.hcl": %q}, "hosts": [%s], "vms": [{"name": "v", "host": "a", "memory": "1GiB", "vcpus": 1}]}`,
				"cluster \"c\" {}\n"+tt.policy+"\n"+domains, strings.Join(hosts, ", "))
			f, err := inventory.ReadFile(strings.NewReader(text))
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
			if p.NoMajority != tt.any {
				t.Errorf("after any %d: %q, want %q", tt.q.FailAny, p.NoMajority, tt.any)
			}
			got := ""
			if len(p.Failovers) > 0 {
				got = p.Failovers[0].NoMajority
			}
			if got != tt.each {
				t.Errorf("in the first case: %q, want %q", got, tt.each)
			}
		})
	}
}
