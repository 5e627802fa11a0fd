package storagehb_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/apart"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"golang.org/x/sys/unix"
)

// ioProcess is the name under which this test program is executed again, to do I/O.
const ioProcess = "storagehb-io"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[0] == ioProcess {
		runtime.GOMAXPROCS(1) // as the agent's does
		if err := apart.Serve(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// counted is a device that counts what it is asked to do.
type counted struct {
	storagehb.File
	reads, writes, readBytes, writtenBytes *atomic.Int64
}

func (c counted) ReadAt(b []byte, at int64) (int, error) {
	c.reads.Add(1)
	c.readBytes.Add(int64(len(b)))
	return c.File.ReadAt(b, at)
}

// Memory and Do are the device's.
func (c counted) Memory(n int) ([]byte, error) { return c.File.(storagehb.Batcher).Memory(n) }

func (c counted) Do(ios ...storagehb.IO) (int, error) {
	for _, io := range ios {
		n, bytes := c.reads, c.readBytes
		if io.Write {
			n, bytes = c.writes, c.writtenBytes
		}
		n.Add(1)
		bytes.Add(int64(len(io.Buffer)))
	}
	return c.File.(storagehb.Batcher).Do(ios...)
}

func (c counted) WriteAt(b []byte, at int64) (int, error) {
	c.writes.Add(1)
	c.writtenBytes.Add(int64(len(b)))
	return c.File.WriteAt(b, at)
}

// ioProcessID finds the process that does the I/O for this one.
func ioProcessID(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil || !strings.HasPrefix(string(text), ioProcess+"\x00") {
			continue // it is gone, or somebody else
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil {
			t.Fatal(err)
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err == nil && strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", os.Getpid())) {
			return pid
		}
	}
	t.Fatal("there is no process that does the I/O")
	return 0
}

// used is the time that a process has had on the processors, in user and kernel mode.
func used(t *testing.T, pid int) time.Duration {
	t.Helper()
	var ts unix.Timespec
	const scheduled = 2 // CPUCLOCK_SCHED of a whole process
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// What one heartbeat volume of 64 hosts costs a host: one write of its own heartbeat
// and one read of the whole table each interval, at the pace of each timing profile,
// done by a process apart as in the agent. At the default timing that is allowed 2 ms
// of processor time a second.
func TestMeasureVolume(t *testing.T) {
	if os.Getenv("HOLDFAST_BENCH") != "1" {
		t.Skip("a measurement for a quiet machine: make bench runs it (HOLDFAST_BENCH=1)")
	}
	const limit = 2 * time.Millisecond // a second, with a heartbeat a second
	for _, profile := range lease.Profiles {
		t.Run(profile, func(t *testing.T) {
			timing, ok := lease.Profile(profile)
			if !ok {
				t.Fatal("there is no such profile")
			}
			cost, c, intervals := measureVolume(t, timing, 20*time.Second)
			each := func(n *atomic.Int64) float64 { return float64(n.Load()) / float64(intervals) }
			t.Logf("heartbeat volume, 64 slots, timing %s (heartbeat %v): %.2f ms of processor time a second; an interval and host: %.2f writes of %.0f KiB, and %.2f reads of %.0f KiB",
				profile, timing.Heartbeat, float64(cost)/float64(time.Millisecond),
				each(c.writes), each(c.writtenBytes)/each(c.writes)/1024, each(c.reads), each(c.readBytes)/each(c.reads)/1024)
			if timing.Heartbeat >= time.Second && cost > limit {
				t.Errorf("%v of processor time a second, allowed are %v", cost, limit)
			}
			if c.writes.Load() != int64(intervals) || c.reads.Load() != int64(intervals) {
				t.Errorf("%d writes and %d reads in %d intervals, want one write and one read each", c.writes.Load(), c.reads.Load(), intervals)
			}
		})
	}
}

// measureVolume runs a volume for that long and returns the processor time of a
// second, what was asked of the device, and in how many intervals.
func measureVolume(t *testing.T, timing lease.Timing, long time.Duration) (time.Duration, counted, int) {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // as the agent's
	path := filepath.Join(folder(t), "hb")
	o := options()
	o.Slots, o.Timing = 64, timing
	_, vol, err := storagehb.Init(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, path, vol, o.Slots)
	began := time.Now()
	tables := make(chan storagehb.TableRead, 1)
	opener := apart.NewOpener(t.TempDir(), ioProcess)
	defer opener.Close()
	c := counted{reads: new(atomic.Int64), writes: new(atomic.Int64), readBytes: new(atomic.Int64), writtenBytes: new(atomic.Int64)}
	v, err := storagehb.New(storagehb.Config{
		Open: func() (storagehb.File, error) {
			f, err := opener.Open(path, vol)
			return counted{f, c.reads, c.writes, c.readBytes, c.writtenBytes}, err
		},
		Cluster: cluster, Volume: vol, Host: id(0x50), Slot: 5,
		Timing: timing, Deadline: time.Minute, Grace: time.Minute, Now: func() time.Duration { return time.Since(began) },
		Report: func(e storagehb.Event) {
			if r, ok := e.(storagehb.TableRead); ok {
				tables <- r
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- v.Run(ctx) }()
	seq := uint64(10)
	interval := func() {
		seq++
		if err := v.Beat(format.Heartbeat{Incarnation: 3, Seq: seq, Name: "kvm-05"}); err != nil {
			t.Fatal(err)
		}
		if r := <-tables; r.Err != nil || len(r.Table) != o.Slots {
			t.Fatalf("read a table of %d: %v", len(r.Table), r.Err)
		}
	}
	interval() // opens it
	pid := ioProcessID(t)
	intervals := int(long / timing.Heartbeat)
	tick := time.NewTicker(timing.Heartbeat)
	defer tick.Stop()
	for _, n := range []*atomic.Int64{c.reads, c.writes, c.readBytes, c.writtenBytes} {
		n.Store(0)
	}
	before, start := used(t, os.Getpid())+used(t, pid), time.Now()
	for range intervals {
		<-tick.C
		interval()
	}
	cost := used(t, os.Getpid()) + used(t, pid) - before
	took := time.Since(start)
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	return time.Duration(float64(cost) / took.Seconds()), c, intervals
}
