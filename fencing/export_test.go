package fencing

import (
	"sync/atomic"
	"time"
)

// What a test bed in another package needs of the inside.

func Look(s *Shared, now time.Duration)             { s.look(now) }
func ForKeeper(s *Shared, now time.Duration) Turn   { return s.forKeeper(now) }
func DropPastEnd(k *Keeper)                         { k.drop.pastEnd = true }
func DropWhileValid(k *Keeper)                      { k.drop.whileValid, k.drop.stayLate = true, true }
func DropStopAtEnd(k *Keeper)                       { k.drop.stopAtEnd = true }
func DropStayOpen(k *Keeper)                        { k.drop.stayOpen = true }
func DropCloseLate(k *Keeper)                       { k.drop.closeLate = true }
func DropStayLate(k *Keeper)                        { k.drop.stayLate = true }
func DropKeepRunning(k *Keeper)                     { k.drop.keepRunning = true }
func StartTime(pid int) (uint64, bool)              { return new(procReader).startTime(pid) }
func StatStart(line string) (start uint64, ok bool) { return statStart([]byte(line)) }

// SetEnd replaces how a process is ended.
func SetEnd(s *Shared, end func(pid int, start uint64) bool) { s.end = end }

// SetDogState says what a guard would say of its watchdog.
func SetDogState(s *Shared, state DogState) { atomic.StoreUint64(&s.head().dogState, uint64(state)) }

func Kill(s *Shared, pid int, start uint64) bool { return s.kill(pid, start) }

// Enter covers a VM without waiting for the watchdog.
func Enter(s *Shared, uuid string, pid int, start uint64) error {
	id, err := parseUUID(uuid)
	if err != nil {
		return err
	}
	if err := s.enter(uuid, id, pid, start); err != nil {
		return err
	}
	return s.coverable()
}

// Instead has a guard use this watchdog in place of the device that it was given.
func Instead(o GuardOptions, dog Watchdog) GuardOptions {
	o.instead = dog
	return o
}
