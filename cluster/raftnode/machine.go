package raftnode

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// Machine is the replicated state machine. All calls come from one goroutine,
// but for the function that Snapshot returns, which runs beside later Applies.
type Machine interface {
	// Apply carries out the committed entry and returns the answer for whoever proposed it.
	Apply(index uint64, data []byte) any
	// Snapshot fixes the present state and returns what writes it out.
	Snapshot() (write func(io.Writer) error, err error)
	// Restore replaces the state by a snapshot; on an error the state is as before.
	Restore(io.Reader) error
}

// snapshotMagic begins every raft snapshot; the index of the last entry in it
// follows (8 bytes, big endian), then what the Machine wrote.
const snapshotMagic = "hfsnap1\n"

// adapter is a Machine as raft wants it. It also counts what has been applied,
// because raft's own number runs ahead of the machine.
type adapter struct {
	machine Machine

	mu      sync.Mutex
	index   uint64        // of the last entry that the machine has applied
	changed chan struct{} // closed when index grows; nil while nobody waits
}

// Apply implements raft.FSM.
func (a *adapter) Apply(l *raft.Log) any {
	result := a.machine.Apply(l.Index, l.Data)
	a.advance(l.Index)
	return result
}

// StoreConfiguration implements raft.ConfigurationStore. Without it a quiet
// cluster refuses snapshots after a change of membership.
func (a *adapter) StoreConfiguration(index uint64, _ raft.Configuration) { a.advance(index) }

// Snapshot implements raft.FSM.
func (a *adapter) Snapshot() (raft.FSMSnapshot, error) {
	write, err := a.machine.Snapshot()
	if err != nil {
		return nil, fmt.Errorf("snapshot the state: %w", err)
	}
	return snapshot{index: a.applied(), write: write}, nil
}

// Restore implements raft.FSM.
func (a *adapter) Restore(from io.ReadCloser) error {
	defer func() { _ = from.Close() }()
	var head [len(snapshotMagic) + 8]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return fmt.Errorf("read the head of the snapshot: %w", err)
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return errors.New("the snapshot was not written by this program, or by a release with another format")
	}
	if err := a.machine.Restore(from); err != nil {
		return fmt.Errorf("restore the state: %w", err)
	}
	a.advance(binary.BigEndian.Uint64(head[len(snapshotMagic):]))
	return nil
}

// advance notes that the machine has come as far as index. A snapshot may only
// lead forward: raft installs none that is older than the log.
func (a *adapter) advance(index uint64) {
	a.mu.Lock()
	if index > a.index {
		a.index = index
		if a.changed != nil {
			close(a.changed)
			a.changed = nil
		}
	}
	a.mu.Unlock()
}

func (a *adapter) applied() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.index
}

// wait blocks until the machine has applied index, ctx ends or stop is closed.
func (a *adapter) wait(ctx context.Context, stop <-chan struct{}, index uint64) error {
	for {
		a.mu.Lock()
		if a.index >= index {
			a.mu.Unlock()
			return nil
		}
		if a.changed == nil {
			a.changed = make(chan struct{})
		}
		changed := a.changed
		a.mu.Unlock()
		select {
		case <-changed:
		case <-stop:
			return ErrShutdown
		case <-ctx.Done():
			return fmt.Errorf("wait for log index %d, %d is applied: %w", index, a.applied(), ctx.Err())
		}
	}
}

type snapshot struct {
	index uint64
	write func(io.Writer) error
}

// Persist implements raft.FSMSnapshot.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	head := binary.BigEndian.AppendUint64([]byte(snapshotMagic), s.index)
	_, err := sink.Write(head)
	if err == nil {
		err = s.write(sink)
	}
	if err != nil {
		_ = sink.Cancel()
		return fmt.Errorf("write the snapshot: %w", err)
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (s snapshot) Release() {}
