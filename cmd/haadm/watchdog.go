package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fencing"
	"github.com/holdfast-ha/holdfast/vmm"
)

const (
	idleFlag           = "nothing-runs-here"
	defaultMeasurement = "/var/lib/haagent/watchdog-measured.json"
	bootIDFile         = "/proc/sys/kernel/random/boot_id"
)

func (p *program) watchdogCommand() *cli.Command {
	file := &cli.StringFlag{Name: "file", Usage: "`FILE` that keeps the measurement over the reset", Value: defaultMeasurement}
	return &cli.Command{
		Name: "watchdog", Usage: "measure this host's hardware watchdog", HideHelpCommand: true,
		Subcommands: []*cli.Command{
			p.leaf("qualify", "measure after which time the watchdog really resets this host, by letting it do so", "", 0, 0, []cli.Flag{
				&cli.StringFlag{Name: "device", Usage: "the watchdog's `PATH`, such as /dev/watchdog0"},
				&cli.DurationFlag{Name: "timeout",
					Usage: "`TIME` to set it to, in whole seconds: the policy's watchdog_timeout", Value: 3 * time.Second},
				&cli.BoolFlag{Name: idleFlag, Usage: "vouch that no VM runs here, where no agent of a cluster can say so; --yes does not"},
				file,
			}, p.qualify),
			p.leaf("show", "show what was measured. Status 2: nothing was, or the watchdog is no good", "", 0, 0, []cli.Flag{file}, p.measurement),
		},
	}
}

// qualify resets this host, so it does all that it can to find a reason not to.
func (p *program) qualify(ctx context.Context, c *cli.Context) error {
	if c.String("device") == "" { // no default for what resets a host
		return usageOf(c, "--device is missing: the watchdog to measure, such as /dev/watchdog0")
	}
	dog, err := fencing.OpenDevice(c.String("device"), c.Duration("timeout"))
	if err != nil {
		return usageOf(c, err.Error())
	}
	if _, err := os.Stat(dog.Path()); err != nil {
		return &hintedError{fmt.Errorf("there is no watchdog: %w", err),
			"Load its driver, such as iTCO_wdt or ipmi_watchdog; --device names another one."}
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	host, known, err := p.idle(ctx)
	if err != nil {
		return err
	}
	if !known && !c.Bool(idleFlag) {
		return &refusedError{"no agent of a cluster answers here, so it is not known whether VMs run, and they would be lost with " + host +
			": nothing was changed. Look (virsh list), and add --" + idleFlag + " if none does"}
	}
	plan := []string{fmt.Sprintf("  ! this host, %s, is reset by %s about %v from now, without any shutdown",
		host, dog.Path(), c.Duration("timeout"))}
	if err := p.agree(ctx, "Reset this host?", plan...); err != nil {
		return err
	}
	unix.Sync()
	fmt.Fprintf(p.stderr, "The watchdog is armed and not petted any more. After the boot: haadm watchdog show\n")
	return fencing.Qualify(ctx, dog, c.String("file"), boot)
}

// idle names this host, and refuses it while VMs run here. known is false when no
// agent can say so.
func (p *program) idle(ctx context.Context) (name string, known bool, err error) {
	if name, err = os.Hostname(); err != nil {
		return "", false, fmt.Errorf("ask for the name of this host: %w", err)
	}
	client := p.changer()
	defer client.Close()
	self, err := client.Self(ctx)
	if err != nil || !self.Member { // an agent that is no member does not watch VMs
		return name, false, nil
	}
	st, err := client.Status(ctx)
	if err != nil {
		return "", false, fmt.Errorf("ask what runs on %s: %w", self.Name, err)
	}
	host, err := pickHost(st.Hosts, self.Name)
	if err != nil {
		return "", false, err
	}
	if vms := here(host); len(vms) > 0 {
		return "", false, &refusedError{fmt.Sprintf("%s would be lost with %s: shut down or move what runs here first", strings.Join(vms, ", "), host.Name)}
	}
	return host.Name, host.Observed || host.Name == st.Master, nil
}

// here are the VMs of a host that a reset would end.
func here(h api.HostView) (names []string) {
	for _, vm := range h.VMs {
		names = append(names, vm.Name)
	}
	for _, o := range h.Others {
		if o.State != vmm.Stopped {
			names = append(names, o.Name)
		}
	}
	return names
}

// measured is the measurement as JSON.
type measured struct {
	Schema  int         `json:"schema"`
	Good    bool        `json:"good"`
	Problem string      `json:"problem,omitempty"`
	Driver  string      `json:"driver,omitempty"`
	Timeout api.Seconds `json:"timeout_seconds,omitempty"`
	Alive   api.Seconds `json:"alive_seconds,omitempty"`
	Grain   api.Seconds `json:"grain_seconds,omitempty"`
}

func (p *program) measurement(_ context.Context, c *cli.Context) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	q, bad := fencing.Qualified(c.String("file"), boot)
	out := measured{Schema: api.Schema, Good: bad == nil}
	if q != nil {
		out.Driver, out.Timeout, out.Alive, out.Grain = q.Driver, api.Seconds(q.Asked), api.Seconds(q.Alive), api.Seconds(q.Grain)
	}
	if bad != nil {
		out.Problem = bad.Error()
	}
	if err := p.show(out, func() {
		if q != nil && q.Alive > 0 {
			p.field("driver", "%s", dash(q.Driver))
			p.field("asked for", "%v", q.Asked)
			p.field("measured", "the host was alive %v after the last pet, and not %v later",
				q.Alive.Round(time.Millisecond), q.Grain.Round(time.Millisecond))
		}
		if bad != nil {
			p.field("problem", "%v", bad)
		}
	}); err != nil {
		return err
	}
	if bad != nil {
		return errNo
	}
	return nil
}

// bootID tells this boot of the machine from others.
func bootID() (string, error) {
	b, err := os.ReadFile(bootIDFile)
	if err != nil {
		return "", errors.Join(errors.New("tell this boot from others"), err)
	}
	return strings.TrimSpace(string(b)), nil
}
