package lab

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// recoveryMedian is what the median of the recovery time may be under the fast
// profile: from the loss of a host's power to the VM's QEMU executing elsewhere.
const recoveryMedian = 8 * time.Second

// TestLabRecoveryTime measures how long a VM is down when its host loses power,
// HOLDFAST_LAB_RUNS times (10 when not set). That VMs recover, TestLab and TestLabStorage show.
func TestLabRecoveryTime(t *testing.T) {
	if short() {
		t.Skip("a measurement: make lab and make bench make it (HOLDFAST_LAB_SHORT=1 leaves it out)")
	}
	runs := 10
	if text := os.Getenv("HOLDFAST_LAB_RUNS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("HOLDFAST_LAB_RUNS=%q: want how many runs", text)
		}
		runs = n
	}
	w := newWorld(t, Config{})
	g := w.guest(t, w.member(t))
	var times []time.Duration
	for run := range runs {
		on := w.Judge().Running(g.Name)
		if len(on) != 1 {
			t.Fatalf("%s runs on %v\n%s", g.Name, on, w.Judge().Report(g.Name))
		}
		victim := w.Host(on[0])
		role := "member"
		if w.master(t) == victim {
			role = "master"
		}
		at, err := victim.PowerOff(t.Context())
		must(t, err)
		r, err := w.Judge().WaitRunning(within(t, 2*takeover), g.Name, at)
		must(t, err)
		took := r.Executed.Sub(at)
		times = append(times, took)
		t.Logf("run %2d: %s (%s) lost power, %s runs on %s after %.2f s", run+1, victim.Name(), role, g.Name, r.Host, took.Seconds())
		w.whole(t)
	}
	slices.Sort(times)
	median := times[len(times)/2]
	if len(times)%2 == 0 {
		median = (median + times[len(times)/2-1]) / 2
	}
	t.Logf("recovery time over %d runs: median %.2f s, min %.2f s, max %.2f s (the median may be %v)",
		runs, median.Seconds(), times[0].Seconds(), times[len(times)-1].Seconds(), recoveryMedian)
	if median > recoveryMedian {
		t.Errorf("median %v, want at most %v", median, recoveryMedian)
	}
}
