package storagehb

import (
	"context"
	"fmt"

	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"golang.org/x/sys/unix"
)

// Report is what Verify found.
type Report struct {
	Super    format.Super
	Cluster  format.UUID
	Volume   format.UUID
	Written  int      // slots that were ever written to
	Warnings []string // what a person should look at; the volume can be used
}

// Verify reads all of a volume as an agent would, without writing, and returns an
// error when it cannot be used by a host of that cluster with that timing. A record
// that is being written while it is read may be reported as damaged.
func Verify(ctx context.Context, path string, cluster format.UUID, timing lease.Timing) (Report, error) {
	fail := func(err error) (Report, error) {
		return Report{}, fmt.Errorf("verify heartbeat volume %s: %w", path, err)
	}
	d, err := Open(path)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = d.Close() }() // it was only read
	v, err := scan(ctx, d)
	if err != nil {
		return fail(err)
	}
	super := v.super
	r := Report{Super: super.Value, Cluster: super.Origin.Cluster, Volume: super.Origin.Volume}
	if r.Cluster != cluster {
		return fail(fmt.Errorf("%w: it belongs to cluster %q (%v)", ErrNotThisVolume, r.Super.Cluster, r.Cluster))
	}
	if err := r.Super.CheckTiming(timing); err != nil {
		return fail(err)
	}
	r.Warnings = append(r.Warnings, d.warnings()...)
	for i, err := range super.Errs {
		if err != nil {
			r.warn("superblock %c: %v; initialise the volume again when it is out of use", 'A'+i, err)
		}
	}
	hosts := map[format.UUID]int{}
	for slot, s := range v.slots {
		if s.empty() {
			continue
		}
		r.Written++
		for _, err := range []error{s.Heartbeat.Problem(), s.Claim.Problem(), s.Acks.Problem(), s.vms.Problem()} {
			if err != nil {
				r.warn("slot %d: %v", slot, err)
			}
		}
		if h := s.Heartbeat; h.OK {
			if other, twice := hosts[h.Origin.Host]; twice {
				r.warn("host %v (%s) has slots %d and %d", h.Origin.Host, h.Value.Name, other, slot)
			}
			hosts[h.Origin.Host] = slot
		}
	}
	return r, nil
}

func (r *Report) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// warnings are about the file rather than about what is in it.
func (d *Device) warnings() (found []string) {
	if d.block {
		return nil
	}
	var fs unix.Statfs_t
	if unix.Fstatfs(d.fd, &fs) == nil && (fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC) {
		found = append(found, "the file lies in this host's memory: no other host can see it")
	}
	var st unix.Stat_t
	if unix.Fstat(d.fd, &st) == nil && st.Blocks*512 < st.Size {
		found = append(found,
			fmt.Sprintf("the file has holes (%d of %d bytes are allocated): a write may have to wait for the file system's journal; initialise it again",
				st.Blocks*512, st.Size))
	}
	return found
}
