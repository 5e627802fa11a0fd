package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/cluster/whatif"
	"github.com/holdfast-ha/holdfast/fsm"
)

// spareFlag agrees to what admission control would refuse.
const spareFlag = "even-if-no-spare"

// changeFlags are those of a change that takes its time.
func changeFlags(wait time.Duration, more ...cli.Flag) []cli.Flag {
	return append(more,
		&cli.StringFlag{Name: "why", Usage: "a `TEXT` for the history and for those who wonder"},
		&cli.BoolFlag{Name: "no-wait", Usage: "do not wait until it is done"},
		&cli.DurationFlag{Name: "timeout", Usage: "wait at most this `LONG`; 0: for ever", Value: wait})
}

func spare() cli.Flag {
	return &cli.BoolFlag{Name: spareFlag, Usage: "agree to too little room for failures, which admission control would refuse; --yes does not"}
}

func (p *program) maintenanceCommand() *cli.Command {
	enter := p.leaf("enter",
		"take a host out of service: show where its VMs go, ask, move them, and wait until it is empty. Status 1: it does not get empty",
		"HOST", 1, 1,
		changeFlags(time.Hour, spare()), p.enterMaintenance)
	leave := p.leaf("leave", "put a host back into service, and say what comes back to it", "HOST", 1, 1,
		[]cli.Flag{&cli.StringFlag{Name: "why", Usage: "a `TEXT` for the history"}}, p.leaveMaintenance)
	list := p.leaf("list", "the hosts in maintenance: since when, by whom, why, and what is left there", "", 0, 0, nil, func(ctx context.Context, _ *cli.Context) error {
		client := p.client()
		defer client.Close()
		l, err := client.Hosts(ctx)
		if err != nil {
			return err
		}
		l.Hosts = slices.DeleteFunc(l.Hosts, func(h api.HostView) bool { return h.Maintenance == nil })
		return p.show(l, func() {
			p.maintenanceTable(l.Hosts)
			p.note(l.Source)
		})
	})
	return group("maintenance", "hosts out of service, by a person's wish", enter, leave, list)
}

func (p *program) maintenanceTable(hosts []api.HostView) {
	if len(hosts) == 0 {
		p.say("No host is in maintenance.")
		return
	}
	var rows [][]any
	for _, h := range hosts {
		left := "-"
		if m := h.Maintenance; m.Left != nil {
			left = fmt.Sprint(*m.Left)
		}
		rows = append(rows, []any{h.Name, h.State, p.ago(h.Maintenance.Since), dash(h.Maintenance.By),
			left, len(h.Maintenance.Staying), dash(h.Maintenance.Why)})
	}
	p.grid([]any{"HOST", "STATE", "FOR", "BY", "VMS LEFT", "CANNOT LEAVE", "WHY"}, rows)
	for _, h := range hosts {
		for _, s := range h.Maintenance.Staying {
			p.paragraph("  ", fmt.Sprintf("%s stays on %s: %s", s.VM, h.Name, s.Why))
			p.looked(s.Hosts)
		}
	}
}

func (p *program) enterMaintenance(ctx context.Context, c *cli.Context) error {
	client := p.changer()
	defer client.Close()
	host := c.Args().First()
	a, err := client.Maintenance(ctx, host)
	if err != nil {
		return err
	}
	since, err := p.lastEvent(ctx, client)
	if err != nil {
		return err
	}
	if a.Maintenance == nil {
		if a.Out.Last != "" {
			return &refusedError{fmt.Sprintf("%s is the last host that takes VMs: %s. Nothing was changed", host, a.Out.Last)}
		}
		for _, line := range p.outLines(a) {
			fmt.Fprintln(p.stderr, line)
		}
		if a.Out.Room.Refused && !c.Bool(spareFlag) {
			return &refusedError{fmt.Sprintf("admission control refuses it: nothing was changed. Add --%s if you mean it", spareFlag)}
		}
		if err := p.agree(ctx, fmt.Sprintf("Take %s out of service?", host)); err != nil {
			return err
		}
		enter := api.MaintenanceRequest{On: true, Why: c.String("why"), EvenIfNoSpare: c.Bool(spareFlag)}
		if _, err := client.SetMaintenance(ctx, host, enter); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(p.stderr, "%s is in maintenance already, for %s.\n", host, p.ago(a.Maintenance.Since))
	}
	began := p.now()
	if !c.Bool("no-wait") {
		if a, err = p.emptied(ctx, client, host, since, c.Duration("timeout")); err != nil {
			return err
		}
	} else if a, err = client.Maintenance(ctx, host); err != nil {
		return err
	}
	return p.entered(a, p.now().Sub(began), c.Bool("no-wait"))
}

// outLines say what taking a host out of service comes to.
func (p *program) outLines(a *api.MaintenanceAnswer) []string {
	out := []string{fmt.Sprintf("%s (%s) would be given no VMs any more, and be emptied:", a.Host, a.State)}
	if len(a.Running) == 0 {
		out[0] = fmt.Sprintf("%s (%s) would be given no VMs any more. It runs none.", a.Host, a.State)
	}
	out = append(out, p.moveLines(a.Out)...)
	out = append(out, p.roomLines(a.Out.Room)...)
	if a.Votes && a.Voters > 0 && a.State == string(fsm.HostLive) {
		if left := a.Voters - 1; left <= a.Needed {
			out = append(out, p.wrapped("  ! ", fmt.Sprintf("it votes: while it is down %d voters answer and %d are needed, so that %s",
				left, a.Needed, quorumWords(left, a.Needed)))...)
		}
	}
	if a.Master {
		out = append(out, p.wrapped("  ! ",
			"it is the master: it hands the office over to another voter that is in service; it stays master while there is none")...)
	}
	return out
}

// quorumWords say what becomes of a cluster with so few voters.
func quorumWords(left, needed int) string {
	if left < needed {
		return "nothing is restarted or changed until it is back"
	}
	return "the loss of one more stops every restart"
}

// moveLines are a plan of moves for people.
func (p *program) moveLines(s *whatif.Service) []string {
	var out []string
	for _, m := range s.Moves {
		out = append(out, p.wrapped("  ~ ", moveText(m))...)
	}
	for _, x := range s.Stay {
		out = append(out, p.wrapped("  ! ", x.VM+" stays: "+x.Why)...)
	}
	for _, problem := range s.Problems {
		out = append(out, p.wrapped("  ! ", problem)...)
	}
	return out
}

func moveText(m whatif.Relocation) string {
	how := "while it runs"
	if m.Cold {
		how = "shut down and started there"
	}
	text := fmt.Sprintf("%s goes to %s, %s", m.VM, m.To, how)
	if m.Waits != "" {
		text += ", later: " + m.Waits
	}
	return text
}

// roomLines say what admission control thinks of it.
func (p *program) roomLines(v whatif.Verdict) []string {
	switch {
	case v.Answer == "":
		return nil
	case v.Mode == "off":
		return p.wrapped("  ! ", "admission control is off: nobody knows whether room for failures is left")
	case v.Answer == placement.Yes.String():
		return p.wrapped("  = ", "room for failures is left: "+v.Why)
	}
	text := "not enough room for failures would be left: " + v.Why
	if v.Answer == placement.Unknown.String() {
		text = "whether room for failures would be left cannot be found out: " + v.Why
	}
	out := p.wrapped("  ! ", text)
	for _, way := range v.WaysOut {
		out = append(out, p.wrapped("      what would help: ", way)...)
	}
	return out
}

// emptied waits until a host in maintenance is empty, or cannot get so, and shows what
// happens meanwhile. It looks at what is, again and again, so that a change of master or a
// second person does not confuse it.
func (p *program) emptied(
	ctx context.Context, client *api.Client, host string, since uint64, timeout time.Duration,
) (*api.MaintenanceAnswer, error) {
	tell := &teller{p: p, after: since, match: func(e api.EventView) bool {
		return moveEvent(e) && (e.From == host || e.To == host || e.Host == host)
	}}
	var last *api.MaintenanceAnswer
	var stuck time.Time
	told := map[string]string{}
	err := p.until(ctx, timeout, func(ctx context.Context) (bool, error) {
		tell.more(ctx, client)
		a, err := client.Maintenance(ctx, host)
		if err != nil {
			return false, err
		}
		last = a
		p.tellLeft(a, told)
		if a.Empty || a.Maintenance == nil {
			tell.more(ctx, client)
			return true, nil
		}
		if slices.ContainsFunc(a.Running, func(vm api.LeavingVM) bool { return vm.Blocked == "" || vm.Move != nil }) {
			stuck = time.Time{}
			return false, nil
		}
		if stuck.IsZero() {
			stuck = time.Now()
		}
		return time.Since(stuck) >= stuckFor, nil // nothing goes, and what is left has its reasons
	})
	if err != nil {
		return nil, fmt.Errorf("%w; %s stays in maintenance and is emptied all the same: 'haadm maintenance list' shows how far it is, 'haadm maintenance leave %s' takes it back",
			err, host, host)
	}
	return last, nil
}

// tellLeft names what keeps VMs on a host while one waits for it to get empty: once, and again when it
// is another reason. told has what was said of each, by UUID.
func (p *program) tellLeft(a *api.MaintenanceAnswer, told map[string]string) {
	if a.Maintenance == nil {
		return
	}
	for _, vm := range a.Running {
		why := p.leftWhy(vm)
		if vm.Move != nil || vm.Blocked == "" && len(vm.Failed) == 0 || told[vm.UUID] == why {
			continue
		}
		told[vm.UUID] = why
		for _, line := range p.wrapped("  ! ", vm.Name+" is there yet: "+why) {
			fmt.Fprintln(p.stderr, line)
		}
	}
}

// stuckFor is how long nothing must move before a wait gives up on what is left.
const stuckFor = 3 * time.Second

// entered says how far it has come. A host that is not empty is a failure, unless nobody waited.
func (p *program) entered(a *api.MaintenanceAnswer, took time.Duration, noWait bool) error {
	if a == nil {
		return &refusedError{"the master was not heard in time: 'haadm maintenance list' shows how far it is"}
	}
	if err := p.show(struct {
		*api.MaintenanceAnswer
		Took api.Seconds `json:"took_seconds"`
	}{a, api.Seconds(took)}, func() {
		switch {
		case a.Maintenance == nil:
			p.say("%s is not in maintenance any more: somebody put it back into service.", a.Host)
		case a.Empty:
			p.say("%s is in maintenance and empty, after %s.", a.Host, span(took))
			p.next("Back into service afterwards", "haadm maintenance leave "+a.Host)
		case noWait:
			p.say("%s is in maintenance. VMs left: %d.", a.Host, len(a.Running))
			p.next("Watch it", "haadm maintenance list")
		default:
			p.say("%s is in maintenance, and not empty. VMs left: %d.", a.Host, len(a.Running))
			for _, vm := range a.Running {
				p.paragraph("  ! ", vm.Name+": "+p.leftWhy(vm))
			}
			p.next("What is left", "haadm maintenance list")
		}
	}); err != nil {
		return err
	}
	if !a.Empty && !noWait {
		return errReported
	}
	return nil
}

// leftWhy says why a VM is there yet.
func (p *program) leftWhy(vm api.LeavingVM) string {
	switch {
	case vm.Move != nil:
		return "it is on its way to " + vm.Move.To
	case vm.Blocked != "":
		return vm.Blocked
	case len(vm.Failed) > 0:
		f := vm.Failed[len(vm.Failed)-1]
		text := fmt.Sprintf("its last move, to %s, came to nothing: %s", f.Host, f.Detail)
		if !vm.Again.IsZero() {
			text += fmt.Sprintf("; the next try is at %s, 'haadm vms retry %s' tries at once", vm.Again.In(p.zone).Format("15:04:05"), vm.Name)
		}
		return text
	}
	return "it waits for its turn"
}

func (p *program) leaveMaintenance(ctx context.Context, c *cli.Context) error {
	client := p.changer()
	defer client.Close()
	host := c.Args().First()
	a, err := client.Maintenance(ctx, host)
	if err != nil {
		return err
	}
	if a.Maintenance == nil {
		return p.show(api.Done{Schema: api.Schema, Done: host + " is not in maintenance"}, func() {
			p.say("%s is not in maintenance: nothing to change.", host)
		})
	}
	plan := []string{fmt.Sprintf("  ~ %s (%s) takes VMs again", host, a.State)}
	if a.Back != nil {
		plan = append(plan, p.moveLines(a.Back)...)
		if len(a.Back.Moves) == 0 {
			plan = append(plan, p.wrapped("  = ",
				"no VM is moved to it: those that left stay where they are, unless the policy has them go back")...)
		}
	}
	if err := p.agree(ctx, fmt.Sprintf("Put %s back into service?", host), plan...); err != nil {
		return err
	}
	done, err := client.SetMaintenance(ctx, host, api.MaintenanceRequest{Why: c.String("why")})
	if err != nil {
		return err
	}
	return p.show(struct {
		*api.Done
		Back []whatif.Relocation `json:"back"`
	}{done, append([]whatif.Relocation{}, a.Back.Moves...)}, func() {
		p.say("Done: %s.", done.Done)
		p.next("Watch it", "haadm events --follow --host "+host)
	})
}

// wrapped are lines of text behind an indent, cut to the terminal and harmless to it.
func (p *program) wrapped(indent, s string) []string {
	var b strings.Builder
	q := *p
	q.stdout = &b
	q.paragraph(indent, s)
	return strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
}
