package embedded

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/vmm"
	"github.com/holdfast-ha/holdfast/vmm/vmmtest"
)

func openDirectory(t *testing.T, dir, host string) *Directory {
	t.Helper()
	d, err := OpenDirectory(dir, host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestDirectoryConformance(t *testing.T) {
	vmmtest.Run(t, vmmtest.Setup{Hypervisor: openDirectory(t, t.TempDir(), "a"), XML: MinimalXML, Timeout: 5 * time.Second})
}

// waitWrites polls until a disk has n writes more than it had.
func waitWrites(t *testing.T, dir string, vm, n int) []Write {
	t.Helper()
	first := -1
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		writes, err := ReadDisk(dir, id(vm))
		if err != nil {
			t.Fatal(err)
		}
		if first < 0 {
			first = len(writes)
		}
		if len(writes) >= first+n {
			return writes
		}
		if time.Now().After(deadline) {
			t.Fatalf("disk of vm%d has %d writes, want %d", vm, len(writes), first+n)
		}
	}
}

func TestDirectoryKeepsDefinitionsAndShowsWriters(t *testing.T) {
	dir := t.TempDir()
	a, b := openDirectory(t, dir, "a"), openDirectory(t, dir, "b")
	if err := os.WriteFile(filepath.Join(dir, "a", "vm1.xml"), []byte(vm(1)), 0o644); err != nil {
		t.Fatal(err)
	}
	wantDomain(t, a, 1, vmm.Stopped, vmm.ReasonUnknown)
	deed := filepath.Join(dir, "a", "vm1.do")
	if err := os.WriteFile(deed, []byte("start\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	wantDomain(t, a, 1, vmm.Running, "")
	if _, err := os.Stat(deed); !os.IsNotExist(err) {
		t.Errorf("a deed that was done is still there: %v", err)
	}
	waitWrites(t, dir, 1, 2)
	if err := a.Kill(t.Context(), id(1)); err != nil {
		t.Fatal(err)
	}
	killed, err := ReadDisk(dir, id(1))
	if err != nil {
		t.Fatal(err)
	}

	start(t, b, 1)
	writes := waitWrites(t, dir, 1, 2)
	for _, w := range writes[len(killed):] {
		if w.Host != "b" {
			t.Errorf("write %+v by a VM that was killed", w)
		}
	}
	if d := DoubleWrites(writes); len(d) != 0 {
		t.Errorf("one after the other is no double run: %v", d)
	}
	start(t, a, 1) // against every rule
	if d := DoubleWrites(waitWrites(t, dir, 1, 4)); len(d) == 0 {
		t.Error("two writers at once were not seen")
	}

	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	again := openDirectory(t, dir, "b")
	wantDomain(t, again, 1, vmm.Stopped, vmm.ReasonUnknown) // StartPaused kept the definition
}

// A deed that was there before the host was opened is done, and what it starts writes.
func TestDirectoryOpensWithADeedToDo(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "a"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"vm1.xml": vm(1), "vm1.do": "start"} {
		if err := os.WriteFile(filepath.Join(dir, "a", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a := openDirectory(t, dir, "a")
	wantDomain(t, a, 1, vmm.Running, "")
	waitWrites(t, dir, 1, 2)
}

// A VM is gone when nothing of it can be written any more, not when it was told to stop.
func TestDirectoryKillWaitsForTheLastWrite(t *testing.T) {
	d := openDirectory(t, t.TempDir(), "a")
	w := &diskWrite{stop: make(chan struct{}), done: make(chan struct{})}
	close(w.stop)
	d.writers[id(1)] = []*diskWrite{w}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := d.Kill(ctx, id(1)); !errors.Is(err, vmm.ErrNotProven) {
		t.Errorf("kill during a write returned %v, want ErrNotProven", err)
	}
	close(w.done)
	if err := d.Kill(t.Context(), id(1)); err != nil {
		t.Errorf("kill after the write returned %v", err)
	}
}

func TestDirectoryBadInput(t *testing.T) {
	for _, host := range []string{"", "disks", "a/b", ".."} {
		if _, err := OpenDirectory(t.TempDir(), host); err == nil {
			t.Errorf("host name %q was taken", host)
		}
	}
	dir := t.TempDir()
	a := openDirectory(t, dir, "a")
	start(t, a, 1)
	for name, text := range map[string]string{"broken.xml": "<domain", "vm1.do": "dance", "vm7.do": "start"} {
		file := filepath.Join(dir, "a", name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		wantDomain(t, a, 1, vmm.Running, "") // one broken file hides nothing
		if why, err := os.ReadFile(file + ".error"); err != nil || len(why) == 0 {
			t.Errorf("%s holding %q is explained by %q (%v)", name, text, why, err)
		}
	}
	mended := filepath.Join(dir, "a", "broken.xml")
	if err := os.WriteFile(mended, []byte(vm(2)), 0o644); err != nil {
		t.Fatal(err)
	}
	wantDomain(t, a, 2, vmm.Stopped, vmm.ReasonUnknown)
	if _, err := os.Stat(mended + ".error"); !os.IsNotExist(err) {
		t.Errorf("the explanation of a file that was mended is still there: %v", err)
	}
}
