package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/config"
)

// program is one call of haadm: where it reads and writes, and what its global
// flags say.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
	now            func() time.Time // wall clock, for ages and --since
	zone           *time.Location   // in which moments are shown

	socket string
	format string // table, wide or json
	colour bool
	yes    bool
	stale  bool
	typing *bufio.Reader // what a person types, from the first question on

	agentDir string // where fence agents are; empty: where distributions put them
}

// run carries out one command line and returns the exit status. args do not hold
// the program's name; environ is as os.Environ gives it.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, environ []string) int {
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr, environ: environ, now: time.Now, zone: time.Local}
	return p.run(ctx, args)
}

func (p *program) run(ctx context.Context, args []string) int {
	app := p.app()
	if n := len(args); n > 0 && args[n-1] == completeFlag {
		p.complete(ctx, app, args[:n-1])
		return exitOK
	}
	ordered, err := reorder(app, args)
	if err != nil && wantsJSON(args) {
		p.format = "json" // before has not read the flags
	}
	if err == nil {
		err = app.RunContext(ctx, append([]string{"haadm"}, ordered...))
	}
	return p.report(err)
}

// wantsJSON reports whether a command line that cannot be read asks for JSON all the same.
func wantsJSON(args []string) bool {
	for i, a := range args {
		switch {
		case a == "--":
			return false
		case slices.Contains([]string{"--json", "--json=true", "-o=json", "--output=json"}, a):
			return true
		case (a == "-o" || a == "--output") && i+1 < len(args) && args[i+1] == "json":
			return true
		}
	}
	return false
}

// env is the value of a variable; the last one counts, as in a shell.
func (p *program) env(name string) string {
	for i := len(p.environ) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(p.environ[i], name+"="); ok {
			return v
		}
	}
	return ""
}

func (p *program) app() *cli.App {
	socket := p.env("HAADM_SOCKET")
	if socket == "" {
		socket = config.DefaultSocket
	}
	app := &cli.App{
		Name:      "haadm",
		Usage:     "run and watch a Holdfast cluster",
		UsageText: "haadm [flags] COMMAND [flags] [arguments]\nFlags may stand anywhere; -- ends them.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "socket", Usage: "the agent's `PATH` (or $HAADM_SOCKET)", Value: socket},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`FORMAT`: table, wide or json", Value: "table"},
			&cli.BoolFlag{Name: "json", Usage: "the same as -o json"},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "answer yes to the question before a change; skips no safety check"},
			&cli.BoolFlag{Name: "stale", Usage: "be content with this host's own copy of the state"},
			&cli.BoolFlag{Name: "no-color", Usage: "no colour (also with $NO_COLOR, TERM=dumb, or away from a terminal)"},
		},
		Commands: []*cli.Command{
			p.statusCommand(), p.hostsCommand(), p.vmsCommand(), p.protectCommand(), p.unprotectCommand(), p.eventsCommand(),
			p.explainCommand(), p.planCommand(), p.capacityCommand(), p.placementCommand(), p.maintenanceCommand(),
			p.disarmCommand(), p.armCommand(), p.clusterCommand(), p.fenceCommand(), p.watchdogCommand(), p.storageCommand(),
			p.configCommand(), p.agentCommand(), p.waitCommand(), p.completionCommand(), p.versionCommand(),
		},
		HideHelpCommand: true,
		Writer:          p.stdout,
		ErrWriter:       p.stderr,
		Before:          p.before,
		ExitErrHandler:  func(*cli.Context, error) {}, // errors come back to run
		OnUsageError:    func(_ *cli.Context, err error, _ bool) error { return usagef("%v", err) },
	}
	return app
}

// before reads the global flags.
func (p *program) before(c *cli.Context) error {
	p.socket, p.format = c.String("socket"), c.String("output")
	p.yes, p.stale = c.Bool("yes"), c.Bool("stale")
	if c.Bool("json") {
		p.format = "json"
	}
	if p.format != "table" && p.format != "wide" && p.format != "json" {
		return usagef("-o %s: the formats are table, wide and json", p.format)
	}
	p.colour = isTerminal(p.stdout) && !c.Bool("no-color") && p.env("NO_COLOR") == "" && p.env("TERM") != "dumb"
	return nil
}

// client asks the agent of this host; the caller closes it.
func (p *program) client() *api.Client {
	c := api.NewClient(p.socket)
	if p.stale {
		c = c.Stale()
	}
	return c
}

// changer is the client for a change, which is planned on what the master knows
// whatever --stale says.
func (p *program) changer() *api.Client { return api.NewClient(p.socket) }

// needMaster refuses a change before anybody is asked about it when there is
// nobody to carry it out.
func needMaster(src *api.Source) error {
	if src.Fresh {
		return nil
	}
	why := src.Note
	if why == "" {
		why = "no master is known"
	}
	return &api.Error{Code: api.CodeNoMaster,
		Message: fmt.Sprintf("%v (%s): nothing was changed; a majority of the voters must be up, see 'haadm status'", api.ErrNoMaster, why)}
}

// masterVMs lists the VMs for a change: as the master knows them.
func masterVMs(ctx context.Context, client *api.Client) (*api.VMList, error) {
	list, err := client.VMs(ctx)
	if err != nil {
		return nil, err
	}
	return list, needMaster(list.Source)
}

// masterStatus is the same of the cluster as a whole.
func masterStatus(ctx context.Context, client *api.Client) (*api.Status, error) {
	st, err := client.Status(ctx)
	if err != nil {
		return nil, err
	}
	return st, needMaster(st.Source)
}

// isTerminal reports whether a person sits at the other end. A test's stream can
// say so itself.
func isTerminal(stream any) bool {
	switch s := stream.(type) {
	case interface{ Terminal() bool }:
		return s.Terminal()
	case *os.File:
		return term.IsTerminal(int(s.Fd()))
	}
	return false
}

// width is how many columns the reader has; 0: no limit, for a pipe or a file.
func (p *program) width() int {
	if n, err := strconv.Atoi(p.env("COLUMNS")); err == nil && n > 20 {
		return n
	}
	if f, ok := p.stdout.(*os.File); ok && isTerminal(f) {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil {
			return w
		}
	}
	return 0
}

// leaf makes a command that takes between least and most arguments (-1: any number).
func (p *program) leaf(
	name, usage, argsUsage string, least, most int, flags []cli.Flag, do func(ctx context.Context, c *cli.Context) error,
) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, ArgsUsage: argsUsage, Flags: flags, HideHelpCommand: true,
		CustomHelpTemplate: cli.CommandHelpTemplate + everywhere,
		OnUsageError:       func(c *cli.Context, err error, _ bool) error { return usageOf(c, err.Error()) },
		Action: func(c *cli.Context) error {
			if n := c.NArg(); n < least || most >= 0 && n > most {
				return usageOf(c, argumentCount(n, least, most))
			}
			return do(c.Context, c)
		},
	}
}

// everywhere ends the help of each command.
const everywhere = `
EVERYWHERE:
   -o table|wide|json, --json, --yes, --stale, --no-color, --socket PATH
`

func argumentCount(n, least, most int) string {
	switch {
	case most == 0:
		return "it takes no arguments"
	case n < least && least == 1:
		return "an argument is missing"
	case n < least:
		return fmt.Sprintf("%d arguments are needed, %d given", least, n)
	}
	return fmt.Sprintf("at most %d are taken, %d given", most, n)
}

func group(name, usage string, commands ...*cli.Command) *cli.Command {
	return &cli.Command{Name: name, Usage: usage, Subcommands: commands, HideHelpCommand: true}
}

// errNo is the answer "no" to a question: it is an exit status, not a failure.
var errNo = errors.New("no")
