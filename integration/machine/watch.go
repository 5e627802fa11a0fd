package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ha/holdfast/integration/lab/witness"
)

// watchEvery is how often the shared disk is looked at.
const watchEvery = 20 * time.Millisecond

// Sight is one life of a VM, as its marks on the shared disk show it.
type Sight struct {
	Host  int // number of the machine that wrote
	Life  witness.Life
	First time.Time // when its first mark was seen
	Last  time.Time // when its newest mark was seen
}

// watch reads the shared disk from outside, past every cache.
type watch struct {
	file  *os.File
	block []byte
	vms   int

	mu    sync.Mutex // guards what follows
	seen  map[int][]Sight
	count map[int]uint64
	err   error
	last  time.Time     // look
	gap   time.Duration // longest between two looks since longest was asked
}

// openWatch makes the shared disk for so many VMs and opens it for looking.
func openWatch(path string, vms int) (*watch, error) {
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, int64(vms+1)*witness.DiskSize)); err != nil {
		return nil, fmt.Errorf("make the shared disk: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil, fmt.Errorf("open the shared disk past the cache: %w", err)
	}
	block, err := unix.Mmap(-1, 0, witness.BlockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map a block: %w", err), f.Close())
	}
	return &watch{file: f, block: block, vms: vms, seen: map[int][]Sight{}, count: map[int]uint64{}}, nil
}

// part is one VM's of the shared disk.
type part struct {
	f  *os.File
	at int64
}

func (p part) ReadAt(b []byte, off int64) (int, error) { return p.f.ReadAt(b, p.at+off) }

// run looks until ctx ends.
func (w *watch) run(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		for vm := 1; vm <= w.vms; vm++ {
			w.look(vm)
		}
		w.looked()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// looked notes how long it was since the last look.
func (w *watch) looked() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if !w.last.IsZero() {
		w.gap = max(w.gap, now.Sub(w.last))
	}
	w.last = now
}

// longest is the longest time between two looks since it was asked last.
func (w *watch) longest() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	gap := w.gap
	w.gap = 0
	return gap
}

func (w *watch) look(vm int) {
	r, err := witness.ReadHeartbeat(part{w.file, int64(vm) * witness.DiskSize}, w.block)
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case errors.Is(err, witness.ErrBlank):
		return
	case err != nil:
		w.err = err
		return
	}
	lives := w.seen[vm]
	if n := len(lives); n > 0 && lives[n-1].Life == r.Life {
		if r.Count != w.count[vm] {
			lives[n-1].Last = now
		}
	} else {
		w.seen[vm] = append(lives, Sight{Host: int(r.Life[0]), Life: r.Life, First: now, Last: now})
	}
	w.count[vm] = r.Count
}

// newest is the life that wrote last; false before the first.
func (w *watch) newest(vm int) (Sight, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.seen[vm])
	if n == 0 {
		return Sight{}, false
	}
	return w.seen[vm][n-1], true
}

// verdict returns an error when any VM ever had two writers, or the disk cannot be read.
func (w *watch) verdict() error {
	w.mu.Lock()
	errs := []error{w.err}
	for vm, lives := range w.seen {
		for i, l := range lives {
			for _, later := range lives[i+1:] {
				if later.Life == l.Life {
					errs = append(errs, fmt.Errorf("VM %d: life %v on h%d wrote again after another had begun: %+v", vm, l.Life, l.Host, lives))
				}
			}
		}
	}
	w.mu.Unlock()
	block, err := unix.Mmap(-1, 0, witness.BlockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return fmt.Errorf("map a block: %w", err)
	}
	defer unix.Munmap(block) //nolint:errcheck // only memory
	for vm := 1; vm <= w.vms; vm++ {
		_, err := w.file.ReadAt(block, int64(vm)*witness.DiskSize+witness.BlockSize)
		if err != nil {
			errs = append(errs, fmt.Errorf("read the conflict of VM %d: %w", vm, err))
			continue
		}
		if r, err := witness.Decode(block); err == nil {
			errs = append(errs, fmt.Errorf("VM %d had two writers: %+v", vm, r))
		} else if !errors.Is(err, witness.ErrBlank) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (w *watch) close() error { return errors.Join(unix.Munmap(w.block), w.file.Close()) }
