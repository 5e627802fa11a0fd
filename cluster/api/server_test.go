package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
	"github.com/holdfast-ha/holdfast/fsm"
)

// network joins the mTLS handlers of several members in this process: a request
// to https://NAME reaches NAME's server, which takes the sender for its caller.
type network struct {
	from    string
	servers map[string]*httptest.Server
	// broken, when set, is asked first; an error is what the sender sees.
	broken func(*http.Request) error
}

func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	if n.broken != nil {
		if err := n.broken(r); err != nil {
			return nil, err
		}
	}
	srv := n.servers[r.URL.Host]
	if srv == nil {
		return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	}
	u, err := url.Parse(srv.URL)
	if err != nil {
		return nil, err
	}
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host = u.Scheme, u.Host
	out.Header.Set("Test-Certificate", n.from)
	return http.DefaultTransport.RoundTrip(out)
}

// certificate is the Caller of servers under test.
func certificate(r *http.Request) (string, bool) {
	name := r.Header.Get("Test-Certificate")
	return name, name != ""
}

// member serves one backend: on a unix socket, and to the other members.
type member struct {
	*apitest.Backend
	server *api.Server
	client *api.Client
	net    *network
}

func cluster(t *testing.T, backends ...*apitest.Backend) map[string]*member {
	t.Helper()
	servers, out := map[string]*httptest.Server{}, map[string]*member{}
	for _, b := range backends {
		m := &member{Backend: b, net: &network{from: b.Me.Name, servers: servers}}
		m.server = api.NewServer(b, api.Options{Caller: certificate, Forward: m.net})
		socket := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		local := m.server.HTTPServer(m.server.Local())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = local.Serve(l)
		}()
		peers := httptest.NewServer(m.server.Peers())
		servers[b.Me.Name] = peers
		m.client = api.NewClient(socket)
		out[b.Me.Name] = m
		t.Cleanup(func() {
			m.server.Close()
			m.client.Close()
			_ = local.Close()
			<-done
			peers.Close()
		})
	}
	return out
}

// follower is a member that knows the master kvm2.
func follower(name string) *apitest.Backend {
	b := apitest.Healthy()
	b.Me.Name, b.Me.IsMaster, b.Me.Contact = name, false, 200*time.Millisecond
	return b
}

func me(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return u.Username
}

func TestChangeIsCarriedOutByTheMasterInThePersonsName(t *testing.T) {
	for _, tc := range []struct {
		name string
		call func(context.Context, *api.Client) error
		want string
	}{
		{"protect", func(ctx context.Context, c *api.Client) error { _, err := c.Protect(ctx, "build"); return err }, "protect build by %s"},
		{"unprotect", func(ctx context.Context, c *api.Client) error { _, err := c.Unprotect(ctx, "db1"); return err }, "unprotect 6b0f5a3e-0000-4000-8000-000000000001 by %s"},
		{"token", func(ctx context.Context, c *api.Client) error {
			_, err := c.CreateToken(ctx, "kvm4", time.Hour)
			return err
		}, `token for "kvm4" for 1h0m0s by %s`},
		{"revoke", func(ctx context.Context, c *api.Client) error { _, err := c.RevokeToken(ctx, "t2"); return err }, "revoke t2 by %s"},
		{"policy", func(ctx context.Context, c *api.Client) error {
			_, err := c.ApplyPolicy(ctx, api.PolicyRequest{Files: map[string]string{"a.hcl": ""}, Previous: 12})
			return err
		}, "policy of 1 files on 12 (even if no spare: false) by %s"},
		{"maintenance", func(ctx context.Context, c *api.Client) error {
			_, err := c.SetMaintenance(ctx, "kvm3", api.MaintenanceRequest{On: true, Why: "disks"})
			return err
		}, "maintenance of kvm3: true (disks, even if no spare: false) by %s"},
		{"move", func(ctx context.Context, c *api.Client) error {
			_, err := c.Move(ctx, api.MoveRequest{VMs: []string{"db1"}, Host: "kvm3"})
			return err
		}, `move 6b0f5a3e-0000-4000-8000-000000000001 to "kvm3" (cold: false, even if no spare: false) by %s`},
		{"stop", func(ctx context.Context, c *api.Client) error {
			_, err := c.SetIntent(ctx, "db1", api.IntentRequest{Intent: fsm.IntentStop, Why: "work"})
			return err
		}, "6b0f5a3e-0000-4000-8000-000000000001 shall stop (work) by %s"},
		{"restart", func(ctx context.Context, c *api.Client) error {
			_, err := c.Restart(ctx, "db1", api.RestartRequest{Why: "work"})
			return err
		}, "restart 6b0f5a3e-0000-4000-8000-000000000001 (work, even if no spare: false) by %s"},
		{"retry", func(ctx context.Context, c *api.Client) error { _, err := c.Retry(ctx, "db1"); return err }, "retry 6b0f5a3e-0000-4000-8000-000000000001 by %s"},
		{"leave", func(ctx context.Context, c *api.Client) error { _, err := c.Leave(ctx, "kvm3"); return err }, "leave kvm3 by %s"},
	} {
		for _, at := range []string{"kvm1", "kvm2"} {
			t.Run(tc.name+" asked at "+at, func(t *testing.T) {
				c := cluster(t, follower("kvm1"), apitest.Healthy())
				if err := tc.call(t.Context(), c[at].client); err != nil {
					t.Fatal(err)
				}
				want := []string{fmt.Sprintf(tc.want, me(t)+"@"+at)}
				if d := cmp.Diff(want, c["kvm2"].Did()); d != "" {
					t.Errorf("what the master was asked (-want +got):\n%s", d)
				}
			})
		}
	}
}

func TestNobodyPassesOnTwice(t *testing.T) {
	// Each takes the other for the master.
	a, b := follower("kvm1"), follower("kvm2")
	b.Me.Master = "kvm1"
	c := cluster(t, a, b)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := c["kvm1"].client.Protect(ctx, "build"); !errors.Is(err, api.ErrNoMaster) {
		t.Errorf("a change that goes in a circle: %v, want ErrNoMaster", err)
	}
	st, err := c["kvm1"].client.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if st.Source.Fresh || st.Source.Host != "kvm1" || st.Source.Note == "" {
		t.Errorf("a question that goes in a circle is answered by %+v, want kvm1's own copy with a note", st.Source)
	}
}

func TestFateOfAChangeIsToldTruly(t *testing.T) {
	for _, tc := range []struct {
		name   string
		broken func(m *network) func(*http.Request) error
		want   error
		done   int // changes that the master carried out
	}{
		{"never reached", func(*network) func(*http.Request) error {
			return func(r *http.Request) error { r.URL.Host = "gone"; return nil }
		}, api.ErrUnknownOutcome, 0}, // a transport that tells nothing of itself: the careful answer
		{"answer lost", func(n *network) func(*http.Request) error {
			return func(r *http.Request) error {
				whole := &network{from: n.from, servers: n.servers}
				resp, err := whole.RoundTrip(r)
				if err == nil {
					resp.Body.Close()
				}
				return errors.New("connection reset by peer")
			}
		}, api.ErrUnknownOutcome, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := cluster(t, follower("kvm1"), apitest.Healthy())
			c["kvm1"].net.broken = tc.broken(c["kvm1"].net)
			_, err := c["kvm1"].client.Protect(t.Context(), "build")
			if !errors.Is(err, tc.want) {
				t.Errorf("error is %v, want %v", err, tc.want)
			}
			if got := c["kvm2"].Did(); len(got) != tc.done {
				t.Errorf("the master did %q, want %d changes", got, tc.done)
			}
		})
	}
	t.Run("connection refused", func(t *testing.T) {
		c := cluster(t, follower("kvm1"), apitest.Healthy())
		c["kvm1"].net.servers["kvm2"].Close()
		if _, err := c["kvm1"].client.Protect(t.Context(), "build"); !errors.Is(err, api.ErrNoMaster) {
			t.Errorf("error is %v, want ErrNoMaster: nothing was sent", err)
		}
	})
}

func TestQuestionsFallBackToTheLocalCopy(t *testing.T) {
	c := cluster(t, follower("kvm1"), apitest.HostLost())
	fresh, err := c["kvm1"].client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !fresh.Source.Fresh || fresh.Source.Host != "kvm2" || fresh.VMs.Waiting != 1 {
		t.Errorf("asked at kvm1: source %+v, %+v, want the master's view with one VM waiting", fresh.Source, fresh.VMs)
	}
	stale, err := c["kvm1"].client.Stale().Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if stale.Source.Fresh || stale.Source.Host != "kvm1" || stale.Source.Note != "" || stale.Source.Contact != api.Seconds(200*time.Millisecond) {
		t.Errorf("asked to be stale: source is %+v, want kvm1's copy, 200ms old, without a note", stale.Source)
	}
	c["kvm1"].net.servers["kvm2"].Close()
	alone, err := c["kvm1"].client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if alone.Source.Fresh || alone.Source.Host != "kvm1" || !strings.Contains(alone.Source.Note, "kvm2 does not answer") {
		t.Errorf("with the master gone: source is %+v, want kvm1's copy and a note about kvm2", alone.Source)
	}
}

func TestHostSpeaksForItselfAlone(t *testing.T) {
	c := cluster(t, apitest.Healthy())
	rt := &network{from: "kvm1", servers: c["kvm2"].net.servers}
	peer := api.NewPeerClient(rt, "kvm2")
	if _, err := peer.Heartbeat(t.Context(), api.Heartbeat{Host: "kvm3", Seq: 1}); code(err) != api.CodeNotAllowed {
		t.Errorf("kvm1 sends a heartbeat of kvm3: %v, want %s", err, api.CodeNotAllowed)
	}
	if _, err := peer.Begin(t.Context(), api.BeginRequest{Host: "kvm3"}); code(err) != api.CodeNotAllowed {
		t.Errorf("kvm1 begins an incarnation of kvm3: %v, want %s", err, api.CodeNotAllowed)
	}
	r, err := peer.Heartbeat(t.Context(), api.Heartbeat{Host: "kvm1", Seq: 7})
	if err != nil || !r.Acknowledged || r.Seq != 7 {
		t.Errorf("kvm1's own heartbeat: %+v, %v, want an acknowledgement of 7", r, err)
	}
	c["kvm2"].Change(func() { c["kvm2"].Me.IsMaster = false })
	if _, err := peer.Heartbeat(t.Context(), api.Heartbeat{Host: "kvm1", Seq: 8}); !errors.Is(err, api.ErrNotMaster) {
		t.Errorf("a heartbeat to a host that is not the master: %v, want ErrNotMaster", err)
	}
}

func code(err error) api.Code {
	var e *api.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func TestWhoMayAskWhat(t *testing.T) {
	c := cluster(t, apitest.Healthy())
	base := c["kvm2"].net.servers["kvm2"].URL
	for _, tc := range []struct {
		name, certificate, method, path, body string
		want                                  int
	}{
		{"join without a certificate", "", "POST", "/v1/join", `{"name":"kvm4"}`, 200},
		{"status without a certificate", "", "GET", "/v1/status", "", 401},
		{"events without a certificate", "", "GET", "/v1/events?follow=1", "", 401},
		{"change without a certificate", "", "POST", "/v1/vms/db1/unprotect", "", 401},
		{"heartbeat without a certificate", "", "POST", "/v1/agent/heartbeat", `{}`, 401},
		{"unknown route without a certificate", "", "GET", "/v1/nothing", "", 401},
		{"status of a member", "kvm1", "GET", "/v1/status", "", 200},
		{"status of a host that has left", "kvm9", "GET", "/v1/status", "", 403},
		{"change of a host that has left", "kvm9", "POST", "/v1/vms/db1/unprotect", "", 403},
		{"bootstrap over the network", "kvm1", "POST", "/v1/cluster/bootstrap", `{}`, 404},
		{"local join over the network", "kvm1", "POST", "/v1/cluster/join", `{"token":"x"}`, 404},
		{"unknown route", "kvm1", "GET", "/v1/nothing", "", 404},
		{"wrong method", "kvm1", "POST", "/v1/status", "", 404},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, body := send(t, base, tc.certificate, tc.method, tc.path, strings.NewReader(tc.body))
			if status != tc.want {
				t.Errorf("%s %s answers %d, want %d: %s", tc.method, tc.path, status, tc.want, body)
			}
		})
	}
}

func send(t *testing.T, base, cert, method, path string, body io.Reader) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, base+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if cert != "" {
		req.Header.Set("Test-Certificate", cert)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestActorCountsOnlyWithACertificate(t *testing.T) {
	c := cluster(t, apitest.Healthy())
	req, err := http.NewRequestWithContext(t.Context(), "POST", c["kvm2"].net.servers["kvm2"].URL+"/v1/vms/build/protect", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Test-Certificate", "kvm1")
	req.Header.Set("Holdfast-Actor", "root@kvm3") // without Via: nobody passed it on
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if d := cmp.Diff([]string{"protect build by host kvm1"}, c["kvm2"].Did()); d != "" {
		t.Errorf("in whose name (-want +got):\n%s", d)
	}
}

func TestBodiesAreReadStrictly(t *testing.T) {
	c := cluster(t, apitest.Healthy())
	base := c["kvm2"].net.servers["kvm2"].URL
	for _, tc := range []struct {
		name, path, body string
		want             int
	}{
		{"unknown field", "/v1/tokens", `{"hots":"kvm4","ttl_seconds":60}`, 400},
		{"not JSON", "/v1/tokens", `host=kvm4`, 400},
		{"empty", "/v1/tokens", ``, 400},
		{"two values", "/v1/tokens", `{"ttl_seconds":60}{}`, 400},
		{"wrong type", "/v1/tokens", `{"ttl_seconds":"60"}`, 400},
		{"too large", "/v1/tokens", `{"host":"` + strings.Repeat("x", 100<<10) + `"}`, 413},
		{"newer agent", "/v1/agent/heartbeat", `{"host":"kvm1","seq":1,"something_new":true}`, 200},
		{"broken heartbeat", "/v1/agent/heartbeat", `{"host":"kvm1","seq":-1}`, 400},
		{"unknown event filter", "/v1/events?vn=db1", ``, 404}, // POST
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, body := send(t, base, "kvm1", "POST", tc.path, strings.NewReader(tc.body))
			if status != tc.want {
				t.Fatalf("answers %d, want %d: %s", status, tc.want, body)
			}
			if tc.want == 200 {
				return
			}
			var e struct{ Error *api.Error }
			if err := json.Unmarshal([]byte(body), &e); err != nil || e.Error == nil || e.Error.Message == "" {
				t.Errorf("the error is not one that people can read: %s", body)
			}
		})
	}
	for _, q := range []string{"vn=db1", "limit=-1", "limit=x", "after=x", "since=yesterday", "follow=perhaps", "vm=a&vm=b"} {
		if status, body := send(t, base, "kvm1", "GET", "/v1/events?"+q, nil); status != 400 {
			t.Errorf("events?%s answers %d, want 400: %s", q, status, body)
		}
	}
}

func TestPanicIsAnAnswer(t *testing.T) {
	b := apitest.Healthy()
	b.Panic = true
	c := cluster(t, b)
	if _, err := c["kvm2"].client.Status(t.Context()); code(err) != api.CodeInternal {
		t.Errorf("a handler panicked: %v, want %s", err, api.CodeInternal)
	}
	b.Change(func() { b.Panic = false })
	if _, err := c["kvm2"].client.Status(t.Context()); err != nil {
		t.Errorf("after a panic: %v", err)
	}
}

func TestRefusalsTravel(t *testing.T) {
	for _, tc := range []struct {
		err  error
		code api.Code
		is   error
	}{
		{&fsm.Refusal{Code: fsm.CodeConflict, Message: "look again"}, api.CodeConflict, api.ErrRefused},
		{&fsm.Refusal{Code: fsm.CodeNotFound, Message: "none"}, api.CodeNotFound, nil},
		{&fsm.Refusal{Code: fsm.CodeDenied, Message: "used"}, api.CodeDenied, nil},
		{fmt.Errorf("%w: the last voter", api.ErrRefused), api.CodeRefused, api.ErrRefused},
		{fmt.Errorf("commit: %w", api.ErrUnknownOutcome), api.CodeUnknownOutcome, api.ErrUnknownOutcome},
		{api.ErrNoMaster, api.CodeNoMaster, api.ErrNoMaster},
		{errors.New("disk full"), api.CodeInternal, nil},
	} {
		b := apitest.Healthy()
		b.Err = tc.err
		c := cluster(t, follower("kvm1"), b)
		for _, at := range []string{"kvm1", "kvm2"} {
			_, err := c[at].client.Leave(t.Context(), "kvm3")
			if code(err) != tc.code || err.Error() != tc.err.Error() {
				t.Errorf("%v arrives at %s as %s %q, want %s and the same text", tc.err, at, code(err), err, tc.code)
			}
			if tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("%v arrives at %s as %v, which is not %v", tc.err, at, err, tc.is)
			}
		}
	}
}

func TestSocketOfNobody(t *testing.T) {
	c := api.NewClient(filepath.Join(t.TempDir(), "none"))
	var gone *api.UnreachableError
	if _, err := c.Protect(t.Context(), "a"); !errors.As(err, &gone) || errors.Is(err, api.ErrUnknownOutcome) {
		t.Errorf("a change asked of nobody: %v, want UnreachableError", err)
	}
}

func TestServerOfSomebodyElse(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	req := api.NewPeerClient(redirect(srv.URL), "kvm1")
	if _, err := req.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "nothing that an agent") {
		t.Errorf("another server's 404: %v, want an error that says that this is no agent", err)
	}
}

type redirect string

func (to redirect) RoundTrip(r *http.Request) (*http.Response, error) {
	u, err := url.Parse(string(to))
	if err != nil {
		return nil, err
	}
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host = u.Scheme, u.Host
	return http.DefaultTransport.RoundTrip(out)
}

func TestSeconds(t *testing.T) {
	b, err := json.Marshal([]api.Seconds{api.Seconds(1234567 * time.Microsecond), 0, api.Seconds(-time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	if want := []byte("[1.235,0,-1]"); !bytes.Equal(b, want) {
		t.Errorf("seconds are written as %s, want %s", b, want)
	}
	var back []api.Seconds
	if err := json.Unmarshal(b, &back); err != nil || back[0] != api.Seconds(1235*time.Millisecond) {
		t.Errorf("read back as %v, %v", back, err)
	}
}
