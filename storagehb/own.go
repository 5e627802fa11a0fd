package storagehb

import (
	"fmt"

	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// recognise compares the host's own slot, as it was just read, with what the worker
// knows to be there, and learns from it. vms is nil where the VM table was not read.
func (w *worker) recognise(s *Slot, vms *format.Found[format.VMTable]) error {
	err := recognise(w, format.KindHeartbeat, &s.Heartbeat)
	if e := recognise(w, format.KindClaim, &s.Claim); err == nil {
		err = e
	}
	if e := recognise(w, format.KindAcks, &s.Acks); err == nil {
		err = e
	}
	if vms != nil {
		if e := recognise(w, format.KindVMTable, vms); err == nil {
			err = e
		}
	}
	return err
}

func recognise[V format.Value](w *worker, k format.Kind, found *format.Found[V]) error {
	own := &w.own[k]
	var there format.Stamp
	if found.OK {
		there = found.Value.Stamp()
		if found.Origin.Host != w.v.cfg.Host {
			return fmt.Errorf("slot %d belongs to host %v, whose %v stands in it; this is host %v: give it a slot of its own",
				w.v.cfg.Slot, found.Origin.Host, k, w.v.cfg.Host)
		}
	}
	was := *own
	own.exists, own.copy, own.done = found.OK, found.Origin.Copy, there
	if !was.known {
		own.known, own.floor = true, there
		return nil
	}
	switch {
	case there.Compare(was.floor) > 0:
		w.stolen = fmt.Errorf("%v %v stands in slot %d, the newest that this agent wrote is %v: %w; is the agent running twice, or was the host cloned?",
			k, there, w.v.cfg.Slot, was.floor, ErrSecondWriter)
		return w.stolen
	case there.Compare(was.done) < 0:
		return fmt.Errorf("%v %v was written to slot %d, and %v is read: %w", k, was.done, w.v.cfg.Slot, there, ErrLostWrite)
	}
	return nil
}
