package host

import (
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
)

const (
	// lateTimes renewals that found more than half of the lease gone, within lateWindow, are
	// told: one comes with any change of the master.
	lateTimes  = 3
	lateWindow = time.Minute
	// lateOver is how long there must have been none before that is over.
	lateOver = 5 * time.Minute
)

// lateness is what this host knows of renewals of its lease that came late, whatever brought them.
// Nothing is decided by it: people are told before a lease ends.
type lateness struct {
	at    []time.Duration // when the last of them came, lateTimes at most
	worst api.Lateness    // of those that came without a break of lateWindow
	told  *api.Lateness   // nil: nothing is to be told
}

// renewed takes note of a renewal at now that found so much of a lease gone.
func (l *lateness) renewed(gone, of, now time.Duration, by string) {
	if 2*gone <= of {
		return
	}
	if n := len(l.at); n > 0 && now-l.at[n-1] > lateWindow {
		l.at, l.worst = nil, api.Lateness{}
	}
	if gone > l.worst.Gone {
		l.worst = api.Lateness{Gone: gone.Round(100 * time.Millisecond), By: by}
	}
	l.at = append(l.at, now)
	l.at = l.at[max(0, len(l.at)-lateTimes):]
	if l.told == nil && len(l.at) == lateTimes && now-l.at[0] <= lateWindow {
		w := l.worst // as it was when it was told: a report that changes is sent again
		l.told = &w
	}
}

// word is what people are told at now; nil: nothing.
func (l *lateness) word(now time.Duration) *api.Lateness {
	if n := len(l.at); l.told != nil && now-l.at[n-1] > lateOver {
		*l = lateness{}
	}
	return l.told
}
