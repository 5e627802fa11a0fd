package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ha/holdfast/fencing"
	"github.com/holdfast-ha/holdfast/integration/lab/witness"
	"github.com/holdfast-ha/holdfast/vmm/embedded"
)

const (
	sharedDisk    = "/dev/vdc"
	qualifiedPath = "/var/lib/qualified.json"
)

// section is one VM's part of the shared disk.
type section struct {
	f  *os.File
	at int64
}

func (s section) ReadAt(p []byte, off int64) (int, error)  { return s.f.ReadAt(p, s.at+off) }
func (s section) WriteAt(p []byte, off int64) (int, error) { return s.f.WriteAt(p, s.at+off) }

// number reads the digits at the end of a name or a UUID.
func number(s string) (int, error) {
	n, err := strconv.Atoi(strings.TrimLeft(s[strings.LastIndexAny(s, "h-")+1:], "0"))
	if err != nil {
		return 0, fmt.Errorf("no number at the end of %q: %w", s, err)
	}
	return n, nil
}

// runVM is one VM: stopped at first, then a mark on the shared disk every 50 ms.
func runVM(args []string) error {
	n, err := number(args[0])
	if err != nil {
		return err
	}
	// The agent, whose child this may be, goes before others; QEMU is libvirt's child and does not.
	// The process group is all threads of this process, and no other's.
	if err := errors.Join(syscall.Setpriority(syscall.PRIO_PGRP, 0, 0), os.WriteFile("/proc/self/oom_score_adj", []byte("0"), 0)); err != nil {
		return fmt.Errorf("become an ordinary process: %w", err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	name, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("read this machine's name: %w", err)
	}
	host, err := number(name)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(sharedDisk, os.O_RDWR|unix.O_DIRECT|unix.O_DSYNC, 0)
	if err != nil {
		return fmt.Errorf("open the shared disk: %w", err)
	}
	defer f.Close() // it was written synchronously
	block, err := unix.Mmap(-1, 0, witness.BlockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return fmt.Errorf("map a block: %w", err)
	}
	var life witness.Life
	_, _ = rand.Read(life[:]) // never fails since Go 1.24
	life[0] = byte(host)
	w, err := witness.NewWriter(section{f, int64(n) * witness.DiskSize}, block, life)
	if err != nil {
		return err
	}
	for {
		if _, conflict, err := w.Beat(); err != nil || conflict {
			fmt.Fprintln(os.Stderr, "vm", n, "conflict", conflict, "error", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// startVM is a person who defines VM NAME with UUID and starts it.
func startVM(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	h := processes{dir: filepath.Join(filepath.Dir(dataDir), "domains")}
	if _, err := h.StartPaused(ctx, embedded.MinimalXML(args[0], args[1], 1<<30, 1)); err != nil {
		return err
	}
	return h.Resume(ctx, args[1])
}

// qualify measures the watchdog, which resets this machine.
func qualify([]string) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	dog, err := fencing.OpenDevice(watchdogPath, watchdogTimeout)
	if err != nil {
		return err
	}
	return fencing.Qualify(context.Background(), dog, qualifiedPath, boot)
}

// qualified prints what was measured before the last reset.
func qualified([]string) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	q, err := fencing.Qualified(qualifiedPath, boot)
	if err != nil {
		return err
	}
	fmt.Printf("%s: asked for %v, alive %v after the last pet, looked every %v at most\n", q.Driver, q.Asked, q.Alive.Round(time.Millisecond), q.Grain.Round(time.Millisecond))
	return nil
}

// gap prints how long the guard has let pass at most between two looks, and between two pets, in ns.
func gap([]string) error {
	s, err := fencing.OpenShared(guardPath)
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // only read
	st := s.Status()
	fmt.Printf("%d %d\n", st.Gap, st.Watchdog.Gap)
	return nil
}
