package master

import (
	"time"

	"github.com/holdfast-ha/holdfast/fsm"
)

// arming is when the office arms a cluster that is disarmed, on the master's own boot clock: from the first
// look on nothing that becomes of the wall clock changes it. A new office goes by the wall clock once, as for
// retries, and counts no more than the whole time from its own beginning.
type arming struct {
	id   uint64        // of the wish (fsm.Disarm.ID); 0: the cluster is armed
	ends time.Duration // then it is armed
	warn time.Duration // then people are told that it will be
}

// warnedAhead is how long before the cluster arms itself people are told, where that is no more than a
// quarter of the whole.
const warnedAhead = 10 * time.Minute

// armingOf is arming for a state, as of the moment that the clocks say; was is what this office knew before.
func armingOf(s *fsm.State, was arming, now time.Duration, wall time.Time) arming {
	d := s.Disarmed
	switch {
	case d == nil:
		return arming{}
	case was.id == d.ID:
		return was
	}
	left := min(max(d.Until().Sub(wall), 0), d.For)
	return arming{id: d.ID, ends: now + left, warn: now + left - min(warnedAhead, d.For/4)}
}

// armsItself arms the cluster once the time is over for which people had it disarmed, and tells them
// shortly before.
func armsItself(in input, m fsm.Meta, d *decision) {
	x := in.state.Disarmed
	switch {
	case x == nil || in.arming.id != x.ID:
	case in.now >= in.arming.ends:
		d.commands = append(d.commands, &fsm.ArmCluster{Meta: m, Over: x.ID, Epoch: in.epoch})
	case x.Warned:
		d.lookAt(in.arming.ends)
	case in.now >= in.arming.warn:
		d.commands = append(d.commands, &fsm.WarnArms{Meta: m, Epoch: in.epoch, Disarm: x.ID})
		d.lookAt(in.arming.ends)
	default:
		d.lookAt(in.arming.warn)
	}
}
