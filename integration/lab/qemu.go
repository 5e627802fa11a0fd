package lab

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// settleAge is how old a process must be before it is believed never to become a
// QEMU: libvirtd forks a child, which executes QEMU soon after.
const settleAge = 3 * time.Second

// birth is what a virtual CPU that never executes a guest's instruction takes at
// most to be created; 0.6 ms was seen, a guest's first sample takes ten times more.
const birth = 5 * time.Millisecond

// qemu is one QEMU process of a guest of this lab.
type qemu struct {
	pid     int
	host    string // empty when it is in none of the lab's hosts
	uuid    string
	threads []int         // its virtual CPUs
	spent   time.Duration // what they have executed so far
}

// qemuFinder finds QEMU processes in /proc, remembering what it has looked at: a
// look costs little even on a machine with many processes. One goroutine may use it.
type qemuFinder struct {
	hosts  []*Host
	known  map[int]*qemu     // by PID
	others map[int]time.Time // no QEMU so far, and since when we know the process
}

func newQEMUFinder(hosts []*Host) *qemuFinder {
	return &qemuFinder{hosts: hosts, known: map[int]*qemu{}, others: map[int]time.Time{}}
}

// look returns the QEMU processes that exist now, by PID.
func (f *qemuFinder) look(now time.Time) map[int]*qemu {
	alive := processes()
	others := make(map[int]time.Time, len(alive))
	known := make(map[int]*qemu, len(f.known))
	for _, pid := range alive {
		if q, ok := f.known[pid]; ok {
			if !zombie(pid) {
				known[pid] = q
			}
			continue
		}
		since, ok := f.others[pid]
		if !ok {
			since = now
		}
		if now.Sub(since) < settleAge {
			if q := f.inspect(pid); q != nil {
				known[pid] = q
				continue
			}
		}
		others[pid] = since
	}
	f.known, f.others = known, others
	return known
}

func (f *qemuFinder) inspect(pid int) *qemu {
	argv := commandLine(pid)
	if len(argv) == 0 || !strings.Contains(argv[0], "qemu-system") {
		return nil
	}
	at := slices.Index(argv, "-uuid")
	if at < 0 || at+1 >= len(argv) {
		return nil // libvirtd asking QEMU for its capabilities
	}
	q := &qemu{pid: pid, uuid: argv[at+1]}
	space, err := pidNamespace(pid)
	if err != nil {
		return nil // it has just ended
	}
	for _, h := range f.hosts {
		if init, on := h.initPID(); on {
			if s, err := pidNamespace(init); err == nil && s == space {
				q.host = h.name
			}
		}
	}
	return q
}

// executed returns how long the virtual CPUs have executed since the last call,
// to the nanosecond; 0 at the first call, and until they have executed for longer
// than their creation takes. A paused VM's do not execute at all.
func (q *qemu) executed() time.Duration {
	first := len(q.threads) == 0
	if first {
		q.threads = vcpuThreads(q.pid)
	}
	var sum time.Duration
	for _, tid := range q.threads {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/schedstat", q.pid, tid))
		if err != nil {
			continue
		}
		onCPU, _, _ := strings.Cut(string(text), " ")
		if ns, err := strconv.ParseInt(onCPU, 10, 64); err == nil {
			sum += time.Duration(ns)
		}
	}
	grown := sum - q.spent
	q.spent = sum
	if first || sum < birth {
		return 0
	}
	return grown
}

// vcpuThreads finds the threads that execute the guest; libvirt makes QEMU name
// them "CPU 0/TCG" or "CPU 0/KVM".
func vcpuThreads(pid int) []int {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil
	}
	var threads []int
	for _, t := range tasks {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/comm", pid, t.Name()))
		if err != nil || !strings.HasPrefix(string(name), "CPU ") {
			continue
		}
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			threads = append(threads, tid)
		}
	}
	return threads
}

func pidNamespace(pid int) (string, error) {
	return os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
}

// zombie reports whether the process has ended, reaped or not.
func zombie(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

// QEMUs returns the QEMU processes of the host now: guest name to PID as the
// lab's process sees it, paused ones included. It asks /proc, not libvirt.
func (h *Host) QEMUs() map[string]int {
	found := map[string]int{}
	for pid, q := range newQEMUFinder(h.lab.hosts).look(time.Now()) {
		if g := h.lab.guestByUUID(q.uuid); g != nil && q.host == h.name {
			found[g.Name] = pid
		}
	}
	return found
}

func (l *Lab) guestByUUID(uuid string) *Guest {
	l.guestsMu.Lock()
	defer l.guestsMu.Unlock()
	for _, g := range l.guests {
		if g.UUID == uuid {
			return g
		}
	}
	return nil
}
