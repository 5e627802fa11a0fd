// Command haagent is Holdfast's daemon. `haagent agent` keeps one host's
// protected VMs available, `haagent guard` ends them when the host's lease ends.
// It holds flags, signals and wiring, and no decisions.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/storagehb/apart"
)

// version is set by the linker.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	app := &cli.App{
		Name:            "haagent",
		Usage:           "high availability for libvirt/KVM virtual machines: the daemon on every host",
		Version:         version,
		HideHelpCommand: true,
		Commands: []*cli.Command{{
			Name:  "agent",
			Usage: "run this host's agent",
			Flags: append([]cli.Flag{
				&cli.StringFlag{Name: "config", Value: "/etc/haagent", Usage: "configuration `FILE` or directory"},
			}, overrideFlags()...),
			Action: func(c *cli.Context) error { return runAgent(c.Context, c) },
		}, {
			Name:      "hook",
			Usage:     "libvirt's qemu hook: ask the agent whether a VM may start on this host",
			ArgsUsage: "NAME OPERATION SUB-OPERATION EXTRA",
			Flags:     []cli.Flag{&cli.StringFlag{Name: "config", Value: "/etc/haagent", Usage: "configuration `FILE` or directory of the agent"}},
			Action:    runHook,
		}, {
			Name:   "guard",
			Usage:  "end the protected VMs when the lease in the shared memory ends",
			Flags:  guardFlags(),
			Action: runGuard,
		}, {
			Name:      "volume-io",
			Usage:     "read and write a heartbeat volume for the agent, which starts this",
			ArgsUsage: "PATH",
			Hidden:    true,
			Action:    func(c *cli.Context) error { return apart.Serve(c.Args().First()) },
		}, {
			Name:   "guard-notes",
			Usage:  "keep on the disk why the watchdog is about to reset this host; started by the guard",
			Hidden: true,
			Flags:  guardFlags(),
			Action: runNotes,
		}},
	}
	if err := app.RunContext(ctx, os.Args); err != nil {
		var ce *config.Error
		if errors.As(err, &ce) {
			fmt.Fprint(os.Stderr, ce.Error())
		} else {
			fmt.Fprintln(os.Stderr, "haagent:", err)
		}
		os.Exit(1)
	}
}

func overrideFlags() []cli.Flag {
	var flags []cli.Flag
	for _, o := range config.Overrides() {
		flags = append(flags, &cli.StringFlag{Name: o.Flag, Usage: "overrides " + o.Setting})
	}
	return flags
}

// overrides are the flags that were given, by name.
func overrides(c *cli.Context) map[string]string {
	given := map[string]string{}
	for _, o := range config.Overrides() {
		if c.IsSet(o.Flag) {
			given[o.Flag] = c.String(o.Flag)
		}
	}
	return given
}
