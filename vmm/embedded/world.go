package embedded

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Ending says how a run of a VM ended.
type Ending string

// The ways in which a run ends. Empty means that it still goes on.
const (
	EndedPaused    Ending = "paused"    // its virtual CPUs were stopped, the process stayed
	EndedShutdown  Ending = "shutdown"  // the guest shut itself down
	EndedDestroyed Ending = "destroyed" // a person pulled its plug through the hypervisor
	EndedKilled    Ending = "killed"    // Kill, that is: the agent
	EndedGuard     Ending = "guard"     // KillAll, that is: the guard
	EndedCrashed   Ending = "crashed"   // its process died or the guest panicked
	EndedPowerOff  Ending = "power_off" // the whole host lost its power
	EndedMigrated  Ending = "migrated"  // it left for another host
)

// Run is one stretch of time in which a VM's virtual CPUs ran, and so in which
// the VM could write to its disk.
type Run struct {
	UUID string
	Name string
	Host string
	Boot int // of the host, from 1; the disk witness tells two lives of a host apart
	From time.Time
	To   time.Time // zero while it runs
	How  Ending    // how it ended; empty while it runs
}

// Violation is the one thing that must never be: a VM that runs on more than one
// host, so that one disk has more than one writer, or one that goes on from memory which
// is older than its disk.
type Violation struct {
	At   time.Time // when the last of Runs began
	UUID string
	Name string
	Runs []Run // every run of the VM that went on at that moment, the oldest first
	// Stale says that the last of them began from memory that came from another host, and
	// that the VM had run and written elsewhere since. Runs may then be that one alone.
	Stale bool
}

// World is the storage that all hosts share: one witness for the disk of each VM,
// keyed by the VM's UUID, that knows who writes to it. It believes the virtual
// hypervisors only, never an agent. Safe for concurrent use.
type World struct {
	mu          sync.Mutex       // guards everything below; never held while a callback runs
	writers     map[string][]int // UUID → indexes into runs of those that go on, the oldest first
	runs        []Run            // everything that ever ran, in the order of beginning
	violations  []Violation
	undelivered []Violation
	onViolation func(Violation)
	observers   []func(began bool, run Run, index int)
	hosts       map[string]*Host    // by name; the last of that name
	begun       map[string]int      // runs that ever began, by UUID
	moving      map[*migration]bool // under way
	cuts        map[[2]string]bool  // connections that are cut, by the names in order
	loads       map[string]load     // what guests do, by UUID
}

// NewWorld returns a world in which nothing has run yet.
func NewWorld() *World {
	return &World{
		writers: make(map[string][]int),
		hosts:   make(map[string]*Host),
		begun:   make(map[string]int),
		moving:  make(map[*migration]bool),
		cuts:    make(map[[2]string]bool),
	}
}

// OnViolation has f called once for each violation, right after the call that
// caused it has let go of its locks; f may call any method of World and Host.
// Set it before the first VM runs.
func (w *World) OnViolation(f func(Violation)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.onViolation = f
}

// Violations returns every violation so far, the oldest first. It never forgets one.
func (w *World) Violations() []Violation {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.violations)
}

// Runs returns everything that ever ran, ordered by beginning.
func (w *World) Runs() []Run {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.runs)
}

// Writers returns the runs of one VM that go on at this moment, the oldest first.
// More than one is a violation, already recorded.
func (w *World) Writers(uuid string) []Run {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current(uuid)
}

// Running returns every run that goes on at this moment, ordered by name and host.
func (w *World) Running() []Run {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []Run
	for uuid := range w.writers {
		all = append(all, w.current(uuid)...)
	}
	slices.SortFunc(all, func(a, b Run) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.UUID, b.UUID), strings.Compare(a.Host, b.Host))
	})
	return all
}

// current needs w.mu.
func (w *World) current(uuid string) []Run {
	var runs []Run
	for _, i := range w.writers[uuid] {
		runs = append(runs, w.runs[i])
	}
	return runs
}

func (w *World) register(h *Host) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hosts[h.cfg.Name] = h
}

// begin records that a VM starts to write and returns the number of its run. came is
// set for one that is let run for the first time since it came from another host.
// Called with the host's mutex held.
func (w *World) begin(run Run, came *arrival) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	index, uuid := len(w.runs), run.UUID
	run.From = time.Now()
	w.runs = append(w.runs, run)
	w.writers[uuid] = append(w.writers[uuid], index)
	stale := came != nil && came.runs != w.begun[uuid]
	w.begun[uuid]++
	if len(w.writers[uuid]) > 1 || stale {
		v := Violation{At: run.From, UUID: uuid, Name: run.Name, Runs: w.current(uuid), Stale: stale}
		w.violations = append(w.violations, v)
		w.undelivered = append(w.undelivered, v)
	}
	for _, f := range w.observers {
		f(true, run, index)
	}
	return index
}

// end records that a run is over. Called with the host's mutex held.
func (w *World) end(index int, how Ending) {
	w.mu.Lock()
	defer w.mu.Unlock()
	run := &w.runs[index]
	run.To, run.How = time.Now(), how
	w.writers[run.UUID] = slices.DeleteFunc(w.writers[run.UUID], func(i int) bool { return i == index })
	if len(w.writers[run.UUID]) == 0 {
		delete(w.writers, run.UUID)
	}
	for _, f := range w.observers {
		f(false, *run, index)
	}
}

// deliver calls the hook for violations that it has not seen. Called without locks.
func (w *World) deliver() {
	w.mu.Lock()
	f, pending := w.onViolation, w.undelivered
	w.undelivered = nil
	w.mu.Unlock()
	if f == nil {
		return
	}
	for _, v := range pending {
		f(v)
	}
}
