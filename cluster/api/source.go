package api

import (
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// Schema is the version of every answer to a person or a script. Within it no
// field is renamed, removed or given another meaning.
const Schema = 1

// Seconds is a duration that travels as a number of seconds with three decimals.
type Seconds time.Duration

// MarshalJSON implements json.Marshaler.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return json.Marshal(math.Round(time.Duration(s).Seconds()*1000) / 1000)
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	var f float64
	if err := json.Unmarshal(b, &f); err != nil {
		return fmt.Errorf("read a number of seconds: %w", err)
	}
	*s = Seconds(f * float64(time.Second))
	return nil
}

// Duration is s as a time.Duration.
func (s Seconds) Duration() time.Duration { return time.Duration(s) }

// Source says whose copy an answer was made from, and how far it can be behind.
type Source struct {
	Host    string `json:"host"`             // who answered
	Master  string `json:"master,omitempty"` // whom it takes for the master; empty: none
	Epoch   uint64 `json:"epoch"`
	Applied uint64 `json:"applied"` // index of the last log entry in the copy
	// Contact is since Host last heard the master; 0 when it is the master.
	Contact Seconds `json:"contact_seconds"`
	// Fresh is true when the master answered. An answer that is not fresh holds no
	// observations: only what was committed, as far as Host knows.
	Fresh bool `json:"fresh"`
	// Note says why an answer is not fresh although it was asked to be.
	Note string `json:"note,omitempty"`
}

func sourceOf(s Self) Source {
	src := Source{Host: s.Name, Master: s.Master, Epoch: s.Epoch, Applied: s.Applied, Contact: Seconds(s.Contact), Fresh: s.IsMaster}
	if s.IsMaster {
		src.Master, src.Contact = s.Name, 0
	}
	return src
}
