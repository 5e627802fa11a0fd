package api

import (
	"fmt"
	"net/http"
)

const (
	// headerVia names the member that passed a request on. A request that has it
	// is never passed on again: two members that take each other for the master
	// would send it round for ever.
	headerVia = "Holdfast-Via"
	// headerActor is in whose name a passed-on request was made. It counts only
	// when a member's certificate came with it.
	headerActor = "Holdfast-Actor"
)

// Local is the handler for the unix socket: people on this host, every route for
// people, and the two that only somebody on the host itself may use.
func (s *Server) Local() http.Handler {
	mux := http.NewServeMux()
	s.routes(mux, s.identifyLocal)
	mux.Handle("POST /v1/cluster/bootstrap", s.serve(s.identifyLocal, bodyPolicy, memberTimeout, s.here(s.bootstrap)))
	mux.Handle("POST /v1/local/admit", s.serve(s.identifyLocal, bodySmall, admitTimeout, s.here(s.admitStart)))
	mux.Handle("POST /v1/cluster/join", s.serve(s.identifyLocal, bodySmall, memberTimeout, s.here(s.join)))
	return mux
}

// Peers is the handler for mTLS: other agents, and requests of people that
// another member passes on. Only POST /v1/join works without a certificate.
func (s *Server) Peers() http.Handler {
	mux := http.NewServeMux()
	s.routes(mux, s.identifyMember)
	mux.Handle("POST /v1/agent/heartbeat", s.serve(s.identifyHost, bodyHeartbeat, readTimeout, s.here(s.heartbeat)))
	mux.Handle("POST /v1/agent/begin", s.serve(s.identifyHost, bodySmall, writeTimeout, s.here(s.begin)))
	mux.Handle("POST /v1/agent/claim", s.serve(s.identifyHost, bodySmall, writeTimeout, s.here(s.claim)))
	mux.Handle("POST /v1/agent/admit", s.serve(s.identifyHost, bodySmall, admitTimeout, s.here(s.admitStranger)))
	mux.Handle("POST /v1/agent/aside", s.serve(s.identifyHost, bodySmall, writeTimeout, s.here(s.standAside)))
	mux.Handle("POST /v1/join", s.serve(identifyNobody, bodySmall, memberTimeout, s.write(s.admit))) // a token names every member
	return mux
}

// routes are those for people.
func (s *Server) routes(mux *http.ServeMux, who identify) {
	read := func(pattern string, e endpoint) {
		mux.Handle("GET "+pattern, s.serve(who, 0, readTimeout, s.read(e)))
	}
	read("/v1/self", s.self)
	read("/v1/status", s.status)
	read("/v1/cluster", s.cluster)
	read("/v1/hosts", s.hosts)
	read("/v1/hosts/{host}", s.host)
	read("/v1/storage", s.storage)
	mux.Handle("GET /v1/hosts/{host}/facts", s.serve(who, 0, readTimeout, s.here(s.hostFacts)))
	mux.Handle("GET /v1/doctor", s.serve(who, 0, readTimeout, s.here(s.doctor)))
	read("/v1/vms", s.vms)
	read("/v1/vms/{vm}", s.vm)
	read("/v1/hosts/{host}/maintenance", s.maintenance)
	read("/v1/explain/host/{host}", s.explainHost)
	read("/v1/explain/vm/{vm}", s.explainVM)
	read("/v1/plan", s.plan)
	mux.Handle("POST /v1/plan", s.serve(who, bodyPolicy, readTimeout, s.read(s.plan))) // a question too, with VMs that are not there yet
	mux.Handle("POST /v1/moves/plan", s.serve(who, bodySmall, readTimeout, s.read(s.movePlan)))
	mux.Handle("POST /v1/policy/check", s.serve(who, bodyPolicy, readTimeout, s.read(s.checkPolicy)))
	read("/v1/capacity", s.capacity)
	mux.Handle("POST /v1/capacity", s.serve(who, bodyPolicy, readTimeout, s.read(s.capacity)))
	read("/v1/placement/violations", s.violations)
	read("/v1/inventory", s.inventory)
	read("/v1/members", s.members)
	read("/v1/tokens", s.tokens)
	read("/v1/policy", s.policy)
	mux.Handle("GET /v1/events", s.serve(who, 0, 0, s.events)) // sets its own deadlines: a follow has none

	write := func(pattern string, limit int64, e endpoint) {
		mux.Handle(pattern, s.serve(who, limit, writeTimeout, s.write(e)))
	}
	mux.Handle("GET /v1/vms/{vm}/prospect", s.serve(who, 0, readTimeout, s.write(s.prospect))) // only the master can ask for definitions
	write("POST /v1/vms/{vm}/protect", bodySmall, s.protect)
	write("POST /v1/vms/{vm}/unprotect", bodySmall, s.unprotect)
	write("POST /v1/vms/{vm}/intent", bodySmall, s.setIntent)
	write("POST /v1/vms/{vm}/restart", bodySmall, s.restart)
	write("POST /v1/vms/{vm}/retry", bodySmall, s.retry)
	write("POST /v1/moves", bodySmall, s.move)
	write("DELETE /v1/vms/{vm}/move", bodySmall, s.cancelMove)
	write("POST /v1/disarm", bodySmall, s.disarm)
	write("POST /v1/arm", bodySmall, s.arm)
	write("POST /v1/hosts/{host}/maintenance", bodySmall, s.setMaintenance)
	write("POST /v1/tokens", bodySmall, s.createToken)
	write("DELETE /v1/tokens/{id}", bodySmall, s.revokeToken)
	write("POST /v1/policy", bodyPolicy, s.applyPolicy)
	mux.Handle("GET /v1/fence", s.serve(who, 0, readTimeout, s.write(s.fenceDevices))) // only the master checks them
	mux.Handle("POST /v1/hosts/{host}/fence-test", s.serve(who, bodySmall, fenceTimeout, s.write(s.fenceTest)))
	mux.Handle("POST /v1/hosts/{host}/fence", s.serve(who, bodySmall, fenceTimeout, s.write(s.fence)))
	write("POST /v1/hosts/{host}/confirm-off", bodySmall, s.confirmOff)
	mux.Handle("POST /v1/cluster/leave", s.serve(who, bodySmall, memberTimeout, s.write(s.leave)))
	mux.Handle("POST /v1/cluster/transfer-master", s.serve(who, bodySmall, memberTimeout, s.write(s.transferMaster)))

	mux.Handle("/", s.guard(func(w http.ResponseWriter, r *http.Request) {
		if _, err := who(r); err != nil {
			writeError(w, err)
			return
		}
		writeError(w, &Error{Code: CodeNotFound, Message: fmt.Sprintf("there is no %s %s here", r.Method, r.URL.Path)})
	}))
}

func (s *Server) identifyLocal(r *http.Request) (*call, error) {
	actor, err := s.localCaller(r.Context())
	if err != nil {
		return nil, err
	}
	return &call{Request: r, actor: actor}, nil
}

// identifyHost wants a host's certificate, and no more: the master decides what
// a heartbeat of somebody it does not know is worth.
func (s *Server) identifyHost(r *http.Request) (*call, error) {
	if s.opts.Caller != nil {
		if name, ok := s.opts.Caller(r); ok && name != "" {
			return &call{Request: r, host: name, actor: "host " + name}, nil
		}
	}
	return nil, &Error{Code: CodeUnauthenticated, Message: "this needs a host's certificate of this cluster"}
}

// identifyMember wants the certificate of a host that is a member now: one that
// has left keeps a certificate, but no say.
func (s *Server) identifyMember(r *http.Request) (*call, error) {
	c, err := s.identifyHost(r)
	if err != nil {
		return nil, err
	}
	st := s.backend.State()
	if st == nil {
		return nil, wireError(ErrNotMember)
	}
	if st.Hosts[c.host] == nil {
		return nil, &Error{Code: CodeNotAllowed, Message: fmt.Sprintf("host %s is not a member of this cluster", c.host)}
	}
	if via := r.Header.Get(headerVia); via != "" {
		c.via = via
		if a := r.Header.Get(headerActor); a != "" {
			c.actor = a
		}
	}
	return c, nil
}

// identifyNobody takes anybody. That a request says it was passed on is believed:
// it only keeps it from being passed on again.
func identifyNobody(r *http.Request) (*call, error) {
	return &call{Request: r, actor: "a host that joins", via: r.Header.Get(headerVia)}, nil
}
