package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/fencing"
)

func guardFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "state", Value: defaultGuard, Usage: "shared memory `FILE`, on a tmpfs"},
		&cli.StringFlag{Name: "watchdog",
			Usage: "hardware watchdog `DEVICE`, such as /dev/watchdog0, to reset this host with when its VMs cannot be proven gone; without it, the one that the guard before had"},
		&cli.DurationFlag{Name: "watchdog-timeout", Value: 3 * time.Second,
			Usage: "`TIME` to set it to, in whole seconds; the policy's watchdog_timeout"},
		&cli.StringFlag{Name: "note", Value: defaultNote, Usage: "`FILE` that keeps the reason of a reset"},
	}
}

func guardWarn(err error) { fmt.Fprintln(os.Stderr, "haagent guard: warning:", err) }

// runGuard is the guard's process. SIGHUP makes it the program that is on the disk
// now; SIGTERM ends it as soon as that resets nobody.
func runGuard(c *cli.Context) error {
	renew := make(chan os.Signal, 1)
	signal.Notify(renew, syscall.SIGHUP)
	defer signal.Stop(renew)
	o := fencing.GuardOptions{Path: c.String("state"), Device: c.String("watchdog"),
		Timeout: c.Duration("watchdog-timeout"), Renew: renew, Warn: guardWarn}
	if o.Device == "" && c.IsSet("watchdog-timeout") {
		return fmt.Errorf("--watchdog-timeout without --watchdog sets nothing")
	}
	if err := startNotes(o, c.String("note")); err != nil {
		guardWarn(err)
	}
	return fencing.RunGuard(c.Context, o)
}

// startNotes starts the process that writes down why the host is about to be reset.
// It outlives this one a little, because the guard's death is one of the reasons.
func startNotes(o fencing.GuardOptions, note string) error {
	if fencing.Renewed() {
		return nil // the program before started it, in this same process
	}
	s, err := fencing.OpenShared(o.Path)
	if err != nil {
		return err
	}
	inherited := s.Status().Watchdog.Device
	if err := s.Close(); err != nil {
		return fmt.Errorf("close the guard's memory: %w", err)
	}
	if o.Device == "" && inherited == "" {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.Command(self, "guard-notes", "--state", o.Path, "--note", note)
	cmd.Stderr, cmd.Dir = os.Stderr, "/"
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start what keeps the reason of a reset: %w", err)
	}
	go func() { _ = cmd.Wait() }() // so that it does not stay as a zombie; ends with either process
	return nil
}

// notesOutlive is how long the writer of notes goes on after the guard that started it.
const notesOutlive = 15 * time.Second

func runNotes(c *cli.Context) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel()
	guard := os.Getppid()
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for os.Getppid() == guard {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(notesOutlive):
			cancel()
		}
	}()
	return fencing.WriteNotes(ctx, c.String("state"), c.String("note"), boot, func(s string) { fmt.Fprintln(os.Stderr, "haagent guard:", s) })
}
