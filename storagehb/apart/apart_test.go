package apart_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/apart"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// The names under which this test program is executed again.
const (
	ioProcess    = "apart-io"    // serves a volume
	agentProcess = "apart-agent" // writes to a volume until it is killed
)

func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 2 && os.Args[0] == ioProcess:
		if err := apart.Serve(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case len(os.Args) == 2 && os.Args[0] == agentProcess:
		agent(os.Args[1])
	}
	os.Exit(m.Run())
}

// agent opens a volume, says so, and writes to it for ever.
func agent(path string) {
	f, err := apart.NewOpener(locksOf(path), ioProcess).Open(path, volumeID)
	fmt.Println("open:", err)
	for err == nil {
		_, err = f.WriteAt(block(1), 0)
	}
	fmt.Println(err)
	os.Exit(1)
}

// locksOf is where the agents of the volume at path have their locks: not on its file system.
func locksOf(path string) string { return filepath.Join(filepath.Dir(filepath.Dir(path)), "locks") }

var volumeID = format.UUID{1, 2, 3}

func block(fill byte) []byte { return bytes.Repeat([]byte{fill}, format.BlockSize) }

// opener is one that leaves no process behind when the test ends.
func opener(t *testing.T) *apart.Opener {
	t.Helper()
	o := apart.NewOpener(filepath.Join(t.TempDir(), "volumes"), ioProcess)
	t.Cleanup(o.Close)
	return o
}

// volume is a file that can be one, on a file system that knows direct I/O.
func volume(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "holdfast-apart-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "heartbeat")
	if err := os.WriteFile(path, make([]byte, 16*format.BlockSize), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadsAndWrites(t *testing.T) {
	o, path := opener(t), volume(t)
	for round := range 2 { // the second time in a process that is there already
		f, err := o.Open(path, volumeID)
		if err != nil {
			t.Fatal(err)
		}
		want := block(byte(7 + round))
		if n, err := f.WriteAt(want, 3*format.BlockSize); n != len(want) || err != nil {
			t.Fatalf("wrote %d bytes, %v", n, err)
		}
		got := make([]byte, 3*format.BlockSize)
		if n, err := f.ReadAt(got, 2*format.BlockSize); n != len(got) || err != nil {
			t.Fatalf("read %d bytes, %v", n, err)
		}
		if !bytes.Equal(got, slices.Concat(block(0), want, block(0))) {
			t.Error("what was read is not what was written, where it was written")
		}
		if _, err := f.ReadAt(got, 14*format.BlockSize); err == nil || !strings.Contains(err.Error(), "read 12288 bytes at 57344") {
			t.Errorf("a read past the end: %v", err)
		}
		if _, err := f.ReadAt(make([]byte, 64<<20), 0); err == nil {
			t.Error("a read of more than there is memory for did not fail")
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := len(children(t, path)); n != 1 {
		t.Errorf("%d processes serve the volume, want one for both times", n)
	}
	if _, err := o.Open(path+"-none", volumeID); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "open "+path+"-none") {
		t.Errorf("open what is not there: %v", err)
	}
	if _, err := o.Open("/dev/null", volumeID); err == nil || !strings.Contains(err.Error(), "neither a block device nor a regular file") {
		t.Errorf("open /dev/null: %v", err)
	}
}

// Several I/Os at once are done in their order, by way of memory that is shared.
func TestSeveralAtOnce(t *testing.T) {
	o, path := opener(t), volume(t)
	f, err := o.Open(path, volumeID)
	if err != nil {
		t.Fatal(err)
	}
	b := f.(storagehb.Batcher)
	memory, err := b.Memory(4 * format.BlockSize)
	if err != nil {
		t.Fatal(err)
	}
	out, in := memory[:format.BlockSize], memory[format.BlockSize:3*format.BlockSize]
	copy(out, block(5))
	if n, err := b.Do(storagehb.IO{Write: true, Buffer: out, Offset: format.BlockSize}, storagehb.IO{Buffer: in}); n != 2 || err != nil {
		t.Fatalf("%d were done, %v", n, err)
	}
	if !bytes.Equal(in, slices.Concat(block(0), block(5))) {
		t.Error("the reading does not show the write before it")
	}
	copy(out, block(6))
	n, err := b.Do(storagehb.IO{Buffer: in, Offset: 15 * format.BlockSize}, storagehb.IO{Write: true, Buffer: out})
	if n != 0 || err == nil || !strings.Contains(err.Error(), "read 8192 bytes at 61440") {
		t.Errorf("a read past the end: %d were done, %v", n, err)
	}
	if _, err := f.ReadAt(in, 0); err != nil || !bytes.Equal(in[:format.BlockSize], block(0)) {
		t.Errorf("what came after an I/O that failed was done all the same (%v)", err)
	}
	if _, err := b.Do(storagehb.IO{Write: true, Buffer: block(7)}); err == nil || !strings.Contains(err.Error(), "not in the memory shared") {
		t.Errorf("a buffer that nobody else can see: %v", err)
	}
	if _, err := b.Memory(64 << 20); err == nil {
		t.Error("there is more memory than there is")
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func TestProcessIsGone(t *testing.T) {
	o, path := opener(t), volume(t)
	f, err := o.Open(path, volumeID)
	if err != nil {
		t.Fatal(err)
	}
	pids := children(t, path)
	if len(pids) != 1 {
		t.Fatalf("processes %v serve the volume, want one", pids)
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(block(1), 0); !errors.Is(err, apart.ErrGone) {
		t.Errorf("a write without the process that does it: %v", err)
	}
	if err := f.Close(); !errors.Is(err, apart.ErrGone) {
		t.Errorf("close without the process: %v", err)
	}
	if f, err = o.Open(path, volumeID); err != nil {
		t.Fatalf("open once more: %v", err)
	}
	if _, err := f.WriteAt(block(1), 0); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	o.Close()
	if !eventually(func() bool { return len(children(t, path)) == 0 }) {
		t.Error("a process stays behind")
	}
}

// eventually polls for something that takes a moment.
func eventually(done func() bool) bool {
	for late := time.Now().Add(10 * time.Second); time.Now().Before(late); time.Sleep(10 * time.Millisecond) {
		if done() {
			return true
		}
	}
	return false
}

// children are the processes that serve a volume.
func children(t *testing.T, path string) (pids []int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		text, err := os.ReadFile(file)
		var pid int
		if _, scanned := fmt.Sscanf(file, "/proc/%d/", &pid); err == nil && scanned == nil && string(text) == ioProcess+"\x00"+path+"\x00" {
			pids = append(pids, pid)
		}
	}
	return pids
}

// FIFREEZE and FITHAW of linux/fs.h, where both are made for an int.
const (
	freeze = 0xc0045877
	thaw   = 0xc0045878
)

// What all of this is for: a process whose writes hang in the kernel is gone at once
// when it is killed, and what hung ends when the storage answers.
func TestKilledWhileStorageHangs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("file systems are for root to freeze")
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip("mkfs.ext4 is not installed")
	}
	dir := mountExt4(t)
	path := filepath.Join(dir, "heartbeat")
	if err := os.WriteFile(path, make([]byte, 16*format.BlockSize), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	agent := &exec.Cmd{Path: "/proc/self/exe", Args: []string{agentProcess, path}, Stderr: os.Stderr}
	out, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 100)
	if n, err := out.Read(said); err != nil || !strings.HasPrefix(string(said[:n]), "open: <nil>") {
		t.Fatalf("it says %q, %v", said[:n], err)
	}
	if err := unix.IoctlSetInt(int(root.Fd()), freeze, 0); err != nil {
		t.Skipf("the file system cannot be frozen: %v", err)
	}
	melt := sync.OnceFunc(func() {
		if err := unix.IoctlSetInt(int(root.Fd()), thaw, 0); err != nil {
			t.Errorf("thaw: %v", err)
		}
	})
	defer melt()
	hangs := func() bool {
		for _, pid := range children(t, path) {
			tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
			for _, task := range tasks {
				if stat, err := os.ReadFile(task); err == nil && strings.Contains(string(stat), ") D ") {
					return true
				}
			}
		}
		return false
	}
	if !eventually(hangs) {
		t.Fatal("nothing hangs in the kernel")
	}
	gone := make(chan struct{})
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(gone)
		_ = agent.Wait() // it was killed
	}()
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("the process that was killed is still there")
		melt()
		<-gone
	}
	if !hangs() {
		t.Error("what hung has ended while the storage hangs")
	}
	next := apart.NewOpener(locksOf(path), ioProcess)
	defer next.Close()
	if _, err := next.Open(path, volumeID); !errors.Is(err, storagehb.ErrHeld) {
		t.Errorf("the next agent opens the volume while a write of this one hangs: %v", err)
	}
	melt()
	if !eventually(func() bool {
		f, err := next.Open(path, volumeID)
		return err == nil && f.Close() == nil
	}) {
		t.Error("the next agent cannot open the volume though the storage answers")
	}
	next.Close()
	if !eventually(func() bool { return len(children(t, path)) == 0 }) {
		t.Error("what hung did not end when the storage answered")
	}
}

// mountExt4 is a small file system of the test's own.
func mountExt4(t *testing.T) (dir string) {
	t.Helper()
	base, err := os.MkdirTemp("/var/tmp", "holdfast-apart-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	image, dir := filepath.Join(base, "image"), filepath.Join(base, "mount")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 16<<20), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"mkfs.ext4", "-q", "-F", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%v: %v: %s", argv, err, out)
		}
	}
	t.Cleanup(func() {
		if !eventually(func() bool { return unix.Unmount(dir, 0) == nil }) {
			t.Errorf("%s is still mounted", dir)
		}
	})
	return dir
}
