package fsm

import (
	"fmt"
	"time"
)

// Hold is a person's wish that a host stays off. The office of the day brings back what
// its fence devices have proven off, and a later office must not bring back what a person
// switched off under an earlier one; so the wish is part of the state.
type Hold struct {
	By string    `json:"by"`
	At time.Time `json:"at"`
}

// EventHostHeldOff: a host is not switched on by the cluster, since a person wants it off.
const EventHostHeldOff = "host_held_off"

// HoldHost begins or ends the hold on a host. A host whose power comes back in another way
// ends it by itself: with the first life in another boot.
type HoldHost struct {
	Meta
	Epoch uint64 `json:"epoch"`
	Host  string `json:"host"`
	// Off says that the host is to stay off; false ends the hold.
	Off bool `json:"off"`
}

func (*HoldHost) kind() Type { return TypeHoldHost }

func (c *HoldHost) check() error { return CheckHostName(c.Host) }

func (c *HoldHost) apply(s *State) (any, *Refusal) {
	if r := s.inEpoch(c.Epoch); r != nil {
		return nil, r
	}
	h := s.Hosts[c.Host]
	switch {
	case h == nil:
		return refuse(CodeNotFound, "host %s is not a member", c.Host)
	case c.Off == (h.Held != nil):
	case c.Off:
		s.editHost(c.Host).Held = &Hold{By: c.By, At: c.At}
		s.emit(c.Meta, Event{Type: EventHostHeldOff, Host: c.Host,
			Text: fmt.Sprintf("%s stays off once it is off, because %s says so: `haadm fence on %s` ends that, and so does its next boot",
				c.Host, c.By, c.Host)})
	default:
		s.editHost(c.Host).Held = nil
	}
	return nil, nil
}
