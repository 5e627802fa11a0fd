package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/lease"
)

const (
	// probeEvery is how often the machine is measured, and probeSize what is written then:
	// about what a host writes for one entry of its log.
	probeEvery = 50 * time.Millisecond
	probeSize  = 4096
)

// hesitation is by how much this machine held up whoever wanted to write or to run.
type hesitation struct {
	Disk time.Duration // the longest write of 4 KiB to where the hosts' own disks are, until it was on the disk
	Late time.Duration // the longest delay of a timer
}

// String says it for people.
func (h hesitation) String() string {
	return fmt.Sprintf("this machine took up to %v for a write of %d bytes beside the hosts' own, and was up to %v late with a timer",
		h.Disk.Round(time.Millisecond), probeSize, h.Late.Round(time.Millisecond))
}

// beyond reports whether either is longer than a leader waits for its disk, from where on
// an election, and with bad luck a lease, is what the product promises and no fault of it.
func (h hesitation) beyond(t lease.Timing) bool { return max(h.Disk, h.Late) > t.YieldAfter() }

// prober measures the machine beside a test, from outside: it knows nothing of the cluster.
type prober struct {
	mu    sync.Mutex
	seen  []probe
	began time.Time // when the write began that is under way; zero: none is
	stop  chan struct{}
	ended chan struct{}
}

// probe is one measurement that was not short.
type probe struct {
	at time.Time // its end
	hesitation
}

// startProber measures with a file in dir until the prober is ended.
func startProber(dir string) (*prober, error) {
	f, err := os.OpenFile(filepath.Join(dir, "probe"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("measure this machine: %w", err)
	}
	p := &prober{stop: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		defer func() { _ = f.Close() }() // nothing is kept in it
		p.run(func() error {
			if _, err := f.WriteAt(make([]byte, probeSize), 0); err != nil {
				return err
			}
			return syscall.Fdatasync(int(f.Fd()))
		})
	}()
	return p, nil
}

// run measures with a write until the prober is ended. A write that fails is no measurement.
func (p *prober) run(write func() error) {
	timer := time.NewTimer(probeEvery)
	defer timer.Stop()
	for {
		due := time.Now().Add(probeEvery)
		timer.Reset(probeEvery)
		select {
		case <-timer.C:
		case <-p.stop:
			return
		}
		now := time.Now()
		p.begin(now)
		err := write()
		p.note(hesitation{Disk: time.Since(now), Late: now.Sub(due)}, err)
	}
}

func (p *prober) begin(now time.Time) {
	p.mu.Lock()
	p.began = now
	p.mu.Unlock()
}

// note keeps a measurement, if it is worth it.
func (p *prober) note(h hesitation, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.began = time.Time{}
	if err != nil {
		h.Disk = 0
	}
	if max(h.Disk, h.Late) > probeEvery/5 {
		p.seen = append(p.seen, probe{time.Now(), h})
	}
}

// since is the worst that ended after from, and what is under way.
func (p *prober) since(from time.Time) (worst hesitation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.seen {
		if x.at.After(from) {
			worst.Disk, worst.Late = max(worst.Disk, x.Disk), max(worst.Late, x.Late)
		}
	}
	if !p.began.IsZero() {
		worst.Disk = max(worst.Disk, time.Since(p.began))
	}
	return worst
}

func (p *prober) end() {
	close(p.stop)
	<-p.ended
}

// presumes is for what holds only where the machine keeps its hosts' disks and processes
// going: that an office stays, that a host which nobody touched keeps its lease. It fails
// the test, unless this machine was measured, since from, to have hesitated for longer than the
// timing profile tolerates: then nothing is judged, which is said. Never use it where a VM
// may have run twice, nor for how long something may have run.
func (w *world) presumes(t *testing.T, from time.Time, format string, args ...any) (judged bool) {
	t.Helper()
	what := fmt.Sprintf(format, args...)
	timing, _ := lease.Profile(w.cfg.Profile)
	h := w.prober.since(from)
	if !h.beyond(timing) {
		t.Errorf("%s\n%v", what, h)
		return true
	}
	t.Logf("NOT JUDGED: %v, longer than the %v that the profile %s tolerates; what was seen: %s", h, timing.YieldAfter(), w.cfg.Profile, what)
	return false
}
