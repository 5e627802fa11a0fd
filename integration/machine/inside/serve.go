package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// initProcess is process 1: it starts serve and reaps whatever loses its parent.
func initProcess([]string) error {
	cmd := exec.Command("/proc/self/exe", "serve")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start serve: %w", err)
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if err == nil && pid == cmd.Process.Pid {
			return fmt.Errorf("serve ended with %v", status)
		}
	}
}

// request is one command of the harness; reply is its end. One of each a line.
type request struct {
	ID      uint64   `json:"id"`
	Argv    []string `json:"argv"`
	Seconds int      `json:"seconds"` // limit
}

type reply struct {
	ID   uint64 `json:"id"`
	Boot string `json:"boot,omitempty"` // in the first line of a boot
	Code int    `json:"code"`
	Out  string `json:"out"`
}

// serve keeps the services running and does what the harness asks.
func serve([]string) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	port, err := openPort()
	if err != nil {
		return err
	}
	go supervise("guard", []string{"/usr/bin/haagent", "guard", "--state", guardPath, "--watchdog", watchdogPath, "--watchdog-timeout", watchdogTimeout.String()})
	go supervise("agent", []string{"/usr/bin/inside", "agent"})
	var mu sync.Mutex
	say := func(r reply) {
		b, err := json.Marshal(r)
		if err != nil {
			return // strings and numbers can always be encoded
		}
		mu.Lock()
		defer mu.Unlock()
		_, _ = port.Write(append(b, '\n')) // nobody listens: the harness has gone
	}
	say(reply{Boot: boot})
	lines := bufio.NewScanner(port)
	lines.Buffer(nil, 1<<20)
	for {
		for lines.Scan() {
			var r request
			if json.Unmarshal(lines.Bytes(), &r) == nil && len(r.Argv) > 0 {
				go func() { say(perform(r)) }()
			}
		}
		// The other side is away for a moment.
		time.Sleep(100 * time.Millisecond)
		lines = bufio.NewScanner(port)
		lines.Buffer(nil, 1<<20)
	}
}

// openPort finds the virtio port that leads to the harness.
func openPort() (*os.File, error) {
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		found, err := filepath.Glob("/dev/vport*")
		if err == nil && len(found) > 0 {
			return os.OpenFile(found[0], os.O_RDWR, 0)
		}
	}
	return nil, errors.New("no /dev/vport* to speak with the harness")
}

func perform(r request) reply {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.Seconds)*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.Argv[0], r.Argv[1:]...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		return reply{ID: r.ID, Code: -1, Out: err.Error()}
	}
	return reply{ID: r.ID, Code: cmd.ProcessState.ExitCode(), Out: string(out)}
}

// supervise is the service manager: it starts a service again that ended, unless
// /run/down-NAME is there.
func supervise(name string, argv []string) {
	for {
		if _, err := os.Stat("/run/down-" + name); err == nil {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		cmd := exec.Command("/proc/self/exe", append([]string{"service", name}, argv...)...)
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		err := cmd.Start()
		if err == nil {
			_ = os.WriteFile("/run/"+name+".pid", []byte(fmt.Sprint(cmd.Process.Pid)), 0o644)
			err = cmd.Wait()
		}
		fmt.Fprintf(os.Stderr, "inside: %s ended: %v\n", name, err)
		time.Sleep(100 * time.Millisecond)
	}
}

// service becomes the program of a service, with what the units in packaging/systemd
// and the programs themselves ask the kernel for.
func service(args []string) error {
	runtime.LockOSThread() // the thread that executes is the one that stays
	name, argv, score := args[0], args[1:], "-900"
	var err error
	if name == "guard" {
		score = "-1000"
		err = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 50}, 0)
	} else {
		err = syscall.Setpriority(syscall.PRIO_PROCESS, 0, -15)
	}
	if err := errors.Join(err, os.WriteFile("/proc/self/oom_score_adj", []byte(score), 0)); err != nil {
		return fmt.Errorf("prepare the service %s: %w", name, err)
	}
	return fmt.Errorf("execute %q: %w", argv, syscall.Exec(argv[0], argv, os.Environ()))
}
