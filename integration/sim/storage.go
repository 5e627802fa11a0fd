package sim

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"github.com/holdfast-ha/holdfast/storagehb/hbtest"
)

// volume is one heartbeat volume, which every host can reach.
type volume struct {
	name   string
	disk   *hbtest.Disk
	failed bool // for everybody
	// damaged counts what was corrupted on it.
	damaged int64
	// backup is an image of it; nil: none was taken. wentBack: it was brought back.
	backup   []byte
	wentBack bool
}

func (v *volume) path() string { return "/heartbeat/" + v.name }

// slots is how many a volume has: one that was removed and joins again gets another.
func (w *World) slots() int {
	n := len(w.order) + 1
	for _, a := range w.s.Actions {
		if a.Do == "add_host" {
			n++
		}
	}
	return n
}

// initVolumes makes the scenario's heartbeat volumes, as a person did before the
// cluster's policy named them.
func (w *World) initVolumes() error {
	for _, sv := range w.s.Volumes {
		cluster, err := format.ParseUUID(uuidOf("cluster", clusterName))
		if err != nil {
			return err
		}
		id, err := format.ParseUUID(uuidOf("volume", sv.ID))
		if err != nil {
			return err
		}
		d, err := hbtest.NewDisk(cluster, id, format.Super{LogicalSector: 512, Slots: w.slots(), Timing: w.timing, Wait: w.timing.Wait(), Cluster: clusterName, Label: sv.ID})
		if err != nil {
			return fmt.Errorf("heartbeat volume %s: %w", sv.ID, err)
		}
		w.volumes = append(w.volumes, &volume{name: sv.ID, disk: d})
	}
	return nil
}

// policy is the cluster's, as its first host was given it.
func (w *World) policy() map[string][]byte {
	var b strings.Builder
	fmt.Fprintf(&b, "cluster %q { schema = 1 }\ntiming { profile = %q }\n", clusterName, w.cfg.Profile)
	for _, v := range w.volumes {
		fmt.Fprintf(&b, "heartbeat_volume %q { path = %q }\n", v.name, v.path())
	}
	b.WriteString(w.fencePolicy())
	b.WriteString(vmPolicy(w.s.VMs))
	if w.s.Recorded() && (len(w.s.Rules) > 0 || w.s.Settings.AutoRebalance || w.s.Settings.ShutdownPolicy != "") && !bytes.Contains(w.s.Policy, []byte(`"restart"`)) {
		b.WriteString(oneByOne)
	}
	if w.ruled {
		b.WriteString(rulePolicy(w.s.Rules))
	}
	b.WriteString(shutdownPolicy(w.s))
	if w.balancing {
		b.WriteString(balancePolicy(w.s))
	}
	files := map[string][]byte{"cluster.hcl": []byte(b.String())}
	if len(w.s.Policy) > 0 && w.ruled {
		files["scenario.json"] = w.s.Policy
	}
	return files
}

// storage is one machine's ways to the volumes.
type storage struct {
	ways  map[string]*way // by volume
	paths []livePath      // of the agent that runs now, and of those whose I/O may be under way
	locks locks           // by which one process at a time uses a volume
}

// way is what is wrong between one machine and one volume.
type way struct {
	cut, hang bool
	slow      time.Duration
}

// livePath is one life's path to one volume.
type livePath struct {
	v    *volume
	path *hbtest.Path
}

func (m *machine) way(v *volume) *way {
	if m.storage.ways == nil {
		m.storage.ways = map[string]*way{}
	}
	if m.storage.ways[v.name] == nil {
		m.storage.ways[v.name] = &way{}
	}
	return m.storage.ways[v.name]
}

// weather makes every path what the faults say.
func (m *machine) weather() {
	for _, p := range m.storage.paths {
		w := m.way(p.v)
		var err error
		if w.cut || p.v.failed {
			err = hbtest.ErrIO
		}
		p.path.SetError(err)
		p.path.SetDelay(w.slow)
		if w.hang {
			p.path.Hang()
		} else {
			p.path.Release()
		}
	}
}

// openVolume is how one life of the agent opens a volume. Its paths are made now,
// on the World's own goroutine.
func (m *machine) openVolume(a *agentProcess) (use func(string, format.UUID) (storagehb.File, error), look func(string) (storagehb.File, error)) {
	paths := map[string]*hbtest.Path{}
	for _, v := range m.w.volumes {
		p := v.disk.Path(m.slot())
		paths[v.path()] = p
		m.storage.paths = append(m.storage.paths, livePath{v, p})
	}
	m.weather()
	open := func(path string, take func() (*user, error)) (storagehb.File, error) {
		p := paths[path]
		if p == nil {
			return nil, errors.New("no such file or directory")
		}
		if _, err := a.life.wait(); err != nil {
			return nil, err
		}
		u, err := take()
		if err != nil {
			return nil, err
		}
		f := volumeFile{l: a.life, u: u}
		_, err = f.through(func() (_ int, err error) {
			f.File, err = p.Open()
			return 0, err
		})
		if err != nil {
			u.close()
			return nil, err
		}
		return f, nil
	}
	look = func(path string) (storagehb.File, error) {
		return open(path, func() (*user, error) { return &user{life: a.life, of: &m.storage.locks}, nil })
	}
	use = func(path string, id format.UUID) (storagehb.File, error) {
		return open(path, func() (*user, error) { return m.storage.locks.take(id, a.life) })
	}
	return use, look
}

// slot is the machine's on every volume, by the order in which hosts were admitted.
func (m *machine) slot() int {
	if s := m.w.watch.newest.state; s != nil && s.Hosts[m.name] != nil {
		return int(s.Hosts[m.name].Slot) - 1
	}
	for i, name := range m.w.members() {
		if name == m.name {
			return i
		}
	}
	return len(m.w.members()) // a newcomer's is not known yet: it is the next
}

// orphanPaths says that the agent is gone. What it had under way may still land.
func (m *machine) orphanPaths() {
	for _, p := range m.storage.paths {
		p.path.Orphan()
	}
}

// darken says that the machine is off: its locks are gone, and so is whoever could wait
// for what it had under way.
func (m *machine) darken() {
	m.storage.locks.clear()
	for _, p := range m.storage.paths {
		p.path.PowerLost()
	}
}

// volumeFile is a volume as one life of an agent reaches it. A frozen agent begins
// no I/O, and one that it had begun ends, for the agent, at the thaw.
type volumeFile struct {
	storagehb.File
	l *life
	u *user
}

func (f volumeFile) ReadAt(p []byte, off int64) (int, error) {
	return f.through(func() (int, error) { return f.File.ReadAt(p, off) })
}

func (f volumeFile) WriteAt(p []byte, off int64) (int, error) {
	return f.through(func() (int, error) { return f.File.WriteAt(p, off) })
}

func (f volumeFile) through(io func() (int, error)) (int, error) {
	if _, err := f.l.wait(); err != nil {
		return 0, err
	}
	if err := f.u.begin(); err != nil {
		return 0, err
	}
	n, err := io()
	f.u.end()
	if _, killed := f.l.wait(); killed != nil {
		return 0, killed
	}
	return n, err
}

// Close closes the volume and lets go of it.
func (f volumeFile) Close() error {
	f.u.close()
	return f.File.Close()
}

// onVolumes changes a machine's way to one volume, or to all.
func onVolumes(change func(*way, scenario.Action)) act {
	return func(w *World, a scenario.Action) error {
		m, found := w.machines[a.Host], false
		for _, v := range w.volumes {
			if a.Volume == "" || a.Volume == v.name {
				change(m.way(v), a)
				found = true
			}
		}
		if !found {
			return fmt.Errorf("there is no heartbeat volume %s", a.Volume)
		}
		m.weather()
		return nil
	}
}

// onVolume changes one volume for everybody.
func onVolume(change func(*volume)) act {
	return func(w *World, a scenario.Action) error {
		for _, v := range w.volumes {
			if v.name == a.Volume {
				change(v)
				for _, m := range w.machines {
					m.weather()
				}
				return nil
			}
		}
		return fmt.Errorf("there is no heartbeat volume %s", a.Volume)
	}
}

// corruptSlot damages both copies of a host's heartbeat on one volume: each time other
// bytes, for the same ones twice would be none.
func corruptSlot(w *World, a scenario.Action) error {
	return onVolume(func(v *volume) {
		v.damaged++
		for copy := range 2 {
			v.disk.Corrupt(v.disk.Layout().Offset(format.KindHeartbeat, w.machines[a.Host].slot(), copy)+100+8*(v.damaged%40), 8)
		}
	})(w, a)
}

// releaseVolumes lets every I/O end, so that the bubble can.
func (w *World) releaseVolumes() {
	for _, m := range w.machines {
		for _, p := range m.storage.paths {
			p.path.Heal()
		}
	}
}
