package storagehb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// Dump writes what is on a volume for a person to read: the superblock, then every
// slot that was ever written to, sound or not. It looks at a volume of any cluster.
func Dump(ctx context.Context, w io.Writer, f File) error {
	v, err := scan(ctx, f)
	if err != nil {
		return fmt.Errorf("dump heartbeat volume: %w", err)
	}
	var b strings.Builder
	s, o := v.super.Value, v.super.Origin
	fmt.Fprintf(&b, "heartbeat volume %q  %v\ncluster %q  %v\ncreated %s by host %v\nslots %d  sector %d  format %d.%d\n",
		s.Label, o.Volume, s.Cluster, o.Cluster, s.Created.Format(time.RFC3339), o.Host, s.Slots, s.LogicalSector, format.Major, o.Minor)
	t := s.Timing
	fmt.Fprintf(&b, "timing %q  heartbeat %v  lease %v  watchdog %v  reset %v  drain %v  clock error %g  grain %v  wait D %v\n",
		t.Profile, t.Heartbeat, t.Lease, t.Watchdog, t.Reset, t.Drain, t.ClockError, t.Grain, s.Wait)
	dumpErrs(&b, "superblock", v.super.Errs)
	for slot := range v.slots {
		if s := &v.slots[slot]; !s.empty() {
			dumpSlot(&b, slot, s)
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("dump heartbeat volume: %w", err)
	}
	return nil
}

func dumpSlot(b *strings.Builder, slot int, s *scannedSlot) {
	vms := &s.vms
	fmt.Fprintf(b, "\nslot %d\n", slot)
	if h := s.Heartbeat; dumpOrigin(b, "heartbeat", h.OK, h.Origin) {
		v := h.Value
		fmt.Fprintf(b, "    host %q  incarnation %d  run %d  seq %d  acknowledged %d\n", v.Name, v.Incarnation, v.Run, v.Seq, v.Acked)
		fmt.Fprintf(b, "    follows epoch %d  applied %d  proves with set %d  flags %v\n", v.Epoch, v.Applied, v.SetRevision, v.Flags)
		fmt.Fprintf(b, "    lease %v  watchdog %v  interval %v  last I/O %v  boot id %v\n", v.Lease, v.Watchdog, v.Interval, v.Latency, v.BootID)
		fmt.Fprintf(b, "    VMs %d  table %d  digest %x\n", v.VMs, v.TableSeq, v.Digest)
		fmt.Fprintf(b, "    its own disk: %v\n", v.Disk)
		if v.Reason != "" {
			fmt.Fprintf(b, "    last fenced: %q\n", v.Reason)
		}
	}
	dumpErrs(b, "  heartbeat", s.Heartbeat.Errs)
	if c := s.Claim; dumpOrigin(b, "claim", c.OK, c.Origin) {
		fmt.Fprintf(b, "    %v\n    written in incarnation %d at raft index %d: %q\n",
			c.Value, c.Value.Incarnation, c.Value.Index, c.Value.Reason)
	}
	dumpErrs(b, "  claim", s.Claim.Errs)
	if a := s.Acks; dumpOrigin(b, "acknowledgements", a.OK, a.Origin) {
		fmt.Fprintf(b, "    epoch %d  seq %d\n", a.Value.Epoch, a.Value.Seq)
		for _, ack := range a.Value.Heard {
			fmt.Fprintf(b, "    slot %d  incarnation %d  run %d  seq %d\n", ack.Slot, ack.Incarnation, ack.Run, ack.Seq)
		}
	}
	dumpErrs(b, "  acknowledgements", s.Acks.Errs)
	if dumpOrigin(b, "VM table", vms.OK, vms.Origin) {
		fmt.Fprintf(b, "    incarnation %d  run %d  seq %d\n", vms.Value.Incarnation, vms.Value.Run, vms.Value.Seq)
		for _, vm := range vms.Value.VMs {
			fmt.Fprintf(b, "    VM %v  generation %d  %v\n", vm.UUID, vm.Generation, vm.State)
		}
	}
	dumpErrs(b, "  VM table", vms.Errs)
}

func dumpOrigin(b *strings.Builder, what string, ok bool, o format.Origin) bool {
	if ok {
		fmt.Fprintf(b, "  %s %c  by host %v  at %s (its boot clock %v)\n", what, 'A'+o.Copy, o.Host, o.Wall.Format(time.RFC3339), o.Boot)
	}
	return ok
}

func dumpErrs(b *strings.Builder, what string, errs [2]error) {
	for i, err := range errs {
		if err != nil && !errors.Is(err, format.ErrEmpty) {
			fmt.Fprintf(b, "%s %c: %v\n", what, 'A'+i, err)
		}
	}
}
