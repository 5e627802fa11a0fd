package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/holdfast-ha/holdfast/cluster/lease"
)

// Policy is what all hosts of a cluster agree on. It is a plain value that
// encodes to JSON; whoever stores it adds the revision. The parsers of this
// package return only policies that are valid; Validate checks one that came
// from elsewhere.
type Policy struct {
	Schema  int          `json:"schema"`
	Cluster string       `json:"cluster"` // the cluster it is meant for
	Note    string       `json:"note,omitempty"`
	Timing  lease.Timing `json:"timing"`
	// Hosts are the host blocks by name, and Fences the devices that they name.
	Hosts  map[string]HostRule `json:"hosts,omitempty"`
	Fences map[string]Fence    `json:"fences,omitempty"`
	// Fencing says what is asked for before a silent host's VMs start elsewhere.
	Fencing FencingPolicy `json:"fencing"`
	// Volumes are the heartbeat_volume blocks, in the order of the file.
	Volumes []HeartbeatVolume `json:"volumes,omitempty"`
	// VolumeUse says how many of them are in use at once.
	VolumeUse VolumesPolicy `json:"volume_use"`
	// Isolation is what a host does that hears nobody.
	Isolation IsolationPolicy `json:"isolation"`
	// Shutdown is what becomes of the VMs of a host that is shut down in good order.
	Shutdown ShutdownPolicy `json:"host_shutdown"`
	// Muted are the warnings that the warnings block switches off.
	Muted Muted `json:"muted,omitzero"`
	// Datastores, Devices, Placement, Admission, Restart, Migration, Balance, Classes, Groups and Rules say
	// where VMs go, and in which order. Of two groups that fit a VM the first counts.
	Datastores map[string]Datastore `json:"datastores,omitempty"`
	Devices    map[string]Devices   `json:"devices,omitempty"`
	Placement  PlacementPolicy      `json:"placement"`
	Admission  AdmissionPolicy      `json:"admission"`
	Restart    RestartPolicy        `json:"restart"`
	Migration  MigrationPolicy      `json:"migration"`
	Balance    BalancePolicy        `json:"balance"`
	Classes    map[string]Class     `json:"classes,omitempty"`
	Groups     []Group              `json:"groups,omitempty"`
	Rules      map[string]Rule      `json:"rules,omitempty"`

	Defaults DefaultsPolicy `json:"defaults"`
	// Selectors are the vms blocks. The first one that matches counts.
	Selectors []Selector `json:"selectors,omitempty"`
	// VMs are the vm blocks by name; they count before any selector.
	VMs map[string]VMRule `json:"vms,omitempty"`
}

// DefaultsPolicy holds for VMs and attributes that no vm or vms block settles.
type DefaultsPolicy struct {
	Protect string `json:"protect"`  // ProtectListed or ProtectAll
	OnCrash string `json:"on_crash"` // CrashRestart or CrashLeave
	// Class is that of VMs for which no rule names one; empty: none.
	Class string `json:"class,omitempty"`
}

// VMRule is what a vm or vms block says.
type VMRule struct {
	Protect bool   `json:"protect"`
	OnCrash string `json:"on_crash,omitempty"` // empty: the default's
	// Isolation is what its host does with it when isolated; empty: as the policy says for all.
	Isolation string `json:"isolation,omitempty"`
	// Class names a class block, or is empty: the default's. Priority goes before the class's.
	Class    string `json:"class,omitempty"`
	Priority string `json:"priority,omitempty"`
	// Failback is one of the Failback constants; empty: the class's.
	Failback string `json:"failback,omitempty"`
	// Order ranks the VMs of one priority, lower first.
	Order int `json:"order,omitempty"`
	// ReservedMHz is processor time promised to it, which admission control counts.
	ReservedMHz int    `json:"cpu_reserved_mhz,omitempty"`
	Note        string `json:"note,omitempty"` // for people
}

// Selector is a vms block: one rule for all VMs whose name matches.
type Selector struct {
	Name  string `json:"name"`
	Match string `json:"match"` // pattern for the VM's name, as in package path
	VMRule
}

// VMPolicy is what the policy says about one VM in the end.
type VMPolicy struct {
	Protect bool
	OnCrash string // CrashRestart or CrashLeave
	// Isolation is one of the Isolation constants.
	Isolation string
	// Class is its class, empty for none. Priority is one of the Priority constants.
	Class    string
	Priority string
	Order    int
	// Failback is one of the Failback constants.
	Failback string
	// BestEffort: no room is kept for it.
	BestEffort bool
	// Retries is its schedule of tries (RestartPolicy.Retries).
	Retries     []time.Duration
	ReservedMHz int
	Why         string // the rule that decided: vm "db1", vms "web" or defaults.protect = "all"
	// Listed says that a vm or vms block decided, not the defaults.
	Listed bool
}

// VM finds what holds for the VM of that name. One rule decides: its own vm
// block, else the first vms block that matches, else the defaults. What that
// rule leaves out comes from the defaults.
func (p *Policy) VM(name string) VMPolicy {
	v := VMPolicy{
		Protect:   p.Defaults.Protect == ProtectAll,
		OnCrash:   p.Defaults.OnCrash,
		Isolation: p.Isolation.Action,
		Why:       fmt.Sprintf("defaults.protect = %q", p.Defaults.Protect),
	}
	rule, ok := p.VMs[name]
	if ok {
		v.Why = fmt.Sprintf("vm %q", name)
	} else {
		for _, s := range p.Selectors {
			if match, err := path.Match(s.Match, name); err == nil && match {
				rule, ok = s.VMRule, true
				v.Why = fmt.Sprintf("vms %q", s.Name)
				break
			}
		}
	}
	c := p.class(cmp.Or(rule.Class, p.Defaults.Class))
	v.Class, v.Priority = cmp.Or(rule.Class, p.Defaults.Class), cmp.Or(rule.Priority, c.Priority)
	v.Order, v.ReservedMHz = rule.Order, rule.ReservedMHz
	v.BestEffort, v.Retries = c.Admission == AdmitBestEffort, p.Restart.Retries
	v.Failback = cmp.Or(rule.Failback, c.Failback, p.Migration.Failback)
	if c.Retries != nil {
		v.Retries = c.Retries
	}
	v.Isolation = cmp.Or(c.Isolation, v.Isolation)
	if ok {
		v.Protect, v.Listed = rule.Protect, true
		if rule.OnCrash != "" {
			v.OnCrash = rule.OnCrash
		}
		if rule.Isolation != "" {
			v.Isolation = rule.Isolation
		}
	}
	return v
}

// Clone returns a copy that shares nothing with p.
func (p *Policy) Clone() *Policy {
	q := *p
	q.Selectors, q.Volumes, q.Isolation.Addresses = slices.Clone(p.Selectors), slices.Clone(p.Volumes), slices.Clone(p.Isolation.Addresses)
	q.VMs = maps.Clone(p.VMs)
	q.Hosts, q.Fences = maps.Clone(p.Hosts), maps.Clone(p.Fences)
	for name, h := range q.Hosts {
		q.Hosts[name] = h.clone()
	}
	for name, f := range q.Fences {
		q.Fences[name] = f.clone()
	}
	cloneWhere(&q, p)
	return &q
}

// DefaultPolicy is the policy of a new cluster: standard timing, no VM protected
// that is not listed.
func DefaultPolicy(clusterName string) *Policy {
	timing, _ := lease.Profile(DefaultProfile)
	return &Policy{
		Schema:    Schema,
		Cluster:   clusterName,
		Timing:    timing,
		Fencing:   FencingPolicy{Mode: FencingRequired},
		VolumeUse: VolumesPolicy{Count: defaultVolumeCount},
		Isolation: defaultIsolation(),
		Shutdown:  defaultShutdown(),
		Placement: defaultPlacement(),
		Admission: defaultAdmission(),
		Restart:   defaultRestart(),
		Migration: defaultMigration(),
		Balance:   defaultBalance(),
		Defaults:  DefaultsPolicy{Protect: ProtectListed, OnCrash: CrashRestart},
	}
}

// ReadPolicy reads the text of a policy: a file, or every *.hcl of a directory.
// The result is what ParsePolicy takes, here or at the other end of the API.
func ReadPolicy(path string) (map[string][]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	var files []file
	if info.IsDir() {
		files, err = readDir(path)
		if err == nil && len(files) == 0 {
			err = fmt.Errorf("read policy: %s has no *.hcl: %w", path, fs.ErrNotExist)
		}
	} else {
		files = make([]file, 1)
		files[0], err = readFile(path)
	}
	if err != nil {
		return nil, err
	}
	texts := make(map[string][]byte, len(files))
	for _, f := range files {
		texts[f.name] = f.src
	}
	return texts, nil
}

// LoadPolicy reads and parses a policy: a file, or every *.hcl of a directory
// taken as one. An error about the contents is an *Error with all problems.
func LoadPolicy(path string) (*Policy, error) {
	texts, err := ReadPolicy(path)
	if err != nil {
		return nil, err
	}
	return ParsePolicy(texts)
}

// ParsePolicy parses the files of a policy, by name, as one. A name that ends in
// .json is in HCL's JSON syntax. Defining one thing twice, in one file or in two, is
// an error. The error is an *Error with all problems.
func ParsePolicy(files map[string][]byte) (*Policy, error) {
	r := newReport(policySchema())
	root := newNode(r.root)
	names := sortedKeys(files)
	for _, name := range names {
		if body := r.parse(name, files[name], filepath.Ext(name) == ".json"); body != nil {
			r.fill(root, body)
		}
	}
	what := "the cluster policy"
	if len(names) == 1 {
		what += " " + names[0]
	}
	return r.policy(root, what, "")
}

// ParsePolicyJSON parses a policy in HCL's JSON syntax. Without a cluster block
// it is taken to be for the cluster of that name. The error is an *Error.
func ParsePolicyJSON(filename string, src []byte, clusterName string) (*Policy, error) {
	r := newReport(policySchema())
	root := newNode(r.root)
	if body := r.parse(filename, src, true); body != nil {
		r.fill(root, body)
	}
	return r.policy(root, "the cluster policy "+filename, clusterName)
}

// policy turns a tree into a policy, or into the error with all problems.
func (r *report) policy(root *node, what, clusterName string) (*Policy, error) {
	if r.unread {
		return nil, r.err(what)
	}
	broken := len(r.diags) > 0
	r.need(root)
	cluster, timing, defaults := root.one("cluster"), root.one("timing"), root.one("defaults")
	name := cluster.label
	if name == "" {
		name = clusterName
		if problem := badName(name); problem != "" && !broken {
			r.add(nil, "No cluster block", "Say which cluster the policy is for:\n  cluster \"NAME\" { schema = %d }", Schema)
		}
	}
	p := DefaultPolicy(name)
	p.Note = get[string](cluster, "note")
	p.Defaults = DefaultsPolicy{Protect: get[string](defaults, "protect"), OnCrash: get[string](defaults, "on_crash")}
	for _, n := range root.all("vms") {
		p.Selectors = append(p.Selectors, Selector{Name: n.label, Match: get[map[string]string](n, "match")["name"], VMRule: rule(n)})
	}
	for _, n := range root.all("vm") {
		if p.VMs == nil {
			p.VMs = map[string]VMRule{}
		}
		p.VMs[n.label] = rule(n)
	}
	r.timing(p, timing)
	r.fencing(p, root)
	r.volumes(p, root)
	p.Fencing.Mode = get[string](root.one("fencing"), "mode")
	p.Isolation, p.Shutdown = isolation(root), shutdownOf(root)
	r.where(p, root)
	warnings := root.one("warnings")
	p.Muted = Muted{Volumes: !get[bool](warnings, "few_heartbeat_volumes"),
		OneServer: !get[bool](warnings, "volumes_on_one_server"), Networks: !get[bool](warnings, "single_network")}
	if err := r.err(what); err != nil {
		return nil, err
	}
	return p, nil
}

func rule(n *node) VMRule {
	return VMRule{Protect: get[bool](n, "protect"), OnCrash: get[string](n, "on_crash"),
		Isolation: get[string](n, "isolation"), Class: get[string](n, "class"),
		Priority: get[string](n, "priority"), Failback: get[string](n, "failback"), Order: int(get[int64](n, "order")),
		ReservedMHz: int(get[int64](n, "cpu_reserved_mhz")), Note: get[string](n, "note")}
}

// timing sets the policy's timing, and refuses one that is not safe.
func (r *report) timing(p *Policy, n *node) {
	base, _ := lease.Profile(get[string](n, "profile")) // one of its names, by the schema
	p.Timing = override(base, n)
	for _, s := range n.set {
		if s.bad {
			return // what is wrong with it says more than what would follow
		}
	}
	err := p.Timing.Validate()
	if err == nil {
		return
	}
	reasons := strings.ReplaceAll(strings.TrimPrefix(err.Error(), "timing: "), "; ", ".\n")
	r.add(blame(n, err), "Unsafe timing", "%s.\n\n%s", reasons, timingTable(p.Timing, n))
}

// blame finds the first attribute that a refusal of a timing names, else the block.
func blame(n *node, err error) *hcl.Range {
	at, best := n.rng, -1
	for _, a := range n.schema.attrs {
		s, ok := n.set[a.name]
		if i := wordIndex(err.Error(), a.name+" is "); ok && i >= 0 && (best < 0 || i < best) {
			at, best = s.rng, i
		}
	}
	return at
}

// Validate checks a policy that was not parsed from HCL, such as one decoded
// from JSON, by the same rules. The error is an *Error.
func (p *Policy) Validate() error {
	const name = "policy"
	q, err := ParsePolicy(map[string][]byte{name: p.HCL()})
	if err != nil {
		return err
	}
	// What HCL cannot say was lost on the way.
	if lost := DiffPolicies(p, q); len(lost) > 0 {
		return &Error{What: "the cluster policy", diags: hcl.Diagnostics{{
			Severity: hcl.DiagError,
			Summary:  "Not a policy",
			Detail:   fmt.Sprintf("%s cannot be %s.", lost[0].Path, quote(lost[0].Old)),
		}}}
	}
	return nil
}

// Format tidies the text of an agent's file or a policy. It fails, with an
// *Error, when the text is not HCL; what the text means is not looked at.
func Format(filename string, src []byte) ([]byte, error) {
	r := newReport(&block{})
	if r.parse(filename, src, false); len(r.diags) > 0 {
		return nil, r.err(filename)
	}
	return format(r.files[filename]), nil
}

// AsError finds the *Error in err, if there is one.
func AsError(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}
