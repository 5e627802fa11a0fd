package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// answerLimit bounds what a client reads of one answer.
const answerLimit = 64 << 20

// Client asks one agent: over the unix socket of its host, or over mTLS. It is
// safe for concurrent use. Questions are answered by the master where there is
// one; Stale gives a client that is content with the agent's own copy.
type Client struct {
	http  *http.Client
	base  string // scheme and host
	where string // for people
	stale bool
	// patience is how long an answer to a question may take.
	patience time.Duration
}

// patience is far above what any question takes: who has not answered by then is stopped, or its
// host is swamped.
const patience = 30 * time.Second

// NewClient is a client of the agent at a unix socket. Nothing is dialled yet.
func NewClient(socket string) *Client {
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
		IdleConnTimeout: time.Minute,
	}
	return &Client{http: &http.Client{Transport: t}, base: "http://agent", where: socket, patience: patience}
}

// NewPeerClient is a client of another host's agent, reached by rt, which knows
// hosts by name and shows this host's certificate.
func NewPeerClient(rt http.RoundTripper, host string) *Client {
	return &Client{http: &http.Client{Transport: rt}, base: "https://" + host, where: host, patience: patience}
}

// Stale returns a client of the same agent that is content with the agent's own
// copy of the state, which may be behind.
func (c *Client) Stale() *Client {
	out := *c
	out.stale = true
	return &out
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// UnreachableError: nobody answers there. The request had no effect.
type UnreachableError struct {
	Where string
	Err   error
}

// Error implements error.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("no agent answers at %s: %v", e.Where, e.Err)
}

// Unwrap gives the cause, such as fs.ErrPermission.
func (e *UnreachableError) Unwrap() error { return e.Err }

// SilentError: somebody is there, and has not answered a question in time.
type SilentError struct {
	Where string
	After time.Duration
}

// Error implements error.
func (e *SilentError) Error() string {
	return fmt.Sprintf("%s has not answered within %v", e.Where, e.After)
}

// do sends a request and reads the answer into out. body and out may be nil.
func (c *Client) do(ctx context.Context, method, path string, q url.Values, body, out any) error {
	resp, err := c.send(ctx, method, path, q, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	if err != nil {
		return lost(ctx, method, c.where, err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("read the answer of %s to %s %s: %w", c.where, method, path, err)
	}
	return nil
}

// send returns the answer if it is not an error.
func (c *Client) send(ctx context.Context, method, path string, q url.Values, body any) (*http.Response, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode the request %s %s: %w", method, path, err)
		}
		r = bytes.NewReader(b)
	}
	u := c.base + path
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, r)
	if err != nil {
		return nil, fmt.Errorf("make the request %s %s: %w", method, path, err)
	}
	if r != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return nil, &UnreachableError{Where: c.where, Err: op.Err}
		}
		return nil, lost(ctx, method, c.where, err)
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, readError(resp, c.where)
}

// lost is an answer that did not come: a question can be asked again, the fate
// of a change is unknown.
func lost(ctx context.Context, method, where string, err error) error {
	if method == http.MethodGet {
		return fmt.Errorf("ask %s: %w", where, err)
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return fmt.Errorf("%w: %s did not answer: %w", ErrUnknownOutcome, where, err)
}

func readError(resp *http.Response, where string) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("read the answer of %s (%s): %w", where, resp.Status, err)
	}
	var body errorBody
	if err := json.Unmarshal(b, &body); err != nil || body.Error == nil || body.Error.Code == "" {
		return fmt.Errorf("%s answers %s, and nothing that an agent of Holdfast would say", where, resp.Status)
	}
	return body.Error
}

// get asks for a view.
func (c *Client) get(ctx context.Context, path string, q url.Values, out any) error {
	if !c.stale {
		if q == nil {
			q = url.Values{}
		}
		q.Set("fresh", "1")
	}
	within, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	err := c.do(within, http.MethodGet, path, q, nil, out)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		return &SilentError{Where: c.where, After: c.patience}
	}
	return err
}

// Follow calls each with every event that passes the filter, the kept ones
// first, until ctx ends, each returns an error, or the agent goes away (io.EOF).
// Lost events are told by a line with Lost. Follow reads the agent's own copy:
// the stream then outlives a change of master.
func (c *Client) Follow(ctx context.Context, f EventFilter, each func(StreamLine) error) error {
	q := f.Values()
	q.Set("follow", "1")
	resp, err := c.send(ctx, http.MethodGet, "/v1/events", q, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l StreamLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return fmt.Errorf("read an event from %s: %w", c.where, err)
		}
		if err := each(l); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("follow events of %s: %w", c.where, err)
	}
	return io.EOF
}
