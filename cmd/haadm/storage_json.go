package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// volumeView is a superblock as JSON.
type volumeView struct {
	ID        string         `json:"id"` // made anew by each init
	Label     string         `json:"label"`
	Cluster   string         `json:"cluster"`
	ClusterID string         `json:"cluster_id"`
	Created   time.Time      `json:"created"`
	By        string         `json:"by,omitempty"` // the host that initialised it
	Slots     int            `json:"slots"`
	Size      int64          `json:"size"` // of the device or file, in bytes
	Sector    int            `json:"sector"`
	Format    string         `json:"format"`
	Timing    api.TimingView `json:"timing"`
	Damage    []string       `json:"damage,omitempty"`
}

// slotView is what one host says. A record that is not there, or not valid, is left out.
type slotView struct {
	Slot      int            `json:"slot"`
	Host      string         `json:"host"`
	Heartbeat *heartbeatView `json:"heartbeat,omitempty"`
	Claim     *claimView     `json:"claim,omitempty"`
	Acks      *acksView      `json:"acknowledgements,omitempty"`
	VMs       *vmTableView   `json:"vm_table,omitempty"`
	Damage    []string       `json:"damage,omitempty"`
}

// written is what is known of the writing of a record. Ages and moments are by the
// writer's wall clock, and for people alone.
type written struct {
	By   string      `json:"by"`   // the host's UUID
	Copy string      `json:"copy"` // A or B
	At   time.Time   `json:"at"`
	Age  api.Seconds `json:"age_seconds"`
	Boot float64     `json:"boot_clock_seconds"` // the writer's, at submission
}

type heartbeatView struct {
	written
	Incarnation uint64      `json:"incarnation"`
	Run         uint64      `json:"run"`
	Seq         uint64      `json:"seq"`
	Acked       uint64      `json:"acknowledged"`
	BootID      string      `json:"boot_id"`
	Epoch       uint64      `json:"epoch"`
	Applied     uint64      `json:"applied"`
	SetRevision uint64      `json:"set_revision"`
	Flags       []string    `json:"flags"`
	Lease       api.Seconds `json:"lease_seconds"`
	Watchdog    api.Seconds `json:"watchdog_seconds"`
	Interval    api.Seconds `json:"interval_seconds"`
	Latency     api.Seconds `json:"latency_seconds"`
	VMs         uint32      `json:"vms"`
	TableSeq    uint64      `json:"table_seq"`
	Digest      string      `json:"digest"`
	Reason      string      `json:"last_fenced,omitempty"`
}

type claimView struct {
	written
	Epoch       uint64        `json:"epoch"`
	Version     uint64        `json:"version"`
	Incarnation uint64        `json:"incarnation"`
	Index       uint64        `json:"index"`
	Reason      string        `json:"reason,omitempty"`
	Listed      []listingView `json:"listed"`
}

type listingView struct {
	Slot        int    `json:"slot"`
	Incarnation uint64 `json:"incarnation"`
	Standing    string `json:"standing"`
}

type acksView struct {
	written
	Epoch uint64    `json:"epoch"`
	Seq   uint64    `json:"seq"`
	Heard []ackView `json:"heard"`
}

type ackView struct {
	Slot        int    `json:"slot"`
	Incarnation uint64 `json:"incarnation"`
	Run         uint64 `json:"run"`
	Seq         uint64 `json:"seq"`
}

type vmTableView struct {
	written
	Incarnation uint64       `json:"incarnation"`
	Run         uint64       `json:"run"`
	Seq         uint64       `json:"seq"`
	VMs         []vmLineView `json:"vms"`
}

type vmLineView struct {
	UUID       string `json:"uuid"`
	Generation uint64 `json:"generation"`
	State      string `json:"state"`
}

func viewOfVolume(v *volume) *volumeView {
	s, o := v.super.Value, v.super.Origin
	view := &volumeView{ID: o.Volume.String(), Label: s.Label, Cluster: s.Cluster, ClusterID: o.Cluster.String(),
		Created: s.Created, Slots: s.Slots,
		Size: v.size, Sector: v.sector, Format: fmt.Sprintf("%d.%d", format.Major, o.Minor),
		Timing: api.NewTimingView(s.Timing), Damage: damaged("superblock", v.super.Errs)}
	view.Timing.Wait = s.Wait.Seconds() // as it was written there
	if !o.Host.IsZero() {
		view.By = o.Host.String()
	}
	return view
}

func viewsOfSlots(v *volume, now time.Time) []slotView {
	views := []slotView{}
	for i := range v.slots {
		s := &v.slots[i]
		x := slotView{Slot: s.slot, Host: s.host(), Damage: s.damage()}
		if f := s.heartbeat; f.OK {
			h := f.Value
			x.Heartbeat = &heartbeatView{written: viewOfOrigin(f.Origin, now), Incarnation: h.Incarnation,
				Run: h.Run, Seq: h.Seq, Acked: h.Acked, BootID: h.BootID.String(),
				Epoch: h.Epoch, Applied: h.Applied, SetRevision: h.SetRevision, Flags: strings.Fields(h.Flags.String()),
				Lease: api.Seconds(h.Lease), Watchdog: api.Seconds(h.Watchdog),
				Interval: api.Seconds(h.Interval), Latency: api.Seconds(h.Latency), VMs: h.VMs,
				TableSeq: h.TableSeq, Digest: fmt.Sprintf("%x", h.Digest), Reason: h.Reason}
		}
		if f := s.claim; f.OK {
			c := f.Value
			x.Claim = &claimView{
				written:     viewOfOrigin(f.Origin, now),
				Epoch:       c.Epoch,
				Version:     c.Version,
				Incarnation: c.Incarnation,
				Index:       c.Index,
				Reason:      c.Reason,
				Listed:      []listingView{},
			}
			for _, l := range c.Listed {
				x.Claim.Listed = append(x.Claim.Listed, listingView{l.Slot, l.Incarnation, l.Standing.String()})
			}
		}
		if f := s.acks; f.OK {
			x.Acks = &acksView{written: viewOfOrigin(f.Origin, now), Epoch: f.Value.Epoch, Seq: f.Value.Seq, Heard: []ackView{}}
			for _, a := range f.Value.Heard {
				x.Acks.Heard = append(x.Acks.Heard, ackView(a))
			}
		}
		if f := s.vms; f.OK {
			t := f.Value
			x.VMs = &vmTableView{written: viewOfOrigin(f.Origin, now), Incarnation: t.Incarnation, Run: t.Run, Seq: t.Seq, VMs: []vmLineView{}}
			for _, vm := range t.VMs {
				x.VMs.VMs = append(x.VMs.VMs, vmLineView{vm.UUID.String(), vm.Generation, vm.State.String()})
			}
		}
		views = append(views, x)
	}
	return views
}

func viewOfOrigin(o format.Origin, now time.Time) written {
	return written{By: o.Host.String(), Copy: string(rune('A' + o.Copy)),
		At: o.Wall, Age: api.Seconds(now.Sub(o.Wall)), Boot: o.Boot.Seconds()}
}
