package sim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfast-ha/holdfast/cluster/agent"
)

// disk is what one host keeps on its disk: raft's log, vote and snapshots, and
// the host's record. Everything that was written is there after a power loss.
//
// A process that is killed must not write any more, but its goroutines may still
// run for a while in the simulation. Its successor therefore gets a copy, taken
// at the moment of the kill, and the old one may scribble on what it had.
type disk struct {
	mu        sync.Mutex
	logs      map[uint64]raft.Log
	low, high uint64
	stable    map[string][]byte
	snapshots []*savedSnapshot // oldest first
	record    []byte           // the host's record, as saved last
	member    *agent.Membership
	// life is that of the process that has it open; nil: none.
	life *life
	// slow is how long a write takes, as the machine's faults say; nil: no time.
	slow func() time.Duration
	// takes is how long the write takes that begins now, besides; nil: no time.
	takes func() time.Duration
}

// write waits while the process that writes is frozen. Raft's main loop stands
// still in it, as it does in a stopped process: a master that is thawed still
// believes for a moment that it leads.
func (d *disk) write() {
	d.mu.Lock()
	l, slow, takes := d.life, d.slow, d.takes
	d.mu.Unlock()
	if l == nil {
		return
	}
	if takes != nil {
		if d := takes(); d > 0 {
			t := time.NewTimer(d)
			<-t.C
		}
	}
	if slow != nil {
		d.crawl(l, slow)
	}
	_, _ = l.wait()
}

// crawl waits as long as a write takes on a disk that is slow, or that hangs until it
// is mended or the process that writes has ended.
func (d *disk) crawl(l *life, slow func() time.Duration) {
	const look = 100 * time.Millisecond
	for waited := time.Duration(0); waited < slow() && !l.ended(); waited += look {
		t := time.NewTimer(look)
		<-t.C
	}
}

// savedSnapshot is a snapshot that was written to its end.
type savedSnapshot struct {
	meta raft.SnapshotMeta
	b    []byte
}

const snapshotsKept = 2

// errNotFound must read as raft expects of its stores.
var errNotFound = errors.New("not found")

func newDisk() *disk { return &disk{logs: map[uint64]raft.Log{}, stable: map[string][]byte{}} }

// image is a copy of what is on the disk at this moment.
func (d *disk) image() *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &disk{logs: maps.Clone(d.logs), low: d.low, high: d.high, stable: maps.Clone(d.stable),
		snapshots: slices.Clone(d.snapshots), record: d.record, member: d.member}
}

func (d *disk) saveMembership(ms *agent.Membership) {
	d.mu.Lock()
	defer d.mu.Unlock()
	saved := *ms
	d.member = &saved
}

// wipe empties the disk: the host is installed anew.
func (d *disk) wipe() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.logs, d.low, d.high, d.stable = map[uint64]raft.Log{}, 0, 0, map[string][]byte{}
	d.snapshots, d.record, d.member = nil, nil, nil
}

// FirstIndex implements raft.LogStore.
func (d *disk) FirstIndex() (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.low, nil
}

// LastIndex implements raft.LogStore.
func (d *disk) LastIndex() (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.high, nil
}

// GetLog implements raft.LogStore.
func (d *disk) GetLog(index uint64, l *raft.Log) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	found, ok := d.logs[index]
	if !ok {
		return raft.ErrLogNotFound
	}
	*l = found
	return nil
}

// StoreLog implements raft.LogStore.
func (d *disk) StoreLog(l *raft.Log) error { return d.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (d *disk) StoreLogs(logs []*raft.Log) error {
	d.write()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range logs {
		d.logs[l.Index] = *l
		if d.low == 0 {
			d.low = l.Index
		}
		d.high = max(d.high, l.Index)
	}
	return nil
}

// DeleteRange implements raft.LogStore.
func (d *disk) DeleteRange(low, high uint64) error {
	d.write()
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := low; i <= high; i++ {
		delete(d.logs, i)
	}
	if low <= d.low {
		d.low = high + 1
	}
	if high >= d.high {
		d.high = low - 1
	}
	if d.low > d.high {
		d.low, d.high = 0, 0
	}
	return nil
}

// Set implements raft.StableStore.
func (d *disk) Set(key, value []byte) error {
	d.write()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stable[string(key)] = slices.Clone(value)
	return nil
}

// Get implements raft.StableStore.
func (d *disk) Get(key []byte) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v, ok := d.stable[string(key)]
	if !ok {
		return nil, errNotFound
	}
	return v, nil
}

// SetUint64 implements raft.StableStore.
func (d *disk) SetUint64(key []byte, value uint64) error {
	return d.Set(key, fmt.Appendf(nil, "%d", value))
}

// GetUint64 implements raft.StableStore.
func (d *disk) GetUint64(key []byte) (uint64, error) {
	b, err := d.Get(key)
	if err != nil {
		return 0, err
	}
	var v uint64
	_, err = fmt.Sscan(string(b), &v)
	return v, err
}

// shots is the disk's snapshots as raft wants them.
type shots struct{ d *disk }

// Create implements raft.SnapshotStore.
func (s shots) Create(version raft.SnapshotVersion, index, term uint64, conf raft.Configuration, confIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &sink{d: s.d, meta: raft.SnapshotMeta{Version: version, ID: fmt.Sprintf("%d-%d", term, index), Index: index, Term: term,
		Configuration: conf, ConfigurationIndex: confIndex}}, nil
}

// List implements raft.SnapshotStore.
func (s shots) List() ([]*raft.SnapshotMeta, error) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	var all []*raft.SnapshotMeta
	for _, x := range slices.Backward(s.d.snapshots) {
		meta := x.meta
		all = append(all, &meta)
	}
	return all, nil
}

// Open implements raft.SnapshotStore.
func (s shots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	for _, x := range slices.Backward(s.d.snapshots) {
		if x.meta.ID == id {
			meta := x.meta
			return &meta, io.NopCloser(bytes.NewReader(x.b)), nil
		}
	}
	return nil, nil, fmt.Errorf("open snapshot %s: %w", id, errNotFound)
}

// sink is a snapshot being written; it counts only once it is closed.
type sink struct {
	d    *disk
	meta raft.SnapshotMeta
	buf  bytes.Buffer
	done bool
}

// Write implements raft.SnapshotSink.
func (s *sink) Write(b []byte) (int, error) { return s.buf.Write(b) }

// ID implements raft.SnapshotSink.
func (s *sink) ID() string { return s.meta.ID }

// Cancel implements raft.SnapshotSink.
func (s *sink) Cancel() error {
	s.done = true
	return nil
}

// Close implements raft.SnapshotSink.
func (s *sink) Close() error {
	if s.done {
		return nil
	}
	s.done = true
	s.meta.Size = int64(s.buf.Len())
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	s.d.snapshots = append(s.d.snapshots, &savedSnapshot{s.meta, s.buf.Bytes()})
	if extra := len(s.d.snapshots) - snapshotsKept; extra > 0 {
		s.d.snapshots = s.d.snapshots[extra:]
	}
	return nil
}
