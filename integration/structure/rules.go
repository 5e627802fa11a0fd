package structure

// pure are the packages that decide: functions of values, without a clock, a
// network, a disk or a log.
var pure = []string{"fsm", "cluster/lease", "cluster/durable", "cluster/verdict", "cluster/placement"}

// weighing are the packages that decide by the policy and the VMs' definitions too, which
// they get as values; the packages that those come from can also read files.
var weighing = []string{"cluster/recovery", "cluster/inventory"}

// raft are the modules of the consensus library.
var raft = []string{"github.com/hashicorp/raft/...", "github.com/hashicorp/raft-boltdb/...", "github.com/hashicorp/raft-autopilot/..."}

// Rules is the direction of imports: cmd → the acting packages of cluster → pure
// packages → fsm; fencing, storagehb and vmm beside them. A rule may name a
// package that does not exist yet.
var Rules = []Rule{
	{
		Packages: []string{"fsm"},
		Deny:     []string{"own"},
		Allow:    []string{"cluster/lease"},
		Why:      "fsm is at the bottom: of this module it imports value types alone",
	},
	{
		Packages: []string{"cluster/lease"},
		Deny:     []string{"own"},
		Why:      "the arithmetic of leases stands on nothing but time.Duration",
	},
	{
		Packages: pure,
		Deny:     []string{"own"},
		Allow:    append([]string{"vmm"}, pure...), // vmm itself is values and an interface; its drivers are below it
		Why:      "a package that decides imports only packages that decide, and values",
	},
	{
		Packages: pure,
		Deny: []string{
			"foreign", "net/...", "os/...", "syscall", "log/...",
			"math/rand", "math/rand/v2", "crypto/rand", "runtime", "testing/...", "unsafe",
		},
		Allow: []string{"net/netip", "net/url"}, // addresses as values
		Why:   "a package that decides is a function of values: the same on every member, in the simulation and in an explanation",
	},
	{
		Packages: weighing,
		Deny: []string{
			"own", "net/...", "os/...", "syscall", "log/...",
			"math/rand", "math/rand/v2", "crypto/rand", "runtime", "testing/...", "unsafe",
		},
		Allow:  append([]string{"vmm", "vmm/domainxml", "config", "cluster/inventory", "net/netip", "net/url"}, pure...),
		Direct: true,
		Why:    "a package that decides is a function of values: the policy and the definitions come to it read",
	},
	{
		Packages: []string{"fencing/...", "storagehb/...", "vmm/...", "config/..."},
		Deny:     append([]string{"cluster/...", "cmd/..."}, raft...),
		Allow:    pure,
		Why:      "it knows nothing of raft or of who is master: it is told what to do, so it can be trusted when the cluster is broken",
	},
	{
		Packages: []string{"own"},
		Except:   []string{"cluster/raftnode/...", "integration/..."},
		Deny:     raft,
		Direct:   true,
		Why:      "cluster/raftnode alone speaks to hashicorp/raft: its faults are designed around in one place",
	},
	{
		Packages: []string{"own"},
		Except:   []string{"vmm/libvirt/...", "integration/..."},
		Deny:     []string{"github.com/digitalocean/go-libvirt/..."},
		Direct:   true,
		Why:      "vmm/libvirt alone speaks libvirt's protocol; all others take the interface in vmm",
	},
	{
		Packages: []string{"cluster/host/..."},
		Deny:     []string{"cluster/master/..."},
		Why:      "a host's duty and the office do not know one another: what they exchange is in cluster/api",
	},
	{
		Packages: []string{"cluster/master/..."},
		Deny:     []string{"cluster/host/..."},
		Why:      "a host's duty and the office do not know one another: what they exchange is in cluster/api",
	},
	{
		Packages: []string{"cmd/haadm/..."},
		Deny: append([]string{
			"cluster/raftnode/...", "cluster/master/...", "cluster/host/...", "cluster/agent/...", "fencing/...", "vmm/libvirt/...",
		}, raft...),
		Allow: []string{"fencing", "fencing/device"},
		Why:   "haadm talks to the API; beside it only to what has to work without an agent: a heartbeat volume, a watchdog, fence agents about themselves, and plans from a file",
	},
	{
		Packages: []string{"own"},
		Except:   []string{"integration/..."},
		Deny:     []string{"integration/..."},
		Direct:   true,
		Why:      "the product does not import its tests",
	},
	{
		Packages: []string{"own"},
		Except:   []string{"cmd/...", "integration/..."},
		Deny:     []string{"cmd/..."},
		Direct:   true,
		Why:      "nobody imports a command",
	},
}
