package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
)

func (p *program) disarmCommand() *cli.Command {
	return p.leaf("disarm",
		"pause every automatic action of the whole cluster: nothing is started or moved by itself, no host is switched off. It ends by itself",
		"", 0, 0, []cli.Flag{
			&cli.DurationFlag{Name: "for", Usage: fmt.Sprintf("it ends by itself after so `LONG`, %s to %s",
				hours(fsm.DisarmLeast), hours(fsm.DisarmMost)), Value: 2 * time.Hour},
			&cli.StringFlag{Name: "why", Usage: "a `TEXT` for those who wonder; needed"},
		}, p.disarm)
}

func (p *program) armCommand() *cli.Command {
	return p.leaf("arm", "end what haadm disarm began: what waits is started", "", 0, 0,
		[]cli.Flag{&cli.StringFlag{Name: "why", Usage: "a `TEXT` for the history"}}, p.arm)
}

func (p *program) disarm(ctx context.Context, c *cli.Context) error {
	r := api.DisarmRequest{For: api.Seconds(c.Duration("for")), Why: strings.TrimSpace(c.String("why"))}
	switch {
	case r.Why == "":
		return usageOf(c, "--why is needed: whoever finds a VM down will want to know")
	case r.For.Duration() < fsm.DisarmLeast || r.For.Duration() > fsm.DisarmMost:
		return usageOf(c, fmt.Sprintf("--for %v: a cluster is disarmed for %s to %s at a time, and can be again before the end",
			r.For.Duration(), hours(fsm.DisarmLeast), hours(fsm.DisarmMost)))
	}
	client := p.changer()
	defer client.Close()
	st, err := masterStatus(ctx, client)
	if err != nil {
		return err
	}
	if err := p.agree(ctx, fmt.Sprintf("Disarm %s for %s?", st.Cluster.Name, hours(r.For.Duration())), p.disarmLines(st)...); err != nil {
		return err
	}
	done, err := client.Disarm(ctx, r)
	if err != nil {
		return err
	}
	if err := p.show(done, func() { p.say("%s", done.Done) }); err != nil {
		return err
	}
	p.next("When the work is done", "haadm arm")
	return nil
}

// disarmLines say what disarming the cluster as it is comes to.
func (p *program) disarmLines(st *api.Status) []string {
	var out []string
	add := func(prefix, format string, args ...any) {
		out = append(out, p.wrapped(prefix, fmt.Sprintf(format, args...))...)
	}
	if d := st.Disarmed; d != nil {
		add("  = ", "it is disarmed already, until %s (%s, says %s): what you say now takes the place of that", p.clock(d.Until), d.Why, d.By)
	}
	add("  - ", "no VM is started by itself: those that crash, and those of hosts that die, stay down until it is armed")
	add("  - ", "no VM is moved by itself, and no host is switched off by its fence devices")
	add("  = ", "what people ask for is done: haadm vms start, stop, restart and migrate, and starts by hand")
	add("  ! ",
		"leases go on: a host that is cut off from the master and from the heartbeat volumes stops its VMs as ever, and its watchdog resets it if it cannot")
	if st.VMs.Waiting > 0 {
		add("  ! ", "down now, and not started before it is armed: %s", plural(st.VMs.Waiting, "VM", "VMs"))
	}
	if st.VMs.Moving > 0 {
		add("  ! ", "on the way to another host, and not stopped by this: %s; haadm vms migrate VM --cancel calls a move off",
			plural(st.VMs.Moving, "VM", "VMs"))
	}
	for _, h := range st.Hosts {
		if h.State != string(fsm.HostLive) && h.Committed == string(fsm.HostLive) {
			add("  ! ", "%s is %s: if it is dead, what it owns (VMs: %d) is not started elsewhere before the cluster is armed",
				h.Name, h.State, len(h.VMs))
		}
	}
	return out
}

func (p *program) arm(ctx context.Context, c *cli.Context) error {
	client := p.changer()
	defer client.Close()
	st, err := masterStatus(ctx, client)
	if err != nil {
		return err
	}
	if d := st.Disarmed; d != nil {
		plan := []string{fmt.Sprintf("  + what becomes of VMs and hosts is acted upon again; %s had it disarmed since %s (%s)",
			d.By, p.clock(d.Since), d.Why)}
		if n := len(d.Waiting); n > 0 {
			plan = append(plan, p.wrapped("  + ", fmt.Sprintf("started where there is room: %s", strings.Join(d.Waiting, ", ")))...)
		}
		for _, h := range st.Hosts {
			if h.State != string(fsm.HostLive) && h.Committed == string(fsm.HostLive) {
				plan = append(plan, p.wrapped("  ! ",
					fmt.Sprintf("%s is %s: it may be declared dead and switched off, and what it owns started elsewhere", h.Name, h.State))...)
			}
		}
		if err := p.agree(ctx, "Arm "+st.Cluster.Name+"?", plan...); err != nil {
			return err
		}
	}
	done, err := client.Arm(ctx, api.ArmRequest{Why: c.String("why")})
	if err != nil {
		return err
	}
	return p.show(done, func() { p.say("%s", done.Done) })
}

// disarmedWords is what the first line of status says of a cluster that is disarmed.
func (p *program) disarmedWords(d *api.DisarmView) string {
	return p.tint(fmt.Sprintf("DISARMED (for %s more)", hours(d.Left.Duration())), fsm.Warning)
}

// hours shows a duration in hours and minutes, a short one in seconds.
func hours(d time.Duration) string {
	if d < 2*time.Minute && d != time.Minute {
		return d.Round(time.Second).String()
	}
	text := strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// clock is a moment as people here read it.
func (p *program) clock(at time.Time) string { return at.In(p.zone).Format("2006-01-02 15:04 MST") }
