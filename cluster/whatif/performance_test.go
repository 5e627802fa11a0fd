package whatif

import (
	"strings"
	"testing"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
)

// What VMs really take is held against what the failures that are to be borne would leave.
func TestPerformanceAfterFailures(t *testing.T) {
	const gib = 1 << 30
	host := func(name string, cpus int, memory uint64, uses ...inventory.Use) inventory.Host {
		h := inventory.Host{Name: name, State: placement.Up, CPUs: cpus, Memory: (memory + 1) * gib, Reserve: gib, Uses: map[string]inventory.Use{}}
		for i, u := range uses {
			id := name + string(rune('a'+i))
			h.Domains = append(h.Domains, inventory.Domain{UUID: id, Running: true})
			if u != (inventory.Use{}) {
				h.Uses[id] = u
			}
		}
		return h
	}
	three := func(processors float64, memory uint64) []inventory.Host {
		return []inventory.Host{host("a", 8, 64, inventory.Use{Processors: processors, Memory: memory * gib}), host("b", 16, 64, inventory.Use{Processors: 1, Memory: gib}), host("c", 8, 128)}
	}
	closed := three(15.1, 10)
	closed[1].State = placement.Down
	unknown := three(1, 1)
	unknown[0].Domains = append(unknown[0].Domains, inventory.Domain{UUID: "x", Running: true}, inventory.Domain{UUID: "y"})
	tests := []struct {
		name      string
		hosts     []inventory.Host
		tolerate  int
		tolerated int
		warn      bool
		says      string
	}{
		{"enough", three(15, 127), 1, 0, false, "keep 16.0 processors busy and hold 128.0 GiB; without the largest host there are 16 and 128.0 GiB"},
		{"too few processors", three(15.1, 10), 1, 0, true, "16.1 processors"},
		{"too little memory", three(1, 128), 1, 0, true, "129.0 GiB"},
		{"within what VMs may lose", three(15.1, 10), 1, 5, false, ""},
		{"more than VMs may lose", three(16, 10), 1, 5, true, ""},
		{"whatever they lose", three(99, 999), 1, 100, false, ""},
		{"two hosts", three(7.5, 10), 2, 0, true, "without the 2 largest hosts there are 8 and 64.0 GiB"},
		{"none asked for counts as one", three(15.1, 10), 0, 0, true, ""},
		{"a host is lost already", closed, 1, 0, true, "there are 8 and 64.0 GiB"},
		{"not known of all", unknown, 1, 0, false, "of 1 more it is not known"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := config.DefaultPolicy("prod")
			p.Admission.Tolerate, p.Admission.Degradation = tt.tolerate, tt.tolerated
			if got := Perform(inventory.Input{Policy: p, Hosts: tt.hosts}); got.Warn != tt.warn || !strings.Contains(got.Why, tt.says) {
				t.Errorf("warns: %v, as %s\nwant %v, as %s", got.Warn, got.Why, tt.warn, tt.says)
			}
		})
	}
}
