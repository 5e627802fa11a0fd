package device

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// killGrace is how long a killed agent is waited for. One that is still there
	// then hangs in the kernel, and is left behind.
	killGrace = 2 * time.Second
	// pipeGrace is how long output is read on after an agent has ended, when
	// something that it has started still holds the pipe.
	pipeGrace = 500 * time.Millisecond
	// markName is the variable by which everything that an agent has started is
	// found, also what has left its session.
	markName = "HOLDFAST_FENCE_RUN"
)

// answer is what became of one run of an agent.
type answer struct {
	exit   int // exit status; -1 when there is none
	stdout string
	stderr string
	took   time.Duration
	err    error  // why there is no exit status; nil when the agent ended by itself
	hide   string // the password, never shown
}

// words is what the agent said, for people.
func (a answer) words() string {
	stdout, stderr := a.stdout, a.stderr
	if a.hide != "" {
		stdout, stderr = strings.ReplaceAll(stdout, a.hide, "[password]"), strings.ReplaceAll(stderr, a.hide, "[password]")
	}
	return lastWords(stdout, stderr)
}

// failed says in one line why the run did not do what it should, or "".
func (a answer) failed() string {
	switch words := a.words(); {
	case a.err != nil && words != "":
		return fmt.Sprintf("%v; it had said %q", a.err, words)
	case a.err != nil:
		return a.err.Error()
	case a.exit == 0:
		return ""
	case words != "":
		return fmt.Sprintf("exit status %d: %q", a.exit, words)
	default:
		return fmt.Sprintf("exit status %d, without a word", a.exit)
	}
}

// start runs a program without arguments in a session of its own, with input on
// stdin and nothing of this process's environment. It returns at the latest at
// timeout + killGrace, or killGrace after ctx has ended. slot is taken before and
// given back when the last process is gone, which may be after start has returned.
func start(ctx context.Context, path string, input []byte, timeout time.Duration, head int, slot chan struct{}) answer {
	begin := time.Now()
	took := func() time.Duration { return time.Since(begin) }
	expired := time.NewTimer(timeout)
	defer expired.Stop()
	select {
	case slot <- struct{}{}:
	case <-ctx.Done():
		return answer{exit: -1, took: took(), err: fmt.Errorf("not begun: %w", context.Cause(ctx))}
	case <-expired.C:
		return answer{exit: -1, took: took(), err: fmt.Errorf("not begun: an earlier run of the agent is still there after %v", timeout)}
	}
	mark := make([]byte, 16)
	rand.Read(mark) // it never fails
	p := &process{mark: fmt.Sprintf("%s=%x", markName, mark), stdout: newClipped(head), stderr: newClipped(headKept),
		started: make(chan int, 1), ended: make(chan struct{})}
	// The goroutine outlives this call when the process cannot be killed; it ends with it.
	go func() {
		p.run(path, input)
		<-slot
	}()

	var why error
	select {
	case <-p.ended:
		return p.answer(took())
	case <-ctx.Done():
		why = fmt.Errorf("killed after %v: %w", took().Round(time.Millisecond), context.Cause(ctx))
	case <-expired.C:
		why = fmt.Errorf("killed after %v: that is its timeout", timeout)
	}
	grace := time.NewTimer(killGrace)
	defer grace.Stop()
	pid := 0
	select {
	case pid = <-p.started:
		// Its session has the number of the process, and keeps it until run has waited for it.
		if err := unix.Kill(-pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			why = fmt.Errorf("%w (kill: %w)", why, err)
		}
	case <-p.ended: // it could not be started
		return answer{exit: -1, took: took(), err: fmt.Errorf("%w; %w", why, p.err)}
	case <-grace.C:
		return answer{exit: -1, took: took(), err: fmt.Errorf("%w; it has not even begun", why)}
	}
	select {
	case <-p.ended:
	case <-grace.C:
		why = fmt.Errorf("%w; process %d cannot be killed, so it hangs in the kernel", why, pid)
	}
	return answer{exit: -1, stdout: p.stdout.text(), stderr: p.stderr.text(), took: took(), err: why}
}

// process is one run of an agent.
type process struct {
	mark           string
	stdout, stderr *clipped
	exit           int           // set before ended is closed
	err            error         // likewise: why there is no exit status
	started        chan int      // its pid
	ended          chan struct{} // closed when everything that it has started is gone
}

// run starts the program and waits until nothing of it is left.
func (p *process) run(path string, input []byte) {
	// The thread that starts it is the one whose end would kill it, with Pdeathsig.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p.exit = -1
	cmd := exec.Command(path)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C", "LC_ALL=C", "HOME=/", "PYTHONWARNINGS=ignore", p.mark}
	cmd.Stdin = bytes.NewReader(input)
	cmd.Stdout, cmd.Stderr = p.stdout, p.stderr
	cmd.WaitDelay = pipeGrace
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.err = fmt.Errorf("start the agent: %w", err)
		close(p.ended)
		return
	}
	since := startOf(cmd.Process.Pid)
	p.started <- cmd.Process.Pid
	err := cmd.Wait()
	p.exit = cmd.ProcessState.ExitCode()
	sweep(p.mark, since)
	var status *exec.ExitError
	if errors.As(err, &status) || errors.Is(err, exec.ErrWaitDelay) {
		err = nil
		if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			err = fmt.Errorf("the agent was ended by signal %v", ws.Signal())
		}
	}
	p.err = err
	close(p.ended)
}

// answer is what became of a run that has ended by itself.
func (p *process) answer(took time.Duration) answer {
	return answer{exit: p.exit, stdout: p.stdout.text(), stderr: p.stderr.text(), took: took, err: p.err}
}

// sweep kills what bears the mark and is still there: an agent that runs ssh in a
// terminal of its own, for one, has children in other sessions. Only processes that
// are not older than the agent are looked at, so a machine that hangs is not touched.
func sweep(mark string, since uint64) {
	for clean, round := 0, 0; clean < 2 && round < 20; round++ {
		// What is killed may have forked after the list was made, and a process that
		// is just becoming another program has no environment to read.
		if round > 0 {
			time.Sleep(2 * time.Millisecond)
		}
		if clean++; !killMarked([]byte(mark), since) {
			clean = 0
		}
	}
}

// killMarked kills each process that bears the mark. It returns true when there was
// none, and none of which that could not be told.
func killMarked(mark []byte, since uint64) (clean bool) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return true // without /proc nothing can be found
	}
	clean = true
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid <= 1 || pid == os.Getpid() {
			continue
		}
		if at := startOf(pid); at < since || at == 0 {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		env, err := os.ReadFile("/proc/" + e.Name() + "/environ")
		switch {
		case err == nil && bytes.Contains(env, mark):
			clean = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) != nil && clean
		case err == nil && len(env) == 0:
			clean = false
		}
		unix.Close(fd) //nolint:errcheck // nothing was written to it
	}
	return clean
}

// startOf is when a process was started, in ticks since boot; 0 when there is none,
// or only what is left of one that nobody has waited for.
func startOf(pid int) uint64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The name, in brackets, may hold anything.
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return 0
	}
	at, _ := strconv.ParseUint(f[19], 10, 64)
	return at
}
