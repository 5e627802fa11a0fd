package apart_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/apart"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// One process of a host uses a volume at a time, by whatever path; who only looks waits
// for nobody and keeps nobody out.
func TestOneProcessUsesAVolume(t *testing.T) {
	path, locks := volume(t), filepath.Join(t.TempDir(), "run", "volumes")
	other := filepath.Join(filepath.Dir(path), "by-another-name")
	if err := os.Symlink(path, other); err != nil {
		t.Fatal(err)
	}
	agents := [2]*apart.Opener{apart.NewOpener(locks, ioProcess), apart.NewOpener(locks, ioProcess)}
	for _, o := range agents {
		t.Cleanup(o.Close)
	}
	first, err := agents[0].Open(path, volumeID)
	if err != nil {
		t.Fatal(err)
	}
	holder := children(t, path)[0]
	held := func(o *apart.Opener, path string) {
		t.Helper()
		f, err := o.Open(path, volumeID)
		if err == nil {
			_ = f.Close()
		}
		if want := fmt.Sprintf("process %d of this host", holder); !errors.Is(err, storagehb.ErrHeld) || !strings.HasPrefix(err.Error(), want) {
			t.Fatalf("open %s while another process has it: %v, want that %s has it", path, err, want)
		}
	}
	held(agents[1], other)
	held(agents[0], other) // this agent's own that it left behind
	f, err := agents[1].Open(path, format.UUID{9})
	if err != nil {
		t.Errorf("another volume: %v", err)
	} else if err := f.Close(); err != nil {
		t.Error(err)
	}
	look, err := agents[1].Look(path)
	if err != nil {
		t.Fatalf("look: %v", err)
	}
	if _, err := look.ReadAt(make([]byte, format.BlockSize), 0); err != nil {
		t.Error(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := agents[1].Open(other, volumeID) // the process of the first is idle now, and somebody looks
	if err != nil {
		t.Fatalf("open once the other has closed it: %v", err)
	}
	if err := errors.Join(second.Close(), look.Close()); err != nil {
		t.Error(err)
	}
}

// A process that cannot end, as one cannot whose write hangs in the kernel, keeps the
// volume though its agent is gone; a stopped one stands for it here.
func TestWhatWasLeftBehindKeepsTheVolume(t *testing.T) {
	path, locks := volume(t), t.TempDir()
	before, after := apart.NewOpener(locks, ioProcess), apart.NewOpener(locks, ioProcess)
	t.Cleanup(after.Close)
	f, err := before.Open(path, volumeID)
	if err != nil {
		t.Fatal(err)
	}
	pid := children(t, path)[0]
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	goOn := func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
	t.Cleanup(goOn)
	wrote := make(chan error, 1)
	go func() {
		_, err := f.WriteAt(block(1), 0)
		wrote <- err
	}()
	for range 3 {
		if f, err := after.Open(path, volumeID); !errors.Is(err, storagehb.ErrHeld) {
			if err == nil {
				_ = f.Close()
			}
			t.Fatalf("a process that was left behind with a write has not ended, and the volume is opened: %v", err)
		}
	}
	goOn()
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool {
		f, err := after.Open(path, volumeID)
		return err == nil && f.Close() == nil
	}) {
		t.Error("the lock did not fall with the process")
	}
	if err := f.Close(); !errors.Is(err, apart.ErrGone) {
		t.Error(err)
	}
}

// Without a lock nothing is opened, and so nothing written.
func TestNoLockNoVolume(t *testing.T) {
	path, dir := volume(t), t.TempDir()
	inTheWay := filepath.Join(dir, "file")
	if err := os.WriteFile(inTheWay, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o := apart.NewOpener(filepath.Join(inTheWay, "volumes"), ioProcess)
	t.Cleanup(o.Close)
	if f, err := o.Open(path, volumeID); err == nil || !strings.Contains(err.Error(), "hold the lock of the volume") || !errors.Is(err, syscall.ENOTDIR) {
		if err == nil {
			_ = f.Close()
		}
		t.Errorf("opened where no lock can be made: %v", err)
	}
}
