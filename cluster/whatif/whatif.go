// Package whatif answers what would become of the VMs if hosts or datastores were
// lost or VMs were added, how much room for failures there is, and which rules are
// broken now. It asks the planner about a picture of the cluster (cluster/inventory),
// of one that runs or of one in a file, and puts the answers into words and into JSON.
// Nothing is changed, and nobody is asked.
package whatif

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/fsm"
)

// ErrBadQuestion: the question names something that is not there, or cannot be answered.
var ErrBadQuestion = errors.New("this cannot be asked")

// Question is what a plan is asked for. The zero one asks about the loss of each host by itself.
type Question struct {
	// Fail are hosts that are lost together.
	Fail []string `json:"fail,omitempty"`
	// FailAny asks about any so many hosts.
	FailAny int `json:"fail_any,omitempty"`
	// LoseDatastores are datastores that are lost on every host.
	LoseDatastores []string `json:"lose_datastores,omitempty"`
	// Maintenance are hosts that go into maintenance together, in the order in which they are asked for.
	Maintenance []string `json:"maintenance,omitempty"`
	Hypothesis
}

// Plan is the answer to a Question.
type Plan struct {
	// Fine: every protected VM runs in the end, those included that no plan covers, and
	// what was to be added is admitted; hosts that go into maintenance get empty, and room for
	// failures is left.
	Fine bool `json:"fine"`
	// Failovers are what would be done, in one case after the other.
	Failovers []Failover `json:"failovers"`
	// Maintenance is what becomes of each host that goes into maintenance, where that was asked.
	Maintenance []Service `json:"maintenance,omitempty"`
	// Any is the answer about any so many hosts, where that was asked.
	Any *Tolerance `json:"any,omitempty"`
	// NoMajority says that the worst loss of so many would leave too few voters: nothing starts then,
	// whatever Any says of room. Empty: enough would be left.
	NoMajority string  `json:"no_majority,omitempty"`
	Added      []Added `json:"added,omitempty"`
	// Frozen are VMs that wait for the host that they were shut down with: they start there, and no
	// case says anything of them.
	Frozen []Frozen `json:"frozen,omitempty"`
	// Problems are what was left out of the picture, for people.
	Problems []string `json:"problems,omitempty"`
}

// Failover is what would be done in one case.
type Failover struct {
	Hosts      []string   `json:"hosts"` // that are lost
	Datastores []string   `json:"datastores,omitempty"`
	Decisions  []Decision `json:"decisions"` // in the order of the starts
	// Down are VMs that run nowhere afterwards; BestEffort are those of them for which no room is kept.
	Down       []string `json:"down"`
	BestEffort []string `json:"best_effort_down,omitempty"`
	// Exact says that no plan could do better.
	Exact bool `json:"exact"`
	// NoMajority says that too few voters would be left, so that nothing of this is done before others
	// are back. Empty: enough would be left.
	NoMajority string `json:"no_majority,omitempty"`
}

// Decision is what becomes of one VM.
type Decision struct {
	VM     string           `json:"vm"`
	Action placement.Action `json:"action"`
	From   string           `json:"from,omitempty"`
	To     string           `json:"to,omitempty"`
	Live   bool             `json:"live,omitempty"`
	Why    string           `json:"why"`
	After  []string         `json:"after,omitempty"`
	Hosts  []Considered     `json:"hosts,omitempty"`
}

// Considered is one host that was looked at for a VM.
type Considered struct {
	Host string `json:"host"`
	// Excluded is why it cannot take the VM, as a word; empty when it can.
	Excluded placement.Reason `json:"excluded,omitempty"`
	Rule     string           `json:"rule,omitempty"`
	// Text has the exclusion, or the figures that ranked the host.
	Text string `json:"text"`
}

// Tolerance is the answer about any so many hosts.
type Tolerance struct {
	Failures  int         `json:"failures"`
	Answer    string      `json:"answer"`         // yes, no or unknown
	Lost      []string    `json:"lost,omitempty"` // an example, where the answer is no
	Down      []string    `json:"down,omitempty"`
	Uncovered []Uncovered `json:"uncovered,omitempty"`
	Why       string      `json:"why"`
}

// Uncovered is a protected VM that no plan can restart. It is counted apart.
type Uncovered struct {
	VM  string `json:"vm"`
	Why string `json:"why"`
}

// Added is what admission control says to a VM that is to be added.
type Added struct {
	VM       string   `json:"vm"`
	Admitted bool     `json:"admitted"`
	Answer   string   `json:"answer"` // whether room for failures is left: yes, no or unknown
	Host     string   `json:"host,omitempty"`
	Why      string   `json:"why"`
	WaysOut  []string `json:"ways_out,omitempty"`
}

// Ask answers a question about what in describes. known, which may be nil, is used where it
// is about the same picture. Errors wrap ErrBadQuestion, or inventory.ErrBadFile for VMs
// that make no sense.
func Ask(b *inventory.Builder, in inventory.Input, q Question, known *Outlook) (*Plan, error) {
	in, added, problems, err := q.apply(b, in)
	if err != nil {
		return nil, err
	}
	q.Fail, q.LoseDatastores = once(q.Fail), once(q.LoseDatastores)
	if len(q.Maintenance) > 0 {
		in = in.Thawed(q.Maintenance...)
	}
	inv := b.Build(in)
	c := inv.Cluster
	if err := q.check(c, in); err != nil {
		return nil, err
	}
	p := &Plan{Fine: true, Failovers: []Failover{}, Problems: slices.Concat(problems, inv.Problems)}
	p.Frozen = setAside(inv, in)
	c = p.admit(c, inv, added)
	if len(q.LoseDatastores) > 0 {
		c = without(c, q.LoseDatastores)
	}
	switch {
	case len(q.Maintenance) > 0:
		if p.Maintenance, err = takeOut(in, inv, c, inventory.MoveSettings(in.Policy), q.Maintenance); err != nil {
			return nil, err
		}
		for _, s := range p.Maintenance {
			p.Fine = p.Fine && len(s.Stay) == 0 && s.Last == "" && !s.Room.Refused && s.Room.Answer == placement.Yes.String()
		}
	case q.FailAny > 0:
		f := placement.Failures{N: q.FailAny, Domains: c.Policy.Admission.Domains, Succession: c.Policy.Admission.Succession}
		t := placement.Tolerate(c, f)
		if why := nobody(c, t.Uncovered); why != "" && t.Answer == placement.Yes {
			t.Answer, t.Why = placement.No, why
		}
		p.Any, p.NoMajority = tolerance(t), noMajorityAfterAny(c, f)
		p.Fine = p.Fine && t.Answer == placement.Yes && len(t.Uncovered) == 0
		if len(t.Lost) > 0 {
			p.failover(c, q.LoseDatastores, t.Lost, placement.Decide(c, placement.Question{Lost: t.Lost}))
		}
	case len(q.Fail) > 0 || len(q.LoseDatastores) > 0:
		p.failover(c, q.LoseDatastores, q.Fail, placement.Decide(c, placement.Question{Lost: q.Fail}))
	default:
		every := func() []placement.Failover {
			if q.None() && len(p.Frozen) == 0 && known.about(inv) {
				return known.Hosts
			}
			return placement.EveryHost(c)
		}
		hosts := every()
		for _, f := range hosts {
			p.failover(c, nil, []string{f.Host}, f.Plan)
		}
		p.Fine = p.Fine && len(hosts) > 0 // none is up, and nothing runs
	}
	return p, nil
}

// once is a list of names without those that are there again.
func once(names []string) (out []string) {
	for _, s := range names {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// check refuses what is not there.
func (q *Question) check(c *placement.Cluster, in inventory.Input) error {
	var hosts []string
	for i := range c.Hosts {
		hosts = append(hosts, c.Hosts[i].Name)
	}
	slices.Sort(hosts)
	for _, h := range q.Fail {
		if !slices.Contains(hosts, h) {
			return fmt.Errorf("%w: there is no host %q; there are %s", ErrBadQuestion, h, strings.Join(hosts, ", "))
		}
	}
	stores := slices.Sorted(maps.Keys(in.Policy.Datastores))
	for _, d := range q.LoseDatastores {
		if !slices.Contains(stores, d) {
			what := "the policy names none: say what hosts share in datastore blocks"
			if len(stores) > 0 {
				what = "there are " + strings.Join(stores, ", ")
			}
			return fmt.Errorf("%w: there is no datastore %q; %s", ErrBadQuestion, d, what)
		}
	}
	switch {
	case q.FailAny < 0 || q.FailAny > len(c.Hosts):
		return fmt.Errorf("%w: any %d hosts of %d cannot fail", ErrBadQuestion, q.FailAny, len(c.Hosts))
	case len(q.Maintenance) > 0 && (q.FailAny > 0 || len(q.Fail) > 0 || len(q.LoseDatastores) > 0):
		return fmt.Errorf("%w: either hosts go into maintenance, or something is lost", ErrBadQuestion)
	case q.FailAny > 0 && len(q.Fail) > 0:
		return fmt.Errorf("%w: either the hosts that fail are named, or any of a number are meant", ErrBadQuestion)
	}
	return nil
}

// add puts VMs into a copy of what is known.
func add(in inventory.Input, vms []inventory.FileVM) (out inventory.Input, uuids []string, err error) {
	if len(vms) == 0 {
		return in, nil, nil
	}
	f := inventory.File{Schema: inventory.FileSchema}
	for i := range in.Hosts {
		h := &in.Hosts[i]
		f.Hosts = append(f.Hosts, inventory.FileHost{Name: h.Name, Memory: max(1, inventory.Size(h.Memory)), CPUs: max(1, h.CPUs)})
	}
	taken := map[string]bool{}
	for _, vm := range in.State.VMs {
		taken[vm.Name], taken[vm.UUID] = true, true
	}
	for _, v := range vms {
		if taken[v.Name] || v.UUID != "" && taken[v.UUID] {
			return in, nil, fmt.Errorf("%w: there is a VM %q already", ErrBadQuestion, v.Name)
		}
		if v.Host != "" || v.State != "" || v.Protected != nil {
			return in, nil, fmt.Errorf("%w: %q has a host, a state or protected; a VM that is added is protected, and started where it fits", ErrBadQuestion, v.Name)
		}
		f.VMs = append(f.VMs, v)
	}
	more, err := f.Input()
	if err != nil {
		return in, nil, &addedError{err}
	}
	st := &fsm.State{}
	*st = *in.State
	st.VMs, in.Wants = maps.Clone(in.State.VMs), maps.Clone(in.Wants)
	if in.Wants == nil {
		in.Wants = map[string]inventory.Wants{}
	}
	for i := range vms {
		uuid := vms[i].UUID
		if uuid == "" {
			uuid = vms[i].Name
		}
		st.VMs[uuid], in.Wants[uuid] = more.State.VMs[uuid], more.Wants[uuid]
		uuids = append(uuids, uuid)
	}
	in.State = st
	return in, uuids, nil
}

// addedError is what is wrong with what is to be added, which is no file of its own.
type addedError struct{ err error }

func (e *addedError) Unwrap() error { return e.err }

func (e *addedError) Error() string {
	return "what is to be added makes no sense" + strings.TrimPrefix(e.err.Error(), inventory.ErrBadFile.Error())
}

// admit asks for each VM that is added whether it is admitted, and has those that a
// host can run at all run there. The order is that of the question.
func (p *Plan) admit(c *placement.Cluster, inv *inventory.Inventory, uuids []string) *placement.Cluster {
	if len(uuids) == 0 {
		return c
	}
	after := *c
	after.VMs = nil
	waiting := map[string]placement.VM{}
	for _, v := range c.VMs {
		if i := slices.Index(uuids, inv.UUIDs[v.Name]); i >= 0 {
			waiting[uuids[i]] = v
		} else {
			after.VMs = append(after.VMs, v)
		}
	}
	for _, uuid := range uuids {
		vm := waiting[uuid]
		vm.Status = placement.Running
		v := placement.Check(&after, placement.Change{VM: &vm})
		p.Added = append(p.Added, Added{VM: vm.Name, Admitted: !v.Refused, Answer: v.Answer.String(), Host: v.Host, Why: v.Why, WaysOut: v.WaysOut})
		p.Fine = p.Fine && !v.Refused
		vm.Host = v.Host
		if v.Host == "" {
			vm.Status = placement.Waiting
		}
		after.VMs = append(after.VMs, vm)
	}
	return &after
}

// without is the cluster after datastores are lost everywhere: VMs that need one run no more.
func without(c *placement.Cluster, lost []string) *placement.Cluster {
	after := *c
	after.Hosts, after.VMs = slices.Clone(c.Hosts), slices.Clone(c.VMs)
	for i := range after.Hosts {
		after.Hosts[i].Datastores = slices.DeleteFunc(slices.Clone(after.Hosts[i].Datastores), func(d string) bool { return slices.Contains(lost, d) })
	}
	for i := range after.VMs {
		v := &after.VMs[i]
		if v.Status == placement.Running && slices.ContainsFunc(v.Datastores, func(d string) bool { return slices.Contains(lost, d) }) {
			v.Status = placement.Waiting
		}
	}
	return &after
}

func (p *Plan) failover(c *placement.Cluster, datastores, lost []string, plan *placement.Plan) {
	f := Failover{Hosts: append([]string{}, lost...), Datastores: datastores, Down: []string{}, Exact: plan.Exact, Decisions: []Decision{},
		NoMajority: noMajority(c, func(h *placement.Host) bool { return slices.Contains(lost, h.Name) })}
	class := map[string]placement.Class{}
	for i := range c.VMs {
		class[c.VMs[i].Name] = c.VMs[i].Class
	}
	for _, d := range plan.Decisions {
		f.Decisions = append(f.Decisions, DecisionOf(d))
		if d.Action != placement.StayDown {
			continue
		}
		f.Down = append(f.Down, d.VM)
		if class[d.VM] == placement.Protected {
			p.Fine = false
		} else {
			f.BestEffort = append(f.BestEffort, d.VM)
		}
	}
	p.Failovers = append(p.Failovers, f)
}

// DecisionOf puts a decision of the planner into words.
func DecisionOf(d placement.Decision) Decision {
	out := Decision{VM: d.VM, Action: d.Action, From: d.From, To: d.To, Live: d.Live, Why: d.Why, After: d.After}
	for _, h := range d.Hosts {
		out.Hosts = append(out.Hosts, Considered{Host: h.Host, Excluded: h.Excluded, Rule: h.Rule, Text: strings.TrimPrefix(h.String(), h.Host+": ")})
	}
	return out
}

func tolerance(t placement.Tolerance) *Tolerance {
	out := &Tolerance{Failures: t.N, Answer: t.Answer.String(), Lost: t.Lost, Down: t.Down, Why: t.Why}
	for _, u := range t.Uncovered {
		out.Uncovered = append(out.Uncovered, Uncovered(u))
	}
	return out
}
