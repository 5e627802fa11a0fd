package raftnode

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"golang.org/x/sys/unix"
)

// smallDisk is a file system of two megabytes, and what fills it.
type smallDisk struct {
	t   *testing.T
	dir string
}

func newSmallDisk(t *testing.T) *smallDisk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a small file system of its own needs root")
	}
	d := &smallDisk{t: t, dir: t.TempDir()}
	if err := unix.Mount("tmpfs", d.dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("no file systems can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(d.dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return d
}

// fill leaves no room.
func (d *smallDisk) fill() {
	d.t.Helper()
	f, err := os.Create(filepath.Join(d.dir, "filler"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		d.t.Fatalf("fill the disk: %v", err)
	}
}

func (d *smallDisk) clear() {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.dir, "filler")); err != nil {
		d.t.Fatal(err)
	}
}

// withSmallDisk makes three hosts of which one has its log on a small disk.
func withSmallDisk(t *testing.T, d *smallDisk, which int) *testCluster {
	n := 0
	return newTestClusterOn(t, 3, 500*time.Millisecond, func(s Stores) Stores {
		if n++; n != which {
			return s
		}
		real, err := OpenStores(filepath.Join(d.dir, "raft"), hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = real.Close() })
		return real
	})
}

// A host whose disk is full goes on as a member that leads nobody, says why, and catches
// up once there is room: raft alone would end the process over a term that it cannot save.
func TestFullDisk(t *testing.T) {
	for _, tt := range []struct {
		name  string
		which int // of the hosts; the first leads
	}{{"of the leader", 1}, {"of a follower", 2}} {
		t.Run(tt.name, func(t *testing.T) {
			d := newSmallDisk(t)
			synctest.Test(t, func(t *testing.T) {
				c := withSmallDisk(t, d, tt.which)
				defer c.close()
				full := c.hosts["h"+strconv.Itoa(tt.which)]
				d.fill()
				large := strings.Repeat("x", 256<<10)
				wait, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				_, _, err := c.hosts["h1"].node.Apply(wait, []byte(large))
				cancel()
				if tt.which == 1 && err == nil {
					t.Error("the leader has committed what does not fit on its disk")
				}
				if tt.which != 1 { // another term, which a full disk cannot take note of
					if err := c.hosts["h1"].node.Transfer(t.Context(), "h3"); err != nil {
						t.Fatal(err)
					}
				}
				c.until(20*time.Second, "its disk refuses what is written", func() bool { return full.node.Refused() != nil })
				if err := full.node.Refused(); !strings.Contains(err.Error(), "no space left") {
					t.Errorf("why: %v", err)
				}
				next := c.leader(full.name)
				for range 60 { // far beyond what a disk that hangs is given
					if err := c.apply(next, "on"); err != nil {
						t.Fatalf("the others go on without it: %v", err)
					}
					if full.node.Confirm(t.Context()) == nil {
						t.Fatal("a host whose disk is full has proven that it leads")
					}
					time.Sleep(time.Second)
					next = c.leader(full.name)
				}
				c.until(5*time.Second, "it knows who leads", func() bool { return full.node.Leader() == next.name })
				select {
				case err := <-full.node.Fatal():
					t.Errorf("its process is to end: %v", err)
				default:
				}
				if n := strings.Count(c.logs.String(), "cannot be written"); n < 1 || n > 4 {
					t.Errorf("people are told of it %d times within a minute", n)
				}
				d.clear()
				c.until(time.Minute, "it has caught up", func() bool { return slices.Equal(full.diary.read(), next.diary.read()) })
				if err := full.node.Refused(); err != nil {
					t.Errorf("there is room, and %v", err)
				}
			})
		})
	}
}

// refusing is a store that refuses with one error as long as it is there.
type refusing struct {
	raft.StableStore
	err error
}

func (s *refusing) SetUint64([]byte, uint64) error { return s.err }

// Whatever says that the disk does not take it is waited out; anything else is raft's to
// judge. A node that stops is not held up, and raft is not told to end the process.
func TestWhatIsTriedAgain(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   error
		again bool
	}{
		{"no space", &os.PathError{Op: "write", Err: syscall.ENOSPC}, true},
		{"read-only", syscall.EROFS, true},
		{"broken", syscall.EIO, true},
		{"a larger file, as bbolt says it", errors.New("file resize error: " + syscall.ENOSPC.Error()), true},
		{"closed", errors.New("database not open"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				c := Config{Stores: Stores{Log: raft.NewInmemStore(), Stable: &refusing{raft.NewInmemStore(), tt.err}}, YieldAfter: time.Second, Logger: hclog.NewNullLogger()}.withDefaults()
				w := watchStores(ctx, c, func(err error) { t.Errorf("fatal: %v", err) })
				done := make(chan error, 1)
				go func() { done <- w.SetUint64([]byte("term"), 7) }()
				time.Sleep(time.Minute)
				select {
				case err := <-done:
					if tt.again || err == nil {
						t.Errorf("it came back with %v", err)
					}
					cancel()
					return
				default:
				}
				if !tt.again {
					t.Error("it is still being tried")
				}
				if !w.due.is() || w.due.refusal() == nil {
					t.Error("it does not count as overdue")
				}
				cancel()
				if err := <-done; err != nil {
					t.Errorf("a node that stops: %v, and raft ends the process", err)
				}
			})
		})
	}
}
