package storagehb_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"golang.org/x/sys/unix"
)

func options() storagehb.InitOptions {
	return storagehb.InitOptions{Cluster: cluster, ClusterName: "site-a", Host: id(0x50), Label: "hb1", Slots: slots,
		Timing: standard(), Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

// folder is one on a file system with direct I/O.
func folder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if fs.Type != unix.TMPFS_MAGIC {
		return dir
	}
	dir, err := os.MkdirTemp("/var/tmp", "hbv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// loop makes a block device of size bytes; the test is skipped where there are none.
func loop(t *testing.T, size int64, sector string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("block devices are for root to make")
	}
	file := filepath.Join(folder(t), "device")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--find", "--show", "--sector-size", sector, file).CombinedOutput()
	if err != nil {
		t.Skipf("there are no loop devices here: %v: %s", err, out)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", dev).CombinedOutput(); err != nil {
			t.Errorf("detach %s: %v: %s", dev, err, out)
		}
	})
	return dev
}

// use writes and reads as two hosts do, through the whole stack.
func use(t *testing.T, path string, vol format.UUID) {
	t.Helper()
	began := time.Now()
	events := make(chan storagehb.Event, 100)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 2)
	var hosts [2]*storagehb.Volume
	for slot := range hosts {
		v, err := storagehb.New(storagehb.Config{
			Open: func() (storagehb.File, error) { return storagehb.Open(path) }, Cluster: cluster, Volume: vol, Host: id(0x50 + byte(slot)), Slot: slot,
			Timing: standard(), Deadline: 10 * time.Second, Grace: 10 * time.Second, Now: func() time.Duration { return time.Since(began) },
			Report: func(e storagehb.Event) { events <- e },
		})
		if err != nil {
			t.Fatal(err)
		}
		hosts[slot] = v
		go func() { done <- v.Run(ctx) }()
	}
	wait := func(want func(e storagehb.Event) bool) {
		t.Helper()
		late := time.After(20 * time.Second)
		for {
			select {
			case e := <-events:
				if want(e) {
					return
				}
			case <-late:
				t.Fatal("it did not happen within 20 s")
			}
		}
	}
	for seq := range uint64(3) {
		for slot, h := range hosts {
			if err := h.Submit(format.Heartbeat{Incarnation: 1 + uint64(slot), Seq: 1 + seq}); err != nil {
				t.Fatal(err)
			}
			wait(func(e storagehb.Event) bool {
				w, ok := e.(storagehb.Written)
				if ok && w.Err != nil {
					t.Fatal(w.Err)
				}
				return ok
			})
		}
		hosts[0].ReadTable()
		wait(func(e storagehb.Event) bool {
			r, ok := e.(storagehb.TableRead)
			if ok && r.Err != nil {
				t.Fatal(r.Err)
			}
			for slot := range hosts {
				if ok && r.Table[slot].Heartbeat.Value.Stamp() != (format.Stamp{Life: 1 + uint64(slot), Seq: 1 + seq}) {
					t.Errorf("slot %d is read as %v", slot, r.Table[slot].Heartbeat.Value.Stamp())
				}
			}
			return ok
		})
	}
	stop()
	for range hosts {
		for waiting := true; waiting; {
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
				waiting = false
			case <-events:
			}
		}
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(folder(t), "hb1")
	super, vol, err := storagehb.Init(t.Context(), path, options())
	if err != nil {
		t.Fatal(err)
	}
	if super.Slots != slots || super.LogicalSector != format.BlockSize || vol.IsZero() {
		t.Errorf("made volume %v: %+v", vol, super)
	}
	st, err := os.Stat(path)
	if err != nil || st.Size() != layout.Size() {
		t.Fatalf("the file has %d bytes (%v), want %d", st.Size(), err, layout.Size())
	}
	use(t, path, vol)
	r, err := storagehb.Verify(t.Context(), path, cluster, standard())
	if err != nil || len(r.Warnings) > 0 || r.Volume != vol || r.Cluster != cluster || r.Written != 2 {
		t.Errorf("verified as %+v: %v", r, err)
	}
	if after, err := os.Stat(path); err != nil || after.Size() != st.Size() {
		t.Errorf("its size changed from %d to %d", st.Size(), after.Size())
	}
	var text bytes.Buffer
	d, err := storagehb.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := storagehb.Dump(t.Context(), &text, d); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"hb1"  ` + vol.String(), `cluster "site-a"`, "slot 0", "slot 1", "incarnation 2  run 0  seq 3", "wait D " + standard().Wait().String()} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the dump does not say %q:\n%s", want, text.String())
		}
	}
	if strings.Contains(text.String(), "slot 2") {
		t.Errorf("the dump shows a slot that was never used:\n%s", text.String())
	}
}

func TestBlockDevice(t *testing.T) {
	for _, sector := range []string{"512", "4096"} {
		t.Run(sector, func(t *testing.T) {
			dev := loop(t, layout.Size()+1<<20, sector)
			super, vol, err := storagehb.Init(t.Context(), dev, options())
			if err != nil {
				t.Fatal(err)
			}
			if got := super.LogicalSector; (got == 512) != (sector == "512") {
				t.Errorf("the logical sector is noted as %d", got)
			}
			use(t, dev, vol)
			if r, err := storagehb.Verify(t.Context(), dev, cluster, standard()); err != nil || len(r.Warnings) > 0 || r.Written != 2 {
				t.Errorf("verified as %+v: %v", r, err)
			}
			o := options()
			o.Slots, o.Overwrite = 64, "site-a"
			if _, _, err := storagehb.Init(t.Context(), dev, o); err == nil || !strings.Contains(err.Error(), "it can hold 20 slots") {
				t.Errorf("64 slots on a device for 20: %v", err)
			}
		})
	}
}

func TestInitRefuses(t *testing.T) {
	size := layout.Size()
	content := func(at int64, bytes string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			b := make([]byte, size)
			copy(b[at:], bytes)
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	volumeOf := func(name string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			o := options()
			o.ClusterName = name
			if _, _, err := storagehb.Init(t.Context(), path, o); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name   string
		make   func(t *testing.T, path string)
		typed  string // the name that makes it go on; "" where none does
		says   string
		change func(*storagehb.InitOptions)
	}{
		{name: "an XFS", make: content(0, "XFSB"), typed: "site-a", says: "XFS"},
		{name: "an ext4", make: content(0x438, "\x53\xef"), typed: "site-a", says: "ext4"},
		{name: "LVM", make: content(512, "LABELONE"), typed: "site-a", says: "LVM"},
		{name: "a partition table", make: content(510, "\x55\xaa"), typed: "site-a", says: "partition table"},
		{name: "data of no name, at the very end", make: content(size-1, "x"), typed: "site-a", says: "not zeros"},
		{name: "our own volume", make: volumeOf("site-a"), typed: "site-a", says: `cluster "site-a"`},
		{name: "another cluster's volume", make: volumeOf("site-b"), typed: "site-b", says: `cluster "site-b"`},
		{name: "a file of another size", make: func(t *testing.T, path string) {
			if err := os.WriteFile(path, make([]byte, size+4096), 0o600); err != nil {
				t.Fatal(err)
			}
		}, says: "need exactly"},
		{name: "a folder", make: func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, says: "neither a block device nor a regular file"},
		{name: "a pipe", make: func(t *testing.T, path string) {
			if err := unix.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}, says: "neither a block device nor a regular file"},
		{name: "a timing that is unsafe", change: func(o *storagehb.InitOptions) { o.Timing.Lease = 1 }, says: "lease"},
		{name: "257 slots", change: func(o *storagehb.InitOptions) { o.Slots = 257 }, says: "257"},
		{name: "no cluster", change: func(o *storagehb.InitOptions) { o.ClusterName = "" }, says: "name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(folder(t), "hb")
			o := options()
			if tt.make != nil {
				tt.make(t, path)
			}
			if tt.change != nil {
				tt.change(&o)
			}
			read := func() (b []byte) {
				if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() { // reading a pipe would hang
					b, _ = os.ReadFile(path)
				}
				return b
			}
			before := read()
			for _, typed := range []string{"", "site-x"} {
				o.Overwrite = typed
				_, _, err := storagehb.Init(t.Context(), path, o)
				if err == nil || !strings.Contains(err.Error(), tt.says) {
					t.Fatalf("with the name %q: %v", typed, err)
				}
				if tt.typed != "" && (!errors.Is(err, storagehb.ErrInUse) || !strings.Contains(err.Error(), `"`+tt.typed+`"`)) {
					t.Errorf("it does not say what to type: %v", err)
				}
			}
			if !bytes.Equal(before, read()) {
				t.Error("it was changed all the same")
			}
			if _, err := os.Lstat(path); tt.make == nil && err == nil {
				t.Error("a file was left behind")
			}
			if tt.typed != "" {
				o.Overwrite = tt.typed
				if _, _, err := storagehb.Init(t.Context(), path, o); err != nil {
					t.Errorf("with the name: %v", err)
				}
			}
		})
	}
}

// blkid finds what lies beyond the area that a volume takes.
func TestInitAsksBlkid(t *testing.T) {
	if _, err := exec.LookPath("blkid"); err != nil {
		t.Skip("blkid is not installed")
	}
	dev := loop(t, 16<<20, "512")
	f, err := os.OpenFile(dev, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	// A Linux RAID superblock of version 0.90, in the last full 64 KiB.
	super := make([]byte, 4096)
	copy(super, "\xfc\x4e\x2b\xa9\x00\x00\x00\x00\x5a\x00\x00\x00")
	if _, err := f.WriteAt(super, 16<<20-64<<10); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := storagehb.Init(t.Context(), dev, options()); !errors.Is(err, storagehb.ErrInUse) || !strings.Contains(err.Error(), "linux_raid_member") {
		t.Errorf("a RAID member was taken for empty: %v", err)
	}
}

// A device that is mounted is refused, whatever is typed.
func TestInitRefusesWhatIsMounted(t *testing.T) {
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip("mkfs.ext4 is not installed")
	}
	dev := loop(t, 16<<20, "512")
	if out, err := exec.Command("mkfs.ext4", "-q", dev).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	dir := t.TempDir()
	if err := unix.Mount(dev, dir, "ext4", 0, ""); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	o := options()
	o.Overwrite = "site-a"
	if _, _, err := storagehb.Init(t.Context(), dev, o); !errors.Is(err, storagehb.ErrInUse) || !strings.Contains(err.Error(), "mounted") {
		t.Errorf("a mounted file system was overwritten: %v", err)
	}
}

// Opening never makes, cuts or extends anything.
func TestOpenChangesNothing(t *testing.T) {
	dir := folder(t)
	if d, err := storagehb.Open(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there was opened: %v, %v", d, err)
	}
	path := filepath.Join(dir, "short")
	if err := os.WriteFile(path, make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := storagehb.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.Size() != 5000 {
		t.Errorf("its size is %d", d.Size())
	}
	if _, err := storagehb.Verify(t.Context(), path, cluster, standard()); err == nil {
		t.Error("5000 zeros are a volume")
	}
	if st, err := os.Stat(path); err != nil || st.Size() != 5000 {
		t.Errorf("its size is %d now", st.Size())
	}
}

func TestVerify(t *testing.T) {
	path := filepath.Join(folder(t), "hb")
	_, vol, err := storagehb.Init(t.Context(), path, options())
	if err != nil {
		t.Fatal(err)
	}
	use(t, path, vol)
	other := standard()
	other.Drain *= 2
	if _, err := storagehb.Verify(t.Context(), path, cluster, other); err == nil || !strings.Contains(err.Error(), "drain_time") {
		t.Errorf("with another timing: %v", err)
	}
	if _, err := storagehb.Verify(t.Context(), path, id(0xa0), standard()); !errors.Is(err, storagehb.ErrNotThisVolume) {
		t.Errorf("of another cluster: %v", err)
	}
	write := func(b []byte, off int64) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
	}
	// Heartbeats of slot 1, as if the host of slot 0 had written them; damage; a hole.
	twin := make([]byte, format.BlockSize)
	if err := format.Encode(twin, beat(9), format.Origin{Slot: 2, Cluster: cluster, Volume: vol, Host: id(0x50)}); err != nil {
		t.Fatal(err)
	}
	write(twin, layout.Offset(format.KindHeartbeat, 2, 0))
	write([]byte("noise"), layout.Offset(format.KindVMTable, 3, 1))
	write([]byte("noise"), 100)
	r, err := storagehb.Verify(t.Context(), path, cluster, standard())
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(r.Warnings, "\n")
	for _, want := range []string{"superblock A: superblock: damaged", "has slots 0 and 2", "slot 3: VM table: damaged"} {
		if !strings.Contains(all, want) {
			t.Errorf("there is no warning of %q:\n%s", want, all)
		}
	}
	if len(r.Warnings) != 3 {
		t.Errorf("%d warnings:\n%s", len(r.Warnings), all)
	}
	if err := os.Truncate(path, layout.Size()-4096); err != nil {
		t.Fatal(err)
	}
	if _, err := storagehb.Verify(t.Context(), path, cluster, standard()); err == nil || !strings.Contains(err.Error(), "it was cut") {
		t.Errorf("a volume that was cut: %v", err)
	}
	if err := os.Truncate(path, layout.Size()); err != nil {
		t.Fatal(err)
	}
	write([]byte{0}, layout.Size()-1)
	if err := os.Truncate(path, 1<<20); err != nil {
		t.Fatal(err)
	}
	if r, err := storagehb.Verify(t.Context(), path, cluster, standard()); err != nil || !strings.Contains(strings.Join(r.Warnings, "\n"), "holes") {
		t.Errorf("a file with holes: %v, %v", r.Warnings, err)
	}
}
