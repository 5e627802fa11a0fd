package storagehb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// worker does the I/O of one volume. Everything in it belongs to its goroutine.
type worker struct {
	v       *Volume
	ctx     context.Context
	gone    <-chan struct{} // closed when nobody listens any more
	file    *access         // nil until the volume is open and known to be the right one
	layout  format.Layout   // of the open volume
	decoder *decoder        // of the open volume
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
	defer w.close() // where an I/O hangs this is never reached, and its memory stays
	w.begin()
	events, err := w.open()
	w.end(events, err)
	for w.ctx.Err() == nil {
		w.v.mu.Lock()
		j, ok := w.v.wanted.next(w.quick())
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

// quick reports whether the storage answers so soon that a reading may be begun
// together with a write: what it proves counts from the beginning of both.
func (w *worker) quick() bool { return w.latency <= w.v.cfg.Deadline/8 }

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
		_ = w.file.Close() // what was written is there since its write returned
		w.file = nil
	}
}

// do carries a job out and returns what to report, and what is wrong with the volume.
func (w *worker) do(j job) ([]Event, error) {
	events, err := w.open()
	if j.vms >= 0 {
		read := VMsRead{Slot: j.vms, Started: w.v.cfg.Now(), Err: err}
		if err == nil {
			err = w.readVMs(&read)
		}
		read.Completed = w.v.cfg.Now()
		return append(events, read), err
	}
	out := outgoing{Written: Written{Submitted: w.v.cfg.Now(), Err: err}}
	if j.write != nil {
		err = w.prepare(&out, j.write)
		if err != nil && j.table { // that is no reason not to read
			w.v.ReadTable()
			j.table = false
		}
	}
	var table Table
	if err == nil {
		table, err = w.exchange(&out, &j)
	}
	now := w.v.cfg.Now()
	if j.write != nil {
		out.Completed = now
		events = append(events, out.Written)
	}
	if j.table {
		events = append(events, TableRead{Reading: Reading{Started: out.Submitted, Table: table}, Completed: now, Err: err})
	}
	return events, err
}

// outgoing is a write on its way.
type outgoing struct {
	Written
	io   IO
	copy uint8
	due  bool // it is to be done; otherwise Err says why not
}

// prepare encodes a value for the copy that does not hold the newest known to be
// there. It is not the parity of its sequence number that chooses the copy: numbers
// are skipped, and begin elsewhere after a restart, and a write that is cut short
// must never take the newest with it.
func (w *worker) prepare(out *outgoing, value format.Value) (broken error) {
	k := value.Kind()
	own := &w.own[k]
	out.Kind, out.Stamp = k, value.Stamp()
	if w.stolen != nil {
		out.Err = w.stolen
	}
	if out.Err != nil {
		return out.Err
	}
	if value.Stamp().Compare(own.floor) <= 0 && own.known {
		out.Err = fmt.Errorf("write %v %v: %w (%v)", k, value.Stamp(), ErrWentBack, own.floor)
		return nil
	}
	o := format.Origin{Slot: uint16(w.v.cfg.Slot), Cluster: w.v.cfg.Cluster, Volume: w.v.cfg.Volume, Host: w.v.cfg.Host,
		Boot: out.Submitted, Wall: w.v.cfg.Wall()}
	if own.exists {
		o.Copy = 1 - own.copy
	}
	if h, ok := value.(format.Heartbeat); ok {
		h.Latency = w.latency
		value = h
	}
	b := w.file.out[:k.Length()]
	if out.Err = format.Encode(b, value, o); out.Err != nil {
		return out.Err
	}
	// From here on it may be on the volume, whatever becomes of the write.
	own.floor = value.Stamp()
	out.copy, out.due, out.io = o.Copy, true, IO{Write: true, Buffer: b, Offset: w.layout.Offset(k, w.v.cfg.Slot, int(o.Copy))}
	return nil
}

// exchange does what a job asks of the device: its write, if one is due, and then its
// reading. A reading whose write failed is left for later.
func (w *worker) exchange(out *outgoing, j *job) (table Table, broken error) {
	var ios []IO
	if out.due {
		ios = append(ios, out.io)
	}
	image := w.file.in[:w.layout.TableSize()]
	if j.table {
		ios = append(ios, IO{Buffer: image})
	}
	if len(ios) == 0 {
		return nil, nil
	}
	done, err := w.file.do(ios)
	w.latency = w.v.cfg.Now() - out.Submitted
	switch {
	case out.due && done == 0:
		if j.table {
			w.v.ReadTable()
			j.table = false
		}
		out.Err = fmt.Errorf("write %v %v: %w", out.Kind, out.Stamp, err)
		return nil, out.Err
	case out.due:
		own := &w.own[out.Kind]
		own.done, own.copy, own.exists = out.Stamp, out.copy, true
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the table: %w", err)
	case !j.table:
		return nil, nil
	}
	return w.decode(image)
}

// decode makes a table of what was read.
func (w *worker) decode(image []byte) (Table, error) {
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
	table := w.decoder.table(image)
	for slot := range table {
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
	read.VMs, read.Err = readVMTable(w.file, w.file.in, w.layout, w.place(read.Slot))
	if read.VMs.Is(format.ErrMajor) {
		read.Err = read.VMs.Problem()
	}
	return read.Err
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
	f, err := w.v.cfg.Open()
	if err != nil {
		return nil, err
	}
	w.file = &access{File: f, ctx: w.ctx}
	if err := w.file.room(format.SlotBlocks * format.BlockSize); err != nil {
		return nil, err
	}
	super, err := readSuper(w.file, w.file.in)
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
		return nil, fmt.Errorf("%w: it has %d slots, and this host's is number %d; initialise one with more",
			ErrNotThisVolume, w.layout.Slots, cfg.Slot)
	}
	w.decoder = newDecoder(w.layout, w.place)
	if err := w.file.room(w.layout.TableSize()); err != nil {
		return nil, err
	}
	image, at := w.file.in[:w.layout.TableSize()], w.place(cfg.Slot)
	if err := readImage(w.file, image); err != nil {
		return nil, err
	}
	opened := Opened{Super: super.Value, Slot: decodeSlot(image, w.layout, at)}
	if opened.VMs, err = readVMTable(w.file, w.file.in, w.layout, at); err != nil {
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

// identify refuses another volume than the one wanted.
func (w *worker) identify(super format.Found[format.Super]) error {
	if o := super.Origin; o.Cluster != w.v.cfg.Cluster || o.Volume != w.v.cfg.Volume {
		return fmt.Errorf("%w: it is volume %v (%q) of cluster %v (%q), wanted is %v of %v", ErrNotThisVolume,
			o.Volume, super.Value.Label, o.Cluster, super.Value.Cluster, w.v.cfg.Volume, w.v.cfg.Cluster)
	}
	return nil
}
