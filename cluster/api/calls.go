package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Self asks the agent about itself; it always answers from what it knows.
func (c *Client) Self(ctx context.Context) (Self, error) {
	var s Self
	err := c.do(ctx, http.MethodGet, "/v1/self", nil, nil, &s)
	return s, err
}

// Status is one screen about the cluster.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	return ask[Status](ctx, c, "/v1/status")
}

// Cluster says what the cluster is: its identity, timing and members.
func (c *Client) Cluster(ctx context.Context) (*ClusterAnswer, error) {
	return ask[ClusterAnswer](ctx, c, "/v1/cluster")
}

// Hosts lists the hosts.
func (c *Client) Hosts(ctx context.Context) (*HostList, error) {
	return ask[HostList](ctx, c, "/v1/hosts")
}

// Host shows one host.
func (c *Client) Host(ctx context.Context, name string) (*HostAnswer, error) {
	return ask[HostAnswer](ctx, c, "/v1/hosts/"+url.PathEscape(name))
}

// Storage shows the heartbeat volumes.
func (c *Client) Storage(ctx context.Context) (*StorageAnswer, error) {
	return ask[StorageAnswer](ctx, c, "/v1/storage")
}

// VMs lists the VMs.
func (c *Client) VMs(ctx context.Context) (*VMList, error) { return ask[VMList](ctx, c, "/v1/vms") }

// VM shows one VM, by name or UUID.
func (c *Client) VM(ctx context.Context, name string) (*VMAnswer, error) {
	return ask[VMAnswer](ctx, c, "/v1/vms/"+url.PathEscape(name))
}

// ExplainHost says why a host stands as it does.
func (c *Client) ExplainHost(ctx context.Context, name string) (*Explanation, error) {
	return ask[Explanation](ctx, c, "/v1/explain/host/"+url.PathEscape(name))
}

// ExplainVM says why a VM is where it is.
func (c *Client) ExplainVM(ctx context.Context, name string) (*Explanation, error) {
	return ask[Explanation](ctx, c, "/v1/explain/vm/"+url.PathEscape(name))
}

// Members lists the raft servers.
func (c *Client) Members(ctx context.Context) (*MemberList, error) {
	return ask[MemberList](ctx, c, "/v1/members")
}

// Tokens lists the invitations.
func (c *Client) Tokens(ctx context.Context) (*TokenList, error) {
	return ask[TokenList](ctx, c, "/v1/tokens")
}

// Policy is the policy in force, with Masked in place of each secret.
func (c *Client) Policy(ctx context.Context) (*PolicyAnswer, error) {
	return ask[PolicyAnswer](ctx, c, "/v1/policy")
}

// PolicyWithSecrets is the policy in force as it was written.
func (c *Client) PolicyWithSecrets(ctx context.Context) (*PolicyAnswer, error) {
	var out PolicyAnswer
	if err := c.get(ctx, "/v1/policy", url.Values{"secrets": {"1"}}, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// Events lists the events that pass the filter.
func (c *Client) Events(ctx context.Context, f EventFilter) (*EventList, error) {
	var out EventList
	if err := c.get(ctx, "/v1/events", f.Values(), &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// Protect puts a VM under protection, by name or UUID.
func (c *Client) Protect(ctx context.Context, vm string) (*VMAnswer, error) {
	return change[VMAnswer](ctx, c, http.MethodPost, "/v1/vms/"+url.PathEscape(vm)+"/protect", nil)
}

// Unprotect lets a VM go.
func (c *Client) Unprotect(ctx context.Context, vm string) (*Done, error) {
	return change[Done](ctx, c, http.MethodPost, "/v1/vms/"+url.PathEscape(vm)+"/unprotect", nil)
}

// CreateToken makes an invitation for one host (any when host is empty), good for ttl.
func (c *Client) CreateToken(ctx context.Context, host string, ttl time.Duration) (*TokenCreated, error) {
	return change[TokenCreated](ctx, c, http.MethodPost, "/v1/tokens", TokenRequest{Host: host, TTL: Seconds(ttl)})
}

// RevokeToken takes an unused invitation back.
func (c *Client) RevokeToken(ctx context.Context, id string) (*Done, error) {
	return change[Done](ctx, c, http.MethodDelete, "/v1/tokens/"+url.PathEscape(id), nil)
}

// ApplyPolicy replaces the policy if its revision is still r.Previous.
func (c *Client) ApplyPolicy(ctx context.Context, r PolicyRequest) (*PolicyApplied, error) {
	return change[PolicyApplied](ctx, c, http.MethodPost, "/v1/policy", r)
}

// CheckPolicy asks what a policy would do to the room for failures. Nothing is changed.
func (c *Client) CheckPolicy(ctx context.Context, files map[string]string) (*PolicyCheck, error) {
	var out PolicyCheck
	err := c.do(ctx, http.MethodPost, "/v1/policy/check", url.Values{"fresh": {"1"}}, PolicyRequest{Files: files}, &out)
	switch {
	case errors.Is(err, ErrUnknownOutcome): // nothing could have been changed
		return nil, fmt.Errorf("ask about a policy: %s did not answer in time", c.where)
	case err != nil:
		return nil, err
	}
	return &out, nil
}

// Leave removes a host from the cluster in an orderly way.
func (c *Client) Leave(ctx context.Context, host string) (*Done, error) {
	return change[Done](ctx, c, http.MethodPost, "/v1/cluster/leave", HostRequest{Host: host})
}

// TransferMaster hands the office to a host, or to any voter when host is empty.
func (c *Client) TransferMaster(ctx context.Context, host string) (*Done, error) {
	return change[Done](ctx, c, http.MethodPost, "/v1/cluster/transfer-master", HostRequest{Host: host})
}

// Bootstrap makes a new cluster of the agent's host. Local socket only.
func (c *Client) Bootstrap(ctx context.Context, r BootstrapRequest) (*Self, error) {
	return change[Self](ctx, c, http.MethodPost, "/v1/cluster/bootstrap", r)
}

// Join makes the agent's host a member of the token's cluster. Local socket only.
func (c *Client) Join(ctx context.Context, token string) (*Self, error) {
	return change[Self](ctx, c, http.MethodPost, "/v1/cluster/join", map[string]string{"token": token})
}

// Heartbeat sends one heartbeat to another host's agent. ErrNotMaster when that
// host is not the master.
func (c *Client) Heartbeat(ctx context.Context, hb Heartbeat) (*HeartbeatReply, error) {
	return change[HeartbeatReply](ctx, c, http.MethodPost, "/v1/agent/heartbeat", hb)
}

// Begin asks another host's agent, which must be the master's, for a new incarnation.
func (c *Client) Begin(ctx context.Context, r BeginRequest) (*BeginReply, error) {
	return change[BeginReply](ctx, c, http.MethodPost, "/v1/agent/begin", r)
}

// Admit asks a member to admit this host. The client's transport must accept no
// other CA than the token's: the request carries the token's secret.
func (c *Client) Admit(ctx context.Context, r JoinRequest) (*JoinReply, error) {
	return change[JoinReply](ctx, c, http.MethodPost, "/v1/join", r)
}

// FenceDevices lists the fence devices with their last checks, as the master found them.
func (c *Client) FenceDevices(ctx context.Context) (*FenceList, error) {
	return ask[FenceList](ctx, c, "/v1/fence")
}

// FenceTest has a host's fence devices asked for its power. Nothing is switched.
func (c *Client) FenceTest(ctx context.Context, host string) (*FenceList, error) {
	return change[FenceList](ctx, c, http.MethodPost, "/v1/hosts/"+url.PathEscape(host)+"/fence-test", nil)
}

// Fence has a host switched by its fence devices. It returns when that is done,
// or has failed; the report says which.
func (c *Client) Fence(ctx context.Context, host string, r FenceRequest) (*FenceReport, error) {
	return change[FenceReport](ctx, c, http.MethodPost, "/v1/hosts/"+url.PathEscape(host)+"/fence", r)
}

// ConfirmOff vouches that a silent host is off.
func (c *Client) ConfirmOff(ctx context.Context, host string) (*Done, error) {
	return change[Done](ctx, c, http.MethodPost, "/v1/hosts/"+url.PathEscape(host)+"/confirm-off", nil)
}

// Claim asks the master for an unowned VM that a person is about to start on the calling host.
func (c *Client) Claim(ctx context.Context, r ClaimRequest) (*Done, error) {
	return change[Done](ctx, c, http.MethodPost, "/v1/agent/claim", r)
}

// AdmitStranger asks the master whether a VM that nobody protects may take room on the calling host.
func (c *Client) AdmitStranger(ctx context.Context, r StrangerRequest) (*Done, error) {
	return change[Done](ctx, c, http.MethodPost, "/v1/agent/admit", r)
}

// StandAside tells the master that the calling host stands aside.
func (c *Client) StandAside(ctx context.Context, n AsideNotice) (*Done, error) {
	return change[Done](ctx, c, http.MethodPost, "/v1/agent/aside", n)
}

// AdmitStart asks the agent of this host whether a VM may be started here now.
func (c *Client) AdmitStart(ctx context.Context, r AdmitRequest) (*Done, error) {
	return change[Done](ctx, c, http.MethodPost, "/v1/local/admit", r)
}

func ask[T any](ctx context.Context, c *Client, path string) (*T, error) {
	var out T
	if err := c.get(ctx, path, nil, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

func change[T any](ctx context.Context, c *Client, method, path string, body any) (*T, error) {
	var out T
	if err := c.do(ctx, method, path, nil, body, &out); err != nil {
		return nil, err
	}
	return &out, nil
}
