package fsm

import (
	"testing"
	"time"
)

// A host goes by what the state has of its last word: an older one that comes late must
// not undo it, and a new life begins without any.
func TestLastWordOnAWatchdogStands(t *testing.T) {
	r := newCluster(t) // a and b live, in incarnation 1
	say := func(word uint64, timeout time.Duration) {
		r.must(&NoteWatchdog{Meta: r.meta(), Epoch: 1, Host: "b", Incarnation: 1, Watchdog: Watchdog{word, timeout}})
	}
	check := func(when string, want Watchdog) {
		t.Helper()
		if got := r.state().Hosts["b"].Watchdog; got != want {
			t.Errorf("%s it is %+v, want %+v", when, got, want)
		}
	}
	check("at first", Watchdog{})
	say(1, 3*time.Second)
	check("with a watchdog", Watchdog{1, 3 * time.Second})
	say(2, 0)
	say(1, 3*time.Second) // under way for long
	check("after an older word", Watchdog{2, 0})
	say(3, 2*time.Second)
	check("with another one", Watchdog{3, 2 * time.Second})
	r.begin("b")
	check("in a new life", Watchdog{})
}
