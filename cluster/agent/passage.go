package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	// passageIdle is how long nothing may pass: libvirt's own signs of life come every 5 s.
	passageIdle = time.Minute
	// passageGrace is how long a tunnel from here outlives the wish to migrate, so that the
	// two hypervisors can end it between them, and nothing is left at the target.
	passageGrace = 3 * time.Second
	// tunnelsPerMove is how many connections one move may need at once.
	tunnelsPerMove = 2
	// verdictSize bounds the line by which the target says whether it lets a tunnel in.
	verdictSize = 512
	verdictYes  = "yes"
)

// ErrNoPassage: the target lets nothing of the source in.
var ErrNoPassage = errors.New("the target refuses the tunnel")

// Passage is how migrations leave this host and reach its hypervisor.
type Passage struct {
	// Dir is where unix sockets are made that lead to other hosts. It belongs to this
	// alone: it is made with access for its owner only, and what is in it is removed.
	Dir string
	// Dial connects to this host's hypervisor.
	Dial func(ctx context.Context) (net.Conn, error)
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

	mu   sync.Mutex // guards what follows
	made uint64     // sockets so far
	open map[string]int
}

func newPassages(p *passages) (*passages, error) {
	if err := os.RemoveAll(p.Dir); err != nil {
		return nil, fmt.Errorf("remove the sockets of an earlier agent: %w", err)
	}
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory for migrations: %w", err)
	}
	p.open = map[string]int{}
	p.patience, p.idle, p.grace = cmp.Or(p.patience, passagePatience), cmp.Or(p.idle, passageIdle), cmp.Or(p.grace, passageGrace)
	return p, nil
}

// movesFrom counts the VMs that are on their way, with their memory, from a host to
// this one by this host's copy of the state; 0 while the copy may not be acted on.
func (p *passages) movesFrom(s *fsm.State, from peer.Peer) int {
	incarnation, trusted := p.current()
	h := s.Hosts[from.Name]
	if !trusted || h == nil || h.ID != from.MachineID {
		return 0
	}
	n := 0
	for _, vm := range s.MovingTo(p.self) {
		if vm.Owner != nil && vm.Owner.Host == from.Name && vm.Move.Incarnation == incarnation && !vm.Move.Cold {
			n++
		}
	}
	return n
}

// serve lets a member reach this host's hypervisor while a VM of its is on its way here.
func (p *passages) serve(ctx context.Context, c net.Conn, from peer.Peer) {
	log := p.log.With("from", from.Name)
	release, err := p.admit(ctx, from)
	var local net.Conn
	if err == nil {
		defer release()
		local, err = p.Dial(ctx)
	}
	if err != nil {
		log.Warn("a tunnel to this host's hypervisor was refused", "error", err)
		_ = c.SetWriteDeadline(time.Now().Add(p.patience))
		_, _ = fmt.Fprintf(c, "%.*s\n", verdictSize-1, strings.ReplaceAll(err.Error(), "\n", "; ")) // it may have gone
		return
	}
	defer local.Close()
	if _, err := fmt.Fprintln(c, verdictYes); err != nil {
		return
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			s, _, changed := p.view()
			if p.movesFrom(s, from) == 0 {
				cancel(errors.New("no VM is on its way from there any more"))
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
	})
	log.Info("a tunnel to this host's hypervisor is open")
	err = peer.Splice(ctx, c, local, p.idle)
	log.Info("a tunnel to this host's hypervisor has ended", "why", err)
	cancel(nil)
	watch.Wait()
}

// admit waits a moment for the state to have a move from that host, and takes one of the
// tunnels that it may have.
func (p *passages) admit(ctx context.Context, from peer.Peer) (release func(), err error) {
	patience := time.NewTimer(p.patience)
	defer patience.Stop()
	for {
		s, _, changed := p.view()
		if n := p.movesFrom(s, from); n > 0 {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.open[from.Name] >= n*tunnelsPerMove {
				return nil, fmt.Errorf("%w: %d of them are open already for %d moves", ErrNoPassage, p.open[from.Name], n)
			}
			p.open[from.Name]++
			return func() {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.open[from.Name]--
			}, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-patience.C:
			return nil, fmt.Errorf("%w: %s knows of no VM that is on its way from %s", ErrNoPassage, p.self, from.Name)
		case <-changed:
		}
	}
}

// reach makes a unix socket that leads to another host's hypervisor until done is called
// or ctx ends; that one lets it in before reach returns.
func (p *passages) reach(ctx context.Context, host string) (_ vmm.Destination, done func(), err error) {
	first, err := p.call(ctx, host)
	if err != nil {
		return vmm.Destination{}, nil, err
	}
	p.mu.Lock()
	p.made++
	path := filepath.Join(p.Dir, fmt.Sprintf("%d.sock", p.made))
	p.mu.Unlock()
	l, err := net.Listen("unix", path) // in a directory that is closed to others
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		_ = first.Close()
		if l != nil {
			_ = l.Close()
		}
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
		_ = l.Close()
	})
	all.Go(func() {
		for {
			local, err := l.Accept()
			if err != nil {
				break
			}
			far := first
			first = nil
			all.Go(func() { p.carry(life, host, local, far) })
		}
		if first != nil {
			_ = first.Close()
		}
	})
	return vmm.Destination{Host: host, Socket: path}, func() {
		cancel()
		all.Wait()
	}, nil
}

// carry serves one connection of this host's hypervisor; far is its tunnel, if there is one yet.
func (p *passages) carry(ctx context.Context, host string, local, far net.Conn) {
	defer local.Close()
	if far == nil {
		var err error
		if far, err = p.call(ctx, host); err != nil {
			p.log.Warn("no tunnel to another host's hypervisor", "to", host, "error", err)
			return
		}
	}
	err := peer.Splice(ctx, local, far, p.idle)
	p.log.Debug("a tunnel to another host's hypervisor has ended", "to", host, "why", err)
}

// call opens a tunnel and reads whether it was let in.
func (p *passages) call(ctx context.Context, host string) (net.Conn, error) {
	c, err := p.dial(ctx, host)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	_ = c.SetReadDeadline(time.Now().Add(2 * p.patience))
	word, err := readLine(c)
	switch {
	case err != nil:
		err = fmt.Errorf("%s does not say whether it lets the migration in: %w", host, err)
	case word != verdictYes:
		err = fmt.Errorf("%w: %s", ErrNoPassage, strings.TrimPrefix(word, ErrNoPassage.Error()+": "))
	default:
		err = c.SetReadDeadline(time.Time{})
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// readLine reads one line, and not a byte more: what follows it is the hypervisors'.
func readLine(c net.Conn) (string, error) {
	line := make([]byte, 0, verdictSize)
	for len(line) < verdictSize {
		var b [1]byte
		if _, err := c.Read(b[:]); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return string(line), nil
		}
		line = append(line, b[0])
	}
	return "", errors.New("its answer is too long")
}
