package api

import (
	"math"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/lease"
)

// ClusterAnswer is the answer to GET /v1/cluster: what somebody must know of the
// cluster before touching what its hosts share.
type ClusterAnswer struct {
	Schema  int        `json:"schema"`
	Source  *Source    `json:"source"`
	ID      string     `json:"id"` // UUID
	Name    string     `json:"name"`
	Created time.Time  `json:"created"`
	Timing  TimingView `json:"timing"`
	// Hosts are the members, by name.
	Hosts []ClusterHost `json:"hosts"`
}

func (a *ClusterAnswer) setNote(n string) { a.Source.Note = n }

// ClusterHost names one member.
type ClusterHost struct {
	Name string `json:"name"`
	ID   string `json:"id"` // UUID
}

// TimingView is a timing with its durations as exact numbers of seconds.
type TimingView struct {
	Profile    string  `json:"profile"`
	Heartbeat  float64 `json:"heartbeat_seconds"`
	Lease      float64 `json:"lease_seconds"`
	Watchdog   float64 `json:"watchdog_seconds"`
	Reset      float64 `json:"reset_seconds"`
	Drain      float64 `json:"drain_seconds"`
	ClockError float64 `json:"clock_error"`
	Grain      float64 `json:"grain_seconds"`
	Election   float64 `json:"election_seconds"`
	Wait       float64 `json:"wait_seconds"` // D, which follows from the others
}

// NewTimingView shows a timing.
func NewTimingView(t lease.Timing) TimingView {
	return TimingView{Profile: t.Profile, Heartbeat: t.Heartbeat.Seconds(), Lease: t.Lease.Seconds(),
		Watchdog: t.Watchdog.Seconds(), Reset: t.Reset.Seconds(),
		Drain: t.Drain.Seconds(), ClockError: t.ClockError, Grain: t.Grain.Seconds(), Election: t.Election.Seconds(), Wait: t.Wait().Seconds()}
}

// Timing is the timing that v shows, to the nanosecond.
func (v TimingView) Timing() lease.Timing {
	d := func(seconds float64) time.Duration { return time.Duration(math.Round(seconds * float64(time.Second))) }
	return lease.Timing{Profile: v.Profile, Heartbeat: d(v.Heartbeat), Lease: d(v.Lease), Watchdog: d(v.Watchdog), Reset: d(v.Reset),
		Drain: d(v.Drain), ClockError: v.ClockError, Grain: d(v.Grain), Election: d(v.Election)}
}

func (w World) cluster() *ClusterAnswer {
	a := &ClusterAnswer{Schema: Schema, Source: w.source(), ID: w.State.Cluster.ID, Name: w.State.Cluster.Name,
		Created: w.State.Cluster.Created,
		Timing:  NewTimingView(w.Timing), Hosts: []ClusterHost{}}
	for _, h := range w.State.SortedHosts() {
		a.Hosts = append(a.Hosts, ClusterHost{Name: h.Name, ID: h.ID})
	}
	return a
}
