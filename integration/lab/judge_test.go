package lab

import (
	"bytes"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/integration/lab/witness"
)

// sampled is one look of the judge's: which processes there were, and which executed.
type sampled struct {
	there, busy []int // PIDs; PID n is on host hn
	life        byte  // whose beat is on the disk; 0: none
}

func TestJudgeOnSamples(t *testing.T) {
	tests := []struct {
		name    string
		samples []sampled
		twice   bool
		runs    int
		lives   int
	}{
		{"one run", []sampled{{[]int{1}, []int{1}, 'a'}, {[]int{1}, []int{1}, 'a'}}, false, 1, 1},
		{"one after another", []sampled{{[]int{1}, []int{1}, 'a'}, {nil, nil, 'a'}, {[]int{2}, []int{2}, 'b'}}, false, 2, 2},
		{"a paused second process", []sampled{{[]int{1, 2}, []int{1}, 'a'}, {[]int{1, 2}, []int{1}, 'a'}}, false, 2, 1},
		{"two processes, never in the same sample", []sampled{{[]int{1, 2}, []int{1}, 'a'}, {[]int{1, 2}, []int{2}, 'b'}}, false, 2, 2},
		{"two execute in one sample", []sampled{{[]int{1, 2}, []int{1, 2}, 'a'}}, true, 2, 1},
		{"the old life writes again", []sampled{{[]int{1}, []int{1}, 'a'}, {[]int{2}, []int{2}, 'b'}, {[]int{2}, []int{2}, 'a'}}, true, 2, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j := newJudge(nil)
			c := &evidence{guest: &Guest{Name: "vm", UUID: "u"}}
			j.cases["vm"] = c
			beats := map[byte]uint64{}
			for i, s := range tt.samples {
				found, executing := map[int]*qemu{}, map[int]bool{}
				for _, pid := range s.there {
					found[pid] = &qemu{pid: pid, uuid: "u", host: "h" + string(rune('0'+pid))}
					executing[pid] = slices.Contains(s.busy, pid)
				}
				var beat *witness.Record
				if s.life != 0 {
					beats[s.life]++
					beat = &witness.Record{Life: witness.Life{s.life}, Count: beats[s.life]}
				}
				j.record(c, time.Unix(int64(i), 0), found, executing, beat, nil)
			}
			if err := j.Check("vm"); errors.Is(err, ErrTwice) != tt.twice {
				t.Errorf("the judge says %v, want a double run: %v", err, tt.twice)
			}
			if n := len(j.Runs("vm")); n != tt.runs {
				t.Errorf("%d runs, want %d\n%s", n, tt.runs, j.Report("vm"))
			}
			if n := len(j.Lives("vm")); n != tt.lives {
				t.Errorf("%d lives, want %d\n%s", n, tt.lives, j.Report("vm"))
			}
		})
	}
}

func TestJudgeAcquitsNobodyUnseen(t *testing.T) {
	j := newJudge(nil)
	j.cases["vm"] = &evidence{guest: &Guest{Name: "vm", UUID: "u"}}
	for _, vm := range []string{"vm", "stranger"} {
		if err := j.Check(vm); !errors.Is(err, ErrNoWitness) {
			t.Errorf("%s: %v, want ErrNoWitness", vm, err)
		}
	}
}

// TestArchive has the archive for the kernel read by another program.
func TestArchive(t *testing.T) {
	cpio, err := exec.LookPath("cpio")
	if err != nil {
		t.Skip("no cpio to read the archive with")
	}
	var archive bytes.Buffer
	must(t, writeArchive(&archive, []archived{{"dev", dirMode, nil}, {"init", fileMode, []byte("odd")}, {"modules", dirMode, nil}, {"modules/order", fileMode, []byte("x\n")}}))
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), cpio, "-idv")
	cmd.Dir, cmd.Stdin = dir, &archive
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v\n%s", err, out)
	}
	text, err := exec.CommandContext(t.Context(), "cat", filepath.Join(dir, "init"), filepath.Join(dir, "modules/order")).Output()
	if err != nil || string(text) != "oddx\n" {
		t.Errorf("unpacked %q, %v", text, err)
	}
}

func TestModulesComeAfterWhatTheyNeed(t *testing.T) {
	kernel, err := findKernel()
	if err != nil {
		t.Skip(err)
	}
	order, err := withDependencies(moduleDir(kernel), guestModules)
	must(t, err)
	at := func(name string) int {
		return slices.IndexFunc(order, func(path string) bool { return moduleName(path) == name })
	}
	for _, m := range guestModules {
		if at(m) < 0 {
			t.Errorf("%s is missing in %v", m, order)
		}
	}
	if at("virtio_ring") > at("virtio") || at("virtio") > at("virtio_blk") {
		t.Errorf("order is %s", strings.Join(order, " "))
	}
	if _, err := withDependencies(moduleDir(kernel), []string{"nonesuch"}); err == nil {
		t.Error("a module that does not exist was found")
	}
}
