package fencing

import (
	"errors"
	"time"
)

var (
	// ErrNoWayOut: the driver was built or loaded so that nothing stops it.
	ErrNoWayOut = errors.New("the watchdog cannot be stopped (nowayout)")
	// ErrUnarmed: this host is to have a watchdog and it is not armed. A VM that
	// is not covered by it must not run.
	ErrUnarmed = errors.New("the watchdog is not armed")
)

// Watchdog is a timer beside the system that resets the whole host when nobody
// has petted it for Timeout. One goroutine uses it at a time. No call may block
// for longer than a fraction of Tick.
type Watchdog interface {
	// Arm opens the device and starts the timer: a pet. It is also called on a
	// timer that an earlier holder left running.
	Arm() error
	// Pet starts the timer anew.
	Pet() error
	// CloseHard closes the device and leaves the timer running. The kernel pets
	// once more at this moment, as it does when a holder dies.
	CloseHard() error
	// Release stops the timer and closes the device. ErrNoWayOut, with the
	// device left open and running, where that cannot be.
	Release() error
	// Timeout is how long after the last pet the host is reset.
	Timeout() time.Duration
	// Enduring reports whether the timer goes on when its holder dies without
	// Release. Where it does not, the device must never be closed while VMs run.
	Enduring() bool
}

// Grain is how late a turn of the guard may be and still count as on time.
const Grain = 50 * time.Millisecond

// margin is what a lease must leave for a pet: the next look is a Tick away, and
// may be Grain late.
const margin = Tick + Grain

// Turn is what a Keeper goes by in one turn.
type Turn struct {
	// Now is the boot clock, read in this turn.
	Now time.Duration
	// Deadline is the soft end of the lease; 0 when there is none, or when it has
	// ended once (a lease that ended is over for good).
	Deadline time.Duration
	// Covered says that a VM may run: one that is listed and not proven gone.
	// "Told to end" is not gone.
	Covered bool
}

// DogState is how things stand with the watchdog.
type DogState uint64

// What a Keeper can be in.
const (
	DogNone   DogState = iota // no watchdog was asked for
	DogIdle                   // the device works; nothing is covered, so the timer does not run
	DogArmed                  // the timer runs and is petted as long as the lease lasts
	DogClosed                 // the timer runs and nobody can pet it by accident: reset follows unless all VMs are proven gone
	DogFailed                 // the device does not work, or was not tried yet; nothing may be started
)

// String is the state in a word.
func (s DogState) String() string {
	switch s {
	case DogNone:
		return "none"
	case DogIdle:
		return "idle"
	case DogArmed:
		return "armed"
	case DogClosed:
		return "closed"
	}
	return "failed"
}

// Keeper decides when the watchdog is petted. The guard owns one, and so does
// the simulated guard of a test bed: its rules are those of docs/safety.md, "The
// end of a lease on the host".
//
//	W1 Where a VM may run, it pets only while now + Tick + Grain <= soft end.
//	W2 At the last such turn it closes the device without stopping the timer. The
//	   kernel pets when a holder dies; an open device would hand that pet to
//	   whatever kills the guard, long after the soft end. Closing early takes the
//	   same pet while the lease still holds.
//	W3 Past that turn it neither pets nor closes: closing is a pet.
//	   Looking at the clock and petting are two steps. A guard that was frozen
//	   between them has petted late, once, and closes on the spot: whatever kills
//	   it later must not pet again.
//	W4 Where no VM may run the host can do no harm: the timer is stopped, whatever
//	   became of the lease; or, where nothing stops it, petted.
//
// The zero Keeper is not ready; see NewKeeper.
type Keeper struct {
	dog   Watchdog
	clock func() time.Duration // the boot clock
	state DogState
	err   error
	retry time.Duration // no try to arm before
	drop  dropped

	petted time.Duration // Now of the last turn that petted
	pets   uint64
	gap    time.Duration // longest between two pets of one arming
}

// dropped are rules left out, by a test that must then find harm.
type dropped struct {
	pastEnd     bool // W1: pet as if the lease never ended
	whileValid  bool // W1: pet while the lease is valid, without the margin
	stopAtEnd   bool // W2: stop the timer when closing
	stayOpen    bool // W2: keep the device open past the end
	closeLate   bool // W3: close past the end
	stayLate    bool // W3: do not close after a late pet
	keepRunning bool // W4: leave the timer running when all are gone
}

// retryAfter is how long a Keeper leaves a device alone that refused.
const retryAfter = 500 * time.Millisecond

// NewKeeper takes charge of the device. An earlier holder may have left the timer
// running: the first turn takes hold of it as soon as that is permitted.
// clock reads the boot clock.
func NewKeeper(dog Watchdog, clock func() time.Duration) *Keeper {
	return &Keeper{dog: dog, clock: clock, state: DogFailed}
}

// State is how things stand after the last turn, with the device's last error.
func (k *Keeper) State() (DogState, error) { return k.state, k.err }

// Turn is one turn: it pets, closes, arms or stops the timer, or does nothing.
func (k *Keeper) Turn(t Turn) {
	held := t.Deadline != 0 && t.Now+margin <= t.Deadline
	last := t.Now+2*margin > t.Deadline // the next turn may come too late to be held
	if k.drop.pastEnd {
		held, last = true, false
	}
	if k.drop.whileValid {
		held, last = t.Now < t.Deadline, false
	}
	switch {
	case !t.Covered:
		k.rest(t.Now)
	case k.state == DogArmed && held && last && k.dog.Enduring() && !k.drop.stayOpen:
		k.close()
	case k.state == DogArmed && held:
		k.pet(t.Now)
		k.closeIfLate(t.Deadline)
	case k.state == DogArmed && k.drop.closeLate:
		k.close()
	case k.state != DogArmed && held && !last && t.Now >= k.retry:
		k.arm(t.Now)
		k.closeIfLate(t.Deadline)
	}
}

// closeIfLate is for a pet that was permitted and came late (W3).
func (k *Keeper) closeIfLate(deadline time.Duration) {
	if k.state == DogArmed && k.clock()+margin > deadline && k.dog.Enduring() && !k.drop.stayLate {
		k.close()
	}
}

// rest is for a host on which no protected VM may run (W4).
func (k *Keeper) rest(now time.Duration) {
	switch {
	case k.state == DogIdle || now < k.retry || k.drop.keepRunning:
		return
	case k.state != DogArmed:
		// The timer may run with nobody holding it. It has to be taken hold of before it can be stopped.
		if k.arm(now); k.state != DogArmed {
			return
		}
	}
	switch err := k.dog.Release(); {
	case err == nil:
		k.state, k.err = DogIdle, nil
	case errors.Is(err, ErrNoWayOut):
		k.pet(now)
	default:
		k.err = err
		k.pet(now)
	}
}

func (k *Keeper) arm(now time.Duration) {
	if err := k.dog.Arm(); err != nil {
		k.err, k.retry = err, now+retryAfter
		if k.state != DogClosed { // a timer that runs still runs
			k.state = DogFailed
		}
		return
	}
	k.state, k.err, k.retry, k.petted = DogArmed, nil, 0, now
}

func (k *Keeper) pet(now time.Duration) {
	if err := k.dog.Pet(); err != nil {
		// Nobody can say whether its timer still runs, so it bounds nothing until it was
		// taken hold of anew, at the next turn.
		k.err, k.state = err, DogFailed
		return
	}
	k.gap = max(k.gap, now-k.petted)
	k.petted = now
	k.pets++
}

func (k *Keeper) close() {
	if k.drop.stopAtEnd {
		k.err = k.dog.Release()
	} else {
		k.err = k.dog.CloseHard()
	}
	k.state = DogClosed // whatever close(2) says, the descriptor is gone
}
