package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/lease"
)

const (
	// readTimeout bounds a question, forwarding included.
	readTimeout = 10 * time.Second
	// admitTimeout bounds the answer to the hypervisor's hook: a person waits at `virsh start`.
	admitTimeout = 2 * time.Second
	// writeTimeout bounds a change: proposing, committing, and what it waits for.
	writeTimeout = 30 * time.Second
	// memberTimeout bounds the few changes that move data or elect somebody: bootstrap, join, leave, transfer.
	memberTimeout = 2 * time.Minute
	// fenceTimeout bounds what a person asks of fence devices: some switches take minutes, and each is
	// tried again.
	fenceTimeout = 10 * time.Minute
	// masterPatience is how long a member waits for the master to begin its answer to a question.
	masterPatience = 3 * time.Second
	// bodyTimeout is how long a caller may take to send a body.
	bodyTimeout = 10 * time.Second

	bodySmall = 64 << 10 // requests of people
	// bodyPolicy holds the largest command of the log in base64, and its JSON.
	bodyPolicy = 2 << 20
	// bodyHeartbeat holds the report of a host with thousands of domains.
	bodyHeartbeat = 16 << 20
)

// Options are what a Server needs besides its Backend.
type Options struct {
	// Logger gets one line for each change and each fault of ours; nil: nowhere.
	Logger hclog.Logger
	// AllowedGroups are the group ids whose members may use the local socket, besides root.
	AllowedGroups []int
	// Caller names the host whose certificate a request came with; false when it has none.
	Caller func(*http.Request) (name string, ok bool)
	// Forward reaches other members: the URL's host is the member's name. Nil: nothing is forwarded.
	Forward http.RoundTripper
	// Timing is the cluster's, to judge the age of heartbeats by; nil: ages are shown, not judged.
	Timing func() lease.Timing
	// Now is the wall clock, for what people read; nil: time.Now.
	Now func() time.Time
}

// Server answers the API. It starts no goroutine of its own.
type Server struct {
	backend Backend
	opts    Options
	log     hclog.Logger
	// policies has a lock of its own.
	policies policies
	// drawing guards builder, which makes the planner's picture.
	drawing sync.Mutex
	builder inventory.Builder
	// closing ends every follow.
	closing context.Context
	close   context.CancelFunc
}

// NewServer makes a server in front of b. Whoever serves its handlers calls
// Close first when shutting down: http.Server.Shutdown waits for requests, and
// a follow ends by itself only with its caller.
func NewServer(b Backend, opts Options) *Server {
	s := &Server{backend: b, opts: opts, log: opts.Logger}
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	if s.opts.Now == nil {
		s.opts.Now = time.Now
	}
	s.closing, s.close = context.WithCancel(context.Background())
	return s
}

// Close ends every follow and refuses new ones. Other requests go on.
func (s *Server) Close() { s.close() }

// HTTPServer wraps a handler of this server with the limits that belong to it.
// Its Shutdown closes s.
func (s *Server) HTTPServer(h http.Handler) *http.Server {
	srv := &http.Server{
		Handler:           h,
		ConnContext:       ConnContext,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          s.log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
	srv.RegisterOnShutdown(s.Close)
	return srv
}

// call is one request, authenticated and read.
type call struct {
	*http.Request
	body []byte
	// actor is in whose name it is made, for events and logs.
	actor string
	// host is the calling member's name; empty on the local socket.
	host string
	// via is the member that passed the request on; empty when it came directly.
	via string
}

// decode reads the body strictly: unknown fields and trailing bytes are errors.
func (c *call) decode(into any) error {
	dec := json.NewDecoder(bytes.NewReader(c.body))
	dec.DisallowUnknownFields()
	return decodeOne(dec, into)
}

// decodeLoose reads what another agent sent. Unknown fields are passed over: a
// newer member must be able to say more while a cluster is upgraded host by
// host, and a refused heartbeat costs a host its lease.
func (c *call) decodeLoose(into any) error {
	return decodeOne(json.NewDecoder(bytes.NewReader(c.body)), into)
}

func decodeOne(dec *json.Decoder, into any) error {
	if err := dec.Decode(into); err != nil {
		return &Error{Code: CodeBadRequest, Message: fmt.Sprintf("cannot read the request: %v", err)}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return &Error{Code: CodeBadRequest, Message: "cannot read the request: there are bytes after its end"}
	}
	return nil
}

// endpoint answers one call with a value for JSON, or an error.
type endpoint func(ctx context.Context, c *call) (any, error)

// identify says who makes a request.
type identify func(r *http.Request) (c *call, err error)

// serve wraps an endpoint: identity, body limit, deadline, answer.
func (s *Server) serve(
	who identify, limit int64, timeout time.Duration, e func(ctx context.Context, w http.ResponseWriter, c *call) (any, error),
) http.Handler {
	return s.guard(func(w http.ResponseWriter, r *http.Request) {
		c, err := who(r)
		if err != nil {
			writeError(w, err)
			return
		}
		rc := http.NewResponseController(w)
		_ = rc.SetReadDeadline(time.Now().Add(bodyTimeout)) // not every transport has deadlines
		if c.body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, limit)); err != nil {
			writeError(w, bodyError(err, limit))
			return
		}
		_ = rc.SetReadDeadline(time.Time{})
		ctx := r.Context()
		if timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
			_ = rc.SetWriteDeadline(time.Now().Add(timeout + bodyTimeout))
			// The next request on this connection starts without it.
			defer func() { _ = rc.SetWriteDeadline(time.Time{}) }()
		}
		answer, err := e(ctx, w, c)
		if errors.Is(err, errAnswered) {
			return
		}
		if err != nil {
			writeError(w, err)
			return
		}
		s.writeJSON(w, answer)
	})
}

// errAnswered: the endpoint has written its answer itself.
var errAnswered = errors.New("answered")

func bodyError(err error, limit int64) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return &Error{Code: CodeTooLarge, Message: fmt.Sprintf("the request is larger than the %d bytes that this route takes", limit)}
	}
	return &Error{Code: CodeBadRequest, Message: fmt.Sprintf("read the request: %v", err)}
}

func (s *Server) writeJSON(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		s.log.Error("cannot encode an answer", "error", err)
		writeError(w, &Error{Code: CodeInternal, Message: "the answer cannot be encoded; the agent's log says more"})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(b, '\n')) // the caller may have gone
}

// guard turns a panic of a handler into a 500 and a log line; the agent, and with
// it the host's lease, goes on.
func (s *Server) guard(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tw := &tracked{ResponseWriter: w}
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p) // net/http's own way to drop a connection
			}
			s.log.Error("a request made the server panic", "method", r.Method, "path", r.URL.Path,
				"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			if tw.wrote {
				panic(http.ErrAbortHandler) // half an answer must not look like a whole one
			}
			writeError(tw, &Error{Code: CodeInternal, Message: "a fault in the agent; its log has the details (journalctl -u haagent)"})
		}()
		h(tw, r)
	})
}

// tracked knows whether anything of an answer was sent.
type tracked struct {
	http.ResponseWriter
	wrote bool
}

func (t *tracked) WriteHeader(code int) {
	t.wrote = true
	t.ResponseWriter.WriteHeader(code)
}

func (t *tracked) Write(b []byte) (int, error) {
	t.wrote = true
	return t.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController find Flush and the deadlines.
func (t *tracked) Unwrap() http.ResponseWriter { return t.ResponseWriter }
