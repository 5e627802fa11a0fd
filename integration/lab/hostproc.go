package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// runHost is the first process of a host. It makes the host's view of the file
// system, starts and signals programs when asked, and reaps everything. It ends,
// and the host with it, when the control connection does.
//
// One goroutine owns all state, so that a program that dies at once cannot be
// reaped before it is known.
func runHost(conn *control) error {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)

	requests, lost := make(chan request), make(chan error, 1)
	go func() {
		for {
			var r request
			if err := conn.dec.Decode(&r); err != nil {
				lost <- err
				return
			}
			requests <- r
		}
	}()

	h := &firstProcess{running: map[string]int{}, supervised: map[string]request{}, again: make(chan string)}
	for {
		select {
		case <-children:
			h.reap()
		case name := <-h.again:
			h.restart(name)
		case r := <-requests:
			h.reap()
			answer := reply{}
			if err := h.do(r); err != nil {
				answer.Error = err.Error()
			}
			answer.Running = h.running
			if err := conn.enc.Encode(answer); err != nil {
				return fmt.Errorf("answer %s: %w", r.Op, err)
			}
		case err := <-lost:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("control connection: %w", err)
		}
	}
}

// restartAfter is what the agent's systemd unit has as RestartSec.
const restartAfter = 100 * time.Millisecond

type firstProcess struct {
	running    map[string]int     // name to PID; 0 while it is about to be started again
	supervised map[string]request // programs to start again when they end
	again      chan string        // names whose pause is over
}

func (h *firstProcess) do(r request) error {
	switch r.Op {
	case "view":
		return r.View.enter()
	case "start":
		return h.start(r)
	case "signal", "stop":
		pid, ok := h.running[r.Name]
		if !ok {
			return fmt.Errorf("%s does not run on this host", r.Name)
		}
		if r.Op == "stop" {
			delete(h.supervised, r.Name)
			r.Signal = int(syscall.SIGKILL)
		}
		if pid == 0 {
			return nil // it has just ended by itself
		}
		return syscall.Kill(pid, syscall.Signal(r.Signal))
	case "list":
		return nil
	case "mount":
		return mountVolume(r.Device, r.Mount)
	case "unmount":
		return unmountVolume(r.Mount)
	}
	return fmt.Errorf("unknown request %q", r.Op)
}

func (h *firstProcess) start(r request) error {
	if _, ok := h.running[r.Name]; ok {
		return fmt.Errorf("%s runs already on this host", r.Name)
	}
	out, err := os.OpenFile(r.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("output of %s: %w", r.Name, err)
	}
	defer out.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	pid, err := syscall.ForkExec(r.Argv[0], r.Argv, &syscall.ProcAttr{
		Env:   append(os.Environ(), r.Env...),
		Files: []uintptr{null.Fd(), out.Fd(), out.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", r.Argv[0], err)
	}
	h.running[r.Name] = pid
	if r.Restart {
		h.supervised[r.Name] = r
	}
	return nil
}

// restart starts a supervised program again, unless it was stopped meanwhile.
func (h *firstProcess) restart(name string) {
	if pid, ok := h.running[name]; !ok || pid != 0 {
		return
	}
	delete(h.running, name)
	r, ok := h.supervised[name]
	if !ok {
		return
	}
	if err := h.start(r); err != nil {
		fmt.Printf("start %s again: %v\n", name, err)
	}
}

// reap collects every child that has ended: those started here, and the orphans
// that a PID namespace gives to its first process (QEMU among them).
func (h *firstProcess) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		for name, p := range h.running {
			if p == pid {
				delete(h.running, name)
				fmt.Printf("%s (pid %d) ended: %s\n", name, pid, describe(status))
				if _, ok := h.supervised[name]; ok {
					h.running[name] = 0
					time.AfterFunc(restartAfter, func() { h.again <- name })
				}
			}
		}
	}
}

func describe(s syscall.WaitStatus) string {
	if s.Signaled() {
		return "signal " + s.Signal().String()
	}
	return fmt.Sprintf("exit status %d", s.ExitStatus())
}
