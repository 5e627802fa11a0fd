package lab

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/integration/lab/witness"
)

var (
	// ErrTwice says that a VM ran twice at once: what must never happen.
	ErrTwice = errors.New("the VM ran twice at once")
	// ErrNoWitness says that the guest's disk proves nothing: it was never written,
	// or cannot be read.
	ErrNoWitness = errors.New("the VM's witness proves nothing")
)

// Check returns nil when the VM never ran twice at once, as far as its processes
// and its disk show. The error wraps ErrTwice, or ErrNoWitness when there is
// nothing that could have shown it.
func (j *Judge) Check(vm string) error {
	j.mu.Lock()
	c := j.cases[vm]
	j.mu.Unlock()
	if c == nil {
		return fmt.Errorf("%s: %w: the lab has no such guest", vm, ErrNoWitness)
	}
	var disk witness.Disk
	var unreadable error
	if c.disk != nil {
		disk, unreadable = readWhole(c)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	findings := append([]string(nil), c.double...)
	if d := disk.Conflict; d != nil {
		findings = append(findings, fmt.Sprintf("on its disk: life %s had written %d beats when it found a beat of life %s (its number %d)",
			d.Life, d.Count, d.Other, d.OtherCount))
	}
	findings = append(findings, c.interleaved()...)
	if len(findings) > 0 {
		return fmt.Errorf("%s: %w:\n  %s\n%s", vm, ErrTwice, strings.Join(findings, "\n  "), c.report())
	}
	switch {
	case len(c.runs) == 0:
		return fmt.Errorf("%s: %w: no process of it was ever seen", vm, ErrNoWitness)
	case c.disk == nil:
		return nil
	case unreadable != nil:
		return fmt.Errorf("%s: %w: %w", vm, ErrNoWitness, unreadable)
	case c.unreadable != nil:
		return fmt.Errorf("%s: %w: %w", vm, ErrNoWitness, c.unreadable)
	case len(c.lives) == 0:
		return fmt.Errorf("%s: %w: its guest never wrote to its disk; the console is in %s", vm, ErrNoWitness, c.guest.Console)
	}
	return nil
}

// CheckAll is Check for every guest that has run.
func (j *Judge) CheckAll() error {
	var all []error
	for _, c := range j.all() {
		if len(j.Runs(c.guest.Name)) > 0 {
			all = append(all, j.Check(c.guest.Name))
		}
	}
	return errors.Join(all...)
}

// readWhole reads the disk, again if a block was torn by a write in flight.
func readWhole(c *evidence) (witness.Disk, error) {
	var d witness.Disk
	var err error
	for range 5 {
		if d, err = witness.ReadDisk(c.disk); err == nil {
			return d, nil
		}
	}
	return d, err
}

// interleaved finds lives that wrote again after another life had.
func (c *evidence) interleaved() []string {
	var findings []string
	last := map[witness.Life]int{}
	for i, l := range c.lives {
		if before, ok := last[l.Life]; ok && len(findings) < maxFindings {
			findings = append(findings, fmt.Sprintf("%s: life %s writes again, after life %s wrote at %s",
				l.First.Format("15:04:05.000"), l.Life, c.lives[i-1].Life, c.lives[before+1].First.Format("15:04:05.000")))
		}
		last[l.Life] = i
	}
	return findings
}

// Report says everything that was seen of the VM, for a person.
func (j *Judge) Report(vm string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if c := j.cases[vm]; c != nil {
		return c.report()
	}
	return vm + ": no such guest"
}

func (c *evidence) report() string {
	clock := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return t.Format("15:04:05.000")
	}
	var out strings.Builder
	fmt.Fprintf(&out, "  %s, seen from outside:\n", c.guest.Name)
	for _, r := range c.runs {
		fmt.Fprintf(&out, "    process %d on %s: seen %s, executes %s, gone %s\n", r.PID, r.Host, clock(r.Seen), clock(r.Executed), clock(r.Gone))
	}
	for i, l := range c.lives {
		if i == 10 {
			fmt.Fprintf(&out, "    ... and %d more\n", len(c.lives)-i)
			break
		}
		fmt.Fprintf(&out, "    life %.8s: beats from %s to %s, %d in all\n", l.Life, clock(l.First), clock(l.Last), l.Beats)
	}
	return strings.TrimRight(out.String(), "\n")
}
