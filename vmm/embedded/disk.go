package embedded

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// WriteInterval is how often a running VM of a Directory writes to its disk.
const WriteInterval = 200 * time.Millisecond

// Write is one line on a VM's disk: who wrote it and when. The wall clock is
// the same for every writer, since a Directory is on one machine.
type Write struct {
	Host    string
	Run     string // one stretch of running, never used again
	Counter int    // from 1 in each run
	At      time.Time
}

// ReadDisk reads what was written to a VM's disk in a Directory, in the order of
// writing. A disk that no VM has written to yet is empty.
func ReadDisk(dir, uuid string) ([]Write, error) {
	f, err := os.Open(filepath.Join(dir, "disks", canonical(uuid)))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read disk of %s: %w", uuid, err)
	}
	defer f.Close()
	var writes []Write
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var w Write
		var at int64
		if _, err := fmt.Sscanf(lines.Text(), "%s %s %d %d", &w.Host, &w.Run, &w.Counter, &at); err != nil {
			return nil, fmt.Errorf("read disk of %s: line %d %q: %w", uuid, len(writes)+1, lines.Text(), err)
		}
		w.At = time.Unix(0, at)
		writes = append(writes, w)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read disk of %s: %w", uuid, err)
	}
	return writes, nil
}

// DoubleWrites returns the writes that prove a double run: each one is by a run
// that another run had followed on the disk already.
func DoubleWrites(writes []Write) []Write {
	var double []Write
	over := make(map[string]bool) // runs that another one has followed
	last := ""
	for _, w := range writes {
		if over[w.Run] {
			double = append(double, w)
		}
		if last != "" && last != w.Run {
			over[last] = true
		}
		last = w.Run
	}
	return double
}

// diskWrite is one run that writes to its disk.
type diskWrite struct {
	stop chan struct{} // closed when the run has ended
	done chan struct{} // closed when nothing will be written any more
}

// observe follows the runs of this host's VMs. It is called with locks held, so
// it starts and stops writers and does not wait for them.
func (d *Directory) observe(began bool, run Run, index int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !began {
		for _, w := range d.writers[run.UUID] {
			select {
			case <-w.stop:
			default:
				close(w.stop)
			}
		}
		return
	}
	w := &diskWrite{stop: make(chan struct{}), done: make(chan struct{})}
	d.writers[run.UUID] = append(d.writers[run.UUID], w)
	d.refs.Add(1)
	go func() {
		defer d.refs.Done()
		err := d.write(run, fmt.Sprintf("%s-%d-%d", run.Host, os.Getpid(), index), w.stop)
		close(w.done)
		d.forget(run.UUID, w)
		if err != nil {
			// A guest whose disk fails is paused; that it has stopped meanwhile is as good.
			_ = d.StorageError(run.UUID)
		}
	}()
}

func (d *Directory) forget(uuid string, w *diskWrite) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, o := range d.writers[uuid] {
		if o == w {
			d.writers[uuid] = append(d.writers[uuid][:i:i], d.writers[uuid][i+1:]...)
			break
		}
	}
	if len(d.writers[uuid]) == 0 {
		delete(d.writers, uuid)
	}
}

// write appends to the VM's disk at once and then every WriteInterval until stop.
func (d *Directory) write(run Run, id string, stop <-chan struct{}) error {
	f, err := os.OpenFile(filepath.Join(d.dir, "disks", run.UUID), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	tick := time.NewTicker(WriteInterval)
	defer tick.Stop()
	for counter := 1; ; counter++ {
		select {
		case <-stop:
			return nil
		default:
		}
		line := strings.Join([]string{run.Host, id, fmt.Sprint(counter), fmt.Sprint(time.Now().UnixNano())}, " ")
		if _, err := f.WriteString(line + "\n"); err != nil {
			return err
		}
		select {
		case <-stop:
			return nil
		case <-tick.C:
		}
	}
}
