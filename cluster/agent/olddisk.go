package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/durable"
	"github.com/holdfast-ha/holdfast/cluster/host"
	"github.com/holdfast-ha/holdfast/cluster/peer"
	"github.com/holdfast-ha/holdfast/cluster/raftnode"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// errOldDisk: what this host's disk holds is older than what the host has stated of it.
var errOldDisk = errors.New("this host's disk is older than the host")

// oldDisk is errOldDisk with what was found, and says so to people.
type oldDisk struct {
	name        string // of this host
	from        string // by what it is known
	stated, now durable.Position
}

// found is what the host found.
func (o oldDisk) found() string {
	return fmt.Sprintf("its data directory holds %v, and by %s it has held %v", o.now, o.from, o.stated)
}

// Error implements error.
func (o oldDisk) Error() string {
	return fmt.Sprintf("%v: %s: it was restored from a backup or a snapshot, or the disk lost what it had confirmed. It has forgotten votes and placements that other hosts count on (safety.md, L1), "+
		"so this host takes part in nothing and no VM starts here. Power it off or stop its VMs. On another host wait until `haadm hosts list` shows it dead, and say `haadm cluster leave %s` there; then stop the agent here, empty its data directory, "+
		"start it again, and join with a new token (`haadm cluster token create --host %s` on another host)",
		errOldDisk, o.found(), o.name, o.name)
}

// Unwrap implements the contract of package errors.
func (o oldDisk) Unwrap() error { return errOldDisk }

// words is what this host has heard of how far others' disks have come, by their
// machines' IDs. A host that has joined anew has another.
type words struct {
	mu    sync.Mutex // guards heard
	heard map[string]durable.Position
}

func (w *words) note(machine string, p durable.Position) {
	if machine == "" || p == (durable.Position{}) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.heard == nil {
		w.heard = map[string]durable.Position{}
	}
	w.heard[machine] = w.heard[machine].Max(p)
}

func (w *words) of(machine string) durable.Position {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.heard[machine]
}

// hear serves a heartbeat as the master: what the host states of its disk is remembered,
// and told to the others, of those that vote. The votes of no others count.
func (m *member) hear(ctx context.Context, hb api.Heartbeat) (api.HeartbeatReply, error) {
	s, _, _ := m.machine.View()
	if h := s.Hosts[hb.Host]; h != nil {
		m.words.note(h.ID, hb.Disk)
	}
	r, err := m.master.Heartbeat(ctx, hb)
	if err != nil {
		return r, err
	}
	r.Disks = map[string]durable.Position{}
	for _, name := range m.voters() {
		if h := s.Hosts[name]; h != nil {
			r.Disks[h.ID] = m.words.of(h.ID)
		}
	}
	return r, nil
}

// learn remembers what the master tells of the disks of those that vote.
func (m *member) learn(r api.HeartbeatReply) {
	for machine, p := range r.Disks {
		m.words.note(machine, p)
	}
}

// witness has every connection between two hosts' rafts begin with what each has heard of
// the other's disk. So no vote is given or taken, and no entry, before the one at the other
// end has said what it knows.
type witness struct {
	dialer *peer.Dialer
	self   string
	words  *words
	node   atomic.Pointer[raftnode.Node] // nil until it is made
	found  chan error                    // why this host's disk is too old, once
}

// meetLimit bounds the exchange, on a connection that is open already.
const meetLimit = 2 * time.Second

// DialRaft implements raftnode.Dialer.
func (w *witness) DialRaft(ctx context.Context, name, network string) (net.Conn, error) {
	c, err := w.dialer.DialRaft(ctx, name, network)
	if err != nil {
		return nil, err
	}
	machine, err := w.dialer.Machine(c)
	if err == nil {
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		err = w.meet(c, name, machine, false)
		stop()
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("meet %s: %w", name, err)
	}
	return c, nil
}

// accept hands a connection on to raft that another host has opened.
func (w *witness) accept(c net.Conn, from peer.Peer) {
	if err := w.meet(c, from.Name, from.MachineID, true); err != nil {
		_ = c.Close()
		return
	}
	w.node.Load().Handoff(c)
}

// meet exchanges words over a new connection; who was called hears first.
func (w *witness) meet(c net.Conn, name, machine string, called bool) error {
	node := w.node.Load()
	if node == nil {
		return errors.New("this host's raft is not there yet")
	}
	if err := c.SetDeadline(time.Now().Add(meetLimit)); err != nil {
		return err
	}
	say := func() error {
		_, err := c.Write(encodeWord(w.words.of(machine)))
		return err
	}
	if !called {
		if err := say(); err != nil {
			return err
		}
	}
	b := make([]byte, wordSize)
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	// Read after it was heard: what was stated meanwhile is on the disk by now.
	if stated, now := decodeWord(b), node.Written(); !now.Covers(stated) {
		err := oldDisk{w.self, "the word of " + name, stated, now}
		select {
		case w.found <- err:
		default:
		}
		return err
	}
	if called {
		if err := say(); err != nil {
			return err
		}
	}
	return c.SetDeadline(time.Time{})
}

// wordSize is the length of a position on the wire: three numbers.
const wordSize = 24

func encodeWord(p durable.Position) []byte {
	b := binary.BigEndian.AppendUint64(nil, p.Term)
	b = binary.BigEndian.AppendUint64(b, p.Vote)
	return binary.BigEndian.AppendUint64(b, p.Index)
}

func decodeWord(b []byte) durable.Position {
	return durable.Position{Term: binary.BigEndian.Uint64(b), Vote: binary.BigEndian.Uint64(b[8:]), Index: binary.BigEndian.Uint64(b[16:])}
}

// compareWithVolumes fails with errOldDisk where a slot of this host says that its disk was
// further than it is. Volumes that do not answer within an eighth of the lease are not
// waited for: a host that is restarted while storage hangs has to be back within it.
func (m *member) compareWithVolumes(ctx context.Context, r host.Record, now durable.Position) error {
	look := m.agent.env.LookVolume
	if look == nil || r.Slot == 0 {
		return nil
	}
	id := m.ms.Identity
	cluster, err := format.ParseUUID(id.ClusterID)
	if err != nil {
		return fmt.Errorf("this cluster's ID: %w", err)
	}
	self, err := format.ParseUUID(id.MachineID)
	if err != nil {
		return fmt.Errorf("this host's ID: %w", err)
	}
	type answer struct {
		path   string
		stated durable.Position
		err    error
	}
	answers := make(chan answer, len(r.Set.Volumes)) // nobody need listen
	for _, v := range r.Set.Volumes {
		go func() {
			stated, err := stated(look, v, format.Place{Cluster: cluster, Slot: int(r.Slot) - 1}, self)
			answers <- answer{v.Path, stated, err}
		}()
	}
	limit := time.NewTimer(m.ms.Timing.Lease / 8)
	defer limit.Stop()
	for range r.Set.Volumes {
		select {
		case a := <-answers:
			if a.err != nil {
				m.log.Debug("what this host has stated of its disk cannot be read", "path", a.path, "error", a.err)
			}
			if !now.Covers(a.stated) {
				return oldDisk{m.agent.env.Name, "its own slot on the heartbeat volume " + a.path, a.stated, now}
			}
		case <-limit.C:
			m.log.Warn("not every heartbeat volume answers: what this host has stated there of its disk is not known")
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// stated reads what a host has stated of its disk on one volume. It may hang.
func stated(look func(string) (storagehb.File, error), v fsm.Volume, at format.Place, self format.UUID) (durable.Position, error) {
	var err error
	if at.Volume, err = format.ParseUUID(v.ID); err != nil {
		return durable.Position{}, err
	}
	f, err := look(v.Path)
	if err != nil {
		return durable.Position{}, err
	}
	defer func() { _ = f.Close() }() // it was only read
	return storagehb.Stated(f, at, self)
}
