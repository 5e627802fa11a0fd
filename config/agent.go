package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
)

// Agent is the configuration of this host's agent: what differs from host to
// host, and what must be known before the agent can talk to its peers.
type Agent struct {
	NodeName     string // unique in the cluster
	DataDir      string // absolute: raft log, snapshots, keys, certificates
	LogLevel     string // trace, debug, info, warn or error
	LogFormat    string // text or json
	Listen       Listen
	Networks     []Network // 1 to 4, the preferred one first
	Hypervisor   string    // libvirt or embedded
	Libvirt      Libvirt   // used when Hypervisor is libvirt
	Embedded     Embedded  // used when Hypervisor is embedded
	Host         Host
	SocketGroups []string // names or numbers of local groups that may use the socket besides root

	settings []Setting
}

// Listen is where peers and people reach this host.
type Listen struct {
	Port   int    // TCP, on the address of every network: raft and API on one TLS port
	Socket string // absolute path of the unix socket for local administrators
}

// Network is one HA network as this host sees it.
type Network struct {
	Name    string     // the same on every host
	Address netip.Addr // of this host
}

// Libvirt is how to reach libvirt on this host.
type Libvirt struct {
	Socket string // absolute path of the RPC socket
}

// Embedded is the in-process hypervisor of the demo.
type Embedded struct {
	Directory string // absolute: domain XML files and what stands for shared disks
}

// Host is what the planner knows of this host beyond its capacity.
type Host struct {
	ReserveMemory uint64 // bytes that no VM gets
}

// Setting is one effective value of the agent's configuration and its origin.
type Setting struct {
	Name   string `json:"name"`   // such as listen.port or network.mgmt.address
	Value  string `json:"value"`  // as text, such as 7300 or 750ms
	Origin string `json:"origin"` // default, haagent.hcl:12, HAAGENT_LOG_LEVEL or --log-level
}

// Settings lists every setting that is in effect, in the order of the schema.
func (a *Agent) Settings() []Setting { return append([]Setting(nil), a.settings...) }

// LoadAgent reads the agent's configuration. path is a file, or a directory in
// which conf.d/*.hcl is merged over haagent.hcl in name order. Variables named
// HAAGENT_* in env ("NAME=value", as os.Environ gives them) win over files, and
// flags win over those; both replace what Overrides lists, flags by the flag's
// name without dashes. hostname is the name of this host unless node_name says
// otherwise.
//
// An error about the contents is an *Error with all problems; one about reading
// wraps the error of package os.
func LoadAgent(path string, env []string, hostname string, flags map[string]string) (*Agent, error) {
	base, files, err := readAgentFiles(path)
	if err != nil {
		return nil, err
	}
	return parseAgent(path, base, files, env, hostname, flags)
}

// ParseAgent is LoadAgent for one file's text, without variables and flags.
func ParseAgent(filename string, src []byte, hostname string) (*Agent, error) {
	return parseAgent(filename, filepath.Dir(filename), []file{{filename, src}}, nil, hostname, nil)
}

func parseAgent(path, base string, files []file, env []string, hostname string, flags map[string]string) (*Agent, error) {
	r := newReport(agentSchema())
	root := newNode(r.root)
	for _, f := range files {
		if body := r.parse(f.name, f.src, false); body != nil {
			n := newNode(r.root)
			r.fill(n, body)
			root.merge(n)
		}
	}
	broken := len(r.diags) > 0
	r.variables(root, env)
	r.flags(root, flags)
	if !r.unread {
		r.need(root)
		if _, ok := root.set["node_name"]; !ok {
			r.defaultName(root, hostname)
		}
		r.agentNetworks(root, broken)
		r.agentHypervisor(root)
	}
	if err := r.err("the agent's configuration " + path); err != nil {
		return nil, err
	}
	a := agentFrom(root)
	a.settings = listSettings(root, base)
	return a, nil
}

// defaultName takes the host's name for node_name when nothing sets it.
func (r *report) defaultName(root *node, hostname string) {
	if problem := badName(hostname); problem != "" {
		r.add(nil, "node_name is missing",
			"The name of this host, %s, cannot stand in for it; a name %s. Set node_name.", quote(hostname), problem)
		return
	}
	if hostname == "localhost" || hostname == "localhost.localdomain" {
		r.add(nil, "node_name is missing",
			"This host is called %s, as others may be, but names are unique in a cluster. Set node_name.", quote(hostname))
		return
	}
	root.set["node_name"] = setting{value: hostname}
}

// agentNetworks checks the networks against one another. broken says that a file
// had problems: then one may be missing only because its block was refused.
func (r *report) agentNetworks(root *node, broken bool) {
	networks := root.all("network")
	if len(networks) == 0 && !broken {
		r.add(nil, "No network",
			"At least one network is needed, better two on separate switches:\n  network \"mgmt\" { address = \"10.10.0.11\" }")
	}
	if len(networks) > maxNetworks {
		r.add(networks[maxNetworks].rng, "Too many networks", "There are %d networks, the most is %d.", len(networks), maxNetworks)
	}
	seen := map[netip.Addr]*node{}
	for _, n := range networks {
		ip, err := netip.ParseAddr(get[string](n, "address"))
		if err != nil {
			continue // reported where it was decoded
		}
		ip = ip.Unmap()
		if old := seen[ip]; old != nil {
			r.add(n.at("address"), "Address used twice",
				"Network %s has the address %s of network %s (%s). Two networks need two addresses, or losing one would look like losing both.",
				quote(n.label), ip, quote(old.label), place(old.at("address")))
			continue
		}
		seen[ip] = n
	}
}

// agentHypervisor refuses settings of the hypervisor that is not used, since they
// would be without effect, and completes those of the one that is.
func (r *report) agentHypervisor(root *node) {
	used := get[string](root, "hypervisor")
	if used == "embedded" {
		n := root.child("embedded")
		if _, ok := n.set["directory"]; !ok {
			n.set["directory"] = setting{value: filepath.Join(get[string](root, "data_dir"), "embedded")}
		}
	}
	for _, name := range []string{"libvirt", "embedded"} {
		if name == used || root.set["hypervisor"].bad {
			continue
		}
		n := root.one(name)
		if n.rng != nil {
			r.add(n.rng, fmt.Sprintf("%s has no effect", name), "The hypervisor is %s (%s). Remove the block, or set hypervisor = %s.",
				quote(used), origin(root, "hypervisor", ""), quote(name))
			continue
		}
		for _, a := range n.schema.attrs {
			if s, ok := n.set[a.name]; ok {
				r.add(nil, fmt.Sprintf("%s has no effect", s.from), "The hypervisor is %s (%s).", quote(used), origin(root, "hypervisor", ""))
			}
		}
	}
}

// agentFrom turns a tree without problems into the typed configuration.
func agentFrom(root *node) *Agent {
	listen, libvirt, host := root.one("listen"), root.one("libvirt"), root.one("host")
	a := &Agent{
		NodeName:   get[string](root, "node_name"),
		DataDir:    filepath.Clean(get[string](root, "data_dir")),
		LogLevel:   get[string](root, "log_level"),
		LogFormat:  get[string](root.one("log"), "format"),
		Hypervisor: get[string](root, "hypervisor"),
		Listen: Listen{
			Port:   int(get[int64](listen, "port")),
			Socket: filepath.Clean(get[string](listen, "socket")),
		},
		Libvirt: Libvirt{Socket: filepath.Clean(get[string](libvirt, "socket"))},
		Host:    Host{ReserveMemory: get[uint64](host.one("reserve"), "memory")},
	}
	for _, n := range root.all("network") {
		ip := netip.MustParseAddr(get[string](n, "address")) // checked when it was decoded
		a.Networks = append(a.Networks, Network{Name: n.label, Address: ip.Unmap()})
	}
	for _, n := range root.one("socket_access").all("group") {
		a.SocketGroups = append(a.SocketGroups, n.label)
	}
	if a.Hypervisor == "embedded" {
		a.Embedded.Directory = filepath.Clean(get[string](root.one("embedded"), "directory"))
		a.Libvirt = Libvirt{}
	}
	return a
}
