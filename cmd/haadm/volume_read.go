package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// volume is all that stands on a heartbeat volume.
type volume struct {
	super  format.Found[format.Super]
	size   int64 // of the device or file, in bytes
	sector int
	slots  []volumeSlot // those that were ever written to

	members map[format.UUID]string // of the cluster, where they are known
}

// volumeSlot is what one host says.
type volumeSlot struct {
	slot      int
	heartbeat format.Found[format.Heartbeat]
	claim     format.Found[format.Claim]
	acks      format.Found[format.Acks]
	vms       format.Found[format.VMTable]
}

// lookAgain is after how long what looks damaged is read once more: a record that
// is just being written looks so too.
const lookAgain = 150 * time.Millisecond

// errNoVolume is a device or file that was read and holds no volume that this
// version knows.
var errNoVolume = errors.New("no heartbeat volume")

// readVolume reads a volume of whichever cluster, without writing.
func readVolume(path string) (*volume, error) {
	v, err := readOnce(path)
	if err == nil && len(v.damage()) > 0 {
		time.Sleep(lookAgain)
		v, err = readOnce(path)
	}
	return v, err
}

func readOnce(path string) (*volume, error) {
	d, err := storagehb.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }() // it was only read
	supers, err := readAll(d, format.SupersSize)
	if err != nil {
		return nil, err
	}
	v := &volume{super: format.NewestSuper(supers), size: d.Size(), sector: d.Sector()}
	switch s := &v.super; {
	case errors.Is(s.Errs[0], format.ErrEmpty) && errors.Is(s.Errs[1], format.ErrEmpty):
		return nil, fmt.Errorf("%s holds %w: it begins with zeros, and was never initialised", path, errNoVolume)
	case s.Is(format.ErrMajor), s.OK && (s.Is(format.ErrForeign) || s.Is(format.ErrMisplaced)):
		return nil, fmt.Errorf("%s holds %w that this version can use: %w", path, errNoVolume, s.Problem())
	case !s.OK:
		return nil, fmt.Errorf("%s holds %w, or what is left of one: copy A of the %w; copy B: %w", path, errNoVolume, s.Errs[0], s.Errs[1])
	}
	l := format.Layout{Slots: v.super.Value.Slots}
	if d.Size() < l.Size() {
		return nil, fmt.Errorf("%s holds %w any more: it has %d bytes, and its %d slots need %d: it was cut",
			path, errNoVolume, d.Size(), l.Slots, l.Size())
	}
	image, err := readAll(d, l.Size())
	if err != nil {
		return nil, err
	}
	for slot := range l.Slots {
		at := format.Place{Cluster: v.super.Origin.Cluster, Volume: v.super.Origin.Volume, Slot: slot}
		s := volumeSlot{slot: slot,
			heartbeat: newest(image, l, format.KindHeartbeat, at, format.DecodeHeartbeat),
			claim:     newest(image, l, format.KindClaim, at, format.DecodeClaim),
			acks:      newest(image, l, format.KindAcks, at, format.DecodeAcks),
			vms:       newest(image, l, format.KindVMTable, at, format.DecodeVMTable)}
		if s.written() {
			v.slots = append(v.slots, s)
		}
	}
	return v, nil
}

// readAll reads the first n bytes, by way of memory that direct I/O can use.
func readAll(d *storagehb.Device, n int64) ([]byte, error) {
	const piece = 1 << 20 // file servers split what is larger
	buf, err := unix.Mmap(-1, 0, piece, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("allocate %d bytes for I/O: %w", piece, err)
	}
	out := make([]byte, 0, n)
	for int64(len(out)) < n {
		part := buf[:min(piece, n-int64(len(out)))]
		if _, err := d.ReadAt(part, int64(len(out))); err != nil {
			return nil, errors.Join(err, unix.Munmap(buf))
		}
		out = append(out, part...)
	}
	return out, unix.Munmap(buf)
}

func newest[V format.Value](
	image []byte, l format.Layout, k format.Kind, at format.Place, decode func([]byte) (V, format.Origin, error),
) format.Found[V] {
	begin := l.Offset(k, at.Slot, 0)
	return format.Newest(image[begin:begin+2*int64(k.Length())], at, decode)
}

// written reports whether anything but zeros stands in the slot.
func (s *volumeSlot) written() bool {
	return s.heartbeat.OK || s.claim.OK || s.acks.OK || s.vms.OK || len(s.damage()) > 0
}

// damage lists the copies that are not as they should be, in words.
func (s *volumeSlot) damage() []string {
	var all []string
	all = append(all, damaged("heartbeat", s.heartbeat.Errs)...)
	all = append(all, damaged("claim", s.claim.Errs)...)
	all = append(all, damaged("acknowledgements", s.acks.Errs)...)
	return append(all, damaged("VM table", s.vms.Errs)...)
}

func damaged(what string, errs [2]error) []string {
	var all []string
	for i, err := range errs {
		if err != nil && !errors.Is(err, format.ErrEmpty) {
			all = append(all, fmt.Sprintf("%s %c: %v", what, 'A'+i, err))
		}
	}
	return all
}

// damage lists what is damaged anywhere on the volume.
func (v *volume) damage() []string {
	all := damaged("superblock", v.super.Errs)
	for i := range v.slots {
		for _, d := range v.slots[i].damage() {
			all = append(all, fmt.Sprintf("slot %d: %s", v.slots[i].slot, d))
		}
	}
	return all
}

// host is the name of the host that has the slot, or its UUID.
func (s *volumeSlot) host() string {
	if s.heartbeat.OK && s.heartbeat.Value.Name != "" {
		return s.heartbeat.Value.Name
	}
	if all := s.origins(); len(all) > 0 {
		return all[0].Host.String()
	}
	return ""
}

// origins are those of the slot's valid records, the heartbeat's first.
func (s *volumeSlot) origins() (all []format.Origin) {
	for _, x := range []struct {
		ok bool
		o  format.Origin
	}{{s.heartbeat.OK, s.heartbeat.Origin}, {s.claim.OK, s.claim.Origin}, {s.acks.OK, s.acks.Origin}, {s.vms.OK, s.vms.Origin}} {
		if x.ok {
			all = append(all, x.o)
		}
	}
	return all
}

// writers are the hosts that wrote a heartbeat between two readings of a volume.
func writers(before, after *volume) (names []string) {
	was := map[int]format.Stamp{}
	for i := range before.slots {
		if s := &before.slots[i]; s.heartbeat.OK {
			was[s.slot] = s.heartbeat.Value.Stamp()
		}
	}
	for i := range after.slots {
		if s := &after.slots[i]; s.heartbeat.OK && s.heartbeat.Value.Stamp().Compare(was[s.slot]) > 0 {
			names = append(names, s.host())
		}
	}
	return names
}

// patience is after how long a person is told that the storage does not answer.
const patience = 5 * time.Second

// patiently does I/O on a volume. A read or write that hangs in the kernel cannot
// be given up: when ctx ends, its goroutine has a moment to end by itself, and is
// left behind otherwise, for the moment that the program still has.
func patiently[T any](ctx context.Context, p *program, path string, do func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := do()
		done <- result{value, err}
	}()
	late := time.NewTimer(patience)
	defer late.Stop()
	stop := ctx.Done()
	var grace <-chan time.Time
	for {
		select {
		case r := <-done:
			return r.value, r.err
		case <-late.C:
			fmt.Fprintf(p.stderr, "%s has not answered for %v. Waiting on; Ctrl-C gives up.\n", path, patience)
		case <-stop:
			stop, grace = nil, time.After(time.Second)
		case <-grace:
			var none T
			return none, fmt.Errorf("given up: the storage of %s does not answer. An I/O under way cannot be taken back; the process ends when the storage answers or the host is rebooted",
				path)
		}
	}
}
