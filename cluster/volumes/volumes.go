// Package volumes is the heartbeat volumes as one host uses them together. It runs
// a storagehb.Volume for each that may be in use, keeps what they said last, and
// looks at those that the policy names and that are not in use yet. What follows
// from it is for the host's duty and the master's office to decide.
package volumes

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// Config is what Volumes is made of. All fields but Locate are needed.
type Config struct {
	Host   string // this host's name
	Timing lease.Timing
	// Open opens the device or file at a path to use it as that volume, which no other
	// process of this host does until it is closed (storagehb.ErrHeld). It may hang.
	Open func(path string, volume format.UUID) (storagehb.File, error)
	// Look opens what is at a path to read it alone. It may hang.
	Look func(path string) (storagehb.File, error)
	// Locate finds out what stands behind a path, without touching what may hang; nil:
	// nobody knows.
	Locate func(path string) (Place, error)
	// State is the replicated state: present copy, its index, and a channel closed at its next change.
	State func() (*fsm.State, uint64, <-chan struct{})
	// Policy is the policy that the state holds, parsed.
	Policy func(*fsm.State) *config.Policy
	// Now reads the boot clock, Wall the wall clock (for people).
	Now    func() time.Duration
	Wall   func() time.Time
	Logger hclog.Logger
}

// View is what the volumes said last, as this host sees them. It is not changed
// once made. Moments are readings of the boot clock.
type View struct {
	// Readings are the latest that succeeded, by volume.
	Readings map[format.UUID]storagehb.Reading
	// Claims are the latest writes of a claim that completed without error, by volume.
	Claims map[format.UUID]storagehb.Written
	// Failed are the last claims whose write ended in an error, by volume.
	Failed map[format.UUID]format.Stamp
	// States are how the volumes that may be in use do.
	States map[format.UUID]storagehb.Changed
	// Tables are the newest VM tables that were read, by slot.
	Tables map[int]format.VMTable
	// Found are the volumes that the policy names and that are not in use, by path.
	Found map[string]Found
	// Places are what stands behind the paths of all of them, as far as that is known.
	Places map[string]Place
}

// Found is what was found at a path.
type Found struct {
	ID  format.UUID
	Err error // why it cannot be used
}

// Volumes runs the heartbeat volumes of this host. Submit, Beat and Read may be called
// from anywhere and never wait.
type Volumes struct {
	cfg Config

	mu      sync.Mutex // guards what follows; never held over I/O
	view    *View
	changed chan struct{} // closed, and replaced, at each change of view
	running map[format.UUID]*running
	claim   format.Value // the last, for volumes that come into use
	seen    map[format.UUID]seen
	broken  []api.Violation
}

// running is one volume at work.
type running struct {
	volume *storagehb.Volume
	cancel context.CancelFunc
	path   string
	slot   int
}

// grace is how long an I/O under way is waited for when the agent ends, before it is
// left behind. Nobody renews the lease in that time: an agent that is restarted while
// storage hangs has to be back, and heard, well before the lease has ended.
func (v *Volumes) grace() time.Duration { return v.cfg.Timing.Lease / 8 }

// probeEvery is how often a volume that the policy names and that is not in use is looked at.
const probeEvery = 5 * time.Second

// New returns Volumes that do nothing until Run.
func New(cfg Config) *Volumes {
	return &Volumes{cfg: cfg, view: &View{}, changed: make(chan struct{}), running: map[format.UUID]*running{}, seen: map[format.UUID]seen{}}
}

// View returns what the volumes said last, and a channel that is closed when a
// table was read, a claim was written, or a volume's state is another one.
func (v *Volumes) View() (*View, <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.view, v.changed
}

// Submit leaves a value to be written to every volume that may be in use.
func (v *Volumes) Submit(value format.Value) {
	if value.Kind() == format.KindClaim {
		v.mu.Lock()
		v.claim = value
		v.mu.Unlock()
	}
	for id, volume := range v.volumes() {
		if err := volume.Submit(value); err != nil {
			v.cfg.Logger.Warn("not written to a heartbeat volume", "volume", id.String(), "error", err)
		}
	}
}

// Beat leaves a heartbeat to be written to each volume that may be in use, and asks for
// a reading of each that begins after this call.
func (v *Volumes) Beat(h format.Heartbeat) {
	for id, volume := range v.volumes() {
		if err := volume.Beat(h); err != nil {
			v.cfg.Logger.Warn("not written to a heartbeat volume", "volume", id.String(), "error", err)
		}
	}
}

// ReadVMs asks for the VM table of a slot, on each volume that may be in use.
func (v *Volumes) ReadVMs(slot int) {
	for id, volume := range v.volumes() {
		if err := volume.ReadVMs(slot); err != nil {
			v.cfg.Logger.Warn("a VM table is not read", "volume", id.String(), "error", err)
		}
	}
}

// Read asks each volume that may be in use for a reading that begins after this call.
func (v *Volumes) Read() {
	for _, volume := range v.volumes() {
		volume.ReadTable()
	}
}

func (v *Volumes) volumes() map[format.UUID]*storagehb.Volume {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := map[format.UUID]*storagehb.Volume{}
	for id, r := range v.running {
		all[id] = r.volume
	}
	return all
}

// Run follows the state until ctx ends: it begins with volumes that come into use
// and ends with those that go out of it.
func (v *Volumes) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	probe := newProber(v)
	defer probe.wait(v.grace())
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		s, _, changed := v.cfg.State()
		if me := s.Hosts[v.cfg.Host]; me != nil {
			v.match(ctx, &wg, s, me)
			probe.look(ctx, s, me)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-tick.C:
			probe.due()
		}
	}
}

// match makes the volumes at work those that may be in use.
func (v *Volumes) match(ctx context.Context, wg *sync.WaitGroup, s *fsm.State, me *fsm.Host) {
	wanted := map[format.UUID]fsm.Volume{}
	for _, vol := range s.AllVolumes() {
		if id, err := format.ParseUUID(vol.ID); err == nil {
			wanted[id] = vol
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for id, r := range v.running {
		// A copy of the state from before this host left and joined again has a slot that is not its own any more.
		if vol, in := wanted[id]; !in || r.path != vol.Path || r.slot != Slot(me) {
			r.cancel()
			delete(v.running, id)
			delete(v.seen, id)
			v.update(func(w *View) {
				delete(w.Readings, id)
				delete(w.Claims, id)
				delete(w.Failed, id)
				delete(w.States, id)
			})
		}
	}
	for id, vol := range wanted {
		if v.running[id] == nil {
			if r, err := v.begin(ctx, wg, s, me, id, vol); err != nil {
				v.cfg.Logger.Error("cannot use a heartbeat volume", "volume", vol.Name, "path", vol.Path, "error", err)
			} else {
				v.running[id] = r
			}
		}
	}
}

// begin sets one volume to work. The lock is held; nothing here waits.
func (v *Volumes) begin(ctx context.Context, wg *sync.WaitGroup, s *fsm.State, me *fsm.Host, id format.UUID, vol fsm.Volume) (*running, error) {
	cluster, err := format.ParseUUID(s.Cluster.ID)
	if err != nil {
		return nil, err
	}
	host, err := format.ParseUUID(me.ID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	volume, err := storagehb.New(storagehb.Config{
		Open: func() (storagehb.File, error) { return v.cfg.Open(vol.Path, id) }, Cluster: cluster, Volume: id, Host: host, Slot: Slot(me), Timing: v.cfg.Timing,
		Deadline: v.cfg.Timing.Heartbeat, Grace: v.grace(), Now: v.cfg.Now, Wall: v.cfg.Wall,
		Report: func(e storagehb.Event) { v.report(ctx, id, e) }, Log: v.cfg.Logger.With("name", vol.Name)})
	if err != nil {
		cancel()
		return nil, err
	}
	if v.claim != nil {
		if err := volume.Submit(v.claim); err != nil {
			v.cfg.Logger.Warn("not written to a heartbeat volume", "volume", vol.Name, "error", err)
		}
	}
	wg.Go(func() {
		defer cancel()
		if err := volume.Run(ctx); errors.Is(err, storagehb.ErrAbandoned) {
			v.cfg.Logger.Warn("a heartbeat volume still hangs", "volume", vol.Name)
		}
	})
	return &running{volume, cancel, vol.Path, Slot(me)}, nil
}

// Slot is the number of a host's slot on every volume. The state counts from 1.
func Slot(h *fsm.Host) int { return int(h.Slot) - 1 }

// report keeps what a volume says.
func (v *Volumes) report(ctx context.Context, id format.UUID, e storagehb.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if ctx.Err() != nil { // out of use
		return
	}
	switch e := e.(type) {
	case storagehb.TableRead:
		if e.Err == nil {
			v.seen[id] = v.seen[id].after(e.Reading)
			v.update(func(w *View) { w.Readings[id] = e.Reading })
		}
	case storagehb.VMsRead:
		if t := v.view.Tables[e.Slot]; e.Err == nil && e.VMs.OK && e.VMs.Value.Stamp().Compare(t.Stamp()) > 0 {
			v.update(func(w *View) { w.Tables[e.Slot] = e.VMs.Value })
		}
	case storagehb.Written:
		switch {
		case e.Kind != format.KindClaim:
		case e.Err == nil:
			v.update(func(w *View) { w.Claims[id] = e })
		default:
			v.update(func(w *View) { w.Failed[id] = e.Stamp })
		}
	case storagehb.Changed:
		v.assert(id, e.Err)
		v.update(func(w *View) { w.States[id] = e })
	}
}

// update replaces the view. The lock is held.
func (v *Volumes) update(change func(*View)) {
	w := &View{Readings: clone(v.view.Readings), Claims: clone(v.view.Claims), Failed: clone(v.view.Failed), States: clone(v.view.States), Tables: clone(v.view.Tables), Found: clone(v.view.Found), Places: clone(v.view.Places)}
	change(w)
	v.view = w
	close(v.changed)
	v.changed = make(chan struct{})
}

func clone[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return map[K]V{}
	}
	return maps.Clone(m)
}

// Set is a set of the state as those who prove by it and publish on it need it.
func Set(s fsm.VolumeSet) storagehb.Set {
	set := storagehb.Set{Revision: s.Revision}
	for _, v := range s.Volumes {
		if id, err := format.ParseUUID(v.ID); err == nil { // the state machine has seen to it
			set.Volumes = append(set.Volumes, id)
		}
	}
	return set
}
