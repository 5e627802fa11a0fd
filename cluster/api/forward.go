package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"time"
)

// here answers on this host, whatever its office.
func (s *Server) here(e endpoint) func(context.Context, http.ResponseWriter, *call) (any, error) {
	return func(ctx context.Context, _ http.ResponseWriter, c *call) (any, error) { return e(ctx, c) }
}

// read answers from this host's copy, or, asked with ?fresh=1, from the master's.
// Without a master it falls back to the copy and says so.
func (s *Server) read(e endpoint) func(context.Context, http.ResponseWriter, *call) (any, error) {
	return func(ctx context.Context, w http.ResponseWriter, c *call) (any, error) {
		note, err := s.passRead(ctx, w, c)
		if err != nil {
			return nil, err
		}
		answer, err := e(ctx, c)
		if err != nil {
			return nil, err
		}
		if n, ok := answer.(interface{ setNote(string) }); ok && note != "" {
			n.setNote(note)
		}
		return answer, nil
	}
}

// passRead lets the master answer when a fresh answer is asked for and this host
// is not the master; errAnswered says that it did. When it could not, note says why.
func (s *Server) passRead(ctx context.Context, w http.ResponseWriter, c *call) (note string, err error) {
	self := s.backend.Self()
	if c.URL.Query().Get("fresh") != "1" || self.IsMaster || !self.Member {
		return "", nil
	}
	if c.via != "" {
		return "", &Error{Code: CodeNotMaster, Message: self.Name + " is not the master"}
	}
	if self.Master == "" || self.Master == self.Name {
		return "no master is known", nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	patience := time.AfterFunc(masterPatience, cancel)
	resp, err := s.pass(ctx, c, self.Master)
	if !patience.Stop() || err != nil {
		if err == nil {
			resp.Body.Close()
		}
		s.log.Debug("the master does not answer a read", "master", self.Master, "error", err)
		return fmt.Sprintf("the master %s does not answer", self.Master), nil
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK, http.StatusNotFound, http.StatusBadRequest:
		copyAnswer(w, resp)
		return "", errAnswered
	case http.StatusMisdirectedRequest:
		return self.Master + " is not the master any more", nil
	}
	return fmt.Sprintf("the master %s refused to answer (%s)", self.Master, resp.Status), nil
}

// write carries a change out on the master: here when this host is it, by
// passing it on otherwise.
func (s *Server) write(e endpoint) func(context.Context, http.ResponseWriter, *call) (any, error) {
	return func(ctx context.Context, w http.ResponseWriter, c *call) (any, error) {
		self := s.backend.Self()
		if !self.Member {
			return nil, outside(self)
		}
		if self.IsMaster {
			answer, err := e(ctx, c)
			s.log.Info("change asked for", "method", c.Method, "path", c.URL.Path, "by", c.actor, "via", c.via, "error", errorText(err))
			if errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrUnknownOutcome) {
				err = fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
			}
			if !errors.Is(err, ErrNotMaster) {
				return answer, err
			}
			self = s.backend.Self() // the office has gone to somebody else: ask there
		}
		if c.via != "" {
			return nil, &Error{Code: CodeNotMaster, Message: fmt.Sprintf("%s is not the master", self.Name)}
		}
		if self.Master == "" || self.Master == self.Name {
			return nil, noMaster("no master is known to " + self.Name)
		}
		resp, err := s.pass(ctx, c, self.Master)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if resp.StatusCode == http.StatusMisdirectedRequest {
			return nil, noMaster(fmt.Sprintf("%s takes %s for the master, which says it is not", self.Name, self.Master))
		}
		copyAnswer(w, resp)
		return nil, errAnswered
	}
}

func notMember() error {
	return &Error{Code: CodeNotMember,
		Message: ErrNotMember.Error() + ": make one with 'haadm cluster bootstrap', or join one with 'haadm cluster join TOKEN'"}
}

// outside is notMember with what the host itself says of it, such as why its membership ended.
func outside(self Self) error {
	if len(self.Problems) == 0 {
		return notMember()
	}
	return &Error{Code: CodeNotMember, Message: ErrNotMember.Error() + ": " + strings.Join(self.Problems, "; ")}
}

func noMaster(why string) error {
	return &Error{Code: CodeNoMaster,
		Message: ErrNoMaster.Error() + " (" + why + "): nothing was changed; a majority of the voters must be up, see 'haadm status'"}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// pass sends the call to another member. The error says whether it can have had
// an effect there.
func (s *Server) pass(ctx context.Context, c *call, to string) (*http.Response, error) {
	if s.opts.Forward == nil {
		return nil, noMaster("this host cannot reach " + to)
	}
	// A connection that was never had cannot have carried anything.
	asked, got := false, false
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { asked = true },
		GotConn: func(httptrace.GotConnInfo) { got = true },
	})
	u := url.URL{Scheme: "https", Host: to, Path: c.URL.Path, RawPath: c.URL.RawPath, RawQuery: c.URL.RawQuery}
	req, err := http.NewRequestWithContext(ctx, c.Method, u.String(), bytes.NewReader(c.body))
	if err != nil {
		return nil, fmt.Errorf("pass the request on to %s: %w", to, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(headerVia, s.backend.Self().Name)
	req.Header.Set(headerActor, c.actor)
	resp, err := s.opts.Forward.RoundTrip(req)
	switch {
	case err == nil:
		return resp, nil
	case asked && !got:
		return nil, noMaster(fmt.Sprintf("%s cannot be reached: %v", to, err))
	default:
		return nil, fmt.Errorf("%w: the master %s did not answer: %w; look before you try again", ErrUnknownOutcome, to, err)
	}
}

// copyAnswer hands on an answer as it comes, line by line for a stream.
func copyAnswer(w http.ResponseWriter, resp *http.Response) {
	w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
	w.WriteHeader(resp.StatusCode)
	rc := http.NewResponseController(w)
	buf := make([]byte, 32<<10)
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			_ = rc.SetWriteDeadline(time.Now().Add(bodyTimeout))
			if _, werr := w.Write(buf[:n]); werr != nil {
				return
			}
			_ = rc.Flush()
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler) // half an answer must not look like a whole one
		}
	}
}
