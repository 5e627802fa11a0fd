package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
)

func (p *program) fenceCommand() *cli.Command {
	return group("fence", "make sure, or vouch, that a host is off",
		p.fenceListCommand(), p.fenceStatusCommand(), p.fenceTestCommand(), p.fenceOffCommand(),
		p.fenceOnCommand(), p.fenceRebootCommand(), p.confirmOffCommand(),
		p.fenceAgentsCommand(), p.fenceDescribeCommand())
}

func (p *program) fenceListCommand() *cli.Command {
	return p.leaf("list", "the fence devices: whom they switch, in which order, and whether they answer", "", 0, 0, nil, func(ctx context.Context, _ *cli.Context) error {
		client := p.client()
		defer client.Close()
		l, err := client.FenceDevices(ctx)
		if err != nil {
			return err
		}
		return p.show(l, func() {
			if len(l.Devices) == 0 {
				p.say("No fence devices: a dead host is waited out. The policy's fence and host blocks name them.")
				return
			}
			p.deviceTable(l.Devices)
		})
	})
}

// deviceTable shows devices with what their last check has found.
func (p *program) deviceTable(devices []api.FenceDevice) {
	var rows [][]any
	for _, d := range devices {
		order := "-"
		if d.Level > 0 {
			order = strconv.Itoa(d.Level)
		}
		rows = append(rows, []any{d.Name, dash(d.Host), order, d.Agent, p.deviceState(d), p.checkedAgo(d)})
	}
	p.grid([]any{"DEVICE", "HOST", "ORDER", "AGENT", "STATE", "CHECKED"}, rows)
}

func (p *program) deviceState(d api.FenceDevice) string {
	if d.OK {
		return d.State
	}
	return p.tint(d.State, "warning")
}

func (p *program) checkedAgo(d api.FenceDevice) string {
	if d.Checked.IsZero() {
		return "-"
	}
	return p.ago(d.Checked) + " ago"
}

// confirmOffCommand overrides the wait D by a person's word. --yes does not answer
// it: whoever vouches types the host's name, or gives a flag that says what it means.
func (p *program) confirmOffCommand() *cli.Command {
	const flag = "it-is-off"
	flags := []cli.Flag{&cli.BoolFlag{Name: flag,
		Usage: "you have made sure that the host is off: it has no power, or cannot reach its storage"}}
	return p.leaf("confirm", "vouch that a silent host is off: its VMs start elsewhere at once, without the wait",
		"HOST", 1, 1, flags, func(ctx context.Context, c *cli.Context) error {
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
			fmt.Fprintf(p.stderr, "  ! %s (%s) is taken for switched off on your word, and what it owned (%s) starts elsewhere\n",
				host.Name, host.State, plural(len(host.VMs), "protected VM", "protected VMs"))
			fmt.Fprintln(p.stderr, "    if it still runs, these VMs run twice and destroy their disks: go and look")
			if !c.Bool(flag) {
				if err := p.typed(ctx, host.Name, flag); err != nil {
					return err
				}
			}
			done, err := client.ConfirmOff(ctx, host.Name)
			if err != nil {
				return err
			}
			return p.done(done, "Watch it", "haadm events --follow")
		})
}

// typed asks for a host's name to be typed, where --yes would be too easy.
func (p *program) typed(ctx context.Context, name, flag string) error {
	if !isTerminal(p.stdin) {
		return &usageError{clear: true,
			message: fmt.Sprintf("this overrides a safety rule and there is no terminal to ask at: nothing was changed. Add --%s if you have made sure; --yes is not enough.", flag)}
	}
	return p.typeName(ctx, "Type the host's name to vouch for it", name)
}
