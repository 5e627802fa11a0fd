package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// requestTimeout is how long a host's first process may take to answer; it never
// waits for anything itself.
const requestTimeout = 20 * time.Second

// part is a child process of the lab: a host's first process or the keeper.
type part struct {
	cmd  *exec.Cmd
	conn *control
	turn chan struct{} // holds one token: who has it may use conn
	gone chan struct{} // closed when it has ended and was reaped
	err  error         // how it ended; read after gone
}

// spawner starts parts from one thread that lives as long as the lab: Linux sends
// a parent death signal when the thread that forked ends, not the process.
type spawner struct {
	work chan func()
	done chan struct{}
}

func newSpawner() *spawner {
	s := &spawner{work: make(chan func()), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		runtime.LockOSThread()
		for f := range s.work {
			f()
		}
		runtime.UnlockOSThread()
	}()
	return s
}

func (s *spawner) close() {
	close(s.work)
	<-s.done
}

// spawn executes this program again as name, in new namespaces. Its output goes
// to the file log.
func (s *spawner) spawn(name string, args []string, log string, attr *syscall.SysProcAttr) (*part, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("control connection: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	defer ours.Close()
	defer theirs.Close()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()

	p := &part{turn: make(chan struct{}, 1), gone: make(chan struct{})}
	p.turn <- struct{}{}
	p.cmd = &exec.Cmd{
		Path: "/proc/self/exe", Args: append([]string{name}, args...), Dir: "/",
		Stdout: out, Stderr: out, ExtraFiles: []*os.File{theirs}, SysProcAttr: attr,
	}
	started := make(chan error, 1)
	s.work <- func() { started <- p.cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.gone)
	}()
	if p.conn, err = newControl(ours); err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// pid is the process's number as the lab sees it.
func (p *part) pid() int { return p.cmd.Process.Pid }

// alive reports whether the process has not ended yet.
func (p *part) alive() bool {
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// kill ends the part, and all of its PID namespace if it has one, and waits until
// the kernel says that everything is dead.
func (p *part) kill() {
	_ = p.cmd.Process.Kill() // an error means that it has ended
	<-p.gone
	if p.conn != nil {
		_ = p.conn.Close()
	}
}

// ask sends one request and reads its answer; callers wait for their turn.
func (p *part) ask(ctx context.Context, r request) (reply, error) {
	select {
	case <-p.turn:
		defer func() { p.turn <- struct{}{} }()
	case <-ctx.Done():
		return reply{}, context.Cause(ctx)
	}
	deadline := time.Now().Add(requestTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := p.conn.SetDeadline(deadline); err != nil {
		return reply{}, err
	}
	var answer reply
	err := p.conn.enc.Encode(r)
	if err == nil {
		err = p.conn.dec.Decode(&answer)
	}
	if err != nil {
		return reply{}, fmt.Errorf("ask the host's first process to %s %s: %w", r.Op, r.Name, err)
	}
	if answer.Error != "" {
		return answer, errors.New(answer.Error)
	}
	return answer, nil
}
