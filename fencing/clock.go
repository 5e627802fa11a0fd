package fencing

import (
	"time"

	"golang.org/x/sys/unix"
)

// BootClock reads the boot clock: time since the machine's boot, also while it slept, by
// the rate of its oscillator. Safety rests on it (docs/safety.md). It is not
// CLOCK_BOOTTIME, which goes on in sleep as well but whose rate a time daemon may
// change at will, chrony by 8 % while it corrects a large offset: it is
// CLOCK_MONOTONIC_RAW, which nothing steers, and the time asleep, by which
// CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC. It may go back by as little as asleep's bound.
func BootClock() time.Duration {
	return read(unix.CLOCK_MONOTONIC_RAW) + asleep(func(id int32) time.Duration { return read(id) })
}

const (
	// sandwich is how close to one another three readings must be to count as one, and
	// so the error of the time asleep; without interruption they take a microsecond.
	sandwich = 20 * time.Microsecond
	// sandwiches bounds the tries: who is interrupted each time takes what it has, which is
	// too much time asleep, never too little.
	sandwiches = 100
)

// asleep is how long the machine has slept since its boot.
func asleep(read func(clock int32) time.Duration) time.Duration {
	for try := 1; ; try++ {
		before, boot := read(unix.CLOCK_MONOTONIC), read(unix.CLOCK_BOOTTIME)
		if after := read(unix.CLOCK_MONOTONIC); after-before <= sandwich || try == sandwiches {
			return max(boot-before, 0)
		}
	}
}

func read(clock int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		panic("a clock of the kernel cannot be read: " + err.Error()) // all of them are there since Linux 2.6.39
	}
	return time.Duration(ts.Nano())
}
