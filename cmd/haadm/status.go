package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
)

func (p *program) statusCommand() *cli.Command {
	return p.leaf("status", "the cluster on one screen: master, hosts, VMs, problems", "", 0, 0, nil, func(ctx context.Context, _ *cli.Context) error {
		c := p.client()
		defer c.Close()
		st, err := c.Status(ctx)
		if err != nil {
			return err
		}
		return p.show(st, func() { p.status(st) })
	})
}

func (p *program) status(st *api.Status) {
	p.say("%s", p.firstLine(st))
	if !st.Source.Fresh {
		p.paragraph("", "What follows can be old: "+p.staleness(st.Source)+".")
	}
	p.say("")
	p.hostTable(st.Hosts)
	p.say("")
	p.say("%s", vmLine(st.VMs))
	if len(st.Problems) == 0 {
		p.say("No problems.")
		return
	}
	p.problems(st.Problems)
}

// problems lists them, each with the command that tells more.
func (p *program) problems(all []api.Problem) {
	p.say("")
	p.say("%s", plural(len(all), "problem", "problems"))
	for _, pr := range all {
		p.paragraph("  "+p.tint(fmt.Sprintf("%-8s", pr.Severity), pr.Severity)+"  ", pr.Text)
		if pr.Next != "" {
			p.say("            %s", pr.Next)
		}
	}
}

// firstLine says at once whether there is a master and whose view this is.
func (p *program) firstLine(st *api.Status) string {
	words := []string{st.Cluster.Name, fmt.Sprintf("revision %d", st.Revision)}
	switch {
	case st.Source.Fresh:
		m := "master " + st.Master
		if !st.MasterSince.IsZero() {
			m += " (for " + p.ago(st.MasterSince) + ")"
		}
		words = append(words, m)
	case st.Master == "":
		words = append(words, p.tint("NO MASTER", fsm.Critical)+", local view of "+st.Source.Host)
	default:
		words = append(words, "master "+st.Master+", local view of "+st.Source.Host)
	}
	if st.Disarmed != nil {
		words = append(words, p.disarmedWords(st.Disarmed))
	}
	switch {
	case st.VotersHealthy != nil:
		words = append(words, fmt.Sprintf("%d of %d voters", *st.VotersHealthy, st.Voters))
	case st.Voters > 0:
		words = append(words, plural(st.Voters, "voter", "voters"))
	}
	return strings.Join(words, "   ")
}

// hostTable shows hosts. A column is left out where nobody knows what belongs in it.
func (p *program) hostTable(hosts []api.HostView) {
	var nets []string
	observed, stored, guarded, dogs, master := false, false, false, false, false
	for _, h := range hosts {
		observed = observed || h.Observed
		stored = stored || h.Storage != nil && h.Storage.Volumes > 0
		guarded = guarded || h.Guard != ""
		dogs = dogs || h.Watchdog != "" && h.Watchdog != "none"
		master = master || h.Master
		for _, n := range h.Networks {
			if !slices.Contains(nets, n.Name) {
				nets = append(nets, n.Name)
			}
		}
	}
	header := []any{"HOST", "STATE", "VMS"}
	if observed {
		header = append(header, " MEM")
		if len(nets) > 0 {
			header = append(header, "NET "+strings.Join(nets, "/"))
		}
	}
	if stored {
		header = append(header, "STORAGE")
	}
	if guarded {
		header = append(header, "GUARD")
	}
	if dogs {
		header = append(header, "WATCHDOG")
	}
	var rows [][]any
	for _, h := range hosts {
		state := p.stateWords(h)
		if h.Master {
			state += " *"
		}
		row := []any{h.Name, state, len(h.VMs)}
		if observed {
			row = append(row, memoryUsed(h))
			if len(nets) > 0 {
				row = append(row, networkWords(h, nets))
			}
		}
		if stored {
			row = append(row, p.storageWords(h))
		}
		if guarded {
			guard := h.Guard
			if h.State != string(fsm.HostLive) {
				guard = "" // an old report
			}
			row = append(row, dash(guard))
		}
		if dogs {
			row = append(row, dash(h.Watchdog))
		}
		rows = append(rows, row)
	}
	p.grid(header, rows)
	if master {
		p.say("* master")
	}
}

// stateWords is how a host stands; one that is out of service as people want it says that.
func (p *program) stateWords(h api.HostView) string {
	switch {
	case h.Aside != nil:
		return p.tint(h.State+", aside", fsm.Critical)
	case h.Maintenance == nil && h.Shutdown != nil:
		return p.tint(h.State+", "+shutdownWord(h), fsm.Warning)
	case h.Maintenance == nil:
		return p.tint(h.State, hostSeverity(h.State))
	case h.State == string(fsm.HostLive):
		return p.tint("maintenance", fsm.Warning)
	}
	return p.tint(h.State+", maintenance", fsm.Warning)
}

// shutdownWord is how a host goes down, or went, in good order.
func shutdownWord(h api.HostView) string {
	gone := h.State == string(fsm.HostDead)
	switch {
	case h.Shutdown.Reboot && gone:
		return "rebooted"
	case h.Shutdown.Reboot:
		return "rebooting"
	case gone:
		return "shut down"
	}
	return "shutting down"
}

func memoryUsed(h api.HostView) string {
	if h.Memory == 0 || h.State != string(fsm.HostLive) { // an old report
		return "   -"
	}
	return fmt.Sprintf("%3d%%", (h.Memory-min(h.MemoryFree, h.Memory))*100/h.Memory)
}

// networkWords is how a host is heard over each network, in the header's order.
func networkWords(h api.HostView, nets []string) string {
	if h.Master {
		return "-" // the master hears itself without a network
	}
	var words []string
	for _, name := range nets {
		word := "-"
		for _, n := range h.Networks {
			switch {
			case n.Name != name:
			case n.State != "":
				word = n.State
			case n.Age != nil:
				word = span(n.Age.Duration())
			}
		}
		words = append(words, word)
	}
	return strings.Join(words, "/")
}

// vmLine counts the VMs in words, leaving out what there is none of.
func vmLine(c api.VMCounts) string {
	var parts []string
	for _, x := range []struct {
		n    int
		word string
	}{
		{c.Running, "running"},
		{c.Starting, "starting"},
		{c.Seen, "seen"},
		{c.Paused, "paused"},
		{c.Waiting, "waiting"},
		{c.Unknown, "unknown"},
		{c.Stopped, "stopped"},
	} {
		if x.n > 0 && x.word == "waiting" && c.Frozen > 0 {
			x.word += fmt.Sprintf(" (%d for the host that went down)", c.Frozen)
		}
		if x.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", x.n, x.word))
		}
	}
	s := plural(c.Protected, "protected VM", "protected VMs")
	if len(parts) > 0 {
		s += ": " + strings.Join(parts, ", ")
	}
	if c.Moving > 0 {
		s += fmt.Sprintf("; %d on the way to another host", c.Moving)
	}
	if c.Unprotected > 0 {
		s += fmt.Sprintf("; %d more running without protection", c.Unprotected)
	}
	return s
}
