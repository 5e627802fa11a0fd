package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/peer"
	"github.com/holdfast-ha/holdfast/fsm"
)

// coming is the VM of that UUID if it is on its way, with its memory, from a host to this
// one by this host's copy of the state; nil while the copy may not be acted on.
func (p *passages) coming(s *fsm.State, from peer.Peer, uuid string) *fsm.VM {
	incarnation, trusted := p.current()
	h, vm := s.Hosts[from.Name], s.VMs[uuid]
	if !trusted || h == nil || h.ID != from.MachineID || vm == nil || vm.Owner == nil || vm.Move == nil {
		return nil
	}
	if m := vm.Move; vm.Owner.Host != from.Name || m.Host != p.self || m.Incarnation != incarnation || m.Cold {
		return nil
	}
	return vm
}

// serve lets a member reach this host's hypervisor, or the process that takes in a VM's
// memory, while that VM is on its way from there to here.
func (p *passages) serve(ctx context.Context, c net.Conn, from peer.Peer) {
	log := p.log.With("from", from.Name)
	what, err := p.hear(c)
	var release func()
	var local net.Conn
	if err == nil {
		var name string
		if name, release, err = p.admit(ctx, from, what); err == nil {
			defer release()
			local, err = p.land(ctx, what, name)
		}
	}
	if err != nil {
		log.Warn("a tunnel to this host's hypervisor was refused", "for", what, "error", err)
		_ = c.SetWriteDeadline(time.Now().Add(p.patience))
		_, _ = fmt.Fprintf(c, "%.*s\n", lineSize-1, strings.ReplaceAll(err.Error(), "\n", "; ")) // it may have gone
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
			if p.coming(s, from, what.uuid) == nil {
				cancel(errors.New("the VM is not on its way from there any more"))
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
	})
	log.Info("a tunnel to this host's hypervisor is open", "for", what)
	err = peer.Splice(ctx, c, local, p.idle)
	log.Info("a tunnel to this host's hypervisor has ended", "for", what, "why", err)
	cancel(nil)
	watch.Wait()
}

// hear reads what a tunnel is for.
func (p *passages) hear(c net.Conn) (purpose, error) {
	_ = c.SetReadDeadline(time.Now().Add(p.patience))
	line, err := readLine(c)
	if err == nil {
		err = c.SetReadDeadline(time.Time{})
	}
	if err != nil {
		return purpose{}, fmt.Errorf("it does not say what it is for: %w", err)
	}
	kind, uuid, _ := strings.Cut(line, " ")
	what := purpose{leg(kind), uuid}
	if what.leg.atOnce() == 0 {
		return purpose{}, fmt.Errorf("%w: %s knows of no tunnels for %.100q; are both agents of one version?", ErrNoPassage, p.self, line)
	}
	return what, nil
}

// admit waits a moment for the state to have the move, and takes one of the tunnels that it
// may have; name is the VM's.
func (p *passages) admit(ctx context.Context, from peer.Peer, what purpose) (name string, release func(), err error) {
	patience := time.NewTimer(p.patience)
	defer patience.Stop()
	for {
		s, _, changed := p.view()
		if vm := p.coming(s, from, what.uuid); vm != nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			if n := p.open[what]; n >= what.leg.atOnce() {
				return "", nil, fmt.Errorf("%w: %d of them are open already for %s of %s", ErrNoPassage, n, what.leg, vm.Name)
			}
			p.open[what]++
			return vm.Name, func() {
				p.mu.Lock()
				defer p.mu.Unlock()
				if p.open[what]--; p.open[what] == 0 {
					delete(p.open, what)
				}
			}, nil
		}
		select {
		case <-ctx.Done():
			return "", nil, ctx.Err()
		case <-patience.C:
			return "", nil, fmt.Errorf("%w: %s knows of no VM %.50q that is on its way from %s", ErrNoPassage, p.self, what.uuid, from.Name)
		case <-changed:
		}
	}
}

// land connects to where a tunnel leads on this host.
func (p *passages) land(ctx context.Context, what purpose, name string) (net.Conn, error) {
	path, _, err := p.Memory(ctx, what.uuid, name)
	if err != nil {
		return nil, fmt.Errorf("make ready for the memory of %s: %w", name, err)
	}
	if what.leg == legHypervisor {
		return p.Dial(ctx) // which makes the process that will listen at path
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("reach the process that takes in the memory of %s: %w", name, err)
	}
	return c, nil
}
