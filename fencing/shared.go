package fencing

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrExpired: the deadline has passed and the guard has acted (or is about to):
// the incarnation is over for good (R4).
var ErrExpired = errors.New("the lease has ended and the guard has acted on it")

// MaxCovered is how many VMs one guard can cover.
const MaxCovered = 1024

const (
	magic     = 0x32445247_54464c48 // "HLFTGRD2"
	entrySize = 32
	headSize  = 256
	fileSize  = headSize + MaxCovered*entrySize
)

// head is the shared memory's first part. All fields are accessed atomically:
// the agent and the guard write different ones.
type head struct {
	magic       uint64
	incarnation uint64 // by the agent
	deadline    int64  // boot clock, ns; by the agent; 0: no lease to guard
	tripped     int64  // boot clock, ns, when the guard acted; by the guard, cleared by Begin
	beat        int64  // boot clock, ns, of the guard's last look; by the guard
	guardPID    uint64 // by the guard
	killed      uint64 // processes killed since it started; by the guard
	leftover    uint64 // processes that were still there at the guard's last look after it acted; by the guard
	guardStart  uint64 // field 22 of the guard's /proc/PID/stat; by the guard
	waiting     int64  // boot clock, ns: a guard that waits in line was alive then; by that guard
	gap         int64  // ns, longest between two looks since the guard started; by the guard

	// The watchdog; all by the guard. state is written after the others.
	dogState   uint64 // DogState
	dogTimeout int64  // ns
	dogPetted  int64  // boot clock, ns, of the last pet
	dogGap     int64  // ns, longest between two pets of one arming
	dogPets    uint64
	dogErrno   uint64 // of the last error that was the kernel's; 0: none
	dogFlags   uint64
	dogDevice  [48]byte // path, padded with zeroes
	dogName    [32]byte // what the driver calls itself
}

// dogFlags.
const (
	flagEnduring  = 1 << iota // the timer goes on when its holder dies
	flagNoWayOut              // nothing stops it
	flagFiredLast             // the driver says that it reset the machine last
)

// entry is one covered VM. The process is written last and cleared first.
type entry struct {
	start uint64 // field 22 of /proc/PID/stat
	uuid  [16]byte
	pid   uint64 // 0: the entry is free
}

// Shared is the agent's and the guard's common memory: a file in a tmpfs, mapped
// by both. It outlives an agent, so that the next one finds the lease as it is.
type Shared struct {
	path string
	mem  []byte
	mu   sync.Mutex // one agent writes entries from several goroutines
	// end ends one process and reports whether it is gone.
	end func(pid int, start uint64) bool
	// proc is the guard's own room for reading /proc, so that its loop allocates nothing.
	proc procReader
}

// OpenShared maps the file at path, creating it when it is not there. The
// directory should be on a tmpfs: what it says must not survive a reboot.
func OpenShared(path string) (*Shared, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("create the guard's directory: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the guard's memory: %w", err)
	}
	defer f.Close() // the mapping outlives the descriptor
	if err := f.Truncate(fileSize); err != nil {
		return nil, fmt.Errorf("size the guard's memory %s: %w", path, err)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, fileSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the guard's memory %s: %w", path, err)
	}
	s := &Shared{path: path, mem: mem}
	s.end = s.kill
	h := s.head()
	if !atomic.CompareAndSwapUint64(&h.magic, 0, magic) && atomic.LoadUint64(&h.magic) != magic {
		_ = unix.Munmap(mem)
		return nil, fmt.Errorf("the guard's memory %s was written by another program or version: stop the agent and the guard, remove the file and start them",
			path)
	}
	return s, nil
}

// OpenPrivate returns memory that only this process has, for VMs that live in it
// and end with it (the embedded hypervisor). end ends one of them; Watch is the guard.
func OpenPrivate(end func(pid int, start uint64) bool) (*Shared, error) {
	mem, err := unix.Mmap(-1, 0, fileSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("map the guard's memory: %w", err)
	}
	return &Shared{mem: mem, end: end}, nil
}

// Close unmaps the memory. The guard goes on.
func (s *Shared) Close() error { return unix.Munmap(s.mem) }

func (s *Shared) head() *head { return (*head)(unsafe.Pointer(&s.mem[0])) }

func (s *Shared) entries() []entry {
	return unsafe.Slice((*entry)(unsafe.Pointer(&s.mem[headSize])), MaxCovered)
}

// Status is what the shared memory says.
type Status struct {
	Incarnation uint64
	Deadline    time.Duration // boot clock; 0: none
	Tripped     time.Duration // boot clock; 0: not
	Beat        time.Duration // boot clock of the guard's last look; 0: never
	Gap         time.Duration // longest between two looks since the guard started
	GuardPID    int
	Covered     int // VMs
	Leftover    int // processes the guard could not get rid of yet
	Watchdog    WatchdogStatus
}

// WatchdogStatus is what the shared memory says of the host's watchdog.
type WatchdogStatus struct {
	State   DogState
	Device  string        // "" when none was asked for
	Driver  string        // what the driver calls itself; "" before it was armed once
	Timeout time.Duration // effective
	// Enduring says that the timer goes on when the guard dies. Where it is false
	// the death of the guard alone takes the protection away.
	Enduring bool
	// NoWayOut says that the timer cannot be stopped: the guard pets an idle host.
	NoWayOut bool
	// FiredLast says that the driver reports the last reset of the machine as its own.
	FiredLast bool
	Petted    time.Duration // boot clock of the last pet; 0: never
	Gap       time.Duration // longest between two pets of one arming, since the guard started
	Pets      uint64
	Err       error // the kernel's last refusal
}

// Protects reports whether the host's VMs are bounded by a watchdog now, or would
// be as soon as one is covered.
func (w WatchdogStatus) Protects() bool { return w.State == DogIdle || w.State == DogArmed }

// Status reads the memory.
func (s *Shared) Status() Status {
	h := s.head()
	n := 0
	for i := range s.entries() {
		if atomic.LoadUint64(&s.entries()[i].pid) != 0 {
			n++
		}
	}
	return Status{
		Incarnation: atomic.LoadUint64(&h.incarnation),
		Deadline:    time.Duration(atomic.LoadInt64(&h.deadline)),
		Tripped:     time.Duration(atomic.LoadInt64(&h.tripped)),
		Beat:        time.Duration(atomic.LoadInt64(&h.beat)),
		Gap:         time.Duration(atomic.LoadInt64(&h.gap)),
		GuardPID:    int(atomic.LoadUint64(&h.guardPID)),
		Covered:     n,
		Leftover:    int(atomic.LoadUint64(&h.leftover)),
		Watchdog:    h.watchdog(),
	}
}

func (h *head) watchdog() WatchdogStatus {
	w := WatchdogStatus{State: DogState(atomic.LoadUint64(&h.dogState))}
	if w.State == DogNone {
		return w
	}
	flags := atomic.LoadUint64(&h.dogFlags)
	w.Device = string(bytes.TrimRight(h.dogDevice[:], "\x00"))
	w.Driver = string(bytes.TrimRight(h.dogName[:], "\x00"))
	w.Timeout = time.Duration(atomic.LoadInt64(&h.dogTimeout))
	w.Enduring, w.NoWayOut, w.FiredLast = flags&flagEnduring != 0, flags&flagNoWayOut != 0, flags&flagFiredLast != 0
	w.Petted = time.Duration(atomic.LoadInt64(&h.dogPetted))
	w.Gap = time.Duration(atomic.LoadInt64(&h.dogGap))
	w.Pets = atomic.LoadUint64(&h.dogPets)
	if n := atomic.LoadUint64(&h.dogErrno); n != 0 {
		w.Err = unix.Errno(n)
	}
	return w
}

// Begin starts to guard a new incarnation until deadline. Nothing may be covered
// from an earlier one: the caller has proven that none of its VMs runs.
func (s *Shared) Begin(incarnation uint64, deadline time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.head()
	if old := atomic.LoadUint64(&h.incarnation); incarnation <= old && old != 0 {
		return fmt.Errorf("begin to guard incarnation %d: the guard has seen %d", incarnation, old)
	}
	// The order matters to a guard that looks between two of these: it sees no deadline until all is set.
	atomic.StoreInt64(&h.deadline, 0)
	for i := range s.entries() {
		atomic.StoreUint64(&s.entries()[i].pid, 0)
	}
	atomic.StoreUint64(&h.incarnation, incarnation)
	atomic.StoreInt64(&h.tripped, 0)
	atomic.StoreInt64(&h.deadline, int64(deadline))
	return nil
}

// Extend moves the deadline of the incarnation forward. ErrExpired when the
// guard has acted already: the lease cannot be had back.
func (s *Shared) Extend(incarnation uint64, deadline time.Duration) error {
	h := s.head()
	if atomic.LoadUint64(&h.incarnation) != incarnation || atomic.LoadInt64(&h.tripped) != 0 {
		return ErrExpired
	}
	for {
		old := atomic.LoadInt64(&h.deadline)
		if old == 0 {
			return ErrExpired
		}
		if int64(deadline) <= old {
			break
		}
		if atomic.CompareAndSwapInt64(&h.deadline, old, int64(deadline)) {
			break
		}
	}
	if atomic.LoadInt64(&h.tripped) != 0 {
		return ErrExpired
	}
	return nil
}

// Cover adds a VM's process to those that the guard kills. It is called before
// the VM's processors run. ErrExpired when the guard has acted: whether it saw
// the process is not known, so the caller kills it. Where the host has a watchdog,
// Cover waits until it is armed; ErrUnarmed when that does not come about within
// half a second. The process is on the list all the same, since it may be one that
// runs: who does not want it there ends it and takes it out with Uncover.
func (s *Shared) Cover(uuid string, pid int, start uint64) error {
	id, err := parseUUID(uuid)
	if err != nil {
		return err
	}
	if pid <= 1 || start == 0 {
		// Such an entry would be taken for a number that belongs to another process by now: never killed.
		return fmt.Errorf("cover VM %s: process %d with start time %d cannot be told from another", uuid, pid, start)
	}
	if err := s.enter(uuid, id, pid, start); err != nil {
		return err
	}
	if err := s.awaitArmed(); err != nil {
		return fmt.Errorf("cover VM %s: %w", uuid, err)
	}
	return s.coverable()
}

// armTime is what the guard may take to arm the watchdog for the first VM: two
// looks, and a driver that has to talk to a board's controller.
const armTime = 500 * time.Millisecond

// awaitArmed waits until the watchdog bounds what is covered. The guard arms it
// when it sees the first VM on the list.
func (s *Shared) awaitArmed() error {
	h := s.head()
	for until := BootClock() + armTime; ; time.Sleep(Tick / 10) {
		switch DogState(atomic.LoadUint64(&h.dogState)) {
		case DogNone, DogArmed:
			return nil
		case DogFailed:
			if err := h.watchdog().Err; err != nil {
				return fmt.Errorf("%w: %w", ErrUnarmed, err)
			}
			return ErrUnarmed
		}
		if err := s.coverable(); err != nil {
			return err
		}
		if BootClock() > until {
			return fmt.Errorf("%w after %v: the guard does not run, or the lease leaves too little", ErrUnarmed, armTime)
		}
	}
}

// enter puts a process on the list.
func (s *Shared) enter(uuid string, id [16]byte, pid int, start uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	free := -1
	for i := range s.entries() {
		e := &s.entries()[i]
		p := atomic.LoadUint64(&e.pid)
		switch {
		case p == 0 && free < 0:
			free = i
		case p != 0 && e.uuid == id && p == uint64(pid) && e.start == start:
			return nil
		case p != 0 && e.uuid == id: // an earlier process of this VM
			atomic.StoreUint64(&e.pid, 0)
			if free < 0 {
				free = i
			}
		}
	}
	if free < 0 {
		return fmt.Errorf("cover VM %s: the guard covers %d VMs already, which is the most it can", uuid, MaxCovered)
	}
	e := &s.entries()[free]
	e.start, e.uuid = start, id
	atomic.StoreUint64(&e.pid, uint64(pid))
	return nil
}

// coverable is looked at after a process was put on the list: either the guard's
// pass over the entries comes after that and sees it, or the guard set tripped before.
func (s *Shared) coverable() error {
	if atomic.LoadInt64(&s.head().tripped) != 0 {
		return ErrExpired
	}
	return nil
}

// Uncover takes a VM out: it is proven gone, or protected no more.
func (s *Shared) Uncover(uuid string) {
	id, err := parseUUID(uuid)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.entries() {
		if e := &s.entries()[i]; atomic.LoadUint64(&e.pid) != 0 && e.uuid == id {
			atomic.StoreUint64(&e.pid, 0)
		}
	}
}

// Covered lists the VMs that are covered, by UUID.
func (s *Shared) Covered() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var uuids []string
	for i := range s.entries() {
		if e := &s.entries()[i]; atomic.LoadUint64(&e.pid) != 0 {
			uuids = append(uuids, formatUUID(e.uuid))
		}
	}
	return uuids
}

func parseUUID(s string) (id [16]byte, err error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 {
		return id, fmt.Errorf("UUID %.50q is not one", s)
	}
	copy(id[:], b)
	return id, nil
}

func formatUUID(id [16]byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", binary.BigEndian.Uint32(id[:4]), binary.BigEndian.Uint16(id[4:6]),
		binary.BigEndian.Uint16(id[6:8]), binary.BigEndian.Uint16(id[8:10]), id[10:])
}
