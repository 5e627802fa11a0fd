package storagehb

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"golang.org/x/sys/unix"
)

// ErrInUse is a device or file that holds something, which Init would destroy.
var ErrInUse = errors.New("it is not empty")

// InitOptions is what a new volume becomes.
type InitOptions struct {
	Cluster     format.UUID  // whose it is
	ClusterName string       // and its name
	Host        format.UUID  // who initialises it
	Label       string       // the volume's name, for people
	Slots       int          // how many hosts it can serve; 64 when 0
	Timing      lease.Timing // the cluster's present timing
	Created     time.Time    // wall clock
	// Overwrite is the name that a person typed to agree to the loss of what is
	// there: of the cluster whose volume it is, or of this cluster for anything else.
	Overwrite string
}

const defaultSlots = 64

// Init makes a heartbeat volume of a block device, of a file that has the right
// size, or of a path where no file is yet. It refuses a device that is in use and,
// unless told a name in Overwrite, whatever holds anything but zeros. All of the
// area is written, so that no later write has to allocate anything, and then read
// back. The volume gets a new UUID, which is returned with its superblock.
//
// It must not be called for a volume that hosts still use: take it out of the set
// first. ctx is looked at between I/Os; one that hangs cannot be given up.
func Init(ctx context.Context, path string, o InitOptions) (format.Super, format.UUID, error) {
	fail := func(err error) (format.Super, format.UUID, error) {
		return format.Super{}, format.UUID{}, fmt.Errorf("initialise heartbeat volume %s: %w", path, err)
	}
	if o.Slots == 0 {
		o.Slots = defaultSlots
	}
	switch err := o.Timing.Validate(); {
	case err != nil:
		return fail(err)
	case o.Cluster.IsZero() || o.ClusterName == "" || len(o.ClusterName) > 64 || len(o.Label) > 64:
		return fail(fmt.Errorf("cluster %v, name %q and label %q: want a UUID, a name of 1 to 64 bytes and a label of up to 64",
			o.Cluster, o.ClusterName, o.Label))
	case o.Slots < 1 || o.Slots > format.MaxSlots:
		return fail(fmt.Errorf("slots is %d, allowed is 1 to %d", o.Slots, format.MaxSlots))
	}
	created, err := createFile(path)
	if err != nil {
		return fail(err)
	}
	super, volume, err := initialise(ctx, path, o, created)
	if err != nil {
		if created {
			err = errors.Join(err, os.Remove(path))
		}
		return fail(err)
	}
	return super, volume, nil
}

// createFile makes an empty file where there is none, and says so.
func createFile(path string) (created bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := f.Close(); err != nil {
		return true, errors.Join(err, os.Remove(path))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return true, errors.Join(err, os.Remove(path))
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return true, errors.Join(err, os.Remove(path))
	}
	return true, nil
}

func initialise(ctx context.Context, path string, o InitOptions, created bool) (format.Super, format.UUID, error) {
	none := format.Super{}
	size := format.Layout{Slots: o.Slots}.Size()
	// O_EXCL on a block device is refused while it is mounted or part of another.
	d, err := openDevice(path, unix.O_DSYNC|unix.O_EXCL)
	if errors.Is(err, unix.EBUSY) {
		return none, format.UUID{}, fmt.Errorf("%w: mounted, or part of a RAID, LVM or multipath device", ErrInUse)
	}
	if err != nil {
		return none, format.UUID{}, err
	}
	defer func() { _ = d.Close() }() // what was written is on the storage since each write returned
	switch {
	case created:
	case d.block && d.Size() < size:
		return none, format.UUID{}, fmt.Errorf("it has %d bytes, %d slots need %d; it can hold %d slots",
			d.Size(), o.Slots, size, format.SlotsIn(d.Size()))
	case !d.block && d.Size() != size:
		return none, format.UUID{}, fmt.Errorf("the file has %d bytes, %d slots need exactly %d; remove it and it is made anew",
			d.Size(), o.Slots, size)
	}
	buf, err := newBuffer(1 << 20)
	if err != nil {
		return none, format.UUID{}, err
	}
	defer freeBuffer(buf)
	if !created {
		if err := refuseContent(ctx, d, path, buf, size, o); err != nil {
			return none, format.UUID{}, err
		}
	}

	volume, err := newUUID()
	if err != nil {
		return none, format.UUID{}, err
	}
	super := format.Super{Seq: 2, LogicalSector: uint32(d.Sector()), Slots: o.Slots, Timing: o.Timing, Wait: o.Timing.Wait(),
		Created: o.Created, Cluster: o.ClusterName, Label: o.Label}
	// The superblocks go first and come last: a volume half made is no volume.
	clear(buf)
	if err := each(ctx, buf, size, d.WriteAt); err != nil {
		return none, format.UUID{}, err
	}
	supers := buf[:format.SupersSize]
	for copy := range 2 {
		origin := format.Origin{Copy: uint8(copy), Cluster: o.Cluster, Volume: volume, Host: o.Host, Wall: o.Created}
		super.Seq = 2 + uint64(copy)
		if err := format.Encode(supers[copy*format.BlockSize:(copy+1)*format.BlockSize], super, origin); err != nil {
			return none, format.UUID{}, err
		}
	}
	if _, err := d.WriteAt(supers, 0); err != nil {
		return none, format.UUID{}, err
	}
	return super, volume, readBack(ctx, path, bytes.Clone(supers), buf, size)
}

// readBack opens the volume as an agent will and compares all of it with what was written.
func readBack(ctx context.Context, path string, supers, buf []byte, size int64) error {
	d, err := Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }() // it was only read
	return each(ctx, buf, size, func(p []byte, off int64) (int, error) {
		n, err := d.ReadAt(p, off)
		if err != nil {
			return n, err
		}
		if off == 0 {
			if !bytes.Equal(p[:len(supers)], supers) {
				return n, errors.New("the superblocks read back are not those that were written")
			}
			p = p[len(supers):]
		}
		if at := firstByte(p); at >= 0 {
			return n, fmt.Errorf("a byte within 1 MiB of offset %d was written as zero and is read as another", off)
		}
		return n, nil
	})
}

// each calls do for all of the area, a buffer at a time.
func each(ctx context.Context, buf []byte, size int64, do func(p []byte, off int64) (int, error)) error {
	for off := int64(0); off < size; off += int64(len(buf)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := do(buf[:min(int64(len(buf)), size-off)], off); err != nil {
			return err
		}
	}
	return nil
}

func newUUID() (u format.UUID, err error) {
	if _, err := rand.Read(u[:]); err != nil {
		return u, fmt.Errorf("make a UUID: %w", err)
	}
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return u, nil
}
