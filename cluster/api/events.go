package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/holdfast-ha/holdfast/fsm"
)

// keepAlive is how often a follow that has nothing to say says that it lives.
const keepAlive = 15 * time.Second

// EventView is one event as it is shown.
type EventView struct {
	ID       uint64         `json:"id"`
	At       time.Time      `json:"at"` // wall clock of the master of the time
	Type     string         `json:"type"`
	Severity fsm.Severity   `json:"severity"`
	Host     string         `json:"host,omitempty"`
	VM       string         `json:"vm,omitempty"`
	From     string         `json:"from,omitempty"`
	To       string         `json:"to,omitempty"`
	Text     string         `json:"text"`
	Cause    uint64         `json:"cause,omitempty"` // id of the event that led to this one
	Evidence []EvidenceView `json:"evidence,omitempty"`
	By       string         `json:"by,omitempty"`
	// Considered is what was said of every host that was looked at, where the event is a decision
	// about where a VM goes.
	Considered []LotView `json:"considered,omitempty"`
}

// EventList is the answer to GET /v1/events.
type EventList struct {
	Schema int         `json:"schema"`
	Source *Source     `json:"source"`
	Events []EventView `json:"events"` // oldest first
	// OldestKept is the id of the oldest event that the cluster still has; 0 when there is none.
	OldestKept uint64 `json:"oldest_kept"`
}

func (l *EventList) setNote(n string) { l.Source.Note = n }

// StreamLine is one line of a followed event stream.
type StreamLine struct {
	Event *EventView `json:"event,omitempty"`
	// Lost counts events that came and went between the last line and this one.
	Lost uint64 `json:"lost,omitempty"`
	// Alive is said when there was nothing else to say for a while.
	Alive bool `json:"alive,omitempty"`
}

// EventFilter selects events. Zero fields select everything.
type EventFilter struct {
	After uint64    // only events with a larger id
	Since time.Time // only events at or after this moment of the wall clock
	VM    string    // a VM's name
	Host  string    // the host it is about, or where it went from or to
	Type  string    // one event type
	// Limit keeps the newest so many; with After, the oldest so many. 0: all.
	Limit int
}

// Values writes the filter as the query of GET /v1/events.
func (f EventFilter) Values() url.Values {
	v := url.Values{}
	set := func(k, s string) {
		if s != "" {
			v.Set(k, s)
		}
	}
	set("vm", f.VM)
	set("host", f.Host)
	set("type", f.Type)
	if f.After != 0 {
		v.Set("after", strconv.FormatUint(f.After, 10))
	}
	if !f.Since.IsZero() {
		v.Set("since", f.Since.Format(time.RFC3339Nano))
	}
	if f.Limit != 0 {
		v.Set("limit", strconv.Itoa(f.Limit))
	}
	return v
}

// parseFilter reads a query strictly: a misspelt filter must not mean "everything".
func parseFilter(q url.Values) (f EventFilter, follow bool, err error) {
	bad := func(k, want string) (EventFilter, bool, error) {
		return EventFilter{}, false, &Error{Code: CodeBadRequest, Message: fmt.Sprintf("events: %s=%q is not %s", k, q.Get(k), want)}
	}
	for k, v := range q {
		if len(v) != 1 {
			return EventFilter{}, false, &Error{Code: CodeBadRequest, Message: fmt.Sprintf("events: %s is given %d times", k, len(v))}
		}
		switch k {
		case "after":
			if f.After, err = strconv.ParseUint(v[0], 10, 64); err != nil {
				return bad(k, "the id of an event")
			}
		case "since":
			if f.Since, err = time.Parse(time.RFC3339Nano, v[0]); err != nil {
				return bad(k, "a moment such as 2026-11-22T10:00:00Z")
			}
		case "limit":
			if f.Limit, err = strconv.Atoi(v[0]); err != nil || f.Limit < 0 {
				return bad(k, "a number of events")
			}
		case "vm":
			f.VM = v[0]
		case "host":
			f.Host = v[0]
		case "type":
			f.Type = v[0]
		case "follow":
			if follow, err = strconv.ParseBool(v[0]); err != nil {
				return bad(k, "0 or 1")
			}
		case "fresh":
		default:
			return EventFilter{}, false, &Error{Code: CodeBadRequest, Message: fmt.Sprintf("events: there is no filter %q; there are after, since, vm, host, type and limit", k)}
		}
	}
	return f, follow, nil
}

// match ignores After and Limit, which are about the list.
func (f EventFilter) match(e *fsm.Event) bool {
	return (f.VM == "" || e.VM == f.VM) &&
		(f.Host == "" || e.Host == f.Host || e.From == f.Host || e.To == f.Host) &&
		(f.Type == "" || e.Type == f.Type) &&
		(f.Since.IsZero() || !e.At.Before(f.Since))
}

// Select picks the events of a state that pass the filter, oldest first.
func (f EventFilter) Select(s *fsm.State) []EventView {
	events := s.Events
	// Ids grow along the ring, so the start is found without looking at every event.
	from, _ := slices.BinarySearchFunc(events, f.After+1, func(e fsm.Event, id uint64) int { return cmp.Compare(e.ID, id) })
	out, names := []EventView{}, &slotNames{state: s}
	for i := from; i < len(events); i++ {
		if !f.match(&events[i]) {
			continue
		}
		if f.After != 0 && f.Limit != 0 && len(out) == f.Limit {
			break
		}
		out = append(out, eventView(names, &events[i]))
	}
	if f.Limit != 0 && len(out) > f.Limit {
		out = out[len(out)-f.Limit:]
	}
	return out
}

func eventView(names *slotNames, e *fsm.Event) EventView {
	return EventView{
		ID: e.ID, At: e.At, Type: e.Type, Severity: e.Severity, Host: e.Host, VM: e.VM, From: e.From, To: e.To,
		Text: e.Text, Cause: e.Cause, Evidence: evidenceViews(e.Evidence), By: e.By, Considered: names.lots(e.Considered, e.To),
	}
}

// events lists, or follows until the caller goes or the server closes.
func (s *Server) events(ctx context.Context, w http.ResponseWriter, c *call) (any, error) {
	f, follow, err := parseFilter(c.URL.Query())
	if err != nil {
		return nil, err
	}
	if !follow {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		return s.read(func(context.Context, *call) (any, error) {
			st := s.backend.State()
			if st == nil {
				return nil, notMember()
			}
			list := &EventList{Schema: Schema, Source: s.source(), Events: f.Select(st)}
			if len(st.Events) > 0 {
				list.OldestKept = st.Events[0].ID
			}
			return list, nil
		})(ctx, w, c)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	if _, err := s.passRead(ctx, w, c); err != nil {
		return nil, err
	}
	return nil, s.follow(ctx, w, f)
}

// follow streams events from this host's copy as lines of JSON.
func (s *Server) follow(ctx context.Context, w http.ResponseWriter, f EventFilter) error {
	if s.backend.State() == nil {
		return notMember()
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	enc := json.NewEncoder(w)
	say := func(lines ...StreamLine) error {
		if len(lines) == 0 {
			return nil
		}
		if err := rc.SetWriteDeadline(time.Now().Add(bodyTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		for _, l := range lines {
			if err := enc.Encode(l); err != nil {
				return err
			}
		}
		return rc.Flush()
	}
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	// Even with nothing to tell, the caller learns at once that the stream stands.
	first := []StreamLine{{Alive: true}}
	for {
		// Taken before the state is read: a change in between is then not missed.
		changed := s.backend.Changed()
		lines, last := nextLines(s.backend.State(), f)
		if err := say(append(first, lines...)...); err != nil {
			return errAnswered // the caller has gone, or does not read
		}
		first = nil
		if last > f.After {
			f.After, f.Limit = last, 0
		}
		select {
		case <-ctx.Done():
			return errAnswered
		case <-changed:
		case <-tick.C:
			if err := say(StreamLine{Alive: true}); err != nil {
				return errAnswered
			}
		}
	}
}

// nextLines are the lines for what has happened since f.After, and the id up to
// which everything has been told.
func nextLines(st *fsm.State, f EventFilter) (lines []StreamLine, last uint64) {
	if st == nil {
		return nil, f.After
	}
	if f.After != 0 && len(st.Events) > 0 && st.Events[0].ID > f.After+1 {
		lines = append(lines, StreamLine{Lost: st.Events[0].ID - f.After - 1})
	}
	for _, e := range f.Select(st) {
		lines = append(lines, StreamLine{Event: &e})
	}
	return lines, st.LastEvent
}
