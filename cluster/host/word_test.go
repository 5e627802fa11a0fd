package host

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/fencing"
)

// The wait for a dead host counts with the timing's watchdog timeout: a device that
// takes longer is a thing to be told.
func TestAWatchdogThatTakesLongerIsTold(t *testing.T) {
	for timeout, told := range map[time.Duration]bool{2 * time.Second: false, 3 * time.Second: false, 4 * time.Second: true} {
		got := watchdogWord(fencing.WatchdogStatus{Device: "/dev/watchdog0", Timeout: timeout}, 3*time.Second)
		if strings.Contains(got, "longer than") != told {
			t.Errorf("a watchdog of %v where 3s are waited for: %q", timeout, got)
		}
	}
	if got := watchdogWord(fencing.WatchdogStatus{}, 3*time.Second); got != "none" {
		t.Errorf("no watchdog: %q", got)
	}
}
