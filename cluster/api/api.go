// Package api is the cluster's HTTP interface: JSON under /v1, on a unix socket
// for local administrators and on mTLS TCP for agents and remote callers. It
// holds the types on the wire, the server and the typed client. It decides
// nothing: every change goes to the Backend, every view is a function of the
// replicated state and the master's observations.
package api
