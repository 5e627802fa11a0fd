package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
)

func (p *program) fenceTestCommand() *cli.Command {
	return p.leaf("test", "have a host's fence devices asked for its power now, from the master; nothing is switched. Status 2: one fails",
		"HOST", 1, 1, nil, func(ctx context.Context, c *cli.Context) error {
			client := p.changer()
			defer client.Close()
			l, err := client.FenceTest(ctx, c.Args().First())
			if err != nil {
				return err
			}
			works := true
			for _, d := range l.Devices {
				works = works && d.OK
			}
			if err := p.show(l, func() { p.deviceTable(l.Devices) }); err != nil {
				return err
			}
			if !works {
				return errNo
			}
			return nil
		})
}

// heardFlag agrees to switch off what runs.
const heardFlag = "even-if-heard"

func heardFlags() []cli.Flag {
	return []cli.Flag{&cli.BoolFlag{Name: heardFlag,
		Usage: "agree to switch off a host that is heard, with all that runs on it; --yes does not"}}
}

func (p *program) fenceOffCommand() *cli.Command {
	return p.leaf("off", "switch a host off by its fence devices; once that is proven its VMs start elsewhere, and it stays off",
		"HOST", 1, 1, heardFlags(), func(ctx context.Context, c *cli.Context) error {
			return p.power(ctx, c, api.FenceOff)
		})
}

func (p *program) fenceRebootCommand() *cli.Command {
	return p.leaf("reboot", "switch a host off, and once that is proven on again; its VMs start elsewhere",
		"HOST", 1, 1, heardFlags(), func(ctx context.Context, c *cli.Context) error {
			return p.power(ctx, c, api.FenceReboot)
		})
}

func (p *program) fenceOnCommand() *cli.Command {
	return p.leaf("on", "switch a host on by its fence devices", "HOST", 1, 1, nil, func(ctx context.Context, c *cli.Context) error {
		return p.power(ctx, c, api.FenceOn)
	})
}

// power asks for what has to be asked, has the master do it, and shows what became of it.
func (p *program) power(ctx context.Context, c *cli.Context, action string) error {
	client := p.changer()
	defer client.Close()
	st, err := masterStatus(ctx, client)
	if err != nil {
		return err
	}
	host, err := pickHost(st.Hosts, c.Args().First())
	if err != nil {
		return err
	}
	r := api.FenceRequest{Action: action}
	if action == api.FenceOn {
		err = p.agree(ctx, fmt.Sprintf("Switch %s on?", host.Name),
			fmt.Sprintf("  ~ %s (%s) is switched on by its fence devices", host.Name, host.State))
	} else {
		r.EvenIfHeard, err = p.agreeToOff(ctx, c, host, action)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stderr, "The master %s uses the fence devices of %s. This can take minutes.\n", dash(st.Master), host.Name)
	report, err := client.Fence(ctx, host.Name, r)
	if err != nil {
		return err
	}
	if err := p.show(report, func() { p.powerReport(report) }); err != nil {
		return err
	}
	if !report.Done {
		return errReported
	}
	return nil
}

// errReported ends a command whose answer was shown, and says that it failed.
var errReported = errors.New("it failed")

// agreeToOff has a person agree. Of a host that is heard its name is typed, since
// a slip of the line above would end what runs well.
func (p *program) agreeToOff(ctx context.Context, c *cli.Context, host api.HostView, action string) (evenIfHeard bool, err error) {
	heard := host.State == "live" || host.State == "joining"
	verb := "switched off"
	if action == api.FenceReboot {
		verb = "switched off and on again"
	}
	plan := []string{fmt.Sprintf("  - %s (%s) is %s by its fence devices", host.Name, host.State, verb)}
	if n := len(host.VMs); n > 0 {
		plan = append(plan, fmt.Sprintf("    what it owns (%s) starts elsewhere once it is proven off",
			plural(n, "protected VM", "protected VMs")))
	}
	if host.Master {
		return false, &refusedError{fmt.Sprintf("%s is the master, which cannot prove that itself is off. Hand the office over first: haadm cluster transfer-master", host.Name)}
	}
	if !heard {
		return false, p.agree(ctx, fmt.Sprintf("%s it?", strings.ToUpper(action[:1])+action[1:]), plan...)
	}
	running := len(host.Others)
	for _, vm := range host.VMs {
		if vm.State == api.VMRunning {
			running++
		}
	}
	plan = append(plan, fmt.Sprintf("  ! it is heard, and works: %s on it would end without a shutdown", plural(running, "VM", "VMs")))
	for _, line := range plan {
		fmt.Fprintln(p.stderr, line)
	}
	if c.Bool(heardFlag) {
		return true, p.agree(ctx, "Do it?")
	}
	if !isTerminal(p.stdin) {
		return false, &refusedError{fmt.Sprintf("%s is heard: nothing was changed. Add --%s if you mean it; --yes is not enough", host.Name, heardFlag)}
	}
	return true, p.typeName(ctx, "Type the host's name to switch it off", host.Name)
}

func (p *program) powerReport(r *api.FenceReport) {
	words := map[string]string{api.FenceOff: "is off, proven", api.FenceOn: "is on", api.FenceReboot: "was switched off, proven, and on again"}
	if r.Done {
		p.say("%s %s.", r.Host, words[r.Action])
	} else {
		p.say("%s: %s.", r.Host, p.tint("failed", "critical"))
	}
	told := len(r.Tries) > 0 // by the tries alone
	for _, t := range r.Tries {
		told = told && t.Done == r.Done
		word := p.tint("done  ", "info")
		if !t.Done {
			word = p.tint("failed", "warning")
		}
		p.paragraph(fmt.Sprintf("  %s  ", word), fmt.Sprintf("%s (%s)", t.Text, span(t.Took.Duration())))
	}
	if !told {
		p.paragraph("  ", r.Evidence)
	}
	if r.Freed > 0 {
		p.say("VMs that may start elsewhere now: %d.", r.Freed)
	}
	if r.Done {
		p.next("Watch it", "haadm events --follow")
	} else {
		p.next("What the devices say", "haadm fence test "+r.Host)
	}
}
