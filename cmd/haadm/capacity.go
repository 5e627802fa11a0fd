package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/cluster/whatif"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

func (p *program) capacityCommand() *cli.Command {
	return p.leaf("capacity", "how much room there is, now and after failures, and the largest VM that still fits",
		"", 0, 0, append(supposeFlags(), inventoryFlag()), func(ctx context.Context, c *cli.Context) error {
			h, err := hypothesis(c)
			if err != nil {
				return err
			}
			a, err := p.askCapacity(ctx, c, h)
			if err != nil {
				return err
			}
			if err := p.show(a, func() { p.capacity(a) }); err != nil {
				return err
			}
			if a.Admission.Answer != placement.Yes.String() || slices.ContainsFunc(a.Added, func(v whatif.Added) bool { return !v.Admitted }) {
				return errNo
			}
			return nil
		})
}

func (p *program) askCapacity(ctx context.Context, c *cli.Context, h whatif.Hypothesis) (*api.CapacityAnswer, error) {
	in, offline, err := readInventory(c)
	switch {
	case err != nil:
		return nil, err
	case offline:
		room, err := whatif.Room(&inventory.Builder{}, in, h, nil)
		if err != nil {
			return nil, err
		}
		return &api.CapacityAnswer{Schema: api.Schema, Capacity: *room}, nil
	}
	client := p.client()
	defer client.Close()
	return client.Capacity(ctx, h)
}

func (p *program) capacity(a *api.CapacityAnswer) {
	p.leftOut(a.Problems)
	p.frozen(a.Frozen)
	for _, v := range a.Added {
		p.added(v)
	}
	if len(a.Added) > 0 {
		p.say("")
	}
	p.roomTable(a)
	p.poolTable(a.Pools)
	p.say("")
	p.admission(a.Admission)
	m := a.MaxFailures
	what := "host"
	if a.Admission.Domains {
		what = "failure domain"
	}
	text := plural(m.Failures, "any "+what, fmt.Sprintf("any %d %ss", m.Failures, what))
	text = strings.TrimPrefix(strings.TrimPrefix(text, fmt.Sprintf("%d ", m.Failures)), " ")
	if m.Failures == 0 {
		text = "none"
	}
	if m.Failures > 0 && m.Beyond.Answer == placement.Yes.String() {
		text += ", all that there are: none runs a protected VM that another could take"
	}
	if !m.Exact {
		text += ", perhaps more (the bound on the work was reached)"
	}
	p.field("may fail", "%s", text)
	if m.Beyond.Answer == placement.No.String() {
		p.field("one more", "%s", m.Beyond.Why)
	}
	if m.Quorum >= 0 && m.Quorum < m.Failures {
		p.field("majority", "%s", fmt.Sprintf("more than %s would leave no majority, and then nothing starts",
			plural(m.Quorum, "lost voter", "lost voters")))
	}
	largest := "no further VM would leave the room that is asked for"
	if a.LargestAdmitted > 0 {
		leaves := "that still leaves the room that is asked for"
		if a.Admission.Answer != placement.Yes.String() {
			leaves = "that leaves no less room than there is, which is not what is asked for"
		}
		largest = fmt.Sprintf("%s is the largest VM %s", placement.SizeAtMost(a.LargestAdmitted), leaves)
	}
	fits := "none would fit on a host now"
	if a.LargestFits > 0 {
		fits = placement.SizeAtMost(a.LargestFits) + " would fit on a host now"
	}
	if f := a.Performance; f != nil {
		is := "not warned of (tolerated_degradation = 100)"
		switch {
		case f.Warn:
			is = fmt.Sprintf("TOO LITTLE for more than %d %% less", f.Tolerated)
		case f.Tolerated < config.AnyDegradation:
			is = fmt.Sprintf("enough for %d %% less at most", f.Tolerated)
		}
		p.field("performance", "%s: %s", is, f.Why)
	}
	p.field("largest", "%s; %s", largest, fits)
}

func (p *program) admission(a whatif.Admission) {
	severity := map[string]fsm.Severity{placement.Yes.String(): fsm.Info, placement.No.String(): fsm.Critical}[a.Answer]
	if severity == "" {
		severity = fsm.Warning
	}
	kept := ", for " + plural(a.Failures, "host failure", "host failures")
	if a.Domains {
		kept = ", for " + plural(a.Failures, "failure of a domain", "failures of domains")
	}
	if a.Succession {
		kept += " one after the other"
	}
	if a.Failures == 0 {
		kept = ""
	}
	p.field("policy", "%s, by %s%s", a.Mode, strings.ReplaceAll(string(a.By), "_", " "), kept)
	if a.Mode == "off" {
		p.field("room", "%s", p.tint("not reckoned", fsm.Warning)+": "+a.Why)
		p.uncovered(a.Uncovered)
		return
	}
	word := a.Answer
	if n := len(a.Uncovered); n > 0 && word == placement.Yes.String() {
		word, severity = fmt.Sprintf("yes, but not for %s", plural(n, "VM", "VMs")), fsm.Warning
	}
	p.field("room", "%s", p.tint(word, severity)+": "+a.Why)
	p.uncovered(a.Uncovered)
	if s := a.Slots; s != nil {
		p.field("slots", "%s", fmt.Sprintf("%d MHz and %s each; %d used of %d, %d kept, %d left",
			s.MHz, size(uint64(s.Memory)), s.Used, s.Total, s.Kept, s.Available))
		if len(s.Spanning) > 0 {
			p.field("", "%s", "several slots: "+few(s.Spanning, 6))
		}
	}
	hosts := make([]string, 0, len(a.Standby))
	for h := range a.Standby {
		hosts = append(hosts, h)
	}
	slices.Sort(hosts)
	for _, h := range hosts {
		p.field("standby", "%s: %s", h, a.Standby[h])
	}
}

func (p *program) roomTable(a *api.CapacityAnswer) {
	var rows [][]any
	row := func(h whatif.HostRoom) []any {
		percent := "-"
		if h.Memory > 0 {
			percent = fmt.Sprintf("%d", 100*h.Used/h.Memory)
		}
		ratio := "-"
		if h.CPUs > 0 {
			ratio = fmt.Sprintf("%.2f", float64(h.VCPUs)/float64(h.CPUs))
		}
		state := h.State
		if state != "" && state != "up" {
			state = p.tint(state, fsm.Warning)
		}
		return []any{h.Name, state, h.VMs, size(uint64(h.Memory)), size(uint64(h.Used)), percent, size(uint64(h.Free())), h.CPUs, h.VCPUs, ratio}
	}
	for _, h := range a.Hosts {
		rows = append(rows, row(h))
	}
	total := a.Total
	total.Name = "all up"
	rows = append(rows, row(total))
	p.grid([]any{"HOST", "STATE", "VMS", "FOR VMS", "USED", "%", "FREE", "CPUS", "VCPUS", "PER CPU"}, rows)
	for _, h := range a.Hosts {
		if h.Why != "" {
			text := h.Name + " is " + h.State + ": " + h.Why
			if h.State == "maintenance" && strings.HasPrefix(h.Why, "since ") {
				text = h.Name + " is in maintenance " + h.Why
			}
			p.paragraph("  ", text)
		}
	}
}

func (p *program) placementCommand() *cli.Command {
	violations := p.leaf("violations", "which rules are broken where VMs run now, and the moves that would repair each",
		"", 0, 0, []cli.Flag{inventoryFlag()}, func(ctx context.Context, c *cli.Context) error {
			a, err := p.askViolations(ctx, c)
			if err != nil {
				return err
			}
			if err := p.show(a, func() { p.violations(a) }); err != nil {
				return err
			}
			if len(a.Violations) > 0 {
				return errNo
			}
			return nil
		})
	file := p.leaf("inventory",
		"the cluster as a file for --inventory: hosts, VMs and policy, without fence devices; JSON whatever -o says",
		"", 0, 0, nil, func(ctx context.Context, _ *cli.Context) error {
			client := p.client()
			defer client.Close()
			f, err := client.Inventory(ctx)
			if err != nil {
				return err
			}
			return writeJSON(p.stdout, f)
		})
	return group("placement", "where VMs run, against the policy's rules", violations, file)
}

func (p *program) askViolations(ctx context.Context, c *cli.Context) (*api.ViolationsAnswer, error) {
	in, offline, err := readInventory(c)
	switch {
	case err != nil:
		return nil, err
	case offline:
		a := &api.ViolationsAnswer{Schema: api.Schema}
		a.Violations, a.Problems = whatif.Violations(&inventory.Builder{}, in)
		return a, nil
	}
	client := p.client()
	defer client.Close()
	return client.Violations(ctx)
}

func (p *program) violations(a *api.ViolationsAnswer) {
	p.leftOut(a.Problems)
	if len(a.Violations) == 0 {
		p.say("No rule is broken where VMs run now.")
		return
	}
	for _, v := range a.Violations {
		word, severity := "must", fsm.Critical
		if !v.Must {
			word, severity = "should", fsm.Warning
		}
		p.paragraph(p.tint(fmt.Sprintf("%-6s", word), severity)+"  ", v.Why)
		for _, d := range v.Repair {
			how := "stopped and started there"
			if d.Live {
				how = "live"
			}
			p.say("        move %s from %s to %s (%s)", d.VM, d.From, d.To, how)
		}
		switch {
		case v.Must && len(v.Repair) == 0:
			p.say("        no lawful move repairs it")
		case v.Stays != "":
			p.paragraph("        ", v.Stays)
		}
	}
}
