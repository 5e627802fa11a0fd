package sim

import (
	"fmt"
	"strings"

	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"github.com/holdfast-ha/holdfast/storagehb/hbtest"
)

// backUpDisk takes an image of a machine's own disk, as a backup does.
func (m *machine) backUpDisk() { m.backup = m.disk.image() }

// restoreDisk brings the image back, as after a disk was replaced: what the host has
// promised since is forgotten. Only the disk of a machine that is off can be changed.
func (m *machine) restoreDisk() {
	if m.on || m.backup == nil {
		return
	}
	m.disk, m.wentBack = m.backup.image(), true
}

// oldDisk holds that an agent finds its disk too old only where the disk did go back.
func (x *watch) oldDisk(m *machine, problems []string) {
	for _, p := range problems {
		if m.aside || !strings.Contains(p, "disk is older than the host") {
			continue
		}
		m.aside = true
		x.w.note("%s stands aside: %s", m.name, p)
		if !m.wentBack {
			x.w.broken("%s refuses its own disk, which never went back: %s", m.name, p)
		}
	}
}

// forgot reports whether the scenario shows what becomes of a cluster in which a disk went
// back and nobody knows it: then its log has two histories.
func (x *watch) forgot() bool {
	for _, m := range x.w.machines {
		if m.wentBack && !m.aside && len(x.w.s.Expect.Doubled) > 0 {
			return true
		}
	}
	return false
}

// backUpVolume takes an image of a heartbeat volume, and rollBackVolume brings it back
// under everybody's feet, as storage does that goes back to a snapshot.
func backUpVolume(v *volume) { v.backup = v.disk.Image() }

func rollBackVolume(v *volume) {
	if v.backup != nil {
		v.disk.Restore(v.backup)
		v.wentBack = true
	}
}

// copyVolume makes one heartbeat volume a copy of another, as a mirror does that was set
// up the wrong way round: behind two paths is the same volume, once as it was.
func copyVolume(w *World, a scenario.Action) error {
	for _, from := range w.volumes {
		if from.name == a.From {
			return onVolume(func(v *volume) { v.disk.Restore(from.disk.Image()) })(w, a)
		}
	}
	return fmt.Errorf("there is no heartbeat volume %s", a.From)
}

// foreignVolume puts the volume of another cluster behind a path.
func foreignVolume(w *World, a scenario.Action) error {
	cluster, err := format.ParseUUID(uuidOf("cluster", "another"))
	if err != nil {
		return err
	}
	id, err := format.ParseUUID(uuidOf("volume", "another's "+a.Volume))
	if err != nil {
		return err
	}
	d, err := hbtest.NewDisk(cluster, id, format.Super{LogicalSector: 512, Slots: w.slots(), Timing: w.timing, Wait: w.timing.Wait(), Cluster: "another", Label: a.Volume})
	if err != nil {
		return fmt.Errorf("heartbeat volume of another cluster: %w", err)
	}
	return onVolume(func(v *volume) { v.disk.Restore(d.Image()) })(w, a)
}
