package storagehb_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"golang.org/x/sys/unix"
)

// FIFREEZE and FITHAW of linux/fs.h, where both are made for an int.
const (
	freeze = 0xc0045877
	thaw   = 0xc0045878
)

// The real thing: a file system is frozen, a write to it does not return (its thread
// is in state D), and the volume is left within its grace all the same.
func TestFrozenFileSystem(t *testing.T) {
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip("mkfs.ext4 is not installed")
	}
	dev := loop(t, 32<<20, "512")
	if out, err := exec.Command("mkfs.ext4", "-q", dev).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	dir := t.TempDir()
	if err := unix.Mount(dev, dir, "ext4", 0, ""); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		for late := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) { // until what was left behind has closed the file
			err := unix.Unmount(dir, 0)
			if err == nil {
				return
			}
			if time.Now().After(late) {
				t.Errorf("unmount: %v", err)
				return
			}
		}
	})
	path := filepath.Join(dir, "hb")
	_, vol, err := storagehb.Init(t.Context(), path, options())
	if err != nil {
		t.Fatal(err)
	}
	states, written := make(chan storagehb.State, 100), make(chan error, 100)
	v, err := storagehb.New(storagehb.Config{
		Open: func() (storagehb.File, error) { return storagehb.Open(path) }, Cluster: cluster, Volume: vol, Host: id(0x50), Slot: 0,
		Timing: standard(), Deadline: 200 * time.Millisecond, Grace: 200 * time.Millisecond, Now: func() time.Duration { return time.Hour },
		Report: func(e storagehb.Event) {
			switch e := e.(type) {
			case storagehb.Changed:
				states <- e.State
			case storagehb.Written:
				written <- e.Err
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	submit := func(seq uint64) {
		t.Helper()
		if err := v.Submit(format.Heartbeat{Incarnation: 1, Seq: seq}); err != nil {
			t.Fatal(err)
		}
	}
	submit(1)
	if err := <-written; err != nil {
		t.Fatal(err)
	}

	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetInt(int(root.Fd()), freeze, 0); err != nil {
		t.Skipf("the file system cannot be frozen: %v", err)
	}
	melt := sync.OnceFunc(func() {
		if err := unix.IoctlSetInt(int(root.Fd()), thaw, 0); err != nil {
			t.Errorf("thaw: %v", err)
		}
		root.Close()
	})
	t.Cleanup(melt)
	submit(2)
	for late := time.After(20 * time.Second); ; {
		select {
		case s := <-states:
			if s != storagehb.Degraded {
				continue
			}
		case err := <-written:
			t.Fatalf("a write to a frozen file system ended: %v", err)
		case <-late:
			t.Fatal("the volume was not degraded within 20 s")
		}
		break
	}
	submit(3) // returns, which is all that is asked of it
	stop()
	select {
	case err := <-done:
		if !errors.Is(err, storagehb.ErrAbandoned) {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the volume does not end while its write hangs")
	}
	melt()
}
