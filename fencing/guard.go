package fencing

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Tick is how often the guard looks at the deadline.
const Tick = 50 * time.Millisecond

// GuardOptions say how a guard runs.
type GuardOptions struct {
	// Path is the file of the shared memory.
	Path string
	// Device is the watchdog, such as /dev/watchdog0; "" takes the one that the
	// guard before had, if any. Timeout belongs to it: whole seconds.
	Device  string
	Timeout time.Duration
	// Renew delivers when the guard shall become the program that is on the disk
	// now, with the same process id and without letting go of the watchdog; nil: never.
	Renew <-chan os.Signal
	// Warn is told what the guard has to do without.
	Warn func(error)

	instead Watchdog // a test's, used in place of the device's own timer
}

// guard is one guard process.
type guard struct {
	shared *Shared
	lock   *os.File
	dog    *Device // nil: none
	keeper *Keeper
	looked time.Duration // last turn; 0: none yet
}

// RunGuard is the guard: it looks at the deadline each Tick, kills what is covered
// once the deadline has passed, and keeps the watchdog, if the host has one. One
// guard at a time serves a file: another waits in line until that one has ended.
//
// It ends with ctx; with a watchdog, not before nothing is covered any more or
// another guard waits in line, because the host would be reset.
//
// It locks its memory and asks for real-time scheduling; where the system refuses
// either, Warn is told and it goes on without.
func RunGuard(ctx context.Context, o GuardOptions) error {
	g, err := newGuard(ctx, o)
	if err != nil || g == nil {
		return err
	}
	defer g.shared.Close() //nolint:errcheck // the process ends with it
	defer g.lock.Close()   // the process ends with it
	g.settle(o.Warn)
	defer atomic.StoreInt64(&g.shared.head().beat, 0)
	renewal := make(chan error, 1)
	for {
		g.turn(BootClock())
		switch {
		case ctx.Err() != nil && g.mayLeave(BootClock()):
			return g.leave()
		case o.Renew != nil:
			select {
			case <-o.Renew:
				go func() { renewal <- tryProgram(g.renewTime()) }()
			case err := <-renewal:
				if err == nil {
					err = g.renew(o)
				}
				o.Warn(fmt.Errorf("stay the program that this is: %w", err))
			default:
			}
		}
		// Asleep in the kernel, on this thread: the wake-up waits for no other goroutine.
		ts := unix.NsecToTimespec(int64(Tick))
		if err := unix.ClockNanosleep(unix.CLOCK_BOOTTIME, 0, &ts, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("sleep between two looks: %w", err)
		}
	}
}

// newGuard opens everything and takes its place; nil when ctx ended in line.
func newGuard(ctx context.Context, o GuardOptions) (*guard, error) {
	s, err := OpenShared(o.Path)
	if err != nil {
		return nil, err
	}
	g := &guard{shared: s}
	fail := func(err error) (*guard, error) {
		if g.lock != nil {
			_ = g.lock.Close()
		}
		return nil, errors.Join(err, s.Close())
	}
	if o.Device == "" {
		w := s.Status().Watchdog
		o.Device, o.Timeout = w.Device, w.Timeout
	}
	if o.Device != "" {
		if g.dog, err = OpenDevice(o.Device, o.Timeout); err != nil {
			return fail(err)
		}
		if len(o.Device) > len(s.head().dogDevice) {
			return fail(fmt.Errorf("the name of the watchdog %s is longer than %d characters", o.Device, len(s.head().dogDevice)))
		}
		dog := Watchdog(g.dog)
		if o.instead != nil {
			dog = o.instead
		}
		g.keeper = NewKeeper(dog, BootClock)
	}
	if g.inherit() {
		return g, nil
	}
	if g.lock, err = os.OpenFile(o.Path, os.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return fail(fmt.Errorf("open the guard's memory to lock it: %w", err))
	}
	if err := s.waitInLine(ctx, g.lock); err != nil || ctx.Err() != nil {
		return fail(err)
	}
	return g, nil
}

// settle makes the process one that is never late: no collection, one thread for
// the loop, real-time, resident.
func (g *guard) settle(warn func(error)) {
	runtime.LockOSThread()
	debug.SetGCPercent(-1)
	// A second processor for the runtime's own: the loop must not wait for one that another goroutine holds.
	runtime.GOMAXPROCS(2)
	if err := LockMemory(); err != nil {
		warn(err)
	}
	// The code that kills is needed when the disk may hang: it is read, and so locked, now.
	if err := touchProgram(); err != nil {
		warn(fmt.Errorf("read the guard's program into memory: %w", err))
	}
	if err := realTime(); err != nil {
		warn(fmt.Errorf("ask for real-time scheduling: %w", err))
	}
	h := g.shared.head()
	start, _ := g.shared.proc.startTime(os.Getpid())
	atomic.StoreInt64(&h.gap, 0)
	atomic.StoreUint64(&h.guardStart, start)
	atomic.StoreUint64(&h.guardPID, uint64(os.Getpid()))
	if g.dog == nil {
		atomic.StoreUint64(&h.dogState, uint64(DogNone))
		return
	}
	clear(h.dogDevice[:])
	copy(h.dogDevice[:], g.dog.Path())
	atomic.StoreInt64(&h.dogTimeout, int64(g.dog.Timeout()))
}

// turn is one look: kill what has to go, then see to the watchdog, then say so.
func (g *guard) turn(now time.Duration) {
	g.shared.look(now)
	if g.keeper != nil {
		// Killing may have taken a while: the watchdog goes by the clock as it is.
		g.keeper.Turn(g.shared.forKeeper(BootClock()))
		g.publish()
	}
	h := g.shared.head()
	if g.looked != 0 && int64(now-g.looked) > atomic.LoadInt64(&h.gap) {
		atomic.StoreInt64(&h.gap, int64(now-g.looked))
	}
	g.looked = now
	atomic.StoreInt64(&h.beat, int64(now))
}

// forKeeper reads what decides about the watchdog.
func (s *Shared) forKeeper(now time.Duration) Turn {
	t := Turn{Now: now}
	h := s.head()
	for i := range s.entries() {
		if atomic.LoadUint64(&s.entries()[i].pid) != 0 {
			t.Covered = true
			break
		}
	}
	if atomic.LoadInt64(&h.tripped) == 0 {
		t.Deadline = time.Duration(atomic.LoadInt64(&h.deadline))
	}
	return t
}

// publish writes what the keeper did into the shared memory.
func (g *guard) publish() {
	h, k := g.shared.head(), g.keeper
	info := &g.dog.info
	flags := uint64(0)
	if g.dog.Enduring() {
		flags |= flagEnduring
	}
	if info.NoWayOut {
		flags |= flagNoWayOut
	}
	if info.FiredLast {
		flags |= flagFiredLast
	}
	if h.dogName[0] == 0 {
		copy(h.dogName[:len(h.dogName)-1], info.Identity)
	}
	errno := uint64(0)
	if k.err != nil {
		var e unix.Errno
		if errno = uint64(unix.EINVAL); errors.As(k.err, &e) {
			errno = uint64(e)
		}
	}
	atomic.StoreUint64(&h.dogFlags, flags)
	atomic.StoreUint64(&h.dogErrno, errno)
	atomic.StoreInt64(&h.dogPetted, int64(k.petted))
	atomic.StoreInt64(&h.dogGap, int64(k.gap))
	atomic.StoreUint64(&h.dogPets, k.pets)
	atomic.StoreUint64(&h.dogState, uint64(k.state))
}

// mayLeave reports whether the guard can end without harm: without a watchdog,
// always, as an agent starts another; with one, when the timer does not run, or
// nothing is covered, or another guard waits in line and the lease leaves it time.
func (g *guard) mayLeave(now time.Duration) bool {
	if g.keeper == nil {
		return true
	}
	t := g.shared.forKeeper(now)
	if !t.Covered {
		return true
	}
	return g.dog.Enduring() && g.shared.InLine(now) && t.Deadline != 0 && now+lineTick+3*margin <= t.Deadline
}

// leave lets go of the device. While VMs run the timer goes on, and the guard that
// waits in line takes hold of it.
func (g *guard) leave() error {
	if g.keeper == nil || g.keeper.state == DogIdle || g.dog.FD() < 0 {
		return nil
	}
	if g.shared.forKeeper(BootClock()).Covered {
		return g.dog.CloseHard()
	}
	if err := g.dog.Release(); err == nil {
		atomic.StoreUint64(&g.shared.head().dogState, uint64(DogIdle))
		return nil
	}
	return g.dog.Retire()
}

// lineTick is how often a guard that waits in line looks whether it is its turn.
const lineTick = 2 * Tick

// waitInLine takes the file's lock, which a guard holds as long as it lives.
func (s *Shared) waitInLine(ctx context.Context, f *os.File) error {
	tick := time.NewTicker(lineTick)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			atomic.StoreInt64(&s.head().waiting, 0)
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock the guard's memory: %w", err)
		}
		atomic.StoreInt64(&s.head().waiting, int64(BootClock()))
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
