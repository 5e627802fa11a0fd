package master

import "testing"

// A host that was proven off and speaks afterwards is not off, in whatever life it
// speaks: the proof was of another machine.
func TestWhoSpeaksIsNotOff(t *testing.T) {
	o := newObserved(elected, elected, 2)
	o.watch.Heard, o.fence.off = now, now+1
	if _, proven := o.drained(standard(t)); !proven {
		t.Fatal("a host that has been silent since it was proven off is not taken for off")
	}
	o.spoke = now + 2 // a heartbeat without an incarnation: its own life is over
	if _, proven := o.drained(standard(t)); proven {
		t.Error("a host that has spoken since it was proven off is still taken for off")
	}
}
