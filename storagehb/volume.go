package storagehb

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// ErrAbandoned is returned by Run when an I/O does not end: its thread stays behind
// in the kernel, with its buffer and its file, until the storage answers or the
// process is gone. It does nothing any more but end.
var ErrAbandoned = errors.New("an I/O does not end; its thread is left behind")

// ErrHeld says that another process of this host has the volume open to write to it:
// one that an agent before this one has left behind with an I/O under way, most often.
// Nothing is read or written until it has ended, so that no two writes are under way to
// one slot.
var ErrHeld = errors.New("has the volume open, and may have a write to it under way: this host reads and writes it again when that has ended, which is when the storage answers")

// Config is what a Volume needs to know. All fields but Log and Wall are required.
type Config struct {
	// Open opens the device, and keeps other processes of this host from opening it in
	// the same way until it is closed: it fails with ErrHeld while one has it. It is called
	// on the volume's own thread, again after every error, and may hang.
	Open func() (File, error)
	// Cluster and Volume are whose and which volume it must be.
	Cluster, Volume format.UUID
	// Host and Slot are the writer; the slot is its own alone, for ever.
	Host format.UUID
	Slot int
	// Timing must be the one that the volume was initialised with.
	Timing lease.Timing
	// Deadline is how long an I/O may take before the volume is degraded.
	Deadline time.Duration
	// Grace is how long Run waits for an I/O under way when it is to end.
	Grace time.Duration
	// Now is the boot clock. Any goroutine may call it.
	Now func() time.Duration
	// Wall is the wall clock, for people; time.Now when nil.
	Wall func() time.Time
	// Report is given every event, one at a time, in order. It must not block for
	// long: the volume waits for it, though nobody else does.
	Report func(Event)
	// Log is told of changes of state; nothing is logged when nil.
	Log hclog.Logger
}

// Validate names the first field that cannot be.
func (c Config) Validate() error {
	switch {
	case c.Open == nil || c.Now == nil || c.Report == nil:
		return errors.New("heartbeat volume: Open, Now and Report must be set")
	case c.Cluster.IsZero() || c.Volume.IsZero() || c.Host.IsZero():
		return fmt.Errorf("heartbeat volume: cluster %v, volume %v and host %v must all be set", c.Cluster, c.Volume, c.Host)
	case c.Slot < 0 || c.Slot >= format.MaxSlots:
		return fmt.Errorf("heartbeat volume: slot is %d, allowed is 0 to %d", c.Slot, format.MaxSlots-1)
	case c.Deadline <= 0 || c.Grace < 0:
		return fmt.Errorf("heartbeat volume: deadline is %v and grace %v, want more than zero, and not less", c.Deadline, c.Grace)
	}
	return c.Timing.Validate()
}

// Volume is one heartbeat volume as one host uses it. All of its I/O is done by one
// goroutine of its own, one at a time: so no write ever overtakes
// another, no buffer is used for two, and a volume that hangs holds up nothing but
// itself. Submit, Beat, ReadTable and ReadVMs only leave word and return.
type Volume struct {
	cfg  Config
	wake chan struct{} // has room for one: there is something to do
	out  chan message  // from the goroutine that does the I/O to Run

	mu     sync.Mutex // guards what follows; never held over I/O or a report
	wanted wanted
}

// message is what the I/O goroutine says: that it begins an I/O, or how one ended.
type message struct {
	begun  bool
	at     time.Duration
	events []Event
	err    error // what is wrong with the volume
}

// New returns a Volume that does nothing until Run.
func New(cfg Config) (*Volume, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Wall == nil {
		cfg.Wall = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	cfg.Log = cfg.Log.With("volume", cfg.Volume.String())
	return &Volume{cfg: cfg, wake: make(chan struct{}, 1), out: make(chan message)}, nil
}

// Submit leaves a heartbeat, claim, acknowledgements or VM table to be written, in
// place of one of its kind that was left before and is not being written yet. It
// refuses a value that could not be written and, with ErrWentBack, one that is not
// newer than the last of its kind. The value is not to be changed afterwards. Of a
// heartbeat the volume itself fills in the latency.
//
// What was submitted is written once: after an error a newer one has to follow.
func (v *Volume) Submit(value format.Value) error {
	if k := value.Kind(); k == format.KindSuper || k.Length() == 0 {
		return fmt.Errorf("submit %v: no host writes that", k)
	}
	if err := value.Validate(); err != nil {
		return fmt.Errorf("submit %v: %w", value.Kind(), err)
	}
	v.mu.Lock()
	err := v.wanted.write(value)
	v.mu.Unlock()
	if err == nil {
		v.poke()
	}
	return err
}

// Beat is Submit of a heartbeat and ReadTable in one, which is what is due in each
// interval: on storage that is quick both are handed over together.
func (v *Volume) Beat(h format.Heartbeat) error {
	v.mu.Lock()
	err := v.wanted.write(h)
	v.wanted.table = true
	v.mu.Unlock()
	v.poke()
	return err
}

// ReadTable asks for a reading of all slots that begins after this call.
func (v *Volume) ReadTable() {
	v.mu.Lock()
	v.wanted.table = true
	v.mu.Unlock()
	v.poke()
}

// ReadVMs asks for a reading of one host's VM table that begins after this call.
func (v *Volume) ReadVMs(slot int) error {
	if slot < 0 || slot >= format.MaxSlots {
		return fmt.Errorf("read VM table: slot is %d, allowed is 0 to %d", slot, format.MaxSlots-1)
	}
	v.mu.Lock()
	v.wanted.vms[slot] = true
	v.mu.Unlock()
	v.poke()
	return nil
}

func (v *Volume) poke() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// Run opens the volume, does what is asked for, and reports, until ctx ends. Then it
// waits for the I/O under way, up to Config.Grace; if that does not end, it returns
// ErrAbandoned all the same. Nothing is reported after it has returned. It may be
// called once.
func (v *Volume) Run(ctx context.Context) error {
	w := &worker{v: v, ctx: ctx}
	ended, gone := make(chan struct{}), make(chan struct{})
	w.gone = gone
	defer close(gone)
	go func() {
		defer close(ended)
		w.run()
	}()

	late := time.NewTimer(v.cfg.Deadline) // runs while an I/O is under way
	late.Stop()
	defer late.Stop()
	state, held := Opening, false
	become := func(s State, at time.Duration, err error) {
		was := held
		held = errors.Is(err, ErrHeld)
		if s == state && held == was {
			return
		}
		v.cfg.Log.Info("the heartbeat volume's state changed", "from", state.String(), "to", s.String(), "error", err)
		state = s
		v.cfg.Report(Changed{State: s, Since: at, Err: err})
	}
	stop := ctx.Done()
	var grace <-chan time.Time
	for {
		select {
		case <-stop:
			stop = nil
			timer := time.NewTimer(v.cfg.Grace)
			defer timer.Stop()
			grace = timer.C
		case <-grace:
			v.cfg.Log.Warn("the heartbeat volume is left with an I/O under way", "slot", v.cfg.Slot)
			return ErrAbandoned
		case <-ended:
			return nil
		case <-late.C:
			become(Degraded, v.cfg.Now(), nil)
		case m := <-v.out:
			if m.begun {
				late.Reset(v.cfg.Deadline)
				continue
			}
			late.Stop()
			for _, e := range m.events {
				v.cfg.Report(e)
			}
			switch {
			case ctx.Err() != nil: // what was given up for that says nothing about the volume
			case errors.Is(m.err, ErrHeld): // an I/O does not end, though it is another process's
				become(Degraded, m.at, m.err)
			case m.err != nil:
				become(Failing, m.at, m.err)
			default:
				become(Working, m.at, nil)
			}
		}
	}
}
