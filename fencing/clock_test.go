package fencing

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The time asleep is what CLOCK_BOOTTIME is ahead by. A reader that is interrupted between
// two clocks must not take the interruption for sleep: its clock would jump ahead, and back.
func TestTimeAsleepIsNotAnInterruption(t *testing.T) {
	const slept, pause = 90 * time.Minute, 40 * time.Millisecond
	tests := []struct {
		name        string
		interrupted int // readings after which the process stood still, from the first
		most        time.Duration
	}{
		{"undisturbed", 0, slept},
		{"once", 2, slept},
		{"for a while", 50, slept},
		{"always", 1 << 20, slept + pause},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now, n := time.Hour, 0
			got := asleep(func(clock int32) time.Duration {
				defer func() {
					if n++; n <= tt.interrupted {
						now += pause
					}
				}()
				now += 100 // what a reading takes
				if clock == unix.CLOCK_BOOTTIME {
					return now + slept
				}
				return now
			})
			if got < slept || got > tt.most+sandwich {
				t.Errorf("%v asleep, want %v to %v", got, slept, tt.most+sandwich)
			}
		})
	}
}

// Two processes compare readings, and a lease lasts for seconds: the clock is the kernel's,
// goes at the rate of real time and does not jump.
func TestBootClockRuns(t *testing.T) {
	boot := func() time.Duration { return read(unix.CLOCK_BOOTTIME) }
	from, wall := BootClock(), boot()
	last := from
	for boot()-wall < 200*time.Millisecond {
		now := BootClock()
		if now < last-sandwich {
			t.Fatalf("went back by %v", last-now)
		}
		last = max(last, now)
	}
	// 10 % is more than any daemon steers the other clock by.
	if took, want := BootClock()-from, boot()-wall; took < want*9/10-time.Millisecond || took > want*11/10+time.Millisecond {
		t.Errorf("%v by the boot clock while CLOCK_BOOTTIME went on by %v", took, want)
	}
}
