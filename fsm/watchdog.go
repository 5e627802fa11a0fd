package fsm

import (
	"fmt"
	"time"
)

// Watchdog is what a host has said last, in its present incarnation, of the watchdog
// that resets it when its VMs outlive their lease. Once it has said that it has one it
// renews no lease without it until the state says otherwise (safety.md, W5).
type Watchdog struct {
	// Word numbers what it says; it only grows within an incarnation. 0: it has said nothing.
	Word uint64 `json:"word"`
	// Timeout is the watchdog's; 0: none that counts, so only the guard's process bounds its VMs.
	Timeout time.Duration `json:"timeout"`
}

// EventWatchdogChanged: a host has got a watchdog that counts, or has it no more.
const EventWatchdogChanged = "host_watchdog_changed"

// NoteWatchdog notes what an incarnation says of its watchdog. A word that a later one has
// overtaken changes nothing.
type NoteWatchdog struct {
	Meta
	Epoch       uint64   `json:"epoch"`
	Host        string   `json:"host"`
	Incarnation uint64   `json:"incarnation"`
	Watchdog    Watchdog `json:"watchdog"`
}

func (*NoteWatchdog) kind() Type { return TypeNoteWatchdog }

func (c *NoteWatchdog) check() error {
	if c.Watchdog.Word == 0 || c.Watchdog.Timeout < 0 {
		return invalid("word %d of a watchdog of %v: a number from 1 and a timeout are wanted", c.Watchdog.Word, c.Watchdog.Timeout)
	}
	return first(CheckHostName(c.Host), checkIncarnation(c.Incarnation))
}

func (c *NoteWatchdog) apply(s *State) (any, *Refusal) {
	if r := s.inEpoch(c.Epoch); r != nil {
		return nil, r
	}
	if r := s.liveHost(c.Host, c.Incarnation); r != nil {
		return nil, r
	}
	was := s.Hosts[c.Host].Watchdog
	if c.Watchdog.Word <= was.Word {
		return nil, nil
	}
	s.editHost(c.Host).Watchdog = c.Watchdog
	switch now := c.Watchdog.Timeout; {
	case now == was.Timeout:
	case now == 0:
		s.emit(c.Meta, Event{Type: EventWatchdogChanged, Severity: Warning, Host: c.Host,
			Text: c.Host + " has no watchdog any more: if it falls silent, its VMs start elsewhere only once a fence device or a person has made sure, or as fencing.mode says"})
	default:
		s.emit(c.Meta, Event{Type: EventWatchdogChanged, Host: c.Host,
			Text: fmt.Sprintf("a watchdog of %v resets %s if its VMs outlive their lease", now, c.Host)})
	}
	return nil, nil
}
