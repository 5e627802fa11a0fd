package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-ha/holdfast/integration/lab/witness"
)

const (
	// SampleEvery is how often the judge looks at all VMs.
	SampleEvery = 50 * time.Millisecond
	// executes is how much processor time within one sample counts as running: a
	// paused virtual CPU takes none, the laziest guest several times this.
	executes = 100 * time.Microsecond
	// maxFindings is how many double runs of one VM are kept.
	maxFindings = 5
)

// Run is one QEMU process of a VM, seen from outside all hosts.
type Run struct {
	VM   string
	Host string // empty when the process is in none of the lab's hosts
	PID  int    // as the lab's process sees it
	// Seen is when the process was first seen, Executed when its virtual CPUs were
	// first seen executing (zero while they have not), Gone when it was first seen
	// to be gone (zero while it is there). All are late by up to SampleEvery.
	Seen, Executed, Gone time.Time
}

// Life is one boot of a witness guest, seen on its disk.
type Life struct {
	Life        witness.Life
	First, Last time.Time // of its heartbeats, late by up to SampleEvery
	Beats       uint64
}

// Judge watches every guest of a lab and remembers what it saw. It asks neither
// libvirt nor an agent.
type Judge struct {
	lab    *Lab
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex // guards what follows; never held over I/O
	cases   map[string]*evidence
	changed chan struct{} // closed and replaced when anything new was seen
}

// evidence is all that the judge knows of one VM.
type evidence struct {
	guest  *Guest
	disk   *os.File // nil for a guest without disk
	runs   []*Run
	lives  []*Life
	double []string // samples in which two processes executed
	// unreadable is the last error in reading the witness, and torn how many there
	// were in a row: a single one can be a write in flight.
	unreadable error
	torn       int
}

func newJudge(l *Lab) *Judge {
	return &Judge{lab: l, done: make(chan struct{}), cases: map[string]*evidence{}, changed: make(chan struct{})}
}

func (j *Judge) start() {
	ctx, cancel := context.WithCancel(context.Background())
	j.cancel = cancel
	go func() {
		defer close(j.done)
		j.sample(ctx)
	}()
}

func (j *Judge) stop() {
	if j.cancel != nil {
		j.cancel()
		<-j.done
	}
	for _, c := range j.cases {
		if c.disk != nil {
			_ = c.disk.Close()
		}
	}
}

func (j *Judge) watch(g *Guest) error {
	c := &evidence{guest: g}
	if g.Disk != "" {
		disk, err := os.Open(g.Disk)
		if err != nil {
			return fmt.Errorf("witness of %s: %w", g.Name, err)
		}
		c.disk = disk
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.cases[g.Name] = c
	return nil
}

// sample looks at processes and disks until ctx ends.
func (j *Judge) sample(ctx context.Context) {
	tick := time.NewTicker(SampleEvery)
	defer tick.Stop()
	finder := newQEMUFinder(j.lab.hosts)
	block := make([]byte, witness.BlockSize)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		found := finder.look(time.Now())
		executing := map[int]bool{}
		for pid, q := range found {
			executing[pid] = q.executed() >= executes
		}
		now := time.Now()
		for _, c := range j.all() {
			var beat *witness.Record
			var err error
			if c.disk != nil {
				var r witness.Record
				if r, err = witness.ReadHeartbeat(c.disk, block); err == nil {
					beat = &r
				} else if errors.Is(err, witness.ErrBlank) {
					err = nil
				}
			}
			j.record(c, now, found, executing, beat, err)
		}
	}
}

func (j *Judge) all() []*evidence {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := make([]*evidence, 0, len(j.cases))
	for _, c := range j.cases {
		all = append(all, c)
	}
	return all
}

// record adds one sample to a VM's evidence.
func (j *Judge) record(c *evidence, now time.Time, found map[int]*qemu, executing map[int]bool, beat *witness.Record, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	news := false
	for _, r := range c.runs {
		if _, there := found[r.PID]; !there && r.Gone.IsZero() {
			r.Gone, news = now, true
		}
	}
	var busy []string
	for pid, q := range found {
		if q.uuid != c.guest.UUID {
			continue
		}
		i := slices.IndexFunc(c.runs, func(r *Run) bool { return r.PID == pid && r.Gone.IsZero() })
		if i < 0 {
			i = len(c.runs)
			c.runs = append(c.runs, &Run{VM: c.guest.Name, Host: q.host, PID: pid, Seen: now})
			news = true
		}
		if executing[pid] {
			if c.runs[i].Executed.IsZero() {
				c.runs[i].Executed, news = now, true
			}
			busy = append(busy, fmt.Sprintf("%s (pid %d)", c.runs[i].Host, pid))
		}
	}
	if len(busy) > 1 && len(c.double) < maxFindings {
		slices.Sort(busy)
		c.double = append(c.double, fmt.Sprintf("%s: virtual CPUs execute on %s", now.Format("15:04:05.000"), strings.Join(busy, " and on ")))
		news = true
	}
	c.torn++
	if err == nil {
		c.torn = 0
	}
	if c.torn > 3 {
		c.unreadable = err
	}
	if beat != nil && c.addBeat(now, *beat) {
		news = true
	}
	if news {
		close(j.changed)
		j.changed = make(chan struct{})
	}
}

// addBeat notes the heartbeat that is on the disk now, and reports whether it is new.
func (c *evidence) addBeat(now time.Time, beat witness.Record) bool {
	n := len(c.lives)
	if n == 0 || c.lives[n-1].Life != beat.Life {
		// A life that was seen before and comes back gets a second entry: that is
		// what two writers look like from outside.
		c.lives = append(c.lives, &Life{Life: beat.Life, First: now, Last: now, Beats: beat.Count})
		return true
	}
	last := c.lives[n-1]
	if last.Beats == beat.Count {
		return false
	}
	last.Last, last.Beats = now, beat.Count
	return true
}

// Runs returns every process of the VM that was seen so far, oldest first.
func (j *Judge) Runs(vm string) []Run {
	j.mu.Lock()
	defer j.mu.Unlock()
	var runs []Run
	if c := j.cases[vm]; c != nil {
		for _, r := range c.runs {
			runs = append(runs, *r)
		}
	}
	return runs
}

// Lives returns every boot of the VM that was seen on its disk, oldest first. A
// life that is listed twice with another between is the work of two writers.
func (j *Judge) Lives(vm string) []Life {
	j.mu.Lock()
	defer j.mu.Unlock()
	var lives []Life
	if c := j.cases[vm]; c != nil {
		for _, l := range c.lives {
			lives = append(lives, *l)
		}
	}
	return lives
}

// Running returns the hosts on which a process of the VM has executed and still exists.
func (j *Judge) Running(vm string) []string {
	var hosts []string
	for _, r := range j.Runs(vm) {
		if r.Gone.IsZero() && !r.Executed.IsZero() {
			hosts = append(hosts, r.Host)
		}
	}
	return hosts
}

// Wait waits until ok returns true. It is asked again after each thing that the
// judge sees, and gets the VM's runs and lives.
func (j *Judge) Wait(ctx context.Context, vm string, what string, ok func([]Run, []Life) bool) error {
	for {
		j.mu.Lock()
		changed := j.changed
		j.mu.Unlock()
		if ok(j.Runs(vm), j.Lives(vm)) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s: waiting until %s: %w\n%s", vm, what, context.Cause(ctx), j.Report(vm))
		}
	}
}

// WaitRunning waits until a process of the VM that was first seen after since
// executes on one of the hosts (any host when none is named).
func (j *Judge) WaitRunning(ctx context.Context, vm string, since time.Time, hosts ...string) (Run, error) {
	var found Run
	err := j.Wait(ctx, vm, "it runs on "+orAny(hosts), func(runs []Run, _ []Life) bool {
		for _, r := range runs {
			if r.Seen.After(since) && !r.Executed.IsZero() && r.Gone.IsZero() && (len(hosts) == 0 || slices.Contains(hosts, r.Host)) {
				found = r
				return true
			}
		}
		return false
	})
	return found, err
}

// WaitBeat waits until the guest itself writes to its disk, in a life that began
// after since (or any life, when since is zero).
func (j *Judge) WaitBeat(ctx context.Context, vm string, since time.Time) (Life, error) {
	var found Life
	err := j.Wait(ctx, vm, "its guest writes its witness", func(_ []Run, lives []Life) bool {
		for _, l := range lives {
			if l.First.After(since) && l.Beats > 1 {
				found = l
				return true
			}
		}
		return false
	})
	return found, err
}

// WaitGone waits until no process of the VM is left on any host.
func (j *Judge) WaitGone(ctx context.Context, vm string) error {
	return j.Wait(ctx, vm, "no process of it is left", func(runs []Run, _ []Life) bool {
		return !slices.ContainsFunc(runs, func(r Run) bool { return r.Gone.IsZero() })
	})
}

func orAny(hosts []string) string {
	if len(hosts) == 0 {
		return "any host"
	}
	return strings.Join(hosts, " or ")
}
