package placement

import (
	"strings"
	"testing"
)

// Hosts rank by what VMs really take where the policy asks for it. Room goes by what they may take.
func TestRankedByWhatVMsReallyTake(t *testing.T) {
	tests := []struct {
		name string
		edit func(c *Cluster)
		want string // host of a, which waits
		why  string
	}{
		{"by size the host with the small one", func(c *Cluster) { c.Policy.Measured = false }, "h2", "memory 12.5 % used, 0.25 virtual CPUs per processor, 2 VMs"},
		{"the large one is idle", func(*Cluster) {}, "h1", "memory 7.8 % really used, 0.15 busy processors per processor, 2 VMs"},
		{"not where it does not fit", func(c *Cluster) { c.VMs[1].Memory = 31 * gibibyte }, "h2", ""},
		{"what is not known counts as it may", func(c *Cluster) { c.VMs[1].Use = nil }, "h2", ""},
		{"so does what makes no sense", func(c *Cluster) { c.VMs[1].Use.Processors = -1 }, "h2", ""},
		{"a rule comes first", func(c *Cluster) { c.Rules = []Rule{{Name: "r", Kind: Apart, VMs: []string{"a", "b"}}} }, "h2", ""},
		{"what it took itself counts", func(c *Cluster) {
			c.VMs[0].Use = &Use{Processors: 4, Memory: 2 * gibibyte}
		}, "h1", "memory 7.8 % really used, 0.53 busy processors per processor, 2 VMs"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &Cluster{Hosts: hosts(32, 32), VMs: on("h1", "h1", "h2")}
			c.Policy.Measured = true
			c.Hosts[0].CPUs, c.Hosts[1].CPUs = 8, 8
			c.VMs[0].Status, c.VMs[0].Memory, c.VMs[0].VCPUs = Waiting, 2*gibibyte, 1
			c.VMs[1].Memory, c.VMs[1].VCPUs, c.VMs[1].Use = 16*gibibyte, 4, &Use{Processors: 0.25, Memory: gibibyte / 2}
			c.VMs[2].Memory, c.VMs[2].VCPUs, c.VMs[2].Use = 2*gibibyte, 1, &Use{Processors: 7.5, Memory: 2 * gibibyte}
			tt.edit(c)
			d := Decide(c, Question{}).Decisions
			if len(d) != 1 || d[0].To != tt.want || !strings.Contains(d[0].Why, tt.why) {
				t.Errorf("%+v, want %s because of %q", d, tt.want, tt.why)
			}
		})
	}
}
