package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// What is too little for this world to judge anything: its machines are emulated, and
// its timing (policy) leaves an election two seconds. By themselves three machines that
// share two processors keep one another waiting for a third of the time at most.
const (
	mostWaiting = 0.5         // of the time, for a processor, by any machine
	mostGap     = time.Second // between two looks at the shared disk
)

// Starved is what the world's own computer has kept from it over some time. It is
// measured from outside and knows nothing of what runs in the machines.
type Starved struct {
	Machine string        // that waited longest for a processor
	Waiting float64       // share of the time that it did
	Gap     time.Duration // longest time between two looks of the watch, which is to look every 20 ms
}

// TooMuch reports whether what failed meanwhile says nothing.
func (s Starved) TooMuch() bool { return s.Waiting > mostWaiting || s.Gap > mostGap }

// String says it for people.
func (s Starved) String() string {
	return fmt.Sprintf("%s waited for a processor %.0f %% of the time (at most %.0f %%), the longest gap between two looks was %v (at most %v)",
		s.Machine, 100*s.Waiting, 100*mostWaiting, s.Gap.Round(time.Millisecond), mostGap)
}

// Starving begins to measure; what it returns ends that.
func (w *World) Starving() (end func() Starved) {
	began := time.Now()
	before := make([]time.Duration, len(w.Hosts))
	for i, m := range w.Hosts {
		before[i] = waited(m.cmd.Process.Pid)
	}
	w.watch.longest()
	return func() Starved {
		s := Starved{Gap: w.watch.longest()}
		for i, m := range w.Hosts {
			if share := float64(waited(m.cmd.Process.Pid)-before[i]) / float64(time.Since(began)); share >= s.Waiting {
				s.Machine, s.Waiting = m.Name, share
			}
		}
		return s
	}
}

// waited is how long the threads of a process have waited for a processor since they
// began; 0 where the kernel does not count it.
func waited(pid int) (sum time.Duration) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)) // the pattern is good
	for _, f := range files {
		var runs, waits int64
		b, err := os.ReadFile(f)
		if err != nil {
			continue // a thread that has just ended
		}
		if _, err := fmt.Sscan(strings.TrimSpace(string(b)), &runs, &waits); err == nil {
			sum += time.Duration(waits)
		}
	}
	return sum
}

// Restore undoes every fault that a scenario can have left.
func (w *World) Restore() error {
	for _, m := range w.Hosts {
		w.hub.cut(m.Name, false)
		for _, d := range []string{SharedDisk, HeartbeatDisk} {
			if err := m.Stall(d, false); err != nil {
				return err
			}
		}
		if _, err := m.Sh(20*time.Second, "rm -f /run/down-agent /run/down-guard; kill -CONT $(cat /run/agent.pid) $(cat /run/guard.pid) 2>/dev/null; true"); err != nil {
			return err
		}
	}
	return nil
}
