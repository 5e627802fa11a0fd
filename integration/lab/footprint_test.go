package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
)

const (
	// footprintVMs are spread over three hosts.
	footprintVMs = 50
	// maxIdleCPU is what one host's agent may take of one processor when nothing
	// happens, and maxRSS what it may hold of memory, in MiB.
	maxIdleCPU = 0.03
	maxRSS     = 60
	// footprintFor is how long the agents are watched.
	footprintFor = 20 * time.Second
)

// TestLabFootprint measures what the agents of three hosts with 50 VMs take when
// nothing happens: processor time and memory, the guard included.
//
// It is a measurement: another program on the machine makes it meaningless, so
// it runs where it is asked for (make bench).
func TestLabFootprint(t *testing.T) {
	if os.Getenv("HOLDFAST_BENCH") != "1" {
		t.Skip("a measurement for a quiet machine: make bench runs it (HOLDFAST_BENCH=1)")
	}
	w := newWorld(t, Config{Profile: "standard", LogLevel: "info"})
	begin := time.Now()
	var starting sync.WaitGroup
	names := make([][]string, len(w.Hosts()))
	for i, h := range w.Hosts() {
		for n := i; n < footprintVMs; n += len(w.Hosts()) {
			names[i] = append(names[i], fmt.Sprintf("idle%02d", n))
		}
		starting.Go(func() {
			for _, name := range names[i] {
				g, err := w.CreateGuest(name, Empty)
				if err == nil {
					err = h.Define(t.Context(), g)
				}
				if err == nil {
					err = h.StartGuest(t.Context(), g)
				}
				if err != nil {
					t.Errorf("start %s: %v", name, err)
					return
				}
			}
		})
	}
	starting.Wait()
	if t.Failed() {
		return
	}
	var all []string
	for _, n := range names {
		all = append(all, n...)
	}
	_, err := w.WaitStatus(within(t, 2*time.Minute), "all VMs are reported", func(s *api.Status) error {
		if s.VMs.Unprotected != footprintVMs {
			return fmt.Errorf("%+v", s.VMs)
		}
		return nil
	})
	must(t, err)
	_, err = w.Host("h1").Adm(within(t, 2*time.Minute), append([]string{"protect", "--yes"}, all...)...)
	must(t, err)
	_, err = w.WaitStatus(within(t, 2*time.Minute), "all VMs are protected and run", func(s *api.Status) error {
		if s.VMs.Running != footprintVMs {
			return fmt.Errorf("%+v", s.VMs)
		}
		return nil
	})
	must(t, err)
	t.Logf("%d VMs run and are protected after %v", footprintVMs, time.Since(begin).Round(100*time.Millisecond))

	master := w.master(t)
	type usage struct {
		cpu time.Duration
		rss int // KiB
	}
	measure := func(h *Host) usage {
		var u usage
		for _, pid := range h.processesOf(agentProgram) {
			cpu, rss := processUsage(t, pid)
			u.cpu += cpu
			u.rss += rss
		}
		return u
	}
	before := map[*Host]usage{}
	for _, h := range w.Hosts() {
		before[h] = measure(h)
	}
	from := time.Now()
	<-within(t, footprintFor).Done()
	elapsed := time.Since(from)
	for _, h := range w.Hosts() {
		after := measure(h)
		role := "member"
		if h == master {
			role = "master"
		}
		share := (after.cpu - before[h].cpu).Seconds() / elapsed.Seconds()
		rss := after.rss / 1024
		t.Logf("%s (%s): %.1f %% of a processor over %v, %d MiB", h.Name(), role, 100*share, elapsed.Round(time.Second), rss)
		if after.cpu == 0 || rss == 0 {
			t.Errorf("%s: no agent was measured", h.Name())
		}
		if share > maxIdleCPU {
			t.Errorf("%s takes %.1f %% of a processor when idle, at most %.0f %% wanted", h.Name(), 100*share, 100*maxIdleCPU)
		}
		if rss > maxRSS {
			t.Errorf("%s holds %d MiB, at most %d wanted", h.Name(), rss, maxRSS)
		}
	}
}

// processesOf lists the host's processes that execute the program of that name.
func (h *Host) processesOf(program string) []int {
	init, on := h.initPID()
	if !on {
		return nil
	}
	own, err := pidNamespace(init)
	if err != nil {
		return nil
	}
	var pids []int
	for _, pid := range processes() {
		argv := commandLine(pid)
		if len(argv) == 0 || filepath.Base(argv[0]) != program {
			continue
		}
		if space, err := pidNamespace(pid); err == nil && space == own {
			pids = append(pids, pid)
		}
	}
	return pids
}

// processUsage is what a process has taken of processors so far, to the
// nanosecond, and what it holds of memory in KiB.
func processUsage(t *testing.T, pid int) (cpu time.Duration, rssKiB int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	must(t, err)
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // a thread that has just ended
		}
		onCPU, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(onCPU, 10, 64)
		must(t, err)
		cpu += time.Duration(ns)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	for line := range strings.Lines(string(status)) {
		if kib, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			rssKiB, err = strconv.Atoi(strings.Fields(kib)[0])
			must(t, err)
		}
	}
	return cpu, rssKiB
}
