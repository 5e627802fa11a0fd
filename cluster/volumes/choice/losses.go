package choice

import (
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/fsm"
)

// newFor is how long a candidate that some host has yet to look at is waited for: two
// looks. One at which a host hangs is not waited for for ever.
const newFor = 10 * time.Second

// Losses is what the choice goes by and the reports of one moment do not say. All are
// by path.
type Losses struct {
	// Lost is for how long volumes in use have failed on most hosts.
	Lost map[string]time.Duration `json:"lost,omitempty"`
	// Spared are volumes that were lost a while ago, and replace no other before that is long enough ago.
	Spared map[string]bool `json:"spared,omitempty"`
	// New are candidates that were named a moment ago, and some host has yet to look.
	New map[string]bool `json:"new,omitempty"`
}

// Watch follows the reports. The zero value has seen nothing. It is for one goroutine,
// or for callers that hold a lock.
type Watch struct {
	failing map[string]time.Duration // since when, by path
	lost    map[string]bool          // those for LostAfter, as they were last time
	spared  map[string]time.Duration // since when
	unsaid  map[string]time.Duration // since when some host has yet to look
}

// Look takes what hosts report at a moment, and returns what the choice needs to know
// of the time before. What is not in the policy any more is forgotten.
func (w *Watch) Look(in Input, now time.Duration) Losses {
	out := Losses{Lost: map[string]time.Duration{}, Spared: map[string]bool{}, New: map[string]bool{}}
	failing, lost, spared, unsaid := map[string]time.Duration{}, map[string]bool{}, map[string]time.Duration{}, map[string]time.Duration{}
	for _, c := range in.Candidates {
		path := c.Path
		used := slices.ContainsFunc(in.InUse, func(u fsm.Volume) bool { return u.Path == path })
		if used && Failing(in.Hosts, path) {
			failing[path] = since(w.failing, path, now)
			out.Lost[path] = now - failing[path]
			lost[path] = out.Lost[path] >= LostAfter
		}
		if !used {
			if w.lost[path] { // it was replaced, or taken out
				spared[path] = now
			} else if at, is := w.spared[path]; is && now-at < SparedFor {
				spared[path] = at
			}
			_, out.Spared[path] = spared[path]
			if slices.ContainsFunc(in.Hosts, func(h Host) bool { return !h.Silent && h.report(path) == nil }) {
				unsaid[path] = since(w.unsaid, path, now)
				out.New[path] = now-unsaid[path] < newFor
			}
		}
	}
	w.failing, w.lost, w.spared, w.unsaid = failing, lost, spared, unsaid
	return out
}

func since(of map[string]time.Duration, path string, now time.Duration) time.Duration {
	if at, is := of[path]; is {
		return at
	}
	return now
}
