package verdict

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/fsm"
)

// evidence lists every signal: networks, volumes by reader, pings, the host's own
// words, and proofs. What is good is listed like what is bad: that a path works is
// as much of a reason.
func evidence(s Signals) []fsm.Evidence {
	var ev []fsm.Evidence
	for _, n := range slices.Sorted(maps.Keys(s.Networks)) {
		ev = append(ev, network(n, s.Networks[n], s.Bound, s.By))
	}
	all := s.readings()
	for _, n := range slices.Sorted(maps.Keys(all)) {
		signs := all[n]
		slices.SortStableFunc(signs, func(a, b VolumeSign) int { return cmp.Compare(a.By, b.By) })
		for _, v := range signs {
			ev = append(ev, volume("storage heartbeat on "+n, v, s.StorageBound, s.By))
		}
	}
	for _, addr := range slices.Sorted(maps.Keys(s.Ping)) {
		if p := s.Ping[addr]; p.Asked || p.Detail != "" {
			ev = append(ev, ping("ping of "+addr, p, s.PingBound, s.By))
		}
	}
	ev = append(ev, own(s.Slot, s.Incarnation, s.By)...)
	if s.Hypervisor != "" {
		ev = append(ev, fsm.Evidence{Signal: "hypervisor", Value: "does not answer: " + s.Hypervisor, By: s.By})
	}
	if s.Off.Text != "" {
		ev = append(ev, fsm.Evidence{Signal: "power", Value: s.Off.Text, Age: s.Off.Age, By: cmp.Or(s.Off.By, s.By)})
	}
	return ev
}

func network(name string, age, bound time.Duration, by string) fsm.Evidence {
	e := fsm.Evidence{Signal: "heartbeat over " + name, Value: "arrives", Age: age, By: by}
	switch {
	case age < 0:
		e.Value, e.Age = "none since this master took office", 0
	case age > bound:
		e.Value = silence(age, bound)
	}
	return e
}

func volume(signal string, v VolumeSign, bound time.Duration, by string) fsm.Evidence {
	e := fsm.Evidence{Signal: signal, Value: "arrives", Age: v.Age, By: cmp.Or(v.By, by)}
	switch {
	case !v.Readable:
		e.Value, e.Age = "cannot be read", max(v.Age, 0)
		if v.Detail != "" {
			e.Value += ": " + v.Detail
		}
	case v.Age < 0:
		e.Value, e.Age = "none of this incarnation", 0
	case v.Age > bound:
		e.Value = silence(v.Age, bound)
	}
	return e
}

func ping(signal string, p PingSign, bound time.Duration, by string) fsm.Evidence {
	e := fsm.Evidence{Signal: signal, Value: "answers", Age: max(p.Age, 0), By: cmp.Or(p.By, by)}
	switch {
	case p.answers(bound):
		return e
	case !p.Asked && p.Detail != "":
		e.Value = "cannot be asked"
	case !p.Asked:
		e.Value = "not asked yet"
	case p.Age < 0:
		e.Value = "has never answered"
	default:
		e.Value = "no answer for " + span(p.Age) + " (the bound is " + bound.String() + ")"
	}
	if p.Detail != "" {
		e.Value += ": " + p.Detail
	}
	return e
}

// own are the words in a host's slot. A record without flags is evidence too: the
// host was able to write that it is isolated, and did not.
func own(s Slot, incarnation uint64, by string) []fsm.Evidence {
	if s.Incarnation == 0 {
		return nil
	}
	at := "its record"
	if s.Volume != "" {
		at += " on " + s.Volume
	}
	if s.Incarnation != incarnation {
		return []fsm.Evidence{{Signal: at, Value: fmt.Sprintf("of incarnation %d, which is not the present one (%d): not believed",
			s.Incarnation, incarnation), Age: s.Age, By: cmp.Or(s.By, by)}}
	}
	var ev []fsm.Evidence
	say := func(value string) {
		ev = append(ev, fsm.Evidence{Signal: at, Value: value, Age: s.Age, By: cmp.Or(s.By, by)})
	}
	if s.Isolated {
		say("isolated: it hears nobody on any network")
	} else {
		say("not isolated")
	}
	if s.Stopped {
		say("vms_stopped: every protected VM is proven gone")
	}
	if s.CleanExit {
		say("clean_exit: its agent ended in good order, with no protected VM left")
	}
	if s.SelfFencing {
		say("self_fencing: its lease ended, and it is stopping its VMs")
	}
	if s.FenceReason != "" {
		say("it last fenced itself because " + s.FenceReason)
	}
	return ev
}

// silence is a heartbeat that is too old.
func silence(age, bound time.Duration) string {
	return "none for " + span(age) + " (the bound is " + bound.String() + ")"
}

// span is a duration as people read it.
func span(d time.Duration) string { return d.Round(time.Millisecond).String() }
