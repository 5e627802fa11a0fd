package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// load makes a machine busy for so many seconds: eight hogs, one that fills the
// memory, one that never stops writing to the disk.
func load(args []string) error {
	seconds, err := strconv.Atoi(args[0])
	if err != nil {
		return fmt.Errorf("seconds: %w", err)
	}
	if len(args) > 1 {
		return hog(args[1])
	}
	deadline := time.Now().Add(time.Duration(seconds) * time.Second)
	var kids []*os.Process
	for _, part := range strings.Fields("cpu cpu cpu cpu cpu cpu cpu cpu memory disk") {
		p, err := os.StartProcess("/usr/bin/inside", []string{"inside", "load", "0", part}, &os.ProcAttr{Files: []*os.File{nil, os.Stderr, os.Stderr}})
		if err != nil {
			return fmt.Errorf("start a hog: %w", err)
		}
		if part == "memory" {
			// It is to be the one that the kernel ends when memory is short.
			if err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", p.Pid), []byte("1000"), 0); err != nil {
				return fmt.Errorf("offer the hog to the kernel: %w", err)
			}
		}
		kids = append(kids, p)
	}
	time.Sleep(time.Until(deadline))
	for _, p := range kids {
		_ = p.Kill()
	}
	for _, p := range kids {
		_, _ = p.Wait()
	}
	return nil
}

func hog(part string) error {
	switch part {
	case "cpu":
		for n := uint64(0); ; n++ {
			if n == 1<<63 {
				return nil
			}
		}
	case "memory":
		left, err := available()
		if err != nil {
			return err
		}
		b, err := unix.Mmap(-1, 0, int(left-24<<20), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return fmt.Errorf("map: %w", err)
		}
		for n := byte(1); ; n++ {
			for i := 0; i < len(b); i += 4096 {
				b[i] = n
			}
		}
	}
	f, err := os.Create("/var/lib/hog")
	if err != nil {
		return fmt.Errorf("create the hog's file: %w", err)
	}
	for b := make([]byte, 1<<20); ; {
		if _, err := f.WriteAt(b, 0); err != nil || f.Sync() != nil {
			return errors.Join(err, io.ErrShortWrite)
		}
	}
}

// squeeze leaves a machine without memory: one process after another takes more than
// there is, until the kernel has ended so many, or so many seconds have passed. It
// prints what came of it.
func squeeze(args []string) error {
	if args[0] == "swallow" {
		return swallow()
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		return fmt.Errorf("processes: %w", err)
	}
	seconds, err := strconv.Atoi(args[1])
	if err != nil {
		return fmt.Errorf("seconds: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds)*time.Second)
	defer cancel()
	var s Squeezed
	before, err := refaults()
	if err != nil {
		return err
	}
	for ctx.Err() == nil && s.Ended < want {
		cmd := exec.CommandContext(ctx, "/usr/bin/inside", "squeeze", "swallow")
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err == nil {
			return errors.New("a process took all memory and was not ended")
		}
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ctx.Err() == nil && status.Signal() == syscall.SIGKILL {
			s.Ended++
		}
	}
	after, err := refaults()
	if err != nil {
		return err
	}
	s.Refaults = after - before
	return json.NewEncoder(os.Stdout).Encode(s)
}

// Squeezed is what came of a machine without memory.
type Squeezed struct {
	Ended    int   // processes that the kernel ended for memory
	Refaults int64 // pages of files that were read again because they had been given up
}

// swallow takes memory until the kernel ends this process. It is not slowed down by
// its own program having to be read again: what is asked of the machine is to stand
// the time until then, again and again.
func swallow() error {
	// It is to be the one that the kernel ends.
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0); err != nil {
		return fmt.Errorf("offer this process to the kernel: %w", err)
	}
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("lock the memory: %w", err)
	}
	const piece = 4 << 20
	for {
		b, err := unix.Mmap(-1, 0, piece, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return fmt.Errorf("map: %w", err)
		}
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
	}
}

// refaults counts the pages of files that the kernel had given up and had to read again.
func refaults() (int64, error) {
	b, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return 0, fmt.Errorf("read what the memory does: %w", err)
	}
	_, rest, _ := strings.Cut(string(b), "\nworkingset_refault_file ")
	var n int64
	if _, err := fmt.Sscan(rest, &n); err != nil {
		return 0, fmt.Errorf("read what the memory does: %w", err)
	}
	return n, nil
}

// available is the memory that the kernel could still give, bytes.
func available() (int64, error) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("read the memory: %w", err)
	}
	_, rest, _ := strings.Cut(string(b), "MemAvailable:")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return 0, fmt.Errorf("read the memory: %w", err)
	}
	return kib << 10, nil
}
