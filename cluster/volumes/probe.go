package volumes

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// prober looks at the volumes that the policy names and that are not in use. Each
// path has at most one look under way: one that hangs is not joined by another.
type prober struct {
	v    *Volumes
	next map[string]bool // it was looked at lately
	old  bool            // what stands behind those in use is to be found out anew
	jobs sync.WaitGroup

	mu   sync.Mutex // guards busy
	busy map[string]bool
}

func newProber(v *Volumes) *prober {
	return &prober{v: v, next: map[string]bool{}, busy: map[string]bool{}}
}

// due has every path looked at again.
func (p *prober) due() {
	clear(p.next)
	p.old = true
}

// look begins with the paths that are due.
func (p *prober) look(ctx context.Context, s *fsm.State, me *fsm.Host) {
	cluster, err := format.ParseUUID(s.Cluster.ID)
	if err != nil {
		return
	}
	used := s.AllVolumes()
	paths := map[string]bool{}
	for _, u := range used {
		p.v.locate(u.Path, p.old)
	}
	p.old = false
	for _, w := range p.v.cfg.Policy(s).Volumes {
		if !slices.ContainsFunc(used, func(u fsm.Volume) bool { return u.Path == w.Path }) {
			paths[w.Path] = true
		}
	}
	p.v.mu.Lock()
	for path := range p.v.view.Found {
		if !paths[path] {
			p.v.update(func(w *View) { delete(w.Found, path) })
		}
	}
	p.v.mu.Unlock()
	for path := range paths {
		p.mu.Lock()
		skip := p.busy[path] || p.next[path]
		p.busy[path] = p.busy[path] || !skip
		p.mu.Unlock()
		if skip {
			continue
		}
		p.next[path] = true
		p.jobs.Go(func() {
			f := p.v.identify(path, cluster, Slot(me))
			p.mu.Lock()
			delete(p.busy, path)
			p.mu.Unlock()
			if ctx.Err() == nil {
				p.v.locate(path, f.Err == nil)
				p.v.found(path, f)
			}
		})
	}
}

// wait gives what is under way a moment to end; one that hangs is left behind, and
// does nothing any more but end.
func (p *prober) wait(limit time.Duration) {
	done := make(chan struct{})
	go func() {
		p.jobs.Wait()
		close(done)
	}()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}

func (v *Volumes) identify(path string, cluster format.UUID, slot int) (f Found) {
	file, err := v.cfg.Look(path)
	if err != nil {
		return Found{Err: err}
	}
	defer func() { _ = file.Close() }() // it was only read
	f.ID, f.Err = storagehb.Identify(file, cluster, slot, v.cfg.Timing)
	return f
}

func (v *Volumes) found(path string, f Found) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if was, ok := v.view.Found[path]; ok && was.ID == f.ID && (was.Err == nil) == (f.Err == nil) && (f.Err == nil || was.Err.Error() == f.Err.Error()) {
		return
	}
	v.update(func(w *View) { w.Found[path] = f })
}

// locate keeps what stands behind a path; again asks anew where that is known already.
func (v *Volumes) locate(path string, again bool) {
	view, _ := v.View()
	if _, known := view.Places[path]; v.cfg.Locate == nil || known && !again {
		return
	}
	place, err := v.cfg.Locate(path)
	if err != nil {
		v.cfg.Logger.Debug("where a heartbeat volume is nobody knows", "path", path, "error", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if was, known := v.view.Places[path]; !known || was != place {
		v.update(func(w *View) { w.Places[path] = place })
	}
}
