package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/doctor"
)

const (
	// factsPatience is how long one host may take to say what the doctor asks.
	factsPatience = 6 * time.Second
	// factsLimit bounds what one host says: thousands of VMs with their disks.
	factsLimit = 16 << 20
)

// DoctorAnswer is the answer to GET /v1/doctor: what is not as it should be with
// hosts and with the disks of protected VMs.
type DoctorAnswer struct {
	Schema int     `json:"schema"`
	Source *Source `json:"source"`
	// Examined are the hosts that said something of themselves.
	Examined []string `json:"examined"`
	doctor.Report
}

// hostFacts is what this host says of itself. Another host's are asked there.
func (s *Server) hostFacts(ctx context.Context, c *call) (any, error) {
	st := s.backend.State()
	if st == nil {
		return nil, notMember()
	}
	self, name := s.backend.Self().Name, c.PathValue("host")
	switch {
	case st.Hosts[name] == nil:
		return nil, &Error{Code: CodeNotFound, Message: fmt.Sprintf("there is no host called %q in this cluster", name)}
	case name == self:
		return s.backend.Facts(ctx)
	case c.via != "":
		return nil, &Error{Code: CodeNotFound, Message: fmt.Sprintf("this is %s, not %s", self, name)}
	}
	return s.factsOf(ctx, c, name)
}

// factsOf asks another host what it says of itself.
func (s *Server) factsOf(ctx context.Context, c *call, host string) (doctor.Facts, error) {
	var f doctor.Facts
	if s.opts.Forward == nil {
		return f, fmt.Errorf("%s cannot be reached from %s", host, s.backend.Self().Name)
	}
	u := url.URL{Scheme: "https", Host: host, Path: "/v1/hosts/" + host + "/facts"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return f, fmt.Errorf("ask %s about itself: %w", host, err)
	}
	req.Header.Set(headerVia, s.backend.Self().Name)
	req.Header.Set(headerActor, c.actor)
	resp, err := s.opts.Forward.RoundTrip(req)
	if errors.Is(err, context.DeadlineExceeded) {
		return f, fmt.Errorf("%s does not answer in time", host)
	}
	if err != nil {
		return f, fmt.Errorf("%s does not answer: %w", host, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, factsLimit))
	switch {
	case err != nil:
		return f, fmt.Errorf("%s does not answer to the end: %w", host, err)
	case resp.StatusCode != http.StatusOK: // an older agent does not know the question
		var refused struct {
			Error Error `json:"error"`
		}
		if err := json.Unmarshal(b, &refused); err != nil || refused.Error.Message == "" {
			return f, fmt.Errorf("%s answers with %s", host, resp.Status)
		}
		return f, fmt.Errorf("%s answers: %s", host, refused.Error.Message)
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("read the answer of %s: %w", host, err)
	}
	if f.Name != host {
		return f, fmt.Errorf("what answers as %s says that it is %q", host, f.Name)
	}
	return f, nil
}

// doctor asks every host at once, and examines what they say. With ?host=NAME only
// what is about that host is left, though all are asked: much shows by comparison.
func (s *Server) doctor(ctx context.Context, c *call) (any, error) {
	st := s.backend.State()
	if st == nil {
		return nil, notMember()
	}
	only := c.URL.Query().Get("host")
	if only != "" && st.Hosts[only] == nil {
		return nil, &Error{Code: CodeNotFound, Message: fmt.Sprintf("there is no host called %q in this cluster", only)}
	}
	ctx, cancel := context.WithTimeout(ctx, factsPatience)
	defer cancel()
	hosts := st.SortedHosts()
	all := make([]doctor.Facts, len(hosts))
	var asked sync.WaitGroup
	for i, h := range hosts {
		asked.Go(func() {
			var err error
			if h.Name == s.backend.Self().Name {
				all[i], err = s.backend.Facts(ctx)
			} else {
				all[i], err = s.factsOf(ctx, c, h.Name)
			}
			if err != nil {
				all[i] = doctor.Facts{Name: h.Name, Silent: err.Error()}
			}
		})
	}
	asked.Wait() // each ends with ctx
	a := &DoctorAnswer{Schema: Schema, Source: s.source(), Examined: []string{}, Report: doctor.Examine(all)}
	for _, f := range all {
		if f.Silent == "" {
			a.Examined = append(a.Examined, f.Name)
		}
	}
	if only != "" {
		a.Report = a.Only(only)
		a.Examined = slices.DeleteFunc(a.Examined, func(name string) bool { return name != only })
	}
	a.Findings = disarmFinding(st, a.Findings)
	return a, nil
}

// Doctor has every host examined, and answers with what is about one of them; all when host is empty.
func (c *Client) Doctor(ctx context.Context, host string) (*DoctorAnswer, error) {
	q := url.Values{}
	if host != "" {
		q.Set("host", host)
	}
	var out DoctorAnswer
	if err := c.get(ctx, "/v1/doctor", q, &out); err != nil {
		return nil, err
	}
	return &out, nil
}
