package volumes

import (
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"github.com/holdfast-ha/holdfast/storagehb/hbtest"
)

// A host tells of members that the master does not hear what it reads in their slots,
// and of nobody while all is well.
func TestOthers(t *testing.T) {
	bubble(t, func(r *rig) {
		r.commit(func(s *fsm.State) {
			s.Hosts["b"] = &fsm.Host{Name: "b", Slot: 1, Incarnation: 4, Status: fsm.HostLive, Verdict: "live"}
			s.Hosts["c"] = &fsm.Host{Name: "c", Slot: 3, Incarnation: 2, Status: fsm.HostDead, Verdict: "dead"}
		})
		r.use(1, 2)
		write := func(seq uint64) {
			t.Helper()
			if err := putBeat(r.disks[1].Path(0), format.Heartbeat{Incarnation: 4, Run: 7, Seq: seq, Flags: format.FlagIsolated}); err != nil {
				t.Fatal(err)
			}
		}
		read := func(after time.Duration) {
			r.pass(after)
			r.Read()
			r.pass(0)
		}
		want := func(what string, of ...api.SlotReading) {
			t.Helper()
			if diff := cmp.Diff(of, r.Others()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		one := func(seq uint64, age time.Duration) api.SlotReading {
			return api.SlotReading{Host: "b", Volume: volumeID(1).String(), Age: age, Incarnation: 4, Run: 7, Seq: seq, Flags: uint32(format.FlagIsolated)}
		}
		none := api.SlotReading{Host: "b", Volume: volumeID(2).String(), Age: -1}
		write(1)
		read(time.Second)
		want("while the master hears everybody")
		r.commit(func(s *fsm.State) { s.Hosts["b"].Verdict = "suspect" })
		want("what stood there when it began to read is of nobody knows when", one(1, -1), none)
		write(2)
		read(time.Second)
		want("it changed", one(2, 0), none)
		read(3 * time.Second)
		want("it has not changed for a while", one(2, 3*time.Second), none)
		r.path(2).SetError(hbtest.ErrIO)
		read(time.Second)
		none.Error = r.Volumes.view.States[volumeID(2)].Err.Error()
		want("a volume fails here", one(2, 4*time.Second), none)
	})
}

// putBeat writes a heartbeat as the host of slot 0 does.
func putBeat(p *hbtest.Path, h format.Heartbeat) error {
	cluster, err := format.ParseUUID(clusterName)
	if err != nil {
		return err
	}
	f, err := p.Open()
	if err != nil {
		return err
	}
	b := make([]byte, 2*format.BlockSize)
	b = aligned(b)
	o := format.Origin{Copy: uint8(h.Seq & 1), Cluster: cluster, Volume: volumeID(1), Host: format.UUID{1}}
	if err := format.Encode(b, h, o); err != nil {
		return err
	}
	_, err = storagehb.Do(f, storagehb.IO{Write: true, Buffer: b, Offset: format.Layout{Slots: 4}.Offset(format.KindHeartbeat, 0, int(o.Copy))})
	return err
}

// aligned is a block within b, which has two, that direct I/O can use.
func aligned(b []byte) []byte {
	past := int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) % format.BlockSize)
	return b[format.BlockSize-past:][:format.BlockSize]
}
