// Package apart does the I/O of heartbeat volumes in processes of their own, one for
// each volume that is open.
//
// A thread that waits for storage which hangs cannot be killed, and a process does
// not end before its last thread has: an agent with such a thread could neither stop
// nor be started again, with the cluster's port and its files still taken, and its
// host would lose the lease that the network could have kept. So the thread belongs
// to another process. When the agent is gone that one begins nothing any more, and
// ends as soon as the kernel lets it.
//
// The bytes travel through memory that both share; a pair of sockets carries what is
// to be done and what came of it. A volume that is written to is open in one process of
// the host at a time, by a lock on a file of the host's own: so a write that an earlier
// agent has left under way ends before this one's slot is read. Waking each other costs the two
// processes more than most I/Os do: so several can be asked for at once. The package knows nothing of
// what is written.
package apart

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// What a process finds open when it starts.
const (
	socketFD = 3
	memoryFD = 4
)

// memorySize is how much one I/O may move: more than any of the largest volume.
// Memory that is never touched costs nothing.
var memorySize = int(format.Layout{Slots: format.MaxSlots}.Size())

// ErrGone says that the process which did the I/O has ended.
var ErrGone = errors.New("the process that did the I/O is gone")

// Opener opens volumes in processes of their own. A process stays when its volume is
// closed, for the next time the same path is opened. The zero value is not usable.
type Opener struct {
	locks string
	argv  []string

	mu   sync.Mutex // guards idle; never held over I/O
	idle map[string]*process
}

// NewOpener returns an Opener whose processes are this very program, executed again
// as argv with the path added. It has to call Serve then. locks is the directory of the
// locks, made when the first is needed: one in memory that every agent of this host
// finds, however often it is started, and that no boot survives.
func NewOpener(locks string, argv ...string) *Opener {
	return &Opener{locks: locks, argv: argv, idle: map[string]*process{}}
}

// Open is storagehb.Open in another process. Like that it may hang, though no thread
// of this process does. Until it is closed no other process of this host has the volume
// open in this way, whatever the path by which it was found: that fails with
// storagehb.ErrHeld at once. It fails as well where the lock cannot be made.
func (o *Opener) Open(path string, volume format.UUID) (storagehb.File, error) {
	return o.open(path, request{Op: opOpen, Lock: filepath.Join(o.locks, volume.String()+".lock")})
}

// Look opens what may be a volume to be read alone, which keeps nobody out.
func (o *Opener) Look(path string) (storagehb.File, error) {
	return o.open(path, request{Op: opOpen})
}

func (o *Opener) open(path string, r request) (storagehb.File, error) {
	o.mu.Lock()
	p := o.idle[path]
	delete(o.idle, path)
	o.mu.Unlock()
	if p != nil {
		f, err := o.openIn(p, path, r)
		if !errors.Is(err, ErrGone) {
			return f, err
		}
	}
	p, err := o.start(path)
	if err != nil {
		return nil, err
	}
	return o.openIn(p, path, r)
}

// openIn opens a path in a process that has it not open.
func (o *Opener) openIn(p *process, path string, r request) (storagehb.File, error) {
	if _, _, err := p.ask(r); err != nil {
		o.keep(p, path)
		return nil, err
	}
	return &file{opener: o, process: p, path: path}, nil
}

// keep has a process wait for the next time, unless another one does or it is gone.
func (o *Opener) keep(p *process, path string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.idle[path] != nil || p.lost {
		p.end()
		return
	}
	o.idle[path] = p
}

// Close ends the processes that have nothing open. Those that have end with this
// process at the latest.
func (o *Opener) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for path, p := range o.idle {
		p.end()
		delete(o.idle, path)
	}
}

// process is one that does I/O, seen from the one that started it. One I/O at a time.
type process struct {
	conn   net.Conn
	memory []byte
	answer []byte // room for one
	lost   bool   // it has answered for the last time
}

func (o *Opener) start(path string) (_ *process, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("a connection to a process for I/O: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "volume"), os.NewFile(uintptr(fds[1]), "volume")
	defer func() { err = errors.Join(err, ours.Close(), theirs.Close()) }()
	fd, err := unix.MemfdCreate("heartbeat-volume", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memory to share with a process for I/O: %w", err)
	}
	shared := os.NewFile(uintptr(fd), "heartbeat-volume")
	defer func() { err = errors.Join(err, shared.Close()) }()
	if err := shared.Truncate(int64(memorySize)); err != nil {
		return nil, fmt.Errorf("memory to share with a process for I/O: %w", err)
	}
	p := &process{answer: make([]byte, longest)}
	if p.memory, err = mapShared(fd); err != nil {
		return nil, err
	}
	if p.conn, err = net.FileConn(ours); err != nil {
		return nil, errors.Join(err, unix.Munmap(p.memory))
	}
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: append(slices.Clone(o.argv), path), Dir: "/",
		Env:    append(os.Environ(), "GOMAXPROCS=1"), // a handful of goroutines, one of them at work
		Stderr: os.Stderr, ExtraFiles: []*os.File{theirs, shared},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true}, // a terminal's interrupt is the agent's to act on
	}
	if err := cmd.Start(); err != nil {
		p.end()
		return nil, fmt.Errorf("start a process for the I/O of %s: %w", path, err)
	}
	go func() { _ = cmd.Wait() }() // so that it does not stay as a zombie; it ends with the connection
	return p, nil
}

func mapShared(fd int) ([]byte, error) {
	b, err := unix.Mmap(fd, 0, memorySize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the memory shared for I/O: %w", err)
	}
	return b, nil
}

// end lets the process go. It ends when nothing of its I/O is under way.
func (p *process) end() {
	p.lost = true
	_ = p.conn.Close()        // it is not used any more
	_ = unix.Munmap(p.memory) // what is still under way is in the other process's mapping
	p.memory = nil
}

// ask has the process do something, and waits for as long as that takes. It returns
// how many I/Os ended well, and how many bytes the one moved that did not.
func (p *process) ask(r request) (done, n int, err error) {
	if p.lost {
		return 0, 0, ErrGone
	}
	a, err := p.exchange(r)
	if err == nil && (a.Done < 0 || a.Done > len(r.IOs) || a.Done < len(r.IOs) && a.Error == "") {
		err = fmt.Errorf("it says it has done %d of %d", a.Done, len(r.IOs))
	}
	if err != nil {
		p.lost = true
		return 0, 0, fmt.Errorf("%w: %w", ErrGone, err)
	}
	return a.Done, a.N, a.err()
}

func (p *process) exchange(r request) (a answer, err error) {
	text, err := json.Marshal(r)
	if err != nil {
		return a, err
	}
	if len(text) > longest {
		return a, fmt.Errorf("%d I/Os are too many to ask for at once", len(r.IOs))
	}
	if _, err := p.conn.Write(text); err != nil {
		return a, err
	}
	n, err := p.conn.Read(p.answer)
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(p.answer[:n], &a)
}
