package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

func (p *program) fenceCommand() *cli.Command {
	return group("fence", "make sure, or vouch, that a host is off", p.fenceListCommand(), p.confirmOffCommand())
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
			var rows [][]any
			for _, d := range l.Devices {
				state, order, checked := d.State, "-", "-"
				if !d.OK {
					state = p.tint(d.State, "warning")
				}
				if d.Level > 0 {
					order = strconv.Itoa(d.Level)
				}
				if !d.Checked.IsZero() {
					checked = span(p.now().Sub(d.Checked)) + " ago"
				}
				rows = append(rows, []any{d.Name, dash(d.Host), order, d.Agent, state, checked})
			}
			p.grid([]any{"DEVICE", "HOST", "ORDER", "AGENT", "STATE", "CHECKED"}, rows)
		})
	})
}

// confirmOffCommand overrides the wait D by a person's word. --yes does not answer
// it: whoever vouches types the host's name, or gives a flag that says what it means.
func (p *program) confirmOffCommand() *cli.Command {
	const flag = "it-is-off"
	flags := []cli.Flag{&cli.BoolFlag{Name: flag, Usage: "you have made sure that the host is off: it has no power, or cannot reach its storage"}}
	return p.leaf("confirm", "vouch that a silent host is off: its VMs start elsewhere at once, without the wait", "HOST", 1, 1, flags, func(ctx context.Context, c *cli.Context) error {
		client := p.changer()
		defer client.Close()
		st, err := client.Status(ctx)
		if err != nil {
			return err
		}
		if err := needMaster(st.Source); err != nil {
			return err
		}
		host, err := pickHost(st.Hosts, c.Args().First())
		if err != nil {
			return err
		}
		fmt.Fprintf(p.stderr, "  ! %s (%s) is taken for switched off on your word, and what it owned (%s) starts elsewhere\n", host.Name, host.State, plural(len(host.VMs), "protected VM", "protected VMs"))
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

// typed asks for a name to be typed, where --yes would be too easy.
func (p *program) typed(ctx context.Context, name, flag string) error {
	if !isTerminal(p.stdin) {
		return &usageError{clear: true, message: fmt.Sprintf("this overrides a safety rule and there is no terminal to ask at: nothing was changed. Add --%s if you have made sure; --yes is not enough.", flag)}
	}
	fmt.Fprintf(p.stderr, "Type the host's name to vouch for it: ")
	line, err := p.readLine(ctx)
	if err != nil {
		return err
	}
	if strings.TrimSpace(line) != name {
		return errors.New("that is not its name: nothing was changed")
	}
	return nil
}
