package storagehb

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// worker does the I/O of one volume. Everything in it belongs to its goroutine.
type worker struct {
	v       *Volume
	ctx     context.Context
	gone    <-chan struct{} // closed when nobody listens any more
	file    File            // nil until the volume is open and known to be the right one
	layout  format.Layout   // of the open volume
	buf     []byte          // for the one I/O under way; has room for the table
	own     [kindCount]ownRecord
	stolen  error         // ErrSecondWriter once that was seen
	latency time.Duration // of the last I/O
}

// ownRecord is what the worker knows of one record in the host's own slot.
type ownRecord struct {
	known  bool         // the slot was read
	floor  format.Stamp // the newest that was ever seen or begun to be written
	done   format.Stamp // the newest that is known to be there
	copy   uint8        // which copy that is in
	exists bool         // there is one
}

func (w *worker) run() {
	// The thread is not given back: it ends with the goroutine.
	runtime.LockOSThread()
	defer w.close()
	// Only here, and not while an I/O may be under way: when one hangs this is never reached.
	defer func() { freeBuffer(w.buf) }()
	w.begin()
	events, err := w.open()
	w.end(events, err)
	for w.ctx.Err() == nil {
		w.v.mu.Lock()
		j, ok := w.v.wanted.next()
		w.v.mu.Unlock()
		if !ok {
			select {
			case <-w.ctx.Done():
			case <-w.v.wake:
			}
			continue
		}
		w.begin()
		w.end(w.do(j))
	}
}

func (w *worker) begin() { w.say(message{begun: true}) }

func (w *worker) end(events []Event, err error) {
	if err != nil {
		// What is wrong may be that the device behind the path is another one now:
		// it is looked at from the beginning.
		w.close()
	}
	w.say(message{at: w.v.cfg.Now(), events: events, err: err})
}

func (w *worker) say(m message) {
	select {
	case w.v.out <- m:
	case <-w.gone:
	}
}

func (w *worker) close() {
	if w.file != nil {
		w.file.Close()
		w.file = nil
	}
}

// do carries a job out and returns what to report, and what is wrong with the volume.
func (w *worker) do(j job) ([]Event, error) {
	events, err := w.open()
	if w.stolen != nil && j.write != nil {
		err = w.stolen
	}
	switch {
	case j.write != nil:
		written := Written{Kind: j.write.Kind(), Stamp: j.write.Stamp(), Err: err}
		if err == nil {
			err = w.write(j.write, &written)
		}
		written.Completed = w.v.cfg.Now()
		events = append(events, written)
	case j.vms >= 0:
		read := VMsRead{Slot: j.vms, Started: w.v.cfg.Now(), Err: err}
		if err == nil {
			err = w.readVMs(&read)
		}
		read.Completed = w.v.cfg.Now()
		events = append(events, read)
	default:
		read := TableRead{Reading: Reading{Started: w.v.cfg.Now()}, Err: err}
		if err == nil {
			read.Table, err = w.readTable()
			read.Err = err
		}
		read.Completed = w.v.cfg.Now()
		w.latency = read.Completed - read.Started
		events = append(events, read)
	}
	return events, err
}

// write writes a value into the copy that does not hold the newest known to be
// there. It is not the parity of its sequence number that chooses the copy: numbers
// are skipped, and begin elsewhere after a restart, and a write that is cut short
// must never take the newest with it.
func (w *worker) write(value format.Value, written *Written) (broken error) {
	k := value.Kind()
	own := &w.own[k]
	written.Submitted = w.v.cfg.Now()
	if value.Stamp().Compare(own.floor) <= 0 && own.known {
		written.Err = fmt.Errorf("write %v %v: %w (%v)", k, value.Stamp(), ErrWentBack, own.floor)
		return nil
	}
	o := format.Origin{Slot: uint16(w.v.cfg.Slot), Cluster: w.v.cfg.Cluster, Volume: w.v.cfg.Volume, Host: w.v.cfg.Host,
		Boot: written.Submitted, Wall: w.v.cfg.Wall()}
	if own.exists {
		o.Copy = 1 - own.copy
	}
	if h, ok := value.(format.Heartbeat); ok {
		h.Latency = w.latency
		value = h
	}
	b := w.buf[:k.Length()]
	if written.Err = format.Encode(b, value, o); written.Err != nil {
		return written.Err
	}
	// From here on it may be on the volume, whatever becomes of the write.
	own.floor = value.Stamp()
	if _, err := w.file.WriteAt(b, w.layout.Offset(k, w.v.cfg.Slot, int(o.Copy))); err != nil {
		written.Err = fmt.Errorf("write %v %v: %w", k, value.Stamp(), err)
		return written.Err
	}
	w.latency = w.v.cfg.Now() - written.Submitted
	own.done, own.copy, own.exists = value.Stamp(), o.Copy, true
	return nil
}

func (w *worker) readTable() (Table, error) {
	image := w.buf[:w.layout.TableSize()]
	if err := readImage(w.file, image); err != nil {
		return nil, err
	}
	// A volume that was wiped has no claims, which would look like a proof: whether
	// it still is this volume is looked at each time.
	super, err := checkSuper(image)
	if err == nil {
		err = w.identify(super)
	}
	if err != nil {
		return nil, err
	}
	if n := super.Value.Slots; n != w.layout.Slots {
		return nil, fmt.Errorf("%w: it had %d slots and has %d", ErrNotThisVolume, w.layout.Slots, n)
	}
	table := make(Table, w.layout.Slots)
	for slot := range table {
		table[slot] = decodeSlot(image, w.layout, w.place(slot))
		if table[slot].is(format.ErrMajor) {
			return nil, fmt.Errorf("slot %d: %w", slot, table[slot].problem())
		}
	}
	if err := w.recognise(&table[w.v.cfg.Slot], nil); err != nil {
		return nil, err
	}
	return table, nil
}

func (w *worker) readVMs(read *VMsRead) error {
	if read.Slot >= w.layout.Slots {
		read.Err = fmt.Errorf("read VM table: there is no slot %d, the volume has %d", read.Slot, w.layout.Slots)
		return nil
	}
	read.VMs, read.Err = readVMTable(w.file, w.buf, w.layout, w.place(read.Slot))
	if read.VMs.Is(format.ErrMajor) {
		read.Err = read.VMs.Problem()
	}
	return read.Err
}

// whileWanted begins no I/O once ctx has ended: a worker that was left behind must
// not write into the next life of its host.
type whileWanted struct {
	File
	ctx context.Context
}

func (f whileWanted) ReadAt(p []byte, off int64) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f whileWanted) WriteAt(p []byte, off int64) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (w *worker) place(slot int) format.Place {
	return format.Place{Cluster: w.v.cfg.Cluster, Volume: w.v.cfg.Volume, Slot: slot}
}

// open makes sure that the volume is open, is the right one, and that the host's
// own slot was read before anything is written to it.
func (w *worker) open() ([]Event, error) {
	if w.file != nil {
		return nil, nil
	}
	if err := w.room(format.SlotBlocks * format.BlockSize); err != nil {
		return nil, err
	}
	f, err := w.v.cfg.Open()
	if err != nil {
		return nil, err
	}
	w.file = whileWanted{f, w.ctx}
	super, err := readSuper(w.file, w.buf)
	if err == nil {
		err = w.identify(super)
	}
	if err != nil {
		return nil, err
	}
	cfg := &w.v.cfg
	if err := super.Value.CheckTiming(cfg.Timing); err != nil {
		return nil, err
	}
	w.layout = format.Layout{Slots: super.Value.Slots}
	if cfg.Slot >= w.layout.Slots {
		return nil, fmt.Errorf("%w: it has %d slots, and this host's is number %d; initialise one with more", ErrNotThisVolume, w.layout.Slots, cfg.Slot)
	}
	if err := w.room(w.layout.TableSize()); err != nil {
		return nil, err
	}
	image, at := w.buf[:w.layout.TableSize()], w.place(cfg.Slot)
	if err := readImage(w.file, image); err != nil {
		return nil, err
	}
	opened := Opened{Super: super.Value, Slot: decodeSlot(image, w.layout, at)}
	if opened.VMs, err = readVMTable(w.file, w.buf, w.layout, at); err != nil {
		return nil, err
	}
	if opened.is(format.ErrMajor) || opened.VMs.Is(format.ErrMajor) {
		return nil, fmt.Errorf("the host's own slot %d: %w", cfg.Slot, errors.Join(opened.problem(), opened.VMs.Problem()))
	}
	if err := w.recognise(&opened.Slot, &opened.VMs); err != nil {
		return nil, err
	}
	return []Event{opened}, nil
}

// room makes the buffer n bytes long at least. No I/O is under way.
func (w *worker) room(n int64) error {
	if int64(len(w.buf)) >= n {
		return nil
	}
	b, err := newBuffer(int(n))
	if err != nil {
		return err
	}
	freeBuffer(w.buf)
	w.buf = b
	return nil
}

// identify refuses another volume than the one wanted.
func (w *worker) identify(super format.Found[format.Super]) error {
	if o := super.Origin; o.Cluster != w.v.cfg.Cluster || o.Volume != w.v.cfg.Volume {
		return fmt.Errorf("%w: it is volume %v (%q) of cluster %v (%q), wanted is %v of %v", ErrNotThisVolume,
			o.Volume, super.Value.Label, o.Cluster, super.Value.Cluster, w.v.cfg.Volume, w.v.cfg.Cluster)
	}
	return nil
}
