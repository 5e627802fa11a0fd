package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
)

func (p *program) hostsCommand() *cli.Command {
	list := p.leaf("list", "every host: state, VMs, memory, networks, heartbeat volumes", "", 0, 0, nil, func(ctx context.Context, _ *cli.Context) error {
		c := p.client()
		defer c.Close()
		l, err := c.Hosts(ctx)
		if err != nil {
			return err
		}
		return p.show(l, func() {
			if p.format == "wide" {
				p.wideHosts(l.Hosts)
			} else {
				p.hostTable(l.Hosts)
			}
			p.note(l.Source)
		})
	})
	show := p.leaf("show", "one host: evidence for its state, networks, heartbeat volumes, capacity, VMs",
		"HOST", 1, 1, nil, func(ctx context.Context, c *cli.Context) error {
			client := p.client()
			defer client.Close()
			a, err := client.Host(ctx, c.Args().First())
			if err != nil {
				return err
			}
			return p.show(a, func() {
				p.host(a.Host)
				p.note(a.Source)
			})
		})
	return group("hosts", "the hosts of the cluster", list, show, p.doctorCommand())
}

func (p *program) wideHosts(hosts []api.HostView) {
	var rows [][]any
	for _, h := range hosts {
		voter := "-"
		if h.Voter != nil {
			voter = yesNo(*h.Voter)
		}
		var addrs []string
		for _, n := range h.Networks {
			addrs = append(addrs, n.Name+"="+n.Address)
		}
		rows = append(rows, []any{h.Name, p.stateWords(h), p.ago(h.Since), h.Incarnation, voter, yesNo(h.Master),
			len(h.VMs), size(h.Memory), size(h.MemoryFree), p.storageWords(h), dash(h.Version), strings.Join(addrs, " ")})
	}
	p.grid([]any{"HOST", "STATE", "SINCE", "INCARNATION", "VOTER", "MASTER", "VMS", "MEM", "FREE", "STORAGE", "VERSION", "ADDRESSES"}, rows)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// field prints one line of a list of facts.
func (p *program) field(name, format string, args ...any) {
	p.paragraph(fmt.Sprintf("%-13s", name), fmt.Sprintf(format, args...))
}

func (p *program) host(h api.HostView) {
	role := ""
	if h.Master {
		role = ", master"
	} else if h.Voter != nil && *h.Voter {
		role = ", voter"
	}
	p.field("host", "%s%s", h.Name, role)
	state := p.tint(h.State, hostSeverity(h.State))
	if h.DeadIn > 0 {
		state += fmt.Sprintf(", may be declared dead in %s", span(h.DeadIn.Duration()))
	}
	if h.NeedsProof {
		state += ", and only a fence device or a person can prove that its VMs have stopped"
	}
	p.field("state", "%s", state)
	if a := h.Aside; a != nil {
		p.field("aside", "for %s: its disk is older than the host: %s", p.ago(a.At), a.Why)
	}
	if h.Held != nil {
		p.field("held off", "%s", p.heldWords(h.Name, h.Held))
	}
	if x := h.Shutdown; x != nil {
		p.field("shutdown", "%s, for %s, in good order: %s", shutdownWord(h), p.ago(x.Since), x.Means(h.State == string(fsm.HostDead)))
		if x.Rest {
			p.field("", "what is left cannot be moved, and is shut down")
		}
		if len(x.Frozen) > 0 {
			p.field("", "VMs that wait for it: %s", few(x.Frozen, 6))
		}
	}
	if m := h.Maintenance; m != nil {
		by, why := "", ""
		if m.By != "" {
			by = ", by " + m.By
		}
		if m.Why != "" {
			why = ": " + m.Why
		}
		p.field("maintenance", "for %s%s%s", p.ago(m.Since), by, why)
		if m.Left != nil {
			p.field("vms left", "%d, of which %d cannot leave", *m.Left, len(m.Staying))
		}
		for _, s := range m.Staying {
			p.field("", "%s stays: %s", s.VM, s.Why)
		}
	}
	if text := map[string]string{
		api.BoundWatchdog: "waited out: its watchdog resets it if its VMs outlive their lease",
		api.BoundDevice:   "its fence devices have to prove it off: it has no watchdog that counts",
		api.BoundWait:     "waited out, though nothing resets it: fencing.mode is \"best_effort\"",
		api.BoundNothing:  "a person has to make sure that it is off: it has no watchdog that counts, and no fence device",
	}[h.Bound]; text != "" {
		p.field("when silent", "%s", text)
	}
	p.field("committed", "%s for %s, incarnation %d", h.Committed, p.ago(h.Since), h.Incarnation)
	p.field("joined", "%s ago", p.ago(h.Joined))
	for _, n := range h.Networks {
		heard := ""
		if n.State != "" {
			heard = ", " + n.State
		}
		if n.Age != nil {
			heard += fmt.Sprintf(", heard %s ago", span(n.Age.Duration()))
		}
		p.field("network", "%s %s%s", n.Name, n.Address, heard)
	}
	if h.Observed && h.Memory > 0 {
		p.field("memory", "%s, %s free", size(h.Memory), size(h.MemoryFree))
		p.field("processors", "%d", h.CPUs)
	}
	if h.LeaseGone > 0 {
		p.field("lease", "renewed late: up to %s of it had gone, then it was renewed %s", span(h.LeaseGone.Duration()), h.LeaseBy)
	}
	if h.DiskError != "" {
		p.field("own disk", "refuses what is written, for %s: %s", span(h.DiskRefuses.Duration()), h.DiskError)
	}
	switch {
	case h.HypervisorError != "":
		p.field("hypervisor", "does not answer: %s", h.HypervisorError)
	case h.Hypervisor != "":
		p.field("hypervisor", "%s", h.Hypervisor)
	}
	if h.Guard != "" {
		p.field("guard", "%s", h.Guard)
		p.field("watchdog", "%s", dash(h.Watchdog))
	}
	if h.Version != "" {
		p.field("version", "%s", h.Version)
	}
	p.hostStorage(h)
	for _, e := range h.Evidence {
		p.field("evidence", "%s: %s (age %s, by %s)", e.Signal, e.Value, span(e.Age.Duration()), dash(e.By))
	}
	for _, s := range h.Problems {
		p.field("problem", "%s", s)
	}
	p.say("")
	var rows [][]any
	for _, vm := range h.VMs {
		rows = append(rows, []any{vm.Name, p.tint(vm.State, vmSeverity(vm.State)), "yes"})
	}
	for _, o := range h.Others {
		rows = append(rows, []any{o.Name, string(o.State), "no"})
	}
	if len(rows) == 0 {
		p.say("No VMs.")
		return
	}
	p.grid([]any{"VM", "STATE", "PROTECTED"}, rows)
}
