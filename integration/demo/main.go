// Command demo shows what Holdfast is for, on this one machine: a cluster of
// three hosts, protected VMs on each, and one host that dies. It shows what
// happens as it happens and ends with how long each VM was down, as measured on
// the VMs' own disks.
//
// As root, where libvirt and QEMU are installed, the hosts are namespaces with a
// libvirtd each and the VMs are real QEMU guests; otherwise, or with
// DEMO=embedded, hosts are agent processes with the embedded hypervisor.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/integration/lab"
)

// limit bounds the whole demonstration.
const limit = 4 * time.Minute

func main() {
	lab.Enter() // the lab runs this program again for its hosts
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// world is what the demonstration runs in.
type world interface {
	// What describes it in a few words.
	What() string
	// Up starts three hosts, forms the cluster and protects running VMs, telling what it does.
	Up(ctx context.Context, tell func(string)) error
	Hosts() []string
	VMs() []string
	// Client talks to the agent of a host.
	Client(host string) (*api.Client, error)
	// Kill takes the host's power and returns when.
	Kill(ctx context.Context, host string) (time.Time, error)
	// Beats are the moments at which the VM itself was first and last seen
	// writing to its disk, by stretch of running, oldest first.
	Beats(vm string) ([]beat, error)
	// Close ends everything and removes what was made.
	Close() error
}

// beat is one stretch of a VM's running.
type beat struct {
	host        string
	first, last time.Time
}

func run(ctx context.Context) (err error) {
	w, note, err := choose()
	if err != nil {
		return err
	}
	defer func() {
		if cerr := w.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("clean up: %w", cerr)
		}
	}()
	s := newScreen(os.Stdout, term.IsTerminal(int(os.Stdout.Fd())))
	s.Line("Holdfast demonstration: three hosts on this machine, " + w.What())
	if note != "" {
		s.Line("(" + note + ")")
	}
	if err := w.Up(ctx, s.Line); err != nil {
		return err
	}
	return show(ctx, w, s)
}

// choose picks the hypervisor: DEMO, or real QEMU where that can be had.
func choose() (w world, note string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", fmt.Errorf("find this program: %w", err)
	}
	bin := filepath.Dir(self)
	switch mode := os.Getenv("DEMO"); mode {
	case "embedded":
		return newProcesses(bin), "", nil
	case "libvirt":
		return newNamespaces(bin), "", lab.Check()
	case "":
		if err := lab.Check(); err != nil {
			return newProcesses(bin), "not with real QEMU guests: " + firstLine(err), nil
		}
		return newNamespaces(bin), "", nil
	default:
		return nil, "", fmt.Errorf("DEMO=%s: embedded or libvirt is wanted", mode)
	}
}

func firstLine(err error) string {
	s := err.Error()
	for i, r := range s {
		if r == '\n' {
			return s[:i]
		}
	}
	return s
}

// errNobody: no survivor answers at the moment.
var errNobody = errors.New("no agent answers")
