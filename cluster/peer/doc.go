// Package peer is the connections between hosts: one TLS port on every HA
// network, shared by raft, the HTTP API and tunnels between hypervisors (told
// apart by ALPN), and calls to a host by name, over any of its networks or over
// exactly one.
//
// It knows who is at the other end (package identity) and where hosts listen
// (Book), never what is said: connections and HTTP requests are handed on.
// It has no resolver and needs none.
package peer

// Protocols on the cluster port (ALPN).
const (
	protoRaft = "holdfast-raft/1"
	protoHTTP = "http/1.1"
	// protoTunnel: what the caller's hypervisor says and sends to the one of the host that is
	// called, after a line by which the caller says what the tunnel is for.
	protoTunnel = "holdfast-tunnel/2"
)
