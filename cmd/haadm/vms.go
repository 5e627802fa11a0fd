package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

func (p *program) vmsCommand() *cli.Command {
	list := p.leaf("list", "every VM that a host reports, protected or not", "", 0, 0,
		[]cli.Flag{&cli.BoolFlag{Name: "protected", Usage: "only protected VMs"}},
		func(ctx context.Context, c *cli.Context) error {
			client := p.client()
			defer client.Close()
			l, err := client.VMs(ctx)
			if err != nil {
				return err
			}
			if c.Bool("protected") {
				l.VMs = onlyProtected(l.VMs)
			}
			return p.show(l, func() {
				p.vmTable(l.VMs)
				p.note(l.Source)
			})
		})
	show := p.leaf("show", "one VM: state, owner, why it is there, failed starts", "VM", 1, 1, nil, func(ctx context.Context, c *cli.Context) error {
		client := p.client()
		defer client.Close()
		a, err := client.VM(ctx, c.Args().First())
		if err != nil {
			return err
		}
		return p.show(a, func() {
			p.vm(a.VM)
			p.note(a.Source)
		})
	})
	return group("vms", "the VMs of the cluster", list, show, p.historyCommand(), p.migrateCommand(),
		p.startCommand(), p.stopCommand(), p.restartCommand(), p.retryCommand())
}

func onlyProtected(vms []api.VMView) []api.VMView {
	out := []api.VMView{}
	for _, vm := range vms {
		if vm.Protected {
			out = append(out, vm)
		}
	}
	return out
}

func (p *program) vmTable(vms []api.VMView) {
	if len(vms) == 0 {
		p.say("No VMs are known.")
		return
	}
	header := []any{"VM", "STATE", "HOST", "PROTECTED", "CPUS", "MEM"}
	wide := p.format == "wide"
	if wide {
		header = append(header, "GENERATION", "SINCE", "UUID")
	}
	var rows [][]any
	for _, vm := range vms {
		row := []any{vm.Name, p.vmState(vm), whereWords(vm), protectedBy(vm), vm.VCPUs, size(vm.Memory)}
		if wide {
			since := "-"
			if vm.Placement != nil {
				since = p.ago(vm.Placement.At)
			}
			row = append(row, vm.Generation, since, vm.UUID)
		}
		rows = append(rows, row)
	}
	p.grid(header, rows)
}

// vmState is the word for what a VM does. One that waits for the host that it was shut down with is
// frozen: it is as it should be.
func (p *program) vmState(vm api.VMView) string {
	if vm.Frozen != nil {
		return p.tint("frozen", fsm.Warning)
	}
	return p.tint(vm.State, vmSeverity(vm.State))
}

// whereWords is the host of a VM, and the one that it is on its way to or waits for.
func whereWords(vm api.VMView) string {
	if vm.Frozen != nil {
		return "- (waits for " + vm.Frozen.Host + ")"
	}
	if vm.Move != nil {
		return vm.Host + " -> " + vm.Move.To
	}
	return dash(vm.Host)
}

func protectedBy(vm api.VMView) string {
	if !vm.Protected {
		return "no"
	}
	return "by " + vm.By
}

func (p *program) vm(vm api.VMView) {
	p.field("vm", "%s", vm.Name)
	p.field("uuid", "%s", vm.UUID)
	p.field("state", "%s", p.vmState(vm))
	p.field("size", "%s, %s", plural(vm.VCPUs, "processor", "processors"), size(vm.Memory))
	if !vm.Protected {
		p.field("host", "%s", vm.Host)
		p.field("protected", "no")
		return
	}
	p.field("protected", "by %s for %s; people want it to %s", vm.By, p.ago(vm.Since), vm.Intent)
	if pl := vm.Placement; pl != nil {
		p.field("host", "%s (incarnation %d) for %s, generation %d, %s", pl.Host, pl.Incarnation, p.ago(pl.At), pl.Generation, pl.Phase)
		p.field("why there", "%s", pl.Why)
	} else {
		p.field("host", "none; last on %s", dash(vm.Home))
	}
	if m := vm.Move; m != nil {
		how := "while it runs"
		if m.Cold {
			how = "shut down and started there"
		}
		p.field("on its way", "to %s for %s, %s: %s", m.To, p.ago(m.At), how, m.Why)
	}
	if r := vm.Restart; r != nil {
		p.field("restarting", "for %s, it is being shut down: %s", p.ago(r.At), r.Why)
	}
	for _, d := range vm.Devices {
		p.field("has device", "%s", d)
	}
	if vm.Belongs != "" {
		p.field("belongs to", "%s, which it had to leave", vm.Belongs)
	}
	if vm.Waiting != "" {
		p.field("waiting", "for %s: %s", p.ago(vm.WaitingSince), vm.Waiting)
	}
	if vm.Ready != nil && !*vm.Ready {
		p.field("not ready", "%s", dash(vm.NotReady))
	}
	if vm.Rules != nil {
		p.field("policy", "%s", vm.Rules.Text())
	}
	p.agility(vm.Agility)
	for _, f := range vm.MoveFailures {
		p.field("not moved", "%s ago to %s: %s", p.ago(f.At), f.Host, f.Detail)
	}
	for _, f := range vm.Failures {
		what := "start failed"
		if f.Crash {
			what = "crashed"
		}
		p.field("failure", "%s ago on %s, generation %d: %s: %s", p.ago(f.At), f.Host, f.Generation, what, f.Detail)
	}
}

// agility says where a VM could run, were all hosts up and empty, and what ties it to its host.
func (p *program) agility(a *api.AgilityView) {
	if a == nil {
		return
	}
	var can []string
	var no []api.FitView
	for _, h := range a.Hosts {
		if len(h.Reasons) == 0 {
			can = append(can, h.Host)
		} else {
			no = append(no, h)
		}
	}
	text := strings.Join(can, ", ")
	if !a.Agile {
		text = p.tint("nowhere else", fsm.Warning)
	}
	p.field("could run on", "%s", dash(text))
	for _, h := range no {
		p.field("", "%s", "not on "+h.Host+": "+strings.Join(h.Reasons, "; "))
	}
	for _, t := range a.Ties {
		if t.Effect != domainxml.Bound { // what binds it is said of each host
			p.field("", "%s", t.Text)
		}
	}
}
