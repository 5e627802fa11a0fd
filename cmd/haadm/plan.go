package main

import (
	"context"
	"fmt"
	"os"
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

func (p *program) planCommand() *cli.Command {
	flags := []cli.Flag{
		&cli.StringSliceFlag{Name: "fail", Usage: "`HOST`s that are lost together (several with commas, or the flag again)"},
		&cli.IntFlag{Name: "fail-any", Usage: "ask about any `N` hosts; failure domains, where the policy counts those"},
		&cli.StringSliceFlag{Name: "lose-datastore", Usage: "`DATASTORE`s that are lost on every host"},
		&cli.StringSliceFlag{Name: "maintenance",
			Usage: "`HOST`s that go into maintenance together, as 'haadm maintenance enter' would plan it (several with commas, or the flag again)"},
	}
	flags = append(append(flags, supposeFlags()...), inventoryFlag())
	return p.leaf("plan", "what would be done if each host was lost by itself, or what the flags name; nothing is changed",
		"", 0, 0, flags, func(ctx context.Context, c *cli.Context) error {
			q := whatif.Question{Fail: c.StringSlice("fail"), FailAny: c.Int("fail-any"),
				LoseDatastores: c.StringSlice("lose-datastore"), Maintenance: c.StringSlice("maintenance")}
			if len(q.Maintenance) > 0 && (len(q.Fail) > 0 || c.IsSet("fail-any") || len(q.LoseDatastores) > 0) {
				return usageOf(c,
					"--maintenance asks about hosts that are taken out of service, the other flags about what is lost: ask one after the other")
			}
			if c.IsSet("fail-any") && q.FailAny < 1 {
				return usageOf(c, "--fail-any takes a number from 1")
			}
			if q.FailAny > 0 && len(q.Fail) > 0 {
				return usageOf(c, "--fail names the hosts, --fail-any means any of a number: give one of them")
			}
			var err error
			if q.Hypothesis, err = hypothesis(c); err != nil {
				return err
			}
			a, err := p.plan(ctx, c, q)
			if err != nil {
				return err
			}
			if err := p.show(a, func() { p.planText(a, q) }); err != nil {
				return err
			}
			if !a.Fine {
				return errNo
			}
			return nil
		})
}

func inventoryFlag() cli.Flag {
	return &cli.StringFlag{Name: "inventory",
		Usage: "go by this `FILE` instead of asking an agent (haadm placement inventory writes one)", TakesFile: true}
}

// plan asks the agent, or answers from a file.
func (p *program) plan(ctx context.Context, c *cli.Context, q whatif.Question) (*api.PlanAnswer, error) {
	in, offline, err := readInventory(c)
	if err != nil {
		return nil, err
	}
	if !offline {
		client := p.client()
		defer client.Close()
		return client.Plan(ctx, q)
	}
	plan, err := whatif.Ask(&inventory.Builder{}, in, q, nil)
	if err != nil {
		return nil, err
	}
	return &api.PlanAnswer{Schema: api.Schema, Plan: *plan}, nil
}

// readInventory reads the file of --inventory, if there is one.
func readInventory(c *cli.Context) (in inventory.Input, offline bool, err error) {
	file := c.String("inventory")
	if file == "" {
		return in, false, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return in, true, fmt.Errorf("read the inventory: %w", err)
	}
	defer f.Close()
	read, err := inventory.ReadFile(f)
	if err == nil {
		in, err = read.Input()
	}
	if _, policy := config.AsError(err); policy {
		return in, true, &hintedError{err, "This is the policy that " + file + " holds."}
	}
	if err != nil {
		return in, true, fmt.Errorf("%s: %w", file, err)
	}
	return in, true, nil
}

// frozen tells of VMs that a picture leaves out, since they wait for their host.
func (p *program) frozen(all []whatif.Frozen) {
	for _, f := range all {
		p.paragraph("= ", f.VM+" is left out: "+f.Why)
	}
	if len(all) > 0 {
		p.say("")
	}
}

func (p *program) planText(a *api.PlanAnswer, q whatif.Question) {
	p.leftOut(a.Problems)
	p.frozen(a.Frozen)
	for i, v := range a.Added {
		if i > 0 {
			p.say("")
		}
		p.added(v)
	}
	if a.Any != nil {
		if len(a.Added) > 0 {
			p.say("")
		}
		p.tolerance(*a.Any)
		if a.NoMajority != "" && !slices.ContainsFunc(a.Failovers, func(f whatif.Failover) bool { return f.NoMajority != "" }) {
			p.paragraph("     ! ", "after the worst of them "+a.NoMajority)
		}
	}
	for i := range a.Maintenance {
		if i > 0 || len(a.Added) > 0 {
			p.say("")
		}
		p.outOfService(&a.Maintenance[i])
	}
	each := q.FailAny == 0 && len(q.Fail) == 0 && len(q.LoseDatastores) == 0 && len(q.Maintenance) == 0
	if len(a.Failovers) == 0 {
		if each {
			p.say("No host is up: nothing runs, and none could be lost.")
		}
		return
	}
	if len(a.Added) > 0 || a.Any != nil {
		p.say("")
	}
	if each {
		p.eachHost(a.Failovers)
	} else {
		for _, f := range a.Failovers {
			p.failover(f)
		}
	}
}

// leftOut says what the picture could not show.
func (p *program) leftOut(problems []string) {
	for _, s := range problems {
		p.paragraph("! ", s)
	}
	if len(problems) > 0 {
		p.say("")
	}
}

func (p *program) added(v whatif.Added) {
	switch {
	case !v.Admitted:
		p.paragraph(p.tint("no", fsm.Critical)+"   ", v.VM+" is refused: "+v.Why)
	case v.Answer != placement.Yes.String():
		p.paragraph(p.tint("yes", fsm.Warning)+"  ",
			fmt.Sprintf("%s is let through, on %s, though room for failures is then missing: %s", v.VM, dash(v.Host), v.Why))
	default:
		p.paragraph(p.tint("yes", fsm.Info)+"  ", fmt.Sprintf("%s is admitted, on %s: %s", v.VM, dash(v.Host), v.Why))
	}
	for _, way := range v.WaysOut {
		p.paragraph("     - ", way)
	}
}

func (p *program) tolerance(t whatif.Tolerance) {
	severity := map[string]fsm.Severity{placement.Yes.String(): fsm.Info, placement.No.String(): fsm.Critical}[t.Answer]
	if severity == "" {
		severity = fsm.Warning
	}
	word := p.tint(t.Answer, severity)
	p.paragraph(word+strings.Repeat(" ", max(1, 5-len(t.Answer))), t.Why)
	p.uncovered(t.Uncovered)
}

func (p *program) uncovered(list []whatif.Uncovered) {
	for _, u := range list {
		p.paragraph("     ! ", u.VM+" is not covered by any plan: "+u.Why)
	}
}

// eachHost is one line for the loss of each host.
func (p *program) eachHost(all []whatif.Failover) {
	var rows [][]any
	down := 0
	for _, f := range all {
		to := map[string]int{}
		var order []string
		starts := 0
		for _, d := range f.Decisions {
			if d.Action == placement.Start {
				if to[d.To] == 0 {
					order = append(order, d.To)
				}
				to[d.To]++
				starts++
			}
		}
		var where []string
		for _, h := range order {
			where = append(where, fmt.Sprintf("%d on %s", to[h], h))
		}
		state := p.tint("none", fsm.Info)
		if n := len(f.Down); n > 0 {
			down++
			state = p.tint(few(f.Down, 3), fsm.Critical)
		}
		rows = append(rows, []any{strings.Join(f.Hosts, ", "), starts, dash(few(where, 5)), state})
	}
	p.grid([]any{"IF LOST", "START", "WHERE", "STAY DOWN"}, rows)
	p.say("")
	for _, f := range all {
		if f.NoMajority != "" {
			p.paragraph("! ", fmt.Sprintf("with %s lost %s", strings.Join(f.Hosts, ", "), f.NoMajority))
		}
	}
	switch {
	case down == 0 && slices.ContainsFunc(all, func(f whatif.Failover) bool { return f.NoMajority != "" }):
	case down == 0:
		p.say("Whichever host is lost, every VM that it runs starts again elsewhere.")
	default:
		p.say("%s: see why with 'haadm plan --fail HOST'.", plural(down, "loss leaves VMs down", "losses leave VMs down"))
	}
}

// failover is one case in full.
func (p *program) failover(f whatif.Failover) {
	var lost []string
	if len(f.Hosts) > 0 {
		lost = append(lost, strings.Join(f.Hosts, ", "))
	}
	for _, d := range f.Datastores {
		lost = append(lost, "datastore "+d)
	}
	starts := len(f.Decisions) - len(f.Down)
	are := "is"
	if len(f.Hosts)+len(f.Datastores) > 1 {
		are = "are"
	}
	p.paragraph("", fmt.Sprintf("If %s %s lost: %s, %s.", strings.Join(lost, " and "), are,
		plural(starts, "VM starts elsewhere", "VMs start elsewhere"), plural(len(f.Down), "VM stays down", "VMs stay down")))
	if f.NoMajority != "" {
		p.paragraph("! ", f.NoMajority)
	}
	if !f.Exact {
		p.say("The bound on the work was reached: there may be a better plan.")
	}
	var rows [][]any
	header := []any{"#", "VM", "FROM", "TO", "AFTER"}
	wide := p.format == "wide"
	if wide {
		header = append(header, "WHY")
	}
	for _, d := range f.Decisions {
		if d.Action == placement.StayDown {
			continue
		}
		row := []any{len(rows) + 1, d.VM, dash(d.From), d.To, dash(few(d.After, 3))}
		if wide {
			row = append(row, d.Why)
		}
		rows = append(rows, row)
	}
	if len(rows) > 0 {
		p.say("")
		p.grid(header, rows)
	}
	for _, d := range f.Decisions {
		if d.Action != placement.StayDown {
			continue
		}
		p.say("")
		why := d.Why
		if len(d.Hosts) > 0 { // which follow
			why, _, _ = strings.Cut(why, ": "+d.Hosts[0].Host+": ")
		}
		p.paragraph(p.tint("down", fsm.Critical)+"  ", d.VM+": "+why)
		p.looked(d.Hosts)
	}
}

// looked lists the hosts that were looked at for a VM.
func (p *program) looked(hosts []whatif.Considered) {
	for _, h := range hosts {
		mark := "  can  "
		if h.Excluded != "" {
			mark = "  not  "
		}
		p.paragraph(mark, h.Host+": "+h.Text)
	}
}

// outOfService says what becomes of a host that goes into maintenance.
func (p *program) outOfService(s *whatif.Service) {
	if s.Last != "" {
		p.paragraph("", fmt.Sprintf("%s could not go into maintenance: it would be the last host that takes VMs (%s).", s.Host, s.Last))
		return
	}
	head := s.Host + " would be empty"
	switch n := len(s.Stay); {
	case n > 0:
		head = fmt.Sprintf("%s would not be empty: %s", s.Host, plural(n, "VM stays", "VMs stay"))
	case len(s.Moves) == 0:
		head = s.Host + " runs no VM"
	}
	if s.Room.Refused {
		head += "; admission control would refuse it"
	}
	p.say("%s.", head)
	for _, m := range s.Moves {
		p.paragraph("  ~ ", moveText(m))
		if p.format == "wide" {
			p.paragraph("      ", m.Why)
		}
	}
	for _, x := range s.Stay {
		p.paragraph("  ! ", x.VM+" stays: "+x.Why)
		if p.format == "wide" {
			p.looked(x.Hosts)
		}
	}
	for _, line := range p.roomLines(s.Room) {
		p.say("%s", line)
	}
}

// few shortens a list of words.
func few(list []string, most int) string {
	if len(list) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
	}
	return strings.Join(list, ", ")
}
