package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/cluster/peer"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

const (
	// passagePatience is how long a host whose copy of the state lags behind may take to
	// learn of the move that a tunnel is for.
	passagePatience = 5 * time.Second
	// passageIdle is how long nothing may pass: libvirt's own signs of life come every 5 s, and
	// memory is never sent so slowly.
	passageIdle = time.Minute
	// passageGrace is how long a tunnel from here outlives the wish to migrate, so that the
	// two hypervisors can end it between them, and nothing is left at the target.
	passageGrace = 3 * time.Second
	// lineSize bounds the line by which the caller says what its tunnel is for, and the one
	// by which the target says whether it lets it in.
	lineSize   = 512
	verdictYes = "yes"
)

// A leg is what a tunnel carries.
type leg string

const (
	// legHypervisor is what the two hypervisors say to each other.
	legHypervisor leg = "hypervisor"
	// legMemory is the VM's memory, from one VM's process to the other.
	legMemory leg = "memory"
)

// atOnce is how many tunnels of its kind one move may need at a time: a hypervisor may
// call again before it has hung up.
func (l leg) atOnce() int {
	switch l {
	case legHypervisor:
		return 2
	case legMemory:
		return 1
	default:
		return 0
	}
}

// purpose is what a tunnel is for.
type purpose struct {
	leg  leg
	uuid string // of the VM that goes through
}

func (p purpose) String() string { return string(p.leg) + " " + p.uuid }

// ErrNoPassage: the target lets nothing of the source in.
var ErrNoPassage = errors.New("the target refuses the tunnel")

// Passage is how migrations leave this host and reach its hypervisor.
type Passage struct {
	// Dir is where unix sockets are made that lead to other hosts. It belongs to this
	// alone: it is made with access for its owner only, and what is in it is removed.
	Dir string
	// Dial connects to this host's hypervisor.
	Dial func(ctx context.Context) (net.Conn, error)
	// Memory makes ready for a VM to come or to leave, and returns the path of a unix socket.
	// Where it comes the VM's process listens there; where it leaves that is where its process
	// looks for the other one, and what is made there must belong to owner, as whom it runs.
	Memory func(ctx context.Context, uuid, name string) (path string, owner int, err error)
}

// passages are the tunnels of one membership.
type passages struct {
	Passage
	self string
	// dial opens a tunnel to another host.
	dial func(ctx context.Context, host string) (net.Conn, error)
	// view is the state, and current tells whether that copy may be acted on and which life this host is in.
	view    func() (*fsm.State, uint64, <-chan struct{})
	current func() (incarnation uint64, trusted bool)
	log     hclog.Logger
	// patience, idle and grace are passagePatience, passageIdle and passageGrace where they are 0.
	patience, idle, grace time.Duration

	mu   sync.Mutex      // guards what follows
	made uint64          // sockets so far
	open map[purpose]int // tunnels to here
}

func newPassages(p *passages) (*passages, error) {
	if err := os.RemoveAll(p.Dir); err != nil {
		return nil, fmt.Errorf("remove the sockets of an earlier agent: %w", err)
	}
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory for migrations: %w", err)
	}
	p.open = map[purpose]int{}
	p.patience, p.idle, p.grace = cmp.Or(p.patience, passagePatience), cmp.Or(p.idle, passageIdle), cmp.Or(p.grace, passageGrace)
	return p, nil
}

// reach makes unix sockets that lead to another host's hypervisor, and to where it takes
// in a VM's memory, until done is called or ctx ends; that host lets it in before reach returns.
func (p *passages) reach(ctx context.Context, host, uuid, name string) (_ vmm.Destination, done func(), err error) {
	first, err := p.call(ctx, host, purpose{legHypervisor, uuid})
	if err != nil {
		return vmm.Destination{}, nil, err
	}
	p.mu.Lock()
	p.made++
	to := vmm.Destination{Host: host, Socket: filepath.Join(p.Dir, fmt.Sprintf("%d.sock", p.made))}
	p.mu.Unlock()
	var owner int
	var words, memory net.Listener
	to.Memory, owner, err = p.Memory(ctx, uuid, name)
	if err == nil {
		words, err = listen(to.Socket, -1)
	}
	if err == nil {
		if memory, err = listen(to.Memory, owner); err != nil {
			_ = words.Close()
		}
	}
	if err != nil {
		_ = first.Close()
		return vmm.Destination{}, nil, fmt.Errorf("make a socket for the migration: %w", err)
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var all sync.WaitGroup
	all.Go(func() {
		select {
		case <-ctx.Done():
			pause(life, p.grace)
			cancel()
		case <-life.Done():
		}
		_ = words.Close()
		_ = memory.Close()
	})
	all.Go(func() { p.lead(life, host, purpose{legHypervisor, uuid}, words, first) })
	all.Go(func() { p.lead(life, host, purpose{legMemory, uuid}, memory, nil) })
	return to, func() {
		cancel()
		all.Wait()
	}, nil
}

// listen makes a unix socket that nobody but root and owner can connect to; owner -1: nobody
// but this process's own user. The directory that it is in may be owner's, who could put
// something else in its place: nothing that lies there is followed.
func listen(path string, owner int) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove an earlier socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	// Who may write to it may connect. As it is made that is its owner; a change of mode would follow a link.
	if owner >= 0 {
		err = os.Lchown(path, owner, -1)
	} else {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// lead carries what connects to a socket until that is closed; first is the tunnel of the
// first connection, if there is one yet.
func (p *passages) lead(ctx context.Context, host string, what purpose, l net.Listener, first net.Conn) {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		local, err := l.Accept()
		if err != nil {
			break
		}
		far := first
		first = nil
		all.Go(func() { p.carry(ctx, host, what, local, far) })
	}
	if first != nil {
		_ = first.Close()
	}
}

// carry serves one connection from this host; far is its tunnel, if there is one yet.
func (p *passages) carry(ctx context.Context, host string, what purpose, local, far net.Conn) {
	defer local.Close()
	if far == nil {
		var err error
		if far, err = p.call(ctx, host, what); err != nil {
			p.log.Warn("no tunnel to another host's hypervisor", "to", host, "for", what, "error", err)
			return
		}
	}
	err := peer.Splice(ctx, local, far, p.idle)
	p.log.Debug("a tunnel to another host's hypervisor has ended", "to", host, "for", what, "why", err)
}

// call opens a tunnel, says what it is for and reads whether it was let in.
func (p *passages) call(ctx context.Context, host string, what purpose) (net.Conn, error) {
	c, err := p.dial(ctx, host)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	_ = c.SetDeadline(time.Now().Add(2 * p.patience))
	word := ""
	if _, err = fmt.Fprintln(c, what); err == nil {
		word, err = readLine(c)
	}
	switch {
	case err != nil:
		err = fmt.Errorf("%s does not say whether it lets the migration in: %w", host, err)
	case word != verdictYes:
		err = fmt.Errorf("%w: %s", ErrNoPassage, strings.TrimPrefix(word, ErrNoPassage.Error()+": "))
	default:
		err = c.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// readLine reads one line, and not a byte more: what follows it is the hypervisors'.
func readLine(c net.Conn) (string, error) {
	line := make([]byte, 0, lineSize)
	for len(line) < lineSize {
		var b [1]byte
		if _, err := c.Read(b[:]); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return string(line), nil
		}
		line = append(line, b[0])
	}
	return "", errors.New("it says too much")
}
